"""How fast a device trains, stage by stage, beside the rates at which it multiplies and copies."""

from typing import Any

import numpy as np
import torch

from benchmarks.gpu.machine import Machine
from benchmarks.speed import stages as of_stages
from selfsup.build import compile_passes, make_encoder, make_method
from selfsup.config import load_config
from selfsup.views.image import colour, fused
from tests.methods.building import images

CIFAR = "data=parquet batch_size=1024 backbone.model_args.stem_stride=1"
PHOTOS = "backbone=vit_small data=arrays data.image_size=224 batch_size=256"
PHOTOS_FEW = PHOTOS.replace("256", "128")  # ten views of each image
RUNS = {
    "SimCLR, ResNet-18 at 32 px": f"experiment=cifar10_simclr {CIFAR}",
    "Barlow Twins, ResNet-18 at 32 px": f"experiment=cifar10_barlow {CIFAR}",
    "MAE, ViT-S/16 at 224 px": f"method=mae {PHOTOS}",
    "DINO, ViT-S/16 at 224 px": f"method=dino {PHOTOS_FEW}",
    "I-JEPA, ViT-S/16 at 224 px": f"method=jepa {PHOTOS}",
}
VIEWS = ("32 px", "224 px")
COMPILED = ("resnet18", "vit_small")
STEPS = 30


def rates(item: str, machine: Machine) -> dict[str, Any]:
    """What the device is, and 10¹² operations or 10⁹ bytes a second."""
    width, size = (8192, 2**30) if machine.on_gpu else (1024, 2**24)
    found: dict[str, Any] = {}
    for name, dtype, tf32 in (
        ("bfloat16", torch.bfloat16, False),
        ("tf32", torch.float32, True),
        ("float32", torch.float32, False),
    ):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a = torch.randn(width, width, device=machine.device, dtype=dtype)
        machine.seconds(lambda a=a: a @ a, 3)
        found[f"{name}_tflops"] = round(2e-12 * width**3 / machine.seconds(lambda a=a: a @ a, 10), 2)
    torch.backends.cuda.matmul.allow_tf32 = False
    there = torch.empty(size, dtype=torch.uint8, device=machine.device)
    other, host = torch.empty_like(there), torch.empty(size, dtype=torch.uint8)
    if machine.on_gpu:
        host = host.pin_memory()
        about = torch.cuda.get_device_properties(0)
        found |= {"name": about.name, "gib": round(about.total_memory / 2**30, 1), "cuda": torch.version.cuda}
    found["copy_gb"] = round(2e-9 * size / machine.seconds(lambda: other.copy_(there), 10), 1)
    sent = machine.seconds(lambda: there.copy_(host, non_blocking=True), 3)
    return {**found, "from_host_gb": round(1e-9 * size / sent, 1)}


def settings(item: str, machine: Machine) -> list[str]:
    """Of a run: images on the device, batches that fit the device."""
    typed = RUNS[item].split()
    if "data=arrays" in typed:
        pixels = machine.runs / "pixels.npy"
        if not pixels.is_file():
            machine.runs.mkdir(parents=True, exist_ok=True)
            count = machine.of(2048, 64)
            drawn = np.random.default_rng(0).integers(0, 256, (count, 3, 224, 224), dtype=np.uint8)
            np.save(pixels, drawn)
        typed.append(f"data.images={pixels}")
    else:
        typed.append(f"data.train={machine.data}/cifar10-train.parquet[:{machine.of(20_000, 64)}]")
        typed.append("data.test=null")
    if machine.small:
        typed.append("batch_size=8")
    return [*typed, f"trainer.accelerator={machine.accelerator}"]


def stages(item: str, machine: Machine) -> dict[str, Any]:
    """A run's stages beside their floors, and how much of the multiplications' rate a step reaches."""
    typed, steps = settings(item, machine), machine.of(STEPS, 3)
    whole = of_stages.spent(typed, steps, of_stages.WARM, of_stages.now, by_stage=False)
    peak, seconds = machine.peak_gib(), sum(whole["spent"].values())
    found = of_stages.profile(typed, steps)
    operations = sum(row["gflops"] for row in found["stages"])
    share = operations / seconds / found["gflops_a_second_of_matrices"]
    return {
        **found,
        # The stages' own sum is longer: at the end of each the CPU waits for the GPU.
        "images_per_second": round(whole["batch"] / seconds, 1),
        "share_of_matrix_rate": round(share, 4),
        "peak_gib": peak,
    }


def views(item: str, machine: Machine) -> dict[str, Any]:
    """Colours of SimCLR's views, operation by operation and compiled: views a second, and kernels."""
    side = int(item.split()[0])
    count = machine.of(1024 if side == 32 else 256, 2)
    data = ["data=parquet", "data.train=none", f"data.image_size={side}"]
    config = load_config("train", ["method=simclr", "backbone=resnet18", *data])
    plan = make_method(config, make_encoder(config), devices=1).views
    index = torch.arange(count, device=machine.device)
    drawn = plan.colours(0, index, 0)
    pixels = images(count, side).to(machine.device)
    mean, std = (torch.tensor(values, device=machine.device) for values in (plan.mean, plan.std))
    forms = {"plain": lambda: colour.render(pixels, drawn, mean, std)}
    if machine.on_gpu:
        forms["compiled"] = lambda: fused.compiled()(pixels, drawn, mean, std)
    found: dict[str, Any] = {}
    for name, form in forms.items():
        form()
        found[f"{name}_views_a_second"] = round(count / machine.seconds(form, machine.of(50, 1)))
        if machine.on_gpu:
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
                form()
                machine.wait()
            found[f"{name}_kernels"] = sum(each.count for each in seen.key_averages())
    if machine.on_gpu:
        found["apart"] = (forms["plain"]() - forms["compiled"]()).abs().max().item()
    return found


def compiled(item: str, machine: Machine) -> dict[str, Any]:
    """A training pass of an encoder, forward and backward, plain and by ``compile=true``."""
    side = 32 if item == "resnet18" else 224
    data = ["data=parquet", "data.train=none", f"data.image_size={side}"]
    config = load_config("train", ["method=simclr", f"backbone={item}", *data])
    method = make_method(config, make_encoder(config), devices=1).to(machine.device)
    method = method.to(memory_format=torch.channels_last)
    pixels = torch.randn(machine.of(1024 if side == 32 else 256, 2), 3, side, side, device=machine.device)
    pixels = pixels.to(memory_format=torch.channels_last)

    def once() -> None:
        with torch.autocast(machine.device.type, torch.bfloat16):
            method.encoder(pixels).float().square().mean().backward()

    found: dict[str, Any] = {}
    for name in ("plain", "compiled"):
        if name == "compiled":
            if not machine.on_gpu:
                break
            compile_passes(method, True)
        found[f"{name}_first_seconds"] = round(machine.seconds(once), 1)
        found[f"{name}_images_a_second"] = round(len(pixels) / machine.seconds(once, machine.of(20, 1)))
    return found
