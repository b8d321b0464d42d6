from typing import Any

import pytest
import torch

from selfsup.objectives import cross_entropy, diet, floors, look, relation_pairs, relational, view_batch

from .declarations import CLASSES, THREE, Z1, Z2, wave


def test_diet_of_a_view_that_is_known_falls_and_of_one_that_is_sure_rises_again() -> None:
    """The smoothed label keeps the logits bounded."""
    losses = [float(diet(scale * torch.eye(50), torch.arange(50))) for scale in (0, 1, 2, 3, 20)]
    assert losses[0] == pytest.approx(floors.diet(50), abs=1e-5)
    assert losses[0] > losses[1] > losses[2] > floors.diet_least(50)
    assert losses[4] > losses[0]


def test_without_smoothing_the_least_is_nothing() -> None:
    assert floors.diet_least(50, 0.0) == 0
    assert float(diet(100 * torch.eye(50), torch.arange(50), smoothing=0.0)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": torch.ones(4)}, r"logits must have the shape \(N, C\)"),
        ({"index": torch.arange(3)}, r"index must be int64 of the shape \(4,\), got torch.int64 \(3,\)"),
        ({"index": torch.arange(4).int()}, r"index must be int64 of the shape \(4,\), got torch.int32"),
        ({"index": torch.tensor([0, 1, 2, 5])}, "index must be from 0 to 4, got 5"),
        ({"index": torch.tensor([0, 1, -1, 4])}, "index must be from 0 to 4, got -1"),
        ({"smoothing": 1.0}, "smoothing must be below 1, got 1.0"),
        ({"smoothing": -0.1}, "smoothing must be at least 0, got -0.1"),
        ({"logits": torch.ones(0, 5), "index": torch.ones(0).long()}, "logits must hold at least one view"),
    ],
)
def test_diet_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        diet(**{"logits": torch.ones(4, 5), "index": torch.arange(4), **change})


@pytest.mark.parametrize(
    ("settings", "value", "norm", "first"),
    [
        ({}, 0.172759756, 0.030334783, 0.000554357),
        ({"gamma": 0.0, "alpha": 1.0}, 0.813009424, 0.042617404, 0.000958192),
    ],
    ids=["focal", "cross-entropy"],
)
def test_the_published_pairs_and_loss(
    settings: dict[str, float], value: float, norm: float, first: float
) -> None:
    """By a linear head; the third view is another image's."""
    z = Z1.clone().requires_grad_()
    pairs = relation_pairs(torch.stack([z, Z2, wave(4, 12, 6)]))
    loss = relational(*(each @ wave(0.5, 12, 1) for each in pairs), **settings)
    (gradient,) = torch.autograd.grad(loss, z)
    assert float(loss.detach()) == pytest.approx(value, abs=1e-9)
    assert float(gradient.norm()) == pytest.approx(norm, abs=1e-9)
    assert float(gradient[0, 0]) == pytest.approx(first, abs=1e-9)


@pytest.mark.parametrize(("views", "samples"), [(2, 2), (3, 2), (4, 3), (4, 12)])
def test_pairs_are_of_one_sample_or_of_two(views: int, samples: int) -> None:
    view = torch.arange(views).repeat_interleave(samples).view(views, samples)
    sample = torch.arange(samples).expand(views, -1)
    alike, unlike = relation_pairs(torch.stack([view, sample], dim=2).double())
    assert alike.shape == unlike.shape == (views * (views - 1) // 2, samples, 4)
    for pairs in (alike, unlike):  # of every two views
        assert sorted({(int(a), int(b)) for a, _, b, _ in pairs.flatten(0, 1)}) == [
            (a, b) for a in range(views) for b in range(a + 1, views)
        ]
    assert torch.equal(alike[..., 1], alike[..., 3])
    assert not (unlike[..., 1] == unlike[..., 3]).any()


@pytest.mark.parametrize("shape", [(1, 4, 3), (3, 1, 3)])
def test_pairs_need_two_views_of_two_samples(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"at least two views of two samples, got {shape[0]} of {shape[1]}"):
        relation_pairs(torch.ones(shape))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unlike": torch.ones(3)}, "unlike must have the shape of alike"),
        ({"gamma": -1.0}, "gamma must be at least 0"),
        ({"alpha": 0.0}, "alpha must be above 0"),
        ({"alike": torch.ones(0), "unlike": torch.ones(0)}, "alike must hold at least one pair"),
    ],
)
def test_relational_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        relational(**{"alike": torch.ones(4), "unlike": torch.ones(4), **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": torch.ones(4)}, r"logits must have the shape \(N, C\)"),
        ({"labels": torch.arange(3)}, r"labels must be int64 of the shape \(4,\), got torch.int64 \(3,\)"),
        ({"labels": torch.tensor([0, 1, 2, 5])}, "labels must be from 0 to 4, got 5"),
        ({"labels": torch.tensor([0, 1, -1, 4])}, "labels must be from 0 to 4, got -1"),
        ({"smoothing": 1.0}, "smoothing must be below 1, got 1.0"),
    ],
)
def test_cross_entropy_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cross_entropy(**{"logits": torch.ones(4, 5), "labels": torch.arange(4), **change})


def test_a_smoothed_label_that_is_predicted_has_the_least_loss() -> None:
    label = torch.full((10, 10), 0.01).double() + 0.9 * torch.eye(10)
    loss = cross_entropy(label.log(), torch.arange(10), smoothing=0.1)
    assert float(loss) == pytest.approx(floors.cross_entropy_least(10, 0.1), abs=1e-12)


def test_two_views_diverge_as_published() -> None:
    assert float(view_batch(CLASSES[:2])) == pytest.approx(0.049050102, abs=1e-9)


@pytest.mark.parametrize("shape", [(1, 4, 3), (3, 0, 3), (4, 3)])
def test_view_batch_refuses_fewer_than_two_views_of_a_sample(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"logits must (hold at least two views|have the shape)"):
        view_batch(torch.ones(shape))


@pytest.mark.parametrize("k", [11, 12, 500])
def test_all_neighbours_are_those_there_are(k: int) -> None:
    """The loss of neighbourhood components analysis: the probability of one's own class, without a limit."""
    labels = torch.arange(12) % 3
    unit = Z1 / Z1.norm(dim=1, keepdim=True)
    near = (unit @ unit.T / 0.1).exp() * (1 - torch.eye(12))
    own = (near * (labels[:, None] == labels)).sum(1) / near.sum(1)
    assert float(look(Z1, labels, k)) == pytest.approx(float(-own.log().mean()), abs=1e-12)


def test_the_nearest_of_ones_class_counts_where_none_is_among_the_neighbours() -> None:
    z = torch.tensor([[1.0, 0], [1, 0.1], [0, 1]]).double().requires_grad_()
    loss = look(z, torch.tensor([0, 1, 0]), k=1, temperature=1.0)
    near = torch.cosine_similarity(z[[0, 0]], z[[1, 2]]).detach()
    back = torch.cosine_similarity(z[[2, 2]], z[[0, 1]]).detach()
    expected = (near.logsumexp(0) - near[1] + back.logsumexp(0) - back[0]) / 2
    assert loss.item() == pytest.approx(float(expected), abs=1e-9)
    assert torch.autograd.grad(loss, z)[0].isfinite().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"z": THREE}, r"z must have the shape \(N, D\)"),
        ({"labels": torch.arange(3)}, r"labels must have the shape \(12,\), got \(3,\)"),
        ({"labels": torch.arange(12).int()}, "labels must be int64"),
        ({"k": 0}, "k must be above 0"),
        ({"temperature": 0.0}, "temperature must be above 0"),
    ],
)
def test_look_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        look(**{"z": Z1, "labels": torch.arange(12), **change})
