"""What is in a data set: copies, leakage, outliers, clusters, classes, and labels to look at."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.curation.copies import THRESHOLD, find_copies, leaked
from selfsup.curation.draws import draws
from selfsup.curation.kmeans import kmeans
from selfsup.curation.label_errors import contradicted, votes
from selfsup.curation.leakage import Leakage, leakage
from selfsup.curation.outliers import cosine_distances, nearest_others, outliers
from selfsup.curation.pairs import Pairs
from selfsup.curation.space import COMPONENTS, PIXELS
from selfsup.curation.survey import Seen, Survey, concatenated, survey
from selfsup.data import Source
from selfsup.errors import UsageError
from selfsup.evaluation.features.extract import Features
from selfsup.evaluation.rows import principal_components

FEWEST = 12  # readable images for neighbours, outliers and clusters to mean anything
K, VOTING, VOTERS = 10, 20, 50  # neighbours of outliers, of kNN, and those that judge a label, at most
MOST_PAIRS = 20_000  # of a component's training and test images, that leakage leaves out


@dataclass
class Inspection:
    """What was found. Images are numbered through, training before test images; ``(M,)`` is one value each.

    Attributes:
        seen: what each image is (`selfsup.curation.survey.Seen`).
        test: bool ``(M,)``.
        position: int64 ``(M,)``, in the image's split.
        labels: int64 ``(M,)``, -1 where there is none.
        classes: their names; empty without labels.
        readable: int64 ``(N,)``, the numbers of the readable images, in which what follows is counted:
        exact: the first ``(M,)`` of each image's exact copies.
        pairs: candidates for near copies, among the first of each exact copies.
        component: the lowest member ``(M,)`` of each image's exact and near copies.
        dropped: bool ``(M,)``, training images that repeat another, or a test image.
        x: features ``(N, D)``; ``space`` names what made them.
        strange: of each readable image, its outlier score ``(N,)``; ``limit`` is where flags begin.
        cluster, centroids: of each readable image ``(N,)``, and ``(k, D)``.
        quality, other, doubtful: of labels that neighbours judge, ``(N,)``; None without two classes.
        leak: what copies of test images add to kNN; None where it cannot be said.
    """

    seen: list[Seen]
    test: Tensor
    position: Tensor
    labels: Tensor
    classes: list[str]
    readable: Tensor
    exact: Tensor
    pairs: Pairs
    component: Tensor
    dropped: Tensor
    threshold: float
    space: str
    x: Tensor
    strange: Tensor
    limit: float
    cluster: Tensor
    centroids: Tensor
    quality: Tensor | None = None
    other: Tensor | None = None
    doubtful: Tensor | None = None
    leak: Leakage | None = None

    @property
    def leaked(self) -> Tensor:
        """Training images that copy a test image, bool ``(M,)``."""
        return leaked(self.component, self.test)


def inspect_data(
    sources: Mapping[str, Source],
    encoder: Any = None,
    *,
    threshold: float = THRESHOLD,
    clusters: int = 12,
    batch_size: int = 256,
    workers: int | str = 0,
    precision: str = "float32",
    progress: Callable[[str], None] = lambda step: None,
) -> Inspection:
    """Read every image once, and find what is worth knowing before training.

    Args:
        sources: "train", and "test" unless it has no images.
        encoder: on its device, whose features are the space; None: pixels and their principal components.
        threshold: similarity from which two images count as near copies.
        clusters: at most.
        batch_size, precision: inside the encoder.
        workers: as ``data.workers``.
        progress: called with what begins.

    Raises:
        UsageError: no image can be read, or the encoder's features are not finite.
    """
    surveys: dict[str, Survey] = {}
    for split, source in sources.items():
        progress(f"reading {len(source)} images of {split}")
        surveys[split] = survey(source, encoder, batch_size=batch_size, workers=workers, precision=precision)
    whole = concatenated([*surveys.values()])
    seen, readable = whole.seen, whole.rows
    if not len(readable):
        raise UsageError(
            f"none of the {len(seen)} images can be read; the first, {seen[0].name!r}: {seen[0].reason}"
        )
    test = torch.arange(len(seen)) >= len(surveys["train"].seen)
    position = torch.cat([torch.arange(len(each.seen)) for each in surveys.values()])
    x, space = _features(surveys, whole, encoder)
    if not x.isfinite().all():
        raise UsageError(
            "the encoder's features are not finite: its training destroyed it; leave out encoder="
        )

    progress("comparing for copies")
    copies = find_copies(whole, test, threshold)

    progress("looking for outliers and clusters")
    few = len(readable) < FEWEST
    similarity, index = (
        nearest_others(x, VOTERS) if len(x) > 1 else (torch.ones(len(x), 1), torch.zeros(len(x), 1))
    )
    strange = outliers(cosine_distances(similarity[:, :K]))
    unit = F.normalize(x, dim=1)
    grouped = kmeans(unit, 1 if few else min(clusters, len(x) // 3), draws(0), 20)
    centroids, cluster = _by_size(*grouped)
    labels, classes = _labels(sources)
    inspection = Inspection(
        seen, test, position, labels, classes, readable, *copies, threshold, space,
        x, strange.score, math.inf if few else strange.limit, cluster, centroids,
    )  # fmt: skip
    own = labels[readable]
    if not few and len(own[own >= 0].unique()) > 1 and (own >= 0).all():
        judged = contradicted(own, votes(own, index[:, : voters(own)], len(classes)))
        inspection.quality, inspection.other, inspection.doubtful = (
            judged.quality,
            judged.other,
            judged.flagged,
        )
        inspection.leak = _leak(inspection, own)
    return inspection


def _features(surveys: Mapping[str, Survey], whole: Survey, encoder: Any) -> tuple[Tensor, str]:
    if encoder is not None:
        assert whole.x is not None
        return whole.x, str(encoder.recipe["name"])
    there = [each for each in surveys.values() if len(each.rows)]
    flat = [Features(each.small.flatten(1).float() / 255, None, each.rows) for each in there]
    return torch.cat([principal_components(flat[0], each, COMPONENTS)[1].x for each in flat]), PIXELS


def _by_size(centroids: Tensor, assigned: Tensor) -> tuple[Tensor, Tensor]:
    """Clusters numbered from the largest, empty ones left out."""
    counts = assigned.bincount(minlength=len(centroids))
    order = counts.argsort(descending=True, stable=True)[: int((counts > 0).sum())]
    number = torch.zeros(len(centroids), dtype=torch.int64)
    number[order] = torch.arange(len(order))
    return centroids[order], number[assigned]


def _labels(sources: Mapping[str, Source]) -> tuple[Tensor, list[str]]:
    parts = [
        torch.full((len(each),), -1) if each.labels is None else each.labels for each in sources.values()
    ]
    labels = torch.cat(parts)
    if not len(labels) or int(labels.max()) < 0:
        return labels, []
    named = next((each.classes for each in sources.values() if each.classes), None)
    return labels, list(named or map(str, range(int(labels.max()) + 1)))


def voters(labels: Tensor) -> int:
    """Neighbours that judge a label: half the images of a class, so that a class can outvote the others."""
    return min(VOTERS, max(K, len(labels) // (2 * len(labels.unique()))))


def _leak(found: Inspection, labels: Tensor) -> Leakage | None:
    """Of the readable images, each test image without the training images of its component."""
    test = found.test[found.readable]
    if not test.any() or test.all():
        return None
    bank, queries = (~test).nonzero().flatten(), test.nonzero().flatten()
    component = found.component[found.readable]
    in_bank: dict[int, list[int]] = {}
    asked = set(component[queries].tolist())
    for place, number in enumerate(component[bank].tolist()):
        if number in asked:
            in_bank.setdefault(number, []).append(place)
    both = [
        (place, query)
        for query, number in enumerate(component[queries].tolist())
        for place in in_bank.get(number, [])
    ][:MOST_PAIRS]
    first, second = torch.tensor(both, dtype=torch.int64).view(-1, 2).t()
    copies = Pairs(first, second, torch.ones(len(first)), 0)
    return leakage(found.x[bank], labels[bank], found.x[queries], labels[queries], copies, VOTING)
