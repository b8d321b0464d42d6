"""The evaluation as a table: encoders and controls, with their intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

from selfsup.evaluation.results.verdict import is_accuracy, row_role
from selfsup.report.folder import Run

ROLES = {
    "start": "the weights it began with",
    "untrained": "the same architecture, untrained",
    "pixels": "raw pixels",
    "pca": "principal components of the pixels",
}


def scores_table(runs: Sequence[Run]) -> dict[str, Any]:
    """Columns, one a protocol, and rows: the encoder of every run, then the controls.

    Runs that were judged on the same images share their pixels; untrained architectures differ.

    Returns:
        ``columns``, titles by protocol; ``rows``, each with name, role, run, its ``index`` and cells by
        protocol; and ``notes``, the flags: names of rows, and the columns that each is about.
    """
    columns: dict[str, dict[str, Any]] = {}
    rows: list[dict[str, Any]] = []
    judged = [(i, run, row) for i, run in enumerate(runs) if run.results for row in run.results["rows"]]
    for i, run, row in sorted(judged, key=lambda each: row_role(each[2]) != "encoder"):
        shown = {key: score for key, score in row["scores"].items() if score.get("shown", True)}
        for key, score in shown.items():
            columns.setdefault(key, {"title": score.get("title") or key})
        line = {
            "name": _name(run, row, len(runs) > 1),
            "role": row_role(row),
            "cells": {key: cell(score) for key, score in shown.items()},
            "to_mind": {
                key: [*filter(None, [score.get("reason"), *score.get("flags", ())])]
                for key, score in shown.items()
            },
        }
        # Runs that were judged alike on the same images have the same pixels.
        if line not in [{key: each[key] for key in line} for each in rows]:
            rows.append({**line, "run": run.name, "index": i})
    names = [row["name"] for row in rows]
    for row in rows:
        if names.count(row["name"]) > 1:
            row["name"] += f" ({row['run']})"
    notes: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        for key, texts in row["to_mind"].items():
            for note in texts:
                notes.setdefault(note, {}).setdefault(row["name"], []).append(columns[key]["title"])
    return {"columns": columns, "rows": rows, "notes": notes}


def cell(score: Mapping[str, Any]) -> dict[str, Any]:
    """A score as text, with what a bar needs: value and interval in percent of the longest bar."""
    value, interval = score.get("value"), score.get("interval")
    blank = {"value": value, "small": "", "bar": None, "low": None, "high": None}
    if value is None:
        return {**blank, "text": "–"}
    if not is_accuracy(score):
        # Records without the key are from versions with RankMe as the only such score.
        top = score.get("top", score.get("settings", {}).get("width"))
        part = {"small": f"of {top:g}", "bar": 100 * value / top} if top else {}
        return {**blank, "text": f"{value:.3g}", **part}
    found: dict[str, Any] = {**blank, "text": f"{100 * value:.1f}", "bar": 100 * value}
    if interval:
        low, high = (100 * end for end in interval)
        found |= {"small": f"{low:.1f} to {high:.1f}", "low": low, "high": high}
    return found


def _name(run: Run, row: Mapping[str, Any], several: bool) -> str:
    role = row_role(row)
    if role == "encoder":
        return (run.name if several else "this encoder") + run.mark
    name = ROLES.get(role, str(row.get("name", role)))
    return f"{name} ({run.name})" if role in ("untrained", "start") and several else name
