"""The loss on images that are not learned from, beside that on as many images that are."""

import random
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from selfsup.callbacks.guard.undisturbed import undisturbed
from selfsup.data import Source
from selfsup.data.batches import Batches
from selfsup.data.source import subset
from selfsup.methods.batch import step_generator
from selfsup.objectives.precision import finite_or_not


class HeldOutLoss:
    """A method's loss on held-out and on learned images: how well its task generalises (arXiv:2206.04664).

    Both are of as many images in batches of the training's size, with the views and the masks that the same
    draws make, at every look: the difference is not one of crops, and looks can be compared. Nothing drops
    out, and batch norms take the batch's statistics, as in training: a loss that compares the images of a
    batch means nothing elsewhere. Queues, teachers and centres are those of the step, and stay as they are.

    Several processes each take a share of a batch, as in training.

    Args:
        held, learned: images that the run does not learn from, and those it does.
        batch_size: images of a process in a batch; ``held`` has a multiple for all processes.
        seed: of the choice among the learned.
    """

    def __init__(self, held: Source, learned: Source, batch_size: int, seed: int) -> None:
        chosen = sorted(random.Random(seed).sample(range(len(learned)), len(held)))
        self.parts = {"held-out": held, "learned": subset(learned, torch.tensor(chosen))}
        self.batch_size = batch_size

    def losses(self, trainer: pl.Trainer, method: Any) -> dict[str, float]:
        """``loss-held-out``, ``loss-learned``, and ``loss-gap``, the first less the second.

        All processes have to ask.
        """
        with undisturbed(method), trainer.precision_plugin.forward_context(), finite_or_not():
            found = {name: self._loss(part, trainer, method) for name, part in self.parts.items()}
        method.forget()
        means = {f"loss-{name}": float(trainer.strategy.reduce(loss)) for name, loss in found.items()}
        return {**means, "loss-gap": means["loss-held-out"] - means["loss-learned"]}

    def _loss(self, part: Source, trainer: pl.Trainer, method: Any) -> Tensor:
        """The mean over batches, in this process."""
        batches, whole = Batches(part, method.views), self.batch_size * trainer.world_size
        losses = []
        for number in range(len(part) // whole):
            first = number * whole + trainer.global_rank * self.batch_size
            raw = batches[(0, list(range(first, first + self.batch_size)))]
            if not isinstance(raw, dict):
                raise raw
            generator = step_generator(0, number, trainer.global_rank)
            batch = method.batch(raw, trainer.global_step, method.total_steps, generator)
            losses.append(method.loss(batch.to(method.device)).loss.double())
        return torch.stack(losses).mean()
