"""The folders of a data set that hold images, as a tree, and the role of each."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from selfsup.data.readers.roles import words
from selfsup.data.readers.tree_index import Tree
from selfsup.text import shown


@dataclass
class Node:
    """A folder with images in it or below it."""

    path: str
    own: int = 0
    total: int = 0
    children: dict[str, "Node"] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return os.path.basename(self.path)

    def walk(self) -> Iterator["Node"]:
        yield self
        for child in self.children.values():
            yield from child.walk()


@dataclass
class Layout:
    """The roles of the folders with images.

    Attributes:
        place: split and class of each folder that is used, None without one.
        tests: splits to test on, in the order of preference.
        base: the folder from which names count when images are held out.
        top: the folder whose sub-folders are the classes.
        said: how splits were recognised and what was chosen, a sentence each.
        reasons: why folders are not used.
    """

    place: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    tests: list[str] = field(default_factory=list)
    base: str = ""
    top: str = ""
    said: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)


def nodes(tree: Tree) -> Node:
    """The folders of a tree that have images, as a tree of nodes."""
    top = Node("")
    for path, count in zip(tree.folders, tree.sizes().tolist(), strict=True):
        node = top
        node.total += count
        for part in path.split(os.sep) if path else []:
            node = node.children.setdefault(part, Node(os.path.join(node.path, part)))
            node.total += count
        node.own += count
    return top


def numbers(group: Sequence[Node]) -> bool:
    """Whether folders are called by numbers alone, such as years, which are not splits."""
    return not any(words(kid.name) for kid in group)


def parts_of_one(group: Sequence[Node], called: Sequence[str] = ()) -> bool:
    """Whether names differ in a number only, as fold1 and fold2 do, and have one of the words, if given."""
    if called and not set(called) & set(words(group[0].name)):
        return False
    return len({re.sub(r"[0-9]+", "0", kid.name) for kid in group}) == 1


def listed(names: Sequence[str]) -> str:
    """Names in a sentence; only the first of many."""
    quoted = [f"'{shown(name)}'" for name in names[:4]]
    if len(names) > 4:
        quoted[3:] = [f"{len(names) - 3} more"]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"
