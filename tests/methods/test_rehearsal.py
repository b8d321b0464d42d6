"""What a step on two images shows before a run: what is not trained, and what of a teacher draws."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from selfsup.build import make_encoder, make_method
from selfsup.config import load_config, options
from selfsup.encoder import Encoder
from selfsup.errors import UsageError
from selfsup.methods.base import Method
from selfsup.methods.rehearsal import rehearse
from tests.methods.building import SMALL, batch_of, composed, fitting


def setting(**model_args: Any) -> list[str]:
    return [f"++backbone.model_args.{key}={value}" for key, value in model_args.items()]


def built(name: str, *overrides: str, encoder: Encoder | None = None) -> Method:
    given = [f"method={name}", *SMALL, *overrides]
    given = [each.removeprefix("++") for each in given]
    config = composed(*fitting(*given))
    return make_method(config, encoder or make_encoder(config), devices=1)


def without_gradient(method: Method) -> list[str]:
    method.loss(batch_of(method)).loss.backward()
    return [key for key, p in method.named_parameters() if p.requires_grad and p.grad is None]


TOKEN_MODELS: list[dict[str, Any]] = [
    {"fc_norm": "true"},
    {"class_token": "true", "global_pool": "avg"},
    {"class_token": "true", "global_pool": "token", "reg_tokens": 2},
    {"global_pool": "max", "fc_norm": "true", "init_values": 0.1},
    {"global_pool": "avgmax", "qk_norm": "true", "pre_norm": "true"},
    {"final_norm": "false", "class_token": "true", "no_embed_class": "true"},
]


@pytest.mark.parametrize("number", range(len(TOKEN_MODELS)))
def test_whatever_is_trained_gets_a_gradient(number: int) -> None:
    """Of each method in one of the models; over the methods each model has its turn."""
    transformed = [name for name in options("method") if SMALL[0] in fitting(f"method={name}", *SMALL)]
    names = transformed[number :: len(TOKEN_MODELS)]
    arguments = setting(**TOKEN_MODELS[number])
    assert {name: without_gradient(built(name, *arguments)) for name in names} == {name: [] for name in names}


@pytest.mark.parametrize("name", options("method"))
def test_nothing_of_a_default_method_is_frozen(name: str) -> None:
    method = built(name)
    teachers = ("teacher", "decoder.pos_embed", "predictor.decoder.", "head.last_layer.weight_g")
    teachers += ("patch_teacher", "patch_head.last_layer.weight_g")
    frozen = [k for k, p in method.named_parameters() if not p.requires_grad and not k.startswith(teachers)]
    assert frozen == (["encoder.model.pos_embed"] if method.encoder.has_tokens else [])  # sine and cosine
    assert method.untrained == []


@pytest.mark.parametrize("name", ["mae", "jepa"])
def test_a_norm_that_only_pooled_features_use_is_frozen_and_named(name: str) -> None:
    method = built(name, *setting(fc_norm="true"))
    assert method.untrained == ["encoder.model.fc_norm.weight", "encoder.model.fc_norm.bias"]
    norm: Any = method.encoder.model.fc_norm
    assert not norm.weight.requires_grad
    trained = {id(p) for group in method.configure_optimizers().param_groups for p in group["params"]}
    assert id(norm.weight) not in trained


@pytest.mark.parametrize("name", ["mae", "jepa"])
def test_a_pooling_with_weights_that_are_not_trained_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"does not train 'encoder\.model\.attn_pool.*global_pool=avg"):
        built(name, *setting(global_pool="map"))
    assert built(name, *setting(global_pool="avg", fc_norm="false")).untrained == []
    assert without_gradient(built("simclr", *setting(global_pool="map"))) == []


@pytest.mark.parametrize("name", ["dino", "barlow"])
def test_rehearsing_leaves_no_trace(name: str) -> None:
    method = built(name, *setting(drop_path_rate=0.2))
    before = {key: value.clone() for key, value in method.state_dict().items()}
    states = torch.get_rng_state(), repr(np.random.get_state())  # noqa: NPY002
    rehearse(method, name)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert repr(np.random.get_state()) == states[1]  # noqa: NPY002
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items())
    assert all(p.grad is None for p in method.parameters())
    assert "loss" not in method.of_step
    assert "center" not in method.of_step


def test_a_network_that_cannot_be_trained_is_one_sentence() -> None:
    encoder = make_encoder(load_config("train", ["method=simclr", *SMALL]))
    encoder.model.norm = nn.Sequential(encoder.model.norm, Broken())
    with pytest.raises(UsageError, match=r"simclr cannot train backbone 'vit_tiny.*24 px \(no such pass"):
        built("simclr", encoder=encoder)


class Broken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            raise RuntimeError("no such\npass")
        return x


class Functional(nn.Module):
    """Draws by itself, and is of no class that anybody could have listed."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, 0.5, self.training)


class Numpy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * float(np.random.uniform(0.5, 1.5)) if self.training else x  # noqa: NPY002


class Always(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


def teaching(method: Method) -> Tensor:
    """What the teacher says of a batch."""
    teacher: Any = method.average()
    images = batch_of(method).views[0]
    with torch.no_grad():
        if method.encoder.has_tokens:
            return torch.cat([teacher.tokens(images).flatten(1), teacher(images)], dim=1)
        return teacher(images)


def require_quiet(method: Method) -> None:
    teacher: Any = method.average()
    method.train()
    teacher.eval()
    teacher.train()  # as whoever looks at an encoder gives it back
    first = teaching(method)
    assert torch.equal(first, teaching(method))
    for module in teacher.modules():  # as Lightning restores modes
        module.training = True
    assert torch.equal(first, teaching(method))
    with torch.no_grad():
        images = batch_of(method).views[0]
        assert not torch.equal(method.encoder(images), method.encoder(images))  # the student's stays


RATES = ("drop_path_rate", "proj_drop_rate", "attn_drop_rate", "pos_drop_rate")


@pytest.mark.parametrize(
    ("name", "rate"),
    [*product(("dino", "jepa"), RATES), ("dino", "patch_drop_rate"), ("dino", "drop_rate")],
)
def test_a_teacher_gives_one_answer_to_a_batch(name: str, rate: str) -> None:
    require_quiet(built(name, *setting(**{rate: 0.5})))


@pytest.mark.parametrize("name", ["dino", "jepa"])
@pytest.mark.parametrize("noise", [Functional, Numpy, nn.RReLU])
def test_any_module_that_draws_is_quiet_in_a_teacher(name: str, noise: type[nn.Module]) -> None:
    encoder = make_encoder(load_config("train", [f"method={name}", *SMALL]))
    encoder.model.norm = nn.Sequential(encoder.model.norm, noise())
    require_quiet(built(name, encoder=encoder))


def test_noise_that_cannot_be_switched_off_is_refused() -> None:
    encoder = make_encoder(load_config("train", ["method=dino", *SMALL]))
    encoder.model.norm = nn.Sequential(encoder.model.norm, Always())
    with pytest.raises(UsageError, match=r"draws random numbers in evaluation mode too \(in its Always\)"):
        built("dino", encoder=encoder)


def test_batch_norms_of_a_teacher_go_on_using_the_batch() -> None:
    noisy = ("backbone.model_args.drop_path_rate=0.5", "backbone.model_args.zero_init_last=false")
    config = load_config("train", ["method=dino", "backbone=resnet10", *noisy])
    method = make_method(config, make_encoder(config), devices=1)
    require_quiet(method)
    teacher: Any = method.average()
    before = {key: value.clone() for key, value in teacher.state_dict().items() if "running_mean" in key}
    halves = torch.cat([teacher(half) for half in batch_of(method).views[0].chunk(2)])
    assert not torch.allclose(halves, teacher(batch_of(method).views[0]), atol=1e-3)
    assert all(not torch.equal(value, teacher.state_dict()[key]) for key, value in before.items())


@pytest.mark.parametrize("name", ["byol", "simsiam"])
def test_batch_norms_refuse_one_image_at_a_time_before_the_run(name: str) -> None:
    with pytest.raises(UsageError, match=r"cannot learn from one image .*batch_size=2 or more"):
        built(name, "batch_size=1")


def test_a_method_without_batch_norms_takes_one_image_at_a_time() -> None:
    assert built("mae", "batch_size=1").batch_size == 1
