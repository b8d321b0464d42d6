"""What to set for a set of images, each setting with the reason for it."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch

from selfsup.build import count_samples, make_encoder, make_method
from selfsup.callbacks.length import IMAGES, STEPS, duration
from selfsup.config import load_config
from selfsup.curation.survey import Survey, survey
from selfsup.data import Source, load_data
from selfsup.data.batches import make_order, training_loader
from selfsup.data.source import subset
from selfsup.data.statistics import keep_measured
from selfsup.encoder import Encoder
from selfsup.errors import UsageError
from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.features.extract import evenly
from selfsup.evaluation.label_free.rotation import rotation
from selfsup.evidence import Measured, measured
from selfsup.methods.base import Method
from selfsup.views import view_kinds

LARGEST = {
    "cpu": 64,
    "gpu": 224,
}  # pixels a side: of a larger image, a step takes too long to learn from many
SIZES = (16, 32, 64, 96, 128, 224)
TITLES = {"digits": "scikit-learn's digits", "cifar10-cpu": "10,000 images of CIFAR-10"}
WARM, TIMED = 2, 4  # steps


@dataclass
class Advice:
    """A line a choice, and what is typed for all of them.

    Attributes:
        lines: what is advised, and why.
        settings: of ``selfsup train``, without those of the data that were given.
        method: the advised one.
    """

    lines: list[tuple[str, str]] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)
    method: str = ""

    def add(self, why: str, *settings: str, what: str = "") -> None:
        self.lines.append((what or " ".join(settings), why))
        self.settings += settings


def advise(
    source: Source, given: Sequence[str], *, by: str, minutes: float | None, images: int, seed: int, gpu: bool
) -> Advice:
    """Settings for a source, with reasons measured on it, on this machine, or on other images before.

    Args:
        source: the training images.
        given: settings of the data that were typed, which are kept.
        by: ``linear`` or ``knn``, how methods are compared.
        minutes: of training, at most; None for as many images as the runs behind the advice saw.
        images: to look at.
        gpu: whether there is one to train on.

    Raises:
        UsageError: no image can be read, or there are too few to train on.
    """
    found, advice = survey(subset(source, evenly(len(source), images).nonzero().flatten())), Advice()
    if not len(found.rows):
        raise UsageError(f"none of {len(found.seen)} images can be read; selfsup inspect says why")
    named = {each.partition("=")[0] for each in given}
    size = _size(found, advice, "gpu" if gpu else "cpu", named)
    _channels(found, advice, named)
    _upright(found, advice, named)
    _copies(found, advice)
    best = _method(advice, "digits" if _like_digits(found, size) else "cifar10-cpu", by, size)
    advice.method = best.method
    config = load_config("train", [*given, *advice.settings, f"seed={seed}"])
    if config["data"]["channels"] != source.channels:
        source, _ = load_data(config["data"], measure=True)
    keep_measured(config["data"], source)
    encoder = make_encoder(config)
    _network(advice, config, encoder)
    _length(advice, config, encoder, best, source, minutes)
    return advice


def _sides(found: Survey) -> list[int]:
    return [min(each.width, each.height) for each in found.seen if each.width and each.height]


def _size(found: Survey, advice: Advice, device: str, named: set[str]) -> int:
    half = int(median(_sides(found)))
    size = min(next((each for each in SIZES if each >= half), SIZES[-1]), LARGEST[device])
    if "data.image_size" in named:
        return size
    why = f"half of {len(found.rows)} images that were looked at have a shorter side of {half} px or less"
    if half > LARGEST[device]:
        why += f", and without a GPU the cost of a step above {LARGEST[device]} px buys too few steps"
    advice.add(why, f"data.image_size={size}")
    return size


def _like_digits(found: Survey, size: int) -> bool:
    return size <= 16 and _grey(found)


def _grey(found: Survey) -> bool:
    return bool((found.small == found.small[:, :1]).all())


def _channels(found: Survey, advice: Advice, named: set[str]) -> None:
    if found.small.shape[1] == 3 and _grey(found) and not named & {"data.channels", "data.decode"}:
        why = "the three channels of every image that was looked at are the same"
        advice.add(why, "data.channels=1")


def _upright(found: Survey, advice: Advice, named: set[str]) -> None:
    """Whether a linear classifier on pixels tells quarter turns."""
    if "data.turns" in named:
        return
    small = found.small.float() / 255
    turned = torch.stack([small.rot90(quarter, (2, 3)).flatten(1) for quarter in range(4)])
    try:
        probe = rotation(turned)
    except NoScore as reason:
        advice.add(f"whether they have an upright cannot be told from pixels: {reason}", what="data.turns")
        return
    low, high = (100 * end for end in probe.interval)
    told = (
        f"pixels tell quarter turns in {100 * probe.accuracy:.0f} % [{low:.0f}, {high:.0f}], by chance 25 %"
    )
    if low > 25:
        advice.add(f"the images have an upright: {told}", what="data.turns=false, as it is")
    else:
        why = f"no upright shows: {told}; if a turned image means the same to you, add data.turns=true"
        advice.add(why, what="data.turns")


def _copies(found: Survey, advice: Advice) -> None:
    digests = [each.pixels for each in found.seen if each.pixels]
    if extra := len(digests) - len(set(digests)):
        why = f"{extra} of {len(digests)} images repeat another exactly; it finds and lists the others"
        advice.add(why, what="selfsup inspect first")


def _method(advice: Advice, near: str, by: str, size: int) -> Measured:
    """The method that judged best on the nearest measured images; of those not told apart, the quickest."""
    rows = sorted(measured(near), key=lambda row: -row.value(by))
    level = [row for row in rows if row.interval(by)[1] >= rows[0].interval(by)[0]]
    best = min(level, key=lambda row: row.minutes)
    others = [row.method for row in level if row is not best]
    listed = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
    score = "linear accuracy" if by == "linear" else "kNN accuracy"
    why = (
        f"of {len(rows)} methods measured on {TITLES[near]}, the nearest to yours, {best.method} has {score} "
        f"{100 * best.value(by):.1f} % (untrained {100 * best.untrained(by):.1f} %)"
    )
    if others:
        why += f"; {listed} cannot be told apart from the best and took longer"
    if size > 64:
        advice.add(f"{why}; nothing was measured at {size} px", f"method={best.method}")
    else:
        advice.add(f"{why}; with the backbone, batch and rate of that run", f"experiment={best.experiment}")
    return best


def _network(advice: Advice, config: Mapping[str, Any], encoder: Encoder) -> None:
    """What comes with the method: the backbone, its patches, and the views."""
    millions = sum(each.numel() for each in encoder.parameters()) / 1e6
    patches = ""
    if encoder.has_tokens:
        patches = f", patches of {encoder.patch_size} px, at least six a side"
    backbone, data = config["backbone"]["name"], config["data"]
    advice.add(f"comes with it: {millions:.1f} million parameters{patches}", what=f"backbone {backbone}")
    crops = f"crops of at least {100 * data['min_area']:.0f} % of an image (data.min_area)"
    mirrored = "mirrored or not (data.mirror)" if data["mirror"] else "not mirrored"
    seen = f"come with it: {crops}, {mirrored}; selfsup views shows them"
    advice.add(seen, what=f"views {', '.join(view_kinds(config['views']))}")


def _length(
    advice: Advice,
    config: dict[str, Any],
    encoder: Encoder,
    best: Measured,
    source: Source,
    minutes: float | None,
) -> None:
    batch = config["batch_size"]
    if len(source) < batch:
        batch = max(2, 2 ** int(math.log2(len(source))))
        advice.add(f"there are {len(source)} images", f"batch_size={batch}")
        config = {**config, "batch_size": batch}
    an_epoch, seconds = len(source) // batch, seconds_a_step(config, encoder, source)
    usual, seen = max(STEPS, math.ceil(IMAGES / batch)), best.images * best.epochs
    steps, why = max(seen // batch, usual), f"as many images as that run saw, {seen:,}"
    if minutes is not None and (most := int(60 * minutes / seconds)) < steps:
        steps, why = most, f"what {minutes:g} minutes allow"
        if most < usual:
            why += f", fewer than the {usual:,} steps by which every recorded run had learned"
    epochs = max(1, round(steps / an_epoch))
    took = f"{duration(epochs * an_epoch * seconds)} here, at {seconds:.2f} s a step of {batch} images"
    advice.add(f"{why}; {took}", f"trainer.max_epochs={epochs}")


def seconds_a_step(config: dict[str, Any], encoder: Encoder, source: Source) -> float:
    """The median time of a few real steps: views, both passes, and the optimizer."""
    count_samples(config, len(source))
    method: Method = make_method(config, encoder, devices=1).train()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    method = method.to(device)
    order = make_order(source, config["batch_size"], config["seed"])
    optimizer, times = method.configure_optimizers(), []
    loader = training_loader(source, method.views, order, workers=0, device=device)
    for step, raw in zip(range(WARM + TIMED), _repeated(loader), strict=False):
        started = time.perf_counter()
        method.set_rates(optimizer, step, WARM + TIMED)
        loss = method(method.batch(_there(raw, device), step, WARM + TIMED)).loss
        optimizer.zero_grad()
        loss.backward()
        method.before_update(step, WARM + TIMED)
        optimizer.step()
        method.after_step(step, WARM + TIMED)
        method.forget()
        loss.item()  # waits for a device
        times.append(time.perf_counter() - started)
    return median(times[WARM:] or times)


def _repeated(loader: Any) -> Any:
    while True:
        yield from loader


def _there(raw: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    return {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in raw.items()}
