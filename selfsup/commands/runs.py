"""``selfsup runs [FOLDER ...]``: a row a run, read from its small files, without torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rich.box import SIMPLE
from rich.table import Table

from selfsup.errors import UsageError
from selfsup.files import read_json, read_text
from selfsup.from_labels import labels_used_by
from selfsup.hints import near
from selfsup.plain import parse
from selfsup.runs import runs_in
from selfsup.shapes import NUMBER, TEXT, WHOLE, Each, Needed, fault
from selfsup.tables import read_rows, step_of
from selfsup.terminal import make_console
from selfsup.text import shown

SCORES = {"knn": "kNN", "linear": "linear", "rankme": "RankMe"}
SORTED = ("newest", "name", *SCORES)
WIDTH = 10_000  # characters of a table in a file, where nothing is cut
_RESULTS = {
    "minutes": NUMBER,
    "steps": WHOLE,
    "rows": Needed([{"name": TEXT, "scores": Needed(Each({"value": NUMBER}))}]),
}


class Line(NamedTuple):
    """A run.

    Attributes:
        name: its folder's.
        time: when its settings were written, in seconds.
        method, data: as configured; the method is marked if it learned from labels.
        steps: optimizer steps made.
        minutes: of training.
        scores: of the encoder that was saved, by the names of ``SCORES``.
        state: what became of it.
    """

    name: str
    time: float
    method: str
    data: str
    steps: int
    minutes: float
    scores: dict[str, float]
    state: str


def run(config: Mapping[str, Any]) -> None:
    """Print the table of the runs in ``config["folders"]``.

    Args:
        config: of ``configs/runs.yaml``, composed, resolved and checked for unknown keys.

    Raises:
        UsageError: a folder is not there, no run is in any, or ``sort`` is something else.
    """
    if config["sort"] not in SORTED:
        raise UsageError(f"sort is {', '.join(SORTED)}, not '{config['sort']}'{near(config['sort'], SORTED)}")
    folders = [Path(str(each)).expanduser() for each in config["folders"]]
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"there is no folder '{folder}'; runs are in the folder that out= names")
    lines = [line_of(path) for folder in folders for path in runs_in(folder)]
    if not lines:
        said = " or ".join(f"'{each}'" for each in folders)
        raise UsageError(f"no run is in {said}; selfsup train makes one")
    lines.sort(key=lambda line: line.name)
    if config["sort"] == "newest":
        lines.sort(key=lambda line: -line.time)
    elif config["sort"] in SCORES:
        lines.sort(key=lambda line: -line.scores.get(config["sort"], float("-inf")))
    console = make_console()
    if not console.is_terminal:
        console = make_console(width=WIDTH, no_color=True)
    console.print(table(lines))


def line_of(folder: Path) -> Line:
    """What a run's folder says; what is damaged is in its state."""
    path, troubles = folder / "config.yaml", []
    config: dict[str, Any] = {}
    results: dict[str, Any] = {}
    logged: list[dict[str, str]] = []
    try:
        config = parse(read_text(path))
        logged = read_rows(folder / "metrics.csv")
        if (folder / "results.json").is_file():
            results = read_json(folder / "results.json")
            if wrong := fault(results, _RESULTS):
                results, troubles = {}, [f"results.json was not written by a run: {wrong}"]
    except (OSError, ValueError) as error:
        troubles.append(f"damaged: {error}")
    method, data = (_name(config, group) for group in ("method", "data"))
    used = " (labels)" if not troubles and labels_used_by(config) else ""
    last = logged[-1] if logged else {}
    steps = results.get("steps") or step_of(last) or 0
    rows = results.get("rows") or [{"scores": {}}]
    scores = {key: rows[0]["scores"][key].get("value") for key in SCORES if key in rows[0]["scores"]}
    known = {key: float(value) for key, value in scores.items() if value is not None}
    minutes = results.get("minutes") or _number(last.get("seconds")) / 60
    return Line(
        folder.name,
        path.stat().st_mtime,
        method + used,
        data,
        steps,
        minutes,
        known,
        "; ".join(troubles) or _state(folder, bool(results)),
    )


def table(lines: list[Line]) -> Table:
    """The lines with their headings."""
    made = Table(box=SIMPLE)
    made.add_column("run", overflow="fold")
    for heading in ("method", "data"):
        made.add_column(heading)
    for heading in ("steps", "minutes", *SCORES.values()):
        made.add_column(heading, justify="right")
    made.add_column("state")
    for line in lines:
        scores = ["" if key not in line.scores else _said(key, line.scores[key]) for key in SCORES]
        cells = [
            line.name,
            line.method,
            line.data,
            f"{line.steps:,}",
            f"{line.minutes:.1f}",
            *scores,
            line.state,
        ]
        made.add_row(*(shown(cell) for cell in cells))
    return made


def _said(key: str, value: float) -> str:
    return f"{value:.1f}" if key == "rankme" else f"{100 * value:.1f} %"


def _state(folder: Path, judged: bool) -> str:
    if judged:
        return "judged"
    if (folder / "encoder" / "config.json").is_file():
        return "finished, not judged"
    if any((folder / "checkpoints").glob("*.ckpt")):
        return f"under way or stopped; resume={folder}"
    return "begun"


def _name(config: Mapping[str, Any], group: str) -> str:
    settings = config.get(group)
    return str(settings.get("name", "")) if isinstance(settings, Mapping) else ""


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0
