"""The order of the samples: a pure function of (seed, epoch, batches seen), so that nothing has to be saved.

A run resumes in the middle of an epoch from the number of batches it has seen, every process knows its own
slice without communication, and no permutation is ever stored: memory is that of the batches computed ahead,
65,536 samples, for any number of samples.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Sampler

from selfsup.errors import UsageError
from selfsup.views.draws import uniform

Key = tuple[int, list[int]]

ROUNDS = 16  # enough for even the 120 permutations of five samples to occur equally often
AHEAD = 2**16  # samples whose places are computed together
WINDOW = 256  # samples that lie side by side in a shard and are shuffled among themselves

_ODD = -0x61C8864680B583EB  # 2**64 over the golden ratio, as a signed word


def shuffled(position: Tensor, n: Tensor | int, seed: int, epoch: int, lane: Tensor | int = 0) -> Tensor:
    """Where a random permutation of 0..n-1 takes each position, without the other n-1.

    A Feistel network over the smallest grid of about sqrt(n) x sqrt(n) cells that holds n; a position that
    lands on a cell beyond n goes through again (cycle walking; Black and Rogaway 2002, "Ciphers with
    arbitrary finite domains").

    Args:
        position: int64, each in 0..n-1.
        n: how many are permuted, for all or for each position; at most 2**60.
        seed, epoch, lane: which permutation; a lane for all or for each position.

    >>> shuffled(torch.arange(10), 10, seed=0, epoch=0).sort().values.tolist() == list(range(10))
    True
    """
    # One draw of the views' generator for the key; views are numbered from 0, so no view has this draw.
    draws = uniform(seed, epoch, torch.zeros(1, dtype=torch.int64), -1, 2)[0].double()
    key = torch.as_tensor(lane) * _ODD + (draws * 2.0**24).long() @ torch.tensor([2**24, 1])
    n, key = (torch.as_tensor(value).expand_as(position) for value in (n, _mixed(key)))
    place = _network(position, n, key)
    while len(outside := (place >= n).nonzero(as_tuple=True)[0]):
        place[outside] = _network(place[outside], n[outside], key[outside])
    return place


def _network(place: Tensor, n: Tensor, key: Tensor) -> Tensor:
    rows = n.double().sqrt().ceil().long()
    columns = (n + rows - 1) // rows
    row, column = place // columns, place % columns
    for number in range(ROUNDS):
        draw = (_mixed(column * _ODD + key + number) >> 32) & 0xFFFFFFFF
        row = row + ((draw * rows) >> 32)
        row = row - rows * (row >= rows)
        row, column, rows, columns = column, row, columns, rows
    return row * columns + column


def _mixed(word: Tensor) -> Tensor:
    """Each of the upper 32 bits depends on all bits (as in MurmurHash3's finaliser); products overflow."""
    word = (word ^ (word >> 33)) * -0xAE502812AA7333
    return (word ^ (word >> 33)) * -0x3B314601E57A13AD


class EpochOrder(Sampler[Key]):
    """Yields ``(epoch, indices)``, a batch at a time, of all samples in random order.

    The incomplete last batch is dropped; which samples that leaves out changes with the epoch. The batch of
    all processes together is the same however many they are.

    Attributes:
        rank: the number of this process, out of ``world``.
        skip: batches of the first epoch that were seen before the run was interrupted.

    >>> order = EpochOrder(samples=10, batch_size=4, seed=0)
    >>> len(order), [(epoch, len(indices)) for epoch, indices in order]
    (2, [(0, 4), (0, 4)])
    """

    def __init__(
        self, samples: int, batch_size: int, seed: int, rank: int = 0, world: int = 1, skip: int = 0
    ) -> None:
        if batch_size * world > samples:
            raise UsageError(
                f"a batch of {batch_size * world} images is larger than the data ({samples} images); "
                f"set batch_size={samples // world} or less"
                if samples >= world
                else f"{samples} images are fewer than the {world} processes; take fewer, or more data"
            )
        self.samples, self.batch_size, self.seed = samples, batch_size, seed
        self.rank, self.world, self.skip = rank, world, skip
        self.epoch = 0

    def __len__(self) -> int:
        return self.samples // (self.batch_size * self.world)

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Key]:
        epoch, first, self.skip = self.epoch, self.skip, 0
        ahead = max(1, AHEAD // self.batch_size)
        for start in range(first, len(self), ahead):
            batches = torch.arange(start, min(start + ahead, len(self)))
            for batch, indices in zip(batches.tolist(), self.indices(epoch, batches), strict=True):
                yield self.round(epoch, batch), indices.tolist()

    def round(self, epoch: int, batch: int) -> int:
        """The number that views of a batch are drawn by: an image that comes again has another."""
        return epoch

    def indices(self, epoch: int, batches: Tensor) -> Tensor:
        """This process's samples ``(B, batch_size)`` of the batches numbered ``batches`` ``(B,)``."""
        row = self.rank * self.batch_size + torch.arange(self.batch_size)
        places = self._places(epoch, batches.repeat_interleave(len(row)), row.repeat(len(batches)))
        return places.view(len(batches), len(row))

    def _places(self, epoch: int, batch: Tensor, row: Tensor) -> Tensor:
        """The sample in a row of a batch, the rows being those of all processes together."""
        return shuffled(batch * self.batch_size * self.world + row, self.samples, self.seed, epoch)


class ShardOrder(EpochOrder):
    """The order of samples in shards: each process reads shards of its own, a stretch of each at a time.

    Every epoch puts the shards in a new order, and cuts the sequence of their samples into as many lanes of
    equal length as a batch of all processes has rows. Row j of every batch comes from lane j, in which
    ``WINDOW`` neighbours at a time are shuffled. So a batch holds samples from all over the data, what one
    process reads lies side by side on the disk, two processes share a shard only where their stretches meet,
    and the batch is the same however many processes share it. The fewer than a batch that are left over
    change with the epoch.

    Args:
        sizes: samples ``(S,)`` int64 of each shard, in the order in which the samples are numbered.

    >>> order = ShardOrder(torch.tensor([3, 5, 4]), batch_size=2, seed=0)
    >>> sorted(i for _, indices in order for i in indices) == list(range(12))
    True
    """

    def __init__(
        self, sizes: Tensor, batch_size: int, seed: int, rank: int = 0, world: int = 1, skip: int = 0
    ) -> None:
        super().__init__(int(sizes.sum()), batch_size, seed, rank, world, skip)
        self.sizes = sizes

    def _places(self, epoch: int, batch: Tensor, row: Tensor) -> Tensor:
        length = len(self)
        window = batch // WINDOW
        inside = (length - window * WINDOW).clamp(max=WINDOW)
        lane = 1 + row * (length // WINDOW + 1) + window
        batch = window * WINDOW + shuffled(batch % WINDOW, inside, self.seed, epoch, lane)
        # The sequence starts anywhere, so that every epoch leaves out other samples.
        start = shuffled(torch.zeros(1, dtype=torch.int64), self.samples, self.seed, epoch)
        position = (start + row * length + batch) % self.samples

        shards = shuffled(torch.arange(len(self.sizes)), len(self.sizes), self.seed, epoch)
        ends = self.sizes[shards].cumsum(0)
        nth = torch.searchsorted(ends, position, right=True)
        before = (self.sizes.cumsum(0) - self.sizes)[shards[nth]]
        return before + position - (ends - self.sizes[shards])[nth]
