import math
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from selfsup.objectives import dino, dino_center, floors, msn, sinkhorn, swav

from .declarations import Z1, Z2, inputs_for, wave
from .references import msn_reference


@pytest.mark.parametrize("prototypes", [1024, 65536])
def test_floor_is_the_value_of_equal_logits(prototypes: int) -> None:
    equal = torch.full((3, 2, prototypes), 0.7)
    value = float(dino(equal, equal[:2], torch.zeros(prototypes)))
    assert value == pytest.approx(floors.dino(prototypes), abs=1e-4)


def test_one_prototype_ahead() -> None:
    k, ahead = 50, 0.4
    logits = torch.zeros(2, 3, k, dtype=torch.float64)
    logits[..., 7] = ahead
    certain = logits * 1e3
    expected = math.log(1 + (k - 1) * math.exp(-ahead / 0.1))
    assert float(dino(logits, certain, torch.zeros(k))) == pytest.approx(expected, abs=1e-12)


def test_no_view_is_compared_with_itself() -> None:
    """With one global and one local view, the student's global logits are in no pair."""
    inputs = inputs_for("dino")
    student = inputs["student"][:2].clone().requires_grad_()
    dino(student, inputs["teacher"][:1], inputs["center"]).backward()
    assert student.grad is not None
    assert student.grad[0].abs().max() == 0
    assert student.grad[1].abs().min() > 0


def test_gradient_is_the_difference_of_the_distributions_and_none_is_the_teachers() -> None:
    inputs = inputs_for("dino")
    leaves = {name: x.clone().requires_grad_() for name, x in inputs.items()}
    dino(**leaves).backward()
    assert leaves["teacher"].grad is None
    assert leaves["center"].grad is None
    p = (inputs["student"][4] / 0.1).softmax(-1)
    q = ((inputs["teacher"] - inputs["center"]) / 0.04).softmax(-1).sum(0)
    gradient = leaves["student"].grad
    assert gradient is not None
    torch.testing.assert_close(gradient[4], (2 * p - q) / (0.1 * 12 * 8))


def test_float32_at_the_published_size() -> None:
    """A matrix product over samples and prototypes at once is wrong by 3e-4 here."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.rand(views, 64, 16384, generator=generator) * 2 - 1 for views in (4, 2))
    center = torch.zeros(16384)
    exact = float(dino(student.double(), teacher.double(), center))
    assert float(dino(student, teacher, center)) == pytest.approx(exact, rel=1e-6)


def test_assignments_have_the_published_numbers() -> None:
    q = sinkhorn(_scores(), 0.05)
    first = [0.895738, 0, 0, 1e-6, 1e-6, 0, 0, 0, 0, 0.10426]
    masses = [1.5737, 0.8148, 0.8015, 1.18, 1.0069, 0.7612, 1.1682, 0.884, 0.8637, 0.9459]
    assert q[0].tolist() == pytest.approx(first, abs=1e-6)
    assert (q.sum(0) * 10 / 12).tolist() == pytest.approx(masses, abs=1e-4)
    torch.testing.assert_close(q.sum(1), torch.ones(12, dtype=q.dtype), rtol=1e-12, atol=0)


def test_assignments_become_balanced() -> None:
    q = sinkhorn(_scores(), 0.2, rounds=500)
    torch.testing.assert_close(q.sum(0), torch.full((10,), 1.2, dtype=q.dtype), rtol=1e-6, atol=0)
    assert q.std(0).min() > 0.01


def test_what_moves_assignments() -> None:
    """What is common to all samples does not; what is a sample's own does, in the first rounds."""
    scores, q = _scores(), sinkhorn(_scores())
    torch.testing.assert_close(sinkhorn(scores + 7), q)
    torch.testing.assert_close(sinkhorn(scores + wave(1, 1, 10)), q)
    assert (sinkhorn(scores + wave(1, 12, 1)) - q).abs().max() > 0.01
    alike = scores[:1].expand(12, 10)
    torch.testing.assert_close(sinkhorn(alike), torch.full((12, 10), 0.1, dtype=q.dtype))


def test_assignments_of_large_scores_and_no_gradient() -> None:
    """exp(400 / .05) overflows float64."""
    scores = 400 * _scores().float().requires_grad_()
    q = sinkhorn(scores)
    assert not q.requires_grad
    torch.testing.assert_close(q.sum(-1), torch.ones(12))
    assert sinkhorn(scores.bfloat16()).dtype == torch.float32
    both = torch.stack([_scores(), _scores().flip(0)])
    torch.testing.assert_close(sinkhorn(both)[1], sinkhorn(both[1]))


def _scores() -> torch.Tensor:
    """(12, 10) cosines of samples with prototypes."""
    return normalize(Z1) @ normalize(wave(0.7, 10, 6)).T


def test_swapped_prediction_has_no_gradient_for_the_teacher() -> None:
    inputs = {name: x.clone().requires_grad_() for name, x in inputs_for("swav").items()}
    swav(**inputs).backward()
    assert inputs["teacher"].grad is None
    assert inputs["student"].grad is not None


def test_a_queue_takes_its_prototypes_from_the_batch() -> None:
    """Without one, both samples are shared out; a queue of the first kind leaves the second to itself."""
    scores = torch.tensor([[[0.9, 0.1], [0.8, 0.3]]], dtype=torch.float64).repeat(2, 1, 1)
    queue = torch.tensor([[[0.9, 0.1]] * 6], dtype=torch.float64).repeat(2, 1, 1)
    one, other = (swav(scores, scores, 10.0, 0.05, 20, queue=each) for each in (None, queue))
    assert float(one) == pytest.approx(float(swav(scores, scores, 10.0, 0.05, 20)), abs=1e-12)
    assert abs(float(one) - float(other)) > 1e-3
    nothing = torch.ones(2, 0, 2, dtype=torch.float64)
    torch.testing.assert_close(swav(scores, scores, 10.0, 0.05, 20, queue=nothing), one, rtol=1e-12, atol=0)


def test_the_published_entropy_of_msns_mean_prediction() -> None:
    anchors = torch.stack([Z1, wave(4, 12, 6)]).requires_grad_()
    with_it, without = (msn(anchors, Z2, wave(0.7, 10, 6), regularization=weight) for weight in (1.0, 0.0))
    (gradient,) = torch.autograd.grad(with_it - without, anchors)
    assert float((with_it - without).detach()) == pytest.approx(0.022490208, abs=1e-9)
    assert float(gradient.norm()) == pytest.approx(0.057920185, abs=1e-9)
    assert float(gradient.flatten()[0]) == pytest.approx(0.000341582, abs=1e-9)


def test_msn_of_a_prototype_that_nobody_predicts_has_a_finite_gradient() -> None:
    rows = torch.eye(4)[:2].requires_grad_()
    msn(rows[None], rows, torch.eye(4), temperature=1e-3).backward()
    assert rows.grad is not None
    assert rows.grad.isfinite().all()


def test_msn_teaches_its_prototypes_and_not_its_target() -> None:
    inputs = {name: x.clone().requires_grad_() for name, x in inputs_for("msn").items()}
    msn(**inputs).backward()
    assert inputs["target"].grad is None
    expected = {name: x.clone().requires_grad_() for name, x in inputs_for("msn").items()}
    msn_reference(**expected).backward()
    for name in ("anchors", "prototypes"):
        torch.testing.assert_close(inputs[name].grad, expected[name].grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"anchors": torch.ones(12, 6)}, r"anchors must have the shape \(V, N, D\)"),
        ({"target": torch.ones(11, 6)}, r"target must have the shape \(12, 6\) of each anchor"),
        ({"anchors": torch.ones(0, 12, 6)}, r"target must have the shape \(12, 6\)"),
        ({"prototypes": torch.ones(10, 5)}, r"prototypes must have the shape \(K, 6\), got \(10, 5\)"),
        ({"prototypes": torch.ones(6)}, r"prototypes must have the shape \(K, 6\)"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"sharpening": 0.0}, "sharpening must be above 0"),
        ({"balancing": -1}, "balancing must be at least 0"),
        ({"regularization": -1.0}, "regularization must be at least 0"),
    ],
)
def test_msn_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        msn(**{**inputs_for("msn"), **change})


def test_center_of_a_constant_teacher() -> None:
    teacher, center = torch.full((2, 3, 4), 5.0), torch.zeros(4)
    for _ in range(7):
        center = 0.9 * center + 0.1 * dino_center(teacher)
    torch.testing.assert_close(center, torch.full((4,), 5 * (1 - 0.9**7)))
    assert dino_center(teacher.bfloat16().requires_grad_()).dtype == torch.float32
    assert not dino_center(teacher.requires_grad_()).requires_grad


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"student": torch.ones(5, 12)}, r"student must have the shape \(views, N, K\)"),
        ({"teacher": torch.ones(2, 11, 10)}, r"teacher must have the shape \(G, 12, 10\)"),
        ({"center": torch.ones(1, 10)}, r"center must have the shape \(10,\)"),
        ({"center": torch.ones(10, dtype=torch.int64)}, "center must be a floating-point tensor"),
        ({"student": torch.ones(1, 12, 10), "teacher": torch.ones(1, 12, 10)}, "student must hold all views"),
        ({"student": torch.ones(2, 12, 10), "teacher": torch.ones(3, 12, 10)}, "student must hold all views"),
        ({"student": torch.ones(5, 0, 10), "teacher": torch.ones(2, 0, 10)}, "at least one sample"),
        ({"student_temperature": 0.0}, "student_temperature must be above 0"),
        ({"teacher_temperature": -1.0}, "teacher_temperature must be above 0"),
    ],
)
def test_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dino(**{**inputs_for("dino"), **change})
    with pytest.raises(ValueError, match="at least one view"):
        dino_center(torch.ones(2, 0, 4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teacher": torch.ones(2, 11, 10)}, r"teacher must have the shape \(G, 12, 10\)"),
        ({"teacher": torch.ones(2, 10)}, r"teacher must have the shape \(views, N, K\)"),
        ({"student": torch.ones(1, 12, 10), "teacher": torch.ones(1, 12, 10)}, "student must hold all views"),
        ({"student_temperature": 0.0}, "student_temperature must be above 0"),
        ({"teacher_temperature": -1.0}, "teacher_temperature must be above 0"),
        ({"rounds": 0}, "rounds must be at least 1, got 0"),
        ({"queue": torch.ones(1, 5, 10)}, r"queue must have the shape \(2, Q, 10\), got \(1, 5, 10\)"),
        ({"queue": torch.ones(2, 5, 9)}, r"queue must have the shape \(2, Q, 10\)"),
        ({"queue": torch.ones(5, 10)}, r"queue must have the shape \(2, Q, 10\)"),
        ({"queue": torch.ones(2, 5, 10, 1)}, r"queue must have the shape \(2, Q, 10\)"),
    ],
)
def test_swapped_prediction_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        swav(**{**inputs_for("swav"), **change})


def test_assignments_refuse() -> None:
    for wrong in (torch.ones(4), torch.ones(0, 4), torch.ones(4, 0)):
        with pytest.raises(ValueError, match="scores must hold at least one sample and prototype"):
            sinkhorn(wrong)
    with pytest.raises(ValueError, match="temperature must be above 0"):
        sinkhorn(torch.ones(4, 3), 0.0)
    with pytest.raises(ValueError, match="scores must be finite"):
        sinkhorn(torch.tensor([[torch.nan, 1.0]]))
