"""A run's method, rebuilt from its settings and its newest checkpoint, and what it makes of images."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from selfsup.build import make_encoder, make_method
from selfsup.callbacks.checkpoint_files import read_checkpoint
from selfsup.data import Source
from selfsup.data.batches import Batches
from selfsup.encoder.limits import Bounded
from selfsup.errors import UsageError
from selfsup.evaluation.features.extract import evenly
from selfsup.methods.base import Method
from selfsup.methods.batch import Batch
from selfsup.report.folder import Run
from selfsup.report.gallery import denormalised
from selfsup.report.pictures import coloured, enlarged, figure
from selfsup.runtime import quiet
from selfsup.sides import in_words
from selfsup.text import shown

IMAGES = 4
LARGEST_SIDE, MOST_VALUES = 4096, 3 * 2**25  # of a view in pixels, and of all views of the images shown
# What comes of settings that are a stranger's, or of another version.
UNUSABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)
_SPARE = 384 * 2**20  # bytes of weights that may be made where no file of that size is beside the settings


def bounded(run: Run) -> Bounded:
    """A block in which tensors may be made in proportion to the weights in the run's folder, or of a few GiB.

    What the settings ask for may be anything.
    """
    files = [run.checkpoint, run.encoder and run.encoder / "model.safetensors"]
    size = sum(path.stat().st_size for path in files if path is not None and path.is_file())
    return Bounded(size + _SPARE, tensors=20_000)


def said(error: BaseException) -> str:
    """An error of a library in one line."""
    words = " ".join(str(error).split()) or type(error).__name__
    return shown(words if isinstance(error, UsageError) else f"{type(error).__name__}: {words}", 300)


def rebuild(run: Run) -> Method | None:
    """The method with the weights of the newest checkpoint, or untrained without one; None if it cannot be.

    What is wrong becomes a sentence in ``run.missing``.
    """
    if not run.config:
        return None
    quiet()
    try:
        with bounded(run):
            method = make_method(run.config, make_encoder(run.config), devices=1)
            _require_small(method)
    except UNUSABLE as error:
        run.missing.append(f"The settings are not of this version ({said(error)}).")
        return None
    if run.checkpoint is None:
        run.missing.append("There is no checkpoint, so that what the method makes of images is not shown.")
        return method
    try:
        method.load_state_dict(read_checkpoint(run.checkpoint)["state_dict"])
    except UNUSABLE as error:
        run.missing.append(f"{run.checkpoint.name} does not fit ({said(error)}).")
        run.checkpoint = None
    return method.eval()


def _require_small(method: Method) -> None:
    sizes = method.views.sizes
    values = IMAGES * method.views.channels * sum(height * width for height, width in sizes)
    if max(map(max, sizes)) > LARGEST_SIDE or values > MOST_VALUES:
        raise UsageError(f"{len(sizes)} views of up to {in_words(max(sizes))} are more than a report shows")


def views_seen(method: Method, source: Source) -> list[dict[str, Any]]:
    """A few training images, each with its views as the network gets them.

    Returns:
        One a kind of view and image: ``name``, and ``views``, figures.
    """
    rows, batch = few(method, source)
    shown = [denormalised(view, method.encoder) for view in batch.views]
    return [
        {
            "name": source.name(i),
            "views": [
                figure(
                    view[row],
                    f"view {number + 1} of training image {row + 1}, {_size(view)}",
                )
                for number, view in enumerate(shown)
            ],
        }
        for row, i in enumerate(rows)
    ]


def _size(view: Tensor) -> str:
    height, width = view.shape[-2:]
    return f"{width} pixels a side" if height == width else in_words((height, width))


@torch.inference_mode()
def made_of(method: Method, source: Source) -> list[dict[str, Any]]:
    """What the method makes of a few training images (:meth:`Method.pictures`): rows of figures by title."""
    _, batch = few(method, source)
    rows = []
    for title, tensor in method.pictures(batch).items():
        height, width = batch.views[0].shape[-2:]
        maps = tensor.ndim != 4
        shown = (
            enlarged(coloured(tensor, 0, 1), (height, width))
            if maps
            else denormalised(tensor, method.encoder)
        )
        rows.append(
            {
                "title": title,
                "figures": [figure(image, f"{title}, image {i + 1}") for i, image in enumerate(shown)],
            }
        )
    return rows


def gflops_of_training(method: Method, source: Source) -> float:
    """Multiplications and additions, in 10⁹, that an image costs in a step: all views, teacher, backward."""
    rows, batch = few(method, source)
    with FlopCounterMode(display=False) as counter, torch.enable_grad():
        method(batch).loss.backward()
    method.zero_grad()
    return float(counter.get_total_flops()) / 1e9 / len(rows)


def few(method: Method, source: Source) -> tuple[list[int], Batch]:
    """A few training images' places in the source, and the batch of them."""
    rows = evenly(len(source), IMAGES).nonzero().flatten().tolist()
    raw = Batches(source, method.views)[(0, rows)]
    if isinstance(raw, Exception):
        raise raw
    return raw["index"].tolist(), method.batch(raw, generator=torch.Generator().manual_seed(0))
