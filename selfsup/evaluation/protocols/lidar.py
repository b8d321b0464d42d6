"""LiDAR: effective rank of between-image against within-image variance."""

import torch

from selfsup.evaluation.features import Features
from selfsup.evaluation.lidar import lidar, too_few_images
from selfsup.evaluation.registry import Positive
from selfsup.evaluation.score import Score
from selfsup.evaluation.spectra import rounded


def score(train: Features, test: Features, *, delta: Positive) -> Score:
    """:func:`selfsup.evaluation.lidar` of views drawn from training images."""
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
