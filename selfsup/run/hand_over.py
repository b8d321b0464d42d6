"""The end of a run: the encoder saved, judged once, and what to type next."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from rich.console import Console

from selfsup.config import load_config
from selfsup.data import Source
from selfsup.encoder import add_to_card, save_encoder, write_model_card
from selfsup.evaluation import SETTINGS, evaluate, print_table, write_results
from selfsup.files import remove_parts
from selfsup.methods.base import Method
from selfsup.run.environment import revision
from selfsup.run.loggers import public_name, without_machine
from selfsup.terminal import say


def hand_over(
    config: Mapping[str, Any],
    method: Method,
    source: Source,
    test: Source,
    folder: Path,
    console: Console,
    minutes: float,
) -> None:
    """Save the encoder, judge it, and say what to type next; nothing is done twice if a start is repeated."""
    encoder = method.learned_encoder().cpu().eval()
    identity = encoder.fingerprint()
    remove_parts(folder)
    target = next(path for path in _encoder_folders(folder) if _saved(path) in (None, identity))
    facts = {"method": config["method"]["name"], "minutes": round(minutes, 2), "steps": method.global_step}
    if not target.exists():
        code = revision()["revision"]
        card = {**facts, "data": public_name(config["data"]), "revision": code}
        # The folder is made to be published, and config.yaml has the rest.
        card["config"] = without_machine(config)
        save_encoder(encoder, target, card)
    if config["evaluate"]:
        results = _results(folder, identity, method.global_step)
        if results is None:
            given = ["encoder=run", f"seed={config['seed']}", f"precision={config['evaluate_precision']}"]
            judging = load_config("evaluate", given, config["data"])
            settings = {key: value for key, value in judging.items() if key in SETTINGS}
            results = evaluate(encoder, source, test, config["data"], **settings) | {
                **facts,
                "images_per_second": getattr(method, "images_per_second", None),
            }
            write_results(results, None, str(target))
        add_to_card(target, {"scores": results["rows"][0]["scores"]})
        print_table(results, console)
    write_model_card(target)
    for line in (
        f"Encoder: {target}   ({minutes:.1f} min of training). Next:",
        f"  selfsup evaluate encoder={target} {_data_given(config)}",
        f"  selfsup report {folder}",
        f'  selfsup.load_encoder("{target}")',
        f'  timm.create_model("local-dir:{target}", pretrained=True)',
    ):
        say(console, line)


def _data_given(config: Mapping[str, Any]) -> str:
    """The data's settings as they were typed, for a command about the same images."""
    typed = [each for each in config["overrides"] if re.match(r"data[.=]", each)]
    return shlex.join(typed or [f"data={config['data']['name']}"])


def _encoder_folders(folder: Path) -> Iterator[Path]:
    """``encoder``; then ``encoder-2``, ... for a run that was extended and hands over once more."""
    yield folder / "encoder"
    yield from (folder / f"encoder-{number}" for number in count(2))


def _saved(target: Path) -> str | None:
    """The fingerprint of the encoder in a folder, None if there is no folder."""
    if not target.exists():
        return None
    return str(json.loads((target / "card.json").read_text(encoding="utf-8"))["fingerprint"])


def _results(folder: Path, identity: str, steps: int) -> dict[str, Any] | None:
    """What a start of this run that ended before its last line wrote about the same encoder."""
    for path in sorted(folder.glob("results*.json")):
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if found["encoder"] == identity and found.get("steps") == steps:
            return found
    return None
