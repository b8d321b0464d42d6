"""What is searched: settings with their ranges, read from ``space``, and what a choice of values sets."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from selfsup.errors import UsageError
from selfsup.text import shown

# Words of a space that stand for settings of all views, and those settings.
FACTORS = {"colour": ("brightness", "contrast", "saturation", "hue"), "grey": ("grey",), "blur": ("blur",)}
CROP = "crop"
WORDS = (CROP, *FACTORS)
_MOST = {"hue": 0.5, "grey": 1.0, "blur": 1.0}  # half a turn of the hue is as far as one can go
_DIGITS = 4  # significant, of a proposed number
Config = Mapping[str, Any]


class Dimension(NamedTuple):
    """A setting that is searched.

    Attributes:
        name: dotted, of a setting, of an element of its list (``method.betas.0``), or one of :data:`WORDS`.
        low, high: of a number.
        log: whether numbers are drawn by their ratio.
        whole: whether numbers are whole.
        choices: of what is no number; else empty.
        default: its value without a search; None if it has none, or one outside of its range.
    """

    name: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    choices: tuple[Any, ...] = ()
    default: Any = None

    def ends(self) -> list[Any]:
        """The values to check: all choices, or both ends."""
        if self.choices:
            return list(self.choices)
        return [int(end) if self.whole else end for end in (self.low, self.high)]

    def words(self) -> str:
        """Its values, for a person.

        >>> Dimension("method.temperature", 0.1, 0.5, log=True).words()
        '0.1 to 0.5, by ratio'
        """
        if self.choices:
            return " or ".join(str(each) for each in self.choices)
        return f"{self.low:g} to {self.high:g}" + (", by ratio" if self.log else "")


def dimension(name: str, given: Any, default: Any) -> Dimension:
    """What ``[low,high]``, ``[low,high,log]`` or a list of choices says of a setting.

    Two numbers are a range; any other list is one of choices.

    Raises:
        UsageError: it is none of these.

    >>> dimension("batch_size", [32, 128], 64)
    Dimension(name='batch_size', low=32, high=128, log=False, whole=True, choices=(), default=64)
    >>> dimension("method.masking", ["random", "block"], "window").choices
    ('random', 'block')
    """
    where = f"space.{name}={shown(_typed(given), 60)}"
    if not isinstance(given, list) or len(given) < 2:
        raise UsageError(f"{where} is no range; write [low,high], [low,high,log] or a list of choices")
    numbers = [each for each in given if isinstance(each, int | float) and not isinstance(each, bool)]
    log = given[2:] == ["log"]
    if len(numbers) == 2 and (log or len(given) == 2):
        low, high = numbers
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise UsageError(f"{where} has no numbers in it; the first has to be below the second")
        if log and low <= 0:
            raise UsageError(f"{where} has no ratios; with log the first has to be above 0")
        number = isinstance(default, int | float) and not isinstance(default, bool)
        whole = not isinstance(default, float) and all(isinstance(each, int) for each in numbers)
        inside = default if number and low <= default <= high else None
        return Dimension(name, low, high, log, whole, default=inside)
    if len(set(map(repr, given))) < len(given) or "log" in given:
        raise UsageError(f"{where} is no list of choices; give each once, and log after two numbers only")
    if not all(each is None or isinstance(each, bool | int | float | str) for each in given):
        raise UsageError(f"{where}: choices are numbers, texts, true, false or null")
    return Dimension(name, choices=tuple(given), default=default if default in given else None)


def _typed(given: Any) -> str:
    return str(given).replace("'", "").replace(" ", "")


def dimensions(space: Mapping[str, Any], config: Config, typed: Callable[[str], bool]) -> list[Dimension]:
    """The dimensions of a ``space``, in its order.

    What ``configs/space`` names and the configuration does not have, or has as 0, is left out; what the
    command names is kept, so that a misspelled setting is reported.

    Args:
        space: ranges by setting, nested or dotted.
        config: of the run without a search, resolved.
        typed: whether the command has named a setting of the space.

    Raises:
        UsageError: a range is none, or nothing is left.
    """
    found = []
    for name, given in _flat(space):
        if name in WORDS and not kinds(name, config):
            if typed(name):
                raise UsageError(f"space.{name}: these views have none, or have it as 0; leave it out")
            continue
        default = value_of(name, config)
        if default is None and not typed(name):
            continue
        if isinstance(default, list) and not typed(name):
            continue
        each = dimension(name, given, default)
        found.append(_within_views(each, config) if name == CROP and not typed(name) else each)
    if not found:
        raise UsageError(
            "there is nothing to search; name settings with their ranges, such as space.method.optimizer.lr="
            "[1e-4,1e-2,log]"
        )
    return found


def _flat(space: Mapping[Any, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in space.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", value))
    return found


def _views(config: Config) -> dict[str, Mapping[str, Any]]:
    return {
        kind: view for kind, view in config["views"].items() if isinstance(view, Mapping) and view["count"]
    }


def kinds(word: str, config: Config) -> list[str]:
    """The kinds of views that a word changes: those that have more than nothing of it.

    ``crop`` changes those with the smallest crops.
    """
    views = _views(config)
    if word == CROP:
        least = min((view["scale"][0] for view in views.values()), default=1.0)
        return [kind for kind, view in views.items() if view["scale"][0] == least < view["scale"][1]]
    # Where the colours of the data mean nothing, their jitter has probability 0.
    coloured = [kind for kind, view in views.items() if word == "blur" or view["jitter"]]
    return [kind for kind in coloured if any(views[kind][setting] for setting in FACTORS[word])]


def _within_views(crop: Dimension, config: Config) -> Dimension:
    """A crop's smallest share stays below its largest."""
    largest = min(_views(config)[kind]["scale"][1] for kind in kinds(CROP, config))
    high = min(crop.high, round(0.95 * largest, _DIGITS))
    return crop._replace(high=max(high, crop.default or 0.0), low=min(crop.low, crop.default or crop.low))


def value_of(name: str, config: Config) -> Any:
    """A dimension's value without a search; None if there is no such setting.

    >>> value_of("a.b.1", {"a": {"b": [0.2, 1.0]}})
    1.0
    """
    if name == CROP:
        return _views(config)[kinds(CROP, config)[0]]["scale"][0]
    if name in FACTORS:
        return 1.0
    value: Any = config
    for part in name.split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def settings(values: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """What values of dimensions set, by dotted key.

    Example:
        >>> settings({"method.betas.1": 0.95}, {"method": {"betas": [0.9, 0.999]}})
        {'method.betas': [0.9, 0.95]}
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name == CROP:
            for kind in kinds(name, config):
                found[f"views.{kind}.scale"] = [value, config["views"][kind]["scale"][1]]
        elif name in FACTORS:
            for kind in kinds(name, config):
                view = config["views"][kind]
                for setting in FACTORS[name]:
                    product = min(_MOST.get(setting, math.inf), rounded(value * view[setting]))
                    found[f"views.{kind}.{setting}"] = product
        else:
            key, _, last = name.rpartition(".")
            if last.isdecimal():
                whole = list(found.get(key) or value_of(key, config) or [])
                whole[int(last) : int(last) + 1] = [value]
                found[key] = whole
            else:
                found[name] = value
    return found


def rounded(value: Any) -> Any:
    """A number to four significant digits; anything else as it is.

    >>> rounded(0.123456), rounded(3), rounded("block")
    (0.1235, 3, 'block')
    """
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
