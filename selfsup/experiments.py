"""``experiment=FILE.yaml``: a user's own file of settings, as the overrides that it stands for."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from selfsup.errors import UsageError
from selfsup.files import read_text
from selfsup.overrides import quoted
from selfsup.plain import parse
from selfsup.text import shown

GROUP = "experiment"
_CODE = ("_target_", "decode")  # settings that name what is called


def expanded(overrides: Iterable[str]) -> list[str]:
    """Overrides with those of a file, named as ``experiment=FILE.yaml``, before all others, which win.

    The file is written as those of ``configs/experiment`` are: ``defaults`` with ``override /GROUP: NAME``,
    or the name of another experiment to build on, and settings. It may be a stranger's: it names no code,
    and refers to nothing outside of the configuration.

    Raises:
        UsageError: there is no such file, or it holds something else.

    >>> expanded(["seed=1", "experiment=digits_simclr"])
    ['seed=1', 'experiment=digits_simclr']
    """
    given, own = [], []
    for override in overrides:
        key, _, value = override.partition("=")
        if key == GROUP and value.endswith((".yaml", ".yml")):
            given += _of_file(Path(value).expanduser())
        else:
            own.append(override)
    return [*given, *own]


def _of_file(path: Path) -> list[str]:
    where = f"{GROUP}={shown(path)}"
    try:
        content = parse(read_text(path))
    except FileNotFoundError as error:
        raise UsageError(f"{where}: there is no such file") from error
    except OSError as error:
        raise UsageError(f"{where}: it cannot be read ({error})") from error
    except ValueError as error:
        raise UsageError(f"{where}: it {error}") from error
    chosen = content.pop("defaults", [])
    if not isinstance(chosen, list):
        raise UsageError(f"{where}: its defaults are no list")
    found = [each for entry in chosen for each in _choice(entry, where)]
    for key, value in _settings(content):
        if key.rpartition(".")[2] in _CODE and value is not None:
            raise UsageError(f"{where}: {key} names code, which a file may not; add it to the command")
        if isinstance(value, str) and re.search(r"\$\{[^}]*:", value):
            raise UsageError(f"{where}: {key} calls a resolver of OmegaConf, which a file may not")
        found.append(f"{key}={as_override(value)}")
    return found


def _choice(entry: Any, where: str) -> list[str]:
    """An entry of ``defaults`` as an override that chooses a group's option."""
    if entry == "_self_":
        return []
    if isinstance(entry, str):
        return [f"{GROUP}={entry}"]
    if isinstance(entry, Mapping) and len(entry) == 1:
        ((key, value),) = entry.items()
        group = re.fullmatch(r"(?:override )?/?(\w+)(?:@[\w.]+)?", key)
        names = value if isinstance(value, list) else [value]
        if group and all(isinstance(name, str) for name in names):
            return [f"{group[1]}={'[' + ','.join(names) + ']' if names is value else value}"]
    raise UsageError(
        f"{where}: its defaults hold '{shown(entry, 60)}'; write 'override /method: simclr', or an "
        "experiment's name"
    )


def _settings(content: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _settings(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def as_override(value: Any) -> str:
    """A plain value as it is typed after ``key=``, in Hydra's grammar.

    >>> as_override([0.2, 1.0]), as_override(None), as_override(True), as_override("a b")
    ('[0.2,1.0]', 'null', 'true', "'a b'")
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(as_override, value))}]"
    if isinstance(value, str):
        return value if re.fullmatch(r"[A-Za-z][\w.-]*", value) and value not in _WORDS else quoted(value)
    return repr(value)


_WORDS = ("null", "true", "false", "inf", "nan")
