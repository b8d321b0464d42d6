"""Protocols by name: configured, checked, run and recorded.

A protocol is a function ``(train, test, **settings)`` of two :class:`~selfsup.evaluation.Features`
that returns a :class:`~selfsup.evaluation.score.Score`, or several by name (:func:`named`). Its
configuration, ``configs/protocols/NAME.yaml``, names the function in ``_target_`` and holds its settings; two
more keys are read here: ``labels`` (whether it needs them) and ``needs`` (what must be extracted beside
pooled features).
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from selfsup.cores import look
from selfsup.errors import UsageError
from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.features.extract import Features
from selfsup.evaluation.score import Score, pack

F = TypeVar("F", bound=Callable[..., Any])
RESERVED = ("_target_", "labels", "needs")


@dataclass(frozen=True)
class Above:
    """In ``Annotated[float, Above(0)]``: a setting, or each of a list, must be larger."""

    least: float

    def complaint(self, value: float) -> str | None:
        return None if value > self.least else f"must be above {self.least:g}"


@dataclass(frozen=True)
class AtLeast:
    """In ``Annotated[int, AtLeast(1)]``: a setting, or each of a list, must not be smaller."""

    least: float

    def complaint(self, value: float) -> str | None:
        return None if value >= self.least else f"must be at least {self.least:g}"


@dataclass(frozen=True)
class AtMost:
    """In ``Annotated[float, AtMost(1)]``: a setting, or each of a list, must not be larger."""

    most: float

    def complaint(self, value: float) -> str | None:
        return None if value <= self.most else f"must be at most {self.most:g}"


@dataclass(frozen=True)
class Share:
    """In ``Annotated[float, Share()]``: a setting, or each of a list, must lie strictly between 0 and 1."""

    def complaint(self, value: float) -> str | None:
        return None if 0 < value < 1 else "must lie between 0 and 1"


Count = Annotated[int, AtLeast(1)]
Counts = Annotated[list[int], AtLeast(1)]
Positive = Annotated[float, Above(0)]
Positives = Annotated[list[float], Above(0)]
Decay = Annotated[float, AtLeast(0)]
Decays = Annotated[list[float], AtLeast(0)]
Fraction = Annotated[float, Share()]


@dataclass(frozen=True)
class Protocol:
    """A configured protocol.

    Attributes:
        name: its configuration's name, and its score's if the function returns one.
        function: of the training and the test features and the settings.
        labels: whether it needs labels.
        needs: parts to extract by name (:mod:`selfsup.evaluation.features.parts`).
        settings: keyword arguments of the function.
    """

    name: str
    function: Callable[..., Score | dict[str, Score]]
    labels: bool
    needs: dict[str, dict[str, Any]]
    settings: dict[str, Any]


def protocols(configs: Mapping[str, Mapping[str, Any]]) -> list[Protocol]:
    """The protocols of a configuration's ``protocols``, their settings checked.

    Raises:
        UsageError: a target that cannot be imported, a setting it does not take or that is out of range.
    """
    found = []
    for name, config in configs.items():
        if not isinstance(config, Mapping) or "_target_" not in config:
            raise UsageError(
                f"protocols.{name} has no _target_; begin configs/protocols/NAME.yaml with "
                "'# @package protocols.NAME' and name a function in _target_"
            )
        settings = {key: value for key, value in config.items() if key not in RESERVED}
        function = load_function(config["_target_"], f"protocols.{name}._target_")
        check_settings(function, settings, f"protocols.{name}")
        needs = {part: dict(spec) for part, spec in (config.get("needs") or {}).items()}
        found.append(Protocol(name, function, bool(config.get("labels", True)), needs, settings))
    if not found:
        raise UsageError("no protocols were chosen, so there is nothing to evaluate; try protocols=[knn]")
    return found


def named(names: Callable[..., list[str]]) -> Callable[[F], F]:
    """Declares the names of a protocol's several scores for given settings.

    So each has its row, with the reason, even if the protocol cannot be run at all.
    """

    def mark(function: F) -> F:
        function.names = names  # type: ignore[attr-defined]
        return function

    return mark


def load_function(path: str, setting: str) -> Callable[..., Any]:
    """The function that a configuration names by its dotted path."""
    from hydra.utils import get_method

    try:
        return get_method(path)
    except (ImportError, ValueError) as error:
        raise UsageError(f"no function '{path}' to import ({setting}): {error}") from error


def check_settings(function: Callable[..., Any], settings: Mapping[str, Any], where: str) -> None:
    """Raise a UsageError unless ``function`` takes the settings, and its annotations allow the values."""
    try:
        inspect.signature(function).bind(None, None, **settings)
    except TypeError as error:
        raise UsageError(
            f"{where} does not fit {function.__module__}.{function.__name__}: {error}"
        ) from error
    hints = get_type_hints(function, include_extras=True)
    for key, value in settings.items():
        if get_origin(hints.get(key)) is not Annotated:
            continue
        values = value if isinstance(value, list) else [value]
        if not values:
            raise UsageError(f"{where}.{key} is empty; give at least one value")
        for rule in get_args(hints[key])[1:]:
            for each in values:
                if isinstance(each, str) or each is None or (complaint := rule.complaint(each)):
                    words = "must be a number" if isinstance(each, str) or each is None else complaint
                    raise UsageError(f"{where}.{key} {words}, not {each}")


def records(protocol: Protocol, train: Features, test: Features) -> dict[str, dict[str, Any]]:
    """The protocol's scores by name, as plain JSON types; without a value, ``reason`` says why."""
    look()
    try:
        require_usable(protocol, train, test)
        scores = protocol.function(train, test, **protocol.settings)
    except (NoScore, LinAlgError) as why:
        reason = str(why) if isinstance(why, NoScore) else f"the features cannot be decomposed: {why}"
        names = getattr(protocol.function, "names", lambda **settings: [protocol.name])
        scores = {name: _blank(protocol, reason) for name in names(**protocol.settings)}
    if isinstance(scores, Score):
        scores = {protocol.name: scores}
    for score in scores.values():
        score.settings = protocol.settings | score.settings
    return {name: record(name, score, protocol.labels, train, test) for name, score in scores.items()}


def _blank(protocol: Protocol, reason: str) -> Score:
    return Score(reason=reason, accuracy=protocol.labels)


def record(name: str, score: Score, labels: bool, train: Features, test: Features) -> dict[str, Any]:
    """A score as plain JSON types: the attributes of :class:`Score`, ``protocol`` and ``labels``."""
    correct, score.correct = score.correct, None
    return {
        "protocol": name,
        **asdict(score),
        "interval": None if score.interval is None else list(score.interval),
        "n_train": len(train) if score.n_train is None else score.n_train,
        "n_test": len(test) if score.n_test is None else score.n_test,
        "labels": labels,
        "correct": None if correct is None else pack(correct),
    }


def require_usable(protocol: Protocol, train: Features, test: Features) -> None:
    """Raise NoScore for features that no protocol can use."""
    for split, features in (("training", train), ("test", test)):
        if len(features) == 0:
            raise NoScore(f"there are no {split} images")
        bad = int((~features.x.isfinite().all(dim=1)).sum())
        if bad:
            raise NoScore(f"features of {bad} of {len(features)} {split} images are not finite")
    if protocol.labels:
        if train.labels is None or test.labels is None:
            raise NoScore("there are no labels")
        if len(train.labels.unique()) < 2:
            raise NoScore("all training samples are of one class, so there is nothing to classify")
        if (train.x == train.x[0]).all():
            raise NoScore("the features of all training images are the same")
    for part in protocol.needs:
        if part in train.missing:
            raise NoScore(train.missing[part])
        if part not in train.parts and part not in test.parts:
            raise NoScore(f"these features have no {part}")
