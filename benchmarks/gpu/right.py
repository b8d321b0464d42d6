"""Whether a device computes what the CPU does."""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.gpu.machine import Machine
from benchmarks.rows import METHODS as TITLES
from selfsup import load_encoder
from selfsup.commands import main
from selfsup.config import load_config
from selfsup.methods.base import Method
from selfsup.methods.batch import Batch
from selfsup.methods.parts import copied
from selfsup.run.train import train
from tests.methods.building import build, images
from tests.methods.pretended_gpu import PretendedGPU
from tests.methods.test_waits import WAITS

METHODS = list(TITLES)
RUNS = ("resumed on the CPU", "resumed on the device", "not finite")
# Relative to the loss, or to 0.1 where it is smaller, as cosines are. In float32 sums have another order, and
# batch normalisation of small batches makes more of that on the way back; bfloat16 has eight bits.
FLOAT32, GRADIENT, BFLOAT16 = 1e-4, 1e-2, 5e-2
VIEWS = 1e-5
SIZE, SIDE = 32, 32


def compared(name: str, machine: Machine) -> dict[str, Any]:
    """A method's views, loss and gradient on the device beside the CPU's, and the waits of a step."""
    method = build(f"method={name}", "trainer.precision=32-true")
    if machine.device.type == "meta":
        return {"waits": pretended(method)}
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    there = copied(method).to(machine.device)
    ours = method.batch(raw("cpu"), 0, 100)
    theirs = there.batch(raw(machine.device), 0, 100)
    apart = max((a - b.cpu()).abs().max().item() for a, b in zip(ours.views, theirs.views, strict=True))
    # The same views and draws for both, so that what differs is the method's.
    theirs = replace(theirs, views=[view.to(machine.device) for view in ours.views])
    loss, gradient = step(method, ours)
    found, its = step(there, theirs)
    rounded, _ = step(there, theirs, torch.bfloat16)
    row = {
        "views_apart": apart,
        "loss": loss,
        "loss_apart": abs(found - loss) / max(abs(loss), 0.1),
        "gradient_apart": ((its - gradient).norm() / gradient.norm()).item(),
        "bfloat16_apart": abs(rounded - loss) / max(abs(loss), 0.1),
        "waits": waits(there, machine),
    }
    limits = {"views": VIEWS, "loss": FLOAT32, "gradient": GRADIENT, "bfloat16": BFLOAT16}
    wrong = [key for key, limit in limits.items() if not row[f"{key}_apart"] <= limit]
    if machine.on_gpu and row["waits"] != WAITS.get(name, (0, ""))[0]:
        wrong.append("waits")
    return {**row, "wrong": wrong}


def raw(device: torch.device | str) -> dict[str, Any]:
    """A batch of noise, as a loader gives it."""
    index = torch.arange(SIZE)
    tensors = {"image": images(SIZE, SIDE), "index": index, "label": index % 3}
    return {**{key: value.to(device) for key, value in tensors.items()}, "epoch": 0}


def step(method: Method, given: Batch, dtype: torch.dtype = torch.float32) -> tuple[float, Tensor]:
    """Loss and gradient, on the CPU; the batch's draws begin again."""
    torch.manual_seed(0)
    method.zero_grad()
    given.generator.manual_seed(given.generator.initial_seed())
    with torch.autocast(given.views[0].device.type, dtype, enabled=dtype != torch.float32):
        loss = method(given).loss
    loss.backward()
    method.forget()
    gradients = [p.grad.flatten().cpu() for p in method.parameters() if p.grad is not None]
    return loss.item(), torch.cat(gradients)


def whole_step(method: Method, optimizer: torch.optim.Optimizer, given: Mapping[str, Any]) -> None:
    """From a batch's images to the teacher's average."""
    loss = method(method.batch(given, 0, 100)).loss
    optimizer.zero_grad()
    loss.backward()
    method.before_update(0, 100)
    optimizer.step()
    method.after_step(0, 100)
    method.forget()


def waits(method: Method, machine: Machine) -> int | None:
    """How often CUDA makes the CPU wait in a step; None without CUDA."""
    optimizer, given = method.configure_optimizers(), raw(machine.device)
    whole_step(method, optimizer, given)
    if not machine.on_gpu:
        return None
    machine.wait()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            whole_step(method, optimizer, given)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(each.message) for each in told)


def pretended(method: Method) -> dict[str, int]:
    """The waits of a step on a pretended GPU, by the line that makes them."""
    with PretendedGPU() as gpu:
        gpu.move(method)
        optimizer, given = method.configure_optimizers(), raw("meta")
        whole_step(method, optimizer, given)
        gpu.waits.clear()
        whole_step(method, optimizer, given)
        return dict(gpu.waits)


def run(what: str, machine: Machine) -> dict[str, Any]:
    """A short run of DINO that goes on elsewhere, or has a step that is not finite."""
    out = machine.runs / what.replace(" ", "-")
    if what == "not finite":
        return not_finite(out, machine)
    to_cpu = what == "resumed on the CPU"
    first, second = (machine.accelerator, "cpu") if to_cpu else ("cpu", machine.accelerator)
    folder = trained(out, first, 4)
    again = ["trainer.max_steps=8", f"trainer.accelerator={second}"]
    status = main(["train", f"resume={folder}", *again])
    rows = (folder / "metrics.csv").read_text().splitlines()
    right = {
        "status": status == 0,
        "steps": rows[-1].startswith("8,"),
        "encoder": (folder / "encoder").is_dir(),
    }
    return {"wrong": [key for key, held in right.items() if not held]}


def trained(out: Path, accelerator: str, steps: int) -> Path:
    """The folder of a short run."""
    off = ["evaluate=false", "report=false", "online=none", "trainer.log_every_n_steps=1"]
    typed = ["method=dino", f"out={out}", f"trainer.accelerator={accelerator}", f"trainer.max_steps={steps}"]
    return train(load_config("train", [*typed, "trainer.precision=32-true", *off]))


def not_finite(out: Path, machine: Machine) -> dict[str, Any]:
    """A run whose second step has a NaN in its loss: it is skipped, and reported."""
    loss, calls = Method.training_step, iter(range(1_000))

    def spoilt(self: Any, *given: Any) -> Any:
        found = loss(self, *given)
        return found * torch.nan if next(calls) == 1 else found

    with patch.object(Method, "training_step", spoilt):
        folder = trained(out, machine.accelerator, 4)
    reported = sorted(path.name for path in (folder / "nonfinite").glob("*.json"))
    weights = load_encoder(folder / "encoder").state_dict().values()
    right = {"report": len(reported) == 1, "weights": all(each.isfinite().all() for each in weights)}
    return {"reported": reported, "wrong": [key for key, held in right.items() if not held]}
