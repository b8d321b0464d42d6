"""``selfsup views``: a contact sheet of what a training command would see."""

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from selfsup.commands.encoders import with_encoders
from selfsup.commands.train import check
from selfsup.errors import UsageError
from selfsup.files import fitting, require_writable, written_whole
from selfsup.text import shown


def run(config: dict[str, Any]) -> None:
    """Write the sheet and print where it is.

    Args:
        config: of ``configs/views-command.yaml``: all settings of ``train``, with ``out`` for the sheet, and
            two further ones.

    Raises:
        UsageError: where training would raise it, except for a batch larger than the data; or if the file
            exists or cannot be made.
    """
    for key in ("resume", "from", "anneal"):
        if config[key]:
            raise UsageError(f"views shows the first batch of a new run; leave {key}= out")
    config = with_encoders(dict(config))
    check({**config, "name": None})
    path = target(config)
    require_writable(path)

    import torch

    from selfsup.build import count_classes, count_devices, count_samples, make_encoder, make_method
    from selfsup.commands.images import tell
    from selfsup.data import load_data
    from selfsup.data.relations import make_relation
    from selfsup.data.statistics import keep_measured
    from selfsup.run.contact_sheet import contact_sheet
    from selfsup.runtime import quiet

    quiet()
    on_gpu = torch.cuda.is_available() and config["trainer"]["accelerator"] != "cpu"
    devices = count_devices(config["trainer"], on_gpu)
    batch, world = config["batch_size"], devices * config["trainer"]["num_nodes"]
    source, test = load_data(config["data"], measure=True)
    keep_measured(config["data"], source)
    count_samples(config, len(source))
    count_classes(config, source)
    source.relation = make_relation(config, source, test, batch * world)
    tell(source)
    method = make_method(config, make_encoder(config), devices, source.relation)
    if left_out := method.views.left_out():
        print(left_out)
    if batch * world > len(source):
        most = max(1, len(source) // world)
        print(f"training on these {len(source)} images needs a batch_size of {most} or less")
        batch, world = len(source), 1
    sheet, skipped = contact_sheet(
        method,
        source,
        view_names(config["views"]),
        batch,
        world,
        config["images"],
        f"{config['method']['name']} on {config['data']['name']}: the first of {len(source)} images, "
        f"seed {config['seed']}, epoch 0",
    )
    try:
        with written_whole(path, overwrite=config["overwrite"], make_folders=True) as file:
            sheet.save(file, "PNG")
    except FileExistsError as error:
        raise UsageError(
            f"'{path}' exists and is not overwritten; name another, or set overwrite=true"
        ) from error
    except OSError as error:
        raise UsageError(f"cannot write '{path}' ({error.strerror}); name another with out=") from error
    for name, reason in skipped:
        print(f"cannot read {shown(name)}: {shown(reason)}")
    print(f"The contact sheet is in {shown(path)}")


def view_names(views: dict[str, Any]) -> list[str]:
    """A name for each view of a plan.

    >>> view_names({"first": {"count": 1}, "small": {"count": 2}, "none": {"count": 0}})
    ['first', 'small 1', 'small 2']
    """
    return [
        kind if view["count"] == 1 else f"{kind} {number + 1}"
        for kind, view in views.items()
        if kind != "repeat"
        for number in range(view["count"])
    ]


def target(config: dict[str, Any]) -> Path:
    """The file to write, which is not there yet unless ``overwrite`` is set."""
    path = Path() if config["out"] is None else Path(str(config["out"])).expanduser()
    if path.suffix.lower() != ".png":
        if not path.is_dir():
            raise UsageError(f"out='{path}' is not a folder; for a contact sheet, end the name in .png")
        return next(
            each for each in _candidates(path, config) if config["overwrite"] or not os.path.lexists(each)
        )
    if not path.parent.is_dir():
        raise UsageError(f"out='{path}': there is no folder '{path.parent}'")
    if os.path.lexists(path) and not config["overwrite"]:
        raise UsageError(f"'{path}' exists and is not overwritten; name another, or set overwrite=true")
    return path


def _candidates(folder: Path, config: dict[str, Any]) -> Iterator[Path]:
    stem = fitting(f"views-{config['method']['name']}-{config['data']['name']}".replace("/", "-"))
    yield folder / f"{stem}.png"
    yield from (folder / f"{stem}-{number}.png" for number in count(2))
