"""The board: encoders from any results in one table, each beside the controls of its own test images."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from selfsup.errors import UsageError
from selfsup.evaluation.results.verdict import row_role, scores_of
from selfsup.files import read_json, read_text
from selfsup.from_labels import labels_used_by
from selfsup.plain import parse
from selfsup.report.folder import RESULTS
from selfsup.report.scores import ROLES, cell
from selfsup.report.templates import rendered
from selfsup.runs import runs_in
from selfsup.shapes import NUMBER, TEXT, Each, Needed, fault
from selfsup.text import printable, shown

# What is read of results on one of several sets, beside what all results have.
_OF_SET = {"rows": Needed([{"name": Needed(TEXT)}]), "refused": Each({"reason": Needed(TEXT)})}


@dataclass
class Entry:
    """An encoder or a control, as some results have it, or a run that has none.

    Attributes:
        name: of the run, of the encoder in a table of several, or of what a control is.
        role: encoder, untrained, start, pixels or pca.
        origin: the run's folder or the file.
        method, data: as the results or the run's settings name them.
        images: test images.
        answers: what raw pixels score on them; sets that differ in this are different images.
        minutes: of training.
        scores: records by name.
        labels: whether it learned from labels.
        command: that made it.
        note: what is wrong with it.
    """

    name: str
    role: str
    origin: Path
    method: str = ""
    data: str = ""
    images: int | None = None
    answers: tuple[Any, ...] = ()
    minutes: float | None = None
    scores: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    labels: bool = False
    command: str = ""
    note: str = ""


def entries(paths: Sequence[Path]) -> list[Entry]:
    """What runs' folders, ``results.json`` files and tables of results (``.jsonl``) hold.

    Raises:
        UsageError: a path is none of these, or a folder has no runs.
    """
    found: list[Entry] = []
    for path in paths:
        if path.is_dir():
            runs = list(runs_in(path))
            if not runs:
                raise UsageError(f"no run is in '{path}'; name the folder of runs, or files of results")
            found += [entry for run in runs for entry in _of_run(run)]
        elif path.suffix in (".json", ".jsonl") and path.is_file():
            found += _of_file(path)
        else:
            raise UsageError(f"'{path}' is no folder of runs, and no file of results (.json or .jsonl)")
    return found


def _of_run(folder: Path) -> list[Entry]:
    bare = Entry(folder.name, "encoder", folder)
    try:
        config = parse(read_text(folder / "config.yaml"))
        bare.method, bare.data = (str((config.get(key) or {}).get("name", "")) for key in ("method", "data"))
        bare.labels = bool(labels_used_by(config))
        bare.command = _command(folder)
        if not (folder / "results.json").is_file():
            bare.note = "not judged: selfsup evaluate does it"
            return [bare]
        return _of_results(read_json(folder / "results.json"), bare)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        bare.note = f"cannot be read: {shown(str(error), 200)}"
        return [bare]


def _command(folder: Path) -> str:
    try:
        starts = read_json(folder / "environment.json").get("starts")
    except (OSError, ValueError):
        return ""
    return str(starts[0].get("command", "")) if isinstance(starts, list) and starts else ""


def _of_file(path: Path) -> list[Entry]:
    """Each line of a table is a row of a benchmark, with its results inside, or results by themselves."""
    whole = Entry(path.name, "encoder", path)
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        whole.note = f"cannot be read: {shown(str(error), 200)}"
        return [whole]
    if path.suffix == ".json":
        return _of_line(text, whole)
    lines = enumerate(text.splitlines(), start=1)
    named = ((line, Entry(f"{path.name}, line {number}", "encoder", path)) for number, line in lines)
    return [entry for line, bare in named for entry in _of_line(line, bare)]


def _of_line(text: str, bare: Entry) -> list[Entry]:
    try:
        row = json.loads(text)
        results = row.get("results", row)
        bare.command = str(row.get("command", ""))
        if row.get("method"):
            bare.method = str(row["method"])
            bare.name = bare.method + (f", seed {row['seed']}" if "seed" in row else "")
    except (ValueError, AttributeError, RecursionError) as error:
        bare.note = f"cannot be read: {shown(str(error), 200)}"
        return [bare]
    return _of_results(results, bare)


def _of_results(results: Mapping[str, Any], bare: Entry) -> list[Entry]:
    """The rows of some results, on one set of images or several; ``bare`` with a note if they are none."""
    if isinstance(results, Mapping) and isinstance(sets := results.get("sets"), Mapping):
        minutes = results.get("minutes")
        return [entry for name, found in sets.items() for entry in _of_set(found, minutes, bare, str(name))]
    if not isinstance(results, Mapping) or (wrong := fault(results, RESULTS)) or not results.get("rows"):
        bare.note = f"was not written by evaluate: {wrong if isinstance(results, Mapping) else 'no results'}"
        return [bare]
    pixels: Mapping[str, Any] = next((row for row in results["rows"] if row_role(row) == "pixels"), {})
    common: dict[str, Any] = {
        "data": str(results.get("data") or bare.data),
        "images": results.get("n_test"),
        "answers": tuple((name, score.get("value")) for name, score in scores_of(pixels).items()),
    }
    several = sum(row_role(row) == "encoder" for row in results["rows"]) > 1
    made = []
    for row in results["rows"]:
        role, scores = row_role(row), {k: s for k, s in row["scores"].items() if s.get("shown", True)}
        whose = f" ({bare.name})" if role in ("untrained", "start") else ""
        entry = Entry(ROLES.get(role, role) + whose, role, bare.origin, scores=scores, **common)
        if role == "encoder":
            entry.name = str(row.get("name", "")) if several else bare.name
            entry.method, entry.command = str(results.get("method") or bare.method), bare.command
            entry.minutes = results.get("minutes")
            entry.labels = bare.labels or bool(row.get("from_labels"))
        made.append(entry)
    return made


def _of_set(results: Any, minutes: Any, bare: Entry, name: str) -> list[Entry]:
    """The rows of one of several sets of images; an encoder that was not judged there has a note."""
    alone = replace(bare, data=name)
    if not isinstance(results, Mapping) or (wrong := fault(results, _OF_SET)):
        alone.note = f"was not written by evaluate: {wrong if isinstance(results, Mapping) else 'no results'}"
        return [alone]
    made = _of_results(results, alone) if results["rows"] else []
    if sum(entry.role == "encoder" for entry in made) == 1:  # which is called like the file otherwise
        called = next(row["name"] for row in results["rows"] if row_role(row) == "encoder")
        made = [replace(entry, name=called) if entry.role == "encoder" else entry for entry in made]
    if isinstance(minutes, Mapping) and not fault(minutes, Each(NUMBER)):
        for entry in made:
            entry.minutes = minutes.get(entry.name) if entry.role == "encoder" else None
    refused = (results.get("refused") or {}).items()
    return made + [replace(alone, name=each, note=f"not judged: {why['reason']}") for each, why in refused]


def sets_of(found: Sequence[Entry]) -> dict[tuple[Any, ...], str]:
    """A name for each set of test images: its data, the number of images, and what pixels score tell it."""
    keys = dict.fromkeys(_set(entry) for entry in found if entry.scores)
    named: dict[tuple[Any, ...], str] = {}
    for data, images, answers in keys:
        alike = [key for key in keys if key[:2] == (data, images)]
        number = f" (set {alike.index((data, images, answers)) + 1})" if len(alike) > 1 else ""
        named[data, images, answers] = f"{data}: {images} test images{number}"
    return named


def _set(entry: Entry) -> tuple[Any, ...]:
    return entry.data, entry.images, entry.answers


def board_page(found: Sequence[Entry], beside: Path) -> str:
    """The page; its links are relative to the folder ``beside``."""
    named = sets_of(found)
    columns: dict[str, str] = {}
    for entry in found:
        for key, score in entry.scores.items():
            columns.setdefault(key, str(score.get("title") or key))
    rows: list[dict[str, Any]] = []
    for entry in _once(found):
        values = {key: cell(score) for key, score in entry.scores.items()}
        report = entry.origin / "report.html"
        rows.append(
            {
                "name": entry.name,
                "role": entry.role,
                "method": entry.method + (" (labels)" if entry.labels else ""),
                "set": named.get(_set(entry), ""),
                "minutes": entry.minutes,
                "cells": values,
                "command": entry.command,
                "note": entry.note,
                "report": _link(report, beside) if report.is_file() else "",
            }
        )
    own = sum(row["role"] == "encoder" for row in rows)
    counts = [sum(row["set"] == name for row in rows) for name in named.values()]
    return rendered(
        "board.html",
        **printable(
            {
                "title": "1 encoder" if own == 1 else f"{own} encoders",
                "rows": rows,
                "columns": columns,
                "sets": [name for _, name in sorted(zip(counts, named.values(), strict=True), reverse=True)],
            }
        ),
    )


def _once(found: Sequence[Entry]) -> Iterator[Entry]:
    """Without the controls that several results of the same images repeat."""
    seen = []
    for entry in found:
        same = (entry.role, _set(entry), {key: score.get("value") for key, score in entry.scores.items()})
        if entry.role != "encoder" and same in seen:
            continue
        seen.append(same)
        yield entry


def _link(path: Path, beside: Path) -> str:
    return os.path.relpath(path.resolve(), beside.resolve()).replace(os.sep, "/")
