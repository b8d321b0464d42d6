"""What a step is given and what it gives: the contract between a method and whoever trains it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from selfsup.objectives.distributed import gather
from selfsup.views import ViewPlan
from selfsup.views.draws import uniform


@dataclass(frozen=True)
class Batch:
    """A batch as a method sees it.

    Attributes:
        views: one tensor a view, each ``(N, 3, size, size)``, normalised.
        index: ``(N,)`` int64, the samples' identities in the data, the same in every epoch.
        labels: ``(N,)`` int64, where the method's configuration requires them; else None.
        step: optimizer steps made.
        steps: optimizer steps of the whole run.
        generator: of this step and process, for masks and noise; on the CPU.
        drawn: how view ``k`` of each sample was made (:meth:`selfsup.views.ViewPlan.drawn`).
        relation: of samples ``(N,)`` and ``(M,)``, which belong together, bool ``(N, M)``; None where only
            the views of one sample do.
    """

    views: Sequence[Tensor]
    index: Tensor
    labels: Tensor | None
    step: int
    steps: int
    generator: torch.Generator
    drawn: Callable[[int], Mapping[str, Tensor]]
    relation: Callable[[Tensor, Tensor], Tensor] | None = None

    def __len__(self) -> int:
        return len(self.index)

    @property
    def device(self) -> torch.device:
        """Where the views are."""
        return self.views[0].device

    @property
    def positives(self) -> Tensor | None:
        """Bool ``(N, W N)``: which samples of all W processes, in the order of their ranks, belong with mine.

        Each belongs with itself; None where only views of one sample do. All processes have to ask, as they
        do for a loss.
        """
        return None if self.relation is None else self.relation(self.index, gather(self.index))

    @property
    def images(self) -> Tensor:
        """All views behind one another, ``(V N, 3, size, size)``; they have to be of one size."""
        return torch.cat(list(self.views))

    def normal(self, *shape: int) -> Tensor:
        """Numbers from a unit Gaussian, where the views are: the same on every kind of device."""
        seed = int(torch.randint(2**32, (), generator=self.generator))
        count = math.prod(shape)
        place = torch.arange(-(-count // 2**10), device=self.device)  # rows of so many numbers
        one, other = (uniform(seed, 0, place, view, 2**10) for view in (0, 1))
        normal = (-2 * (1 - one).log()).sqrt() * (2 * math.pi * other).cos()  # Box and Muller's
        return normal.flatten()[:count].view(shape)

    def only(self, views: Sequence[int]) -> "Batch":
        """The batch with some of its views, by number, and how those were made."""
        return replace(
            self, views=[self.views[k] for k in views], drawn=lambda number: self.drawn(views[number])
        )

    def to(self, device: torch.device) -> "Batch":
        """The batch with its tensors on a device."""
        labels = None if self.labels is None else self.labels.to(device)
        views = [view.to(device) for view in self.views]
        return replace(self, views=views, index=self.index.to(device), labels=labels)


@dataclass(frozen=True)
class Output:
    """What a method makes of a batch.

    Attributes:
        loss: a scalar, to be minimised.
        features: pooled features of the trained encoder, ``(N, D)`` a view, with their gradient, so that
            auxiliary losses need no second pass; empty where the method computes none.
        scalars: worth logging.
        of: the number of the view that each of the features is of; empty where they are those of the first
            views, in their order.
    """

    loss: Tensor
    features: Sequence[Tensor] = ()
    scalars: Mapping[str, Tensor | float] = field(default_factory=dict)
    of: Sequence[int] = ()


def make_batch(
    raw: Mapping[str, Any],
    plan: ViewPlan,
    *,
    step: int = 0,
    steps: int = 1,
    generator: torch.Generator,
    labelled: bool = False,
    relation: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Batch:
    """The batch of what a loader gives (:class:`selfsup.data.batches.Batches`).

    Args:
        raw: ``image``, ``index``, perhaps ``epoch`` (0), ``label``, ``size``, ``draw``, ``partner`` and
            ``partner_size``.
        plan: makes the views.
        labelled: whether the method may see the labels.
        relation: of a :class:`Batch`.
    """
    epoch, images, index = raw.get("epoch", 0), raw["image"], raw["index"]
    sizes = raw["size"].unbind(1) if "size" in raw else images.shape[-2:]
    of_partners = raw["partner_size"].unbind(1) if "partner_size" in raw else sizes

    def drawn(number: int) -> dict[str, Tensor]:
        height, width = of_partners if plan.of_pair[number] else sizes
        return plan.drawn(number, raw.get("draw", index), epoch, height, width)

    labels = raw["label"] if labelled else None
    return Batch(plan(raw, epoch), index, labels, step, steps, generator, drawn, relation)


def step_generator(seed: int, micro_step: int, rank: int = 0) -> torch.Generator:
    """Random numbers of one batch of one process alone, so that nothing need be saved to resume."""
    return torch.Generator().manual_seed((seed * 1_000_003 + micro_step) * 4_099 + rank)


def by_size(views: Sequence[Tensor]) -> list[Tensor]:
    """Consecutive views of one size as one batch, so that each size costs one forward pass."""
    batches: list[list[Tensor]] = []
    for view in views:
        if batches and batches[-1][0].shape == view.shape:
            batches[-1].append(view)
        else:
            batches.append([view])
    return [torch.cat(batch) for batch in batches]
