"""``selfsup search encoder=PATH data=NAME query=FILE``: the images most similar to one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfsup.commands.embed import check
from selfsup.data.settings import require_reading
from selfsup.errors import UsageError
from selfsup.terminal import typed
from selfsup.text import shown


def run(config: Mapping[str, Any]) -> None:
    """Print the ``config["k"]`` images nearest to ``config["query"]``, by cosine, nearest first.

    Args:
        config: of ``configs/search.yaml``, composed, resolved and checked for unknown keys.

    Raises:
        UsageError: before any image is encoded, if the configuration is wrong.
    """
    features, query = config["features"], Path(str(config["query"])).expanduser()
    name = check(config if features is None else {**config, "data": {}})
    require_reading(config["data"])
    if not query.is_file():
        raise UsageError(f"query: there is no file '{query}'")
    if features is not None and not Path(str(features)).exists():
        raise UsageError(f"features: there is no '{features}'; {typed('embed')} writes one")

    import torch

    from selfsup.commands.devices import find_device
    from selfsup.commands.images import tell_skipped
    from selfsup.data import ImageFiles, Source, UnreadableImage
    from selfsup.data.channels import ranged, read_as
    from selfsup.data.load import chosen_ranged, reading_for
    from selfsup.encoder import load_encoder
    from selfsup.evaluation.classifiers.neighbours import neighbours
    from selfsup.evaluation.features.embeddings import embed, read_embeddings
    from selfsup.evaluation.features.ranges import differing, range_for, with_channels

    encoder = load_encoder(name).to(find_device(config["device"]))
    data = with_channels(config["data"] or {}, {str(config["encoder"]): encoder}, config["overrides"])
    settings: dict[str, Any] = {"batch_size": config["batch_size"], "precision": config["precision"]}
    unread: list[tuple[str, str]] = []
    sources: dict[str, Source] = {}
    if features is None:
        sources = dict(zip(("train", "test"), chosen_ranged(data, encoder.range), strict=True))
        range_ = sources["train"].range
    else:
        setting = range_for({"encoder": encoder}, config["data"].get("range"))
        if isinstance(setting, str):
            raise UsageError("data.range=auto is measured on images, and features= has none; give numbers")
        range_ = setting
    for note in differing({str(config["encoder"]): encoder}, range_):
        print(note)
    one = ranged(read_as(ImageFiles([str(query)]), reading_for(data)), range_)
    asked = list(embed(encoder, {"query": one}, **settings, skipped=unread))
    if not asked:
        raise UsageError(f"query: {UnreadableImage(*unread[0])}")
    if features is not None:
        names, bank = read_embeddings(features, encoder, range_)
    else:
        skipped: list[tuple[str, str]] = []
        settings |= {"workers": config["data"]["workers"], "skipped": skipped}
        blocks = list(embed(encoder, sources, **settings))
        tell_skipped(skipped)
        if not blocks:
            raise UsageError("none of the images can be read")
        names = [name for block in blocks for name in block["names"]]
        bank = torch.cat([block["x"] for block in blocks])
    similarity, index = neighbours(bank, asked[0]["x"], min(config["k"], len(bank)))
    for value, i in zip(similarity[0].tolist(), index[0].tolist(), strict=True):
        print(f"{value:.4f}  {shown(names[i])}")
