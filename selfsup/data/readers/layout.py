"""What the folders of a data set are: splits, classes, the same things shown in several ways, or wrappers.

Judged by their content. Sub-folders of the same names make folders splits, and words in their names only say
which is which; files of the same names make them parallel, as images and masks are.
"""

import math
import os
from collections.abc import Collection, Sequence

import numpy as np

from selfsup.data.readers.nodes import Layout, Node, listed, nodes, numbers, parts_of_one
from selfsup.data.readers.parallel import MOST, are_parallel, image_folder
from selfsup.data.readers.roles import role
from selfsup.data.readers.tree_index import Tree
from selfsup.errors import UsageError
from selfsup.text import shown

STRAYS = 0.1  # share of images beside class folders up to which they are left out
SPLITS = 5  # folders that may be splits by their content alone
ALIKE = 0.5  # share of a split's sub-folders that the largest split has as well
LOOKED_AT = 1000  # names of a folder by which it is compared
TRAIN = "train"
_PARTS = ("fold", "part", "batch", "chunk", "session", "volume")


class Judge:
    """Finds the layout of a tree of images below ``root``.

    Args:
        insist: whether the first folders that are not mere wrappers are classes, unless their names say
            otherwise.
    """

    def __init__(self, root: str, tree: Tree, insist: bool = False):
        self.root, self.tree, self.insist = root, tree, insist
        self.found = Layout()
        self.chosen: dict[tuple[str, ...], str | None] = {}

    def layout(self) -> Layout:
        """
        Raises:
            UsageError: folders show the same things in several ways and it is unknown which to learn from, or
                all are for testing.
        """
        found, floor = self.found, nodes(self.tree)
        node, outer = floor, list[Node]()
        while True:
            inner = self._only_child(node)
            if inner is not None:
                outer.append(node)
            elif (inner := None if self.insist else self._image_child(node)) is not None:
                floor, outer = inner, []
            else:
                break
            node = inner
        if role(node.name) == TRAIN or (not node.children and outer and role(outer[-1].name) == TRAIN):
            found.base = node.path if role(node.name) == TRAIN else outer[-1].path
        if not node.children:
            self._place(floor, TRAIN, None)
            found.top = floor.path
        elif not (self._splits(node) or self._splits_of_classes(node)):
            self._classes(node, TRAIN)
            found.top = node.path
            for each in outer:
                found.place |= {each.path: (TRAIN, None)} if each.own else {}
        return found

    def _only_child(self, node: Node, known: Collection[str] = ()) -> Node | None:
        """The only folder in a folder with nothing, or next to nothing, beside it."""
        if len(node.children) != 1:
            return None
        [child] = node.children.values()
        few = node.own <= STRAYS * node.total or role(child.name) == TRAIN
        return child if few and child.name not in known else None

    def _image_child(self, node: Node) -> Node | None:
        """Of folders that show the same things, the one with the images; None if they do not."""
        return self._image_node([child for child in node.children.values() if role(child.name) is None])

    def _image_node(self, group: Sequence[Node]) -> Node | None:
        names = tuple(sorted(each.name for each in group))
        if not 2 <= len(group) <= MOST:
            return None
        if names not in self.chosen:
            self.chosen[names] = self._choose(group)
        name = self.chosen[names]
        if name is None:
            return None
        picked = next(each for each in group if each.name == name)
        others = [each for each in group if each is not picked]
        reason = f"in {_names(others)}, beside '{shown(name)}', which has the images"
        self.found.reasons |= {each.path: reason for each in others}
        return picked

    def _choose(self, group: Sequence[Node]) -> str | None:
        fewest = min(each.total for each in group)
        tops = [os.path.join(self.root, each.path) for each in group]
        names = [self._heads(each, math.ceil(LOOKED_AT * each.total / fewest)) for each in group]
        if not are_parallel(tops, names):
            return None
        which = image_folder(tops, names)
        if which is None:
            raise UsageError(
                f"{_names(group)} in '{shown(os.path.dirname(tops[0]))}' hold files of the same names, "
                "which show the same things in several ways, and it is unclear which to learn from; name one "
                f"with data.root='{shown(tops[0])}', or pass data.labels=true if they are classes"
            )
        name = group[which].name
        self.found.said.append(
            f"{_names(group)} hold files of the same names; '{shown(name)}' has the images"
        )
        return name

    def _heads(self, node: Node, most: int) -> list[str]:
        """The first images below a folder, relative to it."""
        inside = {each.path for each in node.walk() if each.own}
        places = [i for i, path in enumerate(self.tree.folders) if path in inside]
        rows = np.isin(self.tree.folder_of, places).nonzero()[0][:most].tolist()
        return [os.path.relpath(self.tree.names[row], node.path or os.curdir) for row in rows]

    def _splits(self, node: Node) -> bool:
        """Place splits, if the folders in ``node`` are splits."""
        kids = list(node.children.values())
        roles = {kid.name: role(kid.name) for kid in kids}
        learn = [kid for kid in kids if roles[kid.name] == TRAIN]
        tests = [kid for want in ("test", "validation") for kid in kids if roles[kid.name] == want]
        how = "by their names"
        if not (learn and tests):
            alike = self._alike(kids, roles)
            if not alike:
                return False
            how = "which hold the same sub-folders"
            if parts_of_one(alike):
                self._learn_all(alike)
                return True
            learn, tests = _by_size(alike, roles)
            if not learn:
                raise UsageError(
                    f"{_names(tests)} in '{shown(self.root)}' are all for testing by "
                    "their names; name the one to learn from with data.root"
                )
            if not any(roles.values()):
                how += "; the largest is for training; pass data.labels=true if they are classes"
        learn, tests = self._images_of(learn), [*self._images_of(tests)]
        for kid in learn:
            self._split(kid, TRAIN, ())
        classes = {label for split, label in self.found.place.values() if label is not None}
        for kid in tests:
            self._split(kid, kid.name.lower(), classes)
        self.found.tests = [kid.name.lower() for kid in tests]
        self.found.base = learn[0].path if len(learn) == 1 else ""
        self.found.top = learn[0].path
        self.found.said.append(
            f"images to learn from are those in {_names(learn)}, and those in "
            f"{_names(tests)} are not learned from ({how})"
        )
        return True

    def _images_of(self, group: list[Node]) -> list[Node]:
        """Without folders of masks, such as ``train_masks`` beside ``train``."""
        picked = self._image_node(group)
        return group if picked is None else [picked]

    def _split(self, node: Node, split: str, known: Collection[str]) -> None:
        inner = node
        while (below := self._only_child(inner, known) or self._image_child(inner)) is not None:
            inner = below
        if inner.children:
            self._classes(inner, split)
        else:
            self._place(inner, split, None)

    def _alike(self, kids: list[Node], roles: dict[str, str | None]) -> list[Node]:
        """Folders that are splits of classes, as their sub-folders have the same names; else none."""
        below = {kid.name: set(self._below(kid)) for kid in kids}
        candidates = [kid for kid in kids if len(below[kid.name]) > 1]
        if not candidates or (self.insist and not any(roles.values())):
            return []
        largest = max(candidates, key=lambda kid: (len(below[kid.name]), kid.total))
        wide = below[largest.name]
        if any(role(name) for name in wide):
            return []
        group = [
            kid
            for kid in kids
            if len(below[kid.name] & wide) >= max(1 if roles[kid.name] else 2, ALIKE * len(below[kid.name]))
        ]
        others = sum(kid.total for kid in kids if kid not in group and not roles[kid.name])
        if len(group) < 2 or others > STRAYS * sum(kid.total for kid in kids):
            return []
        if any(roles[kid.name] for kid in group) or (
            not numbers(group) and (len(group) <= SPLITS or parts_of_one(group, _PARTS))
        ):
            # cat/{images,masks} and dog/{images,masks}: classes, each with the same things in two ways.
            return [] if self._image_child(self._inner(largest)) is not None else group
        return []

    def _inner(self, node: Node) -> Node:
        while (below := self._only_child(node)) is not None and below.children:
            node = below
        return node

    def _below(self, node: Node) -> list[str]:
        return list(self._inner(node).children)

    def _learn_all(self, group: list[Node]) -> None:
        for kid in group:
            self._split(kid, TRAIN, ())
        self.found.top = group[0].path
        self.found.said.append(f"{_names(group)} are parts of one set, which hold the same sub-folders")

    def _splits_of_classes(self, node: Node) -> bool:
        """Place classes that have splits each, as in ``cat/{train,test}`` and ``dog/{train,test}``."""
        kids = list(node.children.values())
        roles = {kid.name: {role(name) for name in kid.children} for kid in kids}
        if not all(TRAIN in found and found & {"test", "validation"} for found in roles.values()):
            return False
        tests: dict[str, str] = {}
        for kid in kids:
            for child in kid.children.values():
                meaning = role(child.name)
                if meaning is not None:
                    split = TRAIN if meaning == TRAIN else child.name.lower()
                    self._place(child, split, kid.name)
                    tests |= {} if split == TRAIN else {split: meaning}
        self.found.tests = sorted(tests, key=lambda split: (tests[split] != "test", split))
        self.found.top = node.path
        self.found.said.append(f"each class has folders for training and for {listed(self.found.tests)}")
        return True

    def _classes(self, node: Node, split: str) -> None:
        for child in node.children.values():
            self._place(self._image_child(child) or child, split, child.name)
        if node.own:
            self.found.place[node.path] = (split, None)

    def _place(self, node: Node, split: str, label: str | None) -> None:
        self.found.place |= {each.path: (split, label) for each in node.walk() if each.own}


def _by_size(group: list[Node], roles: dict[str, str | None]) -> tuple[list[Node], list[Node]]:
    """Splits to learn from and to test on; the largest is for learning if no name says so."""
    learn = [kid for kid in group if roles[kid.name] == TRAIN]
    plain = sorted((kid for kid in group if roles[kid.name] is None), key=lambda kid: -kid.total)
    if not learn:
        learn, plain = plain[:1], plain[1:]
    named = [kid for want in ("test", "validation") for kid in group if roles[kid.name] == want]
    return learn, [*named, *plain]


def _names(group: Sequence[Node]) -> str:
    return listed([each.name for each in group])
