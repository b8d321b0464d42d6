import math

import numpy as np
import pytest
from scipy import stats

from selfsup.evaluation import student, wilson


@pytest.mark.parametrize(("correct", "total"), [(0, 10), (3, 10), (10, 10), (450, 500), (1, 1)])
def test_wilson_solves_its_equation(correct, total):
    # Both ends are the proportions at which the observed one is exactly z deviations away.
    low, high = wilson(correct, total)
    peer = stats.binomtest(correct, total).proportion_ci(0.95, method="wilson")
    assert (low, high) == pytest.approx((peer.low, peer.high), abs=1e-12)
    for end in (low, high):
        if 0 < end < 1:
            gap = abs(correct / total - end)
            assert gap / math.sqrt(end * (1 - end) / total) == pytest.approx(1.959964, abs=1e-5)


def test_wilson_refuses_what_is_no_proportion():
    for correct, total in ((0, 0), (-1, 5), (6, 5)):
        with pytest.raises(ValueError, match="not a proportion"):
            wilson(correct, total)


def test_student_is_scipys_interval():
    values = [0.71, 0.74, 0.69, 0.80, 0.77]
    peer = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert student(values) == pytest.approx(peer, abs=1e-12)
    assert student([0.5]) == (-math.inf, math.inf)
    assert student([0.5, 0.5]) == (0.5, 0.5)
