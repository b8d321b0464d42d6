"""The configuration: composed by Hydra from ``configs/``, checked before torch is imported.

Every mistake in it is a :class:`~selfsup.errors.UsageError`: one sentence that says what would be right.
"""

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf, ValueNode
from omegaconf.errors import OmegaConfBaseException

from selfsup.backbones.names import require_timm_name
from selfsup.errors import UsageError

# min(1, product) of its arguments: a view's probability as a multiple of the data's.
OmegaConf.register_new_resolver(
    "probability", lambda *factors: min(1.0, float(math.prod(factors))), replace=True
)

_FREE = ("backbone.model_args.", "data.sources.", "bank.", "query.")  # settings that something else checks
_OTHER_DATA = ("bank", "query")  # settings that name a data configuration, as data does
_MANY = ("protocols",)  # groups of which several options are chosen at once
_MAY_BE_NULL = ("method.optimizer.clip", "online.every_epochs", *_FREE)


def config_root() -> Path:
    """The folder of the configurations: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def options(group: str) -> list[str]:
    """Names of the configurations of a group, such as ``method``."""
    return sorted(path.stem for path in (config_root() / group).glob("*.yaml"))


def summary(group: str, option: str) -> str:
    """The first comment of a configuration's file, which says in a sentence what it is."""
    with (config_root() / group / f"{option}.yaml").open(encoding="utf-8") as file:
        return next(
            (line[1:].strip() for line in file if line.startswith("#") and "@package" not in line), ""
        )


def load_config(
    command: str,
    overrides: Sequence[str],
    data: Mapping[str, Any] | None = None,
    values: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The resolved configuration of a command as plain dictionaries, lists and numbers.

    Its key ``overrides`` holds what was given.

    Args:
        command: the primary configuration, ``"train"`` or ``"evaluate"``.
        overrides: ``key=value`` strings.
        data: stands for the chosen ``data``, if given: a resolved one of another command.
        values: further settings by dotted key, of any plain type. Unlike those in ``overrides`` they are no
            text to be parsed: ``${oc.env:HOME}`` and ``{_target_: f}`` are a name of that spelling.

    Raises:
        UsageError: an unknown key or option, a value of the wrong type, a setting that has to be given.
    """
    values = values or {}
    groups, settings = _sort_overrides(overrides)
    bare = _compose(command, groups)
    settings = _with_kinds(bare, settings)
    for key, given in [*settings.items(), *((key, f"{key}={value}") for key, value in values.items())]:
        _require_key(bare, key, given)
    config = _compose(command, [*groups, *(_quoted(bare, *setting) for setting in settings.items())])
    for key, value in values.items():
        OmegaConf.update(config, key, literal(value), force_add=True)
    for key in [*settings, *values]:
        _require_type(key, _value(bare, key), _value(config, key))
    if data is not None:
        config.data = OmegaConf.create(literal(dict(data)))
    missing = [key for key in _leaves(config) if _value(config, key) == "???"]
    if missing:
        raise UsageError(f"{missing[0]} has to be given: add {missing[0]}=... to the command")
    try:
        plain = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise UsageError(f"a setting refers to another that is not there: {_first_line(error)}") from error
    assert isinstance(plain, dict)
    return {**{str(key): value for key, value in plain.items()}, "overrides": list(overrides)}


def literal(value: Any) -> Any:
    r"""Plain values for OmegaConf, in whose texts ``${`` refers to nothing.

    >>> OmegaConf.create(literal({"root": r"a\${oc.env:HOME}"})).root
    'a\\${oc.env:HOME}'
    """
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda found: rf"{2 * found[1]}\${{", value)
    if isinstance(value, Mapping):
        return {key: literal(inside) for key, inside in value.items()}
    return [literal(inside) for inside in value] if isinstance(value, list | tuple) else value


def written(command: str, overrides: Iterable[str]) -> str:
    """The configuration as YAML, as it is written: references unresolved, nothing required."""
    groups, settings = _sort_overrides(overrides)
    bare = _compose(command, groups)
    settings = _with_kinds(bare, settings)
    quoted = [_quoted(bare, key, override) for key, override in settings.items()]
    return OmegaConf.to_yaml(_compose(command, [*groups, *quoted]))


def _sort_overrides(overrides: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Overrides that choose a group's option, and those that set one value, by key."""
    folders = sorted(path.name for path in config_root().iterdir() if path.is_dir())
    groups: dict[str, str] = {}
    settings: dict[str, str] = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not re.fullmatch(r"[\w.]+", key):
            raise UsageError(f"'{override}' is no setting; write key=value, such as method=simclr")
        if key not in folders:
            settings[key] = override
        elif key == "backbone" and value not in options("backbone"):
            require_timm_name(value)
            groups[key] = "backbone=timm"
            settings["backbone.name"] = f"backbone.name={value}"
        elif key in _MANY:
            groups[key] = f"{key}=[{','.join(_chosen(key, value))}]"
        elif value not in options(key):
            raise UsageError(f"no {key} '{value}'{near(value, options(key))}")
        else:
            groups[key] = override
    return list(groups.values()), settings


def _chosen(group: str, value: str) -> list[str]:
    """The options named by ``a`` or ``[a,b]``, each of which has to be there."""
    names = [name.strip() for name in value.removeprefix("[").removesuffix("]").split(",") if name.strip()]
    for name in names:
        if name not in options(group):
            raise UsageError(f"no {group} '{name}'{near(name, options(group))}")
    return names


def _with_kinds(config: DictConfig, settings: Mapping[str, str]) -> dict[str, str]:
    """``bank=NAME``, of a command that has a bank, as ``bank.data=NAME``."""
    kinds = {key for key in _OTHER_DATA if key in settings and _is_group(config, key)}
    return {
        f"{key}.data" if key in kinds else key: override.replace("=", ".data=", 1)
        if key in kinds
        else override
        for key, override in settings.items()
    }


def _is_group(config: DictConfig, key: str) -> bool:
    return isinstance(_value(config, key), DictConfig)


def near(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?``, or the list of what there is where nothing is near."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else f"; there are {', '.join(known)}"


def _compose(command: str, overrides: list[str]) -> DictConfig:
    try:
        with initialize_config_dir(str(config_root().resolve()), version_base="1.3"):
            return compose(command, overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(f"the settings do not fit together: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _leaves(config: Any, prefix: str = "") -> Iterable[str]:
    for key in config:
        value = config._get_node(key)
        if isinstance(value, DictConfig) and not value._is_none() and not value._is_missing():
            yield from _leaves(value, f"{prefix}{key}.")
        yield f"{prefix}{key}"


def _value(config: DictConfig, key: str) -> Any:
    """The value of a dotted key as it was written, ``None`` where there is no such key."""
    node: Any = config
    for part in key.split("."):
        node = node._get_node(part, validate_access=False) if isinstance(node, DictConfig) else None
    return node._value() if isinstance(node, ValueNode) else node


def _quoted(config: DictConfig, key: str, override: str) -> str:
    """An override in Hydra's grammar, in which text such as a path needs quotes."""
    value = override.partition("=")[2]
    text = isinstance(_value(config, key), str) or _value(config, key) is None
    if key == "encoder" and value.startswith("["):
        names = [name.strip() for name in value.strip("[]").split(",")]
        return f"{key}=[{','.join(_text(name) for name in names if name)}]"
    if text and re.search(r"[^\w.+-]", value) and value[0] not in "[{'\"":
        override = f"{key}={_text(value)}"
    known = key in set(_leaves(config)) and not f"{key}.".startswith(_FREE)
    return override if known else f"++{override}"


def _text(value: str) -> str:
    """A text in quotes: backslashes stand for themselves, but for those before a quote."""
    escaped = re.sub(r"(\\*)('|$)", lambda end: 2 * end[1] + ("\\'" if end[2] else ""), value)
    return f"'{escaped}'"


def _require_key(config: DictConfig, key: str, override: str) -> None:
    known = list(_leaves(config))
    if key in known or (key.startswith(_FREE) and _is_group(config, key.partition(".")[0])):
        return
    group, _, last = key.rpartition(".")
    siblings = [name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == group]
    siblings = [name for name in siblings if not name.startswith("_")]
    if close := difflib.get_close_matches(key, known, n=1, cutoff=0.8):
        hint = f"did you mean '{close[0]}'?"
    elif elsewhere := [name for name in known if name.rpartition(".")[2] == last]:
        hint = f"did you mean '{elsewhere[0]}'?"
    elif siblings:
        hint = f"there are {', '.join(siblings)}"
    else:
        hint = "'--help' tells where all settings are listed"
    raise UsageError(f"no setting '{key}' (in '{override}'); {hint}")


def _require_type(key: str, default: Any, value: Any) -> None:
    if value is None and key.startswith(_MAY_BE_NULL):
        return
    if default is None or isinstance(default, str):
        if isinstance(value, DictConfig) and not f"{key}.".startswith(_FREE):
            raise UsageError(f"{key} is a single value, not a group of settings")
        return
    expected: tuple[tuple[type, ...], str]
    if isinstance(default, bool):
        expected = (bool,), "true or false"
    elif isinstance(default, int):
        expected = (int,), "a whole number"
    elif isinstance(default, float):
        expected = (int, float), "a number"
    elif isinstance(default, ListConfig):
        expected = (ListConfig,), "a list such as [0.2,1.0]"
    else:
        expected = (DictConfig,), "a group of settings; set one of them as key.name=value"
    kinds, words = expected
    if not isinstance(value, kinds) or (isinstance(value, bool) and kinds != (bool,)):
        raise UsageError(f"{key} is {words}, not '{'null' if value is None else value}'")


def defaults(command: str, overrides: Sequence[str]) -> dict[str, Any]:
    """A command's configuration as it is written: references unresolved, nothing required."""
    groups, _ = _sort_overrides(overrides)
    found = OmegaConf.to_container(_compose(command, groups))
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def require_types(command: str, config: Mapping[str, Any]) -> None:
    """Raise a UsageError where a setting, perhaps a stranger's, is of another type than its default."""
    method = config.get("method")
    name = str(method["name"]) if isinstance(method, Mapping) and "name" in method else ""
    default = _compose(command, [f"method={name}"] if name in options("method") else [])
    given = OmegaConf.create(literal(config))
    assert isinstance(given, DictConfig)
    known = set(_leaves(given))
    for key in _leaves(default):
        if key in known:
            _require_type(key, _value(default, key), _value(given, key))


def require_positive(config: Mapping[str, Any], *keys: str) -> None:
    """Raise a UsageError unless each dotted key holds a number above 0."""
    for key in keys:
        value: Any = config
        for part in key.split("."):
            value = value[part]
        if value <= 0:
            raise UsageError(f"{key} is {value}; it has to be above 0")
