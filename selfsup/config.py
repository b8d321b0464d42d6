"""The configuration: composed by Hydra from ``configs/``, checked before torch is imported.

Every mistake in it is a :class:`~selfsup.errors.UsageError`: one sentence that says what is wrong and what
would be right.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from selfsup.backbone_names import require_timm_name
from selfsup.errors import UsageError
from selfsup.experiments import expanded
from selfsup.hints import candidates, for_setting, near, near_data
from selfsup.nodes import leaves, literal, node_at, referred, value_at
from selfsup.overrides import in_grammar, spread
from selfsup.ranges import take_ranges
from selfsup.setting_types import FREE, check_numbers, require_type
from selfsup.text import shown

# min(1, product) of its arguments: a view's probability as a multiple of the data's.
OmegaConf.register_new_resolver(
    "probability", lambda *factors: min(1.0, float(math.prod(factors))), replace=True
)
# A word where a setting has a value, else nothing: a requirement that depends on how a method is set.
OmegaConf.register_new_resolver(
    "when", lambda value, expected, word: word if value == expected else "", replace=True
)

_OTHER_DATA = ("bank", "query", "target")  # settings that name a data configuration, as data does
_MANY = ("protocols", "auxiliary")  # groups of which several options are chosen at once
# Groups that are chosen by the method's own configuration, and so stand inside of it.
INSIDE = {"optimizer": "optimizer@method.optimizer", "schedule": "schedule@method.optimizer"}


def config_root() -> Path:
    """The folder of the configurations: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def options(group: str) -> list[str]:
    """Names of the configurations of a group, such as ``method``."""
    return sorted(path.stem for path in (config_root() / group).glob("*.yaml"))


def summary(group: str, option: str) -> str:
    """The first comment of a configuration's file: its one-line description."""
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

    Its key ``overrides`` holds what was given, with ``experiment=FILE.yaml`` as what the file says.

    Args:
        command: the primary configuration, ``"train"`` or ``"evaluate"``.
        overrides: ``key=value`` strings.
        data: replaces the chosen ``data``, if given: a resolved one of another command.
        values: further settings by dotted key, of any plain type. Unlike those in ``overrides`` they are not
            parsed: ``${oc.env:HOME}`` and ``{_target_: f}`` are names of that spelling.

    Raises:
        UsageError: an unknown key or option, a value of the wrong type, a setting that has to be given.
    """
    values, overrides = values or {}, expanded(overrides)
    groups, settings = _sort_overrides(overrides)
    bare, ranges = _compose(command, tuple(groups))
    settings = _with_kinds(bare, settings)
    for key, override in [*settings.items(), *((key, f"{key}={value}") for key, value in values.items())]:
        _require_key(command, bare, groups, key, override)
    config = _set(bare, settings)
    for key, value in values.items():
        OmegaConf.update(config, key, literal(value), force_add=True)
    for key in [*settings, *values]:
        require_type(key, value_at(bare, key), value_at(config, key), ranges)
    if data is not None:
        config.data = OmegaConf.create(literal(dict(data)))
    missing = [key for key in leaves(config) if value_at(config, key) == "???"]
    if missing:
        raise UsageError(f"{missing[0]} has to be given: add {missing[0]}=... to the command")
    try:
        plain = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise UsageError(f"a setting refers to another that does not exist: {_first_line(error)}") from error
    assert isinstance(plain, dict)
    resolved = {str(key): value for key, value in plain.items()}
    if "method" in resolved:
        resolved["method"]["requires"] = [each for each in resolved["method"]["requires"] if each]
        resolved.setdefault("auxiliary", {})
    check_numbers(bare, ranges, resolved, config)
    return {**resolved, "overrides": overrides}


def written(command: str, overrides: Iterable[str]) -> str:
    """The configuration as YAML, as it is written: references unresolved, nothing required."""
    groups, settings = _sort_overrides(expanded(overrides))
    bare = _compose(command, tuple(groups))[0]
    return OmegaConf.to_yaml(_set(bare, _with_kinds(bare, settings)))


def _sort_overrides(overrides: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Overrides that choose a group's option, and those that set one value, by key."""
    folders = sorted(path.name for path in config_root().iterdir() if path.is_dir())
    groups: dict[str, str] = {}
    settings: dict[str, str] = {}
    overrides = spread(overrides, _path_setting)
    for position, override in enumerate(overrides):
        key, equals, value = override.partition("=")
        if not equals or not re.fullmatch(r"[\w.]+", key):
            raise UsageError(_unreadable(override, overrides[position + 1 :]))
        if key not in folders:
            settings[key] = override
        elif key == "backbone" and value not in options("backbone"):
            name = value.removeprefix("timm:")  # as evaluate has it for an encoder
            require_timm_name(name)
            groups[key] = "backbone=timm"
            settings["backbone.name"] = f"backbone.name={name}"
        elif key in _MANY:
            groups[key] = f"{key}=[{','.join(_chosen(key, value))}]"
        elif value not in options(key):
            raise _no_option(key, value)
        else:
            groups[key] = f"{INSIDE.get(key, key)}={value}"
    return list(groups.values()), settings


def _no_option(group: str, value: str) -> UsageError:
    hint = near_data if group == "data" else near
    return UsageError(f"no {group} '{value}'{hint(value, options(group))}")


def _path_setting(kind: str) -> str | None:
    """The setting of ``data=KIND`` that a path goes to: the one that has to be given, else ``root``."""
    if kind not in options("data"):
        raise _no_option("data", kind)
    data = _compose("evaluate", (f"data={kind}",))[0].data
    needed = [str(key) for key in data if value_at(data, str(key)) == "???"]
    return next(iter(needed), "root" if "root" in data else None)


def _unreadable(override: str, after: Sequence[str]) -> str:
    """What to write instead of ``--epochs 10``, ``--lr=0.1`` or ``method simclr``."""
    key, equals, value = override.lstrip("+-~").replace(":", "=", 1).partition("=")
    key, value = key.replace("-", "_"), value if equals else next(iter(after), "")
    meant = "method=simclr"
    if re.fullmatch(r"[\w.]+", key) and value and "=" not in value and not value.startswith("-"):
        known = {each.name: each.is_dir() for each in config_root().iterdir()}
        bare, _ = _compose("train", ())
        names = (
            [key] if known.get(key) or node_at(bare, key) is not None else candidates(key, list(leaves(bare)))
        )
        meant = f"{names[0] if names else key}={value}"
    return f"'{override}' is not a setting; write key=value, such as {meant}"


def _chosen(group: str, value: str) -> list[str]:
    """The options named by ``a`` or ``[a,b]``; each has to exist."""
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
    return isinstance(value_at(config, key), DictConfig)


@lru_cache(maxsize=512)  # a command composes the same groups several times, each in a third of a second
def _compose(command: str, groups: tuple[str, ...]) -> tuple[DictConfig, dict[str, str]]:
    """The settings as they are written in the files, and the ranges of those that are numbers; shared."""
    try:
        with initialize_config_dir(str(config_root().resolve()), version_base="1.3"):
            config = compose(command, list(groups))
    except (HydraException, OmegaConfBaseException) as error:
        if absent := re.match(r"Could not override '(\w+)'", str(error)):
            raise UsageError(f"'selfsup {command}' has no {absent[1]}") from error
        raise UsageError(f"the settings do not fit together: {_first_line(error)}") from error
    ranges = take_ranges(config)
    for key in leaves(config):
        if key not in ranges and (target := referred(config, key)) in ranges:
            ranges[key] = ranges[target]
    return config, ranges


def _set(bare: DictConfig, settings: Mapping[str, str]) -> DictConfig:
    """The configuration with these settings, overrides by their keys."""
    config, parser = deepcopy(bare), OverridesParser.create()
    for key, override in settings.items():
        try:
            (parsed_override,) = parser.parse_overrides([in_grammar(value_at(bare, key), key, override)])
        except HydraException as error:
            default, text = value_at(bare, key), override.partition("=")[2]
            if default is None or isinstance(default, str):  # [red]run is a name, though half a list
                OmegaConf.update(config, key, literal(text), force_add=True)
                continue
            raise UsageError(f"'{shown(override, 60)}' cannot be read: {_first_line(error)}") from error
        except ValueError as error:
            raise UsageError(f"'{shown(override, 60)}' has more digits than any setting allows") from error
        if parsed_override.is_sweep_override():
            raise UsageError(f"'{override}' gives several values; give one, or a list as {key}=[1,2]")
        try:
            OmegaConf.update(config, key, parsed_override.value(), force_add=True)
        except OmegaConfBaseException as error:
            raise UsageError(f"'{shown(override, 60)}' cannot be set: {_first_line(error)}") from error
    return config


def _first_line(error: BaseException) -> str:
    """Of an error, or of its cause where it says nothing itself."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else _first_line(error.__cause__) if error.__cause__ else type(error).__name__


def _require_key(command: str, config: DictConfig, groups: Sequence[str], key: str, override: str) -> None:
    known = list(leaves(config))
    if key in known or (key.startswith(FREE) and _is_group(config, key.partition(".")[0])):
        return
    if key.startswith("sets."):
        raise UsageError(f"'selfsup {command}' takes one data; data=[...] is for 'selfsup evaluate'")
    hint = for_setting(key, known, _chosen_options(config, groups), config_root(), command)
    raise UsageError(f"no setting '{key}' (in '{override}'); {hint}")


def _chosen_options(config: DictConfig, groups: Sequence[str]) -> dict[str, str]:
    """The option of each group that a command has."""
    found = {}
    for key in map(str, config):
        if _is_group(config, key) and (config_root() / key).is_dir():
            name = value_at(config, f"{key}.name")
            found[key] = str(name) if name else f"[{','.join(map(str, config[key]))}]"
    return found | dict(group.split("=", 1) for group in groups)


def defaults(command: str, overrides: Sequence[str]) -> dict[str, Any]:
    """A command's configuration as it is written: references unresolved, nothing required."""
    found = OmegaConf.to_container(_compose(command, tuple(_sort_overrides(overrides)[0]))[0])
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def require_types(command: str, config: dict[str, Any]) -> None:
    """Raise a UsageError for a value, perhaps untrusted, not of its default's type or out of range."""
    default, ranges = _compose(command, tuple(_groups_of(config)))
    given = OmegaConf.create(literal(config))
    assert isinstance(given, DictConfig)
    known = set(leaves(given))
    for key in leaves(default):
        if key in known:
            require_type(key, value_at(default, key), value_at(given, key), ranges)
    check_numbers(default, ranges, config)


def _groups_of(config: Mapping[str, Any]) -> list[str]:
    """Overrides that choose the options of a resolved configuration, as far as it names them."""
    given = config.get("overrides")
    chosen = dict(str(each).partition("=")[::2] for each in (given if isinstance(given, list) else ()))
    for group in ("method", "data", "logger"):
        settings = config.get(group)
        if isinstance(settings, Mapping) and "name" in settings:
            chosen[group] = str(settings["name"])
    if "backbone" in chosen and chosen["backbone"] not in options("backbone"):
        chosen["backbone"] = "timm"  # a name of timm's
    if isinstance(auxiliary := config.get("auxiliary"), Mapping):
        chosen["auxiliary"] = f"[{','.join(name for name in auxiliary if name in options('auxiliary'))}]"
    folders = (path.name for path in config_root().iterdir() if path.is_dir())
    names = [group for group in folders if group in _MANY or chosen.get(group) in options(group)]
    return [f"{INSIDE.get(group, group)}={chosen[group]}" for group in names if group in chosen]
