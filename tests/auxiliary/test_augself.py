"""AugSelf: the differences that it tells, one view pair at a time by hand, and what it leaves out."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from selfsup.errors import UsageError
from selfsup.objectives.precision import finite_or_not
from tests.methods.building import batch_of, build

ALL = ("auxiliary=[augself]", *(f"auxiliary.augself.{key}=0.5" for key in ("crop", "flip", "colour", "blur")))
COLOURED = ("data.colour=0.8", "data.blur=0.5", "data.mirror=0.5")


def made(*settings: str) -> Any:
    return build("method=simclr", *ALL, *COLOURED, *settings).eval()


def by_hand(name: str, plan: Any, one: dict[str, Any], other: dict[str, Any]) -> list[float]:
    """The target of one sample, in the code's own words: boxes, then their centres, then the difference."""
    kind = plan.views[0]
    if name == "flip":
        return [1.0 if one["mirror"] == other["mirror"] else 0.0]
    if name == "blur":
        return [(one["sigma"] - other["sigma"]) / (kind.sigma[1] * plan.sizes[0][0] / kind.recipe_size)]
    if name == "colour":
        ranges = [2 * kind.brightness, 2 * kind.contrast, 2 * kind.saturation, 2 * kind.hue]
        return [(a - b) / r for a, b, r in zip(one["jitter"], other["jitter"], ranges, strict=True)]
    places = []
    for view in (one, other):
        top, left, height, width = view["box"]
        across = left + width / 2
        places.append([top + height / 2, 1 - across if one["mirror"] else across, height, width])
    return [a - b for a, b in zip(*places, strict=True)]


@pytest.mark.parametrize("name", ["crop", "flip", "colour", "blur"])
def test_each_loss_is_that_of_targets_by_hand(name: str) -> None:
    method = made()
    module, batch = method.auxiliary["augself"], batch_of(method)
    drawn = [batch.drawn(k) for k in (0, 1)]
    features = [method.encoder(view) for view in batch.views]
    terms = []
    for i, j in ((0, 1), (1, 0)):
        told = module.heads[name](torch.cat([features[i], features[j]], dim=1))
        for n in range(8):
            samples = [{key: value[n].tolist() for key, value in drawn[k].items()} for k in (i, j)]
            target = torch.tensor(by_hand(name, method.views, *samples))
            if name == "flip":
                terms.append(F.binary_cross_entropy_with_logits(told[n], target))
            else:
                terms.append((told[n].tanh() - target).square().mean())
    module.weights = {name: 0.5}
    torch.testing.assert_close(module(batch, features), 0.5 * torch.stack(terms).mean())


def test_the_weighted_losses_add_up() -> None:
    method = made()
    module, batch = method.auxiliary["augself"], batch_of(method)
    features = [method.encoder(view) for view in batch.views]
    whole, parts, added = module(batch, features), [], method(batch).scalars["augself"]
    assert module.weights == dict.fromkeys(("crop", "flip", "colour", "blur"), 0.5)
    for name in dict(module.weights):
        module.weights = {name: 0.5}
        parts.append(module(batch, features))
    torch.testing.assert_close(whole, torch.stack(parts).sum())
    torch.testing.assert_close(added, whole.detach())


def test_targets_lie_where_tanh_reaches_and_two_views_alike_have_none() -> None:
    method = made()
    module = method.auxiliary["augself"]
    index = torch.arange(2000)
    one, other = (method.views.drawn(k, index, 0, 8, 8) for k in (0, 1))
    for name in ("crop", "colour", "blur"):
        target = module.target(name, one, other)
        assert 0.1 < float(target.abs().max()) <= 1 + 1e-5
        assert not module.target(name, one, one).any()
    assert module.target("flip", one, one).all()


def test_what_no_view_has_is_left_out() -> None:
    method = build("method=simclr", *ALL)  # digits: no mirroring, no colours, no blur
    assert set(method.auxiliary["augself"].heads) == {"crop"}
    with pytest.raises(UsageError, match="nothing to tell"):
        build("method=simclr", *ALL, "data.min_area=1")


def test_channels_that_are_not_colours_have_their_own_factors() -> None:
    plain = ("data.channels=2", "data.mean=[0.5,0.5]", "data.std=[0.2,0.2]", "data.colour=0.8")
    method = build("method=simclr", *ALL, *plain)
    module, index = method.auxiliary["augself"], torch.arange(50)
    one, other = (method.views.drawn(k, index, 0, 8, 8) for k in (0, 1))
    kind = method.views.views[0]
    (difference,) = module.target("colour", one, other)[3:4]
    factors = (one["channels"] - other["channels"])[3]
    strengths = torch.tensor([[kind.brightness] * 2, [kind.contrast] * 2])
    torch.testing.assert_close(difference, (factors / (2 * strengths)).flatten())


def test_all_pairs_of_several_views_count_alike() -> None:
    method = made("views.each.count=3")
    module, batch = method.auxiliary["augself"], batch_of(method)
    features = [method.encoder(view) for view in batch.views]
    pairs = [module(batch.only([i, j]), [features[i], features[j]]) for i, j in ((0, 1), (0, 2), (1, 2))]
    torch.testing.assert_close(module(batch, features), torch.stack(pairs).mean())


def test_features_of_one_view_are_refused() -> None:
    with pytest.raises(UsageError, match="and the method gives those of one; take method=simclr"):
        build("method=diet", "auxiliary=[augself]")


def test_views_of_two_images_are_refused() -> None:
    with pytest.raises(UsageError, match="compares views of one image"):
        build("method=barlow", "auxiliary=[augself]", "views.second.of=pair", "positives=labels")


def test_a_diverged_run_gives_what_is_not_a_number() -> None:
    method = made()
    batch = batch_of(method)
    features = [method.encoder(view) * torch.nan for view in batch.views]
    with finite_or_not():
        assert method.auxiliary["augself"](batch, features).isnan()
