"""Every method under DistributedDataParallel, as several GPUs run it, here two processes on a CPU."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as multiprocessing
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from selfsup.methods.base import Method
from selfsup.methods.batch import Batch
from tests.methods.building import batch_of, composed, images
from tests.methods.test_tester import DECLARED, METHODS, Declared, made

STEPS = 2
# Each process follows its own images; what an encoder's file holds is the first one's.
OWN = ("running_mean", "running_var", "num_batches_tracked")

Found = list[tuple[dict[str, Any], dict[str, list[Tensor]]]]  # of each process: its steps, its halves


def _process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    steps = {name: trained(name, rank) for name in METHODS}
    steps["dino, computed again"] = trained("dino", rank, "backbone.checkpointing=true")
    rows = torch.arange(16).chunk(2)[rank]
    halves = {name: of_rows(name, rows) for name in filter(_together, METHODS)}
    torch.save((steps, halves), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def trained(name: str, rank: int, *settings: str) -> dict[str, Any]:
    """A few steps: how far gradients are from the mean of the processes' own, and what they lead to."""
    torch.manual_seed(0)
    method = made(name, *settings)
    optimizer = method.configure_optimizers()
    # Parameters that a step does not use would make the next one raise.
    wrapped = DistributedDataParallel(method)
    apart = 0.0
    for step in range(STEPS):
        method.set_rates(optimizer, step, STEPS)
        own = of_step(method, method, rank, step)
        method.forget()
        for gradient in own.values():
            torch.distributed.all_reduce(gradient)
            gradient /= 2
        together = of_step(method, wrapped, rank, step)
        assert together.keys() == own.keys()
        apart = max(apart, *((together[key] - own[key]).abs().max().item() for key in own))
        method.before_update(step, STEPS)
        optimizer.step()
        method.after_step(step, STEPS)
        method.forget()
    state = {key: value for key, value in method.state_dict().items() if not key.endswith(OWN)}
    return {"apart": apart, "state": state}


def of_step(method: Method, called: Any, rank: int, step: int) -> dict[str, Tensor]:
    """Gradients of this process's half of a batch, through the method or what it is wrapped in."""
    rows = torch.arange(16).chunk(2)[rank]
    raw = {"image": images(16, seed=step)[rows], "index": rows, "epoch": step, "label": rows % 3}
    torch.manual_seed(step)
    method.zero_grad()
    called(method.batch(raw, step, STEPS)).loss.backward()
    return {key: p.grad.clone() for key, p in method.named_parameters() if p.grad is not None}


def of_rows(name: str, rows: Tensor) -> list[Tensor]:
    """Gradients of some samples of a batch of sixteen; batch norms take their running statistics."""
    torch.manual_seed(0)
    method = made(name, "trainer.precision=32-true").double()
    for module in method.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    batch = _rows(method, batch_of(method, 16), rows)
    method(batch).loss.backward()
    return [p.grad for p in method.parameters() if p.grad is not None]


def _rows(method: Method, batch: Batch, rows: Tensor) -> Batch:
    views = [view[rows].double() for view in batch.views]
    labels = None if batch.labels is None else batch.labels[rows]
    return replace(batch, views=views, index=batch.index[rows], labels=labels)


def _together(name: str) -> bool:
    """Whether a method compares the samples of a batch, and draws nothing in each process by itself."""
    needs = set(composed(f"method={name}")["method"]["requires"])
    masked = any("tokens" in need or need == "masking" for need in needs)
    own = not masked and not DECLARED.get(name, Declared()).draws
    return "whole_batch" in needs and own


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    folder: Path = tmp_path_factory.mktemp("ddp")
    multiprocessing.spawn(_process, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("name", METHODS)
def test_gradients_are_the_mean_of_the_processes_own(name: str, found: Found) -> None:
    assert max(steps[name]["apart"] for steps, _ in found) < 1e-6


@pytest.mark.parametrize("name", METHODS)
def test_processes_stay_the_same(name: str, found: Found) -> None:
    """Weights, teachers, queues, prototypes and centres, to the bit."""
    one, other = (steps[name]["state"] for steps, _ in found)
    assert [key for key, value in one.items() if not torch.equal(value, other[key])] == []


def test_two_processes_give_the_gradient_of_one(found: Found) -> None:
    """Of a mean over samples there is nothing to show; where processes draw masks, the objectives have it."""
    (_, halves), (_, others) = found
    assert {"simclr", "barlow", "vicreg", "swav"} <= halves.keys()
    for name in halves:
        whole = of_rows(name, torch.arange(16))
        for one, other, expected in zip(halves[name], others[name], whole, strict=True):
            torch.testing.assert_close(
                (one + other) / 2,
                expected,
                rtol=1e-6,
                atol=1e-9,
                msg=lambda told, name=name: f"{name}: {told}",
            )


def test_blocks_computed_again_lead_to_the_same_bits(found: Found) -> None:
    steps, _ = found[0]
    plain, again = (steps[name]["state"] for name in ("dino", "dino, computed again"))
    assert [key for key, value in plain.items() if not torch.equal(value, again[key])] == []
