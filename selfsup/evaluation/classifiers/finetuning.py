"""Training a copy of an encoder with labels, from its weights or from new ones."""

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup.cores import look
from selfsup.evaluation.classifiers.heads import cosine
from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.features.extract import Images
from selfsup.evaluation.features.images import batches
from selfsup.optim import parameter_groups
from selfsup.views import ViewPlan

WARMUP = 0.1


def train_whole(
    images: Images,
    encoder: Any,
    samples: Tensor,
    target: Tensor,
    classes: int,
    *,
    plan: Mapping[str, Mapping[str, Any]],
    epochs: int,
    batch: int,
    rate: float,
    weight_decay: float,
    layer_decay: float,
    seed: int,
    attention_only: bool = False,
) -> nn.Module:
    """A copy of ``encoder`` and a linear head, trained together by AdamW on augmented images.

    Args:
        images: their source and their preprocessing.
        encoder: the initial weights; left unchanged.
        samples: int64 ``(n,)``, indices into the source.
        target: int64 ``(n,)`` in 0..classes-1.
        classes: C.
        plan: of the one view of each image, as in ``configs/views``.
        epochs, batch, rate, weight_decay: of AdamW; a tenth of warm-up, then cosine.
        layer_decay: rate of each layer as a share of the next one's (:func:`selfsup.optim.parameter_groups`).
        seed: of the order, the head and the views.
        attention_only: whether all of the encoder but its attention stays as it is.

    Raises:
        NoScore: a layer decay below 1 for a network whose layers timm cannot number, or no attention.

    Returns:
        In evaluation mode; maps normalised images to scores ``(N, C)``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Linear(encoder.dim, classes)
        nn.init.trunc_normal_(head.weight, std=2e-5)
    device = images.frozen.device
    model = nn.Sequential(copy.deepcopy(encoder), head).to(device).train()
    if attention_only:
        _freeze_all_but_attention(model[0])
    try:
        groups = parameter_groups(model, weight_decay, layer_decay)
    except ValueError as why:  # layers that timm cannot number
        raise NoScore(str(why)) from why
    optimizer = torch.optim.AdamW(groups, lr=rate)
    channels = images.frozen.mean.numel()
    views = ViewPlan(plan, images.size, (0.0,) * channels, (1.0,) * channels, seed)
    generator = torch.Generator().manual_seed(seed)
    place = torch.full((len(images.source),), -1).index_put((samples,), target)
    steps, step = epochs * math.ceil(len(samples) / batch), 0
    for epoch in range(epochs):
        order = samples[torch.randperm(len(samples), generator=generator)]
        for index, pictures in batches(images.source, order, images.fitting, batch, images.workers):
            look()
            if len(index) < 2:  # batch norm cannot train on a single sample
                continue
            factor = min(1.0, (step + 1) / (WARMUP * steps)) * cosine(step / steps)
            for group in optimizer.param_groups:
                group["lr"] = rate * factor * group["lr_scale"]
            (view,) = views({"image": pictures.to(device), "index": index.to(device)}, epoch)
            scores = model(images.frozen.normalised(view.clamp(0, 1)))
            loss = F.cross_entropy(scores, place[index].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    return model.eval()


def _freeze_all_but_attention(encoder: nn.Module) -> None:
    learned = [name for name, _ in encoder.named_parameters() if ".attn." in name]
    if not learned:
        raise NoScore("the encoder has no attention; take protocols=[finetune]")
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(name in learned)


def predictions(model: nn.Module, images: Images, samples: Tensor, batch: int = 256) -> Tensor:
    """The classes ``(n,)`` of the source's ``samples`` ``(n,)``."""
    blocks = batches(images.source, samples, images.fitting, batch, images.workers)
    return torch.cat([images.frozen.through(model, pictures).argmax(1) for _, pictures in blocks])
