"""New heads learn before the encoder that they are put on, until the loss has left its trivial value."""

import math

import pytest
import torch
from torch import nn

from selfsup.methods.heads_first import HeadsFirst
from selfsup.optim import build_optimizer
from tests.methods.building import batch_of, build

STEPS = 100


def trained(part: HeadsFirst, losses: list[float], **marks: float) -> list[bool]:
    """Whether the encoder kept its gradient in each step of these losses."""
    kept = []
    for step, loss in enumerate(losses):
        weight = next(part._module[0].parameters())
        weight.grad = torch.ones_like(weight)
        part.gather(torch.tensor(loss), lambda: marks)
        part.before_update(step, STEPS)
        kept.append(weight.grad is not None)
        part.after_step(step, STEPS)
        part.forget()
    return kept


def test_it_is_released_when_the_running_mean_has_left_the_trivial_value() -> None:
    # From a mean of 10, loss 5 gives 5 + 5 * 0.9^n, which is below 9 after 3 steps.
    assert 5 + 5 * 0.9**2 > 9 > 5 + 5 * 0.9**3
    assert trained(HeadsFirst(nn.Linear(1, 1), 0.5), [5.0] * 6, trivial=10.0) == [False] * 3 + [True] * 3


def test_the_way_is_measured_from_the_floor() -> None:
    # A tenth of the way from 10 to 9 is 9.9; 9.5 + 0.5 * 0.9^n is below it after 3 steps.
    assert 9.5 + 0.5 * 0.9**2 > 9.9 > 9.5 + 0.5 * 0.9**3
    part = HeadsFirst(nn.Linear(1, 1), 0.5)
    assert trained(part, [9.5] * 6, trivial=10.0, floor=9.0) == [False] * 3 + [True] * 3


@pytest.mark.parametrize("marks", [{}, {"trivial": 10.0}])
def test_at_the_latest_it_is_released_after_its_share(marks: dict[str, float]) -> None:
    kept = trained(HeadsFirst(nn.Linear(1, 1), 0.1), [10.0] * 15, **marks)
    assert kept == [False] * 10 + [True] * 5


def test_a_loss_that_is_not_finite_releases_nothing() -> None:
    kept = trained(HeadsFirst(nn.Linear(1, 1), 0.1), [math.nan] * 15, trivial=10.0)
    assert kept == [False] * 10 + [True] * 5


def test_micro_batches_count_as_one_step() -> None:
    one, two = (HeadsFirst(nn.Linear(1, 1), 0.5) for _ in range(2))
    one.gather(torch.tensor(4.0), lambda: {"trivial": 10.0})
    for loss in (3.0, 5.0):
        two.gather(torch.tensor(loss), lambda: {"trivial": 10.0})
    for part in (one, two):
        part.after_step(0, STEPS)
    assert one.mean.item() == two.mean.item() == pytest.approx(9.4)


def test_a_frozen_step_leaves_the_encoder_as_it_is_to_the_bit() -> None:
    method = build("method=byol", "backbone.frozen=0.02")
    optimizer = build_optimizer(method, method.optimizer)
    before = {name: value.clone() for name, value in method.named_parameters()}
    moved: list[set[str]] = []
    for step in range(4):
        optimizer.zero_grad()
        method.set_rates(optimizer, step, STEPS)
        method(batch_of(method, step=step, steps=STEPS)).loss.backward()
        method.before_update(step, STEPS)
        optimizer.step()
        method.after_step(step, STEPS)
        method.forget()
        of = {
            name.partition(".")[0]
            for name, value in method.named_parameters()
            if value.requires_grad and not torch.equal(value, before[name])
        }
        moved.append(of)
    assert moved == [{"projector", "predictor"}] * 2 + [{"encoder", "projector", "predictor"}] * 2
