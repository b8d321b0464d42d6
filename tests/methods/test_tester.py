"""Every method there is, put to the same tests; a new one is found by its configuration.

What a method cannot promise it declares in :data:`DECLARED`, and why.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from selfsup.callbacks.guard.signals import measure
from selfsup.callbacks.guard.undisturbed import undisturbed
from selfsup.config import options
from selfsup.methods.base import Method
from selfsup.methods.batch import Output
from selfsup.methods.parts import Teacher
from tests.methods.building import batch_of, build, failures, images


@dataclass(frozen=True)
class Declared:
    """What the tests need to know of a method.

    Attributes:
        settings: to be small, and to have no batch norm where two processes are compared with one.
        steps: in which the loss of one batch falls.
        moved: puts back what makes the loss of one batch rise.
        draws: whether each process draws at random among its own samples, so that two do not give what one
            does, though their objective would.
    """

    settings: tuple[str, ...] = ()
    steps: int = 12
    moved: Callable[[Any], object] = lambda method: None
    draws: bool = False


def _keys_of_images(method: Any) -> None:
    """A queue of other images' keys; from the random directions that it begins with, all are told at once."""
    with torch.no_grad():
        keys = method.teacher(batch_of(method, 32, image=images(32, seed=1)).views[0])
    method.queue.rows.copy_(keys.repeat(len(method.queue.rows) // 32, 1))


DECLARED = {
    "distill": Declared(settings=("method.mixup=false",)),  # a process mixes its own images
    # Its loss rises while the centre is found.
    "dino": Declared(("method.head.out=64",), moved=lambda method: method.center.value.zero_()),
    "moco": Declared(moved=_keys_of_images),
    # A process mixes the images that it holds, in a ratio of its own.
    "mixed_barlow": Declared(draws=True),
}
METHODS = options("method")


def made(name: str, *settings: str) -> Method:
    return build(f"method={name}", *DECLARED.get(name, Declared()).settings, *settings)


@pytest.mark.parametrize("name", METHODS)
def test_every_trainable_parameter_gets_a_gradient(name: str) -> None:
    method = made(name)
    output = method(batch_of(method))
    assert isinstance(output, Output)
    assert output.loss.ndim == 0
    output.loss.backward()
    trained = {key: p for key, p in method.named_parameters() if p.requires_grad}
    assert [key for key, p in trained.items() if p.grad is None] == []
    assert all(torch.isfinite(p.grad).all() for p in trained.values() if p.grad is not None)
    assert all(len(each) == 8 for each in output.features)
    assert not any(isinstance(v, Tensor) and v.requires_grad for v in output.scalars.values())


@pytest.mark.parametrize("name", METHODS)
def test_the_loss_of_one_batch_falls(name: str) -> None:
    method, declared = made(name, "method.optimizer.lr=3e-3"), DECLARED.get(name, Declared())
    optimizer, batch = method.configure_optimizers(), batch_of(method, 16)
    losses = []
    for _ in range(declared.steps):
        declared.moved(method)
        torch.manual_seed(0)
        batch.generator.manual_seed(0)
        loss = method(batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.forget()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", METHODS)
def test_a_loss_changes_nothing_but_batch_norms(name: str) -> None:
    method = made(name)
    before = {key: value.clone() for key, value in method.state_dict().items()}
    method(batch_of(method))
    method.forget()
    moved = [key for key, value in method.state_dict().items() if not torch.equal(value, before[key])]
    norms = ("running_mean", "running_var", "num_batches_tracked")
    assert [key for key in moved if not key.endswith(norms)] == []


@pytest.mark.parametrize("name", METHODS)
def test_a_teacher_moves_with_the_steps_alone_and_a_frozen_one_never(name: str) -> None:
    method = made(name)
    teachers = [part for part in method.parts if isinstance(part, Teacher)]
    assert (method.average() is not None) == bool(teachers)
    for teacher in teachers:
        with torch.no_grad():
            for parameter in teacher._student[0].parameters():
                parameter.add_(1.0)
        before = [p.clone() for p in teacher.module.parameters()]
        teacher.momentum = {"start": 1.0, "end": 1.0}
        teacher.after_step(0, 100)
        assert all(torch.equal(p, q) for p, q in zip(teacher.module.parameters(), before, strict=True))
        teacher.momentum = {"start": 0.5, "end": 0.5}
        teacher.after_step(0, 100)
        assert not all(torch.equal(p, q) for p, q in zip(teacher.module.parameters(), before, strict=True))
        assert not any(p.requires_grad for p in teacher.module.parameters())


@pytest.mark.parametrize("name", METHODS)
def test_its_guard_finds_nothing_wrong_at_the_start(name: str) -> None:
    method = made(name)
    batch = batch_of(method, 32)
    seen = replace(batch, views=batch.views[:2])
    with undisturbed(method):
        signals = measure(method.observe(seen))
    assert "backbone_std" in signals
    marks, loss = method.marks(), float(method(batch).loss.detach())
    signals |= {"loss": loss} | {f"loss_{mark}": loss / value for mark, value in marks.items() if value}
    # What is called a failure after many steps alone may hold before the first.
    named = [f.name for f in failures(name) if f.applies(signals) and f.holds(2, 0.01, signals, signals)]
    assert named == []


@pytest.mark.parametrize("name", METHODS)
def test_in_bfloat16_it_gives_nearly_the_same(name: str) -> None:
    method = made(name).eval()
    batch = batch_of(method, 16)
    exact = method(batch).loss
    batch.generator.manual_seed(batch.generator.initial_seed())
    with torch.autocast("cpu", torch.bfloat16):
        rounded = method(batch).loss
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("name", METHODS)
def test_going_on_from_its_state_gives_the_same_bits(name: str) -> None:
    method = made(name)

    def train(method: Method, first: int, last: int, optimizer: torch.optim.Optimizer) -> None:
        for step in range(first, last):
            raw = {"image": images(8, seed=step), "index": torch.arange(8), "epoch": step}
            raw["label"] = torch.arange(8) % 3
            method.set_rates(optimizer, step, 6)
            torch.manual_seed(step)
            optimizer.zero_grad()
            method(method.batch(raw, step, 6)).loss.backward()
            method.before_update(step, 6)
            optimizer.step()
            method.after_step(step, 6)
            method.forget()

    optimizer = method.configure_optimizers()
    train(method, 0, 3, optimizer)
    state = copy.deepcopy((method.state_dict(), optimizer.state_dict()))
    train(method, 3, 6, optimizer)
    again = made(name)
    again.load_state_dict(state[0])
    resumed = again.configure_optimizers()
    resumed.load_state_dict(state[1])
    train(again, 3, 6, resumed)
    whole = method.state_dict()
    assert [key for key, value in again.state_dict().items() if not torch.equal(value, whole[key])] == []
