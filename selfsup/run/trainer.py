"""Lightning's trainer for a run: precision, logger, callbacks."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from rich.console import Console
from timm.layers.config import set_fused_attn

from selfsup.build import effective_batch
from selfsup.callbacks import online
from selfsup.callbacks.checkpoint_writer import WholeFiles
from selfsup.callbacks.checkpoints import Checkpoints
from selfsup.callbacks.curation import Curation
from selfsup.callbacks.finite import FiniteSteps
from selfsup.callbacks.free_cores import FreeCores
from selfsup.callbacks.guard import FEWEST, CollapseGuard
from selfsup.callbacks.held_out import HeldOutLoss
from selfsup.callbacks.metrics import MetricsFile
from selfsup.callbacks.online_settings import choice
from selfsup.callbacks.present import Present
from selfsup.callbacks.progress import ProgressReport
from selfsup.callbacks.signals import StopSignals
from selfsup.callbacks.skipped import SkippedImages
from selfsup.callbacks.stages import StageEncoders
from selfsup.callbacks.stopping import Stopping
from selfsup.data import Source
from selfsup.data.kept_order import KeptOrder
from selfsup.data.order import EpochOrder
from selfsup.data.stage_order import StageOrder
from selfsup.data.workers import worker_count
from selfsup.errors import UsageError
from selfsup.evidence import BEST, STOP
from selfsup.from_labels import labels_used_by
from selfsup.precision import multiplies_bf16, tell_imitation
from selfsup.processes import in_trainer
from selfsup.run.launch import Environment, Launcher
from selfsup.run.loggers import make_logger, public_name, without_machine
from selfsup.run.share import Share
from selfsup.terminal import say

_PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
_OURS = (
    "checkpoint_minutes",
    "checkpoint_steps",
    "checkpoints_kept",
    "stop",
    "stop_patience",
    "max_skipped_steps",
)


def make_trainer(
    config: Mapping[str, Any],
    devices: int,
    folder: Path,
    source: Source,
    console: Console,
    signals: StopSignals,
    begun: Callable[[], None] = lambda: None,
    order: EpochOrder | None = None,
    held: Source | None = None,
) -> pl.Trainer:
    """Lightning's trainer, writing into the run's folder.

    Args:
        begun: called by the first process when the first step is made.
        order: of the samples; where it has stages, the encoder of each is kept, and where fewer samples are
            kept after a while, they are chosen.
        held: training images that are not learned from.
    """
    settings, data, images = config["trainer"], config["data"], effective_batch(config, devices)
    files = WholeFiles(settings["checkpoints_kept"])
    minutes, steps = settings["checkpoint_minutes"], settings["checkpoint_steps"]
    callbacks = [
        Present(folder),  # before all that write
        FreeCores(),  # before all that compute
        # Before the progress and the file of metrics, whose rows of a step hold what the guard saw at it.
        *make_guard(config, source, folder, console),
        ProgressReport(images, console),
        MetricsFile(folder / "metrics.csv", settings["log_every_n_steps"]),
        SkippedImages(folder / "skipped.csv", len(source), data["max_unreadable"], source.skipped),
        *make_online(config, devices, folder, source, console, held),
        *make_stopping(config, source, console),
        *make_curation(config, devices, folder, source, order, console),
        *([StageEncoders(order, folder, run_card(config))] if isinstance(order, StageOrder) else []),
        *make_share(config, source),
        FiniteSteps(folder, settings["max_skipped_steps"], source.name, console),
        Checkpoints(folder, minutes, steps, files, signals, begun),
    ]
    environment = make_environment(config, devices)
    trainer = pl.Trainer(
        **trainer_settings(config, devices),
        default_root_dir=folder,
        plugins=[files, environment],
        logger=make_logger(config, folder, partial(say, console)),
        callbacks=callbacks,
    )
    if trainer.strategy.launcher is not None:
        nodes = settings["num_nodes"]
        trainer.strategy._launcher = Launcher(environment, nodes, folder, signals)  # type: ignore[assignment]
    return trainer


def make_environment(config: Mapping[str, Any], devices: int) -> Environment:
    """What Lightning is told of the run's processes."""
    return Environment(in_trainer(devices, config["trainer"]["num_nodes"]), devices)


def make_share(config: Mapping[str, Any], source: Source) -> list[Share]:
    """What gives a logger pictures and the encoder, if there is one."""
    logger = config["logger"]
    if logger["name"] == "none":
        return []
    card = {key: value for key, value in run_card(config).items() if key != "config"}
    return [Share(source, card, private=logger.get("private", True))]


def run_card(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the card of an encoder says of the run that is under way."""
    about = {"method": config["method"]["name"], "from_labels": labels_used_by(config)}
    return {**about, "data": public_name(config["data"]), "config": without_machine(config)}


def make_guard(config: Mapping[str, Any], source: Any, folder: Path, console: Console) -> list[CollapseGuard]:
    """The collapse guard, unless it is switched off or has too few images to judge by."""
    settings = {key: value for key, value in config["guard"].items() if key != "enabled"}
    if not config["guard"]["enabled"]:
        return []
    if len(source) < FEWEST:
        say(console, f"the collapse guard is off: {len(source)} images are too few to judge by")
        return []
    path = folder / "warnings.csv"
    batch = config["batch_size"] * config["trainer"]["accumulate_grad_batches"]
    about: dict[str, Any] = {"path": path, "console": console, "seed": config["seed"], **settings}
    return [CollapseGuard(source, batch_size=batch, **about)]


def make_online(
    config: Mapping[str, Any],
    devices: int,
    folder: Path,
    source: Source,
    console: Console,
    held: Source | None = None,
) -> list[online.OnlineEvaluation]:
    """The evaluation while training, unless there is never to be a look or too few images to judge by."""
    settings = config["online"]
    if settings["every_epochs"] is None and settings["every_steps"] is None:
        return []
    if len(source) < online.FEWEST:
        say(console, f"nothing is judged while training: {len(source)} images are too few")
        return []
    workers, card = worker_count(config["data"]["workers"], source, devices), run_card(config)
    seed = config["seed"]
    loss = None if held is None else HeldOutLoss(held, source, config["batch_size"], seed)
    by, _ = chosen(config, source, BEST)
    return [online.OnlineEvaluation(source, folder, settings, by, workers, seed, card, console, loss)]


def make_stopping(config: Mapping[str, Any], source: Source, console: Console) -> list[Stopping]:
    """What ends a run early, if it is to end so."""
    by, _ = chosen(config, source, STOP)
    return [] if by is None else [Stopping(by, config["trainer"]["stop_patience"], console)]


def chosen(config: Mapping[str, Any], source: Source, use: str) -> tuple[str | None, str | None]:
    """The score that keeps an encoder or ends a run (:func:`selfsup.callbacks.online_settings.choice`)."""
    looks = config["online"]
    given = looks["best"] if use == BEST else config["trainer"]["stop"]
    if looks["every_epochs"] is None and looks["every_steps"] is None:
        return None, None
    return choice(given, use, config["method"]["name"], source.labels is not None)


def make_curation(
    config: Mapping[str, Any],
    devices: int,
    folder: Path,
    source: Source,
    order: EpochOrder | None,
    console: Console,
) -> list[Curation]:
    """The curation while training, if the order of samples has one."""
    if not isinstance(order, KeptOrder):
        return []
    workers = worker_count(config["data"]["workers"], source, devices)
    return [Curation(source, order, folder, config["curation"], workers, console)]


def trainer_settings(config: Mapping[str, Any], devices: int) -> dict[str, Any]:
    """The configuration's ``trainer`` in Lightning's words."""
    settings = {key: value for key, value in config["trainer"].items() if key not in _OURS}
    settings["precision"] = precision(settings)
    if in_16_bits(settings) and not on_gpu(settings["accelerator"]):
        tell_imitation()
    if settings["devices"] == "auto":
        settings["devices"] = devices
    if settings["max_steps"] > 0:
        settings["max_epochs"] = -1
    settings["sync_batchnorm"] &= devices * settings["num_nodes"] > 1
    return {
        **settings,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
    }


def check_trainer(config: Mapping[str, Any], devices: int) -> pl.Trainer:
    """Raise a UsageError if the settings cannot work, before a folder is made for the run.

    Returns:
        A trainer with these settings, whose strategy can bring the run's processes together.
    """
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False}
    environment = make_environment(config, devices)
    try:
        trainer = pl.Trainer(**trainer_settings(config, devices), **quiet, plugins=[environment])
    except (ValueError, TypeError, RuntimeError, ImportError, MisconfigurationException) as error:
        raise UsageError(f"Lightning refuses the trainer's settings: {str(error).splitlines()[0]}") from error
    if trainer.precision not in _PRECISIONS:
        raise UsageError(
            f"trainer.precision is auto, {', '.join(_PRECISIONS[:-1])} or {_PRECISIONS[-1]}, not "
            f"{trainer.precision}: views are made in float32"
        )
    if environment.world_size() > 1 and not isinstance(trainer.strategy.launcher, _SubprocessScriptLauncher):
        raise UsageError(
            f"trainer.strategy={config['trainer']['strategy']} makes several processes of one, which would "
            "all train on the same images; take trainer.strategy=ddp"
        )
    return trainer


def on_gpu(accelerator: str) -> bool:
    """Whether a run with this accelerator is on a GPU of CUDA."""
    return torch.cuda.is_available() and accelerator != "cpu"


def choose_attention(settings: Mapping[str, Any]) -> None:
    """Enable timm's fused attention, in blocks made from now on, where it is faster.

    It does not keep the attention matrices for the backward pass. In float32 it takes as long as timm's plain
    attention; in bfloat16 on a CPU it takes twice as long on short sequences.
    """
    set_fused_attn(on_gpu(settings["accelerator"]) or not in_16_bits(settings))


def in_16_bits(settings: Mapping[str, Any]) -> bool:
    """Whether a run with these settings of the trainer computes in 16 bits: on a CPU always in bfloat16."""
    return str(precision(settings)).startswith(("bf16", "16"))


def precision(settings: Mapping[str, Any]) -> Any:
    """The trainer's precision, in Lightning's words."""
    chosen = settings["precision"]
    return best_precision(settings["accelerator"]) if chosen == "auto" else chosen


def best_precision(accelerator: str) -> Any:
    """bf16 autocast where the hardware multiplies bf16 matrices faster than float32 ones, else float32."""
    if on_gpu(accelerator):
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    return "bf16-mixed" if multiplies_bf16() else "32-true"
