"""``selfsup curate mode=MODE data=NAME``: which images to learn from, what to label or to ask about next."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from selfsup.commands.encoders import find_encoder
from selfsup.data.settings import other_data, require_paths, require_reading
from selfsup.errors import UsageError
from selfsup.files import require_writable
from selfsup.hints import near
from selfsup.precision import require_precision
from selfsup.processes import launched, together
from selfsup.terminal import typed
from selfsup.text import shown

# What each mode takes of the settings that not all modes take, and what it has to be given.
TAKES = {
    "copies": ("encoder", "threshold"),
    "similar": ("encoder", "features", "threshold"),
    "balanced": ("encoder", "features", "count", "share"),
    "towards": ("encoder", "features", "count", "share", "target"),
    "scores": ("scores", "column", "above", "below", "top"),
    "label": ("encoder", "features", "count", "labels"),
    "pairs": ("encoder", "features", "count", "answers"),
}
NEEDS = {
    "similar": ("threshold",),
    "balanced": ("count", "share"),
    "towards": ("target",),
    "scores": ("scores",),
    "label": ("count",),
    "pairs": ("count", "answers"),
}
ALL = ("indices", "per_class", "imbalance")  # choices of the data, made before that of this command
OUT = {"label": "label.csv", "pairs": "pairs.csv"}
SHARED = ("similar", "balanced")  # modes whose work on features several processes share
STRATEGIES = ("typical", "covering", "farthest", "uncertain")


def run(config: Mapping[str, Any]) -> None:
    """Choose among the training images of ``config["data"]``; writes the choice, and a page that shows it.

    Started by ``torchrun`` or ``srun``, processes share the clustering of features, or the search for pairs.

    Args:
        config: of ``configs/curate.yaml``, composed, resolved and checked for unknown keys.

    Raises:
        UsageError: before any image is encoded, if the configuration is wrong.
    """
    target, place = check(config), launched()
    mode = config["mode"]
    if place.world > 1 and (mode not in SHARED or config["features"] is None):
        raise UsageError(
            f"{place.launcher} started {place.world} processes, which share mode={' and '.join(SHARED)} of "
            "features=FOLDER; write these by selfsup embed out=FOLDER, or start one process"
        )
    usual = "edges.csv" if config["answers"] else OUT.get(mode, "kept.npy")
    out = Path(config["out"] or usual)
    if out.suffix != Path(usual).suffix:
        ending = Path(usual).suffix
        raise UsageError(f"mode={mode} writes a file {ending}; name one with out=, not '{out}'")
    table: Path | None = out  # or the choice, beside which there is a page
    if config["answers"]:
        table = None if config["count"] is None else out.with_name(f"{out.stem}-next.csv")
    files = [out, *([] if table is None else [table, table.with_suffix(".html")])]
    for path in dict.fromkeys(files):
        if os.path.lexists(path):
            raise UsageError(f"'{path}' exists and is not overwritten; name another file with out=")
        require_writable(path)

    from selfsup.commands.labelling import label
    from selfsup.commands.pairing import pairs
    from selfsup.curation.draws import draws

    material = _material(config, target)
    draw, page = draws(config["seed"]), files[-1]
    if mode == "label":
        label(config, material, draw, out, page)
        return
    if mode == "pairs":
        pairs(config, material, draw, out if config["answers"] else None, table)
        return

    import numpy as np

    from selfsup.commands.choices import MODES
    from selfsup.files import write_text, written_whole
    from selfsup.report.kept import kept_page

    with together(place):
        choice = MODES[mode](config, material, draw)
    if place.rank > 0:
        return
    kept = material.pool[choice.kept].sort().values
    if not len(kept):
        raise UsageError(f"none of the {len(material.pool)} images would be kept; nothing was written")
    share = f"{len(kept):,} of {len(material.pool):,} images kept"
    html = kept_page(mode, [share, *choice.lines], choice.groups, material.source)
    with written_whole(out, overwrite=False, make_folders=True) as file:
        np.save(file, kept.numpy())
    write_text(page, html, overwrite=False)
    for line in choice.lines:
        print(line)
    print(f"{shown(out)}: {share}; {shown(page)} shows them. Next:")
    given = [each for each in config["overrides"] if each.startswith(("data=", "data."))]
    rest = [each for each in given if each.partition("=")[0] not in {f"data.{key}" for key in ALL}]
    print(f"  {typed('train', *rest, f'data.indices={out}')}")


def check(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Refuse what is wrong without importing torch; returns the configuration of the target, if there is one.

    Raises:
        UsageError: what is wrong.
    """
    mode = config["mode"]
    if mode not in TAKES:
        raise UsageError(f"mode is {', '.join(TAKES)}, not '{mode}'{near(str(mode), TAKES)}")
    for key in sorted({key for keys in TAKES.values() for key in keys} - set(TAKES[mode])):
        if config[key] not in (None, {}):
            owners = ", ".join(name for name, keys in TAKES.items() if key in keys)
            raise UsageError(f"mode={mode} does not take {key}; it is for mode={owners}")
    for several in ({"count", "share"}, {"top", "above"}, {"top", "below"}):
        if all(config[key] is not None for key in several):
            raise UsageError(f"{' and '.join(sorted(several))} both say what to keep; give one")
    if mode in NEEDS and all(config[key] in (None, {}) for key in NEEDS[mode]):
        raise UsageError(f"mode={mode} needs {' or '.join(f'{key}=' for key in NEEDS[mode])}")
    limits = [config[key] for key in ("above", "below", "top") if config[key] is not None]
    if mode == "scores" and not (config["column"] and limits):
        raise UsageError("mode=scores needs column=NAME and one of above=, below= and top=")
    if config["strategy"] not in STRATEGIES:
        raise UsageError(f"strategy is {', '.join(STRATEGIES)}, not '{config['strategy']}'")
    if not config["follow"] and not config["answers"]:
        raise UsageError("follow=false is about answers=FILE of mode=pairs; leave it out")
    for key in ("scores", "features", "labels", "answers"):  # features may be a folder of parts
        path = None if config[key] is None else Path(str(config[key])).expanduser()
        if path is not None and not (path.is_file() or (key == "features" and path.is_dir())):
            raise UsageError(f"{key}: there is no file '{config[key]}'")
    require_precision("precision", config["precision"])
    target = other_data("target", config["target"], config["data"]["name"]) if config["target"] else None
    for data in (config["data"], *([target] if target else [])):
        require_reading(data)
        require_paths(data)
    if config["encoder"] is not None:
        find_encoder(str(config["encoder"]))
    return target


class Material(NamedTuple):
    """What there is to choose from.

    Attributes:
        whole: all training images, which positions in the result count.
        pool: int64, ascending, those of them that can be chosen: selected by the data and readable.
        source: the images of the pool.
        x: features of the pool ``(N, D)``; empty for modes without.
        target: features of the target ``(T, D)``, or None.
        space: what made the features.
        test: the test images.
        encoder: on its device; None without one.
    """

    whole: Any
    pool: Any
    source: Any
    x: Any
    target: Any
    space: str
    test: Any
    encoder: Any


def _material(config: Mapping[str, Any], target: Mapping[str, Any] | None) -> Material:
    """The images, and their features if the mode needs some."""
    import torch

    from selfsup.commands.images import opened, tell_skipped
    from selfsup.curation.space import spaces_of
    from selfsup.data.load import chosen_ranged
    from selfsup.data.select import rows_of
    from selfsup.data.source import subset
    from selfsup.evaluation.features.embeddings import read_embeddings, rows_named

    data = config["data"]
    name = None if config["encoder"] is None else find_encoder(str(config["encoder"]))
    encoder, whole, test = opened(config, name, {**data, **dict.fromkeys(ALL)})
    rows = rows_of(whole, data)
    pool = torch.arange(len(whole)) if rows is None else rows.sort().values
    if config["mode"] in ("scores", "copies"):
        return Material(whole, pool, subset(whole, pool), torch.zeros(0), None, "", test, encoder)
    settings = {key: config[key] for key in ("batch_size", "precision")} | {"workers": data["workers"]}
    sources = {} if config["features"] is not None else {"train": subset(whole, pool)}
    if target is not None:
        sources["target"] = chosen_ranged({**target, "channels": whole.channels}, whole.range)[0]
    found = spaces_of(sources, encoder, **settings) if sources else {}
    tell_skipped([pair for each in found.values() for pair in each.skipped])
    other = found["target"].x if "target" in found else None
    if config["features"] is None:
        space = found["train"]
        own = pool[space.rows]
        return Material(whole, own, subset(whole, own), space.x, other, space.name, test, encoder)
    names, x = read_embeddings(config["features"], encoder, whole.range, split="train")
    known = torch.full((len(whole),), -1)
    known[rows_named(whole, names, str(config["features"]))] = torch.arange(len(x))
    pool = pool[known[pool] >= 0]
    space_name = str(config["features"])
    return Material(whole, pool, subset(whole, pool), x[known[pool]], other, space_name, test, encoder)
