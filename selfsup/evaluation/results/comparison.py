"""Several encoders: which differences are noise, and whether it takes labels to see them."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from selfsup.evaluation.intervals import NORMAL_QUANTILE, student
from selfsup.evaluation.label_free.clid import Clid, clid_scores
from selfsup.evaluation.score import unpack

FEWEST = 3  # encoders, below which a rank correlation says nothing


def compare(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Compare the rows of several encoders.

    Args:
        rows: of :func:`selfsup.evaluation.evaluate`; controls among them are ignored.

    Returns:
        ``by``, the score that ranks them: the first with labels, if there is one, that has a value for
        each; ``ranking``, names from best to worst; ``differences``, for each score with labels and each
        pair in that order the ``difference`` of first and second with a 95 % ``interval``, and whether it is
        ``within_noise``: the interval holds 0; ``clid``, :func:`clid_scores` of the encoders by name, if all
        have its two parts; ``rank_correlation``, Spearman's, of each label-free score with each labelled one
        over the encoders, where there are three or more.
    """
    rows = [row for row in rows if row["role"] == "encoder"]
    names = [name for name in rows[0]["scores"] if all(_value(row, name) is not None for row in rows)]
    labelled = [name for name in names if rows[0]["scores"][name]["labels"]]
    free = [name for name in names if name not in labelled and rows[0]["scores"][name]["shown"]]
    by = next(iter([*labelled, *free]), None)
    clid = _clid(rows)
    ranked = list(rows) if by is None else sorted(rows, key=lambda row: -_goodness(row, by))
    return {
        "by": by,
        "ranking": [row["name"] for row in ranked],
        "differences": [
            found
            for name in labelled
            for pair in combinations(ranked, 2)
            if (found := difference(name, *pair)) is not None
        ],
        "clid": clid,
        "rank_correlation": _correlations(rows, free, labelled, clid) if len(rows) >= FEWEST else {},
    }


def gains(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The :func:`difference`, in each score with labels, of an encoder and what its training began with."""
    by_name = {row["name"]: row for row in rows}
    return [
        found
        for row in rows
        if row.get("start") is not None
        for name, score in row["scores"].items()
        if score["labels"] and score["value"] is not None
        if (found := difference(name, row, by_name[row["start"]])) is not None
    ]


def paired(first: Tensor, second: Tensor) -> tuple[float, tuple[float, float]]:
    """Difference of two accuracies on the same samples, and its 95 % interval.

    With b samples that only the first answered rightly and c that only the second did, out of n:
    ``(b - c) / n``; the interval is Wald's after adding half a sample to each of the four outcomes (Agresti
    and Min 2005, Statistics in Medicine 24:729), which holds its level for few samples too. It is narrower
    than the two accuracies' intervals suggest, since most samples are easy or hard for both.

    Args:
        first, second: bool ``(n,)``, which samples were answered rightly.

    Example:
        >>> right = torch.tensor([True] * 90 + [False] * 10)
        >>> difference, (low, high) = paired(right, right.roll(5))
        >>> round(difference, 3), round(low, 3), round(high, 3)
        (0.0, -0.064, 0.064)
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    count = len(first) + 2
    middle = (only_first - only_second) / count
    spread = math.sqrt((only_first + only_second + 1) / count - middle**2) / math.sqrt(count)
    half = NORMAL_QUANTILE * spread
    return (only_first - only_second) / len(first), (max(middle - half, -1.0), min(middle + half, 1.0))


def spearman(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None if one of the two is constant.

    Example:
        >>> spearman([1, 2, 3, 4], [10, 30, 20, 40])
        0.8
    """
    ranks = torch.stack([_ranks(torch.tensor(values, dtype=torch.float64)) for values in (x, y)])
    ranks -= ranks.mean(dim=1, keepdim=True)
    lengths = ranks.norm(dim=1)
    if not lengths.all():
        return None
    return round(float(ranks[0] @ ranks[1] / lengths.prod()), 12)


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 0; equal values share their mean rank."""
    below, same = values[:, None] > values, values[:, None] == values
    return below.sum(1) + (same.sum(1).double() - 1) / 2


def _clid(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """CLID of all encoders: it is standardised over them, so that a row alone has none."""
    halves = [[_value(row, f"clid-{half}") for half in ("learnability", "dimension")] for row in rows]
    found = [Clid(one, two, 0, 0) for one, two in halves if one is not None and two is not None]
    if len(found) < len(rows):
        return {}
    return dict(zip((row["name"] for row in rows), clid_scores(found), strict=True))


def _correlations(
    rows: Sequence[Mapping[str, Any]], free: Sequence[str], labelled: Sequence[str], clid: Mapping[str, float]
) -> dict[str, dict[str, float | None]]:
    columns = {name: [_goodness(row, name) for row in rows] for name in [*free, *labelled]}
    if clid:
        columns["clid"] = [clid[row["name"]] for row in rows]
    return {
        name: {other: spearman(columns[name], columns[other]) for other in labelled}
        for name in columns
        if name not in labelled
    }


def difference(name: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any] | None:
    """The difference in score ``name`` between two rows, as an entry of :func:`compare`'s ``differences``.

    Paired over test samples, or over draws of the same labelled samples; None if neither is recorded.
    """
    one, two = (row["scores"][name] for row in (first, second))
    draws = [(score.get("settings") or {}).get("accuracies") or [] for score in (one, two)]
    if one.get("correct") and two.get("correct") and one.get("n_test") == two.get("n_test"):
        gain, interval = paired(*(unpack(score["correct"], score["n_test"]) for score in (one, two)))
        over = "test samples"
    elif len(draws[0]) == len(draws[1]) > 1 and one.get("seed") == two.get("seed"):
        gains = [a - b for a, b in zip(*draws, strict=True)]
        gain, interval = sum(gains) / len(gains), student(gains)
        over = "draws"
    else:
        return None
    return {
        "score": name,
        "first": first["name"],
        "second": second["name"],
        "difference": gain,
        "interval": list(interval),
        "within_noise": interval[0] <= 0 <= interval[1],
        "paired_over": over,
    }


def _value(row: Mapping[str, Any], name: str) -> float | None:
    score = row["scores"].get(name)
    return None if score is None else score["value"]


def _goodness(row: Mapping[str, Any], name: str) -> float:
    score = row["scores"][name]
    return -score["value"] if score["higher_is_better"] is False else float(score["value"])
