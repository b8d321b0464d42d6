"""Distillation: a student of any architecture takes over what a frozen teacher makes of the same images.

Relations to other images (as in Zheng et al. 2021, arXiv:2107.09282, with a teacher that is given), relations
between the places of an image, and predictions of the teacher's layers (DistilHuBERT, Chang et al. 2021,
arXiv:2110.01900).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup.encoder import Encoder, load_published, start_from
from selfsup.errors import UsageError
from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output
from selfsup.methods.failures import FLOOR
from selfsup.methods.parts import Centre, Frozen, Queue
from selfsup.methods.places import in_rows, places_of, require_places
from selfsup.methods.requirements import require_queue
from selfsup.objectives import distill_layer, distill_relations, distill_tokens, floors
from selfsup.objectives.devices import sent
from selfsup.objectives.distributed import gather

WITHOUT = "add method.places=0 and leave out method.layers"


class Distill(Method):
    """Student and teacher see the same view; the heads on the student are dropped when it is saved.

    Relations are those of features about their mean, a running one, and of places about the image's: many
    encoders' features have a large mean in common, about which all cosines are nearly 1 and say nothing.

    Args:
        teacher: a run, folder, file, ``timm:NAME`` or ``hf-hub:NAME``; ``"untrained"`` or None is a random
            network of the student's architecture, a control (Sarnthein et al. 2023, arXiv:2302.12091).
        teacher_size: pixels a side of what the teacher sees, or its height and width; None for those of its
            weights.
        temperature: of all relations.
        queue: number of the teacher's earlier features.
        places: weight of the relations between places; 0 leaves them out.
        layers: the teacher's blocks, from 1, that heads predict, or None.
        mixup: whether images are mixed in pairs, which are many more images to compare on.
    """

    failures = (FLOOR,)

    def __init__(
        self,
        *,
        teacher: str | None,
        teacher_size: int | Sequence[int] | None,
        temperature: float,
        queue: int,
        places: float,
        layers: Sequence[int] | None,
        mixup: bool,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require_queue(queue, self.batch_size)
        self.temperature, self.places, self.layers, self.mixup = (
            temperature,
            places,
            list(layers or ()),
            mixup,
        )
        if teacher is None or teacher == "untrained":
            taught = self.encoder.untrained(self.seed + 1)
        else:
            taught = start_from(teacher, teacher_size) if teacher_size else load_published(teacher)
        self.teacher = Frozen(taught)
        if taught.channels != self.encoder.channels:
            raise UsageError(
                f"method.teacher={teacher} sees {taught.channels} channels and the data have "
                f"{self.encoder.channels}; take a teacher of as many, or data.channels={taught.channels}"
            )
        self.sees = taught.input_size
        self.projector = nn.Linear(self.encoder.dim, taught.dim)
        self.queue = Queue(queue, taught.dim)
        self.centre = Centre(taught.dim, momentum=0.9)
        if places or self.layers:
            for encoder in (self.encoder, taught):
                require_places(encoder, WITHOUT)
        if self.layers:
            taught.require_tokens()
            depth = len(taught.model.blocks)
            if not set(self.layers) <= set(range(1, depth + 1)):
                raise UsageError(f"method.layers={self.layers} are not all of the teacher's {depth} blocks")
            width, wide = self.encoder.model.num_features, taught.model.num_features
            self.heads = nn.ModuleList(nn.Linear(width, wide) for _ in self.layers)

    @property
    def taught(self) -> Encoder:
        """The teacher's network."""
        assert isinstance(self.teacher.module, Encoder)
        return self.teacher.module

    def loss(self, batch: Batch) -> Output:
        images = self._mixed(batch)
        features, mine = places_of(self.encoder, images)
        with torch.no_grad():
            told, theirs = places_of(self.taught, seen := self._as_teacher_sees(images))
        batched = gather(told)
        rows = torch.cat([batched, self.queue.rows.to(told)])
        self.queue.gather(told)
        self.centre.gather(batched.mean(dim=0))
        told, rows = told - self.centre.value, rows - self.centre.value
        scalars = {"relations": distill_relations(self.projector(features), told, rows, self.temperature)}
        if self.places:
            places, their = map(_places, (_resized(mine, theirs.shape[-2:]), theirs))
            scalars["places"] = distill_tokens(places, their, self.temperature)
        if self.layers:
            scalars["layers"] = self._layers(mine, seen)
        loss = scalars["relations"] + self.places * scalars.get("places", 0.0) + scalars.get("layers", 0.0)
        return Output(loss, [features], {name: value.detach() for name, value in scalars.items()})

    def marks(self) -> dict[str, float]:
        return {"floor": floors.distill_layer_least()} if self.layers else {}

    def _mixed(self, batch: Batch) -> Tensor:
        """The images, or each mixed with another one by a random share."""
        images = batch.views[0]
        if not self.mixup:
            return images
        share = sent(torch.rand(len(images), 1, 1, 1, generator=batch.generator), images)
        return share * images + (1 - share) * images.flip(0)

    def _as_teacher_sees(self, images: Tensor) -> Tensor:
        """The images of the teacher's size, normalised by its mean and deviation."""
        if tuple(images.shape[-2:]) != self.sees:
            images = F.interpolate(images, self.sees, mode="bilinear", antialias=True)
        mine, theirs = ([each.mean, each.std] for each in (self.encoder, self.taught))
        if mine == theirs:
            return images
        (mean, std), (own_mean, own_std) = (
            [sent(torch.tensor(value, dtype=images.dtype), images).view(-1, 1, 1) for value in pair]
            for pair in (mine, theirs)
        )
        return (images * std + mean - own_mean) / own_std

    def _layers(self, mine: Tensor, seen: Tensor) -> Tensor:
        teacher = self.taught
        with torch.no_grad():
            patches, said = math.prod(teacher.grid), teacher.layers(seen)
            targets = [said[layer - 1][:, -patches:] for layer in self.layers]
        tokens = in_rows(_resized(mine, teacher.grid))
        each = [distill_layer(head(tokens), target) for head, target in zip(self.heads, targets, strict=True)]
        return torch.stack(each).mean()


def _resized(grid: Tensor, size: Sequence[int]) -> Tensor:
    # In full precision: on a CPU torch has no antialiased backward pass in bfloat16.
    return F.interpolate(grid.float(), tuple(size), mode="bilinear", antialias=True)


def _places(grid: Tensor) -> Tensor:
    """Tokens ``(N, h w, D)`` of a grid, about the image's mean."""
    tokens = in_rows(grid)
    return tokens - tokens.mean(dim=1, keepdim=True)
