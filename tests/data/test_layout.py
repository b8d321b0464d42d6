"""Which folders are splits, which are classes, and which show the same things in another way."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from selfsup.data import folder as read_folder
from selfsup.data.readers.layout import Judge
from selfsup.data.readers.nodes import Layout
from selfsup.data.readers.parallel import counted, keys_of, pairs_of
from selfsup.data.readers.roles import role
from selfsup.data.readers.tree import find_images
from selfsup.errors import UsageError

from .images import noise, write


def put(top: Path, folders: dict[str, int], first: int = 0) -> Path:
    """So many images in each folder, no two alike, with numbers of their own."""
    number = first
    for name, count in folders.items():
        for _ in range(count):
            write(top / name / f"{number}.png", number)
            number += 7
    return top


def splits(top: Path, labels: Any = "auto") -> dict[str, dict[str, list[str]]]:
    """Of each split, the images' paths by class."""
    found = read_folder(str(top), labels, test_fraction=0.25)
    shown: dict[str, dict[str, list[str]]] = {}
    for name in found:
        source = found[name]
        for i in range(len(source)):
            label = "" if source.labels is None else source.classes[source.labels[i]]
            path = os.path.relpath(source.name(i), top)
            shown.setdefault(name, {}).setdefault(label, []).append(path)
    return shown


def parts(top: Path, labels: Any = "auto") -> dict[str, set[str]]:
    """Of each split, the folders that its images are in."""
    return {
        name: {os.path.dirname(path) for paths in classes.values() for path in paths}
        for name, classes in splits(top, labels).items()
    }


def decided(top: Path, labels: Any = "auto") -> str:
    return "\n".join(read_folder(str(top), labels, test_fraction=0.25)["train"].decisions.lines())


def layout(top: Path) -> Layout:
    return Judge(str(top), find_images(top)).layout()


@pytest.mark.parametrize(
    ("learn", "test"),
    [
        ("Training", "Testing"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("Entrenamiento", "Prueba"),
        ("训练集", "测试集"),
        ("Stichprobe A", "Stichprobe B"),  # no word that is known: the largest is for training
        ("archive/dataset/TRAIN", "archive/dataset/VAL"),
    ],
)
def test_folders_with_the_same_sub_folders_are_splits(tmp_path: Path, learn: str, test: str) -> None:
    put(tmp_path, {f"{learn}/frog": 4, f"{learn}/newt": 5, f"{test}/frog": 2, f"{test}/newt": 1})
    found = splits(tmp_path)
    for split, top, counts in (("train", learn, (4, 5)), ("test", test, (2, 1))):
        assert {label: len(paths) for label, paths in found[split].items()} == dict(
            zip(("frog", "newt"), counts, strict=True)
        )
        assert all(
            path.startswith(f"{top}/{label}/") for label, paths in found[split].items() for path in paths
        )
    assert f"those in '{Path(test).parts[-2 if 'seg' in test else -1]}' are not learned from" in decided(
        tmp_path
    )


def test_three_splits_whose_classes_differ_a_little(tmp_path: Path) -> None:
    put(tmp_path, {f"un/{name}": 3 for name in "abcd"})
    put(tmp_path, {"deux/a": 1, "deux/b": 1, "deux/c": 1, "trois/b": 1, "trois/c": 1}, 10_000)
    found = splits(tmp_path)
    assert {name: sorted(classes) for name, classes in found.items()} == {
        "train": ["a", "b", "c", "d"],
        "test": ["a", "b", "c"],
        "deux": ["a", "b", "c"],
        "trois": ["b", "c"],
    }


def test_insisting_on_labels_makes_first_folders_classes_unless_a_word_says_split(tmp_path: Path) -> None:
    put(tmp_path / "one", {"cat/in": 4, "cat/out": 4, "dog/in": 4, "dog/out": 3})
    assert set(splits(tmp_path / "one")["train"]) == {"in", "out"}
    assert set(splits(tmp_path / "one", True)["train"]) == {"cat", "dog"}
    assert "data.labels=true" in decided(tmp_path / "one")
    put(tmp_path / "two", {"training/in": 4, "training/out": 4, "testing/in": 4, "testing/out": 3})
    assert set(splits(tmp_path / "two", True)["train"]) == {"in", "out"}


@pytest.mark.parametrize("names", [("2015", "2016"), ("0", "1"), tuple("abcdefgh")])
def test_numbers_and_many_folders_are_no_splits(tmp_path: Path, names: tuple[str, ...]) -> None:
    put(tmp_path, {f"{name}/{side}": 4 for name in names for side in ("left", "right")})
    assert set(splits(tmp_path)["train"]) == set(names)


def test_folds_are_all_learned_from(tmp_path: Path) -> None:
    put(tmp_path, {f"fold{k}/{name}": 2 for k in range(1, 11) for name in ("hiss", "purr")})
    found = parts(tmp_path)
    assert found["train"] | found["test"] == {f"fold{k}/{c}" for k in range(1, 11) for c in ("hiss", "purr")}
    assert set(splits(tmp_path)["train"]) == {"hiss", "purr"}


def test_splits_inside_of_each_class(tmp_path: Path) -> None:
    put(tmp_path, {f"{name}/{split}": 3 for name in ("bolt", "nut") for split in ("train", "test", "other")})
    found = splits(tmp_path)
    assert set(found["train"]) == set(found["test"]) == {"bolt", "nut"}
    assert parts(tmp_path)["train"] == {"bolt/train", "nut/train"}
    assert "6 files are left out" in decided(tmp_path)


def test_a_flat_test_folder_is_not_learned_from(tmp_path: Path) -> None:
    put(tmp_path, {"train/a": 4, "train/b": 4, "test": 5})
    found = parts(tmp_path)
    assert found["train"] == found["test"] == {"train/a", "train/b"}
    assert "those in 'test' are not learned from" in decided(tmp_path)


def test_only_folders_for_testing_are_refused(tmp_path: Path) -> None:
    put(tmp_path, {"test/a": 2, "test/b": 2, "val/a": 2, "val/b": 2})
    with pytest.raises(UsageError, match=r"all for testing.*data\.root"):
        splits(tmp_path)


def test_a_wrapper_is_looked_into(tmp_path: Path) -> None:
    put(tmp_path, {"archive/v2/data/ape": 4, "archive/v2/data/bee": 4})
    (tmp_path / "archive" / "readme.md").touch()
    assert set(splits(tmp_path)["train"]) == {"ape", "bee"}


def test_a_stray_image_is_left_out_and_many_drop_the_labels_with_a_word(tmp_path: Path) -> None:
    put(tmp_path, {"a": 10, "b": 10})
    write(tmp_path / "cover.png", 1)
    found = splits(tmp_path)
    assert set(found["train"]) == {"a", "b"}
    assert "cover.png" not in [path for each in found.values() for paths in each.values() for path in paths]
    assert "1 file is left out: beside the folders that name classes" in decided(tmp_path)
    put(tmp_path, {"": 9}, 5000)
    assert set(splits(tmp_path)["train"]) == {""}
    assert "no labels: 10 of 30 images, such as '5" in decided(tmp_path)
    with pytest.raises(UsageError, match="is in no sub-folder"):
        splits(tmp_path, True)


def mask(path: Path, seed: int, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 3, (4, 4), dtype=np.uint8).repeat(6, 0).repeat(6, 1)
    Image.fromarray(values * 100).save(path, **options)


def pairs(top: Path, one: str, other: str, names: list[str], second: str = "mask", kind: str = "png") -> Path:
    """Images in a folder and what belongs to them, under the same names, in another."""
    for i, name in enumerate(names):
        write(top / one / f"{name}.jpg", i, height=24, width=24)
        target = top / other / f"{name}.{kind}"
        if second == "mask":
            mask(target, i)
        elif second == "colour":
            write(target, 100 + i, height=24, width=24)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            noise(i, 24, 24).convert("L").save(target)
    return top


NUMBERS = [str(i) for i in range(9)]
WORDS = ["lisbon", "oslo", "rome", "kyiv", "x9f3"]


@pytest.mark.parametrize(
    ("one", "other", "names", "second"),
    [
        ("images", "masks", NUMBERS, "mask"),
        ("Bilder", "Vorlagen", NUMBERS, "mask"),  # no word that is known: the content says it
        ("image", "label", WORDS, "mask"),
        ("img", "depth", NUMBERS, "grey"),
        ("x", "y", WORDS, "grey"),
        ("deep/images", "deep/masks", NUMBERS, "mask"),
    ],
)
def test_masks_and_depths_are_no_class(
    tmp_path: Path, one: str, other: str, names: list[str], second: str
) -> None:
    pairs(tmp_path, one, other, names, second)
    found = parts(tmp_path)
    assert found["train"] == found["test"] == {one}
    assert set(splits(tmp_path)["train"]) == {""}
    assert f"{len(names)} files are left out: in '{Path(other).name}'" in decided(tmp_path)


@pytest.mark.parametrize(("one", "other", "names"), [("left", "right", NUMBERS), ("A", "B", WORDS)])
def test_two_views_in_colour_are_refused_and_one_can_be_named(
    tmp_path: Path, one: str, other: str, names: list[str]
) -> None:
    pairs(tmp_path, one, other, names, "colour")
    with pytest.raises(UsageError, match=rf"same names.*data\.root='.*{one}'") as caught:
        splits(tmp_path)
    assert "\n" not in str(caught.value)
    assert len(splits(tmp_path / one)["train"][""]) > 2
    assert set(splits(tmp_path, True)["train"]) == {one, other}


def test_numbers_in_a_row_make_no_pairs_of_classes(tmp_path: Path) -> None:
    pairs(tmp_path, "aeroplane", "bird", NUMBERS, "colour")
    assert set(splits(tmp_path)["train"]) == {"aeroplane", "bird"}


def test_classes_of_like_images_with_plain_numbers_stay_classes(tmp_path: Path) -> None:
    for name, colour in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
        for i in range(9):
            path = tmp_path / name / f"{i}.png"
            path.parent.mkdir(exist_ok=True)
            values = np.random.default_rng(i).integers(0, 50, (20, 24, 3)) + np.array(colour)
            Image.fromarray(values.astype(np.uint8)).save(path)
    assert set(splits(tmp_path)["train"]) == {"red", "blue"}


def test_pairs_inside_of_splits_and_of_classes(tmp_path: Path) -> None:
    for split in ("train", "test"):
        pairs(tmp_path / "s", f"{split}/images", f"{split}/masks", NUMBERS)
    assert parts(tmp_path / "s") == {"train": {"train/images"}, "test": {"test/images"}}
    for name in ("covid", "normal"):
        pairs(tmp_path / "c", f"{name}/images", f"{name}/masks", [f"{name}-{i}" for i in range(8)])
    assert set(splits(tmp_path / "c")["train"]) == {"covid", "normal"}
    assert parts(tmp_path / "c")["train"] == {"covid/images", "normal/images"}
    for split in ("train", "val"):
        pairs(tmp_path / "m", f"images/{split}", f"masks/{split}", WORDS)
        pairs(tmp_path / "n", split, f"{split}_labels", WORDS)
    assert parts(tmp_path / "m") == {name: {f"images/{name or 'val'}"} for name in ("train", "val")} | {
        "test": {"images/val"}
    }
    assert parts(tmp_path / "n")["train"] == {"train"}


def test_masks_with_names_of_their_own_and_several_to_an_image(tmp_path: Path) -> None:
    for i, name in enumerate(("aachen_000_019", "bochum_001_002", "ulm_090_011")):
        write(tmp_path / "left8bit" / "train" / f"{name}_left8bit.png", i, height=24, width=24)
        for kind in ("color", "ids"):
            mask(tmp_path / "fine" / "train" / f"{name}_fine_{kind}.png", i)
    assert parts(tmp_path)["train"] == {"left8bit/train"}


def test_what_operating_systems_leave_is_no_data(tmp_path: Path) -> None:
    put(tmp_path, {"a": 4, "b": 4})
    for name in ("__MACOSX/a/._0.jpg", "a/@eaDir/0.png/thumb.jpg", ".ipynb_checkpoints/x.png", "a/._7.png"):
        write(tmp_path / name)
    found = splits(tmp_path)
    assert sum(len(paths) for split in found.values() for paths in split.values()) == 8
    assert set(found["train"]) == {"a", "b"}


def test_words_of_splits() -> None:
    known = {"Training": "train", "TEST_images": "test", "hold-out": "test", "valid2": "validation"}
    known |= {"Überprüfung": "test", "обучение": "train", "검증": "validation", "Eğitim": "train"}
    known |= {"latest": None, "contest": None, "valley": None, "devil": None, "strain": None, "7": None}
    assert {name: role(name) for name in known} == known


def test_keys_leave_out_what_all_names_share() -> None:
    assert keys_of(["a/im07L.png", "a/im12L.png"]) == ["a/07", "a/12"]
    assert keys_of(["x_mask.png", "yy_mask.png"]) == ["x", "yy"]
    assert pairs_of(["x.jpg", "y.jpg"], ["x_1.png", "x_2.png", "yard.png"]) == [(0, 0)]
    assert counted(["IMG_0001.jpg", "IMG_0002.jpg"])
    assert not counted(["1.png", "70.png", "9000.png"])
    assert not counted(["a.png", "b.png"])


def test_the_layout_of_flat_images_is_one_split(tmp_path: Path) -> None:
    put(tmp_path, {"": 3})
    assert layout(tmp_path).place == {"": ("train", None)}
