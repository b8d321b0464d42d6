"""A run from beginning to end: learn, save, judge."""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from rich.console import Console
from timm.layers.config import set_fused_attn
from torch import nn

from selfsup.config import load_config
from selfsup.data import load_data
from selfsup.data.batches import make_order, training_loader
from selfsup.data.workers import loss_of_a_worker_told, worker_count
from selfsup.encoder import add_to_card, save_encoder
from selfsup.errors import UsageError
from selfsup.evaluation import SETTINGS, evaluate, print_table, write_results
from selfsup.methods.base import Method
from selfsup.run.build import count_devices, effective_batch, make_encoder, make_method, quiet
from selfsup.run.folder import new_folder, process_rank
from selfsup.run.trainer import batches_seen, check_trainer, make_trainer

_FOLDER = "SELFSUP_RUN_FOLDER"


def train(config: dict[str, Any]) -> Path:
    """Train, save and judge an encoder; returns the run's folder.

    Everything that can be refused is refused before the folder is made.
    """
    started = time.perf_counter()
    quiet()
    # timm's plain attention is twice as fast as torch's fused kernel on a CPU's short sequences.
    on_gpu = torch.cuda.is_available() and config["trainer"]["accelerator"] != "cpu"
    set_fused_attn(on_gpu)
    pl.seed_everything(config["seed"], verbose=False)
    source, test = load_data(config["data"])
    devices = count_devices(config["trainer"], on_gpu)
    world = devices * config["trainer"]["num_nodes"]
    order = make_order(source, config["batch_size"], config["seed"], world)
    method = make_method(config, make_encoder(config), devices)
    check_batch_norm(method, config, world, on_gpu)
    check_trainer(config, devices)

    folder = _folder(config)
    console = Console(quiet=process_rank() > 0)
    _announce(console, config, method, len(source), devices, folder)
    trainer = make_trainer(config, devices, folder, source, console)
    order.rank = trainer.global_rank
    checkpoint = folder / "checkpoints" / "last.ckpt" if config["resume"] else None
    if checkpoint:
        order.skip = batches_seen(checkpoint, len(order))
    workers = worker_count(config["data"]["workers"], source, devices)
    loader = training_loader(source, method.views, order, workers, trainer.strategy.root_device)
    method = method.to(memory_format=torch.channels_last)
    with loss_of_a_worker_told():
        trainer.fit(method, loader, ckpt_path=checkpoint, weights_only=True)
    if trainer.is_global_zero:
        minutes = (time.perf_counter() - started) / 60
        hand_over(config, method, source, test, folder, console, minutes)
    return folder


def check_batch_norm(method: Method, config: Mapping[str, Any], world: int, on_gpu: bool) -> None:
    """Refuse to synchronise batch norms where torch cannot, rather than train something else."""
    normed = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in method.modules())
    if normed and world > 1 and config["trainer"]["sync_batchnorm"] and not on_gpu:
        raise UsageError(
            "torch cannot synchronise batch norm between processes on CPUs; take trainer.devices=1, "
            "or trainer.sync_batchnorm=false to let each process normalise by its own images"
        )


def _folder(config: dict[str, Any]) -> Path:
    """The run's folder, made by the first process; the others are told by it, or write nothing."""
    if config["resume"]:
        return Path(config["resume"])
    if process_rank() > 0:
        return Path(os.environ.get(_FOLDER, Path(config["out"]) / "latest"))
    folder = new_folder(config)
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    os.environ[_FOLDER] = str(folder)
    return folder


def hand_over(
    config: Mapping[str, Any],
    method: Method,
    source: Any,
    test: Any,
    folder: Path,
    console: Console,
    minutes: float,
) -> None:
    """Save the encoder, judge it, and say what to type next."""
    encoder = method.learned_encoder().cpu().eval()
    target = next(path for path in _encoder_folders(folder) if not path.exists())
    facts = {"method": config["method"]["name"], "minutes": round(minutes, 2), "steps": method.global_step}
    card = {**facts, "data": config["data"]["name"], "revision": _revision(), "config": dict(config)}
    save_encoder(encoder, target, card)
    if config["evaluate"]:
        given = ["encoder=run", f"seed={config['seed']}", f"precision={config['evaluate_precision']}"]
        judging = load_config("evaluate", given, config["data"])
        settings = {key: value for key, value in judging.items() if key in SETTINGS}
        results = evaluate(
            encoder,
            source,
            test,
            config["data"],
            **settings,
        ) | {
            **facts,
            "images_per_second": getattr(method, "images_per_second", None),
        }
        write_results(results, None, str(target))
        add_to_card(target, {"scores": results["rows"][0]["scores"]})
        print_table(results, console)
    for line in (
        f"Encoder: {target}   ({minutes:.1f} min of training). Next:",
        f"  selfsup evaluate encoder={target} data=...",
        f'  selfsup.load_encoder("{target}")',
        f'  timm.create_model("local-dir:{target}", pretrained=True)',
    ):
        console.print(line, highlight=False, soft_wrap=True)


def _encoder_folders(folder: Path) -> Iterator[Path]:
    """``encoder``; then ``encoder-2``, ... for a run that was extended and hands over once more."""
    yield folder / "encoder"
    yield from (folder / f"encoder-{number}" for number in count(2))


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
        console.print(line, highlight=False, soft_wrap=True)


def _revision() -> str | None:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
