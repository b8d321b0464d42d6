import pickle
import sys

import pytest

from selfsup.data import ImageFiles, huggingface
from selfsup.data.source import in_memory
from selfsup.errors import UsageError

from .images import encoded, noise, pixels, write, write_parquet

datasets = pytest.importorskip("datasets", reason="datasets is not installed")


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def table(first, labels, names=("cat", "dog", "eel"), label="label", **columns):
    features = {"image": datasets.Image(), label: datasets.ClassLabel(names=list(names))}
    images = [{"bytes": encoded(noise(first + i)), "path": None} for i in range(len(labels))]
    features |= dict.fromkeys(columns, datasets.Value("string"))
    content = {"image": images, label: labels, **columns}
    return datasets.Dataset.from_dict(content, features=datasets.Features(features))


def read(name, subset=None, labels="auto", image_column=None, label_column=None):
    return huggingface(str(name), subset, labels, image_column, label_column, test_fraction=0.25)


def test_a_data_set_that_was_saved(tmp_path):
    saved = datasets.DatasetDict(train=table(0, [0, 2, 2, 0]), validation=table(4, [2, 0]))
    saved.save_to_disk(str(tmp_path / "saved"))
    splits = read(tmp_path / "saved")
    assert set(splits) == {"train", "validation", "test"}
    train, test = splits["train"], splits["test"]
    assert test is splits["validation"]
    assert train.classes == test.classes == ["cat", "eel"]
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 1, 1, 0], [1, 0])
    for i in range(4):
        assert (train[i].numpy() == pixels(noise(i))).all()
    assert train.name(3) == f"{tmp_path / 'saved'} train 3"
    again = pickle.loads(pickle.dumps(train))
    assert isinstance(again, ImageFiles)
    assert (again[1] == train[1]).all()
    assert in_memory(train).images.shape == (4, 3, 8, 8)


def test_one_split_is_parted_and_shuffled_rows_keep_their_labels(tmp_path):
    table(0, [0, 1] * 4).shuffle(seed=1).save_to_disk(str(tmp_path / "one"))
    splits = read(tmp_path / "one")
    assert (len(splits["train"]), len(splits["test"])) == (6, 2)
    label = {pixels(noise(i)).tobytes(): i % 2 for i in range(8)}
    for source in (splits["train"], splits["test"]):
        assert [label[source[i].numpy().tobytes()] for i in range(len(source))] == source.labels.tolist()


def test_a_folder_that_the_library_reads(tmp_path):
    for i in range(6):
        write(tmp_path / "images" / ("train" if i < 4 else "test") / ("ab"[i % 2]) / f"{i}.png", i)
    splits = read(tmp_path / "images")
    assert {name: len(splits[name]) for name in splits} == {"train": 4, "test": 2}
    assert splits["train"].classes == ["a", "b"]
    write_parquet(
        tmp_path / "parquet" / "data" / "train-00000-of-00001.parquet", [encoded(noise(i)) for i in range(8)]
    )
    assert len(read(tmp_path / "parquet", image_column=None, labels=False)["train"]) == 6


def test_columns_and_labels(tmp_path):
    def saved(name, part):
        part.save_to_disk(str(tmp_path / name))
        return tmp_path / name

    fine = saved("fine", table(0, [0, 1, 0, 1], label="fine"))
    assert read(fine)["train"].labels is not None
    assert read(fine, labels=False)["train"].labels is None
    words = saved("words", table(0, [0, 1, 0, 1], label="x", kind=list("abab")))
    assert read(words, label_column="kind")["train"].classes == ["a", "b"]
    without = datasets.DatasetDict(train=table(0, [0, 1, 0, 1]), test=table(4, [-1, -1]))
    splits = read(saved("without", without))
    assert (splits["train"].labels is None, splits["test"].labels is None) == (False, True)
    with pytest.raises(UsageError, match=r"row 1 of .* has no label"):
        read(saved("gaps", table(0, [0, -1, 0, 1])))["train"]
    with pytest.raises(UsageError, match="no column 'kind'"):
        read(fine, label_column="kind")
    with pytest.raises(UsageError, match="no column of images 'img'; it has image"):
        read(fine, image_column="img")
    with pytest.raises(UsageError, match="0 columns of images"):
        read(saved("text", datasets.Dataset.from_dict({"a": ["b"]})))
    with pytest.raises(UsageError, match="has no column of class labels"):
        read(saved("bare", table(0, [0, 1]).remove_columns("label")), labels=True)


def test_names_that_cannot_be_loaded(tmp_path):
    for name in ("no-such-owner/no-such-set", str(tmp_path)):
        with pytest.raises(UsageError, match=r"cannot be loaded .*data=parquet_folder") as caught:
            read(name)
        assert "\n" not in str(caught.value)


def test_without_the_package_a_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"pip install 'selfsup\[datasets\]'"):
        read("uoft-cs/cifar10")
