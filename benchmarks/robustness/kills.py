"""Runs that are killed at chosen or random moments and resumed, beside one that is not.

A process that has imported everything is forked for each start, so that a start costs a second and the
moments fall into training, not into imports.
"""

import contextlib
import csv
import io
import json
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from selfsup.config import load_config

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["selfsup.run.train", "selfsup.commands.train", __name__])

SMALL = (
    "report=false",
    "data=folder",
    "data.image_size=24",
    "data.workers=1",
    "data.max_unreadable=0",
    "batch_size=16",
    "backbone.model_args.depth=1",
    "backbone.model_args.embed_dim=32",
    "backbone.model_args.num_heads=2",
    "backbone.model_args.drop_path_rate=0.2",
    "trainer.accelerator=cpu",
    "trainer.checkpoint_steps=1",
    "trainer.log_every_n_steps=1",
    "guard.every=2",
    "guard.images=16",
    "online.every_steps=2",
    "online.bank=16",
    "online.queries=8",
)


def small(method: str) -> list[str]:
    """Settings of a small run, without a vision transformer's if the method's backbone is another."""
    others = [f"method={method}", *(each for each in SMALL if "model_args" not in each)]
    needed = ["data.root=."]
    of_transformer = "depth" in load_config("train", [*others, *needed])["backbone"]["model_args"]
    return [f"method={method}", *SMALL] if of_transformer else others


STEPS = 6  # an epoch has 4
TIMES = ("seconds", "images_per_second", "waiting", "memory_gib")


def make_photos(folder: Path, number: int = 80) -> None:
    """Images of two classes and many sizes, so that they are decoded by workers."""
    generator = np.random.default_rng(0)
    for i in range(number):
        side = 24 + i % 9
        pixels = generator.integers(0, 128, (side, side, 3), dtype=np.uint8) + np.uint8(127 * (i % 2))
        (folder / f"class {i % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"class {i % 2}" / f"{i:03d}.png")


def die() -> None:
    """The effect of a power cut."""
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(number: int, act: Callable[..., None], function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, but ``act`` gets the arguments of its call ``number`` (from 0) before."""
    calls = iter(range(10**9))

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == number:
            act(*args, **kwargs)
        return function(*args, **kwargs)

    return wrapped


def between_steps(draw: random.Random) -> None:
    from selfsup.methods.base import Method

    start = Method.on_train_batch_start
    Method.on_train_batch_start = at_call(draw.randrange(1, 5), lambda *_: die(), start)


def in_the_backward_pass(draw: random.Random) -> None:
    from selfsup.callbacks.finite import FiniteSteps

    look = FiniteSteps.on_before_optimizer_step
    FiniteSteps.on_before_optimizer_step = at_call(draw.randrange(5), lambda *_: die(), look)


def while_writing_a_checkpoint(draw: random.Random) -> None:
    import torch

    save, share = torch.save, draw.random()

    def tear(content: Any, file: Any) -> None:
        whole = io.BytesIO()
        save(content, whole)
        file.write(whole.getvalue()[: int(share * whole.tell())])
        file.flush()
        die()

    torch.save = at_call(draw.randrange(4), tear, save)


def before_a_checkpoint_has_its_name(draw: random.Random) -> None:
    import torch

    import selfsup.files

    def arm(content: Any, file: Any) -> None:
        selfsup.files.os.replace = lambda *_: die()

    torch.save = at_call(draw.randrange(4), arm, torch.save)


def in_a_worker(draw: random.Random) -> None:
    """The system ends the process that decodes images, as it does when memory runs out."""
    from selfsup.methods.base import Method

    def end_workers(*_: Any) -> None:
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)
        time.sleep(0.2)

    start = Method.on_train_batch_start
    Method.on_train_batch_start = at_call(draw.randrange(1, 5), end_workers, start)


def to_the_group(draw: random.Random) -> None:
    """SIGTERM to the run and all processes that it started, as a scheduler and a service manager send it."""
    from selfsup.callbacks.finite import FiniteSteps

    def ask(*_: Any) -> None:
        os.killpg(0, signal.SIGTERM)
        time.sleep(0.2)

    FiniteSteps.on_before_optimizer_step = at_call(2, ask, FiniteSteps.on_before_optimizer_step)


def in_a_look(draw: random.Random) -> None:
    """While a subset is judged, beside the training: its row is there, and the step has no checkpoint yet."""
    from selfsup.callbacks import online

    online.append = at_call(0, lambda *_: die(), online.append)


def at_any_time(draw: random.Random) -> None:
    """At a moment that is independent of the run."""
    from selfsup.methods.base import Method

    delay, start = draw.uniform(0, 0.3), Method.on_train_batch_start
    begin = at_call(draw.randrange(4), lambda *_: threading.Timer(delay, die).start(), start)
    Method.on_train_batch_start = begin


def during_the_evaluation(draw: random.Random) -> None:
    from selfsup.evaluation import registry

    registry.record = at_call(draw.randrange(6), lambda *_: die(), registry.record)


def while_saving_the_encoder(draw: random.Random) -> None:
    from selfsup.encoder import folder

    folder._write_json = at_call(draw.randrange(2), lambda *_: die(), folder._write_json)


def before_the_results_are_noted(draw: random.Random) -> None:
    from selfsup.run import hand_over

    hand_over.add_to_card = at_call(0, lambda *_: die(), hand_over.add_to_card)


WHILE_TRAINING = (
    between_steps,
    in_the_backward_pass,
    while_writing_a_checkpoint,
    before_a_checkpoint_has_its_name,
    in_a_worker,
    in_a_look,
)
AT_THE_END = (during_the_evaluation, while_saving_the_encoder, before_the_results_are_noted)
Moment = Callable[[random.Random], None]


def _child(arguments: Sequence[str], log: Path, moment: Moment | None, seed: int) -> None:
    from selfsup.commands import main

    os.setpgid(0, 0)
    # Else its workers would come from another fork server, which imports everything again.
    multiprocessing.set_start_method("fork", force=True)
    with log.open("a") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        if moment is not None:
            moment(random.Random(seed))
        status = main(list(arguments))
        file.flush()
        os._exit(status)


def start(
    arguments: Sequence[str],
    log: Path,
    moment: Moment | None = None,
    seed: int = 0,
) -> int:
    """One command in a process of its own; returns its exit code, negative for a signal.

    Args:
        moment: arranges in that process for its end.
    """
    process = CONTEXT.Process(target=_child, args=(list(arguments), log, moment, seed))
    process.start()
    process.join(300)
    assert process.exitcode is not None, f"{arguments} does not end"
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # its workers, which notice by themselves only after a while
    return process.exitcode


def kill_and_resume(
    out: Path, name: str, arguments: Sequence[str], moments: Sequence[Moment], seed: int = 0
) -> list[dict[str, Any]]:
    """A run that ends at each of the moments and then runs to its end.

    Returns:
        For each moment its name, the exit code, and how many steps had been made and were lost.
    """
    folder, log, told = out / name, out / f"{name}.log", []
    for number, moment in enumerate([*moments, None]):
        begun = (folder / "config.yaml").is_file()
        if folder.is_dir() and not begun:
            folder.rmdir()
        given = [f"resume={folder}"] if begun else [f"out={out}", f"name={name}", *arguments]
        code = start(["train", *given], log, moment, seed + number)
        if moment is None:
            assert code == 0, log.read_text()[-3000:]
            break
        made, kept = steps_made(folder), newest_step(folder)
        told.append(
            {
                "moment": moment.__name__.replace("_", " "),
                "exit": code,
                "made": made,
                "lost": max(0, made - kept),
            }
        )
    return told


def steps_made(folder: Path) -> int:
    rows = metrics(folder)
    return int(rows[-1]["step"]) if rows else 0


def newest_step(folder: Path) -> int:
    from selfsup.callbacks.checkpoint_files import newest_intact, step_of

    newest, _ = newest_intact(folder)
    return step_of(newest) if newest else 0


def metrics(folder: Path, name: str = "metrics.csv") -> list[dict[str, str]]:
    path = folder / name
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


def differences(straight: Path, killed: Path) -> list[str]:
    """The parts of the killed run that differ from those of the uninterrupted one."""
    from selfsup.callbacks.checkpoint_files import newest_intact, read_checkpoint

    found = []
    ends = [read_checkpoint(newest_intact(folder)[0]) for folder in (straight, killed)]
    for part in ("state_dict", "optimizer_states", "global_step", "epoch"):
        if not _same(*(end[part] for end in ends)):
            found.append(part)
    for name in ("metrics.csv", "online.csv", "spectrum.csv", "warnings.csv"):
        if metrics(straight, name) != metrics(killed, name):
            found.append(name)
    names = [sorted(path.name for path in folder.iterdir()) for folder in (straight, killed)]
    if names[0] != names[1]:
        found.append(f"files {names[0]} and {names[1]}")
    elif (straight / "results.json").is_file():
        scores = [json.loads((folder / "results.json").read_text())["rows"] for folder in (straight, killed)]
        found += ["results.json"] if scores[0] != scores[1] else []
    weights = [(folder / "encoder" / "model.safetensors").read_bytes() for folder in (straight, killed)]
    return found + (["encoder"] if weights[0] != weights[1] else [])


def _same(one: Any, other: Any) -> bool:
    import torch

    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(_same(*pair) for pair in zip(one, other, strict=True))
    return bool(one == other)
