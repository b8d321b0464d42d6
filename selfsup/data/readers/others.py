"""The other files of a folder of images: counted by reason, so that nothing is left out silently."""

import os
from collections.abc import Sequence
from pathlib import Path

from selfsup.data.readers.kinds import holds_an_image, image_endings, unread_picture
from selfsup.data.readers.tree import find_images
from selfsup.data.readers.tree_index import Tree
from selfsup.errors import UsageError
from selfsup.text import shown

TABLES = ("csv", "tsv", "jsonl", "ndjson")
SNIFFED = 8  # endings that are checked, those with most files first
SAMPLE = 6  # files of one ending that are checked


class Others:
    """The files below ``top`` whose endings are not those of images.

    Attributes:
        counts: files by ending, the most first; "" stands for none.
        examples: paths of a few of each ending.
    """

    def __init__(self, top: Path, tree: Tree):
        self.tree, counts = tree, dict[str, int]()
        self.examples: dict[str, list[str]] = {}
        for inside, entries in tree.others.items():
            for entry in entries:
                number, _, rest = entry.partition(" ")
                ending, *names = rest.split("/")
                counts[ending] = counts.get(ending, 0) + int(number)
                found = self.examples.setdefault(ending, [])
                if len(found) < SAMPLE:
                    found += [os.path.join(top, inside, name) for name in dict.fromkeys(names)]
        self.counts = dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
        self.sniffed = {
            ending
            for ending in [each for each in self.counts if unread_picture(each) is None][:SNIFFED]
            if all(map(holds_an_image, self.examples[ending]))
        }

    def images(self) -> list[str]:
        """Endings whose files are images here: those checked are, and there are more than known images."""
        return [ending for ending in self.sniffed if self.counts[ending] > len(self.tree.names)]

    def unread(self) -> dict[str, int]:
        """How many files are pictures that cannot be read, by the reason."""
        each = ((unread_picture(ending), count) for ending, count in self.counts.items())
        return {reason: count for reason, count in each if reason is not None}

    def left_out(self) -> dict[str, int]:
        """How many files are left out, by the reason."""
        found = self.unread()
        rest: dict[str, int] = {}
        for ending, count in self.counts.items():
            if unread_picture(ending) is not None:
                continue
            if ending in self.sniffed:
                called = f"called .{ending}" if ending else "called without an ending"
                use = f"add data.endings=[{ending}]" if ending else "give them an ending such as .jpg"
                found[f"{called}, though images; {use} to use them"] = count
            elif ending in TABLES:
                path = shown(self.examples[ending][0])
                found[f"ending .{ending}, a table: read it with data=files data.files='{path}'"] = count
            else:
                rest[ending] = count
        if rest:
            endings = [f".{ending}" if ending else "no ending" for ending in rest]
            more = f" and {len(endings) - 8} more" if len(endings) > 8 else ""
            found[f"not named like images ({', '.join(endings[:8])}{more})"] = sum(rest.values())
        if self.tree.broken:
            found[f"links that lead nowhere, such as '{shown(self.tree.broken[0])}'"] = len(self.tree.broken)
        return found

    def without_images(self) -> list[str]:
        """Folders that hold only unreadable pictures: they would have been classes."""
        with_images = {above for folder in self.tree.folders for above in _with_parents(folder)}
        found = set()
        for inside, entries in self.tree.others.items():
            endings = [entry.partition(" ")[2].partition("/")[0] for entry in entries]
            if any(unread_picture(ending) for ending in endings):
                empty = [above for above in _with_parents(inside) if above not in with_images]
                found |= {min(empty, key=len)} if empty else set()
        return sorted(found)


def _with_parents(folder: str) -> list[str]:
    parts = folder.split(os.sep)
    return [os.sep.join(parts[:depth]) for depth in range(1, len(parts) + 1)]


def images_in(top: Path, at_least: int, endings: Sequence[str] = ()) -> Tree:
    """The image files below `top`, refused if there are too few.

    Files without an ending, or with an unknown one, are taken where they hold images and are the most.

    Args:
        endings: further ones that count as images'.
    """
    asked = [str(ending).lower().removeprefix(".") for ending in endings]
    tree = find_images(top, asked)
    others = Others(top, tree)
    if more := others.images():
        tree = find_images(top, [*asked, *more])
    if not len(tree.names):
        raise UsageError(_none(top, others))
    if len(tree.names) < at_least:
        raise one_image(top, tree.names[0])
    return tree


def _none(top: Path, others: Others) -> str:
    endings = image_endings()
    looked = f"looked for files ending in {', '.join(endings[:8])} and {len(endings) - 8} more"
    pictures = [f"; {count} files have the {reason}" for reason, count in others.unread().items()]
    return f"no images in {str(top)!r}; {looked}{''.join(pictures[:1])}"


def one_image(top: Path, name: str) -> UsageError:
    """The message that more images are needed."""
    return UsageError(f"only one image in {str(top)!r} ({name!r}); at least two are needed")


def class_folders(tree: Tree) -> list[str] | None:
    """The first-level sub-folders, or None if an image lies outside of any."""
    return None if "" in tree.folders else sorted({inside.split(os.sep, 1)[0] for inside in tree.folders})
