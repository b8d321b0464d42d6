"""Sentences about whether runs side by side differ by more than noise."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from selfsup.evaluation.results.comparison import difference
from selfsup.evaluation.results.verdict import control_row, encoder_rows, is_accuracy, scores_of
from selfsup.report.folder import Run

Row = Mapping[str, Any]


def side_by_side(runs: Sequence[Run]) -> list[str]:
    """A sentence for each score: the best run, and those within noise of it; none for a single run."""
    rows = [
        {**encoder_rows(run.results)[0], "name": run.name}
        for run in runs
        if run.results is not None and encoder_rows(run.results)
    ]
    names = dict.fromkeys(
        name
        for row in rows
        for name, score in scores_of(row).items()
        if is_accuracy(score) and score.get("shown", True)
    )
    compared = {name: [row for row in rows if name in scores_of(row)] for name in names}
    lines = [_sentence(name, own, _paired(runs, own)) for name, own in compared.items() if len(own) > 1]
    if not lines:
        return []
    if marked := [run.name for run in runs if run.mark]:
        lines.append(f"{_list(marked)} learned from labels.")
    if all(_paired(runs, own) for own in compared.values() if len(own) > 1):
        return [*lines, "Points of accuracy with 95 % intervals, paired over the same test images."]
    return [
        *lines,
        "It is not certain that these runs were judged on the same images, so each score's own 95 % interval "
        "counts, which shows large differences only.",
    ]


def _sentence(name: str, rows: Sequence[Row], paired: bool) -> str:
    best, *others = sorted(rows, key=lambda row: -row["scores"][name]["value"])
    found = [_gap(name, best, other, paired) for other in others]
    apart = [words for words, clear in found if clear]
    close = [words for words, clear in found if not clear]
    parts = [f"{best['name']} is better than {_list(apart)}"] if apart else []
    parts += [f"{best['name']} is within noise of {_list(close)}"] if close else []
    return f"{rows[0]['scores'][name].get('title') or name}: {'; '.join(parts)}."


def _gap(name: str, best: Row, other: Row, paired: bool) -> tuple[str, bool]:
    """The other with its distance from the best, and whether that is more than noise."""
    try:
        entry = difference(name, best, other) if paired else None
    except (ValueError, TypeError, KeyError):  # an edited or damaged results.json
        entry = None
    if entry is not None:
        low, high = (100 * end for end in entry["interval"])
        said = f"{other['name']} by {100 * entry['difference']:.1f} points ({low:.1f} to {high:.1f})"
        return said, not entry["within_noise"]
    one, two = (row["scores"][name] for row in (best, other))
    said = f"{other['name']} ({100 * one['value']:.1f} % against {100 * two['value']:.1f} %)"
    intervals = [score.get("interval") for score in (one, two)]
    return said, all(intervals) and intervals[0][0] > intervals[1][1]


def _paired(runs: Sequence[Run], rows: Sequence[Row]) -> bool:
    """Whether rows are of the same test images, with an answer for each."""
    names = [row["name"] for row in rows]
    judged = [run for run in runs if run.name in names and run.results is not None]
    return all(_same_images(*pair) for pair in combinations(judged, 2))


def _same_images(one: Run, other: Run) -> bool:
    """Judged by the data's settings, the count, and the pixels' own answers, image by image."""
    if one.results is None or other.results is None:
        return False
    data = [[(run.config.get("data") or {}).get(key) for key in ("source", "test")] for run in (one, other)]
    said = [
        (results.get("data"), results.get("n_test"), (results.get("skipped") or {}).get("test"))
        for results in (one.results, other.results)
    ]
    pixels = [control_row(results, {}, "pixels") for results in (one.results, other.results)]
    seen = [row.get("preprocessing") for row in pixels]
    answers = [[score.get("correct") for score in scores_of(row).values()] for row in pixels]
    return data[0] == data[1] and said[0] == said[1] and (seen[0] != seen[1] or answers[0] == answers[1])


def _list(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
