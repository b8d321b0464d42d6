"""The range of values in an encoder's ``config.json``, or that of each channel, as a note in timm's part.

timm refuses unknown keys, keeps notes when it saves a model again, and ignores them.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfsup.errors import UsageError

_NOTE = "selfsup.range="
Range = tuple[float, float]
Ranges = Range | tuple[Range, ...]  # of all channels, or of each


def range_notes(range: Ranges | None) -> dict[str, list[str]]:
    """The addition to a ``pretrained_cfg``.

    >>> range_notes((0, 4095))
    {'notes': ['selfsup.range=[0, 4095]']}
    """
    return {} if range is None else {"notes": [f"{_NOTE}{json.dumps(range)}"]}


def noted_range(config: Mapping[str, Any], folder: str | Path) -> Ranges | None:
    """The range in an encoder's configuration, which may be untrusted; None if it has none.

    Raises:
        UsageError: its note is not a range.

    >>> noted_range({"pretrained_cfg": {"notes": ["by hand", "selfsup.range=[0, 4095]"]}}, "here")
    (0, 4095)
    """
    timms = config.get("pretrained_cfg")
    notes = timms.get("notes") if isinstance(timms, Mapping) else None
    for note in notes if isinstance(notes, list) else []:
        if isinstance(note, str) and note.startswith(_NOTE):
            try:
                found = json.loads(note.removeprefix(_NOTE))
                if isinstance(found[0], list):
                    return tuple(_pair(each) for each in found)
                return _pair(found)
            except (ValueError, TypeError, LookupError, RecursionError, OverflowError):
                pass
            raise UsageError(f"'{folder}/config.json' has no range of values in its note '{note[:60]}'")
    return None


def _pair(ends: Any) -> Range:
    low, high = ends
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError("not a range")
    return low, high
