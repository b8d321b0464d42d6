"""What methods need of the training data, refused before anything is made."""

import pytest

from selfsup.build import count_samples
from selfsup.errors import UsageError
from tests.methods.building import composed

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
