"""Every method under DistributedDataParallel, as several GPUs run it, here two or four processes on a CPU."""

from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as multiprocessing
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from selfsup.build import make_encoder, make_method
from selfsup.methods.base import Method
from selfsup.methods.batch import Batch
from tests.methods.building import SMALL, batch_of, composed, fitting, images
from tests.methods.test_tester import DECLARED, METHODS, Declared

AGAIN = "dino, checkpointing"
STEPS, WORLD = 2, 4  # the steps are those of two processes
# Each process follows its own images; what an encoder's file holds is the first one's.
OWN = ("running_mean", "running_var", "num_batches_tracked")

Configs = dict[str, dict[str, Any]]
Found = list[tuple[dict[str, Any], dict[str, list[Tensor]]]]  # of each process: its steps, its quarters


def _process(rank: int, folder: str, configs: Configs) -> None:
    torch.set_num_threads(1)
    _meet(rank, f"{folder}/four", WORLD)
    rows = torch.arange(16).chunk(WORLD)[rank]
    quarters = {name: of_rows(config, rows) for name, config in configs.items() if _together(name, config)}
    torch.distributed.destroy_process_group()
    steps = {}
    if rank < 2:
        _meet(rank, f"{folder}/two", 2)
        steps = {name: trained(config, rank) for name, config in configs.items()}
        torch.distributed.destroy_process_group()
    torch.save((steps, quarters), f"{folder}/{rank}.pt")


def _meet(rank: int, where: str, world: int) -> None:
    torch.distributed.init_process_group("gloo", f"file://{where}", rank=rank, world_size=world)


def fresh(config: dict[str, Any]) -> Method:
    torch.manual_seed(0)
    return make_method(deepcopy(config), make_encoder(config), devices=1)


def trained(config: dict[str, Any], rank: int) -> dict[str, Any]:
    """A few steps: how far gradients are from the mean of the processes' own, and what they lead to."""
    method = fresh(config)
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


def of_rows(config: dict[str, Any], rows: Tensor) -> list[Tensor]:
    """Gradients of some samples of a batch of sixteen; batch norms take their running statistics."""
    method = fresh(config).double()
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


def _together(name: str, config: dict[str, Any]) -> bool:
    """Whether a method compares the samples of a batch, and draws nothing in each process by itself."""
    needs = set(config["method"]["requires"])
    masked = any("tokens" in need or need == "masking" for need in needs)
    own = not masked and not DECLARED.get(name, Declared()).draws
    return "whole_batch" in needs and own


@cache
def composed_all() -> Configs:
    """Every method's settings, and those of one whose blocks are computed again in the backward pass."""
    found = {name: configured(f"method={name}", *DECLARED.get(name, Declared()).settings) for name in METHODS}
    return {
        **found,
        AGAIN: configured("method=dino", *DECLARED["dino"].settings, "backbone.checkpointing=true"),
    }


def configured(*settings: str) -> dict[str, Any]:
    return composed(*fitting(*SMALL, *settings))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    folder: Path = tmp_path_factory.mktemp("ddp")
    multiprocessing.spawn(_process, (str(folder), composed_all()), nprocs=WORLD)
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


@pytest.mark.parametrize("name", [*METHODS, AGAIN])
def test_gradients_are_the_mean_of_the_processes_own(name: str, found: Found) -> None:
    assert max(steps[name]["apart"] for steps, _ in found[:2]) < 1e-6


@pytest.mark.parametrize("name", [*METHODS, AGAIN])
def test_processes_stay_the_same(name: str, found: Found) -> None:
    """Weights, teachers, queues, prototypes and centres, to the bit."""
    one, other = (steps[name]["state"] for steps, _ in found[:2])
    assert [key for key, value in one.items() if not torch.equal(value, other[key])] == []


def test_blocks_computed_again_train_to_the_same_bits(found: Found) -> None:
    torch.testing.assert_close(found[0][0][AGAIN]["state"], found[0][0]["dino"]["state"], rtol=0, atol=0)


def test_four_processes_give_the_gradient_of_one(found: Found) -> None:
    """Of a mean over samples there is nothing to show; where processes draw masks, the objectives have it."""
    together = {name: config for name, config in composed_all().items() if _together(name, config)}
    assert len(together) > 5
    for name, config in together.items():
        whole = of_rows(config, torch.arange(16))
        for *parts, expected in zip(*(quarters[name] for _, quarters in found), whole, strict=True):
            mean = torch.stack(parts).mean(0)
            torch.testing.assert_close(
                mean, expected, rtol=1e-6, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}"
            )
