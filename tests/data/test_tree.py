import os
import pickle

import numpy as np
import pytest

from selfsup.data.holdout import hashes
from selfsup.data.readers import tree as tree_module
from selfsup.data.readers.names import Below, FileNames
from selfsup.data.readers.tree import find_images
from selfsup.data.readers.tree_index import index_file

NAMES = ["a.jpg", "", "täg.png", "line\nbreak.jpg", os.fsdecode(b"\xff.png")]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tree_module, "KEEP", 1)


@pytest.fixture
def top(tmp_path):
    root = tmp_path / "images"
    for name in ("b/2.png", "b/1.jpg", "a/deep/x.png", "0.png", "a!/y.png", "b/notes.txt"):
        touch(root / name)
    settle(root)
    return root


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def settle(root):
    """As if nothing had changed for an hour."""
    for here, _, _ in os.walk(root):
        past = os.stat(here).st_mtime - 3600
        os.utime(here, (past, past))


def keys(tree):
    return [tree.names[i] for i in range(len(tree.names))]


def listed(monkeypatch):
    """The folders that are listed from now on."""
    seen, scandir = [], os.scandir

    def watched(path):
        seen.append(os.path.basename(os.path.normpath(path)))
        return scandir(path)

    monkeypatch.setattr(tree_module.os, "scandir", watched)
    return seen


def test_names_are_kept_as_bytes():
    names = FileNames.of(NAMES)
    assert [names[i] for i in range(len(names))] == NAMES
    assert Below("top", pickle.loads(pickle.dumps(names)))[3] == "top/line\nbreak.jpg"
    assert names.text.nbytes == sum(len(os.fsencode(name)) for name in NAMES)
    for outside in (-1, 5):
        with pytest.raises(IndexError):
            names[outside]
    assert len(FileNames.of([])) == 0


def test_a_tree_is_sorted_and_knows_its_folders(top):
    tree = find_images(top)
    assert keys(tree) == sorted(["b/2.png", "b/1.jpg", "a/deep/x.png", "0.png", "a!/y.png"])
    assert [tree.folders[i] for i in tree.folder_of] == [key.rpartition("/")[0] for key in keys(tree)]
    assert (tree.hashes == hashes(keys(tree))).all()


def test_a_second_start_lists_nothing(top, monkeypatch):
    first = find_images(top)
    seen = listed(monkeypatch)
    second = find_images(top)
    assert seen == []
    assert keys(second) == keys(first)
    assert second.folders == first.folders
    assert (second.folder_of == first.folder_of).all()
    assert (second.hashes == first.hashes).all()


def test_changes_are_noticed_and_only_their_folders_listed(top, monkeypatch):
    find_images(top)
    touch(top / "a" / "deep" / "new.png")
    (top / "b" / "1.jpg").unlink()
    touch(top / "c" / "d" / "z.png")
    seen = listed(monkeypatch)
    after = keys(find_images(top))
    assert after == sorted(["b/2.png", "a/deep/x.png", "a/deep/new.png", "0.png", "a!/y.png", "c/d/z.png"])
    assert sorted(seen) == sorted(["images", "deep", "b", "c", "d"])
    (top / "b").rename(top.parent / "b")
    assert "b/2.png" not in keys(find_images(top))


def test_a_folder_that_changed_just_now_is_not_trusted(top):
    touch(top / "b" / "3.png")
    find_images(top)
    about = os.stat(top / "b")
    touch(top / "b" / "4.png")
    # Within the clock's resolution a second change leaves the time as it was.
    os.utime(top / "b", ns=(about.st_atime_ns, about.st_mtime_ns))
    assert "b/4.png" in keys(find_images(top))


def test_a_link_that_comes_to_life_is_followed(top):
    (top / "later").symlink_to(top.parent / "mounted")
    settle(top)
    find_images(top)
    touch(top.parent / "mounted" / "m.png")
    assert "later/m.png" in keys(find_images(top))


def test_odd_names_come_back_from_the_index(top):
    for name in ("line\nbreak.jpg", os.fsdecode(b"\xff.png")):
        touch(top / name)
    settle(top)
    assert keys(find_images(top)) == keys(find_images(top))
    assert os.fsdecode(b"\xff.png") in keys(find_images(top))


@pytest.mark.parametrize("damage", [b"", b"no archive", None])
def test_a_damaged_index_is_made_anew(top, damage):
    before = keys(find_images(top))
    file = index_file(top)
    file.write_bytes(file.read_bytes()[:-200] if damage is None else damage)
    assert keys(find_images(top)) == before
    with np.load(file) as stored:
        assert len(stored["hashes"]) == len(before)


def test_an_index_of_another_format_is_left_unread(top, monkeypatch):
    before = keys(find_images(top))
    monkeypatch.setattr("selfsup.data.readers.tree_index.FORMAT", 2)
    seen = listed(monkeypatch)
    assert keys(find_images(top)) == before
    assert seen


def test_small_trees_leave_no_index(top, monkeypatch):
    monkeypatch.setattr(tree_module, "KEEP", 6)
    find_images(top)
    assert not index_file(top).exists()


def test_where_the_cache_cannot_be_written_a_warning_says_so(top, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="cannot be stored.*XDG_CACHE_HOME"):
        assert len(find_images(top).names) == 5
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_nothing_is_written_into_the_folder_of_images(top):
    before = sorted(str(path) for path in top.rglob("*"))
    find_images(top)
    assert sorted(str(path) for path in top.rglob("*")) == before
