"""Which member of a tar shard is a sample's image, and which its label."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from selfsup.data.readers.kinds import ending_of, is_image_name, unread_picture
from selfsup.data.readers.labels import label_text

LOSSY = ("jpg", "jpeg", "jpe", "jfif")  # lossy formats, in which masks are never written
COMMON = 0.5  # share of samples with a kind of image, from which it counts as one of several of each sample
TRIED = 3  # samples whose images are checked


@dataclass
class Sample:
    """Members that are named alike up to the first dot of the last part.

    Attributes:
        images: where each image's header begins, by what follows that dot, in lower case.
        label: its text; None without.
    """

    images: dict[str, int] = field(default_factory=dict)
    label: str | None = None


class Samples:
    """The samples of one shard, in the order of their first images, made member by member.

    Attributes:
        left_out: members that may be pictures and are not used as images, by the reason.
    """

    def __init__(self) -> None:
        self.each: list[Sample] = []
        self.left_out: dict[str, int] = {}
        self._last: dict[tuple[str, str], Sample] = {}
        self._labels: dict[tuple[str, str], tuple[bool, str]] = {}

    def add_image(self, key: tuple[str, str], kind: str, offset: int) -> None:
        """Add an image; a second one of the same kind begins another sample of that name."""
        sample = self._last.get(key)
        if sample is None or kind in sample.images:
            sample = self._last[key] = Sample()
            self.each.append(sample)
        sample.images[kind] = offset

    def add_label(self, key: tuple[str, str], text: str | None, of_cls: bool) -> None:
        """Add a label from anywhere in the shard; that of ``.cls`` takes precedence over that of
        ``.json``."""
        if text is not None and (of_cls or key not in self._labels):
            self._labels[key] = of_cls, text

    def add_other(self, name: str) -> None:
        """Add a member that is neither."""
        if (reason := unread_picture(ending_of(name))) is not None:
            self.left_out[reason] = self.left_out.get(reason, 0) + 1

    def chosen(self, few_values: Callable[[int], bool]) -> tuple[list[int], list[str | None]]:
        """One image of each sample: its offset, and its label.

        Kinds of images that half of the samples have are several images of one sample, such as ``png`` and
        ``seg.png``. One of these is used: preferably not a mask, with the fewest dots, in a format that masks
        do not have.

        Args:
            few_values: whether the image at an offset looks like a mask.
        """
        for key, (_, text) in self._labels.items():
            if key in self._last:
                self._last[key].label = text
        common = self._common()
        order = self._order(common, few_values) if len(common) > 1 else common
        starts: list[int] = []
        labels: list[str | None] = []
        for sample in self.each:
            mine = [kind for kind in order if kind in sample.images]
            aside = set(mine[1:])
            for kind in mine[1:]:
                reason = f"another image of a sample, .{kind} beside .{mine[0]}"
                self.left_out[reason] = self.left_out.get(reason, 0) + 1
            for kind, offset in sample.images.items():
                if kind not in aside:
                    starts.append(offset)
                    labels.append(sample.label)
        return starts, labels

    def _common(self) -> list[str]:
        counts: dict[str, int] = {}
        for sample in self.each:
            for kind in sample.images:
                counts[kind] = counts.get(kind, 0) + 1
        return [
            kind
            for kind, count in counts.items()
            # Names such as 2024.01.31.jpg have dots that separate nothing.
            if count >= COMMON * len(self.each) and not kind.partition(".")[0].isdecimal()
        ]

    def _order(self, kinds: Sequence[str], few_values: Callable[[int], bool]) -> list[str]:
        """Kinds of images, the one to take first."""
        tried = [sample for sample in self.each if set(kinds) <= set(sample.images)][:TRIED]

        def rank(kind: str) -> tuple[bool, int, bool, int, str]:
            masks = bool(tried) and all(few_values(sample.images[kind]) for sample in tried)
            return masks, kind.count("."), kind.rpartition(".")[2] not in LOSSY, len(kind), kind

        return sorted(kinds, key=rank)


def label_of(content: bytes, of_cls: bool, label_key: str) -> str | None:
    """The label in a ``.cls`` or ``.json`` member; None if it has none.

    >>> label_of(b"7\\n", True, ""), label_of(b'{"kind": 1.0}', False, "kind"), label_of(b"[", False, "kind")
    ('7', '1', None)
    """
    if of_cls:
        return label_text(content)
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return label_text(found.get(label_key)) if isinstance(found, dict) else None


def is_image_kind(kind: str) -> bool:
    """Whether the text after a name's first dot is an image's ending."""
    return is_image_name(f".{kind}")
