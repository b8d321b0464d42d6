import os
import pickle

import pytest

from selfsup.data import ImageFiles, UnreadableImage
from selfsup.data import folder as splits_of_folder
from selfsup.data.select import choose
from selfsup.errors import UsageError

from .images import encoded, noise, write


def folder(*args, **kwargs):
    splits = splits_of_folder(*args, **kwargs)
    return splits["train"], splits["test"]


def tree(root, **classes):
    """Class folders of so many images, each of another size so that they stay files."""
    for name, count in classes.items():
        for i in range(count):
            write(root / name / f"{i:03}.png", i, height=8 + i)
    return root


def names(source, root):
    return [os.path.relpath(source.name(i), root) for i in range(len(source))]


def everything(root, *args, **kwargs):
    train, test = folder(str(root), *args, test_fraction=0.25, **kwargs)
    return sorted(names(train, root) + names(test, root))


def test_sub_folders_name_classes(tmp_path):
    train, test = folder(str(tree(tmp_path, owl=8, ant=12)), test_fraction=0.25)
    assert train.classes == test.classes == ["ant", "owl"]
    assert train.labels.bincount().tolist() == [9, 6]
    assert test.labels.bincount().tolist() == [3, 2]
    for source in (train, test):
        for i, name in enumerate(names(source, tmp_path)):
            assert source.classes[source.labels[i]] == name.split(os.sep)[0]
        assert names(source, tmp_path) == sorted(names(source, tmp_path))
    assert not set(names(train, tmp_path)) & set(names(test, tmp_path))


def test_the_split_does_not_depend_on_where_the_folder_is(tmp_path):
    first, second = tree(tmp_path / "one", a=9, b=9), tree(tmp_path / "else" / "where", a=9, b=9)
    splits = [names(folder(str(root), test_fraction=0.3)[1], root) for root in (first, second)]
    assert splits[0] == splits[1]


def test_depth_case_and_hidden_files(tmp_path):
    seen = ["a.JPG", "b/c/d/e.Tiff", "b/line\nbreak.png", "z.webp"]
    for name in [*seen, ".hidden.png", ".cache/x.png", "b/._a.png"]:
        write(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "folder.png").mkdir()
    assert everything(tmp_path) == seen


def test_auto_finds_labels_only_where_all_images_are_in_two_folders_or_more(tmp_path):
    def labelled(root, labels="auto"):
        return folder(str(root), labels, test_fraction=0.3)[0].labels is not None

    both = tree(tmp_path / "both", a=3, b=3)
    assert labelled(both)
    assert not labelled(both, labels=False)
    write(both / "loose.png")
    assert not labelled(both)
    assert not labelled(tree(tmp_path / "one", a=4))
    (tmp_path / "one" / "empty").mkdir()
    assert not labelled(tmp_path / "one")


@pytest.mark.parametrize("held", ["test", "val", "Valid", "validation"])
def test_split_folders_are_the_split(tmp_path, held):
    tree(tmp_path / "train", a=3, b=4)
    tree(tmp_path / held, b=2)
    write(tmp_path / "thumbnail.png")
    train, test = folder(str(tmp_path), test_fraction=0.3)
    assert names(train, tmp_path) == [f"train/a/{i:03}.png" for i in range(3)] + [
        f"train/b/{i:03}.png" for i in range(4)
    ]
    assert names(test, tmp_path) == [f"{held}/b/000.png", f"{held}/b/001.png"]
    assert train.classes == test.classes == ["a", "b"]
    assert test.labels.tolist() == [1, 1]


def test_a_test_folder_without_classes_gives_way_to_one_with(tmp_path):
    tree(tmp_path / "train", a=3, b=3)
    write(tmp_path / "test" / "unsorted.png")
    with pytest.raises(UsageError, match="not in class folders"):
        folder(str(tmp_path), True, test_fraction=0.3)
    train, test = folder(str(tmp_path), test_fraction=0.3)
    assert {name.split(os.sep)[0] for name in names(train, tmp_path) + names(test, tmp_path)} == {"train"}
    assert names(folder(str(tmp_path), False, test_fraction=0.3)[1], tmp_path) == ["test/unsorted.png"]
    tree(tmp_path / "val", a=2, b=2)
    assert len(folder(str(tmp_path), test_fraction=0.3)[1]) == 4


def test_a_train_folder_alone_is_the_data(tmp_path):
    tree(tmp_path / "train", a=4, b=4)
    train, test = folder(str(tmp_path), test_fraction=0.25)
    assert train.classes == ["a", "b"]
    assert (len(train), len(test)) == (6, 2)


def test_unreadable_files_are_found_when_read(tmp_path):
    tree(tmp_path, a=4, b=4)
    (tmp_path / "a" / "broken.png").symlink_to("gone")
    (tmp_path / "a" / "zero.png").touch()
    (tmp_path / "a" / "half.jpg").write_bytes(encoded(noise(0, 64, 64), "JPEG")[:500])
    bad = []
    for source in folder(str(tmp_path), test_fraction=0.3):
        for i in range(len(source)):
            try:
                source[i]
            except UnreadableImage as error:
                bad.append(os.path.basename(error.name))
    assert sorted(bad) == ["broken.png", "half.jpg", "zero.png"]


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    tree(tmp_path / "elsewhere", a=2)
    root = tree(tmp_path / "root", b=2)
    (root / "a").symlink_to(tmp_path / "elsewhere" / "a", target_is_directory=True)
    (root / "b" / "up").symlink_to(root, target_is_directory=True)
    (root / "b" / "self").symlink_to(root / "b", target_is_directory=True)
    assert everything(root) == ["a/000.png", "a/001.png", "b/000.png", "b/001.png"]


def test_links_in_circles_end_and_folders_are_visited_once(tmp_path):
    root = tree(tmp_path / "root", a=2, b=2)
    (root / "a" / "across").symlink_to(root / "b", target_is_directory=True)
    (root / "b" / "back").symlink_to(root / "a", target_is_directory=True)
    tree(tmp_path / "elsewhere", c=2)
    for link in ("one", "two"):
        (root / link).symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert everything(root) == [
        "a/000.png",
        "a/001.png",
        "b/000.png",
        "b/001.png",
        "one/c/000.png",
        "one/c/001.png",
    ]


def test_files_of_one_name_in_two_folders_are_two_images(tmp_path):
    for i, name in enumerate(("a/x.png", "b/x.png", "a/b/x.png", "b/y.png")):
        write(tmp_path / name, i)
    train, test = folder(str(tmp_path), test_fraction=0.5)
    found = {
        source.name(i): source[i].numpy().tobytes() for source in (train, test) for i in range(len(source))
    }
    assert len(found) == len(set(found.values())) == 4


def test_every_split_folder_has_its_name(tmp_path):
    tree(tmp_path / "train", a=3, b=3)
    tree(tmp_path / "val", a=1, b=1)
    tree(tmp_path / "test", a=2, b=2)
    splits = splits_of_folder(str(tmp_path), test_fraction=0.3)
    assert {name: len(splits[name]) for name in splits} == {"train": 6, "val": 2, "test": 4}
    train, test = choose(splits, {"train": "train+val"})
    assert (len(train), len(test), train.classes) == (8, 4, ["a", "b"])
    (tmp_path / "test").rename(tmp_path / "other")
    splits = splits_of_folder(str(tmp_path), test_fraction=0.3)
    assert splits["val"] is splits["test"]
    with pytest.raises(UsageError, match="share 2 images"):
        choose(splits, {"train": "train+val"})


def test_a_source_can_be_pickled(tmp_path):
    train, _ = folder(str(tree(tmp_path / "mixed", a=4, b=4)), test_fraction=0.3)
    again = pickle.loads(pickle.dumps(train))
    assert isinstance(again, ImageFiles)
    assert (again[2] == train[2]).all()
    assert again.name(2) == train.name(2)


def test_a_name_that_is_not_text_is_no_trouble(tmp_path):
    for i in range(3):
        write(tmp_path / f"{i}.png", i)
    os.rename(os.fsencode(tmp_path / "1.png"), os.fsencode(tmp_path) + b"/\xff.png")
    train, test = folder(str(tmp_path), test_fraction=0.3)
    assert len(train) + len(test) == 3


def test_mistakes_are_told_in_a_sentence(tmp_path):
    def sentence(root, labels="auto", fraction=0.2):
        with pytest.raises(UsageError) as caught:
            folder(root if root is None else str(root), labels, test_fraction=fraction)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    images = tree(tmp_path / "images", a=3, b=3)
    assert "did you mean" in sentence(tmp_path / "imagse")
    assert str(images) in sentence(tmp_path / "imagse")
    assert "nor is there" in sentence(tmp_path / "x" / "y")
    assert "data.root=PATH" in sentence(None)
    assert "is a file" in sentence(images / "a" / "000.png")
    assert "labels must be" in sentence(images, "yes")
    assert "between 0 and 1" in sentence(images, fraction=1.0)
    (tmp_path / "empty" / "deep").mkdir(parents=True)
    (tmp_path / "empty" / "notes.txt").touch()
    assert "jpg, jpeg, png" in sentence(tmp_path / "empty")
    write(tmp_path / "single" / "a.png")
    assert "only one image" in sentence(tmp_path / "single")
    assert "only one class folder, 'a'" in sentence(tree(tmp_path / "class", a=3), True)
    write(tmp_path / "flat" / "a.png")
    write(tmp_path / "flat" / "b.png")
    assert "'a.png'" in sentence(tmp_path / "flat", True)
    assert "single image" in sentence(tree(tmp_path / "singles", a=1, b=1))
    tree(tmp_path / "split" / "train", a=2, b=2)
    tree(tmp_path / "split" / "test", a=2, c=2)
    assert "class 'c'" in sentence(tmp_path / "split")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(tmp_path):
    tree(tmp_path, a=2, b=2)
    (tmp_path / "a").chmod(0)
    with pytest.raises(UsageError, match="cannot read folder"):
        folder(str(tmp_path), test_fraction=0.2)
    (tmp_path / "a").chmod(0o700)
