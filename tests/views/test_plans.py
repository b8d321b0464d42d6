"""The plans of configs/views: what the papers say, and that any method takes any of them."""

from functools import cache
from typing import Any

import pytest
import torch

from selfsup.build import make_encoder, make_method
from selfsup.config import load_config, options
from selfsup.errors import UsageError
from selfsup.views import view_kinds
from tests.methods.building import composed, fitting

METHODS, PLANS = options("method"), options("views")
SMALL = (
    "native_views=false",
    "data.image_size=32",
    "backbone.model_args.depth=1",
    "backbone.model_args.embed_dim=32",
    "backbone.model_args.num_heads=2",
    "backbone.model_args.patch_size=4",
)
# Methods that mask views of the encoder's own size.
MASKED = ("capi", "data2vec", "gmml", "jepa", "mae", "semaim", "simmim", "spark", "stop")
FEWEST = dict.fromkeys(("diet", "look", "supcon", "supervised"), 1)  # views, where not two


@cache
def kinds(plan: str, *overrides: str) -> dict[str, dict[str, Any]]:
    return view_kinds(load_config("train", [f"views={plan}", *overrides])["views"])


# Over the methods, each plan has its turn.
PAIRS = [(method, PLANS[number % len(PLANS)]) for number, method in enumerate(METHODS)]


@pytest.mark.parametrize(("method", "plan"), PAIRS)
def test_any_method_takes_any_plan_or_says_why_not(method: str, plan: str) -> None:
    config = composed(*fitting(f"method={method}", f"views={plan}", *SMALL))
    encoder = make_encoder(config)
    chosen = view_kinds(config["views"]).values()
    views = sum(kind["count"] for kind in chosen)
    one_size = len({kind["size"] for kind in chosen}) == 1
    if not one_size if method in MASKED else views < FEWEST.get(method, 2):
        with pytest.raises(UsageError, match=r"^[^\n]*; take views=\w+$") as refused:
            make_method(config, encoder, devices=1)
        assert str(refused.value).rpartition("=")[2] in PLANS
        return
    module = make_method(config, encoder, devices=1)
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    batch = module.batch({"image": images, "index": torch.arange(8), "label": torch.arange(8) % 3})
    assert len(batch.views) == views
    loss = module.loss(batch).loss
    loss.backward()
    assert torch.isfinite(loss)
    assert any(p.grad is not None for p in encoder.parameters())


PHOTOGRAPHS = ("data=stl10", "data.image_size=224")


def test_the_asymmetric_plans_are_byols() -> None:
    for name in ("byol", "barlow"):
        first, second = kinds(name, *PHOTOGRAPHS).values()
        assert (first["blur"], second["blur"]) == (1.0, pytest.approx(0.1))
        assert (first["solarize"], second["solarize"]) == (0.0, 0.2)
        for kind in (first, second):
            strengths = [
                kind[key] for key in ("jitter", "brightness", "contrast", "saturation", "hue", "grey")
            ]
            assert strengths == [0.8, 0.4, 0.4, 0.2, 0.1, 0.2]
            assert (kind["sigma"], kind["recipe_size"]) == ([0.1, 2.0], 224)


def test_the_symmetric_plans_differ_in_their_jitter() -> None:
    keys = ("count", "jitter", "brightness", "contrast", "saturation", "hue", "grey", "blur", "solarize")
    found = {name: [kinds(name, *PHOTOGRAPHS)["each"][key] for key in keys] for name in ("simclr", "moco")}
    assert found == {
        "simclr": [2, 0.8, 0.8, 0.8, 0.8, 0.2, 0.2, 0.5, 0.0],
        "moco": [2, 0.8, 0.4, 0.4, 0.4, 0.1, 0.2, 0.5, 0.0],
    }


def test_dinos_small_crops_are_the_parts_its_large_crops_are_not() -> None:
    plan = kinds("dino", *PHOTOGRAPHS, "data.min_area=0.05")
    assert [kind["scale"] for kind in plan.values()] == [[0.4, 1.0], [0.4, 1.0], [0.05, 0.4]]
    assert [kind["blur"] for kind in plan.values()] == [1.0, pytest.approx(0.1), 0.5]
    assert (plan["small"]["recipe_size"], round(plan["small"]["size"] * 224)) == (96, 96)


@pytest.mark.parametrize("data", ["cifar10", "digits"])
@pytest.mark.parametrize("plan", PLANS)
def test_small_images_are_not_blurred(plan: str, data: str) -> None:
    assert {kind["blur"] for kind in kinds(plan, f"data={data}").values()} == {0.0}


@pytest.mark.parametrize(("small", "large"), [("simclr_small", "simclr"), ("dino_small", "dino")])
def test_small_variants_have_the_kinds_of_the_plan_they_vary(small: str, large: str) -> None:
    assert list(kinds(small)) == list(kinds(large))
    assert kinds(small) != kinds(large)


@pytest.mark.parametrize("plan", PLANS)
def test_every_number_can_be_set(plan: str) -> None:
    other = {
        name: {
            key: [0.2, 0.9] if isinstance(value, list) else 3 if key in ("count", "recipe_size") else 0.7
            for key, value in kind.items()
            if not isinstance(value, str)
        }
        for name, kind in kinds(plan).items()
    }
    settings = [
        f"views.{name}.{key}={value}".replace(" ", "")
        for name, kind in other.items()
        for key, value in kind.items()
    ]
    expected = {name: {**kind, **other[name]} for name, kind in kinds(plan).items()}
    assert kinds(plan, *settings) == expected


def test_a_probability_stays_one() -> None:
    assert kinds("byol", "data.blur=0.9")["first"]["blur"] == 1.0
