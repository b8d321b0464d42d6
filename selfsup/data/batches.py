"""Batches of a source, and their DataLoader."""

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from selfsup.data.class_order import class_order
from selfsup.data.group_order import PairedOrder, RepeatedOrder
from selfsup.data.kept_order import KeptOrder, require_enough
from selfsup.data.order import EpochOrder, Key, ShardOrder
from selfsup.data.readers.crops import read_crops
from selfsup.data.relations import PARTNER
from selfsup.data.stage_order import StageOrder
from selfsup.data.workers import begin_worker
from selfsup.errors import UsageError
from selfsup.objectives.devices import sent
from selfsup.views import ViewPlan
from selfsup.views.draws import REPEAT, uniform

OTHERS = 16  # images tried if none of a batch can be read
FEW_SHARDS = 32  # below which shards in random order would shuffle too little


class Batches(Dataset[dict[str, Any] | UsageError]):
    """Maps ``(epoch, draws)`` to a batch; a draw is an image, plus a multiple of ``REPEAT`` if repeated.

    Of a source in memory the batch holds whole images, uint8 ``(N, 3, H, W)``, on ``device``. Of files it
    holds crops, one uint8 ``(N, 3, size, size)`` a view, and ``size``, the images' heights and widths
    ``(N, 2)``: each image is decoded once for all its views.
    An unreadable image is replaced by another one of the batch, or of the data if the batch has none, so
    that every process has as many; ``skipped`` names it.
    """

    def __init__(self, source: Any, plan: ViewPlan, device: torch.device | None = None) -> None:
        self.source, self.plan, self.device = source, plan, device or torch.device("cpu")
        self.images, self.labels = source.images, source.labels
        if self.images is not None:
            # Moved once; from then on a batch is gathered where it is used.
            self.images = self.images.to(self.device)
            self.labels = None if self.labels is None else self.labels.to(self.device)

    def __getitem__(self, key: Key) -> dict[str, Any] | UsageError:
        """The batch, or the error that prevents it: an exception raised in a worker would arrive as a
        traceback."""
        epoch, draws = key
        if self.images is not None:
            draw = sent(torch.tensor(draws), self.device)
            batch: dict[str, Any] = {"image": self.images[draw % REPEAT], "skipped": []}
            if (partners := self._partners(draws, epoch)) is not None:
                batch["partner"] = self.images[sent(partners, self.device)]
        else:
            try:
                batch, draw = self._read(epoch, draws)
            except UsageError as error:
                return error
        index = draw % REPEAT
        if max(draws) >= REPEAT:
            batch["draw"] = draw
        if self.labels is not None:
            batch["label"] = self.labels[index]
        return {**batch, "index": index, "epoch": epoch}

    def _partners(self, draws: list[int], epoch: int) -> Tensor | None:
        """The images that views of a pair are of; None if there are no such views."""
        if not any(self.plan.of_pair) or self.source.relation is None:
            return None
        draw = torch.tensor(draws)
        chosen = uniform(self.plan.seed, epoch, draw, PARTNER, 1)[:, 0]
        return self.source.relation.partner(draw % REPEAT, chosen)

    def _read(self, epoch: int, draws: list[int]) -> tuple[dict[str, Any], Tensor]:
        read, skipped = self._crops(draws, epoch)
        if not read:
            step = max(1, len(self.source) // OTHERS)
            first = draws[0] % REPEAT
            others = [(first + number * step) % len(self.source) for number in range(1, OTHERS + 1)]
            read, more = self._crops(list(dict.fromkeys(others)), epoch)
            skipped += more
        if not read:
            name, reason = skipped[0]
            raise UsageError(
                f"none of {len(draws)} images could be read, nor any of {OTHERS} others tried in their "
                f"place; the first is {name} ({reason}); see whether the data is still there"
            )
        substitutes = list(read)
        kept = [i if i in read else substitutes[n % len(substitutes)] for n, i in enumerate(draws)]
        # In a worker this puts a view's crops straight into the memory that the training shares.
        views = [default_collate(list(view)) for view in zip(*(read[i][0] for i in kept), strict=True)]
        sizes = default_collate([read[i][1] for i in kept])
        batch: dict[str, Any] = {"image": views, "size": sizes, "skipped": skipped}
        if sizes.ndim == 3:
            batch["size"], batch["partner_size"] = sizes.unbind(1)
        return batch, torch.tensor(kept)

    def _crops(self, draws: list[int], epoch: int) -> Any:
        partners = self._partners(draws, epoch)
        return read_crops(
            self.source, draws, self.plan, epoch, None if partners is None else partners.tolist()
        )


class TrainingLoader(DataLoader[Any]):
    """A DataLoader that re-raises errors returned by workers.

    Attributes:
        waited: seconds spent waiting for batches.
    """

    waited = 0.0

    def __iter__(self) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        batches = super().__iter__()
        while True:
            started = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - started
            if batch is None:
                return
            if isinstance(batch, UsageError):
                raise batch
            yield batch


def make_order(
    source: Any,
    batch_size: int,
    seed: int,
    world: int = 1,
    share: float | None = None,
    repeat: int = 1,
    paired: bool = False,
) -> EpochOrder:
    """The order for a source: by classes, in stages, by shards where there are enough to shuffle, or of all.

    Args:
        share: of the images that are kept after a while, chosen while training; None for all.
        repeat: how often each image comes in a batch.
        paired: whether images are beside others that belong with them.

    Raises:
        UsageError: a batch is larger than the data or than what is kept of it, or the orders asked for
            exclude each other.
    """
    asked = {
        "curation": share is not None,
        "data=stages": bool(source.stages),
        f"views.repeat={repeat}": repeat > 1,
        "positives=edges": paired,
        "data.balanced=true": getattr(source, "balanced", False),
    }
    if len(chosen := [name for name, wanted in asked.items() if wanted]) > 1:
        raise UsageError(f"{' and '.join(chosen)} order the images in different ways; take one of them")
    if share is not None:
        require_enough(len(source), share, batch_size * world)
        return KeptOrder(len(source), batch_size, seed, world=world)
    if source.stages:
        return StageOrder(source.stages, batch_size, seed, world=world)
    if getattr(source, "balanced", False):
        return class_order(source, batch_size, seed, world)
    if repeat > 1:
        return RepeatedOrder(len(source), batch_size, seed, repeat, world=world)
    if paired:
        return PairedOrder(len(source), batch_size, seed, source.relation, world=world)
    sizes = getattr(source, "sizes", None)
    if sizes is not None and len(sizes) >= FEW_SHARDS:
        return ShardOrder(sizes, batch_size, seed, world=world)
    return EpochOrder(len(source), batch_size, seed, world=world)


def training_loader(
    source: Any, plan: ViewPlan, order: EpochOrder, workers: int, device: torch.device | None = None
) -> TrainingLoader:
    """The DataLoader of a run.

    Args:
        workers: processes that decode; none are started for a source in memory.
        device: where the images of a source in memory are kept.
    """
    resident = source.images is not None
    workers = 0 if resident else workers
    return TrainingLoader(
        Batches(source, plan, device),
        sampler=order,
        batch_size=None,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=begin_worker,
        pin_memory=not resident and torch.cuda.is_available(),
    )
