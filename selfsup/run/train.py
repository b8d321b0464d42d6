"""A run from beginning to end: learn, save, judge."""

import errno
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from rich.console import Console
from torch import nn

from selfsup.callbacks.checkpoint_files import last_good
from selfsup.callbacks.online_settings import selecting
from selfsup.callbacks.signals import StopSignals
from selfsup.data import load_data
from selfsup.data.batches import make_order, training_loader
from selfsup.data.order import EpochOrder
from selfsup.data.workers import loss_of_a_worker_told, worker_count
from selfsup.errors import RunStopped, UsageError
from selfsup.files import write_text
from selfsup.methods.base import Method
from selfsup.report import write_report
from selfsup.run.build import (
    compile_encoders,
    count_devices,
    count_steps,
    effective_batch,
    look_for_gpus_once,
    make_encoder,
    make_method,
    quiet,
)
from selfsup.run.environment import differences, environment, record, require_same_data, starts
from selfsup.run.folder import new_folder, process_rank
from selfsup.run.hand_over import hand_over
from selfsup.run.resume import changes, find_position, read_config
from selfsup.run.trainer import check_trainer, choose_attention, make_trainer, on_gpu
from selfsup.terminal import make_console, say

_FOLDER = "SELFSUP_RUN_FOLDER"


def train(config: dict[str, Any]) -> Path:
    """Train, save and judge an encoder; returns the run's folder.

    Everything that can be refused is refused before the folder is made.

    Raises:
        UsageError: the settings cannot work.
        RunStopped: a signal came, gradients stayed not finite, or the disk is full.
    """
    signals = StopSignals()
    with signals.caught():
        return _train(config, signals)


def _train(config: dict[str, Any], signals: StopSignals) -> Path:
    started = time.perf_counter()
    quiet()
    look_for_gpus_once()
    gpu = on_gpu(config["trainer"]["accelerator"])
    choose_attention(config["trainer"])
    pl.seed_everything(config["seed"], verbose=False)
    source, test = load_data(config["data"])
    devices = count_devices(config["trainer"], gpu)
    world = devices * config["trainer"]["num_nodes"]
    order = make_order(source, config["batch_size"], config["seed"], world)
    method = make_method(config, make_encoder(config), devices)
    if config["compile"]:
        compile_encoders(method, gpu)
    check_batch_norm(method, config, world, gpu)
    check_trainer(config, devices)
    selecting(config["online"]["best"], source.labels is not None)

    total = count_steps(config, len(order))
    now = environment(source, gpu, world)
    notes, checkpoint = _take_up(config, order, method, total, now)

    with _sentences(Path(str(config["resume"] or config["out"]))):
        folder = _folder(config, now)
    signals.hint = f"; go on by resume={folder}"
    console = make_console(quiet=process_rank() > 0)
    _announce(console, config, method, len(source), devices, folder)
    for note in notes:
        say(console, note)
    trainer = make_trainer(config, devices, folder, source, console, signals)
    order.rank = trainer.global_rank
    workers = worker_count(config["data"]["workers"], source, devices)
    loader = training_loader(source, method.views, order, workers, trainer.strategy.root_device)
    method = method.to(memory_format=torch.channels_last)
    with _sentences(folder), loss_of_a_worker_told(lambda: last_good(folder)):
        with signals.waiting():
            trainer.fit(method, loader, ckpt_path=checkpoint, weights_only=True)
        if trainer.is_global_zero:
            minutes = (time.perf_counter() - started) / 60
            hand_over(config, method, source, test, folder, console, minutes)
            if config["report"]:
                device = str(trainer.strategy.root_device)
                path = write_report([folder], sources=(source, test), device=device)
                say(console, f"Report: {path}")
    return folder


def _take_up(
    config: dict[str, Any], order: EpochOrder, method: Method, total: int, now: dict[str, Any]
) -> tuple[list[str], Path | None]:
    """What to say of a run that is resumed or repeated, and the checkpoint to go on from."""
    if config["from"]:
        before = next(iter(starts(Path(config["from"]))), None)
        differs = differences(before, now) if before else ["(it has no environment.json to compare with)"]
        return [f"repeating {config['from']}", *(f"  not as it was: {each}" for each in differs)], None
    if not config["resume"]:
        return [], None
    folder = Path(config["resume"])
    earlier = starts(folder)
    notes = [f"  not as it was: {each}" for each in (differences(earlier[-1], now) if earlier else [])]
    if earlier:
        require_same_data(earlier[0], now)
    notes += [f"  changed: {each}" for each in changes(read_config(folder, "resume"), config)]
    at = find_position(folder, now["device"]["processes"], method.state_dict())
    if total < at.step:
        raise UsageError(
            f"the run has made {at.step} steps already, and trainer.max_epochs or trainer.max_steps would "
            f"have it end at {total}; make it longer, or start a new run"
        )
    if at.checkpoint and total != at.total_steps:
        rates = [method.learning_rate(at.step, steps) for steps in (at.total_steps, total)]
        notes.append(
            f"  the run is {total} steps long now instead of {at.total_steps}: its schedules are stretched "
            f"over the new length, and the learning rate goes on at {rates[1]:.3g} instead of {rates[0]:.3g}"
        )
    # Loading processes ask for their first batches before Lightning says which epoch it is.
    order.epoch, order.skip = divmod(at.batches, len(order))
    return [*at.notes, *notes], at.checkpoint


@contextmanager
def _sentences(folder: Path) -> Iterator[None]:
    """Say in a sentence what a run cannot mend: a full disk, an operation that is not deterministic."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RunStopped(f"the disk is full ({error}); make room, {last_good(folder)}") from error
    except RuntimeError as error:
        said = str(error).strip().partition("\n")[0]
        if "does not have a deterministic implementation" in said:
            raise UsageError(f"trainer.deterministic=true cannot be kept: {said}") from error
        raise


def check_batch_norm(method: Method, config: Mapping[str, Any], world: int, on_gpu: bool) -> None:
    """Refuse to synchronise batch norms where torch cannot, rather than train something else."""
    normed = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in method.modules())
    if normed and world > 1 and config["trainer"]["sync_batchnorm"] and not on_gpu:
        raise UsageError(
            "torch cannot synchronise batch norm between processes on CPUs; take trainer.devices=1, "
            "or trainer.sync_batchnorm=false to let each process normalise by its own images"
        )


def _folder(config: dict[str, Any], now: dict[str, Any]) -> Path:
    """The run's folder, made by the first process; the others are told by it, or write nothing."""
    if process_rank() > 0:
        return Path(config["resume"] or os.environ.get(_FOLDER, Path(str(config["out"])) / "latest"))
    folder = Path(config["resume"]) if config["resume"] else new_folder(config)
    # Of a run that is resumed, so that settings changed now hold when it is resumed once more.
    write_text(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))
    record(folder, now)
    os.environ[_FOLDER] = str(folder)
    return folder


def _announce(
    console: Console, config: Mapping[str, Any], method: Method, samples: int, devices: int, folder: Path
) -> None:
    optimizer, trainer = config["method"]["optimizer"], config["trainer"]
    batch, encoder = effective_batch(config, devices), method.encoder
    parameters = sum(p.numel() for p in encoder.parameters()) / 1e6
    sizes = "/".join(str(size) for size in dict.fromkeys(method.views.sizes))
    lines = [
        f"{config['method']['name']} on {config['data']['name']}: {samples} images, "
        f"{len(method.views)} views of {sizes} px",
        f"backbone {encoder.recipe['name']}, {parameters:.1f} M parameters",
        f"batch {batch} = {config['batch_size']} images x {devices * trainer['num_nodes']} devices "
        f"x {trainer['accumulate_grad_batches']} accumulated; "
        f"learning rate {method.peak_lr:.3g} = {optimizer['lr']} x {batch}/{optimizer['lr_batch']}",
        f"run folder {folder}",
    ]
    for line in lines:
        say(console, line)
