"""Every objective declares itself here; `test_objectives.py` puts all of them to the same tests.

The references are literal: loops over samples and pairs, in float64, from the papers' formulas.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from selfsup.objectives import barlow_twins, dino, latent_prediction, masked_reconstruction, nt_xent

Inputs = dict[str, Any]


@dataclass(frozen=True)
class Golden:
    """Value, norm of the gradient and its first element, for the first learned argument or a slice."""

    inputs: Inputs
    value: float
    norm: float
    first: float
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Declaration:
    """What a test needs to know about an objective.

    `draw(n, generator)` gives float64 arguments for n samples; `learned` names those that a network puts out;
    `sample_axis` says where the samples are (arguments that are not named there belong to no sample).
    """

    objective: Callable[..., Tensor]
    reference: Callable[..., Tensor]
    draw: Callable[[int, torch.Generator], Inputs]
    learned: tuple[str, ...]
    sample_axis: dict[str, int]
    golden: tuple[Golden, ...]
    settings: tuple[dict[str, Any], ...]


def wave(shift: float, *shape: int) -> Tensor:
    """sin(.9 i + 1.7 j + .31 i j + 2.3 b + shift): inputs that need no random numbers."""
    *batch, rows, columns = shape
    i = torch.arange(rows, dtype=torch.float64)[:, None]
    j = torch.arange(columns, dtype=torch.float64)
    phase = 0.9 * i + 1.7 * j + 0.31 * i * j + shift
    if batch:
        phase = phase + 2.3 * torch.arange(batch[0], dtype=torch.float64)[:, None, None]
    return phase.sin()


Z1 = wave(0.1, 12, 6)
Z2 = Z1 + 0.4 * wave(2, 12, 6)


def nt_xent_reference(z1: Tensor, z2: Tensor, temperature: float = 0.1) -> Tensor:
    rows = [*z1, *z2]
    n = len(z1)

    def similarity(i: int, k: int) -> Tensor:
        return rows[i] @ rows[k] / (rows[i].norm() * rows[k].norm()) / temperature

    total = torch.zeros((), dtype=z1.dtype)
    for i in range(2 * n):
        others = torch.stack([similarity(i, k) for k in range(2 * n) if k != i])
        total = (
            total
            - similarity(i, (i + n) % (2 * n))
            + others.max()
            + (others - others.max()).exp().sum().log()
        )
    return total / (2 * n)


def barlow_twins_reference(z1: Tensor, z2: Tensor, lambda_: float = 0.0051) -> Tensor:
    n, d = z1.shape

    def normalised(column: Tensor) -> Tensor:
        mean = column.sum() / n
        return (column - mean) / ((column - mean).square().sum() / n + 1e-5).sqrt()

    total = torch.zeros((), dtype=z1.dtype)
    for i in range(d):
        for j in range(d):
            c = (normalised(z1[:, i]) * normalised(z2[:, j])).sum() / n
            total = total + ((c - 1) ** 2 if i == j else lambda_ * c**2)
    return total


def dino_reference(
    student: Tensor,
    teacher: Tensor,
    center: Tensor,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.04,
) -> Tensor:
    terms = []
    for g in range(len(teacher)):
        for v in range(len(student)):
            for n in range(student.shape[1]):
                if g != v:
                    t = (teacher[g, n] - center) / teacher_temperature
                    s = student[v, n] / student_temperature
                    q = (t - t.max()).exp() / (t - t.max()).exp().sum()
                    log_p = s - s.max() - (s - s.max()).exp().sum().log()
                    terms.append(-(q.detach() * log_p).sum())
    return torch.stack(terms).mean()


def masked_reconstruction_reference(
    prediction: Tensor, target: Tensor, mask: Tensor, normalize: bool = True
) -> Tensor:
    terms = []
    for n, patch in mask.nonzero().tolist():
        y = target[n, patch]
        if normalize:
            variance = (y - y.mean()).square().sum() / (len(y) - 1)
            y = (y - y.mean()) / (variance + 1e-6).sqrt()
        terms.append((prediction[n, patch] - y).square().sum() / len(y))
    return torch.stack(terms).mean()


def latent_prediction_reference(prediction: Tensor, target: Tensor) -> Tensor:
    terms = []
    for p, t in zip(prediction.flatten(0, -2), target.flatten(0, -2), strict=True):
        y = (t - t.mean()) / ((t - t.mean()).square().mean() + 1e-5).sqrt()
        for e in (p - y).abs():
            terms.append(e**2 / 2 if e < 1 else e - 0.5)
    return torch.stack(terms).mean()


def two_views(n: int, generator: torch.Generator) -> Inputs:
    z1 = torch.randn(n, 6, generator=generator, dtype=torch.float64) + 0.5
    noise = torch.randn(n, 6, generator=generator, dtype=torch.float64)
    return {"z1": z1, "z2": z1 + 0.7 * noise}


def crops(n: int, generator: torch.Generator) -> Inputs:
    return {
        "student": torch.randn(5, n, 10, generator=generator, dtype=torch.float64) * 0.3,
        "teacher": torch.randn(2, n, 10, generator=generator, dtype=torch.float64) * 0.1,
        "center": torch.randn(10, generator=generator, dtype=torch.float64) * 0.05,
    }


def patches(n: int, generator: torch.Generator) -> Inputs:
    """The first quarter of the samples hides none of its five patches, the others one, two and three."""
    return {
        "prediction": torch.randn(n, 5, 6, generator=generator, dtype=torch.float64),
        "target": torch.rand(n, 5, 6, generator=generator, dtype=torch.float64),
        "mask": torch.arange(5) < (torch.arange(n) * 4 // n)[:, None],
    }


def tokens(n: int, generator: torch.Generator) -> Inputs:
    return {
        "prediction": torch.randn(n, 3, 6, generator=generator, dtype=torch.float64),
        "target": torch.randn(n, 3, 6, generator=generator, dtype=torch.float64) * 2 + 1,
    }


def _views(temperature: float, value: float, norm: float, first: float) -> Golden:
    return Golden({"z1": Z1, "z2": Z2}, value, norm, first, {"temperature": temperature})


def _dino(center: Tensor, value: float, norm: float, first: float) -> Golden:
    student = 3 * torch.stack([wave(s, 12, 10) for s in (0.2, 1.1, 2.7)])
    return Golden({"student": student, "teacher": TEACHER, "center": center}, value, norm, first)


def _mae(normalize: bool, value: float, norm: float, first: float) -> Golden:
    i, j = torch.arange(4)[:, None], torch.arange(5)
    mask = ((3 * i + 2 * j) % 3 == 0) & (i != 3)
    inputs = {"prediction": wave(0.6, 4, 5, 12), "target": 0.5 + 0.3 * wave(2.2, 4, 5, 12), "mask": mask}
    return Golden(inputs, value, norm, first, {"normalize": normalize})


TEACHER = 3 * torch.stack([wave(s, 12, 10) for s in (0.5, 1.6)])

OBJECTIVES = {
    "nt_xent": Declaration(
        nt_xent,
        nt_xent_reference,
        two_views,
        learned=("z1", "z2"),
        sample_axis={"z1": 0, "z2": 0},
        golden=(
            _views(0.5, 1.699845429, 0.197588763, -0.022219004),
            _views(0.1, 0.660201294, 1.116709274, -0.033651573),
        ),
        settings=({}, {"temperature": 0.5}, {"temperature": 0.01}),
    ),
    "barlow_twins": Declaration(
        barlow_twins,
        barlow_twins_reference,
        two_views,
        learned=("z1", "z2"),
        sample_axis={"z1": 0, "z2": 0},
        golden=(Golden({"z1": Z1, "z2": Z2}, 0.053567770, 0.065867458, -0.014294734),),
        settings=({}, {"lambda_": 0.5}),
    ),
    "dino": Declaration(
        dino,
        dino_reference,
        crops,
        learned=("student",),
        sample_axis={"student": 1, "teacher": 1},
        golden=(
            _dino(torch.zeros(10, dtype=torch.float64), 22.722770721, 0.895107535, -0.208329296),
            _dino(0.1 * TEACHER.mean((0, 1)), 22.710949652, 0.895307703, -0.208328652),
        ),
        settings=({}, {"student_temperature": 0.2, "teacher_temperature": 0.07}),
    ),
    "masked_reconstruction": Declaration(
        masked_reconstruction,
        masked_reconstruction_reference,
        patches,
        learned=("prediction",),
        sample_axis={"prediction": 0, "target": 0, "mask": 0},
        golden=(
            _mae(True, 1.458248093, 0.284629203, -0.011848619),
            _mae(False, 0.804414813, 0.211399413, -0.004941846),
        ),
        settings=({}, {"normalize": False}),
    ),
    "latent_prediction": Declaration(
        latent_prediction,
        latent_prediction_reference,
        tokens,
        learned=("prediction",),
        sample_axis={"prediction": 0, "target": 0},
        golden=(
            Golden({"prediction": wave(4, 12, 6), "target": Z2}, 1.068159329, 0.108629055, -0.013888889),
        ),
        settings=({},),
    ),
}


def value_and_gradients(
    objective: Callable[..., Tensor],
    inputs: Inputs,
    learned: tuple[str, ...],
    autocast: torch.dtype | None = None,
    **settings: Any,
) -> tuple[Tensor, list[Tensor]]:
    """The objective's value, under autocast to a type if given, and its gradients for what is learned."""
    leaves = {name: inputs[name].detach().clone().requires_grad_() for name in learned}
    with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
        value = objective(**{**inputs, **leaves}, **settings)
    return value.detach(), list(torch.autograd.grad(value, list(leaves.values())))


def cast(inputs: Inputs, dtype: torch.dtype, scale: float = 1.0) -> Inputs:
    """The floating arguments, multiplied by the scale, in another type."""
    return {name: (x * scale).to(dtype) if x.is_floating_point() else x for name, x in inputs.items()}


def through_a_layer(declaration: Declaration, weight: Tensor, inputs: Inputs) -> Tensor:
    """The objective after a linear layer on what is learned, as a parameter that processes share."""
    learned = {name: inputs[name] @ weight for name in declaration.learned}
    return declaration.objective(**{**inputs, **learned})


def layer_for(name: str, inputs: Inputs) -> Tensor:
    width = inputs[OBJECTIVES[name].learned[0]].shape[-1]
    return torch.eye(width, dtype=torch.float64) + 0.1 * wave(math.pi, width, width)


def inputs_for(name: str, samples: int = 12) -> Inputs:
    return OBJECTIVES[name].draw(samples, torch.Generator().manual_seed(7))
