"""What holds for every objective that is declared in `declarations.py`.

Its formula, its golden numbers and its peer; any number of processes; half precision; symmetries; what it
is worth where nothing is learned; one graph when compiled; and a sentence for bad arguments.
"""

import pytest
import torch
from torch import Tensor

from selfsup.objectives import dino_center, mmcr, sinkhorn
from selfsup.objectives.precision import NotFiniteError

from . import processes
from .declarations import (
    CASES,
    KINDS,
    OBJECTIVES,
    WIDE,
    Inputs,
    cast,
    inputs_for,
    layer_for,
    through_a_layer,
    value_and_gradients,
    wide_inputs,
)

every_objective = pytest.mark.parametrize("name", OBJECTIVES)
every_setting = pytest.mark.parametrize(
    ("name", "setting"), [(name, s) for name, d in OBJECTIVES.items() for s in range(len(d.settings))]
)


def agree(ours: tuple[Tensor, list[Tensor]], expected: tuple[Tensor, list[Tensor]], rtol: float) -> None:
    torch.testing.assert_close(ours[0].double(), expected[0].double(), rtol=rtol, atol=0)
    for gradient, wanted in zip(ours[1], expected[1], strict=True):
        scale = float(wanted.norm())
        torch.testing.assert_close(gradient.double(), wanted.double(), rtol=0, atol=rtol * scale)


@every_setting
@pytest.mark.parametrize("seed", range(3))
def test_value_and_gradient_are_the_formulas(name: str, setting: int, seed: int) -> None:
    declaration = OBJECTIVES[name]
    inputs = declaration.draw(7, torch.Generator().manual_seed(seed))
    settings = declaration.settings[setting]
    ours = value_and_gradients(declaration.objective, inputs, declaration.learned, **settings)
    literal = value_and_gradients(declaration.reference, inputs, declaration.learned, **settings)
    assert ours[0].dtype == torch.float64
    agree(ours, literal, rtol=1e-11)


@pytest.mark.parametrize(
    ("name", "index"), [(name, i) for name, d in OBJECTIVES.items() for i in range(len(d.golden))]
)
def test_golden_numbers(name: str, index: int) -> None:
    declaration, golden = OBJECTIVES[name], OBJECTIVES[name].golden[index]
    learned = declaration.learned[:1]
    value, (gradient,) = value_and_gradients(declaration.objective, golden.inputs, learned, **golden.settings)
    if golden.view is not None:
        gradient = gradient[golden.view]
    assert float(value) == pytest.approx(golden.value, abs=1e-9)
    assert float(gradient.norm()) == pytest.approx(golden.norm, abs=1e-9)
    assert float(gradient.flatten()[0]) == pytest.approx(golden.first, abs=1e-9)


@pytest.mark.parametrize("name", WIDE)
def test_more_dimensions_than_samples(name: str) -> None:
    """Another way of computing, of the same formula."""
    declaration, inputs = OBJECTIVES[name], wide_inputs(name)
    ours = value_and_gradients(declaration.objective, inputs, declaration.learned)
    agree(ours, value_and_gradients(declaration.reference, inputs, declaration.learned), rtol=1e-11)


@pytest.mark.parametrize("name", [name for name, d in OBJECTIVES.items() if d.peer])
def test_is_lightlys(name: str) -> None:
    declaration, peer = OBJECTIVES[name], OBJECTIVES[name].peer
    assert peer is not None
    inputs = cast(inputs_for(name, 32), torch.float32)
    assert float(declaration.objective(**inputs)) == pytest.approx(float(peer(inputs)), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "solution"), [(name, t) for name, d in OBJECTIVES.items() for t in d.trivial]
)
def test_trivial_solutions_have_the_value_of_their_floor(name: str, solution: str) -> None:
    trivial = OBJECTIVES[name].trivial[solution]
    value = OBJECTIVES[name].objective(**trivial.inputs, **trivial.settings)
    assert float(value) == pytest.approx(trivial.floor, abs=trivial.within, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "symmetry"), [(name, s) for name, d in OBJECTIVES.items() for s in d.symmetries]
)
def test_symmetries(name: str, symmetry: str) -> None:
    declaration, inputs = OBJECTIVES[name], inputs_for(name)
    changed = declaration.symmetries[symmetry](inputs)
    assert any(not torch.equal(changed[key], inputs[key]) for key in inputs)
    expected = declaration.objective(**inputs)
    torch.testing.assert_close(declaration.objective(**changed), expected, rtol=1e-7, atol=0)


@every_objective
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_refuses_what_is_not_finite(name: str, bad: float) -> None:
    for key, x in inputs_for(name).items():
        if x.is_floating_point():
            spoiled = x.clone()
            spoiled.view(-1)[-1] = bad
            with pytest.raises(NotFiniteError, match=f"^{key} must be finite, got 1 NaN or infinite of"):
                OBJECTIVES[name].objective(**{**inputs_for(name), key: spoiled})


@every_objective
def test_takes_the_largest_of_finite_numbers_for_finite(name: str) -> None:
    """Their sum is infinite in float32, as a screen for NaN and infinity must not be fooled by."""
    key = OBJECTIVES[name].learned[0]
    inputs = cast(inputs_for(name), torch.float32)
    inputs[key] = torch.full_like(inputs[key], 3e38)
    OBJECTIVES[name].objective(**inputs)


@every_objective
def test_refuses_integers_and_float16_outside_autocast(name: str) -> None:
    inputs = inputs_for(name)
    for key, x in inputs.items():
        if x.is_floating_point():
            with pytest.raises(ValueError, match=f"{key} must be a floating-point tensor, got torch.int64"):
                OBJECTIVES[name].objective(**{**inputs, key: x.long()})
            with pytest.raises(ValueError, match=f"{key} must be float32, float64 or bfloat16 outside auto"):
                OBJECTIVES[name].objective(**{**inputs, key: x.half()})


@pytest.mark.parametrize("name", [name for name, d in OBJECTIVES.items() if d.fewest > 1])
def test_refuses_a_batch_of_one(name: str) -> None:
    key = OBJECTIVES[name].learned[0]
    with pytest.raises(ValueError, match=f"{key} must hold at least two samples.*, got 1"):
        OBJECTIVES[name].objective(**inputs_for(name, 1))


@every_objective
def test_order_of_samples_does_not_matter(name: str) -> None:
    declaration, inputs = OBJECTIVES[name], inputs_for(name)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    axes = declaration.sample_axis
    shuffled = {k: x.index_select(axes[k], order) if k in axes else x for k, x in inputs.items()}
    expected = declaration.objective(**inputs)
    torch.testing.assert_close(declaration.objective(**shuffled), expected, rtol=1e-12, atol=0)


@every_objective
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_half_precision_is_widened_first(name: str, dtype: torch.dtype, scale: float) -> None:
    """At scale 300 the squares of the inputs overflow float16."""
    declaration = OBJECTIVES[name]
    half = cast(inputs_for(name, 64), dtype, scale)
    exact = value_and_gradients(declaration.objective, cast(half, torch.float64), declaration.learned)
    outputs = value_and_gradients(declaration.objective, half, declaration.learned, autocast=dtype)
    assert outputs[0].dtype == torch.float32
    assert outputs[1][0].dtype == dtype
    agree((outputs[0], []), (exact[0], []), rtol=1e-5)
    single = cast(half, torch.float32)
    agree(
        value_and_gradients(declaration.objective, single, declaration.learned, autocast=dtype), exact, 1e-4
    )


@every_objective
def test_float32_suffices_for_a_large_batch(name: str) -> None:
    declaration = OBJECTIVES[name]
    single = cast(inputs_for(name, 1024), torch.float32)
    exact = value_and_gradients(declaration.objective, cast(single, torch.float64), declaration.learned)
    agree(value_and_gradients(declaration.objective, single, declaration.learned), exact, rtol=1e-5)


@every_objective
def test_arguments_are_left_as_they_were(name: str) -> None:
    declaration, inputs = OBJECTIVES[name], inputs_for(name)
    before = {k: x.clone() for k, x in inputs.items()}
    value_and_gradients(declaration.objective, inputs, declaration.learned)
    for key, x in inputs.items():
        assert torch.equal(x, before[key])


@every_objective
def test_compiles_without_a_graph_break(name: str) -> None:
    torch._dynamo.reset()
    declaration, inputs = OBJECTIVES[name], inputs_for(name)
    compiled = torch.compile(declaration.objective, fullgraph=True, backend="aot_eager")
    ours = value_and_gradients(compiled, inputs, declaration.learned)
    agree(ours, value_and_gradients(declaration.objective, inputs, declaration.learned), rtol=1e-12)


Worlds = dict[int, list[dict[str, tuple[Tensor, Tensor]]]]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Worlds:
    return processes.run(tmp_path_factory)


def alone(name: str, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Value and parameter gradient of the whole batch in this process."""
    weight = layer_for(name, inputs).requires_grad_()
    value = through_a_layer(OBJECTIVES[name], weight, inputs)
    return value.detach(), torch.autograd.grad(value, weight)[0]


@pytest.mark.parametrize(("name", "kind"), CASES)
@pytest.mark.parametrize("world", processes.WORLDS)
def test_any_number_of_processes_gives_the_same(name: str, kind: str, world: int, worlds: Worlds) -> None:
    value, gradient = alone(name, KINDS[kind](name))
    for found in worlds[world]:
        ours = found[f"{name} {kind}"]
        torch.testing.assert_close(ours[0], value, rtol=1e-11, atol=0)
        torch.testing.assert_close(ours[1], gradient, rtol=0, atol=1e-11 * float(gradient.norm()))


@every_objective
def test_the_balanced_parts_differ_in_nothing_but_their_rows(name: str) -> None:
    inputs, axes = KINDS["balanced"](name), OBJECTIVES[name].sample_axis
    for key in OBJECTIVES[name].learned:
        groups = [part.movedim(axes[key], 0).flatten(1) for part in inputs[key].chunk(4, axes[key])]
        for other in groups[1:]:
            torch.testing.assert_close(other.mean(0), groups[0].mean(0))
            torch.testing.assert_close(other.T @ other, groups[0].T @ groups[0])
            assert (other - groups[0]).abs().max() > 0.1


@every_objective
def test_the_processes_hold_different_data(name: str) -> None:
    """Without this, many a missing collective would go unnoticed."""
    declaration, inputs = OBJECTIVES[name], inputs_for(name)
    parts = [processes.share(name, inputs, 2, rank) for rank in range(2)]
    values = [float(declaration.objective(**part)) for part in parts]
    assert abs(values[0] - values[1]) > 1e-3
    if "mask" in inputs:
        hidden = [int(processes.share(name, inputs, 4, rank)["mask"].sum()) for rank in range(4)]
        assert len(set(hidden)) == 4
        assert 0 in hidden


@pytest.mark.parametrize("collective", ["gather", "sum", "mean"])
@pytest.mark.parametrize("world", processes.WORLDS)
def test_collectives_are_differentiated(collective: str, world: int, worlds: Worlds) -> None:
    inputs = inputs_for("nt_xent")
    weight = layer_for("nt_xent", inputs).requires_grad_()
    value = dict(processes.collectives(inputs["z1"] @ weight))[collective]
    (gradient,) = torch.autograd.grad(value, weight)
    for found in worlds[world]:
        torch.testing.assert_close(found[collective][0], value.detach(), rtol=1e-12, atol=0)
        torch.testing.assert_close(found[collective][1], gradient, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("world", processes.WORLDS)
def test_collectives_leave_their_argument_as_it_was(world: int, worlds: Worlds) -> None:
    for found in worlds[world]:
        assert torch.equal(found["argument"][0], inputs_for("nt_xent")["z1"])


@pytest.mark.parametrize("world", processes.WORLDS)
def test_center_is_that_of_all_processes(world: int, worlds: Worlds) -> None:
    expected = dino_center(inputs_for("dino")["teacher"])
    for found in worlds[world]:
        torch.testing.assert_close(found["dino_center"][0], expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("world", processes.WORLDS)
def test_pairs_are_of_all_processes(world: int, worlds: Worlds) -> None:
    inputs = inputs_for("lejepa")
    weight = layer_for("lejepa", inputs).requires_grad_()
    value = processes.related(inputs["z"] @ weight)
    (gradient,) = torch.autograd.grad(value, weight)
    for found in worlds[world]:
        torch.testing.assert_close(found["relation_pairs"][0], value.detach(), rtol=1e-12, atol=0)
        torch.testing.assert_close(found["relation_pairs"][1], gradient, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("world", processes.WORLDS)
def test_mmcrs_spread_is_that_of_all_processes(world: int, worlds: Worlds) -> None:
    """By default it has no weight."""
    inputs = inputs_for("lejepa")
    weight = layer_for("lejepa", inputs).requires_grad_()
    value = mmcr(inputs["z"] @ weight, lambda_=0.5)
    (gradient,) = torch.autograd.grad(value, weight)
    for found in worlds[world]:
        torch.testing.assert_close(found["mmcr, weighed"][0], value.detach(), rtol=1e-11, atol=0)
        torch.testing.assert_close(found["mmcr, weighed"][1], gradient, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("world", processes.WORLDS)
def test_assignments_are_balanced_over_all_processes(world: int, worlds: Worlds) -> None:
    expected = sinkhorn(inputs_for("swav")["teacher"])
    found = torch.cat([found["sinkhorn"][0] for found in worlds[world]], dim=1)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-15)
