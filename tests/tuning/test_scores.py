"""Which scores can judge a search, and where they cannot."""

import pytest

from selfsup.config import load_config, options
from selfsup.errors import UsageError
from selfsup.evaluation.label_free.spectra import ABOUT
from selfsup.tuning.scores import SCORES, SPREADING, require_score
from selfsup.tuning.space import Dimension


def judged(score: str, *overrides: str, space: tuple[Dimension, ...] = ()) -> list[str]:
    return require_score(score, load_config("tune", list(overrides)), space)


def test_names_are_those_of_protocols_methods_and_losses() -> None:
    assert {kind.protocol for kind in SCORES.values()} <= set(options("protocols"))
    assert {name for name, kind in SCORES.items() if kind.protocol == "spectra"} <= set(ABOUT)
    assert {*options("method"), *options("auxiliary")} >= SPREADING
    assert {"knn", "loss"}.isdisjoint(SCORES)


@pytest.mark.parametrize(
    ("score", "overrides", "words"),
    [
        ("loss", ["method=simclr"], "its value moves with temperatures"),
        ("knn", ["method=simclr"], "it needs labels"),
        ("rotatoin", ["method=simclr"], "did you mean 'rotation'|rotation"),
        ("rotation", ["method=simclr", "data.turns=true"], "a turn means nothing"),
        (
            "rotation",
            ["method=simclr", "auxiliary=[rotation]", "views.each.turn=whole"],
            r"views\.each\.turn",
        ),
        ("rankme", ["method=vicreg"], "the loss of vicreg raises"),
        ("alpha-req", ["method=simclr", "auxiliary=[koleo]"], "the loss of koleo raises"),
        ("rankme-centred", ["method=dinov2"], "the loss of koleo raises"),
    ],
)
def test_a_score_that_cannot_judge_is_refused(score: str, overrides: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        judged(score, *overrides)


def test_a_search_over_turns_cannot_be_judged_by_them() -> None:
    turn = Dimension("views.each.turn", choices=("none", "whole"))
    with pytest.raises(UsageError, match=r"learns from turned views \(views.each.turn\)"):
        judged("rotation", "method=simclr", space=(turn,))


def test_what_qualifies_a_score_is_said() -> None:
    assert judged("rotation", "method=barlow") == []
    assert "has no interval" in judged("rankme", "method=simclr")[0]
    assert "raises the spread" in judged("lidar", "method=barlow")[0]
