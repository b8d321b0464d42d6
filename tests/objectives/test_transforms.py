"""SLA's aggregation, and what its objectives refuse; their formulas are declared with all others."""

import pytest
import torch

from selfsup.objectives import sla_aggregate, sla_distill, sla_joint

from .declarations import sla_together


def test_the_turns_of_an_image_together_are_the_published_ones() -> None:
    expected = torch.tensor([-0.266587618, 0.127292712, 0.539617516], dtype=torch.float64)
    torch.testing.assert_close(sla_together()[0], expected, rtol=0, atol=1e-9)


def test_each_copy_speaks_by_its_own_transforms_block() -> None:
    """The logit of class y in a copy of transform i is in column 3 y + i."""
    logits = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0))
    transform = torch.tensor([[0, 1, 2, 0, 1]] * 2 + [[2, 2, 0, 1, 0]] * 2)
    together = sla_aggregate(logits, transform, transforms=3)
    for n in range(5):
        for y in range(2):
            said = [logits[v, n, 3 * y + transform[v, n]] for v in range(4)]
            assert together[n, y] == pytest.approx(float(sum(said)) / 4, abs=1e-6)


def test_weights_that_are_alike_are_the_mean() -> None:
    single, several = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    alike = sla_distill(single, several, weight=torch.full((6,), 1 / 6))
    torch.testing.assert_close(alike, sla_distill(single, several))


def test_what_is_said_together_does_not_learn_from_the_single_pass() -> None:
    single, several = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    told = several.clone()
    loss = sla_distill(single, told)
    assert torch.autograd.grad(loss, told, allow_unused=True) == (None,)


LOGITS, LABELS, TURNS = torch.zeros(2, 8), torch.tensor([0, 1]), torch.tensor([3, 0])


@pytest.mark.parametrize(
    ("logits", "labels", "transform", "words"),
    [
        (torch.zeros(2, 9), LABELS, TURNS, "multiple of transforms=4 columns, got 9"),
        (LOGITS, LABELS + 1, TURNS, "labels must be from 0 to 1, got 2"),
        (LOGITS, LABELS, TURNS + 1, "transform must be from 0 to 3, got 4"),
        (LOGITS, LABELS - 1, TURNS, "labels must be from 0 to 1, got -1"),
        (LOGITS, LABELS.int(), TURNS, "labels must be int64"),
        (LOGITS, LABELS, TURNS[:1], r"transform must be int64 of the shape \(2,\)"),
        (LOGITS[:0], LABELS[:0], TURNS[:0], "at least one image"),
        (LOGITS[0], LABELS, TURNS, r"shape \(N, CM\)"),
    ],
)
def test_bad_arguments_are_named(
    logits: torch.Tensor, labels: torch.Tensor, transform: torch.Tensor, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        sla_joint(logits, labels, transform, transforms=4)


def test_a_distillation_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match="aggregated must have the shape of single"):
        sla_distill(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"weight must have the shape \(2,\)"):
        sla_distill(torch.zeros(2, 3), torch.zeros(2, 3), weight=torch.ones(3))
    with pytest.raises(ValueError, match="at least one image"):
        sla_distill(torch.zeros(0, 3), torch.zeros(0, 3))
