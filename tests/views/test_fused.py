"""The colours of a GPU's views in the form that is compiled: the same pixels, in few kernels."""

import shutil
from itertools import permutations
from typing import Any

import pytest
import torch
import torch._inductor.metrics as metrics
from torch import Tensor
from torch._inductor.async_compile import AsyncCompile

from selfsup.views.image import colour, fused
from selfsup.views.image.colour_params import ColourParams
from tests.methods.pretended_gpu import DEVICE, PretendedGPU

from .test_plan import STRONG, plan_of, views_of

N = 48
ALL = frozenset({"jitter", "grey", "sigma", "solarized", "dropped"})
MEAN, STD = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.25])


def crops(height: int = 12, width: int = 17) -> Tensor:
    """Bytes: noise, one colour, few levels, and white beside black."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (N, 3, height, width), dtype=torch.uint8, generator=draws)
    images[1::8] = torch.randint(0, 256, (N // 8, 3, 1, 1), dtype=torch.uint8, generator=draws)
    images[2::8] = images[2::8] // 128 * 255
    images[3::8] = images[3::8, :1]
    images[4::8] = 0
    images[5::8] = 255
    return images


def parameters(have: frozenset[str] = ALL, radius: int = 4) -> ColourParams:
    """Every order of the jitter twice, with factors of every size, none among them."""
    draws = torch.Generator().manual_seed(1)
    jitter = torch.rand(N, 4, generator=draws) * torch.tensor([2.0, 2.0, 2.0, 1.0])
    jitter[:, 3] -= 0.5
    jitter[::7], jitter[::5, 3], jitter[3::9, :3] = torch.tensor([1.0, 1.0, 1.0, 0.0]), 0.0, 0.0
    sigma = torch.rand(N, generator=draws) * radius / 3
    sigma[::3] = 0
    found: dict[str, Any] = {
        "jitter": jitter,
        "grey": torch.rand(N, generator=draws) < 0.3,
        "sigma": sigma,
        "solarized": torch.rand(N, generator=draws) < 0.4,
        "dropped": torch.rand(N, 3, generator=draws) < 0.2,
    }
    order = torch.tensor(list(permutations(range(4))) * 2)
    given = {name: values if name in have else None for name, values in found.items()}
    return ColourParams(order=order, radius=radius, **given)


@pytest.mark.parametrize("have", [ALL, *(frozenset({name}) for name in sorted(ALL)), frozenset()], ids=sorted)
@pytest.mark.parametrize("shape", [(12, 17), (5, 3)], ids=str)
def test_the_pixels_are_those_of_the_cpu(have: frozenset[str], shape: tuple[int, int]) -> None:
    images, drawn = crops(*shape), parameters(have)
    expected = colour.render(images, drawn, MEAN, STD)
    made = fused.render(images, drawn, MEAN, STD)
    assert made.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(made * STD.view(3, 1, 1), expected * STD.view(3, 1, 1), atol=1e-5, rtol=0)


def test_a_blur_wider_than_the_image() -> None:
    images, drawn = crops(6, 9), parameters(frozenset({"sigma"}), radius=30)
    torch.testing.assert_close(
        fused.render(images, drawn, MEAN, STD), colour.render(images, drawn, MEAN, STD), atol=5e-5, rtol=0
    )


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for a CPU with g++")
def test_torch_makes_few_kernels_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in what torch would have a C++ compiler make for a CPU, for which it fuses as for a GPU."""
    monkeypatch.setattr(AsyncCompile, "cpp_pybinding", lambda *args, **named: lambda *tensors: None)
    torch.compiler.reset()
    metrics.reset()
    form = torch.compile(fused.render, fullgraph=True, dynamic=False)
    form(crops(32, 32), parameters(), MEAN, STD)
    assert 0 < metrics.generated_kernel_count <= 12


@pytest.mark.parametrize(("noise", "compiled"), [(0.0, True), (0.1, False)])
def test_a_plan_takes_it_on_a_gpu_where_it_can(
    noise: float, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def form() -> Any:
        return lambda images, *given: (calls.append(images.device), fused.render(images, *given))[1]

    monkeypatch.setattr(fused, "compiled", form)
    plan = plan_of(STRONG | {"count": 2, "noise": noise}, image_size=32)
    plan.compiled = True
    views_of(plan, crops(), torch.arange(N))
    assert calls == []  # a CPU's are made by other code
    with PretendedGPU():
        views_of(plan, crops().to(DEVICE), torch.arange(N, device=DEVICE))
    assert calls == [DEVICE] * 2 * compiled
