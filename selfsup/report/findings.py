"""What an inspection found, by weight, each with the command that mends it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from selfsup.curation.inspection import Inspection
from selfsup.evaluation.results.verdict import SIGNS

UNEVEN = 10  # times as many images in the largest class as in the smallest
AGREEMENT = 0.6  # share of labels that most neighbours have, below which the others say nothing
RARE = 0.1  # of the share that each class would have if all had one size
_TONES = ("bad", "mixed", "good", "unknown")


@dataclass(frozen=True)
class Finding:
    """A sentence for somebody who has a minute.

    Attributes:
        tone: bad, mixed or good.
        title: what was found.
        says: what it means, and what to do.
        commands: that do it.
        section: the anchor on the page where it is shown.
    """

    tone: str
    title: str
    says: str = ""
    commands: list[str] = field(default_factory=list)
    section: str = ""

    @property
    def sign(self) -> str:
        return SIGNS[self.tone]


def findings(found: Inspection, commands: Mapping[str, str]) -> list[Finding]:
    """What to do next, the heaviest first.

    Args:
        commands: to type, by ``kept``, ``train``, ``labels``, ``outliers``, ``balanced`` and ``evaluate``.
    """
    parts: list[Callable[[Inspection, Mapping[str, str]], Finding | None]]
    parts = [_leaked, _unreadable, _copies, _labels, _classes, _outliers, _flat]
    told = [each for part in parts if (each := part(found, commands)) is not None]
    return sorted(told, key=lambda each: _TONES.index(each.tone))


def number(count: int, one: str, many: str = "") -> str:
    """A number with its noun.

    >>> number(1, "copy", "copies"), number(1200, "image")
    ('1 copy', '1,200 images')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _leaked(found: Inspection, commands: Mapping[str, str]) -> Finding | None:
    if not found.test.any():
        return Finding("mixed", "There are no test images", "So nothing is said about copies of them.")
    leaked = int(found.leaked.sum())
    if not leaked:
        return Finding("good", "No training image is a copy of a test image", section="leakage")
    effect = found.leak
    says = "A score on such test images rewards memory."
    if effect is not None:
        says = (
            f"They add {100 * effect.effect:.2f} points to kNN accuracy (95 % interval "
            f"{100 * effect.low:.2f} to {100 * effect.high:.2f}). "
        ) + says
    says += " Learn from the others:"
    title = f"{number(leaked, 'training image is a copy', 'training images are copies')} of test images"
    return Finding("bad", title, says, [commands["kept"], commands["train"]], "leakage")


def _copies(found: Inspection, commands: Mapping[str, str]) -> Finding | None:
    redundant = found.dropped & ~found.leaked
    count, total = int(redundant.sum()), int((~found.test).sum())
    if not count:
        return Finding("good", "No training image repeats another", section="copies")
    exact = int((redundant & (found.exact != torch.arange(len(found.exact)))).sum())
    share = count / max(total, 1)
    title = (
        f"{number(count, 'training image repeats', 'training images repeat')} another ({100 * share:.1f} %)"
    )
    says = f"{exact:,} of them pixel by pixel. Of each group the largest is kept; nothing is deleted:"
    return Finding(
        "bad" if share >= 0.01 else "mixed", title, says, [commands["kept"], commands["train"]], "copies"
    )


def _unreadable(found: Inspection, commands: Mapping[str, str]) -> Finding | None:
    bad = [each for each in found.seen if each.reason is not None]
    if not bad:
        return Finding("good", f"All {len(found.seen):,} images can be read", section="unreadable")
    needed = -(-1000 * len(bad) // len(found.seen)) / 1000
    says = "Repair or remove them. Training leaves out up to 1 % of unreadable images by itself"
    says += f"; here it needs data.max_unreadable={needed:g}:" if needed > 0.01 else "."
    typed = [commands["train"].replace("data.indices=kept.npy", f"data.max_unreadable={needed:g}")]
    title = f"{number(len(bad), 'image')} cannot be read"
    return Finding("bad", title, says, typed if needed > 0.01 else [], "unreadable")


def _labels(found: Inspection, commands: Mapping[str, str]) -> Finding | None:
    if not found.classes:
        return Finding("good", "No labels", "None are needed to learn; nothing is said about classes.")
    if found.doubtful is None:
        return Finding("mixed", "Labels were not compared with neighbours", "That needs two classes or more.")
    assert found.quality is not None
    agree = float((found.quality > 0.5).double().mean())
    if agree < AGREEMENT:
        title = (
            f"Labels cannot be judged: only {100 * agree:.0f} % agree with their neighbours ({found.space})"
        )
        return Finding(
            "mixed", title, "An encoder trained on these images knows more: pass encoder=.", [], "labels"
        )
    count = int(found.doubtful.sum())
    if not count:
        return Finding("good", "No label is contradicted by its neighbours", section="labels")
    share = count / len(found.doubtful)
    says = (
        "Look at the first of them. Neighbours may be wrong, the more so in plain pixels: these are hints, "
        "no verdicts. To leave out those that most neighbours contradict:"
    )
    title = f"{number(count, 'label')} ({100 * share:.1f} %) to look at, as their neighbours have another"
    return Finding("mixed", title, says, [commands["labels"]], "labels")


def _classes(found: Inspection, commands: Mapping[str, str]) -> Finding | None:
    labels = found.labels[(found.labels >= 0) & ~found.test]
    if not found.classes or not len(labels):
        return None
    counts = labels.bincount(minlength=len(found.classes))
    present = counts[counts > 0]
    if len(present) == 1:
        return Finding("mixed", "All training images have one label", "A score by class needs a second one.")
    ratio = float(present.max()) / float(present.min())
    rarest = int(torch.where(counts > 0, counts, counts.max() + 1).argmin())
    if ratio < UNEVEN and int(counts[rarest]) >= RARE * len(labels) / len(present):
        return Finding(
            "good", f"The largest class has {ratio:.1f} times the images of the smallest", section="classes"
        )
    title = f"Classes are uneven, the largest has {ratio:.0f} times the images of the smallest"
    says = (
        f"Class '{found.classes[rarest]}' has {number(int(counts[rarest]), 'training image')}. What is "
        "rare is learned badly; images balanced over clusters, without labels:"
    )
    return Finding("mixed", title, says, [commands["balanced"]], "classes")


def _outliers(found: Inspection, commands: Mapping[str, str]) -> Finding | None:
    count = int((found.strange > found.limit).sum())
    if not count:
        return Finding("good", "No image is far from all others", section="outliers")
    title = f"{number(count, 'image is', 'images are')} far from all others"
    says = "Perhaps the wrong kind of picture, perhaps a rare one that is worth having. To leave them out:"
    typed = [commands["outliers"].replace("{limit}", f"{found.limit:.3f}")]
    return Finding("mixed", title, says, typed, "outliers")


def _flat(found: Inspection, commands: Mapping[str, str]) -> Finding | None:
    flat = [each for each in found.seen if each.low is not None and each.low == each.high]
    if not flat:
        return None
    title = f"{number(len(flat), 'image has', 'images have')} a single value everywhere"
    return Finding("mixed", title, f"The first is '{flat[0].name}'. Look at what wrote them.", [], "values")
