"""Each signal against a slow formula, and at the ends of its range."""

import math

import pytest
import torch

from selfsup.callbacks.guard import SIGNALS, measure
from selfsup.callbacks.guard.signals import cosine, difference, rank, ratio, std
from selfsup.methods.failures import COMMON


def features(n: int = 60, d: int = 7) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0)) + torch.linspace(0, 2, d)


def test_std_is_the_mean_deviation_of_the_dimensions_of_directions() -> None:
    z = features().double()
    directions = [row / math.sqrt(sum(float(v) ** 2 for v in row)) for row in z]
    columns = torch.stack(directions).T
    slow = [math.sqrt(sum(float(v - c.mean()) ** 2 for v in c) / (len(c) - 1)) for c in columns]
    assert std(z) == pytest.approx(sum(slow) / len(slow) * math.sqrt(z.shape[1]))


def test_cosine_is_the_mean_over_all_pairs() -> None:
    z = features()
    pairs = [
        float(torch.cosine_similarity(z[i], z[j], dim=0))
        for i in range(len(z))
        for j in range(len(z))
        if i != j
    ]
    assert cosine(z) == pytest.approx(sum(pairs) / len(pairs), abs=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_std_and_cosine_do_not_see_the_scale(scale: float) -> None:
    z = features()
    assert std(z * scale) == pytest.approx(std(z), rel=1e-5)
    assert cosine(z * scale) == pytest.approx(cosine(z), rel=1e-4)


def test_isotropic_features_and_constant_ones_are_the_ends() -> None:
    isotropic = torch.randn(2000, 64, generator=torch.Generator().manual_seed(0))
    found = measure({"embedding": isotropic, "backbone": torch.ones(50, 8)})
    assert found["embedding_std"] == pytest.approx(1, abs=0.01)
    assert found["embedding_cosine"] == pytest.approx(0, abs=0.01)
    assert found["embedding_rankme"] > 60
    assert found["backbone_std"] == pytest.approx(0, abs=1e-6)
    assert found["backbone_cosine"] == pytest.approx(1, abs=1e-5)
    assert found["backbone_rankme"] == pytest.approx(1, abs=1e-3)
    assert math.isnan(found["backbone_rankme_centred"])  # there is nothing left


def test_a_constant_with_noise_has_full_rank_centred_and_none_as_it_is() -> None:
    z = 1 + 1e-3 * torch.randn(500, 16, generator=torch.Generator().manual_seed(0))
    assert rank(z) < 1.1
    assert rank(z, centre=True) > 15


def test_teacher_and_student_of_known_distributions() -> None:
    teacher = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]])
    student = torch.full((2, 4), 0.25)
    found = measure({"teacher": teacher, "student": student})
    assert found["teacher_entropy"] == pytest.approx(math.log(2) / math.log(4))
    assert found["teacher_prototypes"] == pytest.approx(4)
    assert found["teacher_divergence"] == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("p", "entropy", "prototypes"), [([0.25] * 4, 1.0, 4.0), ([1.0, 0.0, 0.0, 0.0], 0.0, 1.0)]
)
def test_the_two_collapses_of_a_teacher(p: list[float], entropy: float, prototypes: float) -> None:
    teacher = torch.tensor([p] * 5)
    found = measure({"teacher": teacher, "student": teacher})
    assert found["teacher_entropy"] == pytest.approx(entropy)
    assert found["teacher_prototypes"] == pytest.approx(prototypes)
    assert found["teacher_divergence"] == pytest.approx(0, abs=1e-6)


def test_difference_of_a_view_with_itself_and_with_another_image() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 400, 3, 4, 4, generator=generator)
    assert difference(one, one) == 0
    assert difference(one, other) == pytest.approx(1, abs=0.02)


def test_a_method_that_shows_nothing_has_no_signals_and_broken_features_no_rank() -> None:
    assert measure({}) == {}
    assert math.isnan(measure({"backbone": torch.full((20, 4), math.nan)})["backbone_rankme"])


def test_a_ratio_of_nothing_is_no_number_and_breaks_no_bound() -> None:
    assert ratio(1.0, 4.0) == 0.25
    for value in (0.0, 1.0, -1.0, math.inf):
        assert math.isnan(ratio(value, 0.0))
        for failure in COMMON:
            signals = {bound.signal: ratio(value, 0.0) for bound in failure.bounds}
            assert not failure.holds(10, 0.5, signals, {})


def test_scalars_are_passed_on() -> None:
    assert measure({"context_gain": torch.tensor(0.5)}) == {"context_gain": 0.5}


def test_every_signal_that_is_measured_is_described() -> None:
    z = features()
    p = z.softmax(dim=1)
    assert set(measure({"embedding": z, "backbone": z, "teacher": p, "student": p})) <= set(SIGNALS)
