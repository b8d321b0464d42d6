"""LiDAR: effective rank of between-image against within-image variance."""

from dataclasses import dataclass

import torch
from torch import Tensor

from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.features.extract import Features
from selfsup.evaluation.features.moments import Moments, double_device, moments, real_matrix
from selfsup.evaluation.label_free.spectra import rounded
from selfsup.evaluation.registry import Positive
from selfsup.evaluation.score import Score


@dataclass(frozen=True)
class GroupMoments:
    """Moments of the groups' means, and of the samples' deviations from them; both add up.

    Attributes:
        centres: of one mean a group, whatever the group's size.
        deviations: of all samples.
    """

    centres: Moments
    deviations: Moments

    def __add__(self, other: "GroupMoments") -> "GroupMoments":
        return GroupMoments(self.centres + other.centres, self.deviations + other.deviations)


def group_moments(features: Tensor, groups: Tensor) -> GroupMoments:
    """Moments between and within groups. Those of disjoint *groups* add up; a group must be complete.

    Args:
        features: ``(N, D)``.
        groups: int64 ``(N,)``: which rows are views of one image. Any numbers, any order; groups may
            differ in size.

    Raises:
        NoScore: a group of one, or features that are not finite.
        ValueError: not as many groups as features.
    """
    features = real_matrix(features)
    index, sizes = numbered(groups, len(features))
    if (sizes == 1).any():
        raise NoScore(
            f"{int((sizes == 1).sum())} of {len(sizes)} images have only one view, "
            "and LiDAR compares views; draw at least two"
        )
    rows = features.to(double_device(features), torch.float64)
    index, sizes = index.to(rows.device), sizes.to(rows.device)
    means = rows.new_zeros(len(sizes), rows.shape[1]).index_add_(0, index, rows) / sizes[:, None]
    return GroupMoments(moments(means), moments(rows - means[index]))


def numbered(groups: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """Groups renumbered from 0 ``(N,)``, and the groups' sizes.

    Raises:
        ValueError: ``groups`` are not whole numbers, or not one for each sample.
    """
    if groups.shape != (samples,) or groups.is_floating_point() or groups.is_complex():
        raise ValueError(
            f"groups are one whole number for each of {samples} features, "
            f"not {groups.dtype} {tuple(groups.shape)}"
        )
    _, index, sizes = groups.unique(return_inverse=True, return_counts=True)
    return index, sizes


def lidar(
    features: Tensor | GroupMoments, groups: Tensor | None = None, delta: float = 1e-4, eps: float = 1e-7
) -> float:
    """LiDAR, the effective rank of linear discriminants (Thilak et al. 2024, arXiv:2312.04000).

    Each image is a class, its augmented views are the samples. With the covariance B of the images'
    means and W of the views about their image's mean, ``W' = W + delta tr(W) / D``, and the eigenvalues
    lambda of ``W'^-1/2 B W'^-1/2``: ``exp(-sum_k p_k log p_k)``, ``p_k = lambda_k / sum lambda + eps``. The
    paper's ``W + delta`` depends on the features' scale; this does not.

    Args:
        features: ``(N, D)``, or the :class:`GroupMoments` of all of them.
        groups: int64 ``(N,)``: which rows are views of one image. LiDAR cannot exceed the number of
            images less one: take more images than D (:func:`too_few_images`), and 10 views or so.
        delta: of the regulariser, as a share of the mean variance within images.
        eps: added to each share.

    Raises:
        NoScore: a single image, an image with a single view, views that are all the same; or views of an
            image that are no more alike than those of different images, as with wrong groups: LiDAR would
            then be nearly D for any features.

    Example:
        >>> axes = torch.eye(3)
        >>> images = torch.cat([4 * axes, -4 * axes]).repeat_interleave(6, dim=0)  # six views each
        >>> views = images + torch.cat([axes, -axes]).repeat(6, 1)
        >>> round(lidar(views, torch.arange(6).repeat_interleave(6)), 3)
        3.0
    """
    found = features
    if isinstance(found, Tensor):
        if groups is None:
            raise ValueError("lidar(features, groups): groups say which features are views of one image")
        found = group_moments(found, groups)
    images, samples = int(found.centres.count), int(found.deviations.count)
    if images < 2:
        raise NoScore(f"LiDAR compares images, and there are {images}")
    values = discriminants(found, delta)
    if not values[0] > highest_by_chance(images, samples, len(values)):
        raise NoScore(
            "the views of an image are no more alike than those of different images: either the features "
            "were grouped wrongly, or the encoder does not distinguish images"
        )
    p = values / values.sum() + eps
    return float((-(p * p.log()).sum()).exp())


def discriminants(found: GroupMoments, delta: float) -> Tensor:
    """Eigenvalues ``(D,)`` of ``W'^-1/2 B W'^-1/2``, descending, none below 0."""
    between = found.centres.scatter / found.centres.count
    within = found.deviations.gram / found.deviations.count
    level = within.trace() / len(within)
    rounding = 16 * torch.finfo(torch.float64).eps * found.centres.gram.trace() / found.centres.count
    if not between.trace() > rounding:
        raise NoScore("all images have the same features")
    if not level > rounding:
        raise NoScore("the views of each image have the same features, so that nothing varies within images")
    within.diagonal().add_(delta * level)
    factor = torch.linalg.cholesky(within)
    half = torch.linalg.solve_triangular(factor, between, upper=False)
    whole = torch.linalg.solve_triangular(factor, half.t(), upper=False)
    return torch.linalg.eigvalsh(whole).flip(0).clamp(min=0)


def highest_by_chance(images: int, samples: int, width: int) -> float:
    """The largest discriminant to expect from samples that were grouped at random.

    The edge of the spectrum of an F matrix (Wachter 1980, Annals of Statistics 8:937), the between
    scatter in units of the within scatter, with room for its fluctuation of order ``width^-2/3``. If all
    first views come first, then all second ones, groups of neighbours hold the same images repeatedly; so
    only one group in as many as an image has views counts as independent. It is 0, so that nothing is
    refused, if there are too few samples to estimate the covariance within.
    """
    size = samples / images
    a, b = width / max(images / size - 1, 1), width / max(samples - images, 1)
    if b >= 1:
        return 0.0
    edge = ((1 + (a + b - a * b) ** 0.5) / (1 - b)) ** 2
    edge *= 1 + 3 * min(width, images) ** (-2 / 3)
    # From the F matrix's degrees of freedom to the covariances divided by counts.
    return edge * (images - 1) / images * samples / (samples - images) / size


def too_few_images(images: int, width: int) -> str | None:
    """A sentence if LiDAR is bounded by the number of images rather than by the width, else None."""
    if images > width:
        return None
    return f"{images} images bound LiDAR to {images - 1}; take more than the width, {width}"


def score(train: Features, test: Features, *, delta: Positive) -> Score:
    """:func:`lidar` of views of training images, which are drawn for it."""
    views = train.parts["views"].x
    images, count, width = views.shape
    features, groups = views.flatten(0, 1), torch.arange(images).repeat_interleave(count)
    return Score(
        value=lidar(features, groups, delta),
        settings={"delta": delta, "images": images, "views": count, "width": width},
        citation="Thilak et al. 2024, arXiv:2312.04000",
        flags=[flag for flag in (too_few_images(images, width), rounded(features)) if flag],
        n_train=images,
        n_test=0,
        top=float(min(width, images - 1)),
        title="LiDAR",
    )
