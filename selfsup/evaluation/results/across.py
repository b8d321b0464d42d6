"""Encoders judged on several sets of images: what each gains over an untrained one, and their ranks."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from selfsup.evaluation.results.comparison import difference
from selfsup.evaluation.results.verdict import above, control_row, encoder_rows

Results = Mapping[str, Any]


def across(sets: Mapping[str, Results]) -> dict[str, Any]:
    """Summarise the accuracies of encoders and controls on several sets of images.

    On one set a row's *gain* is (score - untrained) / (best - untrained): 0 is the best untrained encoder of
    the table and 1 the best trained one. An encoder's *rank* is 1 + the number of encoders that are surely
    better than it, which a paired 95 % interval of the difference above 0 says; encoders that no interval
    tells apart share a rank. Both are averaged over the sets on which they are known. Sets are not a sample
    of anything: the means are about these, without an interval.

    A set on which no encoder is surely better than the untrained ones gives no gains: their scale would be
    noise.

    Args:
        sets: by name, of :func:`selfsup.evaluation.evaluate`. A set may lack rows of some encoders.

    Returns:
        By the name of each accuracy: ``title``; ``rows``, by name ``gain`` and ``rank``, each None where
        there is none, and ``gain_sets`` and ``rank_sets``, the sets that they are of; ``flat``, the sets that
        give no gains.
    """
    names: dict[str, str] = {}
    for results in sets.values():
        for row in results["rows"]:
            for name, score in row["scores"].items():
                if score["labels"] and score["shown"]:
                    names[name] = names.get(name) or score["title"] or ""
    return {name: {"title": title or name, **_of_score(name, sets)} for name, title in names.items()}


def _of_score(name: str, sets: Mapping[str, Results]) -> dict[str, Any]:
    gains: dict[str, dict[str, float]] = {}
    ranks: dict[str, dict[str, int]] = {}
    flat = []
    for called, results in sets.items():
        encoders = _with(name, encoder_rows(results))
        if not encoders:
            continue
        ranks[called] = ranks_of(name, encoders)
        untrained = _with(name, [control_row(results, row, "untrained") for row in encoders])
        if not untrained:
            continue
        found = gains_of(name, _with(name, results["rows"]), encoders, untrained)
        if found is None:
            flat.append(called)
        else:
            gains[called] = found
    rows = dict.fromkeys(row["name"] for results in sets.values() for row in results["rows"])
    return {"rows": {row: {**_mean("gain", gains, row), **_mean("rank", ranks, row)} for row in rows}} | {
        "flat": flat
    }


def ranks_of(name: str, encoders: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The rank of each encoder on one set: 1 + the number of those surely better in score ``name``."""
    return {
        row["name"]: 1 + sum(surely_better(name, other, row) for other in encoders if other is not row)
        for row in encoders
    }


def gains_of(
    name: str,
    rows: Iterable[Mapping[str, Any]],
    encoders: Sequence[Mapping[str, Any]],
    untrained: Sequence[Mapping[str, Any]],
) -> dict[str, float] | None:
    """The gain of each row on one set, None if no encoder is surely better than the untrained ones."""
    best, floor = (max(group, key=lambda row: _value(name, row)) for group in (encoders, untrained))
    if not surely_better(name, best, floor):
        return None
    low, high = _value(name, floor), _value(name, best)
    return {row["name"]: (_value(name, row) - low) / (high - low) for row in rows}


def surely_better(name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether the paired 95 % interval of the difference lies above 0; without pairs, the scores' own."""
    found = difference(name, one, other)
    if found is None:
        return above(one["scores"][name], other["scores"][name])
    return bool(found["interval"][0] > 0)


def _mean(what: str, values: Mapping[str, Mapping[str, float]], row: str) -> dict[str, Any]:
    own = {called: found[row] for called, found in values.items() if row in found}
    return {what: sum(own.values()) / len(own) if own else None, f"{what}_sets": list(own)}


def _with(name: str, rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows that have a value of the score."""
    return [row for row in rows if row and row["scores"].get(name, {}).get("value") is not None]


def _value(name: str, row: Mapping[str, Any]) -> float:
    return float(row["scores"][name]["value"])
