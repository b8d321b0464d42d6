import pickle
import urllib.error

import numpy as np
import pytest
import torch
import torchvision

from selfsup.data import cifar10, cifar100, stl10
from selfsup.errors import UsageError

RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def no_checksums(monkeypatch):
    """Files of our own have not the checksums of the published ones; that they exist is still checked."""
    import os

    for module in (torchvision.datasets.cifar, torchvision.datasets.stl10):
        monkeypatch.setattr(module, "check_integrity", lambda path, md5=None: os.path.isfile(path))


def dump(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))


def test_cifar10(tmp_path):
    base = tmp_path / "cifar-10-batches-py"
    batches = {}
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        rows = RANDOM.integers(0, 256, (4, 3 * 32 * 32), dtype=np.uint8)
        batches[name] = rows
        dump(base / name, {"data": rows, "labels": [0, 1, 1, 9]})
    dump(base / "batches.meta", {"label_names": [f"class {i}" for i in range(10)]})
    train, test = cifar10(str(tmp_path), download=False)
    assert len(train) == 20
    assert (train[5].numpy() == batches["data_batch_2"][1].reshape(3, 32, 32)).all()
    assert (test[3].numpy() == batches["test_batch"][3].reshape(3, 32, 32)).all()
    assert train.labels.dtype == torch.int64
    assert test.labels.tolist() == [0, 1, 1, 9]
    assert test.classes[9] == "class 9"
    assert test.name(3) == "cifar10 test 3"


def test_cifar100(tmp_path):
    base = tmp_path / "cifar-100-python"
    for name in ("train", "test"):
        rows = RANDOM.integers(0, 256, (3, 3 * 32 * 32), dtype=np.uint8)
        dump(base / name, {"data": rows, "fine_labels": [0, 50, 99], "coarse_labels": [0, 1, 2]})
    dump(base / "meta", {"fine_label_names": [f"class {i}" for i in range(100)]})
    train, test = cifar100(str(tmp_path), download=False)
    assert train.labels.tolist() == test.labels.tolist() == [0, 50, 99]
    assert len(train.classes) == 100


@pytest.mark.parametrize("unlabelled", [False, True])
def test_stl10(tmp_path, unlabelled):
    base = tmp_path / "stl10_binary"
    base.mkdir()
    stored = {}
    for name, count in (("train", 4), ("test", 3), ("unlabeled", 5)):
        # The published files store each channel column by column.
        stored[name] = RANDOM.integers(0, 256, (count, 3, 96, 96), dtype=np.uint8)
        stored[name].transpose(0, 1, 3, 2).tofile(base / f"{name}_X.bin")
    np.array([1, 10, 2, 2], np.uint8).tofile(base / "train_y.bin")
    np.array([3, 1, 10], np.uint8).tofile(base / "test_y.bin")
    (base / "class_names.txt").write_text("\n".join(f"class {i}" for i in range(10)))
    train, test = stl10(str(tmp_path), download=False, unlabelled=unlabelled)
    assert len(train) == (9 if unlabelled else 4)
    assert (train[1].numpy() == stored["train"][1]).all()
    assert test.labels.tolist() == [2, 0, 9]
    if unlabelled:
        assert train.labels is None
        assert (train[8].numpy() == stored["unlabeled"][4]).all()
    else:
        assert train.labels.tolist() == [0, 9, 1, 1]


@pytest.mark.parametrize("dataset", [cifar10, cifar100, lambda *a: stl10(*a, False)])
def test_files_that_are_not_there(tmp_path, dataset):
    with pytest.raises(UsageError, match=r"data\.download=true.*data=parquet") as caught:
        dataset(str(tmp_path / "none"), False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "failure",
    [
        urllib.error.URLError("no route"),
        ConnectionResetError("reset"),
        RuntimeError("File not found or corrupted."),
    ],
)
def test_a_download_that_fails(tmp_path, monkeypatch, failure):
    def fail(*args, **kwargs):
        raise failure

    monkeypatch.setattr(torchvision.datasets.cifar, "download_and_extract_archive", fail)
    with pytest.raises(UsageError, match=r"could not be downloaded.*data=parquet"):
        cifar10(str(tmp_path), True)


def test_a_damaged_batch(tmp_path):
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"]:
        (tmp_path / "cifar-10-batches-py").mkdir(exist_ok=True)
        (tmp_path / "cifar-10-batches-py" / name).write_bytes(b"\x80")
    with pytest.raises(UsageError, match="damaged"):
        cifar10(str(tmp_path), False)
