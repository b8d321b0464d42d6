"""What was decided about a data set: printed before training, kept with the run, shown in its report."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from selfsup.text import as_text, shown

DECIDED = "data.json"  # in a run's folder


@dataclass
class Decisions:
    """How a source interpreted its files.

    Attributes:
        splits: where training and test images come from, a sentence.
        labels: where labels come from, or why there are none, a sentence.
        classes: images of each class, of training and test together; empty without labels.
        left_out: how many files are not used, by the reason.
        values: the range of values that becomes black to white, a sentence; empty for plain 8-bit images.
        bands: which bands of images with more than three are used, a sentence; empty if there are none.
        pages: which page of files with several is used, a sentence; empty if there are none.
        order: how often which images come, a sentence; empty if all come alike.
        positives: which images belong together, a sentence; empty if only the views of one image do.
        held: how many training images are not learned from, a sentence; empty if all are.
        kept: which images a run chose while training, a sentence; empty if it did not choose.

    >>> Decisions(labels="labels are the folders' names", left_out={"no reader for .heic": 60}).lines()
    ["labels are the folders' names", '60 files are left out: no reader for .heic']
    """

    splits: str = ""
    labels: str = ""
    classes: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    values: str = ""
    bands: str = ""
    pages: str = ""
    order: str = ""
    positives: str = ""
    held: str = ""
    kept: str = ""

    def lines(self) -> list[str]:
        """The sentences for a person, each on one printable line."""
        said = [self.splits, self.labels, self.values, self.bands, self.pages]
        said += [self.order, self.positives, self.held, self.kept]
        for reason, count in self.left_out.items():
            said.append(f"{count} {'file is' if count == 1 else 'files are'} left out: {reason}")
        return [shown(line) for line in said if line]

    def as_json(self) -> dict[str, Any]:
        """Plain JSON types and valid Unicode, for the run's folder and the report."""
        return {name: _as_text(value) for name, value in asdict(self).items()}

    def as_file(self) -> str:
        """The text of the file in a run's folder."""
        return json.dumps(self.as_json(), indent=2) + "\n"


def _as_text(value: Any) -> Any:
    return (
        {as_text(key): count for key, count in value.items()} if isinstance(value, dict) else as_text(value)
    )


def joined(parts: Sequence[Decisions], names: Sequence[str]) -> Decisions:
    """The decisions about several sources that are used together, each sentence with its source's name.

    >>> joined([Decisions(labels="none"), Decisions(labels="folders")], ["a", "b"]).labels
    'a: none; b: folders'
    """
    whole = Decisions()
    for key in ("splits", "labels", "values", "bands", "pages"):
        said = [(name, getattr(part, key)) for name, part in zip(names, parts, strict=True)]
        setattr(whole, key, "; ".join(f"{name}: {text}" for name, text in said if text))
    for key in ("classes", "left_out"):
        counts = getattr(whole, key)
        for part in parts:
            for each, count in getattr(part, key).items():
                counts[each] = counts.get(each, 0) + count
    return whole


def decisions_of(content: Mapping[str, Any]) -> Decisions:
    """The decisions in what :meth:`Decisions.as_json` gave, read from an untrusted file.

    Raises:
        ValueError: a part is of another type.
    """
    empty = Decisions()
    parts = {name: content.get(name, value) for name, value in asdict(empty).items()}
    for name, value in asdict(empty).items():
        given = parts[name]
        if not isinstance(given, type(value)):
            raise ValueError(f"{name} is not a {type(value).__name__}")
        if isinstance(given, dict) and not all(isinstance(count, int) for count in given.values()):
            raise ValueError(f"{name} holds something other than counts")
    return Decisions(**parts)
