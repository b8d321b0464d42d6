"""A masked pass: what is hidden reaches nothing that is seen, to the last bit, in whatever operation."""

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import selfsup.backbones  # noqa: F401  (registers its models with timm)
from selfsup.backbones.masked import Masked, feature_maps, leaks
from tests.objectives.declarations import wave

# Of each kind of operation: strided and grouped convolutions, max, average and blurred pooling, batch, group
# and response norms, channels last, gates from means over places, paddings of one side, upsampling.
EXACT = (
    "resnet10_small",
    "resnet18",
    "seresnext26d_32x4d",
    "resnetblur18",
    "resnetv2_18",
    "convnextv2_atto",
    "tf_efficientnet_b0",
    "mobilenetv3_small_050",
)


def made(name: str) -> tuple[Any, int]:
    """A timm model and its total stride, no factor of which is nothing."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=0)
    for parameter in model.parameters():
        if parameter.min() == parameter.max():
            nn.init.uniform_(parameter, 0.5, 1.5)
    return model, model.feature_info[-1]["reduction"]


def cells(n: int, *shown: tuple[int, int, int]) -> Tensor:
    visible = torch.zeros(n, 2, 2, dtype=torch.bool)
    for cell in shown:
        visible[cell] = True
    return visible


VISIBLE = cells(2, (0, 0, 0), (0, 1, 1), (1, 0, 1))


def enlarged(visible: Tensor, by: int) -> Tensor:
    return visible.repeat_interleave(by, 1).repeat_interleave(by, 2).unsqueeze(1)


@pytest.mark.parametrize("name", EXACT)
def test_hidden_pixels_change_nothing(name: str) -> None:
    model, stride = made(name)
    size = 2 * stride
    images = torch.randn(2, 3, size, size)
    shown = enlarged(VISIBLE, stride)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    found = []
    for other in (
        images,
        images.where(shown, 1e4 * torch.randn(2, 3, size, size)),
        images.where(shown, torch.inf),
    ):
        model.load_state_dict(state)
        torch.manual_seed(0)  # dropped paths
        maps = feature_maps(model, other, VISIBLE)
        assert all(x.any() for x in maps)
        assert not any(x.masked_select(~enlarged(VISIBLE, x.shape[-1] // 2)).any() for x in maps)
        found.append([*maps, *model.buffers()])
    for changed in found[1:]:
        assert all(torch.equal(one, other) for one, other in zip(found[0], changed, strict=True))
    seen = feature_maps(model, images.where(~shown, 0), VISIBLE)
    assert not torch.equal(seen[-1], found[0][len(seen) - 1])


@pytest.mark.parametrize("name", EXACT)
def test_what_stands_at_hidden_places_of_any_map_changes_nothing(name: str) -> None:
    model, stride = made(name)
    assert not leaks(model, 2 * stride, (2, 2))


@pytest.mark.parametrize("name", ["gcresnext26ts", "edgenext_xx_small", "lambda_resnet26t"])
def test_attention_over_places_is_found_out(name: str) -> None:
    model, stride = made(name)
    assert leaks(model, 2 * stride, (2, 2))


def test_a_trial_leaves_the_network_and_the_generator_as_they_were() -> None:
    model, stride = made("resnet10_small")
    before = {key: value.clone() for key, value in model.eval().state_dict().items()}
    state = torch.get_rng_state()
    leaks(model, 2 * stride, (2, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def pixels(shift: float, n: int = 2, channels: int = 3, side: int = 8) -> Tensor:
    """sin(.9 i + 1.7 j + .31 i j + 2.3 n + 1.1 c + shift)."""
    return torch.stack([wave(shift + 1.1 * c, n, side, side) for c in range(channels)], dim=1)


def two_layers() -> nn.Sequential:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 5, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(5),
        nn.ReLU(),
    ).double()
    state = {"0.weight": 0.4 * pixels(0.5, 4, 3, 3), "3.weight": 0.4 * pixels(1.4, 5, 4, 3)}
    state["0.bias"] = torch.tensor([0.1, -0.2, 0.3, -0.4]).double()
    network.load_state_dict(state, strict=False)
    return network


def test_two_layers_give_the_published_codes_numbers() -> None:
    network: Any = two_layers()
    with Masked(network, VISIBLE, 8):
        found = network(pixels(0.2)).detach() * enlarged(VISIBLE, 2)
    assert float(found.sum()) == pytest.approx(23.841467790, abs=1e-8)
    assert float(found.square().sum()) == pytest.approx(30.254467062, abs=1e-8)
    assert float(found[1, 2, 0, 2]) == pytest.approx(0.538482454, abs=1e-9)
    mean, variance = network[1].running_mean.tolist(), network[1].running_var.tolist()
    assert mean == pytest.approx([0.014735356, -0.025612561, 0.032743674, -0.038043527], abs=2e-9)
    assert variance == pytest.approx([1.251005894, 1.236905753, 1.238673620, 1.252377220], abs=1e-9)


def test_norms_and_means_are_of_the_visible_places_alone() -> None:
    images, shown = pixels(0.3, 2, 4) - 3, enlarged(VISIBLE, 4)  # all below 0, which hidden places are not
    norm, group = nn.BatchNorm2d(4).double(), nn.GroupNorm(2, 4).double()
    for each in (norm, group):
        nn.init.uniform_(each.weight)
        nn.init.uniform_(each.bias)
    with Masked(norm, VISIBLE, 8):
        normed, grouped = norm(images), group(images)
        mean, last = images.mean((2, 3)), images.movedim(1, 3).mean((1, 2), keepdim=True)
        most, length, total = images.amax((-2, -1)), images.norm(dim=(2, 3)), images.sum(dim=(2, 3))
    one = [images[k].masked_select(shown[k]).view(4, -1) for k in range(2)]
    both = torch.cat(one, 1).T
    listed = nn.functional.batch_norm(both, None, None, norm.weight, norm.bias, training=True)
    torch.testing.assert_close(normed.movedim(1, 0).masked_select(shown.movedim(1, 0)).view(4, -1).T, listed)
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * both.var(0))
    for k, values in enumerate(one):
        alone = nn.functional.group_norm(values[None], 2, group.weight, group.bias)[0]
        torch.testing.assert_close(grouped[k].masked_select(shown[k]).view(4, -1), alone)
        torch.testing.assert_close(mean[k], values.mean(1))
        torch.testing.assert_close(last[k, 0, 0], values.mean(1))
        torch.testing.assert_close(most[k], values.amax(1))
        torch.testing.assert_close(length[k], values.norm(dim=1))
        torch.testing.assert_close(total[k], values.sum(1))


def test_a_padded_map_is_not_taken_for_one_of_its_size() -> None:
    """The place that is seen is moved to where a map of that size has a hidden one."""
    with Masked(nn.Identity(), cells(1, (0, 0, 0)), 4):
        padded = nn.functional.pad(torch.ones(1, 1, 2, 2), (2, 0, 2, 0))
        found = nn.functional.conv2d(padded, torch.ones(1, 1, 3, 3))
    assert found.flatten().tolist() == [1, 1, 1, 1]


def test_gradients_are_those_of_a_list_of_visible_places() -> None:
    images, shown = pixels(0.3, 2, 4).requires_grad_(), enlarged(VISIBLE, 4)
    norm, weights = nn.BatchNorm2d(4).double(), pixels(1.7, 2, 4)
    with Masked(norm, VISIBLE, 8):
        value = (norm(images) * weights * shown).sum()
    (ours,) = torch.autograd.grad(value, images)
    both = images.movedim(1, 0).masked_select(shown.movedim(1, 0)).view(4, -1).T
    listed = nn.functional.batch_norm(both, None, None, training=True)
    by = weights.movedim(1, 0).masked_select(shown.movedim(1, 0)).view(4, -1).T
    (expected,) = torch.autograd.grad((listed * by).sum(), images)
    torch.testing.assert_close(ours, expected)


def test_everything_visible_is_the_plain_network() -> None:
    model, stride = made("seresnext26d_32x4d")
    images, state = torch.randn(2, 3, 2 * stride, 2 * stride), model.state_dict()
    state = {key: value.clone() for key, value in state.items()}
    plain = feature_maps(model, images)
    model.load_state_dict(state)
    for one, other in zip(feature_maps(model, images, cells(2).logical_not()), plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_synchronised_norms_are_of_the_visible_places_of_all_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of two that hold the same images: what one process finds in the images taken twice."""
    monkeypatch.setattr("selfsup.backbones.masked.all_reduce_sum", lambda x: 2 * x)
    images, networks = pixels(0.2), (nn.SyncBatchNorm.convert_sync_batchnorm(two_layers()), two_layers())
    for network, times in zip(networks, (1, 2), strict=True):
        with Masked(network, VISIBLE.repeat(times, 1, 1), 8):
            found = network(images.repeat(times, 1, 1, 1))
        (found * enlarged(VISIBLE, 2).repeat(times, 1, 1, 1)).square().sum().backward()
        assert all(module.training for module in network)
    for ours, expected in zip(
        networks[0].state_dict().values(), networks[1].state_dict().values(), strict=True
    ):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-14)
    for one, other in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        assert one.grad is not None
        torch.testing.assert_close(2 * one.grad, other.grad, rtol=1e-9, atol=1e-12)
