"""How far apart an image's views lie."""

import torch

from selfsup.evaluation.features.extract import Features
from selfsup.evaluation.label_free.uniformity import alignment
from selfsup.evaluation.registry import Positive
from selfsup.evaluation.score import Score


def score(train: Features, test: Features, *, alpha: Positive) -> Score:
    """:func:`selfsup.evaluation.alignment` of views drawn from training images."""
    views = train.parts["views"].x
    images, count, _ = views.shape
    return Score(
        value=alignment(views.flatten(0, 1), torch.arange(images).repeat_interleave(count), alpha),
        settings={"alpha": alpha, "images": images, "views": count},
        citation="Wang and Isola 2020, arXiv:2005.10242",
        n_train=images,
        n_test=0,
        higher_is_better=False,
    )
