"""The verdict: what scores, controls, warnings and losses are said to mean."""

from pathlib import Path

import pytest

from selfsup.report.folder import Run
from selfsup.report.scores import cell
from selfsup.report.verdict import verdict


def score(value: float, half: float = 0.02, accuracy: bool = True) -> dict:
    interval = [value - half, value + half] if accuracy else None
    return {"value": value, "accuracy": accuracy, "interval": interval, "title": "", "shown": True}


def judged(labels: bool = True, **roles: dict[str, dict]) -> Run:
    rows = [{"name": role, "role": role, "scores": scores} for role, scores in roles.items()]
    return Run("run", Path(), results={"labels": labels, "rows": rows})


@pytest.mark.parametrize(
    ("encoder", "untrained", "pixels", "tone", "words"),
    [
        (0.9, 0.6, 0.7, "good", "It learned: 90.0 % right by finding similar images (kNN), 60.0 % untrained"),
        (0.9, 0.6, 0.89, "mixed", "raw pixels do as well"),
        (0.9, 0.6, 0.98, "mixed", "raw pixels do better"),
        (0.61, 0.6, 0.3, "bad", "no measurable difference"),
        (0.4, 0.6, 0.3, "bad", "made it worse"),
    ],
)
def test_against_controls(encoder: float, untrained: float, pixels: float, tone: str, words: str) -> None:
    values = {"encoder": encoder, "untrained": untrained, "pixels": pixels}
    found = verdict(judged(**{role: {"knn": score(value)} for role, value in values.items()}))
    assert found["tone"] == tone
    assert words in found["headline"]


def test_a_gain_in_linear_classifiers_counts_where_neighbours_show_none() -> None:
    found = verdict(
        judged(
            encoder={"knn": score(0.5), "linear": score(0.8)},
            untrained={"knn": score(0.5), "linear": score(0.6)},
            pixels={"knn": score(0.3), "linear": score(0.4)},
        )
    )
    assert found["tone"] == "good"
    assert "linear layer" in found["headline"]
    assert "Good for classifying with a linear layer on frozen features: 80.0 %" in found["lines"][0]
    assert "No better than the best control at finding similar images (kNN): 50.0 %" in found["lines"][1]


def test_few_test_images_are_said_to_be_too_few() -> None:
    rows = {role: {"knn": score(value, half=0.2)} for role, value in (("encoder", 0.4), ("untrained", 0.2))}
    run = judged(**rows)
    run.results["n_test"] = 15
    found = verdict(run)
    assert found["tone"] == "unknown"
    assert "too few test images to tell" in found["headline"]
    assert any("With 15 test images a score is known to 20 points" in line for line in found["lines"])


@pytest.mark.parametrize(("given", "small"), [({"top": None}, ""), ({"top": 60.0}, "of 60"), ({}, "of 192")])
def test_a_number_is_of_its_largest_value_if_it_has_one(given: dict, small: str) -> None:
    found = cell({"value": 2.68, "accuracy": False, "settings": {"width": 192}, **given})
    assert (found["text"], found["small"]) == ("2.68", small)


def test_a_warning_takes_the_shine_off() -> None:
    run = judged(**{role: {"knn": score(value)} for role, value in (("encoder", 0.9), ("untrained", 0.5))})
    run.warnings = [{"step": "7", "name": "dimensional collapse", "value": "1", "message": "…"}] * 2
    found = verdict(run)
    assert found["tone"] == "mixed"
    assert any("warned of: dimensional collapse." in line for line in found["lines"])


def test_without_labels_the_guard_is_what_there_is() -> None:
    ranks = {"encoder": 1.9, "untrained": 2.5}
    scores = {role: {"rankme": score(value, accuracy=False)} for role, value in ranks.items()}
    run = judged(labels=False, **scores)
    found = verdict(run)
    assert found["tone"] == "unknown"
    assert "the features use 1.9 dimensions, untrained 2.5" in found["headline"]
    assert "collapse" not in found["headline"]
    run.warnings = [{"step": "7", "name": "collapsed backbone", "value": "1", "message": "…"}] * 2
    found = verdict(run)
    assert found["tone"] == "bad"
    assert found["headline"].startswith("The collapse guard warned of collapsed backbone, and")


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ([], "was off"),
        ([3.0, 3.0], "too short for the collapse guard"),
        ([3.0, 3.0, 2.0], "gave no warning"),
    ],
)
def test_a_guard_that_did_not_look_is_not_said_to_have_seen_nothing(losses: list[float], said: str) -> None:
    rows = [{"step": float(i), "guard/loss": loss} for i, loss in enumerate(losses, 1)] or [{"step": 1.0}]
    assert said in " ".join(verdict(Run("run", Path(), metrics=rows))["lines"])


def test_of_a_run_that_was_not_judged() -> None:
    rows = [{"step": 1.0, "loss": 2.0}, {"step": 2.0, "loss": float("nan")}]
    found = verdict(Run("run", Path(), metrics=rows))
    assert found["tone"] == "unknown"
    assert "not finite at step 2" in " ".join(found["lines"])
    assert verdict(Run("run", Path(), warnings=[{"name": "x"}]))["tone"] == "bad"
