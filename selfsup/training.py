"""A run: data, encoder, method and trainer put together from a resolved configuration."""

import logging
import os
import time
import warnings
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from hydra.utils import get_class
from pytorch_lightning.callbacks import ModelCheckpoint
from rich.console import Console
from timm.layers import set_fused_attn

from selfsup.callbacks.metrics import MetricsFile
from selfsup.callbacks.progress import ProgressReport
from selfsup.callbacks.skipped import SkippedImages
from selfsup.commands.train import new_folder, write_json
from selfsup.config import load_config
from selfsup.data import load_data
from selfsup.data.batches import EpochOrder, training_loader
from selfsup.encoder import Encoder, build_encoder, save_encoder
from selfsup.errors import UsageError
from selfsup.evaluation import evaluate, print_table
from selfsup.methods.base import Method
from selfsup.views import ViewPlan

PATCH_SIZES, FEWEST_PATCHES = (16, 8, 4, 2), 6
LARGEST_FOR_SMALL_STEM = 64


def train(config: dict[str, Any]) -> Path:
    """Train, save and judge an encoder; returns the run's folder.

    Everything that can be refused is refused before the folder is made.
    """
    started = time.perf_counter()
    _quiet()
    pl.seed_everything(config["seed"], verbose=False)
    # timm's plain attention is twice as fast as torch's fused kernel on a CPU's short sequences.
    on_gpu = torch.cuda.is_available() and config["trainer"]["accelerator"] != "cpu"
    set_fused_attn(on_gpu)
    source, test = load_data(config["data"])
    trainer_settings = dict(config["trainer"])
    devices = _count_devices(trainer_settings, on_gpu)
    trainer_settings["devices"] = devices
    order = EpochOrder(
        len(source), config["batch_size"], config["seed"], int(os.environ.get("RANK", 0)), devices
    )
    encoder = make_encoder(config)
    method = make_method(config, encoder, devices)
    folder = Path(config["resume"]) if config["resume"] else new_folder(config)
    console = Console()
    _announce(console, config, method, len(source), devices, folder)
    if not config["resume"]:
        (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))

    checkpoint = folder / "checkpoints" / "last.ckpt" if config["resume"] else None
    if checkpoint:
        order.skip = _batches_seen(checkpoint, len(order))
    trainer = make_trainer(config, trainer_settings, folder, len(source), console)
    order.rank, order.world = trainer.global_rank, trainer.world_size
    loader = training_loader(source, method.views, order, config["data"]["workers"])
    method = method.to(memory_format=torch.channels_last)
    trainer.fit(method, loader, ckpt_path=checkpoint, weights_only=True)
    if trainer.is_global_zero:
        minutes = (time.perf_counter() - started) / 60
        hand_over(config, method, source, test, folder, console, minutes)
    return folder


def make_encoder(config: Mapping[str, Any]) -> Encoder:
    """The backbone of a configuration, with patches or a stem that fit the image size."""
    backbone, data = config["backbone"], config["data"]
    name, args, size = backbone["name"], dict(backbone["model_args"]), data["image_size"]
    if backbone["small"] and size <= LARGEST_FOR_SMALL_STEM:
        name = backbone["small"]
    if "patch_size" in args and args["patch_size"] is None:
        fitting = [p for p in PATCH_SIZES if size % p == 0 and size // p >= FEWEST_PATCHES]
        if not fitting:
            raise UsageError(f"no patch size fits images of {size} px; set data.image_size to a multiple of 4")
        args["patch_size"] = fitting[0]
    encoder = build_encoder(
        name,
        size,
        args,
        backbone["positions"],
        data["mean"],
        data["std"],
        pretrained=backbone["pretrained"],
        seed=config["seed"],
    )
    if "tokens" in config["method"]["requires"]:
        encoder.require_tokens()
    return encoder


def make_method(config: Mapping[str, Any], encoder: Encoder, devices: int) -> Method:
    """The Lightning module of a configuration."""
    settings = {key: value for key, value in config["method"].items() if key not in _NOT_ARGUMENTS}
    views = ViewPlan(
        config["views"],
        config["data"]["image_size"],
        config["data"]["mean"],
        config["data"]["std"],
        seed=config["seed"],
        multiple=encoder.patch_size if encoder.has_tokens else 1,
    )
    return get_class(config["method"]["_target_"])(
        encoder=encoder,
        views=views,
        batch_size=_effective_batch(config, devices),
        seed=config["seed"],
        **settings,
    )


_NOT_ARGUMENTS = ("_target_", "name", "requires", "class_token", "pool")


def make_trainer(
    config: Mapping[str, Any], settings: dict[str, Any], folder: Path, samples: int, console: Console
) -> pl.Trainer:
    """Lightning's trainer, writing into the run's folder."""
    minutes, precision = settings.pop("checkpoint_minutes"), settings.pop("precision")
    data = config["data"]
    images = _effective_batch(config, settings["devices"])
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
    card: dict[str, Any] = {
        "method": config["method"]["name"],
        "data": config["data"]["name"],
        "minutes": round(minutes, 2),
        "steps": method.global_step,
        "revision": _revision(),
        "config": dict(config),
    }
    target = folder / "encoder"
    for number in range(2, 1000):  # a run that was extended hands over another encoder
        if not target.exists():
            break
        target = folder / f"encoder-{number}"
    save_encoder(encoder, target, card)
    if config["evaluate"]:
        settings = load_config("evaluate", ["encoder=run"])
        keys = ("k", "temperature", "shots", "draws", "untrained_seeds", "controls", "precision", "batch_size")
        results = evaluate(
            encoder, source, test, config["data"], seed=config["seed"], **{key: settings[key] for key in keys}
        )
        results |= {"minutes": round(minutes, 2), "method": config["method"]["name"]}
        results["images_per_second"] = getattr(method, "images_per_second", None)
        write_json(folder / target.name.replace("encoder", "results.json").replace(".json-", "-"), results)
        print_table(results, console)
    console.print(f"Encoder: {target}   ({minutes:.1f} min of training)", highlight=False, soft_wrap=True)
    console.print("Next:", highlight=False)
    console.print(f"  selfsup evaluate encoder={target} data=...", highlight=False, soft_wrap=True)
    console.print(f'  selfsup.load_encoder("{target}")', highlight=False, soft_wrap=True)
    console.print(
        f'  timm.create_model("local-dir:{target}", pretrained=True)', highlight=False, soft_wrap=True
    )


def _announce(
    console: Console, config: Mapping[str, Any], method: Method, samples: int, devices: int, folder: Path
) -> None:
    optimizer, trainer = config["method"]["optimizer"], config["trainer"]
    batch, encoder = _effective_batch(config, devices), method.encoder
    parameters = sum(p.numel() for p in encoder.parameters()) / 1e6
    lines = [
        f"{config['method']['name']} on {config['data']['name']}: {samples} images, {len(method.views)} views of "
        f"{'/'.join(str(size) for size in dict.fromkeys(method.views.sizes))} px",
        f"backbone {encoder.recipe['name']}, {parameters:.1f} M parameters",
        f"batch {batch} = {config['batch_size']} x {devices} devices x {trainer['accumulate_grad_batches']} "
        f"accumulated; learning rate {method.peak_lr:.3g} = {optimizer['lr']} x {batch}/{optimizer['lr_batch']}",
        f"run folder {folder}",
    ]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _effective_batch(config: Mapping[str, Any], devices: int) -> int:
    nodes, accumulated = config["trainer"]["num_nodes"], config["trainer"]["accumulate_grad_batches"]
    return int(config["batch_size"] * devices * nodes * accumulated)


def _count_devices(settings: Mapping[str, Any], on_gpu: bool) -> int:
    devices = settings["devices"]
    if isinstance(devices, list):
        return len(devices)
    if devices in ("auto", -1):
        return torch.cuda.device_count() if on_gpu else 1
    return int(devices)


def _batches_seen(checkpoint: Path, batches: int) -> int:
    """Batches of the interrupted epoch that were already trained on."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    progress = state["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
    return int(progress["completed"]) % batches


def _quiet() -> None:
    """Keep Lightning's remarks about its own settings off the terminal."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")


def _has_wandb_account() -> bool:
    import netrc

    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return any("wandb" in host for host in netrc.netrc().hosts)
    except (OSError, netrc.NetrcParseError):
        return False


def _revision() -> str | None:
    import subprocess

    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
