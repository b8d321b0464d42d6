"""The names that timm builds, found without it, are those that it builds."""

import pytest
from timm.models import _registry, is_model

from selfsup.backbone_names import current_name, require_timm_name, timm_names
from selfsup.backbones import small_stem  # noqa: F401  (registers its models)
from selfsup.errors import UsageError


def test_every_name_that_timm_builds_is_accepted_and_no_other() -> None:
    deprecated = _registry.get_deprecated_models()
    for name in [*_registry._model_entrypoints, "resnet18.a1_in1k"]:
        if deprecated.get(name, name) is not None:
            require_timm_name(name)
            assert is_model(current_name(name))
            assert current_name(name) == (deprecated.get(name) or name)
    assert timm_names() == _registry._model_entrypoints.keys() - deprecated.keys()


def test_a_tag_of_ones_own_stays() -> None:
    assert current_name("swin_base_patch4_window7_224_in22k.mine").endswith(".mine")


def test_a_name_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfsup.backbone_names._renamed", lambda: {"gone_net": None})
    with pytest.raises(UsageError, match="timm has removed 'gone_net'"):
        require_timm_name("gone_net")


@pytest.mark.parametrize("name", ["timm:resnet18", "timm/resnet18.a1_in1k", "hf-hub:timm/resnet18.a1_in1k"])
def test_a_prefix_is_no_reason_not_to_see_what_is_meant(name: str) -> None:
    with pytest.raises(UsageError, match=r"did you mean .*'resnet18'"):
        require_timm_name(name)
