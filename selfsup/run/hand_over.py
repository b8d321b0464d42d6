"""Finish a run: save and evaluate the encoder, print next commands."""

import copy
import errno
import os
import re
import shutil
from collections.abc import Mapping
from itertools import chain, count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from rich.console import Console
from safetensors import SafetensorError
from torch import nn

from selfsup.callbacks.guard.record import warned
from selfsup.callbacks.present import require_there
from selfsup.config import load_config
from selfsup.data import Source
from selfsup.data.labels import labelled
from selfsup.encoder import Encoder, add_to_card, load_encoder, save_encoder, write_model_card
from selfsup.errors import UsageError
from selfsup.evaluation import SETTINGS, evaluate, print_table, write_results
from selfsup.evaluation.results.verdict import Verdict, judged
from selfsup.files import read_json, remove_parts, sync_folder
from selfsup.from_labels import labels_used_by
from selfsup.methods.base import Method
from selfsup.run.environment import revision
from selfsup.run.forgetting import forgetting, tell_forgetting, write_forgetting
from selfsup.run.loggers import public_name, without_machine
from selfsup.runs import KEPT, START, named_encoders
from selfsup.terminal import say, typed

_TRIED = 64 * 2**20  # bytes of the largest encoder that is saved as a trial


def try_hand_over(config: Mapping[str, Any], method: Method) -> None:
    """Try, before the first step, to save the encoder, and check that the disk has room for it.

    A large encoder is not written, since that would take seconds.

    Raises:
        UsageError: what is wrong, and what to choose instead.
    """
    where = Path(str(config["resume"] or config["out"])).absolute()
    where = next(folder for folder in (where, *where.parents) if os.path.exists(folder))
    parameters = sum(p.numel() * p.element_size() for p in method.parameters() if p.requires_grad)
    states = 2 if config["method"]["optimizer"]["name"] == "adamw" else 1
    encoder = method.learned_encoder()
    kept = {} if config["resume"] else kept_encoders(config, method)
    needed = _bytes(method) + states * parameters + _bytes(encoder) + sum(map(_bytes, kept.values()))
    free = shutil.disk_usage(where).free
    if free < needed:
        raise UsageError(
            f"{os.strerror(errno.ENOSPC)}: '{where}' has {free / 2**20:,.0f} MiB free, and a checkpoint and "
            f"the encoder take about {needed / 2**20:,.0f} MiB; make room, or set out="
        )
    if _bytes(encoder) > _TRIED:
        return
    try:
        with TemporaryDirectory() as folder:
            save_encoder(copy.deepcopy(encoder).cpu().eval(), Path(folder) / "encoder", {})
    except OSError:  # the trial's disk is full: the run's may not be
        return
    except (RuntimeError, ValueError, TypeError, SafetensorError) as error:
        raise UsageError(
            f"the encoder of backbone={config['backbone']['name']} could be trained but not saved "
            f"({str(error).strip().splitlines()[0]}); choose another backbone"
        ) from error


def kept_encoders(config: Mapping[str, Any], method: Method) -> dict[str, Encoder]:
    """What a run began with and learns from, before the first step, by the folders that keep it."""
    found = {KEPT[key]: f"{key.removeprefix('method.')}.module" for key, _, _ in named_encoders(config)}
    if START in found or config["backbone"]["pretrained"]:
        found[START] = "encoder"
    return {name: cast(Encoder, method.get_submodule(place)) for name, place in found.items()}


def _bytes(module: nn.Module) -> int:
    return sum(value.numel() * value.element_size() for value in module.state_dict().values())


def hand_over(
    config: Mapping[str, Any],
    method: Method,
    source: Source,
    test: Source,
    folder: Path,
    console: Console,
    seconds: float,
) -> Verdict | None:
    """Save the encoder, judge it, and print the next commands; nothing is done twice if a start is repeated.

    The newest encoder is ``encoder``, with ``results.json`` beside it. If the run was extended, the earlier
    encoder has its step in its name, ``encoder-step-000001200``, and so have its results.

    Args:
        seconds: of training, over all starts of the run.

    Returns:
        The verdict on the encoder, if it was judged and began from weights.
    """
    encoder = method.learned_encoder().cpu().eval()
    identity, steps, found = encoder.fingerprint(), method.global_step, None
    require_there(folder)
    remove_parts(folder)
    target = folder / "encoder"
    facts = {"method": config["method"]["name"], "minutes": round(seconds / 60, 2), "steps": steps}
    used = {"from_labels": labels_used_by(config)}
    if _saved(target) != identity:
        card = {
            **facts,
            **used,
            "data": public_name(config["data"]),
            "revision": revision()["revision"],
        }
        # The folder may be published, and config.yaml has the rest.
        card["config"] = without_machine(config)
        fresh = save_encoder(encoder, folder / ".encoder.new.part", card)
        set_aside(folder)
        os.rename(fresh, target)
        sync_folder(folder)
    if config["evaluate"]:
        results = _results(folder, identity, steps)
        if results is None:
            given = ["encoder=run", f"seed={config['seed']}", f"precision={config['evaluate_precision']}"]
            judging = load_config("evaluate", given, config["data"])
            settings = {key: value for key, value in judging.items() if key in SETTINGS}
            speed = steps * method.batch_size / seconds if seconds else None
            starts = {"encoder": load_encoder(folder / START)} if (folder / START).is_dir() else {}
            judges = labelled(config["data"], source, test)
            results = evaluate(encoder, *judges, config["data"], starts=starts, **settings)
            results |= {**facts, "images_per_second": speed}
            results["rows"][0] |= used
            require_there(folder)
            write_results(results, None, str(target))
        add_to_card(target, {"scores": results["rows"][0]["scores"]})
        print_table(results, console, warned(folder))
        row = results["rows"][0]
        found = judged(results, row, warned(folder)) if row.get("start") is not None else None
        if source.stages:
            kept = forgetting(encoder, source, test, config["data"], folder, config["seed"])
            write_forgetting(kept, folder)
            tell_forgetting(kept, console)
    write_model_card(target)
    say(console, f"Encoder: {target}   ({seconds / 60:.1f} min of training). Next:")
    say(console, f"  {typed('evaluate', f'encoder={target}', *_data_given(config))}")
    say(console, f"  {typed('report', str(folder))}")
    say(console, f'  selfsup.load_encoder("{target}")')
    say(console, f'  timm.create_model("local-dir:{target}", pretrained=True)')
    return found


def set_aside(folder: Path) -> None:
    """Rename the existing encoder and its results by the encoder's step.

    The results come first. If it is killed in between, the next start finds an encoder under its old name, or
    none, and ends the same way.
    """
    old = folder / "encoder"
    if not os.path.lexists(old):
        return
    card, identity = _read(old / "card.json"), _saved(old)
    steps = card.get("steps")
    ending = f"step-{steps:09d}" if isinstance(steps, int) and 0 <= steps < 10**9 else "older"
    for path in sorted(folder.glob("results*.json")):
        moved = path.name.startswith(f"results-{ending}")
        if identity is not None and not moved and _read(path).get("encoder") == identity:
            rest = path.stem.removeprefix("results")
            os.rename(path, _free(folder, f"results-{ending}{rest}", ".json"))
    os.rename(old, _free(folder, f"encoder-{ending}", ""))


def _free(folder: Path, stem: str, suffix: str) -> Path:
    """``stem``, with a number if that is in use."""
    names = chain([stem], (f"{stem}-{number}" for number in count(2)))
    paths = (folder / f"{name}{suffix}" for name in names)
    return next(path for path in paths if not os.path.lexists(path))


def _data_given(config: Mapping[str, Any]) -> list[str]:
    """The data's settings as typed, for a command on the same images; pairs of images are for training."""
    given = [each for each in config["overrides"] if re.match(r"data([.=])(?!pairs=)", each)]
    return given or [f"data={config['data']['name']}"]


def _saved(target: Path) -> str | None:
    """The fingerprint of the encoder in a folder, None if there is none that can be read."""
    fingerprint = _read(target / "card.json").get("fingerprint")
    return None if fingerprint is None else str(fingerprint)


def _results(folder: Path, identity: str, steps: int) -> dict[str, Any] | None:
    """Results that an interrupted start of this run wrote about the same encoder."""
    for path in sorted(folder.glob("results*.json")):
        found = _read(path)
        if found.get("encoder") == identity and found.get("steps") == steps and found.get("rows"):
            return found
    return None


def _read(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if it is missing or damaged."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return {}
