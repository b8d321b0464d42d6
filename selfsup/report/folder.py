"""The content of a run's folder, as far as it can be read; the rest is listed in ``missing``."""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfsup.callbacks.checkpoint_files import newest_intact
from selfsup.data.decisions import decisions_of
from selfsup.errors import UsageError
from selfsup.files import read_json
from selfsup.from_labels import labels_used_by
from selfsup.runs import read_config, require_own
from selfsup.shapes import LARGEST, NUMBER, SIDES, TEXT, TRUTH, WHOLE, Each, Needed, fault, without_null
from selfsup.tables import read_rows
from selfsup.text import shown

_SIGNS = ("config.yaml", "metrics.csv", "results.json", "encoder")
_SCORE = {
    "value": NUMBER,
    "interval": (NUMBER, NUMBER),
    "title": TEXT,
    "shown": TRUTH,
    "accuracy": TRUTH,
    "flags": [TEXT],
    "reason": TEXT,
    "top": NUMBER,
    "settings": {"width": NUMBER},
}
# Their parts that the report reads.
RESULTS = {
    "encoder": TEXT,
    "labels": TRUTH,
    "n_train": WHOLE,
    "n_test": WHOLE,
    "rows": [{"name": TEXT, "role": TEXT, "scores": Needed(Each(_SCORE))}],
}
_FORGETTING = {
    "rows": [{"name": TEXT, "role": TEXT, "scores": Needed(Each(_SCORE))}],
    "changes": [
        {
            "set": Needed(TEXT),
            "difference": Needed(NUMBER),
            "interval": Needed((NUMBER, NUMBER)),
            "within_noise": Needed(TRUTH),
        }
    ],
    "reasons": Each(TEXT),
}
_CARD = {
    "fingerprint": TEXT,
    "minutes": NUMBER,
    "from_labels": [TEXT],
    "recipe": {"name": TEXT, "image_size": SIDES, "channels": WHOLE},
}


@dataclass
class Run:
    """A run as read from its folder.

    Attributes:
        name: the folder's.
        config: the resolved configuration; empty if it cannot be read.
        metrics, online, spectrum: rows of ``metrics.csv``, ``online.csv`` and ``spectrum.csv``, their numbers
            as floats.
        warnings: rows of ``warnings.csv``: warnings of the collapse guard.
        results: ``results.json``, or None.
        card: the newest encoder's ``card.json``; empty if there is none.
        encoder: the newest encoder's folder, or None.
        checkpoint: the newest checkpoint, or None.
        skipped: names and reasons of the images that could not be read.
        missing: missing or unreadable files, a sentence each.
        data: decisions about the images, a sentence each.
        forgetting: ``forgetting.json``, of a run that learned from one data set after another; else None.
    """

    name: str
    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, float]] = field(default_factory=list)
    online: list[dict[str, float]] = field(default_factory=list)
    spectrum: list[dict[str, float]] = field(default_factory=list)
    warnings: list[dict[str, str]] = field(default_factory=list)
    results: dict[str, Any] | None = None
    card: dict[str, Any] = field(default_factory=dict)
    encoder: Path | None = None
    checkpoint: Path | None = None
    skipped: list[dict[str, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    data: list[str] = field(default_factory=list)
    forgetting: dict[str, Any] | None = None

    @property
    def mark(self) -> str:
        """What stands behind its name or its method's: whether it learned from labels."""
        used = self.card.get("from_labels") or (labels_used_by(self.config) if self.config else [])
        return " (labels)" if used else ""


def read_run(folder: str | Path) -> Run:
    """Read a run's folder.

    Raises:
        UsageError: it is missing, or contains no file of a run.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"there is no run '{folder}'; a run leaves a folder in runs/")
    if not any((folder / sign).exists() for sign in _SIGNS):
        raise UsageError(f"'{folder}' is not a run's folder: it has none of {', '.join(_SIGNS)}")
    require_own(folder)
    run = Run(folder.resolve().name, folder)
    try:
        run.config = read_config(folder, "report")
    except UsageError as error:
        run.missing.append(f"The settings cannot be read: {error}.")
    run.data = _decisions(folder / "data.json", run.missing)
    run.metrics = _numbers(folder / "metrics.csv", run.missing)
    if not run.metrics:
        run.missing.append("No step was logged (metrics.csv): the run stopped before its first one.")
    run.online = _numbers(folder / "online.csv", run.missing)
    run.spectrum = _numbers(folder / "spectrum.csv", run.missing)
    run.warnings = _rows(folder / "warnings.csv", ("step", "name", "message"), run.missing)
    run.warnings = [row for row in run.warnings if _number(row["step"]) is not None]
    run.skipped = [
        row
        for path in sorted(folder.glob("skipped*.csv"))
        for row in _rows(path, ("image", "reason"), run.missing)
    ]
    saved = [path for path in folder.iterdir() if re.fullmatch(r"encoder(-\d+)?", path.name)]
    whole = [path for path in saved if (path / "config.json").is_file()]
    run.encoder = max(whole, key=lambda path: path.stat().st_mtime, default=None)
    run.checkpoint, damaged = newest_intact(folder)
    run.missing += [f"{path.name} is damaged ({reason})." for path, reason in damaged]
    if run.encoder is not None:
        run.card = _json(run.encoder / "card.json", _CARD, run.missing) or {}
    else:
        run.missing.append("The run has not saved an encoder: it did not finish.")
    run.results = _results(folder, run)
    if (path := folder / "forgetting.json").is_file():
        run.forgetting = _json(path, _FORGETTING, run.missing)
    return run


def _decisions(path: Path, missing: list[str]) -> list[str]:
    try:
        return decisions_of(read_json(path)).lines()
    except FileNotFoundError:
        return []  # a run from before this file existed
    except (OSError, ValueError) as error:
        missing.append(f"{path.name} cannot be read ({_reason(error)}).")
        return []


def _results(folder: Path, run: Run) -> dict[str, Any] | None:
    """The newest results of the encoder that was saved last."""
    found = [
        results
        for path in sorted(folder.glob("results*.json"), key=lambda path: path.stat().st_mtime)
        if (results := _json(path, RESULTS, run.missing)) and results.get("rows")
    ]
    own = [results for results in found if results.get("encoder") == run.card.get("fingerprint")]
    if not found:
        run.missing.append("The encoder was not judged (results.json); 'selfsup evaluate' does it.")
        return None
    return (own or found)[-1]


def _json(path: Path, shape: dict[str, Any], missing: list[str]) -> dict[str, Any] | None:
    """The content of a JSON file of a shape, without nulls; None if it is missing or of another shape."""
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        missing.append(f"{path.name} cannot be read ({_reason(error)}).")
        return None
    if wrong := fault(content, shape):
        missing.append(f"{path.name} was not written by a run ({wrong}).")
        return None
    found: dict[str, Any] = without_null(content, shape)
    return found


def _rows(path: Path, needed: tuple[str, ...], missing: list[str]) -> list[dict[str, str]]:
    """The complete rows of a CSV file, with the needed columns."""
    try:
        return [row for row in read_rows(path) if row.keys() >= {*needed}]
    except (OSError, ValueError) as error:
        missing.append(f"{path.name} cannot be read ({_reason(error)}).")
        return []


def _numbers(path: Path, missing: list[str]) -> list[dict[str, float]]:
    """Rows with a step, ordered by it, with their numeric values."""
    rows = [
        {
            name: number
            for name, text in row.items()
            if (number := _number(text, finite=name == "step")) is not None
        }
        for row in _rows(path, ("step",), missing)
    ]
    return sorted((row for row in rows if "step" in row), key=lambda row: row["step"])


def _number(text: str, finite: bool = True) -> float | None:
    """A number in a table; a loss may be infinite or NaN. None for text that no run writes."""
    try:
        number = float(text)
    except ValueError:
        return None
    if math.isfinite(number):
        return number if abs(number) <= LARGEST else None
    return None if finite else number


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error) or "it cannot be opened"
    return shown((str(error).splitlines() or [type(error).__name__])[0], 200)
