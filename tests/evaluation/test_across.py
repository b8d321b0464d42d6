"""Encoders on several sets: gains over an untrained encoder, ranks by paired intervals, and the tables."""

import io
from typing import Any

import pytest
import torch
from rich.console import Console

from selfsup.evaluation.results.across import across, gains_of, ranks_of
from selfsup.evaluation.results.across_table import print_across
from selfsup.evaluation.score import pack

SAMPLES = 100


def row(name: str, hits: int, role: str = "encoder", untrained: str | None = "untrained") -> dict[str, Any]:
    """A row that answers the first ``hits`` of 100 samples rightly."""
    score = {
        "value": hits / SAMPLES,
        "interval": None,
        "title": "kNN",
        "top": None,
        "labels": True,
        "accuracy": True,
        "shown": True,
        "flags": [],
        "reason": None,
        "settings": {},
        "correct": pack(torch.arange(SAMPLES) < hits),
        "n_test": SAMPLES,
    }
    own = untrained if role == "encoder" else None
    return {"name": name, "role": role, "untrained": own, "scores": {"knn": score}}


def results(**hits: int) -> dict[str, Any]:
    rows = [row(name, count) for name, count in hits.items()]
    return {"labels": True, "rows": [*rows, row("untrained", 50, "untrained")], "refused": {}}


def test_gains_and_ranks_by_hand() -> None:
    """On the first set two samples in a hundred do not tell a from b, on the second one does not a from c."""
    found = across({"one": results(a=90, b=88, c=60), "two": results(a=70, b=90, c=71)})["knn"]
    rows = found["rows"]
    assert {name: rows[name]["gain"] for name in "abc"} == pytest.approx(
        {"a": (1 + 0.5) / 2, "b": (0.95 + 1) / 2, "c": (0.25 + 0.525) / 2}
    )
    assert {name: rows[name]["rank"] for name in "abc"} == {"a": (1 + 2) / 2, "b": 1, "c": (3 + 2) / 2}
    assert (rows["untrained"]["gain"], rows["untrained"]["rank"]) == (0, None)
    assert found["flat"] == []


def test_a_set_without_a_measurable_gain_gives_ranks_alone() -> None:
    """50 and 51 of 100: a gain in units of that difference would be noise, and -1 for an encoder of 49."""
    found = across({"one": results(a=90, b=60), "noise": results(a=51, b=49)})["knn"]
    assert found["flat"] == ["noise"]
    assert found["rows"]["b"]["gain"] == pytest.approx(0.25)
    assert found["rows"]["b"]["gain_sets"] == ["one"]
    assert found["rows"]["b"]["rank"] == (2 + 1) / 2
    assert found["rows"]["b"]["rank_sets"] == ["one", "noise"]


def test_an_encoder_that_was_not_judged_on_a_set_has_the_mean_of_the_others() -> None:
    found = across({"one": results(a=90, b=70), "two": results(a=70)})["knn"]["rows"]
    assert found["b"] == {
        "gain": pytest.approx(0.5),
        "gain_sets": ["one"],
        "rank": 2,
        "rank_sets": ["one"],
    }
    assert found["a"]["gain"] == 1


def test_the_best_untrained_of_several_architectures_is_the_zero() -> None:
    """So that a gain orders the encoders of a set as their scores do, whatever their architectures."""
    encoders = [row("a", 90), row("b", 80, untrained="other")]
    controls = [row("untrained", 50, "untrained"), row("other", 70, "untrained")]
    gains = gains_of("knn", [*encoders, *controls], encoders, controls)
    assert gains == pytest.approx({"a": 1, "b": 0.5, "untrained": -1, "other": 0})


@pytest.mark.parametrize("shift", [0, 7])
def test_ranks_do_not_depend_on_the_order_and_never_exceed_plain_ranks(shift: int) -> None:
    hits = [90, 90, 84, 60, 55, 20]
    encoders = [row(str(i), count) for i, count in enumerate(hits)]
    ranks = ranks_of("knn", encoders[shift % 6 :] + encoders[: shift % 6])
    assert ranks["0"] == ranks["1"] == 1
    for i, count in enumerate(hits):
        assert 1 <= ranks[str(i)] <= 1 + sum(other > count for other in hits)


def printed(sets: dict[str, Any], minutes: dict[str, float | None]) -> str:
    text = io.StringIO()
    found = {"sets": sets, "across": across(sets), "minutes": minutes}
    print_across(found, Console(file=text, width=200))
    return text.getvalue()


def test_the_table_says_in_a_cell_and_in_full_why_a_score_is_missing() -> None:
    small = results(a=70)
    small["refused"] = {"b": {"short": "1 channel", "reason": "it takes images of 1 channel"}}
    bare = {"labels": False, "rows": [{**row("a", 0), "scores": {}}, {**row("b", 0), "scores": {}}]}
    said = printed(
        {"one": results(a=90, b=70), "two": small, "bare": {**bare, "refused": {}}}, {"a": 12.5, "b": None}
    )
    lines = {line.split()[0]: " ".join(line.split()) for line in said.splitlines() if line.strip()}
    assert lines["a"] == "a 90.0 70.0 no labels * 1 * 1 * 12.5"
    assert lines["b"] == "b 70.0 1 channel * no labels * 0.5 * 2 * -"
    said = " ".join(said.split())
    assert "* b on two: it takes images of 1 channel." in said
    assert "* bare: the images have no labels; the results have other scores." in said
    assert "a kNN, untrained kNN: the gain is of one, two." in said
    assert "b kNN: the gain is of one." in said
    assert "a kNN: the rank is of one, two." in said


def test_a_name_cannot_act_on_the_terminal() -> None:
    assert "\x1b" not in printed({"one\x1b[2J": results(a=90)}, {"a": None})
