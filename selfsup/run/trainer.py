"""Lightning's trainer for a run: precision, logger, callbacks."""

import netrc
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from rich.console import Console

from selfsup.callbacks.metrics import MetricsFile
from selfsup.callbacks.progress import ProgressReport
from selfsup.callbacks.skipped import SkippedImages
from selfsup.run.build import effective_batch


def make_trainer(
    config: Mapping[str, Any], devices: int, folder: Path, samples: int, console: Console
) -> pl.Trainer:
    """Lightning's trainer, writing into the run's folder."""
    settings = dict(config["trainer"])
    minutes, precision = settings.pop("checkpoint_minutes"), settings.pop("precision")
    if settings["devices"] == "auto":
        settings["devices"] = devices
    settings["sync_batchnorm"] &= devices * settings["num_nodes"] > 1
    data, images = config["data"], effective_batch(config, devices)
    callbacks = [
        ProgressReport(images, console),
        MetricsFile(folder / "metrics.csv", settings["log_every_n_steps"]),
        SkippedImages(folder / "skipped.csv", samples, data["max_unreadable"]),
        ModelCheckpoint(
            folder / "checkpoints",
            filename="{step}",
            save_last=True,
            save_top_k=1,
            train_time_interval=timedelta(minutes=minutes),
            enable_version_counter=False,
        ),
    ]
    accelerator = settings["accelerator"]
    return pl.Trainer(
        **settings,
        precision=best_precision(accelerator) if precision == "auto" else precision,
        logger=make_logger(config, folder),
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def best_precision(accelerator: str) -> Any:
    """bf16 autocast where the hardware multiplies bf16 matrices itself, else float32.

    On a CPU that has AMX or AVX-512 BF16 instructions it is about twice as fast for both ResNets
    and vision transformers; without them it is slower than float32.
    """
    if torch.cuda.is_available() and accelerator != "cpu":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    abilities = torch.cpu.get_capabilities()
    return "bf16-mixed" if abilities.get("amx_bf16") or abilities.get("avx512_bf16") else "32-true"


def make_logger(config: Mapping[str, Any], folder: Path) -> Any:
    """A Lightning logger beside ``metrics.csv``, or False."""
    logger = config["logger"]
    if logger["name"] == "wandb":
        from pytorch_lightning.loggers import WandbLogger

        offline = logger["mode"] == "offline" or (logger["mode"] == "auto" and not _has_wandb_account())
        return WandbLogger(
            name=folder.name, project=logger["project"], save_dir=folder, offline=offline, config=dict(config)
        )
    if logger["name"] == "tensorboard":
        from pytorch_lightning.loggers import TensorBoardLogger

        return TensorBoardLogger(folder, name="tensorboard", version="")
    return False


def batches_seen(checkpoint: Path, batches: int) -> int:
    """Batches of the interrupted epoch that were already trained on."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    progress = state["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
    return int(progress["completed"]) % batches


def _has_wandb_account() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return any("wandb" in host for host in netrc.netrc().hosts)
    except (OSError, netrc.NetrcParseError):
        return False
