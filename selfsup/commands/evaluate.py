"""``selfsup evaluate encoder=PATH data=NAME``: judge a saved encoder, ours or timm's, or rank several."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from selfsup.commands.encoders import find_encoder, short_name, start_of
from selfsup.commands.sets import run_sets
from selfsup.data.settings import other_data, require_paths, require_reading
from selfsup.errors import RunStopped, UsageError
from selfsup.processes import Place, launched, together
from selfsup.text import shown


@dataclass
class Ready:
    """What is needed to judge encoders on any images.

    Attributes:
        place: this process among others.
        encoders: by the name in the table.
        starts: what their training began with, of those that began from weights.
        cache: of features, or None.
        how: keyword arguments of :func:`selfsup.evaluation.evaluate` for any encoders and images.
    """

    place: Place
    encoders: dict[str, Any]
    starts: dict[str, Any]
    cache: Any
    how: dict[str, Any]

    @property
    def first(self) -> bool:
        """Whether this process prints and writes."""
        return self.place.rank == 0


def run(config: Mapping[str, Any]) -> None:
    """Evaluate ``config["encoder"]`` on ``config["data"]``, print the table and write the results.

    Started by ``torchrun`` or ``srun``, processes share the images; the first prints and writes.

    Args:
        config: of ``configs/evaluate.yaml``, composed, resolved and checked for unknown keys.

    Raises:
        UsageError: before any image is encoded, if the configuration is wrong.
    """
    named = encoder_names(config["encoder"])
    if config["sets"]:
        run_sets(config, named)
        return
    data, banks, query = data_configs(config)
    alone = len(named) == 1
    name = next(iter(named.values())) if alone else "comparison"
    ready = prepare(config, named, name, str(data["name"]))

    from selfsup.commands.images import tell
    from selfsup.evaluation import evaluate, print_table
    from selfsup.evaluation.features.ranges import differing
    from selfsup.evaluation.results.banks import beside

    cached = ready.cache is not None
    pairs = _sources(banks, query, ready.encoders, config["overrides"], decoded=not cached)
    for note in dict.fromkeys(
        note for train, _ in pairs.values() for note in differing(ready.encoders, train.range)
    ):
        print(note)
    judged = next(iter(ready.encoders.values())) if alone else ready.encoders
    starts = dict(zip(["encoder"], ready.starts.values(), strict=False)) if alone else ready.starts
    for train, _ in pairs.values():
        tell(train)
    with together(ready.place), _kept_once(ready.cache, len(pairs)) as cache:
        how = {**ready.how, "starts": starts, "cache": cache}
        found = {bank: evaluate(judged, *pair, data, **how) for bank, pair in pairs.items()}
        results = beside(found) if config["banks"] else found["bank"]
        if ready.first:
            print_table(results)
            write(results, config["out"], name)


def prepare(config: Mapping[str, Any], named: Mapping[str, str], name: str, data: str) -> Ready:
    """Load the encoders, after whatever can be refused without torch.

    Args:
        config: of the command.
        named: of :func:`encoder_names`.
        name, data: of the encoders and of the images in the name of the file of results.

    Raises:
        UsageError: an encoder cannot be loaded, or the results could not be written.
    """
    from selfsup.commands.devices import find_device
    from selfsup.evaluation.results.files import require_place

    place = launched()
    require_place(config["out"], name, data)
    device = find_device(config["device"], place.local_rank)

    from selfsup.encoder import load_encoder
    from selfsup.evaluation import SETTINGS, Cache, default_folder

    encoders = {called: load_encoder(path) for called, path in named.items()}
    starts = {
        called: load_encoder(start) for called, path in named.items() if (start := start_of(path)) is not None
    }
    cache = None
    if config["cache"] is not None:
        folder = default_folder() if config["cache"] == "auto" else Path(str(config["cache"])).expanduser()
        cache = None if folder is None else Cache(folder, float(config["cache_gb"]))
    settings = {key: value for key, value in config.items() if key in SETTINGS}
    how = {**settings, "device": device, "progress": place.rank == 0, "cache": cache}
    return Ready(place, encoders, starts, cache, how)


def write(results: Mapping[str, Any], out: Any, name: str) -> None:
    """Write results and say where they are.

    Raises:
        RunStopped: they could not be written.
    """
    from selfsup.evaluation import write_results

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


def data_configs(
    config: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, dict[str, Any]], dict[str, Any]]:
    """The data's configuration, named for the results, those of the banks by name, and that of the query.

    Raises:
        UsageError: one of them names what is not there.
    """
    data = config["data"]
    if config["banks"] and config["bank"]:
        raise UsageError("bank= is one bank and banks.NAME= one of several; name it among those")
    given = config["banks"] or {"bank": config["bank"]}
    for name, settings in config["banks"].items():
        if not isinstance(settings, Mapping):
            raise UsageError(f"banks.{name} holds settings, such as banks.{name}.root=PATH, not '{settings}'")
    where = {name: f"banks.{name}" if config["banks"] else "bank" for name in given}
    banks = {
        name: other_data(where[name], settings, data["name"]) if settings else dict(data)
        for name, settings in given.items()
    }
    query = other_data("query", config["query"], data["name"]) if config["query"] else dict(data)
    for source in [*banks.values(), query]:
        require_paths(source)
        require_reading(source)
    names = list(dict.fromkeys(source["name"] for source in banks.values()))
    differs = len(banks) > 1 or next(iter(banks.values())) != query
    name = f"{'-'.join(names)}-to-{query['name']}" if differs else names[0]
    return {**next(iter(banks.values())), "name": name}, banks, query


def _sources(
    banks: Mapping[str, dict[str, Any]],
    query: dict[str, Any],
    encoders: Mapping[str, Any],
    typed: Sequence[str],
    decoded: bool,
) -> dict[str, tuple[Any, Any]]:
    """Each bank's images and the query's, with its classes."""
    from selfsup.data import load_data
    from selfsup.data.labels import labelled
    from selfsup.evaluation.features.ranges import range_for, with_channels
    from selfsup.evaluation.results.classes import same_classes

    # What is in the cache need not be decoded; what is not will be, once.
    memory = {} if decoded else {"in_memory": False}
    pairs: dict[str, tuple[Any, Any]] = {}
    asked = None
    for name, bank in banks.items():
        settings = {**with_channels(bank, encoders, typed), **memory}
        train, test = labelled(bank, *load_data({**settings, "range": range_for(encoders, bank["range"])}))
        if bank != query:
            if asked is None:
                alike = {**with_channels(query, encoders, typed), **memory}
                asked = labelled(query, *load_data({**alike, "range": query["range"] or train.range}))[1]
            test = same_classes(train, asked)
        pairs[name] = train, test
    return pairs


@contextmanager
def _kept_once(cache: Any, banks: int) -> Iterator[Any]:
    """The cache, or for several banks without one that of this command: the query is encoded once."""
    if cache is not None or banks == 1:
        yield cache
        return
    from selfsup.evaluation import Cache

    with TemporaryDirectory() as folder:
        yield Cache(Path(folder), float("inf"))
