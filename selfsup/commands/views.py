"""``selfsup views``: a contact sheet of what a training command would see."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from selfsup.commands.train import check
from selfsup.config import require_positive
from selfsup.errors import UsageError


def run(config: dict[str, Any]) -> None:
    """Write the sheet and print where it is.

    Args:
        config: of ``configs/views-command.yaml``: all settings of ``train``, and three of its own.

    Raises:
        UsageError: where training would raise it, or where the file exists or cannot be.
    """
    if config["resume"]:
        raise UsageError("views shows the first batch of a new run; leave resume= out")
    check({**config, "name": None})
    require_positive(config, "images")
    path = target(config)

    import torch

    from selfsup.data import load_data
    from selfsup.run.build import count_devices, make_encoder, make_method, quiet
    from selfsup.run.contact_sheet import contact_sheet

    quiet()
    on_gpu = torch.cuda.is_available() and config["trainer"]["accelerator"] != "cpu"
    devices = count_devices(config["trainer"], on_gpu)
    source, _ = load_data(config["data"])
    method = make_method(config, make_encoder(config), devices)
    sheet, skipped = contact_sheet(
        method,
        source,
        view_names(config["views"]),
        config["batch_size"],
        devices * config["trainer"]["num_nodes"],
        config["images"],
        f"{config['method']['name']} on {config['data']['name']}: the first of {len(source)} images, "
        f"seed {config['seed']}, epoch 0",
    )
    try:
        sheet.save(path)
    except OSError as error:
        raise UsageError(f"cannot write '{path}' ({error.strerror}); name another with file=") from error
    for name, reason in skipped:
        print(f"cannot read {name}: {reason}")
    print(f"The contact sheet is in {path}")


def view_names(views: dict[str, Any]) -> list[str]:
    """A name for each view of a plan.

    >>> view_names({"first": {"count": 1}, "small": {"count": 2}, "none": {"count": 0}})
    ['first', 'small 1', 'small 2']
    """
    return [
        kind if view["count"] == 1 else f"{kind} {number + 1}"
        for kind, view in views.items()
        for number in range(view["count"])
    ]


def target(config: dict[str, Any]) -> Path:
    """The file to write, which is not there yet unless ``overwrite`` is set."""
    if config["file"] is None:
        return next(path for path in _candidates(config) if config["overwrite"] or not path.exists())
    path = Path(str(config["file"])).expanduser()
    if path.suffix.lower() != ".png":
        raise UsageError(f"file='{path}': a contact sheet is a PNG; let its name end in .png")
    if not path.parent.is_dir():
        raise UsageError(f"file='{path}': there is no folder '{path.parent}'")
    if path.exists() and not config["overwrite"]:
        raise UsageError(f"'{path}' exists and is not overwritten; name another, or set overwrite=true")
    return path


def _candidates(config: dict[str, Any]) -> Iterator[Path]:
    stem = f"views-{config['method']['name']}-{config['data']['name']}"
    yield Path(f"{stem}.png")
    yield from (Path(f"{stem}-{number}.png") for number in count(2))
