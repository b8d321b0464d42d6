"""Runs side by side are said to differ or not: by pairs of answers where there are any, else by intervals."""

from pathlib import Path

import pytest
import torch

from selfsup.evaluation import paired, wilson
from selfsup.evaluation.score import pack
from selfsup.report.folder import Run
from selfsup.report.side_by_side import side_by_side

COUNT = 400


def answers(*wrong: range) -> torch.Tensor:
    right = torch.ones(COUNT, dtype=torch.bool)
    for part in wrong:
        right[list(part)] = False
    return right


def run(name: str, right: torch.Tensor, data: dict | None = None, pixels: torch.Tensor | None = None) -> Run:
    def row(role: str, correct: torch.Tensor) -> dict:
        hits = int(correct.sum())
        interval = list(wilson(hits, COUNT))
        score = {
            "value": hits / COUNT,
            "interval": interval,
            "accuracy": True,
            "title": "kNN",
            "settings": {},
        }
        score |= {"correct": pack(correct), "n_test": COUNT, "seed": 0, "shown": True}
        seen = {"image_size": 8}
        return {"name": role, "role": role, "scores": {"knn": score}, "preprocessing": seen}

    rows = [row("encoder", right), row("pixels", answers(range(9)) if pixels is None else pixels)]
    results = {"data": "x", "n_test": COUNT, "skipped": {"test": []}, "rows": rows, "labels": True}
    return Run(
        name, Path(), config={"data": data or {"source": {"root": "a"}, "test": None}}, results=results
    )


# 40 wrong and 60 wrong, of the same images but for 20: far less than the two intervals of each by itself.
ONE, TWO = answers(range(40)), answers(range(60))


def test_a_difference_is_paired_over_the_same_images() -> None:
    gain, (low, high) = paired(ONE, TWO)
    assert low > 0 > wilson(340, COUNT)[0] - wilson(360, COUNT)[1]
    said = f"kNN: one is better than two by {100 * gain:.1f} points ({100 * low:.1f} to {100 * high:.1f})."
    for runs in ([run("one", ONE), run("two", TWO)], [run("two", TWO), run("one", ONE)]):
        first, last = side_by_side(runs)
        assert first == said
        assert "paired over the same test images" in last


def test_what_is_within_noise_is_said_to_be() -> None:
    close = answers(range(1, 42))
    first, _ = side_by_side([run("one", ONE), run("close", close), run("two", TWO)])
    assert first.startswith("kNN: one is better than two by 5.0 points")
    assert "; one is within noise of close by 0.2 points (-0." in first


@pytest.mark.parametrize(
    "other",
    [
        run("two", TWO, data={"source": {"root": "b"}, "test": None}),
        run("two", TWO, data={"source": {"root": "a"}, "test": "test[:400]"}),
        run(
            "two", TWO, pixels=answers(range(10))
        ),  # the same settings, but what is in the folder has changed
    ],
    ids=["another folder", "another split", "other images in it"],
)
def test_other_images_are_not_paired(other: Run) -> None:
    first, last = side_by_side([run("one", ONE), other])
    assert first == "kNN: one is within noise of two (90.0 % against 85.0 %)."
    assert "not certain" in last
    far = run("far", answers(range(200)), data={"source": {"root": "c"}, "test": None})
    assert side_by_side([run("one", ONE), far])[0] == "kNN: one is better than far (90.0 % against 50.0 %)."


@pytest.mark.parametrize("correct", ["", "!", "AAAA", 7, None])
def test_answers_that_were_damaged_are_not_paired(correct: object) -> None:
    broken = run("two", TWO)
    assert broken.results is not None
    broken.results["rows"][0]["scores"]["knn"] |= {"correct": correct}
    assert side_by_side([run("one", ONE), broken])[0].startswith("kNN: one is within noise of two (90.0 %")
    broken.results["rows"][0]["scores"]["knn"] |= {"n_test": 10**15, "correct": "AAAA"}
    one = run("one", ONE)
    assert one.results is not None
    one.results["rows"][0]["scores"]["knn"] |= {"n_test": 10**15, "correct": "AAAA"}
    assert "(90.0 % against 85.0 %)" in side_by_side([one, broken])[0]


def test_a_run_that_was_not_judged_is_compared_with_nothing() -> None:
    assert side_by_side([run("one", ONE), Run("two", Path())]) == []
