"""Worlds of 4, 2 and 1 gloo processes; every declared objective is run on them, once for all tests."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from selfsup.objectives import (
    all_reduce_mean,
    all_reduce_sum,
    dino_center,
    gather_with_gradient,
    mmcr,
    relation_pairs,
    relational,
    sinkhorn,
)

from .declarations import CASES, KINDS, OBJECTIVES, Inputs, inputs_for, layer_for, through_a_layer, wave

WORLDS = (4, 2, 1)


def run(factory: pytest.TempPathFactory) -> dict[int, list[dict[str, tuple[Tensor, Tensor]]]]:
    """For each world size, what each rank found: case -> (value, gradient averaged over the processes)."""
    return on_worlds(factory, "objectives", _results)


def on_worlds(
    factory: pytest.TempPathFactory, name: str, results: Callable[[int, int], Any]
) -> dict[int, list[Any]]:
    """For each world size, what ``results(world, rank)``, a function of a module, gives on each rank."""
    folder = once(factory, name, lambda folder: spawn(_work, args=(folder, results), nprocs=max(WORLDS)))
    return {world: [torch.load(folder / f"{world}-{rank}.pt") for rank in range(world)] for world in WORLDS}


def once(factory: pytest.TempPathFactory, name: str, fill: Callable[[Path], None]) -> Path:
    """A folder that one of pytest's workers fills, while those that need it too wait."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    full, failed = folder.with_suffix(".full"), folder.with_suffix(".failed")
    try:
        folder.mkdir()
    except FileExistsError:
        while not full.exists():
            assert not failed.exists(), f"another worker could not fill {folder}"
            time.sleep(0.2)
        return folder
    try:
        fill(folder)
    except BaseException:
        failed.touch()
        raise
    full.touch()
    return folder


def share(name: str, inputs: Inputs, world: int, rank: int) -> Inputs:
    """The part of the arguments that this rank holds."""
    axes = OBJECTIVES[name].sample_axis
    return {key: x.chunk(world, axes[key])[rank] if key in axes else x for key, x in inputs.items()}


def collectives(x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Scalars that depend on one collective each, the same on every rank."""
    gathered = gather_with_gradient(x)
    yield "gather", (gathered * torch.arange(gathered.numel()).reshape(gathered.shape)).square().sum()
    yield "sum", all_reduce_sum(x.square().sum(0)).pow(3).sum()
    yield "mean", all_reduce_mean(x.square().mean(0)).pow(3).sum()


def related(z: Tensor) -> Tensor:
    """`relational` of the pairs of views (V, N, 6), told by a linear head."""
    head = wave(0.5, 12, 1)
    return relational(*(pairs @ head for pairs in relation_pairs(z)))


def _work(rank: int, folder: Path, results: Callable[[int, int], Any]) -> None:
    torch.set_num_threads(1)
    for world in WORLDS:
        if rank < world:
            dist.init_process_group(
                "gloo", f"file://{folder}/rendezvous-{world}", rank=rank, world_size=world
            )
            torch.save(results(world, rank), folder / f"{world}-{rank}.pt")
            dist.barrier()
            dist.destroy_process_group()


def _results(world: int, rank: int) -> dict[str, tuple[Tensor, Tensor]]:
    results = {}
    for name, kind in CASES:
        inputs = KINDS[kind](name)
        weight = layer_for(name, inputs).requires_grad_()
        value = through_a_layer(OBJECTIVES[name], weight, share(name, inputs, world, rank))
        results[f"{name} {kind}"] = (value.detach(), _averaged(value, weight))
    inputs = inputs_for("nt_xent")
    for name in ("gather", "sum", "mean"):
        weight = layer_for("nt_xent", inputs).requires_grad_()
        value = dict(collectives(inputs["z1"].chunk(world)[rank] @ weight))[name]
        results[name] = (value.detach(), _averaged(value, weight))
    summed = inputs["z1"].clone()
    all_reduce_sum(summed)
    results["argument"] = (summed, torch.zeros(()))
    teacher = inputs_for("dino")["teacher"].chunk(world, 1)[rank]
    results["dino_center"] = (dino_center(teacher), torch.zeros(()))
    scores = inputs_for("swav")["teacher"].chunk(world, 1)[rank]
    results["sinkhorn"] = (sinkhorn(scores), torch.zeros(()))
    weight = layer_for("lejepa", inputs_for("lejepa")).requires_grad_()
    value = related(inputs_for("lejepa")["z"].chunk(world, 1)[rank] @ weight)
    results["relation_pairs"] = (value.detach(), _averaged(value, weight))
    value = mmcr(inputs_for("lejepa")["z"].chunk(world, 1)[rank] @ weight, lambda_=0.5)
    results["mmcr, weighed"] = (value.detach(), _averaged(value, weight))
    return results


def _averaged(value: Tensor, weight: Tensor) -> Tensor:
    """The parameter's gradient as DistributedDataParallel leaves it."""
    (gradient,) = torch.autograd.grad(value, weight)
    dist.all_reduce(gradient)
    return gradient / dist.get_world_size()
