"""What methods need of the training data, refused before anything is made."""

import pytest

from selfsup.build import count_samples, make_encoder, make_method
from selfsup.config import options
from selfsup.errors import UsageError
from tests.methods.building import batch_of, composed

SHARED = {
    "swav": "prototypes.count=",
    "capi": "prototypes=",
    "msn": "prototypes=",
    "dinov2": "head.out=",
    "ibot method.centering=sinkhorn": "head.out=",
    "dino method.centering=sinkhorn": "head.out=",
}


@pytest.mark.parametrize("method", SHARED)
def test_images_are_shared_out_among_no_more_prototypes_than_there_are_images(method: str) -> None:
    config, setting = composed(*f"method={method}".split()), SHARED[method]
    config["method"]["prototypes" if "prototypes" in config["method"] else "head"] = {
        "prototypes=": 40,
        "prototypes.count=": {"count": 40},
        "head.out=": {"out": 40},
    }[setting]
    count_samples(config, 40)
    with pytest.raises(UsageError, match=f"method.{setting}9 or fewer"):
        count_samples(config, 39)


def test_running_means_need_no_more_images_than_prototypes() -> None:
    count_samples(composed("method=dino"), 1)


OF_TOKENS = [
    name
    for name in options("method")
    if any("tokens" in need for need in composed(f"method={name}")["method"]["requires"])
]
SMALL_ROTARY = ("patch_size=4", "embed_dim=48", "depth=2", "num_heads=2", "dynamic_img_size=true")
ROTARY = [f"backbone.model_args.{each}" for each in SMALL_ROTARY]


@pytest.mark.parametrize("backbone", ["vit_small_patch16_dinov3", "eva02_tiny_patch14_224"])
@pytest.mark.parametrize("name", OF_TOKENS)
def test_what_needs_tokens_trains_a_rotary_transformer(name: str, backbone: str) -> None:
    config = composed(f"method={name}", f"backbone={backbone}", *ROTARY)
    method = make_method(config, make_encoder(config), devices=1)
    method(batch_of(method)).loss.backward()
    learned = [p.grad for p in method.encoder.model.blocks.parameters() if p.requires_grad]
    assert all(grad is not None and grad.isfinite().all() for grad in learned)
