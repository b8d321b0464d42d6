"""What the matrix's rows say, on rows made by hand whose answers are known."""

import math

import pytest

from benchmarks.quality import worth
from benchmarks.rows import Row


def run(name: str, seed: int, accuracies: list[float], **scores: list[float]) -> Row:
    """A run whose checkpoints have an accuracy and scores; before them the untrained encoder."""
    steps = range(1, len(accuracies) + 1)
    rest = {"clid-learnability": 0.5, "clid-dimension": 9.0}
    rows = [
        {"step": step, "linear": value, **rest, **{key: values[step - 1] for key, values in scores.items()}}
        for step, value in zip(steps, accuracies, strict=True)
    ]
    untrained = {**rows[0], "step": 0, "linear": 0.9}  # better than all, so that counting it would show
    return {"set": name, "seed": seed, "checkpoints": [untrained, *rows]}


RISES = run(
    "one",
    0,
    [0.1, 0.2, 0.4, 0.3],
    rankme=[4.0, 3.0, 1.0, 2.0],
    lidar=[1.0, 2.0, 4.0, 3.0],
    **{"alpha-req": [0.1, 1.4, 1.05, 0.8], "knn-on-training": [0.1, 0.2, 0.3, 0.4]},
)


def test_a_score_is_ranked_with_accuracy_along_a_run_without_its_beginning() -> None:
    assert worth.along(RISES, "rankme") == -1
    assert worth.along(RISES, "lidar") == 1
    assert worth.along(RISES, "step") == pytest.approx(0.8)
    assert worth.along(RISES, "nesum") is None  # no checkpoint has it


def test_alpha_req_is_best_near_one() -> None:
    assert worth.goodness("alpha-req", RISES["checkpoints"][1:]) == pytest.approx([-0.9, -0.4, -0.05, -0.2])
    assert worth.along(RISES, "alpha-req") == 1


def test_what_is_lost_by_a_choice_is_counted_in_points() -> None:
    assert worth.chosen(RISES, "lidar") == 0.4
    assert worth.regret(RISES, "lidar") == 0
    assert worth.regret(RISES, "rankme") == pytest.approx(30)
    assert worth.loss_against_labels(RISES, "lidar") == pytest.approx(-10)  # labels chose the last
    equal = run("one", 0, [0.1, 0.3, 0.5], rankme=[2.0, 2.0, 1.0])
    assert worth.chosen(equal, "rankme") == pytest.approx(0.2)  # of equal ones their mean


def test_a_score_is_judged_on_sets_that_did_not_choose_it() -> None:
    labels = {"knn-on-training": [1.0, 2.0]}
    good = {"rankme": [1.0, 2.0], "nesum": [2.0, 1.0]}  # RankMe chooses the better one
    bad = {"rankme": [2.0, 1.0], "nesum": [1.0, 2.0]}
    rows = [run(name, 0, [0.1, 0.5], **good, **labels) for name in ("one", "two")]
    rows.append(run("three", 0, [0.1, 0.5], **bad, **labels))
    assert worth.best_score(rows, ["rankme", "nesum"]) == "rankme"
    found = worth.left_out(rows, ["rankme", "nesum"])
    assert [(row["set"], name, round(lost)) for row, name, lost in found][-1] == ("three", "rankme", 40)


def test_a_run_is_stopped_once_its_score_stays_below_its_best() -> None:
    row = run("one", 0, [0.1, 0.3, 0.2, 0.25, 0.6], rankme=[1.0, 3.0, 2.0, 2.0, 9.0])
    assert worth.stopped(row, "rankme", patience=2) == (pytest.approx(30), 0.8)
    assert worth.lost_by_stopping(row, "rankme") == pytest.approx(30)
    assert worth.stopped(row, "rankme", patience=4) == (0, 1.0)


def test_methods_are_ranked_within_a_set_and_a_seed() -> None:
    ends = [(0.1, 1.0), (0.2, 2.0), (0.3, 4.0), (0.4, 3.0)]
    rows = [run("one", 0, [0.0, value], rankme=[9.0, score]) for value, score in ends]
    assert worth.between(rows, "rankme") == pytest.approx(0.8)
    assert worth.between(rows[:3], "rankme") is None  # too few to rank
    assert {key: len(some) for key, some in worth.by_set([*rows, run("two", 1, [0.1])]).items()} == {
        ("one", 0): 4,
        ("two", 1): 1,
    }


def test_the_interval_is_bonett_and_wrights() -> None:
    x = [math.sin(0.9 * i + 0.1) for i in range(12)]
    y = [value + 0.8 * math.sin(2.3 * i + 0.5) for i, value in enumerate(x)]
    rho = worth.spearman(x, y) or math.nan
    assert rho == pytest.approx(0.699300699)
    assert worth.bonett_wright(rho, 12) == pytest.approx((0.136248198, 0.920876052))
    assert worth.bonett_wright(0.9, 3) == (-1, 1)
