"""One rule for labels, wherever they stand: in CSV, Parquet, JSON, text beside an image, or a name."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?")
_INTEGRAL = re.compile(r"([+-]?[0-9]{1,18})\.0+")


def label_text(value: Any) -> str | None:
    """A label as the name of its class, None if it is not a label.

    Integers, and other whole numbers, become their digits; truth is 1 and 0; text is kept without the spaces
    around it. Empty values, NaN, numbers that are not whole, and anything else are not labels.

    >>> [label_text(value) for value in (3, 3.0, "3.0", True, " cat ", "--5", "", float("nan"), "nan", 0.5)]
    ['3', '3', '3', '1', 'cat', '--5', None, None, None, None]
    """
    if value is None:
        return None
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        text = value.strip()
        if not text or text.lower() == "nan":
            return None
        whole = _INTEGRAL.fullmatch(text)
        return whole[1] if whole else text
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, int):
        try:
            return str(value)
        except ValueError:  # thousands of digits, which Python does not write
            return hex(value)
    if isinstance(value, float):
        return str(int(value)) if math.isfinite(value) and value == int(value) else None
    return None


def class_order(labels: Iterable[str]) -> list[str]:
    """Each label once: by value if all are numbers, else by text.

    >>> class_order(["10", "9", "9"]), class_order(["10", "9", "b"])
    (['9', '10'], ['10', '9', 'b'])
    """
    names = sorted(set(labels))
    if all(_NUMBER.fullmatch(name) for name in names):
        names.sort(key=float)
    return names


def one_hot(columns: Sequence[Sequence[Any]]) -> list[int | None] | None:
    """For each row which of several columns holds its only 1; None for a row without a 1.

    Returns:
        None if a value is neither 0 nor 1, or if a row has several: it then has several labels.

    >>> one_hot([[1, 0, 0], ["0", "1.0", "0"]])
    [0, 1, None]
    """
    rows = [[label_text(value) for value in row] for row in zip(*columns, strict=True)]
    if any(value not in ("0", "1") for row in rows for value in row) or any(
        row.count("1") > 1 for row in rows
    ):
        return None
    return [row.index("1") if "1" in row else None for row in rows]
