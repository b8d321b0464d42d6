"""The cases of ``objectives.py``: our objectives and lightly's as two functions of the same tensors."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

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


def swav(device: str) -> Sides:
    from lightly.loss import SwaVLoss

    from selfsup import objectives

    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(8, 256, 3000, generator=generator).clamp(-1, 1).to(device).requires_grad_()
    loss = SwaVLoss()

    def ours(scores: Tensor) -> Tensor:
        return objectives.swav(scores, scores[:2])

    def theirs(scores: Tensor) -> Tensor:
        return loss(list(scores[:2]), list(scores[2:]))

    return differentiated(ours, theirs, scores)


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
    """The minimum of any LARS: read weights and gradients for the norms, then do a step of SGD."""
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
    "swav 8 crops N=256 K=3000": swav,
    "jepa_masks N=256 14 x 14": jepa_masks,
    "lars ResNet-18": lars,
    "(the floor of lars)": lars_floor,
    "teacher_average ViT-S": teacher_average,
}
