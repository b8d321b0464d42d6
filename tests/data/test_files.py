import os

import pytest

from selfsup.data import UnreadableImage, load_data
from selfsup.data import files as read_files
from selfsup.errors import UsageError

from .images import write
from .test_load import config

NAMES = ["a/1.png", "a/2.png", "b/1.png", "b/with, comma.png", 'b/"quoted".png', "täg.png"]


@pytest.fixture
def top(tmp_path):
    for i, name in enumerate(NAMES):
        write(tmp_path / name, i)
    return tmp_path


def files(path, root=None, labels="auto", path_column=None, label_column=None, test_fraction=0.3):
    return read_files(str(path), root, labels, path_column, label_column, test_fraction=test_fraction)


def found(path, *args, **kwargs):
    """Name relative to the list's folder: label, or None."""
    pairs = {}
    for source in files(path, *args, **kwargs):
        for i in range(len(source)):
            assert source[i].shape == (3, 8, 8)
            name = os.path.relpath(source.name(i), path.parent)
            pairs[name] = None if source.labels is None else source.classes[source.labels[i]]
    return pairs


def text(path, *lines, end="\n"):
    path.write_text(end.join(lines) + end, "utf-8")
    return path


def test_a_list_of_paths(top):
    for end in ("\n", "\r\n"):
        assert found(text(top / "list.txt", *NAMES, "", end=end)) == dict.fromkeys(NAMES)
    absolute = text(top / "list", *(str(top / name) for name in NAMES))
    assert found(absolute) == dict.fromkeys(NAMES)


def test_paths_start_where_root_says(top, tmp_path_factory):
    elsewhere = text(tmp_path_factory.mktemp("lists") / "list.txt", *NAMES)
    train, _ = files(elsewhere, str(top))
    assert train.name(0).startswith(str(top))


def test_a_table_with_a_header(top):
    expected = dict(zip(NAMES[:4], ["cat", "dog", "cat", "dog"], strict=True))
    for head in ("path,label", "Filename,CLASS", "image,target"):
        table = text(
            top / "t.csv", head, "a/1.png,cat", "a/2.png,dog", "b/1.png,cat", '"b/with, comma.png",dog'
        )
        assert found(table) == expected
    table = text(
        top / "t.csv",
        "id,where,kind",
        "1,a/1.png,cat",
        "2,a/2.png,dog",
        "3,b/1.png,cat",
        '4,"b/with, comma.png",dog',
    )
    assert found(table, path_column="where", label_column="kind") == expected
    assert set(found(table, path_column="where").values()) == {None}
    tabs = text(
        top / "t.tsv", "label\tpath", "cat\ta/1.png", "dog\ta/2.png", "cat\tb/1.png", "dog\tb/with, comma.png"
    )
    assert found(tabs) == expected
    assert set(found(tabs, labels=False).values()) == {None}


def test_a_table_without_a_header(top):
    table = text(top / "t.csv", "a/1.png,1", "a/2.png,10", "b/1.png,2", '"b/""quoted"".png",10', "täg.png,1")
    pairs = found(table)
    assert pairs == {"a/1.png": "1", "a/2.png": "10", "b/1.png": "2", 'b/"quoted".png': "10", "täg.png": "1"}
    assert files(table)[0].classes == ["1", "2", "10"]
    assert set(found(text(top / "t.csv", "a/1.png", "a/2.png")).values()) == {None}


def test_odd_names(top):
    (top / "line\nbreak.png").write_bytes((top / "a" / "1.png").read_bytes())
    os.link(top / "a" / "1.png", os.fsencode(top) + b"/\xff.png")
    table = top / "t.csv"
    table.write_bytes(b'\xef\xbb\xbfpath\n"line\nbreak.png"\n\xff.png\na/2.png\n')
    assert sorted(found(table)) == sorted(["a/2.png", "line\nbreak.png", os.fsdecode(b"\xff.png")])


def test_a_file_that_is_not_there_is_found_when_read(top):
    table = text(top / "list.txt", *NAMES[:4], "gone.png")
    missing = []
    for source in files(table):
        for i in range(len(source)):
            try:
                source[i]
            except UnreadableImage as error:
                missing.append((os.path.basename(error.name), error.reason))
    assert missing == [("gone.png", "there is no such file")]
    # One may be unreadable, whatever the share.
    load_data(config("files", f"data.files={table}"))
    text(table, *NAMES[:4], "gone.png", "gone too.png", "and.png", "more.png")
    with pytest.raises(UsageError, match="there is no such file"):
        load_data(config("files", f"data.files={table}"))


def test_mistakes_are_told(top):
    def sentence(path, *args, **kwargs):
        with pytest.raises(UsageError) as caught:
            files(path, *args, **kwargs)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    table = text(top / "table.csv", "path,label", "a/1.png,cat", "a/2.png,", "b/1.png,dog")
    assert "did you mean" in sentence(top / "tabel.csv")
    assert "it is a folder" in sentence(top / "a")
    assert "row 2 of" in sentence(table)
    assert "'a/2.png') has no label" in sentence(table)
    assert len(files(table, labels=False)[0]) == 2
    assert "no column 'kind'; its first row is path, label" in sentence(table, label_column="kind")
    assert "name the column of paths" in sentence(text(top / "t.csv", "x,y", "1,2"), label_column="y")
    assert "has no labels" in sentence(text(top / "l.txt", *NAMES), labels=True)
    assert "labels must be" in sentence(table, labels="some")
    assert "more than once" in sentence(text(top / "l.txt", "a/1.png", "a/2.png", "a/1.png"))
    assert "names 1 images" in sentence(text(top / "l.txt", "a/1.png"))
    assert "names 0 images" in sentence(text(top / "l.csv", "path,label"))
    assert "no folder" in sentence(text(top / "l.txt", *NAMES), str(top / "none"))
    assert "row 2 of" in sentence(text(top / "t.csv", "label,path", "x,a/1.png", "y", "y,b/1.png"))
    assert "single image" in sentence(text(top / "t.csv", "a/1.png,x", "a/2.png,y"))
    assert "cannot be read as a table" in sentence(text(top / "t.csv", 'a/1.png,"x', "a/2.png,y"))
