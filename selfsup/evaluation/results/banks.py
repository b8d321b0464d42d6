"""Several banks judged by the same encoders: data compared by what they are worth for one set of queries."""

from collections.abc import Mapping
from typing import Any

from selfsup.evaluation.results.comparison import compare


def beside(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The results of several banks, by name, as one table that ranks them.

    A row is an encoder's scores with one bank; differences are paired over the same test samples, as between
    encoders (:func:`selfsup.evaluation.compare`). Data are compared so in SELECT (Gupta et al. 2024,
    arXiv:2410.05057).

    Args:
        found: of :func:`selfsup.evaluation.evaluate`, with the same encoders and test images.

    Returns:
        As of one evaluation, and ``banks``: the number of images of each.
    """
    first = next(iter(found.values()))
    alone = sum(row["role"] == "encoder" for row in first["rows"]) == 1
    rows = []
    for bank, results in found.items():
        called = {
            row["name"]: bank if alone and row["role"] == "encoder" else f"{row['name']}, {bank}"
            for row in results["rows"]
        }
        for row in results["rows"]:
            others = {key: called.get(row[key], row[key]) for key in ("untrained", "start")}
            rows.append({**row, "name": called[row["name"]], "bank": bank, **others})
    rows.sort(key=lambda row: row["role"] != "encoder")
    skipped = {f"{bank}, train": results["skipped"]["train"] for bank, results in found.items()}
    return {
        **{key: value for key, value in first.items() if key != "gains"},
        "labels": all(results["labels"] for results in found.values()),
        "banks": {bank: results["n_train"] for bank, results in found.items()},
        "n_train": None,
        "skipped": {**skipped, "test": first["skipped"]["test"]},
        "rows": rows,
        "comparison": compare(rows),
    }
