"""Failures provoked on purpose, each by the change to a method or its settings that causes it in practice."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from selfsup.encoder import take
from selfsup.methods.batch import Batch, Output
from selfsup.methods.dino import DINO
from selfsup.methods.jepa import JEPA
from selfsup.methods.mae import MAE
from selfsup.objectives import masked_reconstruction, patchify

# The default backbone, half as wide and a third as deep, whatever an experiment's: a run in seconds.
SMALL = (
    "backbone=vit_mini",
    "data.image_size=24",
    "backbone.model_args.depth=2",
    "backbone.model_args.embed_dim=64",
    "backbone.model_args.num_heads=2",
)


class TrainedTargets(JEPA):
    """No stop-gradient: the targets are the student's own tokens, and learn to be predictable."""

    def loss(self, batch: Batch) -> Output:
        images = batch.views[0]
        context, targets = self.blocks(len(images), batch.generator, images.device)
        target = torch.cat([take(self.encoder.tokens(images), block) for block in targets])
        prediction = self.predictor(self.encoder.tokens(images, keep=context), [context], list(targets))
        return Output(F.smooth_l1_loss(prediction.float(), target.float()))


class TeacherIsStudent(DINO):
    """No teacher of its own: the student matches itself."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.teacher.module = nn.Sequential(self.encoder, self.head)
        self.teacher._student = (self.teacher.module,)


class VisiblePatches(MAE):
    """The loss is of the patches that the encoder sees."""

    def loss(self, batch: Batch) -> Output:
        images = batch.images
        keep, hidden = self.mask(len(images), batch)
        prediction = self.decode(self.encoder.sequence(images, keep), keep)
        return Output(masked_reconstruction(prediction, patchify(images, self.encoder.patch_size), ~hidden))


class Unmasked(MAE):
    """The encoder sees every patch, and the decoder with it."""

    def loss(self, batch: Batch) -> Output:
        images = batch.images
        _, hidden = self.mask(len(images), batch)
        keep = torch.arange(self.patches).expand(len(images), -1)
        prediction = self.decode(self.encoder.sequence(images, keep), keep)
        return Output(masked_reconstruction(prediction, patchify(images, self.encoder.patch_size), hidden))


@dataclass(frozen=True)
class Provoked:
    """A failure: how it is provoked, and which of the guard's names is the right one."""

    name: str
    method: str
    settings: tuple[str, ...]
    named: str


def _target(kind: type) -> str:
    return f"method._target_={kind.__module__}.{kind.__qualname__}"


def _whole(*kinds: str) -> tuple[str, ...]:
    """Views that are the whole image: of digits, whose colours are left alone, one picture twice."""
    return tuple(f"views.{kind}.{range_}=[1.0,1.0]" for kind in kinds for range_ in ("scale", "ratio"))


PROVOKED = (
    # Targets collapse as fast as they learn: of a longer run, the first steps would have a small rate.
    Provoked(
        "no stop-gradient", "jepa", (_target(TrainedTargets), "trainer.max_epochs=64"), "collapsed targets"
    ),
    Provoked("teacher is the student", "dino", (_target(TeacherIsStudent),), "teacher follows the student"),
    Provoked(
        "momentum too low (DINO)",
        "dino",
        ("method.momentum.start=0.0", "method.momentum.end=0.0"),
        "teacher follows the student",
    ),
    Provoked(
        "momentum too low (I-JEPA)",
        "jepa",
        ("method.momentum.start=0.3", "method.momentum.end=0.3"),
        "teacher follows the student",
    ),
    Provoked("no centring", "dino", ("method.centering=mean", "method.center_momentum=1.0"), "one prototype"),
    Provoked(
        "teacher temperature too high",
        "dino",
        ("method.teacher_temperature.start=1.0", "method.teacher_temperature.end=1.0"),
        "uniform teacher",
    ),
    Provoked("no variance term", "vicreg", ("method.objective.variance=0.0",), "collapsed embedding"),
    Provoked("no redundancy term", "barlow", ("method.lambda_=0.0",), "dimensional collapse"),
    Provoked("same view twice (SimCLR)", "simclr", _whole("each"), "same view twice"),
    Provoked("same view twice (Barlow Twins)", "barlow", _whole("first", "second"), "same view twice"),
    Provoked("loss of visible patches", "mae", (_target(VisiblePatches),), "mask leak"),
    Provoked("encoder sees all patches", "mae", (_target(Unmasked),), "mask leak"),
    *(
        Provoked(f"learning rate x 100 ({m})", m, (f"method.optimizer.lr={lr}",), "learning rate too high")
        for m, lr in (("simclr", 0.1), ("barlow", 0.1), ("dino", 0.2), ("jepa", 0.2), ("mae", 0.15))
    ),
)
