"""``selfsup evaluate encoder=PATH data=NAME``: judge a saved encoder, ours or timm's, or rank several."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfsup.commands.encoders import find_encoder, short_name, start_of
from selfsup.data.settings import other_data, require_paths, require_reading
from selfsup.errors import RunStopped, UsageError
from selfsup.processes import launched, together
from selfsup.text import shown


def run(config: Mapping[str, Any]) -> None:
    """Evaluate ``config["encoder"]`` on ``config["data"]``, print the table and write the results.

    Started by ``torchrun`` or ``srun``, processes share the images; the first prints and writes.

    Args:
        config: of ``configs/evaluate.yaml``, composed, resolved and checked for unknown keys.

    Raises:
        UsageError: before any image is encoded, if the configuration is wrong.
    """
    out, named = config["out"], encoder_names(config["encoder"])
    data, sources = data_configs(config)
    name = next(iter(named.values())) if len(named) == 1 else "comparison"

    from selfsup.commands.devices import find_device
    from selfsup.evaluation.results.files import require_place

    place = launched()
    require_place(out, name, str(data["name"]))
    device = find_device(config["device"], place.local_rank)

    from selfsup.commands.embed import tell_decisions
    from selfsup.data import load_data
    from selfsup.encoder import load_encoder
    from selfsup.evaluation import SETTINGS, Cache, default_folder, evaluate, print_table, write_results
    from selfsup.evaluation.features.ranges import differing, range_for, with_channels
    from selfsup.evaluation.results.classes import same_classes

    encoders = {called: load_encoder(name) for called, name in named.items()}
    alone = len(named) == 1
    starts = {
        "encoder" if alone else called: load_encoder(start)
        for called, name in named.items()
        if (start := start_of(name))
    }
    cache = None
    if config["cache"] is not None:
        folder = default_folder() if config["cache"] == "auto" else Path(str(config["cache"])).expanduser()
        cache = None if folder is None else Cache(folder, float(config["cache_gb"]))
        # What is in the cache need not be decoded; what is not will be, once.
        sources = {split: {**source, "in_memory": False} for split, source in sources.items()}
    sources = {
        split: with_channels(source, encoders, config["overrides"]) for split, source in sources.items()
    }
    train, test = load_data({**sources["bank"], "range": range_for(encoders, sources["bank"]["range"])})
    if sources["query"] != sources["bank"]:
        alike = {**sources["query"], "range": sources["query"]["range"] or train.range}
        test = same_classes(train, load_data(alike)[1])
    for note in differing(encoders, train.range):
        print(note)
    judged = next(iter(encoders.values())) if alone else encoders
    settings = {key: value for key, value in config.items() if key in SETTINGS}
    first = place.rank == 0
    if first:
        tell_decisions(train)
    with together(place):
        results = evaluate(
            judged, train, test, data, starts=starts, **settings, device=device, progress=first, cache=cache
        )
        if first:
            print_table(results)
            try:
                print(f"Results are in {shown(write_results(results, out, name))}")
            except OSError as error:
                raise RunStopped(
                    f"the results could not be written ({error.strerror or error}), only printed above"
                ) from error


def encoder_names(setting: Any) -> dict[str, str]:
    """What each encoder is called in the table, and its folder or name as given.

    Raises:
        UsageError: none, the same twice, or one that is not there.
    """
    given = setting if isinstance(setting, list) else [setting]
    if not given:
        raise UsageError("encoder=[] names no encoder; give at least one")
    names = [find_encoder(str(name)) for name in given]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"the encoder '{name}' is named twice; name each once")
    short = [short_name(name) for name in names]
    return {call if short.count(call) == 1 else name: name for call, name in zip(short, names, strict=True)}


def data_configs(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The data's configuration, named for the results, and the configurations of bank and query.

    Raises:
        UsageError: one of them names what is not there.
    """
    data = config["data"]
    sources = {
        split: other_data(split, config[split], data["name"]) if config[split] else dict(data)
        for split in ("bank", "query")
    }
    for source in sources.values():
        require_paths(source)
        require_reading(source)
    names = [source["name"] for source in sources.values()]
    name = names[0] if sources["bank"] == sources["query"] else f"{names[0]}-to-{names[1]}"
    return {**sources["bank"], "name": name}, sources
