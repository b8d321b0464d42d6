"""Copies of images: by bytes, by pixels, and near copies, which alignment confirms."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.curation.alignment import BLOCK, SCALES, similarity, textures, within
from selfsup.curation.pairs import Pairs, components
from selfsup.curation.survey import Survey
from selfsup.evaluation.classifiers.neighbours import neighbours

THRESHOLD = 0.85  # similarity from which two images count as near copies
LOOKED_AT = 0.6  # similarity of the coarse textures from which a candidate is looked at
COSINE = 0.7  # of a candidate's colours
COMPONENTS = 32  # of the pixels, of 16 x 16 colours
COARSE = 16  # pixels a side of the coarse textures
OF_ENCODER = 3  # nearest in an encoder's space that are candidates too
FITTED = 8192  # images that the components are those of
PART = 0.8  # of a side: the crops that are looked for
LARGEST_SHOWN = 12  # members of a component up to which all its pairs are compared
WHOLE_SCALES, PART_SCALES = SCALES[:3], SCALES[3:11]


class Copies(NamedTuple):
    """Copies among images that are numbered through, training before test images.

    Attributes:
        exact: int64 ``(M,)``, the first of each image's exact copies.
        pairs: candidates for near copies, among the first of each exact copies.
        component: int64 ``(M,)``, the lowest member of each image's exact and near copies.
        dropped: bool ``(M,)``, training images that repeat another, or a test image (:func:`redundant`).
    """

    exact: Tensor
    pairs: Pairs
    component: Tensor
    dropped: Tensor


def find_copies(survey: Survey, test: Tensor, threshold: float = THRESHOLD) -> Copies:
    """Exact and near copies among the images of a survey, and which of them to learn without.

    Args:
        survey: of all images; with features if an encoder is to bring candidates, too.
        test: bool ``(M,)``.
        threshold: similarity from which two images count as near copies.
    """
    seen, readable = survey.seen, survey.rows
    exact = same([each.pixels or (each.digest and f"bytes {each.digest}") for each in seen])
    first = (exact[readable] == readable).nonzero().flatten()  # among the readable
    x = None if survey.x is None else survey.x[first]
    found = near_copies(survey.small[first], survey.grey[first], x)
    pairs = found._replace(first=readable[first[found.first]], second=readable[first[found.second]])
    component = joined(exact, pairs, threshold)
    pixels = [(each.width or 0) * (each.height or 0) for each in seen]
    dropped = redundant(component, test, pixels, [each.bytes or 0 for each in seen])
    return Copies(exact, pairs, component, dropped & torch.isin(torch.arange(len(seen)), readable))


def leaked(component: Tensor, test: Tensor) -> Tensor:
    """bool ``(M,)``: training images whose component has a test image.

    >>> leaked(torch.tensor([0, 1, 0]), torch.tensor([False, False, True]))
    tensor([ True, False, False])
    """
    return torch.isin(component, component[test]) & ~test


def same(digests: Sequence[str | None]) -> Tensor:
    """The first position ``(N,)`` with the same digest; of None its own.

    >>> same(["a", "b", "a", None, None]).tolist()
    [0, 1, 0, 3, 4]
    """
    first: dict[str, int] = {}
    return torch.tensor(
        [i if each is None else first.setdefault(each, i) for i, each in enumerate(digests)],
        dtype=torch.int64,
    )


@torch.inference_mode()
def near_copies(
    small: Tensor,
    grey: Tensor,
    x: Tensor | None = None,
    progress: Callable[[int], None] = lambda searches: None,
) -> Pairs:
    """Pairs of images that may be copies of each other, with how well they match.

    Candidates are the nearest by colours at 16 x 16 pixels (32 components, each divided by the fourth root of
    its variance), of each image, of its four corner crops of 80 % a side, and of the mirror images of these;
    and the nearest in an encoder's space. Their textures are laid over each other
    (:mod:`selfsup.curation.alignment`), first at 16 pixels a side, then at 32.

    Args:
        small: uint8 ``(N, C, 16, 16)``, of distinct images.
        grey: uint8 ``(N, 32, 32)``.
        x: features ``(N, D)`` of an encoder, if there is one.
        progress: called after each of ten searches.

    Returns:
        Pairs that the coarse comparison leaves, first < second, sorted; from `THRESHOLD` on they are near
        copies. Each image brings the nearest candidates only: among many copies a group is whole, but not
        every pair of it is here.
    """
    if len(small) < 2:
        none = torch.zeros(0, dtype=torch.int64)
        return Pairs(none, none, torch.zeros(0), 0)
    project = _projection(small)
    keys = project(lambda images: images)
    fine, coarse = textures(grey), textures(grey, COARSE)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for mirror in (False, True):
        for corner in (None, (0, 0), (0, 1), (1, 0), (1, 1)):
            queries = project(partial(_turned, mirror=mirror, corner=corner))
            a, b = _nearest(keys, queries, 2, COSINE)
            found.append(_looked_at(a, b, mirror, corner is None, coarse, fine))
            progress(1)
    if x is not None:
        a, b = _nearest(x, x, OF_ENCODER, -1.0)
        a, b = torch.stack([torch.minimum(a, b), torch.maximum(a, b)]).unique(dim=1)
        likely = _in_blocks(similarity, coarse, coarse, a, b) >= LOOKED_AT
        a, b = a[likely], b[likely]
        found.append((a, b, _in_blocks(similarity, fine, fine, a, b)))
    first, second, value = (torch.cat(parts) for parts in zip(*found, strict=True))
    return _largest(first, second, value, len(small))


def _looked_at(
    a: Tensor, b: Tensor, mirror: bool, whole: bool, coarse: Tensor, fine: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The candidates whose textures match: b is the mirrored or plain a, or a part of it."""

    def match(scales: Sequence[float]) -> Callable[[Tensor, Tensor], Tensor]:
        def of(first: Tensor, second: Tensor) -> Tensor:
            first = first.flip(2) if mirror else first
            matched = within(first, second, scales)
            smaller = [scale for scale in scales if whole and scale < 1]
            return torch.maximum(matched, within(second, first, smaller)) if smaller else matched

        return of

    likely = _in_blocks(match((1.0,) if whole else (PART,)), coarse, coarse, a, b) >= LOOKED_AT
    a, b = a[likely], b[likely]
    return a, b, _in_blocks(match(WHOLE_SCALES if whole else PART_SCALES), fine, fine, a, b)


def _in_blocks(
    function: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor, a: Tensor, b: Tensor
) -> Tensor:
    parts = [function(x[i], y[j]) for i, j in zip(a.split(BLOCK), b.split(BLOCK), strict=True) if len(i)]
    return torch.cat([x.new_empty(0), *parts])


def _nearest(keys: Tensor, queries: Tensor, k: int, least: float) -> tuple[Tensor, Tensor]:
    """Pairs of a query and one of the k nearest other keys, of a cosine above ``least``."""
    value, index = neighbours(keys, queries, min(k + 1, len(keys)))
    own = torch.arange(len(queries))[:, None].expand_as(index)
    good = (value > least) & (index != own)
    return own[good], index[good]


def _projection(small: Tensor) -> Callable[[Callable[[Tensor], Tensor]], Tensor]:
    """A function that projects what another makes of the images, a block at a time, on their components."""
    some = small[:: -(-len(small) // FITTED)].flatten(1).float() / 255
    mean = some.mean(0)
    values, directions = torch.linalg.eigh((some - mean).t() @ (some - mean) / len(some))
    directions, values = directions.flip(1)[:, :COMPONENTS], values.flip(0)[:COMPONENTS]
    directions = directions / values.clamp(min=1e-6) ** 0.25

    def project(make: Callable[[Tensor], Tensor]) -> Tensor:
        blocks = (make(block.float() / 255) for block in small.split(BLOCK))
        return torch.cat([(images.flatten(1) - mean) @ directions for images in blocks])

    return project


def _turned(images: Tensor, mirror: bool, corner: tuple[int, int] | None) -> Tensor:
    images = images.flip(3) if mirror else images
    return images if corner is None else _corner(images, *corner)


def _corner(images: Tensor, down: int, right: int) -> Tensor:
    """A crop of 80 % a side, a quarter of the way from one of the corners to the other, enlarged."""
    side = round(images.shape[-1] / PART)
    large = F.interpolate(images, (side, side), mode="bilinear", align_corners=False)
    room = side - images.shape[-1]
    top, left = (room // 4 + each * (room - 2 * (room // 4)) for each in (down, right))
    return large[..., top : top + images.shape[-1], left : left + images.shape[-1]]


def _largest(a: Tensor, b: Tensor, value: Tensor, count: int) -> Pairs:
    """Every pair once, with its largest value."""
    key = torch.minimum(a, b) * count + torch.maximum(a, b)
    pairs, place = key.unique(return_inverse=True)
    most = torch.full((len(pairs),), -1.0).scatter_reduce(0, place, value, "amax")
    return Pairs(pairs // count, pairs % count, most, 0)


def joined(exact: Tensor, pairs: Pairs, threshold: float = THRESHOLD) -> Tensor:
    """The lowest member ``(N,)`` of each image's component, of exact and near copies together.

    Args:
        exact: the first of each one's exact copies ``(N,)``.
        pairs: of positions in ``0..N-1``.
    """
    near = pairs.similarity >= threshold
    own = torch.arange(len(exact))
    first = torch.cat([exact, pairs.first[near]])
    return components(first, torch.cat([own, pairs.second[near]]), len(exact))


def redundant(component: Tensor, test: Tensor, pixels: Sequence[int], size: Sequence[int]) -> Tensor:
    """Which training images ``(N,)`` (bool) to drop, so that of every component one is left.

    One with most pixels stays, of these the largest file, of these the first. Where a test image belongs to
    the component all its training images go; test images never do.

    Args:
        component: ``(N,)``, the lowest member of each one's component.
        test: bool ``(N,)``.
        pixels, size: of each image, and bytes of its file.

    >>> redundant(torch.tensor([0, 0, 2, 2]), torch.tensor([False] * 3 + [True]), [4, 9, 4, 4], [1, 1, 1, 1])
    tensor([ True, False,  True, False])
    """
    order = sorted(range(len(component)), key=lambda i: (not test[i], -pixels[i], -size[i], i))
    kept: dict[int, int] = {}
    for i in order:
        kept.setdefault(int(component[i]), i)
    stays = torch.tensor([kept[each] for each in component.tolist()], dtype=torch.int64)
    return (stays != torch.arange(len(component))) & ~test


def least_similar(members: Tensor, grey: Tensor) -> float:
    """The smallest similarity among a component's images, of its first dozen if it has more.

    A chain of copies of copies joins images that are not alike: this shows it.
    """
    some = textures(grey[members[:LARGEST_SHOWN]])
    first, second = torch.triu_indices(len(some), len(some), 1)
    return float(similarity(some[first], some[second]).min()) if len(first) else 1.0
