"""``selfsup/evidence.json``: what ``selfsup advise`` and runs go by, from the results."""

import json
from statistics import fmean
from typing import Any

from benchmarks.rows import METHODS, Row, read
from benchmarks.tables import matrix
from selfsup.config import load_config
from selfsup.from_labels import learns_from_labels

SUITES = ("digits", "cifar10-cpu")
SCORES = ("linear", "knn")


def written() -> str:
    """The file's text: an object of two lists, with a line a row."""
    found = {"methods": [row for suite in SUITES for row in methods(suite)], "choices": matrix.choices()}
    lists = (f'"{key}": [\n' + ",\n".join(map(json.dumps, rows)) + "\n]" for key, rows in found.items())
    return "{\n" + ",\n".join(lists) + "\n}\n"


def methods(suite: str) -> list[Row]:
    """A row a method without labels (:class:`selfsup.evidence.Measured`)."""
    found = []
    for method in METHODS:
        rows = [row for row in read(suite) if row["method"] == method]
        if not rows or learns_from_labels("method", method):
            continue
        experiment = f"{suite.replace('-', '_')}_{method}"
        about = {"suite": suite, "method": method, "experiment": experiment}
        about |= {"images": _learned_from(rows[0]), "epochs": _epochs(experiment), "seeds": len(rows)}
        about["minutes"] = min(row["minutes_in_all"] for row in rows)
        for name in SCORES:
            own, untrained = ([_score(row, kind, name) for row in rows] for kind in ("encoder", "untrained"))
            about[name] = round(fmean(each["value"] for each in own), 4)
            about[f"{name}_interval"] = [round(end, 4) for end in own[0]["interval"]]
            about[f"{name}_untrained"] = round(fmean(each["value"] for each in untrained), 4)
        found.append(about)
    return found


def _learned_from(row: Row) -> int:
    return int(row["results"]["n_train"])


def _epochs(experiment: str) -> int:
    return int(load_config("train", [f"experiment={experiment}"])["trainer"]["max_epochs"])


def _score(row: Row, kind: str, name: str) -> dict[str, Any]:
    scores: dict[str, Any] = next(each["scores"] for each in row["results"]["rows"] if each["name"] == kind)
    return dict(scores[name])
