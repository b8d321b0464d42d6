"""Renders runs as one self-contained HTML file."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from selfsup.backbone_names import backbone_name
from selfsup.evaluation.results.verdict import SIGNS
from selfsup.report.curves import charts, curves, positive
from selfsup.report.folder import Run
from selfsup.report.scores import scores_table
from selfsup.report.side_by_side import side_by_side
from selfsup.report.stages import forgetting_table
from selfsup.report.templates import PAGE, rendered
from selfsup.report.verdict import verdict
from selfsup.text import printable, shown

# Sections of a run's pictures: anchor on the page, title, and the run's key for them.
_SECTIONS = (
    ("neighbours", "Neighbours", "queries"),
    ("map", "Map", "map"),
    ("views", "Views", "views"),
    ("method", "The method", "made"),
    ("attention", "Attention", "insight"),
    ("spectrum", "Spectrum", "spectrum"),
)


def render(runs: Sequence[Run], seen: Sequence[Mapping[str, Any]]) -> str:
    """The page of runs and the findings about each: any of ``queries``, ``map``, ``views``, ``made``,
    ``insight``, ``spectrum`` and ``cost``, as returned by the modules of this package."""
    series = [curves([*run.metrics, *run.online, *positive(run.spectrum)]) for run in runs]
    main, more = charts(list(dict.fromkeys(name for each in series for name in each)))
    told = [
        {
            "name": run.name,
            "index": i,
            "about": _about(run),
            "verdict": verdict(run),
            "missing": run.missing,
            "warnings": run.warnings,
            "skipped": run.skipped,
            "data": run.data,
            "typed": shlex.join(["selfsup", "train", *map(str, run.config.get("overrides") or ())])
            if run.config
            else "",
            "settings": _readable(run.config),
            "forgetting": forgetting_table(run.forgetting) if run.forgetting else None,
            "map_says": _map_says(part.get("map")),
            "false_colours": part.get("false_colours", ""),
            **{key: part.get(key) for _, _, key in _SECTIONS},
        }
        for i, (run, part) in enumerate(zip(runs, seen, strict=True))
    ]
    there = {name: title for name, title, key in _SECTIONS if any(part.get(key) for part in seen)}
    scores = scores_table(runs)
    sections = {"scores": "Scores"} if scores["rows"] else {}
    sections |= {"forgetting": "Forgetting"} if any(run.forgetting for run in runs) else {}
    sections |= {"curves": "Curves"} if main else {}
    data_section = {"data-read": "Data"} if any(run.data for run in runs) else {}
    data = {
        "runs": [
            {
                "name": run.name,
                "curves": each,
                "warnings": [{"step": float(row["step"])} for row in run.warnings if row.get("step")],
                "map": part.get("map"),
                "spectrum": part.get("spectrum"),
            }
            for run, each, part in zip(runs, series, seen, strict=True)
        ],
        "charts": main,
        "more": more,
    }
    script = "".join((PAGE / name).read_text(encoding="utf-8") for name in ("charts.js", "map.js"))
    scores, data = printable(scores), printable(data)
    return rendered(
        "page.html",
        title=shown(runs[0].name) if len(runs) == 1 else f"{len(runs)} runs side by side",
        runs=[printable(run) | {"settings": run["settings"]} for run in told],
        signs=SIGNS,
        scores=scores,
        compared=side_by_side(runs) if len(runs) > 1 else [],
        charts=main,
        more=printable(more),
        any_warnings=any(run.warnings for run in runs),
        labelled=any((part.get("map") or {}).get("kind") == "label" for part in seen),
        shown_ids=there,
        sections=[*(sections | there | data_section | {"cost": "Cost and settings"}).items()],
        costs=printable(_costs([part.get("cost", ()) for part in seen])),
        **printable(_differences([run.config for run in runs])),
        data=data,
        script=script,
    )


def _about(run: Run) -> str:
    config = run.config
    method, data = (str((config.get(part) or {}).get("name") or "?") for part in ("method", "data"))
    backbone = backbone_name({"name": "?"} | (config.get("backbone") or {}))
    judged = run.results or {}
    images = (
        f", {judged['n_train']} training and {judged['n_test']} test images"
        if {"n_train", "n_test"} <= judged.keys()
        else ""
    )
    return f"{method}{run.mark} on {data}, backbone {backbone}{images}"


def _map_says(found: Mapping[str, Any] | None) -> str:
    if not found:
        return ""
    if found["kind"] == "cluster":
        return f"{found['count']} test images without labels; the colours are clusters of similar features."
    most, first = (f"{100 * found[key]:.1f} %" for key in ("share_right", "same"))
    return (
        f"{found['count']} test images. More than half of the {found['voting']} nearest have the same label "
        f"for {most} of them, and the nearest one for {first}."
    )


def _costs(parts: Sequence[Sequence[tuple[str, str]]]) -> dict[str, list[str]]:
    names = dict.fromkeys(name for part in parts for name, _ in part)
    return {name: [dict(part).get(name, "") for part in parts] for name in names}


def _differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[str]]]:
    """Values of the settings in which runs differ, and of those that only some have."""
    flat = [dict(_leaves(_without_names(config))) for config in configs]
    keys = dict.fromkeys(key for each in flat for key in each)
    rows = {key: [json.dumps(each[key]) if key in each else "–" for each in flat] for key in keys}
    common = {key for key in keys if all(key in each for each in flat)}
    return {
        "differing": {key: row for key, row in rows.items() if key in common and len(set(row)) > 1},
        "of_some": {key: row for key, row in rows.items() if key not in common},
    }


def _without_names(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in ("overrides", "name", "out", "resume")}


def _leaves(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in config.items():
        found += (
            _leaves(value, f"{prefix}{key}.")
            if isinstance(value, Mapping) and value
            else [(f"{prefix}{key}", value)]
        )
    return found


def _readable(config: Mapping[str, Any]) -> str:
    """The settings as YAML, without the name of the user's home folder."""
    return yaml.safe_dump(dict(config), sort_keys=False).replace(str(Path.home()), "~") if config else ""
