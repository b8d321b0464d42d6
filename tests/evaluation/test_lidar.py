import numpy as np
import pytest
import torch

from selfsup.evaluation import NoScore, lidar
from selfsup.evaluation.label_free.lidar import group_moments, too_few_images

from .toys import gaussian, views


def reference(features, groups, delta=1e-4):
    """The paper's formula in float64, with the inverse root spelled out."""
    z, groups = features.double().numpy(), groups.numpy()
    means = np.stack([z[groups == g].mean(0) for g in np.unique(groups)])
    away = np.concatenate([z[groups == g] - z[groups == g].mean(0) for g in np.unique(groups)])
    between = (means - means.mean(0)).T @ (means - means.mean(0)) / len(means)
    within = away.T @ away / len(away)
    within += delta * np.trace(within) / len(within) * np.eye(len(within))
    values, vectors = np.linalg.eigh(within)
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    p = np.linalg.eigvalsh(root @ between @ root).clip(0)
    p = p / p.sum() + 1e-7
    return np.exp(-(p * np.log(p)).sum())


@pytest.mark.parametrize(
    ("images", "count", "width", "informative"),
    [(80, 5, 24, 24), (200, 4, 32, 4), (60, 6, 16, 16), (20, 3, 30, 5)],
    ids=["isotropic", "few directions", "small", "fewer images than dimensions"],
)
def test_it_is_the_papers_formula(images, count, width, informative):
    features, groups = views(images, count, width, informative)
    assert lidar(features, groups) == pytest.approx(reference(features, groups), rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_precisions(dtype):
    features, groups = views(80, 5, 24, 8)
    features = features.to(dtype)
    assert lidar(features, groups) == pytest.approx(reference(features, groups), rel=1e-4)


def test_collapsed_features():
    features, groups = views(200, 6, 8, 8)
    features = features @ gaussian(8, 64, seed=3)
    assert lidar(features, groups) == pytest.approx(reference(features, groups), rel=1e-4)
    assert lidar(features, groups) < 9


def test_more_informative_directions_read_higher():
    found = [lidar(*views(400, 10, 64, r)) for r in (2, 8, 32)]
    assert 1.5 < found[0] < 4
    assert 6 < found[1] < 12
    assert 24 < found[2] < 40


@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_it_does_not_depend_on_the_scale(scale):
    features, groups = views(80, 5, 24, 8)
    assert lidar(scale * features, groups) == pytest.approx(lidar(features, groups), rel=1e-5)


def test_order_and_numbers_of_the_groups_do_not_matter():
    features, groups = views(60, 5, 16, 8)
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(1))
    assert lidar(features[order], 900 - 7 * groups[order]) == pytest.approx(lidar(features, groups), rel=1e-9)


@pytest.mark.parametrize("informative", [4, 32])
@pytest.mark.parametrize("count", [2, 10])
def test_wrong_groups_are_caught(informative, count):
    """[all first views; all second views; ...], grouped as if an image's views followed each other."""
    features, groups = views(300, count, 48, informative)
    by_view = features.view(300, count, 48).transpose(0, 1).reshape(-1, 48)
    shuffled = features[torch.randperm(len(features), generator=torch.Generator().manual_seed(0))]
    assert lidar(features, groups) == pytest.approx(informative, rel=0.5)
    for wrong in (by_view, shuffled):
        with pytest.raises(NoScore, match="no more alike"):
            lidar(wrong, groups)


def test_what_wrong_groups_would_have_read():
    """Nearly the width, however much the features know: why they have to be caught."""
    features, groups = views(300, 10, 48, 4)
    shuffled = features[torch.randperm(len(features), generator=torch.Generator().manual_seed(0))]
    assert reference(shuffled, groups) > 40


def test_groups_of_unequal_size():
    features, groups = views(90, 6, 16, 8)
    kept = torch.rand(len(groups), generator=torch.Generator().manual_seed(2)) < 0.8
    expected = reference(features[kept], groups[kept])
    assert lidar(features[kept], groups[kept]) == pytest.approx(expected, rel=1e-4)


def test_moments_of_disjoint_groups_add_up():
    features, groups = views(90, 4, 16, 8)
    parts = [group_moments(features[rows], groups[rows]) for rows in (slice(0, 40), slice(40, 360))]
    assert lidar(parts[0] + parts[1]) == pytest.approx(lidar(features, groups), rel=1e-9)


def test_a_group_of_one():
    features, groups = views(50, 3, 8, 4)
    groups[0] = 99
    with pytest.raises(NoScore, match="1 of 51 images have only one view"):
        lidar(features, groups)


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (torch.ones(20, 4), "same features"),
        (gaussian(5, 4).repeat_interleave(4, dim=0), "views of each image have the same features"),
        (torch.full((20, 4), torch.nan), "not finite"),
    ],
    ids=["constant", "no variation within", "nan"],
)
def test_features_that_say_nothing(features, words):
    with pytest.raises(NoScore, match=words):
        lidar(features, torch.arange(5).repeat_interleave(4))


def test_all_images_the_same():
    within = gaussian(4, 6)
    with pytest.raises(NoScore, match="all images have the same features"):
        lidar(within.repeat(30, 1), torch.arange(30).repeat_interleave(4))


def test_one_image_and_none():
    with pytest.raises(NoScore, match="there are 1"):
        lidar(gaussian(4, 3), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(NoScore, match="there are 0"):
        lidar(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))


@pytest.mark.parametrize("groups", [torch.zeros(3), torch.zeros(4), torch.zeros(4, 1, dtype=torch.int64)])
def test_groups_that_are_none(groups):
    with pytest.raises(ValueError, match="one whole number for each of 4 features"):
        lidar(gaussian(4, 3), groups)
    with pytest.raises(ValueError, match="groups say"):
        lidar(gaussian(4, 3))


def test_fewer_images_than_dimensions_are_flagged():
    assert too_few_images(33, 32) is None
    assert "bound LiDAR to 31" in too_few_images(32, 32)
