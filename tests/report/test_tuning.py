"""The page of a search: every trial, the first and the best marked, and nothing of a journal is markup."""

from typing import Any

from selfsup.report.tuning import scatter, tuning_page
from selfsup.tuning.found import CURSE, found
from selfsup.tuning.space import Dimension
from selfsup.tuning.study import Trial

SPACE = [Dimension("crop", 0.1, 0.9, default=0.5), Dimension("method.masking", choices=("a", "b", "c"))]


def trials(reason: str = "it collapsed") -> list[Trial]:
    return [
        Trial(0, "complete", {"crop": 0.5}, 0.5, [0.4, 0.6], 2.0),
        Trial(1, "complete", {"crop": 0.1, "method.masking": "c"}, 0.7, [0.6, 0.8], 2.5),
        Trial(2, "pruned", {"crop": 0.9, "method.masking": "a"}, minutes=0.5, reason=reason),
    ]


def page(made: list[Trial], **more: Any) -> str:
    outcome = found(made, "rotation")
    assert outcome is not None
    about = {"title": "Search", "command": "selfsup tune", "commands": ["selfsup train"], "changed": {"a": 1}}
    return tuning_page(made, SPACE, outcome, score="rotation", **{**about, **more})


def test_the_table_has_every_trial() -> None:
    text = page(trials())
    assert text.count('<th scope="row"') == 3
    assert "0 (as they are)" in text
    assert "1 ★" in text
    assert "as it is" in text  # the first has a value that is no choice
    assert "ended early: it collapsed" in text
    assert "5.0 minutes in all; 1 without a score" in text
    assert CURSE.split(":")[0] in text
    assert "± 0.1" in text


def test_a_journal_is_no_markup() -> None:
    text = page(trials("<script>alert(1)</script>"), title="<b>", command="<i>")
    assert "<script>alert" not in text
    assert "<title><b>" not in text
    assert "&lt;i&gt;" in text


def test_a_point_lies_where_its_values_are() -> None:
    made = trials()
    outcome = found(made, "rotation")
    assert outcome is not None
    crop, masking = (scatter(made, each, outcome) for each in SPACE)
    assert [point["role"] for point in crop["points"]] == ["first", "best"]
    first, best = crop["points"]
    assert best["x"] < first["x"]  # a smaller crop
    assert best["y"] < first["y"]  # and higher, as y grows downwards
    assert crop["ends"] == ["0.1", "0.9"]
    (only,) = masking["points"]  # the first has none, and what was pruned has no score
    assert only["x"] == best["x"] + (first["x"] - best["x"]) * 2  # the right end


def test_a_ratio_is_drawn_as_one() -> None:
    made = [Trial(number, "complete", {"x": 10.0 ** (number - 1)}, 0.5 + number) for number in range(3)]
    outcome = found(made, "rotation")
    assert outcome is not None
    points = scatter(made, Dimension("x", 0.1, 10.0, log=True), outcome)["points"]
    low, middle, high = (point["x"] for point in points)
    assert middle - low == high - middle
