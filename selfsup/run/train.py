"""A run from beginning to end: learn, save, judge."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from torch import nn

from selfsup.backbone_names import backbone_name
from selfsup.build import (
    compile_passes,
    count_classes,
    count_devices,
    count_samples,
    count_steps,
    effective_batch,
    make_encoder,
    make_method,
    steps_an_epoch,
)
from selfsup.callbacks.checkpoint_files import last_good, trouble
from selfsup.callbacks.curation import described, read_kept
from selfsup.callbacks.length import length
from selfsup.callbacks.metrics import MetricsFile
from selfsup.callbacks.online_settings import require_shares
from selfsup.callbacks.present import require_there
from selfsup.callbacks.signals import StopSignals
from selfsup.cores import keep
from selfsup.data import Source, load_data
from selfsup.data.batches import make_order, training_loader
from selfsup.data.decisions import DECIDED
from selfsup.data.kept_order import KeptOrder
from selfsup.data.order import EpochOrder
from selfsup.data.relations import make_relation
from selfsup.data.select import leave_out
from selfsup.data.settings import positives_of, repeat_of
from selfsup.data.stage_order import require_all
from selfsup.data.statistics import keep_measured
from selfsup.data.workers import explain_dead_worker, worker_count
from selfsup.encoder import save_encoder
from selfsup.errors import RunStopped, UsageError
from selfsup.evidence import BEST, STOP
from selfsup.files import write_text
from selfsup.methods.base import Method
from selfsup.processes import in_trainer, lost_processes, restored_environment
from selfsup.report import write_report
from selfsup.run.branch import copy_checkpoint
from selfsup.run.environment import FILE, differences, environment, recorded, require_same_data, starts
from selfsup.run.folder import CONFIG, new_folder, point_latest, remove_unused
from selfsup.run.hand_over import hand_over, kept_encoders, try_hand_over
from selfsup.run.launch import agreed
from selfsup.run.resume import changes, find_position
from selfsup.run.trainer import check_trainer, choose_attention, chosen, make_trainer, on_gpu
from selfsup.runs import read_config
from selfsup.runtime import look_for_gpus_once, quiet
from selfsup.sides import sizes_in_words
from selfsup.terminal import make_console, say


def train(config: dict[str, Any]) -> Path:
    """Train, save and judge an encoder; returns the run's folder.

    Whatever can be refused is refused before the folder is made.

    Raises:
        UsageError: the settings are wrong.
        RunStopped: a signal, gradients that were repeatedly not finite, a disk error, or the end of another
            process of the run.
    """
    signals = StopSignals()
    with signals.caught(), restored_environment():
        return _train(config, signals)


def _train(config: dict[str, Any], signals: StopSignals) -> Path:
    quiet()
    look_for_gpus_once()
    gpu = on_gpu(config["trainer"]["accelerator"])
    devices = count_devices(config["trainer"], gpu)
    place = in_trainer(devices, config["trainer"]["num_nodes"])
    if config["trainer"]["deterministic"] or place.world > 1:
        keep()
    choose_attention(config["trainer"])
    pl.seed_everything(config["seed"], verbose=False)
    source, test = load_data(config["data"], as_before=bool(config["resume"]), measure=True)
    keep_measured(config["data"], source)
    whole, held = source, None
    if count := config["online"].get("held_out", 0):
        source, held = leave_out(source, count, config["seed"])
        require_shares(count, config["batch_size"] * place.world)
    count_samples(config, len(source))
    count_classes(config, source)
    source.relation = make_relation(config, source, test, config["batch_size"] * place.world)
    order = make_order(source, config["batch_size"], config["seed"], place.world, **ordering(config))
    method = make_method(config, make_encoder(config), devices, source.relation)
    if config["compile"]:
        compile_passes(method, gpu)
    check_batch_norm(method, config, place.world, gpu)
    checked = check_trainer(config, devices)
    reasons = [reason for use in (BEST, STOP) if (reason := chosen(config, source, use)[1])]

    total = count_steps(config, len(order))
    require_all(order, total * config["trainer"]["accumulate_grad_batches"])
    now = environment(source, gpu, place.world)
    notes, checkpoint = _take_up(config, order, method, total, now)
    if isinstance(order, KeptOrder):
        source.decisions.kept = described(order)

    with _sentences(Path(str(config["resume"] or config["out"]))):
        folder = agreed(checked, place, signals, partial(_folder, config, method, now, source))
    signals.hint = f"; continue with resume={folder}"
    console = make_console(quiet=place.rank > 0)
    tell = partial(say, console)
    with _left_as_it_was(folder, place.rank == 0 and not config["resume"], signals), _sentences(folder):
        _announce(tell, config, method, source, devices, folder)
        tell(run_length(config, len(order), len(source), devices))
        for note in [*reasons, *notes]:
            tell(note)
        begun = partial(_begun, folder, Path(str(config["out"])), tell)
        trainer = make_trainer(config, devices, folder, source, console, signals, begun, order, held)
        order.rank = trainer.global_rank
        workers = worker_count(config["data"]["workers"], source, devices)
        loader = training_loader(source, method.views, order, workers, trainer.strategy.root_device)
        method = method.to(memory_format=torch.channels_last)
        with explain_dead_worker(partial(last_good, folder)), lost_processes(partial(last_good, folder)):
            with signals.waiting():
                trainer.fit(method, loader, ckpt_path=checkpoint, weights_only=True)
            if torch.distributed.is_initialized():  # the rest is for the first process only
                torch.distributed.destroy_process_group()
            if trainer.is_global_zero:
                callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
                seconds = next(each.seconds for each in callbacks if isinstance(each, MetricsFile))
                found = hand_over(config, method, whole, test, folder, console, seconds)
                if config["report"]:
                    require_there(folder)
                    device = str(trainer.strategy.root_device)
                    tell(f"Report: {write_report([folder], sources=(whole, test), device=device)}")
                if found:
                    tell(f"{found.headline}.")
    return folder


def ordering(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration asks of the order of samples (:func:`selfsup.data.batches.make_order`)."""
    curation = config["curation"]
    return {
        "share": curation["share"] if curation["every_epochs"] else None,
        "repeat": repeat_of(config),
        "paired": positives_of(config) == "edges",
    }


def run_length(config: Mapping[str, Any], batches: int, images: int, devices: int) -> str:
    """One line about how long a run of ``batches`` an epoch is (:func:`selfsup.callbacks.length.length`)."""
    return length(
        count_steps(config, batches),
        steps_an_epoch(config, batches),
        effective_batch(config, devices),
        images,
        by_steps=config["trainer"]["max_steps"] > 0,
    )


@contextmanager
def _left_as_it_was(folder: Path, new: bool, signals: StopSignals) -> Iterator[None]:
    """Remove a new folder if the start fails before anything is learned.

    After a signal it stays, as the message says how to resume the run.
    """
    try:
        yield
    except BaseException:
        if new and not signals.received:
            remove_unused(folder)
        raise


def _begun(folder: Path, out: Path, tell: Any) -> None:
    if note := point_latest(folder, out):
        tell(note)


def _take_up(
    config: dict[str, Any], order: EpochOrder, method: Method, total: int, now: dict[str, Any]
) -> tuple[list[str], Path | None]:
    """Report changes in a run that is resumed or repeated; returns the checkpoint to continue from."""
    if config["from"]:
        before = next(iter(starts(Path(config["from"]))), None)
        differs = differences(before, now) if before else ["(it has no environment.json to compare with)"]
        return [f"repeating {config['from']}", *(f"not as before: {each}" for each in differs)], None
    if not config["resume"] and not config["anneal"]:
        return [], None
    folder = Path(config["resume"] or config["anneal"])
    earlier = starts(folder)
    notes = [f"not as before: {each}" for each in (differences(earlier[-1], now) if earlier else [])]
    if earlier:
        require_same_data(earlier[0], now)
    notes += [f"  changed: {each}" for each in changes(read_config(folder, "resume"), config)]
    at = find_position(folder, now["device"]["processes"], method.state_dict())
    if total < at.step:
        key = "max_steps" if config["trainer"]["max_steps"] > 0 else "max_epochs"
        length = f"trainer.{key}={config['trainer'][key]}"
        raise UsageError(
            f"the run has made {at.step} steps already, and {length} would end it at {total}; set "
            f"trainer.{key} higher, or start a new run"
        )
    endless = config["method"]["optimizer"]["schedule"] == "infinite"
    if at.checkpoint and total != at.total_steps and not endless:
        rates = [method.learning_rate(at.step, steps) for steps in (at.total_steps, total)]
        notes.append(
            f"  the run is now {total} steps long instead of {at.total_steps}: its schedules are stretched "
            f"over the new length, the learning rate continues at {rates[1]:.3g} instead of {rates[0]:.3g}"
        )
    # Loading processes load their first batches before Lightning sets the epoch.
    order.epoch, order.skip = divmod(at.batches, len(order))
    if isinstance(order, KeptOrder):
        read_kept(folder, order, config["curation"], order.epoch)
    return [*at.notes, *notes], at.checkpoint


@contextmanager
def _sentences(folder: Path) -> Iterator[None]:
    """Turn fatal errors into one-sentence messages: disk errors, or operations that are not deterministic."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # not from the operating system
            raise
        raise RunStopped(trouble(error, folder)) from error
    except RuntimeError as error:
        said = str(error).strip().partition("\n")[0]
        if "does not have a deterministic implementation" in said:
            raise UsageError(f"trainer.deterministic=true cannot be kept: {said}") from error
        raise


def check_batch_norm(method: Method, config: Mapping[str, Any], world: int, on_gpu: bool) -> None:
    """Refuse to synchronise batch norms if torch cannot, instead of training something else."""
    normed = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in method.modules())
    if normed and world > 1 and config["trainer"]["sync_batchnorm"] and not on_gpu:
        raise UsageError(
            "torch cannot synchronise batch norm between processes on CPUs; take trainer.devices=1, "
            "or trainer.sync_batchnorm=false to let each process normalise by its own images"
        )


def _folder(config: dict[str, Any], method: Method, now: dict[str, Any], source: Source) -> Path:
    """The run's folder, with the configuration and this start in it; made by the first process only."""
    try_hand_over(config, method)
    decided = source.decisions.as_file()
    if not config["resume"]:

        def more(part: Path) -> None:
            for name, encoder in kept_encoders(config, method).items():
                save_encoder(encoder, part / name)
            if config["anneal"]:
                copy_checkpoint(Path(config["anneal"]), part)

        return new_folder(config, {FILE: recorded([], now), DECIDED: decided}, more)
    folder = Path(config["resume"])
    # Also for a resumed run, so that settings changed now hold when it is resumed again.
    write_text(folder / CONFIG, yaml.safe_dump(config, sort_keys=False))
    write_text(folder / FILE, recorded(starts(folder), now))
    write_text(folder / DECIDED, decided)
    return folder


def _announce(
    tell: Any, config: Mapping[str, Any], method: Method, source: Source, devices: int, folder: Path
) -> None:
    optimizer, trainer = config["method"]["optimizer"], config["trainer"]
    batch, encoder = effective_batch(config, devices), method.encoder
    parameters = sum(p.numel() for p in encoder.parameters()) / 1e6
    lines = [
        f"{config['method']['name']} on {config['data']['name']}: {len(source)} images, "
        f"{len(method.views)} views of {sizes_in_words(method.views.sizes)}",
        f"backbone {backbone_name(config['backbone'])}, {parameters:.1f} M parameters",
        f"batch {batch} = {config['batch_size']} images x {devices * trainer['num_nodes']} devices "
        f"x {trainer['accumulate_grad_batches']} accumulated; "
        f"learning rate {method.peak_lr:.3g} = {optimizer['lr']} x {batch}/{optimizer['lr_batch']}",
        f"run folder {folder}",
    ]
    if method.untrained:
        lines.insert(
            2,
            f"{config['method']['name']} does not train {', '.join(method.untrained)}: pooled features pass "
            "through it untrained",
        )
    if left_out := method.views.left_out():
        lines.insert(1, left_out)
    for line in [*source.decisions.lines(), *lines]:
        tell(line)
