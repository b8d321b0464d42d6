"""Tables of images as people have them: which row is a header, which column holds what."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from selfsup.data import files as read_files
from selfsup.errors import UsageError

from .images import write

COUNT = 12
KINDS = ["newt", "frog", "toad"]


@pytest.fixture
def top(tmp_path: Path) -> Path:
    for i in range(COUNT):
        write(tmp_path / f"im{i}.png", i)
    return tmp_path


def table(top: Path, head: str | None, row: Any, name: str = "t.csv", rows: Any = range(COUNT)) -> Path:
    """A table with a row for each image, made by ``row(i)``."""
    lines = ([head] if head is not None else []) + [row(i) for i in rows]
    path = top / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def read(path: Path, root: str | None = None, labels: Any = "auto", **named: Any) -> tuple[Any, Any]:
    columns = (named.get("path_column"), named.get("label_column"))
    return read_files(str(path), root, labels, *columns, test_fraction=0.25)


def found(path: Path, *args: Any, **kwargs: Any) -> dict[str, str | None]:
    """The label of each image that is used."""
    pairs = {}
    for source in read(path, *args, **kwargs):
        for i in range(len(source)):
            assert source[i].shape == (3, 8, 8)
            label = None if source.labels is None else source.classes[source.labels[i]]
            pairs[os.path.basename(source.name(i))] = label
    return pairs


EXPECTED = {f"im{i}.png": KINDS[i % 3] for i in range(COUNT)}


@pytest.mark.parametrize(
    ("head", "row"),
    [
        ("file_name,label", "im{i}.png,{k}"),
        ("image_id,species", "im{i}.png,{k}"),
        ("Bilddatei,Art", "im{i}.png,{k}"),
        ("art,nummer,bild", "{k},{i},im{i}.png"),
        ("id_code,diagnosis", "im{i},{k}"),
        ("a;b", "im{i}.png;{k}"),
        ("a\tb", "im{i}.png\t{k}"),
        (None, "im{i}.png,{k}"),
        (None, "{k},im{i}.png"),
    ],
)
def test_a_header_is_a_row_whose_path_is_not_there(top: Path, head: str | None, row: str) -> None:
    path = table(top, head, lambda i: row.format(i=i, k=KINDS[i % 3]))
    assert found(path) == EXPECTED


def test_paths_that_were_written_on_windows(top: Path) -> None:
    (top / "inside").mkdir()
    for i in range(COUNT):
        (top / f"im{i}.png").rename(top / "inside" / f"im{i}.png")
    assert found(table(top, "bild,art", lambda i: f"inside\\im{i}.png,{KINDS[i % 3]}")) == EXPECTED
    (top / "inside" / "im0.png").rename(top / "inside\\im0.png")  # a name that holds a backslash
    path = table(top, None, lambda i: f"inside\\im{i}.png")
    assert {os.path.basename(name) for name in found(path)} == {"inside\\im0.png", *list(EXPECTED)[1:]}


def test_a_first_row_whose_image_is_gone_is_no_header(top: Path) -> None:
    path = table(top, "gone.png,newt", lambda i: f"im{i}.png,{KINDS[i % 3]}")
    names = [source.name(i) for source in read(path) for i in range(len(source))]
    assert len(names) == COUNT + 1
    assert str(top / "gone.png") in names


def test_endings_and_folders_are_found_and_said(top: Path) -> None:
    (top / "train_images").mkdir()
    for i in range(COUNT):
        (top / f"im{i}.png").rename(top / "train_images" / f"im{i}.png")
    path = table(top, "id_code,diagnosis", lambda i: f"im{i},{i % 3}")
    assert found(path) == {f"im{i}.png": str(i % 3) for i in range(COUNT)}
    said = read(path)[0].decisions.splits
    assert "train_images', where their files are" in said
    assert "the endings .png were added" in said


@pytest.mark.parametrize("name", ["train.txt", "list", "val.lst"])
@pytest.mark.parametrize("separator", [" ", "\t", ",", "; "])
def test_lists_with_labels(top: Path, name: str, separator: str) -> None:
    path = table(top, None, lambda i: f"im{i}.png{separator}{i % 3}", name)
    assert found(path) == {f"im{i}.png": str(i % 3) for i in range(COUNT)}
    (top / "im0.png").rename(top / "with a space.png")
    row = lambda i: "with a space.png" if i == 0 else f"im{i}.png"  # noqa: E731
    assert set(found(table(top, None, row, name)).values()) == {None}
    assert found(table(top, None, lambda i: f"{row(i)}{separator}{i % 3}", name))["with a space.png"] == "0"


def test_lines_of_json(top: Path) -> None:
    path = table(
        top,
        None,
        lambda i: json.dumps({"n": i, "file_name": f"im{i}.png", "k": i % 2 + 1.0}),
        "metadata.jsonl",
    )
    assert found(path, label_column="k") == {f"im{i}.png": str(i % 2 + 1) for i in range(COUNT)}
    assert found(path) == {f"im{i}.png": str(i % 2 + 1) for i in range(COUNT)}
    path.write_text('{"file_name": "im0.png"}\n[1]\n')
    with pytest.raises(UsageError, match=r"line 2 of .* no JSON object"):
        read(path)


@pytest.mark.parametrize(
    ("head", "value"),
    [
        ("file,label,split", lambda i: ("train", "train", "test")[i % 3]),
        ("file,label,Teil", lambda i: ("Training", "Training", "Prüfung")[i % 3]),
        ("file,label,is_train", lambda i: ("1", "1", "0")[i % 3]),
        ("file,label,is_valid", lambda i: ("0", "0", "1")[i % 3]),
        (None, lambda i: ("train", "train", "val")[i % 3]),
    ],
)
def test_rows_for_testing_are_not_learned_from(top: Path, head: str | None, value: Any) -> None:
    path = table(top, head, lambda i: f"im{i}.png,{KINDS[i // 3 % 2]},{value(i)}")
    train, test = read(path)
    assert {train.name(i) for i in range(len(train))} == {
        str(top / f"im{i}.png") for i in range(COUNT) if i % 3 < 2
    }
    assert {test.name(i) for i in range(len(test))} == {str(top / f"im{i}.png") for i in range(2, COUNT, 3)}
    assert train.classes == test.classes == ["frog", "newt"]
    assert "says which rows" in train.decisions.splits


def test_test_rows_without_labels_are_left_out(top: Path) -> None:
    path = table(
        top, "image,label,split", lambda i: f"im{i}.png,{KINDS[i % 2]},train" if i < 8 else f"im{i}.png,,test"
    )
    assert Counter(found(path).values()) == {"newt": 4, "frog": 4}
    path = table(
        top, "image,label,split", lambda i: f"im{i}.png,{'ab'[i > 8]},{'train' if i < 9 else 'test'}"
    )
    with pytest.raises(UsageError, match=r"test rows of .* have a label 'b' that no training row has"):
        read(path)


def test_splits_that_no_word_names_are_said(top: Path) -> None:
    path = table(top, "image,label,partition", lambda i: f"im{i}.png,{i % 2},{i % 3}")
    train, _ = read(path)
    assert "'partition' is not used, as its values '0', '1' and '2' name no splits" in train.decisions.splits


def test_columns_of_0_and_1_are_classes(top: Path) -> None:
    path = table(
        top,
        "image,MEL,NV,BCC",
        lambda i: "im{}.png,{}".format(i, ",".join(str(float(i % 3 == k)) for k in range(3))),
    )
    assert found(path) == {f"im{i}.png": ("MEL", "NV", "BCC")[i % 3] for i in range(COUNT)}
    path = table(top, "image,sun,rain,snow", lambda i: f"im{i}.png,1,{i % 2},0")
    assert set(found(path).values()) == {None}
    assert "rows have none or several of 'sun', 'rain' and 'snow'" in read(path)[0].decisions.labels
    with pytest.raises(UsageError, match="has no labels"):
        read(path, labels=True)


def test_several_columns_that_may_be_labels_are_listed(top: Path) -> None:
    path = table(top, "image,dx,site", lambda i: f"im{i}.png,{KINDS[i % 3]},{'xy'[i % 2]}")
    train, _ = read(path)
    assert train.labels is None
    assert "'dx' and 'site' may all be labels; choose with data.label_column=NAME" in train.decisions.labels
    assert found(path, label_column="dx") == EXPECTED
    path = table(top, "image,tags", lambda i: f"im{i}.png,{'sun|sea' if i % 2 else 'sun'}{'|hill' * (i % 3)}")
    assert set(found(path).values()) == {None}
    assert "several to a row" in read(path)[0].decisions.labels
    path = table(top, "image,caption", lambda i: f"im{i}.png,number {i}")
    assert set(found(path).values()) == {None}


def test_labels_that_are_odd(top: Path) -> None:
    path = table(top, "image,label", lambda i: f"im{i}.png,{('--5', '10', '9')[i % 3]}")
    assert read(path)[0].classes == ["--5", "10", "9"]
    path = table(top, "image,label", lambda i: f"im{i}.png,{('1.0', '10', '2')[i % 3]}")
    assert read(path)[0].classes == ["1", "2", "10"]
    path = table(top, "image,label", lambda i: f"im{i}.png,{'nan' if i == 3 else '1'}")
    with pytest.raises(UsageError, match="row 4 of"):
        read(path)


def test_other_encodings(top: Path) -> None:
    path = table(top, "image,label", lambda i: f"im{i}.png,{KINDS[i % 3]}")
    path.write_bytes(path.read_text().encode("utf-16"))
    with pytest.raises(UsageError, match="save it as UTF-8") as caught:
        read(path)
    assert "\n" not in str(caught.value)
