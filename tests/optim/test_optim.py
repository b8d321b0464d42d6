"""Optimizer, schedules, parameter groups and averages against published numbers and closed forms."""

import copy
import math
from collections.abc import Callable

import pytest
import timm
import torch
from lightly.models.utils import update_momentum
from lightly.utils.scheduler import cosine_schedule, cosine_warmup_schedule
from torch import nn

from selfsup.optim import (
    LARS,
    anneal,
    cosine,
    horizon,
    infinite,
    learning_rate,
    linear,
    parameter_groups,
    part,
    update_average,
    warmup_cosine,
)


def waves(shift: float, rows: int, columns: int) -> torch.Tensor:
    i, j = torch.arange(rows).double().unsqueeze(1), torch.arange(columns).double()
    return torch.sin(0.9 * i + 1.7 * j + 0.31 * i * j + shift)


def updated(start: torch.Tensor, grads: list[torch.Tensor], **settings: float) -> torch.Tensor:
    parameter = nn.Parameter(start.clone())
    optimizer = LARS([parameter], **settings)
    for grad in grads:
        parameter.grad = grad.clone()
        optimizer.step()
    return parameter.detach()


def test_lars_reproduces_the_reference_on_a_matrix() -> None:
    """Two steps of the LARS that Barlow Twins, VICReg and MoCo v3 share, in double precision."""
    end = updated(waves(0.1, 4, 3), [waves(1, 4, 3), waves(2, 4, 3)], lr=0.1, weight_decay=0.01)
    expected = torch.tensor([0.099576521939, 0.973813206318, -0.350517462152], dtype=torch.float64)
    torch.testing.assert_close(end[0], expected, atol=1e-12, rtol=0)
    assert end.norm().item() == pytest.approx(2.4674988537411497, abs=1e-14)


def test_lars_neither_decays_nor_adapts_a_vector() -> None:
    grads = [torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.2, 0.4, 0.6])]
    end = updated(torch.linspace(-1, 1, 3), grads, lr=0.1, weight_decay=0.01)
    torch.testing.assert_close(end, torch.tensor([-1.039, -0.078, 0.883]), atol=1e-6, rtol=0)


def test_lars_adapts_at_weight_decay_zero() -> None:
    """The step's length is lr * trust_coefficient * |p| at any scale of the gradient."""
    start, grad = waves(0.1, 5, 4), waves(2, 5, 4)
    for scale in (1e-3, 1.0, 1e3):
        moved = updated(start, [scale * grad], lr=0.5, trust_coefficient=0.02) - start
        torch.testing.assert_close(moved, -0.5 * 0.02 * start.norm() * grad / grad.norm())


def test_lars_takes_a_trust_of_one_where_a_norm_is_zero() -> None:
    start, grad, zero = waves(0.1, 3, 2), waves(1, 3, 2), torch.zeros(3, 2).double()
    assert torch.equal(updated(start, [zero, zero], lr=0.1), start)
    torch.testing.assert_close(updated(zero, [grad], lr=0.1), -0.1 * grad)


def test_lars_gives_each_matrix_its_own_ratio_and_each_group_its_settings() -> None:
    starts = [waves(0.1, 3, 2), 10 * waves(0.2, 2, 4), waves(0.3, 1, 5)[0], waves(0.4, 2, 2)]
    settings = [{"lr": 0.1, "weight_decay": 0.1}] * 3 + [{"lr": 0.7, "weight_decay": 0.0, "momentum": 0.5}]
    parameters = [nn.Parameter(start.clone()) for start in starts]
    groups = [{"params": parameters[:3], **settings[0]}, {"params": parameters[3:], **settings[3]}]
    unused = nn.Parameter(torch.ones(2, 2))
    optimizer = LARS([*groups, {"params": [unused]}], lr=9.0)
    for step in (1, 2, 3):
        for parameter in parameters:
            parameter.grad = step * parameter.detach().cos()
        optimizer.step()
    for start, parameter, setting in zip(starts, parameters, settings, strict=True):
        alone = nn.Parameter(start.clone())
        single = LARS([alone], **setting)
        for step in (1, 2, 3):
            alone.grad = step * alone.detach().cos()
            single.step()
        assert torch.equal(alone, parameter)
    assert torch.equal(unused, torch.ones(2, 2))  # it had no gradient


def test_lars_heeds_the_order_of_values_in_memory() -> None:
    """Channels last, in parameter, gradient or both: torch's fused update pairs values by their address."""
    generator = torch.Generator().manual_seed(0)
    start, grad = (torch.randn(4, 3, 2, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    expected = updated(start, [grad, grad], lr=0.1, weight_decay=0.1)
    last = {"memory_format": torch.channels_last}
    for p, g in (
        (start, grad.clone(**last)),
        (start.clone(**last), grad),
        (start.clone(**last), grad.clone(**last)),
    ):
        torch.testing.assert_close(updated(p, [g, g], lr=0.1, weight_decay=0.1), expected)


def test_lars_goes_on_from_its_saved_state() -> None:
    start, grads = waves(0.1, 4, 3), [waves(s, 4, 3) for s in (1, 2, 3)]
    whole = updated(start, grads, lr=0.1, weight_decay=0.01)
    parameter = nn.Parameter(start.clone())
    optimizer = LARS([parameter], lr=0.1, weight_decay=0.01)
    for i, grad in enumerate(grads):
        if i == 2:
            state = copy.deepcopy(optimizer.state_dict())
            optimizer = LARS([parameter], lr=0.5)
            optimizer.load_state_dict(state)
        parameter.grad = grad.clone()
        optimizer.step()
    assert torch.equal(parameter, whole)


def test_lars_runs_a_closure_with_gradients() -> None:
    parameter = nn.Parameter(torch.ones(2, 2))
    optimizer = LARS([parameter], lr=1.0, momentum=0.0)

    def closure() -> torch.Tensor:
        loss = parameter.sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 4
    assert (parameter < 1).all()


def test_schedules_have_their_closed_forms() -> None:
    for step in range(101):
        assert linear(step, 100, 0.996, 1.0) == pytest.approx(0.996 + 0.004 * step / 100, abs=1e-15)
        half = math.sin(math.pi * step / 200) ** 2
        assert cosine(step, 100, 0.04, 0.4) == pytest.approx(0.04 + 0.36 * half, abs=1e-15)
    # DINO's published momentum, .996 to 1 in 100 steps
    assert cosine(0, 100, 0.996, 1.0) == 0.996
    assert cosine(50, 100, 0.996, 1.0) == pytest.approx(0.998)
    assert cosine(99, 100, 0.996, 1.0) == pytest.approx(0.999999, abs=1e-7)


def test_warmup_reaches_the_peak_and_the_cosine_leaves_it() -> None:
    """Of 100 steps, 10 warm up; from there DINO's table has 0.5 at step 55 and 3.046e-4 at step 99."""
    rates = [warmup_cosine(step, 100, 10, 1.0) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(3.046e-4, abs=1e-7)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    # Barlow Twins at batch 2048: a factor of 8 with an end of 8e-3 after 1000 epochs, 10 of them warm-up
    assert warmup_cosine(505, 1000, 10, 8.0, 8e-3) == pytest.approx(4.004)
    assert warmup_cosine(1000, 1000, 10, 8.0, 8e-3) == pytest.approx(8e-3)


# Peak 1e-3, constant 4e-4, end 1e-5; warm-up to step 10, cool-down to 50, annealing from 80 to 100.
ENDLESS = {
    0: 0.0,
    5: 5e-4,
    10: 1e-3,
    20: 9.12132034e-4,
    30: 7e-4,
    40: 4.87867966e-4,
    **dict.fromkeys(range(50, 81), 4e-4),
    85: 1.59054146e-4,
    90: 6.32455532e-5,
    **dict.fromkeys(range(100, 120), 1e-5),
}


def test_a_rate_without_an_end_and_its_annealing_have_the_published_form() -> None:
    for n, rate in ENDLESS.items():
        found = infinite(n, 10, 50, 1e-3, 4e-4) if n <= 80 else anneal(n - 80, 20, 4e-4, 1e-5)
        assert found == pytest.approx(rate, rel=1e-8)
    for n in (10, 50):  # continuous where its parts meet
        assert infinite(n - 1e-9, 10, 50, 1e-3, 4e-4) == pytest.approx(infinite(n, 10, 50, 1e-3, 4e-4))
    assert infinite(3, 0, 0, 1.0, 0.4) == 0.4
    with pytest.raises(ValueError, match="the warm-up of 60 steps has to end before"):
        infinite(3, 60, 50, 1.0, 0.4)


def test_the_rate_of_a_step_is_that_of_the_settings() -> None:
    settings = {"schedule": "infinite", "warmup_steps": 10, "cooldown_steps": 50, "lr_constant": 0.4}
    settings |= {"lr_end": 0.01, "anneal_from": None, "anneal_steps": 20}
    for n, rate in ENDLESS.items():
        branch = settings if n <= 80 else {**settings, "anneal_from": 80}
        if n:
            for steps in (1, 1000):  # whatever the length of the run
                assert learning_rate(branch, n - 1, steps, 1e-3) == pytest.approx(rate, rel=1e-8)
    assert (horizon(settings, 1000), horizon({"schedule": "cosine"}, 1000)) == (50, 1000)


def test_schedules_stay_at_their_end_and_take_degenerate_lengths() -> None:
    assert linear(7, 5, 0.0, 2.0) == cosine(7, 5, 0.0, 2.0) == 2.0
    assert warmup_cosine(7, 5, 2, 1.0, 0.25) == 0.25
    assert warmup_cosine(0, 10, 0, 1.0) == 1.0
    assert warmup_cosine(0, 1, 1, 1.0) == 1.0
    assert linear(0, 0, 3.0, 4.0) == cosine(0, 0, 3.0, 4.0) == 3.0


@pytest.mark.parametrize(
    "value",
    [
        lambda: linear(-1, 10, 0.0, 1.0),
        lambda: cosine(-1, 10, 0.0, 1.0),
        lambda: cosine(1, -10, 0.0, 1.0),
        lambda: warmup_cosine(-1, 10, 5, 1.0),
        lambda: warmup_cosine(-1, 10, 0, 1.0),
        lambda: warmup_cosine(3, 10, 11, 1.0),
        lambda: warmup_cosine(3, 10, -1, 1.0),
    ],
)
def test_steps_before_the_first_and_a_warmup_beyond_the_last_are_refused(value: Callable[[], float]) -> None:
    with pytest.raises(ValueError, match=r"at least 0|warmup must be from 0 to the 10 steps"):
        value()


def test_schedules_and_averages_are_lightlys_where_docs_coming_from_says_so() -> None:
    for step in range(20):
        assert cosine(step, 19, 0.9, 0.1) == pytest.approx(cosine_schedule(step, 20, 0.9, 0.1), abs=1e-12)
        theirs = cosine_warmup_schedule(step, 20, 2.0, 0.1, 5, 0.0)
        assert warmup_cosine(step, 19, 5, 2.0, 0.1) == pytest.approx(theirs, abs=1e-12)
    assert cosine(19, 20, 0.9, 0.1) > cosine_schedule(19, 20, 0.9, 0.1) + 1e-3
    student, ours = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    with torch.no_grad():
        for value in (*student.parameters(), *student.buffers()):
            value.add_(2)
    theirs_too = copy.deepcopy(ours)
    update_average(ours, student, 0.9, buffers=False)
    update_momentum(student, theirs_too, 0.9)
    for key, value in theirs_too.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value)


def test_a_warmup_of_the_whole_run_ends_at_the_peak() -> None:
    assert [warmup_cosine(step, 4, 4, 1.0) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_a_share_of_steps_is_the_nearest_whole_number_and_the_larger_of_two() -> None:
    assert [part(0.5, steps) for steps in (1, 3, 5, 7)] == [1, 2, 3, 4]
    assert [part(0.1, steps) for steps in (4, 5, 25, 252)] == [0, 1, 3, 25]
    assert (part(0.0, 9), part(1.0, 9)) == (0, 9)


class Wrapped(nn.Module):
    """A timm vision transformer two levels down, a head, and a frozen part."""

    def __init__(self) -> None:
        super().__init__()
        args = {
            "img_size": 16,
            "patch_size": 8,
            "embed_dim": 16,
            "depth": 2,
            "num_heads": 2,
            "num_classes": 0,
        }
        self.encoder = nn.ModuleDict({"model": timm.create_model("vit_tiny_patch16_224", **args)})
        self.head = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Linear(8, 4, bias=False))
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.temperature = nn.Parameter(torch.tensor(1.0))


def test_groups_share_out_the_trainable_parameters() -> None:
    module = Wrapped()
    names = {id(value): name for name, value in module.named_parameters()}
    decayed, exempt = ([names[id(p)] for p in group["params"]] for group in parameter_groups(module, 0.3))
    assert not set(decayed) & set(exempt)
    assert len(decayed) + len(exempt) == len({*decayed, *exempt})
    assert {*decayed, *exempt} == {name for name in names.values() if not name.startswith("frozen")}
    assert {"encoder.model.pos_embed", "encoder.model.cls_token", "temperature"} <= set(exempt)
    for name in names.values():
        if name.endswith(".bias") or ".norm" in name or name.startswith("head.1"):
            assert name not in decayed
    assert {"encoder.model.patch_embed.proj.weight", "encoder.model.blocks.1.mlp.fc2.weight"} <= set(decayed)
    assert {"head.0.weight", "head.2.weight"} <= set(decayed)


def test_groups_of_a_bare_model_and_their_settings() -> None:
    module = Wrapped().encoder["model"]
    names = {id(value): name for name, value in module.named_parameters()}
    decayed, exempt = parameter_groups(module, 0.3)
    assert {"pos_embed", "cls_token"} <= {names[id(p)] for p in exempt["params"]}
    assert (decayed["weight_decay"], decayed["decayed"]) == (0.3, True)
    assert (exempt["weight_decay"], exempt["decayed"]) == (0.0, False)


def scales_of(module: nn.Module, layer_decay: float) -> dict[str, float]:
    """Share of the learning rate of each trainable parameter, by name."""
    names = {id(value): name for name, value in module.named_parameters()}
    groups = parameter_groups(module, 0.1, layer_decay)
    return {names[id(p)]: group["lr_scale"] for group in groups for p in group["params"]}


@pytest.mark.parametrize("head", [0, 10])
def test_layer_decay_has_the_published_scales(head: int) -> None:
    """MAE's fine-tuning of ViT-B at .65: embedding .003697, first block .005688, last one .65, head 1."""
    model = timm.create_model("vit_base_patch16_224", embed_dim=24, num_heads=2, num_classes=head)
    scales = scales_of(model, 0.65)
    assert set(scales) == {name for name, _ in model.named_parameters()}
    for name in ("cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"):
        assert scales[name] == pytest.approx(0.003697, abs=1e-6)
    assert scales["blocks.0.attn.qkv.weight"] == pytest.approx(0.005688, abs=1e-6)
    assert scales["blocks.11.mlp.fc2.bias"] == scales["norm.weight"] == pytest.approx(0.65)
    assert scales.get("head.weight", 1.0) == 1


def test_layer_decay_of_a_deep_transformer() -> None:
    """DINOv2's ViT-L at .9: embedding .0718, first block .0798, last one .9."""
    model = timm.create_model("vit_large_patch16_224", embed_dim=8, num_heads=2, num_classes=0)
    scales = scales_of(model, 0.9)
    assert scales["pos_embed"] == pytest.approx(0.0718, abs=1e-4)
    assert scales["blocks.0.norm1.weight"] == pytest.approx(0.0798, abs=1e-4)
    assert scales["blocks.23.norm1.weight"] == pytest.approx(0.9)


@pytest.mark.parametrize(
    "name", ["resnet18", "convnext_atto", "swin_tiny_patch4_window7_224", "resnet10_small"]
)
def test_layer_decay_falls_from_the_head_to_the_stem_of_any_timm_model(name: str) -> None:
    import selfsup.backbones.small_stem  # noqa: F401  (registers resnet10_small)

    class Trained(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.ModuleDict({"model": timm.create_model(name, num_classes=0)})
            self.head = nn.Linear(3, 2)

    module = Trained()
    scales = scales_of(module, 0.5)
    assert set(scales) == {name for name, _ in module.named_parameters()}
    assert scales["head.weight"] == 1
    inside = [scale for key, scale in scales.items() if key.startswith("encoder")]
    assert inside[0] == min(inside)
    assert max(inside) == 0.5
    assert len(set(inside)) >= 5


def test_layer_decay_keeps_what_is_exempt_from_weight_decay() -> None:
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, embed_dim=16, num_heads=2, num_classes=0)
    for group in parameter_groups(model, 0.3, 0.5):
        assert group["weight_decay"] == (0.3 if group["decayed"] else 0)
        assert all(p.ndim > 1 for p in group["params"]) or not group["decayed"]
    kept = {
        id(p) for group in parameter_groups(model, 0.3, 0.5) if not group["decayed"] for p in group["params"]
    }
    assert {id(model.pos_embed), id(model.cls_token)} <= kept


@pytest.mark.parametrize(
    ("decay", "message"), [(0.0, "above 0"), (1.1, "at most 1"), (0.5, "no layers known to timm")]
)
def test_layer_decay_refuses(decay: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parameter_groups(nn.Linear(3, 2), 0.1, decay)


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))


def test_average_of_parameters() -> None:
    teacher, student = network(0), network(1)
    expected = [
        0.99 * t.detach().double() + 0.01 * s.detach().double()
        for t, s in zip(teacher.parameters(), student.parameters(), strict=True)
    ]
    before = copy.deepcopy(student.state_dict())
    update_average(teacher, student, 0.99)
    for actual, value in zip(teacher.parameters(), expected, strict=True):
        torch.testing.assert_close(actual.detach().double(), value, atol=1e-7, rtol=0)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_average_of_a_constant_is_a_geometric_series() -> None:
    teacher, student = nn.Linear(2, 2), nn.Linear(2, 2)
    nn.init.zeros_(teacher.weight)
    nn.init.ones_(student.weight)
    for _ in range(100):
        update_average(teacher, student, 0.97)
    torch.testing.assert_close(teacher.weight.detach(), torch.full((2, 2), 1 - 0.97**100), atol=1e-6, rtol=0)


def test_momentum_of_one_and_of_zero() -> None:
    teacher, student = network(0), network(1)
    before = copy.deepcopy(teacher.state_dict())
    update_average(teacher, student, 1.0, buffers=False)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    update_average(teacher, student, 0.0)
    assert all(torch.equal(value, student.state_dict()[name]) for name, value in teacher.state_dict().items())


@pytest.mark.parametrize("copied", [True, False])
def test_buffers_are_copied_or_left(copied: bool) -> None:
    teacher, student = network(0), network(1)
    student(torch.randn(8, 3))
    assert student[1].num_batches_tracked == 1
    before = copy.deepcopy(dict(teacher.named_buffers()))
    update_average(teacher, student, 0.9, buffers=copied)
    source = dict(student.named_buffers()) if copied else before
    assert all(torch.equal(value, source[name]) for name, value in teacher.named_buffers())


@pytest.mark.parametrize(
    "other",
    [nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5)), nn.Sequential(nn.Linear(1, 5), *network(0)[1:])],
)
def test_another_module_is_no_student(other: nn.Module) -> None:
    """The second would even fit, by broadcasting its single column."""
    teacher = network(0)
    before = copy.deepcopy(teacher.state_dict())
    with pytest.raises(ValueError, match="teacher"):
        update_average(teacher, other, 0.9)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
