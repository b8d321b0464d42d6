import pytest

from selfsup.data import parquet_folder
from selfsup.data.select import choose
from selfsup.data.sources.parquet_folder import split_files
from selfsup.errors import UsageError

from .images import NAMES, encoded, noise, pixels, write_parquet


def read(root, labels="auto"):
    return parquet_folder(str(root), labels, test_fraction=0.25, image_column="image", label_column="label")


def file(path, first, count, labels=None):
    return write_parquet(path, [encoded(noise(first + i)) for i in range(count)], labels, labels and NAMES)


def test_the_layout_of_datasets(tmp_path):
    file(tmp_path / "data" / "train-00000-of-00002.parquet", 0, 3, [0, 2, 2])
    file(tmp_path / "data" / "train-00001-of-00002.parquet", 3, 2, [0, 1])
    file(tmp_path / "data" / "test-00000-of-00001.parquet", 5, 2, [1, 0])
    file(tmp_path / "data" / "unlabelled-00000-of-00001.parquet", 7, 4)
    splits = read(tmp_path)
    assert {name: len(splits[name]) for name in splits} == {"train": 5, "test": 2, "unlabelled": 4}
    assert splits["train"].classes == splits["test"].classes == NAMES
    assert splits["train"].labels.tolist() == [0, 2, 2, 0, 1]
    assert splits["test"].labels.tolist() == [1, 0]
    assert splits["unlabelled"].labels is None
    assert (splits["train"][3].numpy() == pixels(noise(3))).all()
    assert splits["train"].name(4).endswith("train-00001-of-00002.parquet row 1")
    train, test = choose(splits, {"train": "train[:60%]+unlabelled"})
    assert (len(train), len(test), train.labels) == (7, 2, None)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00001.parquet", "train"),
        ("val-00000-of-00001.parquet", "validation"),
        ("extra-part-3-of-7.parquet", "extra-part"),
        ("cifar_test.parquet", "test"),
        ("test/0001.parquet", "test"),
        ("train/test_00.parquet", "test"),
        ("dev/a/0.parquet", "validation"),
        ("0000.parquet", "train"),
        ("contest.parquet", "train"),
    ],
)
def test_names_say_the_split(tmp_path, name, split):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    assert list(split_files(tmp_path)) == [split]


def test_without_a_test_split_one_is_held_out(tmp_path):
    file(tmp_path / "a.parquet", 0, 8)
    splits = read(tmp_path)
    assert (len(splits["train"]), len(splits["test"])) == (6, 2)
    file(tmp_path / "val.parquet", 8, 3)
    splits = read(tmp_path)
    assert (len(splits["train"]), len(splits["test"])) == (8, 3)
    assert splits["test"] is splits["validation"]


def test_mistakes_are_told(tmp_path):
    with pytest.raises(UsageError, match="no folder"):
        read(tmp_path / "none")
    with pytest.raises(UsageError, match=r"no \.parquet files"):
        read(tmp_path)
    file(tmp_path / "test.parquet", 0, 2)
    with pytest.raises(UsageError, match=r"no training split .*but test; .*data=parquet data\.train"):
        read(tmp_path)
    file(tmp_path / "train.parquet", 0, 0)
    with pytest.raises(UsageError, match="has no rows"):
        read(tmp_path)["train"]
    file(tmp_path / "train.parquet", 0, 2)
    with pytest.raises(UsageError, match="no label column 'label'"):
        read(tmp_path, True)["train"]
    with pytest.raises(UsageError, match="labels must be"):
        read(tmp_path, "yes")
