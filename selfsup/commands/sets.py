"""``selfsup evaluate encoder=PATH data=[NAME,KIND:PATH,…]``: judge encoders on several sets of images."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from selfsup.data.settings import other_data, require_paths, require_reading
from selfsup.errors import UsageError
from selfsup.text import shown

CALLED = "sets"  # in the name of the file of results


@dataclass
class Opened:
    """A set of images, and who can be judged on it.

    Attributes:
        data: its configuration.
        train, test: its images, not yet decoded.
        fitting: the encoders that take them.
        refused: why the others do not, ``short`` for a cell and as a ``reason``.
    """

    data: dict[str, Any]
    train: Any
    test: Any
    fitting: dict[str, Any]
    refused: dict[str, dict[str, str]]


def set_configs(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The data configuration of each set by name.

    Raises:
        UsageError: one of them names what is not there, two are the same, or a bank or query is given.
    """
    for key in ("bank", "banks", "query"):
        if config[key]:
            raise UsageError(f"{key}= is about one set of images; leave it out, or take data=NAME alone")
    found = {}
    for name, settings in config["sets"].items():
        if not isinstance(settings, Mapping):
            raise UsageError(f"sets.{name} holds settings, such as sets.{name}.root=PATH, not '{settings}'")
        found[name] = other_data(f"sets.{name}", settings, name)
        try:
            require_paths(found[name])
            require_reading(found[name])
        except UsageError as error:
            raise UsageError(f"sets.{name}: {error}") from error
    for one, other in combinations(found, 2):
        if found[one] == found[other]:
            raise UsageError(f"sets.{one} and sets.{other} are the same images; name each set once")
    return found


def run_sets(config: Mapping[str, Any], named: Mapping[str, str]) -> None:
    """Evaluate the encoders on each of ``config["sets"]``, print the tables and write the results.

    An encoder that cannot take the images of a set keeps its row, with the reason.

    Args:
        config: of ``configs/evaluate.yaml``.
        named: what each encoder is called, and its folder or name.

    Raises:
        UsageError: before any image is encoded, if the configuration is wrong.
    """
    configs = set_configs(config)

    from selfsup.commands.evaluate import prepare, write
    from selfsup.commands.images import tell
    from selfsup.evaluation import evaluate
    from selfsup.evaluation.results.across import across
    from selfsup.evaluation.results.across_table import print_across
    from selfsup.evaluation.suite import versions
    from selfsup.processes import together

    ready = prepare(config, named, CALLED, CALLED)
    sets = {
        name: open_set(name, data, config["sets"][name], ready.encoders) for name, data in configs.items()
    }
    protocols = config["protocols"]
    found: dict[str, dict[str, Any]] = {}
    with together(ready.place):
        for name, each in sets.items():
            if ready.first:
                print(f"{shown(name)}:")
            tell(each.train)
            unlabelled = each.train.labels is None or each.test.labels is None
            if unlabelled and all(protocol["labels"] for protocol in protocols.values()):
                why = f"the images have no labels, which {', '.join(protocols)} need"
                found[name] = _none(name, each, "no labels", why)
                continue
            starts = {key: start for key, start in ready.starts.items() if key in each.fitting}
            try:
                results = evaluate(each.fitting, each.train, each.test, each.data, starts=starts, **ready.how)
            except UsageError as error:
                found[name] = _none(name, each, "not judged", str(error))
            else:
                found[name] = {**results, "data": name, "refused": each.refused}
    results = {
        "data": ", ".join(found),
        "minutes": {called: encoder.card.get("minutes") for called, encoder in ready.encoders.items()},
        "across": across(found),
        "sets": found,
        "versions": versions(),
    }
    if ready.first:
        print_across(results)
        write(results, config["out"], CALLED)


def open_set(
    name: str, data: dict[str, Any], typed: Mapping[str, Any], encoders: Mapping[str, Any]
) -> Opened:
    """The images of a set, read with the channels and the range of the first encoder that fits it.

    Args:
        typed: its settings that the command gives: ``channels`` among them is kept.

    Raises:
        UsageError: the images cannot be read, or no encoder takes them.
    """
    from selfsup.data import load_data
    from selfsup.data.labels import labelled

    first, *_ = encoders.values()
    channels = data["channels"] if "channels" in typed else first.channels
    fitting = {key: each for key, each in encoders.items() if each.channels == channels}
    if not fitting:
        raise UsageError(
            f"sets.{name}.channels={channels}: no encoder takes images of so many channels; "
            f"'{next(iter(encoders))}' takes {first.channels}"
        )
    refused = {
        key: _why(
            _channels(each.channels),
            f"it takes images of {_channels(each.channels)}, and these are read with {channels}",
        )
        for key, each in encoders.items()
        if key not in fitting
    }
    range = data["range"]
    if range is None:
        range = next(iter(fitting.values())).range
        for key in [key for key, each in fitting.items() if each.range != range]:
            refused[key] = _why(
                "other range",
                "it was trained with another data.range than the first encoder; judge it apart, or give "
                "all the same with data.range=[low,high]",
            )
            del fitting[key]
    try:
        # Each image is decoded when it is encoded: sets together may not fit in memory.
        settings = {**data, "channels": channels, "range": range, "in_memory": False}
        train, test = labelled(data, *load_data(settings))
    except UsageError as error:
        raise UsageError(f"sets.{name}: {error}") from error
    return Opened(data, train, test, fitting, refused)


def _why(short: str, reason: str) -> dict[str, str]:
    return {"short": short, "reason": reason}


def _none(name: str, each: Opened, short: str, reason: str) -> dict[str, Any]:
    """Results without a row: nobody could be judged on these images."""
    refused = {**dict.fromkeys(each.fitting, _why(short, reason)), **each.refused}
    return {"data": name, "labels": None, "rows": [], "refused": refused}


def _channels(count: int) -> str:
    return f"{count} channel{'s' if count > 1 else ''}"
