"""Who belongs with whom: ``positives=labels|edges|oracle``, as functions of images' positions."""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from selfsup.data.pairs import read_pairs
from selfsup.data.select import first_of_each
from selfsup.data.settings import positives_of, repeat_of
from selfsup.data.source import Source
from selfsup.errors import UsageError
from selfsup.views import view_kinds
from selfsup.views.draws import uniform

PARTNER, ASKED = -2, -3  # draws of no view: these are numbered from 0, the order of images has -1


class Relation(nn.Module):
    """Which images belong together.

    Its tensors follow the method to its device, and are in no checkpoint: they are made of the data.
    """

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Whether images ``rows`` ``(N,)`` and ``columns`` ``(M,)`` belong together, bool ``(N, M)``.

        An image always belongs with itself.
        """
        raise NotImplementedError

    def partner(self, index: Tensor, draws: Tensor) -> Tensor:
        """Another image that belongs with each of ``index`` ``(N,)``, by ``draws`` ``(N,)`` in [0, 1).

        An image that belongs with no other is its own partner.
        """
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of all that it is made of."""
        digest = hashlib.sha256(type(self).__name__.encode())
        for tensor in self.buffers():
            digest.update(tensor.cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def connected(self) -> Tensor:
        """Positions ``(K,)`` of the images that belong with another one."""
        raise NotImplementedError

    def pairs_in(self, batch: int) -> float:
        """How many pairs of images that belong together a batch of random images has, on average."""
        raise NotImplementedError


class SameLabel(Relation):
    """Images with one label belong together.

    Args:
        labels: int64 ``(S,)``, -1 for an image whose label is not known.

    >>> relation = SameLabel(torch.tensor([0, 1, 0, -1, -1]))
    >>> relation(torch.tensor([0, 3]), torch.arange(5)).int().tolist()
    [[1, 0, 1, 0, 0], [0, 0, 0, 1, 0]]
    """

    labels: Tensor
    order: Tensor
    place: Tensor
    starts: Tensor

    def __init__(self, labels: Tensor) -> None:
        super().__init__()
        known = (labels >= 0).nonzero().flatten()
        order = known[labels[known].argsort(stable=True)]
        place = torch.full_like(labels, -1)
        place[order] = torch.arange(len(order))
        starts = torch.cat([labels.new_zeros(1), labels[known].bincount().cumsum(0)])
        for name, value in (("labels", labels), ("order", order), ("place", place), ("starts", starts)):
            self.register_buffer(name, value, persistent=False)

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        mine, theirs = self.labels[rows].unsqueeze(1), self.labels[columns]
        return ((mine == theirs) & (mine >= 0)) | (rows.unsqueeze(1) == columns)

    def partner(self, index: Tensor, draws: Tensor) -> Tensor:
        label = self.labels[index].clamp(min=0)
        start, others = self.starts[label], self.starts[label + 1] - self.starts[label] - 1
        step = 1 + (draws.double() * others).long()
        place = start + (self.place[index] - start + step) % (others + 1).clamp(min=1)
        return torch.where((self.labels[index] >= 0) & (others > 0), self.order[place.clamp(min=0)], index)

    def connected(self) -> Tensor:
        sizes = self.starts.diff()
        return self.order[(sizes > 1).repeat_interleave(sizes)].sort().values

    def pairs_in(self, batch: int) -> float:
        sizes, images = self.starts.diff().double(), len(self.labels)
        return float((sizes * (sizes - 1)).sum()) * batch * (batch - 1) / (2 * images * (images - 1))


class Oracle(SameLabel):
    """The labels answer for a share of all pairs whether the two images belong together.

    What somebody would say who is shown pairs at random; an image whose label is known is in some pairs that
    were asked about, and not in others.

    Args:
        labels: int64 ``(S,)``.
        share: of all pairs, from 0 to 1.
        seed: which pairs are asked about.
    """

    def __init__(self, labels: Tensor, share: float, seed: int) -> None:
        super().__init__(labels)
        self.share, self.seed = share, seed

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        mine, theirs = torch.broadcast_tensors(rows.unsqueeze(1), columns)
        low, high = torch.minimum(mine, theirs), torch.maximum(mine, theirs)
        pair = (low * len(self.labels) + high).flatten()
        asked = uniform(self.seed, 0, pair, ASKED, 1).view(mine.shape) < self.share
        return (super().forward(rows, columns) & asked) | (mine == theirs)

    def partner(self, index: Tensor, draws: Tensor) -> Tensor:
        raise UsageError(
            "positives=oracle answers whether two images belong together and names no partner; for views "
            "of=pair take positives=labels, or data.pairs=FILE"
        )

    def pairs_in(self, batch: int) -> float:
        return self.share * super().pairs_in(batch)


class Edges(Relation):
    """Images that a list of pairs connects belong together; who are friends of friends need not.

    Args:
        ends: ``(E, 2)`` int64, in any order, each pair once or more often, either way round.
        images: how many there are.

    >>> relation = Edges(torch.tensor([[2, 0], [0, 1]]), images=4)
    >>> relation(torch.tensor([0, 1]), torch.arange(4)).int().tolist()
    [[1, 1, 1, 0], [1, 1, 0, 0]]
    """

    keys: Tensor
    starts: Tensor

    def __init__(self, ends: Tensor, images: int) -> None:
        super().__init__()
        ends = ends[ends[:, 0] != ends[:, 1]]
        self.images = images
        keys = torch.cat([ends[:, 0] * images + ends[:, 1], ends[:, 1] * images + ends[:, 0]]).unique()
        starts = torch.searchsorted(keys, torch.arange(images + 1) * images)
        self.register_buffer("keys", keys, persistent=False)  # of both directions, ascending
        self.register_buffer("starts", starts, persistent=False)

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        alike = rows.unsqueeze(1) == columns
        if not len(self.keys):
            return alike
        asked = rows.unsqueeze(1) * self.images + columns
        place = torch.searchsorted(self.keys, asked).clamp(max=len(self.keys) - 1)
        return (self.keys[place] == asked) | alike

    def partner(self, index: Tensor, draws: Tensor) -> Tensor:
        start, count = self.starts[index], self.starts[index + 1] - self.starts[index]
        if not len(self.keys):
            return index
        place = (start + (draws.double() * count).long()).clamp(max=len(self.keys) - 1)
        return torch.where(count > 0, self.keys[place] % self.images, index)

    def connected(self) -> Tensor:
        return self.starts.diff().nonzero().flatten()

    def pairs_in(self, batch: int) -> float:
        return len(self.connected()) * (batch // 2) / self.images  # as PairedOrder brings them together


def make_relation(
    config: Mapping[str, Any], train: Source, test: Source, batch: int | None = None
) -> Relation | None:
    """The relation of a run's configuration, None where only the views of one row of a batch belong together.

    What it is goes into the decisions of ``train``.

    Args:
        config: of a training run: ``positives``, ``data.pairs`` and ``views``.
        batch: images of a batch, over all processes, if it is to have pairs.

    Raises:
        UsageError: labels or pairs are asked for that are not there, or would not be used, or a batch would
            have fewer than one pair.
    """
    kind, file = positives_of(config), config["data"].get("pairs")
    kinds = view_kinds(config["views"]).items()
    of_pair = [name for name, view in kinds if view.get("of") == "pair" and view["count"]]
    if kind == "edges" or (kind == "none" and file is not None):
        if file is None:
            raise UsageError("positives=edges needs pairs of images; add data.pairs=FILE, a table of them")
        if kind == "none" and not of_pair:
            raise UsageError(
                "data.pairs is given and nothing uses it; add positives=edges, for losses that compare "
                "images, or views=byol views.second.of=pair, for any method of two views"
            )
        pairs = read_pairs(file, train, test)
        edges = Edges(pairs.edges(), len(train))
        left_out = f"; {pairs.elsewhere:,} with test images are left out" if pairs.elsewhere else ""
        said = f"{len(edges.keys) // 2:,} pairs of {len(edges.connected()):,} images belong together"
        return _told(train, edges, f"{said}, of {len(train):,}{left_out}", batch if kind == "edges" else None)
    if file is not None:
        raise UsageError(f"data.pairs is given and positives={kind} does not use it; leave one of them out")
    if kind == "none":
        if of_pair:
            raise UsageError(
                f"views.{of_pair[0]}.of=pair needs to know which images belong together; add "
                "data.pairs=FILE, or positives=labels"
            )
        # An image that comes several times in a batch belongs with itself.
        alone = torch.empty(0, 2, dtype=torch.int64)
        return Edges(alone, len(train)) if repeat_of(config) > 1 else None
    if train.labels is None:
        raise UsageError(
            f"positives={kind} needs labels, which the images to learn from do not have; take "
            "positives=edges with data.pairs=FILE"
        )
    share, seed = config["positives"]["share"], config["seed"]
    if kind == "oracle":
        oracle = Oracle(train.labels, share, seed)
        said = f"labels say of {share:.3g} of all pairs whether two images belong together"
        return _told(train, oracle, said, batch)
    labels = some_labels(train.labels, share, seed)
    said = f"images of one class belong together, by the labels of {int((labels >= 0).sum()):,} images"
    return _told(train, SameLabel(labels), f"{said} of {len(train):,}", batch)


def some_labels(labels: Tensor, share: float, seed: int) -> Tensor:
    """Labels ``(S,)`` of a random share of each class, at least one; -1 for the others."""
    sizes = labels.bincount()
    kept = first_of_each(labels, (share * sizes).round().clamp(min=1), seed)
    known = torch.full_like(labels, -1)
    known[kept] = labels[kept]
    return known


def _told(train: Source, relation: Relation, said: str, batch: int | None) -> Relation:
    if not len(relation.connected()):
        raise UsageError(f"{said}: no two images to learn from belong together; give more pairs, or labels")
    if batch is not None and relation.pairs_in(batch) < 1:
        raise UsageError(
            f"{said}: a batch of {batch} has {relation.pairs_in(batch):.2g} such pairs on average; take a "
            "larger batch_size, or more pairs"
        )
    train.decisions.positives = said
    return relation
