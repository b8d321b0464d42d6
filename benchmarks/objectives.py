"""Our objectives against lightly's: the same tensors, forward and backward, time and peak memory.

    python benchmarks/objectives.py                     # all cases, on a GPU if there is one
    python benchmarks/objectives.py --cases nt_xent --repeats 5

Both sides run in turn in one process, three times each, and the fastest of all repeats counts: neighbours on
a shared machine only ever slow a run down. Peak memory is that of one forward and backward pass in a process
of its own, above what the process held before. Results go to ``benchmarks/results/objectives-DEVICE.json``.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from origin import origin
from torch import Tensor, nn

RESULTS = Path(__file__).parent / "results"
Work = Callable[[], Any]
Sides = tuple[Work, Work]  # ours, theirs


def differentiated(ours: Callable[..., Tensor], theirs: Callable[..., Tensor], *leaves: Tensor) -> Sides:
    """Forward and backward of two losses of the same tensors; in bfloat16 autocast on a GPU."""

    def work(loss: Callable[..., Tensor]) -> Work:
        def run() -> float:
            with torch.autocast(leaves[0].device.type, torch.bfloat16, enabled=leaves[0].is_cuda):
                value = loss(*leaves)
            torch.autograd.grad(value, [leaf for leaf in leaves if leaf.requires_grad])
            return float(value.detach())

        return run

    return work(ours), work(theirs)


def views(device: str, samples: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    z1 = torch.randn(samples, width, generator=generator)
    z2 = z1 + 0.5 * torch.randn(samples, width, generator=generator)
    return z1.to(device).requires_grad_(), z2.to(device).requires_grad_()


def nt_xent(device: str) -> Sides:
    from lightly.loss import NTXentLoss

    from selfsup import objectives

    return differentiated(objectives.nt_xent, NTXentLoss(temperature=0.1), *views(device, 2048, 128))


def barlow_twins(device: str, samples: int, width: int) -> Sides:
    from lightly.loss import BarlowTwinsLoss

    from selfsup import objectives

    theirs = BarlowTwinsLoss(lambda_param=0.0051)
    return differentiated(objectives.barlow_twins, theirs, *views(device, samples, width))


def vicreg(device: str, samples: int, width: int) -> Sides:
    from lightly.loss import VICRegLoss

    from selfsup import objectives

    return differentiated(objectives.vicreg, VICRegLoss(), *views(device, samples, width))


def koleo(device: str) -> Sides:
    from lightly.loss import KoLeoLoss

    from selfsup import objectives

    return differentiated(objectives.koleo, KoLeoLoss(), views(device, 1024, 768)[0])


def sigreg(device: str) -> Sides:
    from lightly.loss.lejepa_loss import SIGReg

    from selfsup import objectives

    return differentiated(objectives.sigreg, SIGReg().to(device), views(device, 1024, 64)[0])


def dino(device: str) -> Sides:
    from lightly.loss import DINOLoss

    from selfsup import objectives

    prototypes = 16384
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(10, 32, prototypes, generator=generator).to(device).requires_grad_()
    teacher = torch.randn(2, 32, prototypes, generator=generator).to(device)
    center = torch.zeros(prototypes, device=device)
    loss = DINOLoss(output_dim=prototypes).to(device)

    def ours(student: Tensor) -> Tensor:
        value = objectives.dino(student, teacher, center)
        center.lerp_(objectives.dino_center(teacher), 0.1)
        return value

    def theirs(student: Tensor) -> Tensor:
        return loss(list(teacher), list(student), teacher_temp=0.04)

    return differentiated(ours, theirs, student)


def jepa_masks(device: str) -> Sides:
    """Masks alone: 224 px in patches of 16, the paper's settings on both sides."""
    from lightly.data.ijepa_collate import IJEPAMaskCollator

    from selfsup import objectives

    collator = IJEPAMaskCollator(
        enc_mask_scale=(0.85, 1.0),
        pred_mask_scale=(0.15, 0.2),
        aspect_ratio=(0.75, 1.5),
        npred=4,
        min_keep=10,
    )
    generator, batch = torch.Generator().manual_seed(0), [torch.zeros(1)] * 256
    return lambda: objectives.block_masks(256, (14, 14), generator), lambda: collator(batch)


def lars(device: str) -> Sides:
    """One step on the parameters of a ResNet-18."""
    from lightly.utils.lars import LARS as Theirs

    from selfsup.optim import LARS as Ours

    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-6}
    return Ours(_with_gradients(device), **settings).step, Theirs(_with_gradients(device), **settings).step


def lars_floor(device: str) -> Sides:
    """What any LARS must do: read weights and gradients for the norms, then do a step of SGD."""
    from lightly.utils.lars import LARS

    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-6}
    parameters = _with_gradients(device)
    sgd = torch.optim.SGD(parameters, fused=True, **settings)

    def floor() -> None:
        for parameter in parameters:
            for tensor in (parameter.detach(), parameter.grad):
                assert tensor is not None
                torch.dot(tensor.view(-1), tensor.view(-1))
        sgd.step()

    return floor, LARS(_with_gradients(device), **settings).step


def _with_gradients(device: str) -> list[nn.Parameter]:
    import timm

    parameters = list(timm.create_model("resnet18").to(device).parameters())
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 1e-3)
    return parameters


def teacher_average(device: str) -> Sides:
    """A teacher's moving average over a ViT-S."""
    import timm
    from lightly.models.utils import update_momentum

    from selfsup.optim import update_average

    def model() -> nn.Module:
        return timm.create_model("vit_small_patch16_224", num_classes=0).to(device)

    teacher, student = model(), model()
    return (
        lambda: update_average(teacher, student, 0.99),
        lambda: update_momentum(student, teacher, 0.99),
    )


CASES: dict[str, Callable[[str], Sides]] = {
    "nt_xent N=2048 D=128": nt_xent,
    "barlow_twins N=1024 D=4096": lambda device: barlow_twins(device, 1024, 4096),
    "barlow_twins N=1024 D=8192": lambda device: barlow_twins(device, 1024, 8192),
    "barlow_twins N=2048 D=2048": lambda device: barlow_twins(device, 2048, 2048),
    "vicreg N=1024 D=4096": lambda device: vicreg(device, 1024, 4096),
    "vicreg N=2048 D=2048": lambda device: vicreg(device, 2048, 2048),
    "koleo N=1024 D=768": koleo,
    "sigreg N=1024 D=64": sigreg,
    "dino 10 crops N=32 K=16384": dino,
    "jepa_masks N=256 14 x 14": jepa_masks,
    "lars ResNet-18": lars,
    "(the floor of lars)": lars_floor,
    "teacher_average ViT-S": teacher_average,
}


def fastest(sides: Sides, repeats: int) -> list[float]:
    """Seconds of each side, the fastest of repeats taken in turn; more repeats where they are short."""
    best = [float("inf")] * 2
    until = time.perf_counter() + 2
    repeat = -1
    while repeat < repeats or time.perf_counter() < until:
        repeat += 1
        for i, work in enumerate(sides):
            for _ in range(3):  # so that caches hold one side's tensors, as they do in a training loop
                _wait()
                started = time.perf_counter()
                work()
                _wait()
                if repeat:  # the first round finds no memory yet
                    best[i] = min(best[i], time.perf_counter() - started)
    return best


def peak(case: str, side: int, device: str) -> float:
    """MiB that one pass needs above what was held before, in a process of its own."""
    code = f"import objectives; print(objectives.peak_here({case!r}, {side}, {device!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        env={**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2")},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def peak_here(case: str, side: int, device: str) -> float:
    """What `peak` asks a process of its own."""
    work = CASES[case](device)[side]
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - held) / 2**20
    # The linear algebra's own buffers and threads are not the objective's.
    small = torch.randn(64, 64, requires_grad=True)
    (small @ small).sum().backward()
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is what is held now
    before = _peak_resident()
    work()
    return _peak_resident() - before


def _peak_resident() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure(cases: Sequence[str], repeats: int, device: str) -> list[dict[str, Any]]:
    rows = []
    for case in cases:
        ours, theirs = fastest(CASES[case](device), repeats)
        memory = [peak(case, side, device) for side in (0, 1)]
        rows.append(
            {
                "case": case,
                "ours_ms": round(1e3 * ours, 3),
                "lightly_ms": round(1e3 * theirs, 3),
                "times_as_fast": round(theirs / ours, 2),
                "ours_peak_mib": round(memory[0], 1),
                "lightly_peak_mib": round(memory[1], 1),
            }
        )
        print(
            "{case:28} {ours_ms:9.2f} ms {lightly_ms:9.2f} ms  x{times_as_fast:<6}"
            "{ours_peak_mib:8.1f} MiB {lightly_peak_mib:8.1f} MiB".format(**rows[-1]),
            flush=True,
        )
    return rows


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", help="beginnings of cases' names; all without")
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = [case for case in CASES if case.startswith(tuple(arguments.cases or ("",)))]
    rows = measure(chosen, arguments.repeats, device)
    command = " ".join(["python", "benchmarks/objectives.py", *sys.argv[1:]])
    found = {"command": command, **origin(), "rows": rows}
    if not arguments.cases:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"objectives-{device}.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
