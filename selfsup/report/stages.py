"""The forgetting table of a run that learned from one data set after another."""

from collections.abc import Mapping
from typing import Any

from selfsup.report.scores import cell


def forgetting_in_words(found: Mapping[str, Any]) -> list[str]:
    """A sentence about each data set but the last, and about whatever was not judged.

    >>> change = {"set": "one", "difference": -0.021, "interval": [-0.03, -0.01], "within_noise": False}
    >>> forgetting_in_words({"changes": [change], "reasons": {"two": "there are no labels"}})
    ['one, since it was learned: kNN -2.1 points [-3.0, -1.0].', 'two is not judged: there are no labels.']
    """
    says = []
    for change in found.get("changes", []):
        low, high = (100 * end for end in change["interval"])
        noise = ", within the noise" if change["within_noise"] else ""
        points = f"{100 * change['difference']:+.1f} points [{low:+.1f}, {high:+.1f}]"
        says.append(f"{change['set']}, since it was learned: kNN {points}{noise}.")
    return says + [f"{name} is not judged: {why}." for name, why in found.get("reasons", {}).items()]


def forgetting_table(found: Mapping[str, Any]) -> dict[str, Any]:
    """Columns, one a data set; rows with name, role and cells; and :func:`forgetting_in_words`."""
    rows = found.get("rows", [])
    return {
        "columns": list(dict.fromkeys(name for row in rows for name in row["scores"])),
        "rows": [
            {
                "name": row.get("name", ""),
                "role": row.get("role", ""),
                "cells": {name: cell({**score, "accuracy": True}) for name, score in row["scores"].items()},
            }
            for row in rows
        ],
        "says": forgetting_in_words(found),
    }
