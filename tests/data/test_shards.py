"""Tar shards: read in place, in any order, by any process, and whatever is wrong with them is told."""

import io
import json
import os
import pickle
import tarfile
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset

from selfsup.data.batches import make_order
from selfsup.data.order import EpochOrder, ShardOrder
from selfsup.data.readers import tar_index
from selfsup.data.readers.tar_index import index_shards
from selfsup.data.sources.shards import ShardImages, expand_braces, find_shards, shards
from selfsup.errors import UsageError

from .images import encoded, noise, pixels


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def picture(i: int) -> Any:
    return noise(i, 8 + i % 3, 9)


def write_shards(
    folder: Path, n: int = 23, each: int = 5, label: Any = lambda i: {"cls": str(i % 3)}
) -> Path:
    """The library's own writer; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with webdataset.ShardWriter(f"{folder}/%04d.tar", maxcount=each, verbose=0) as writer:
        for i in range(n):
            writer.write({"__key__": f"some/{i:05d}", "png": encoded(picture(i)), **label(i)})
    return folder


def load(train: Any, test: Any = None, **settings: Any) -> tuple[Any, Any]:
    settings = {"test_fraction": 0.2, "max_unreadable": 0.01, **settings}
    return shards(str(train), None if test is None else str(test), **settings)


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_images_and_labels_are_those_that_webdataset_reads(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards")
    train, test = load(folder)
    assert isinstance(train, ShardImages)
    assert (len(train), len(test)) == (18, 5)  # a shard of five is held out
    urls = sorted(str(path) for path in folder.glob("*.tar"))
    peer = webdataset.WebDataset(urls, shardshuffle=False, empty_check=False).decode("rgb8")
    expected = {sample["__key__"]: (sample["png"], int(sample["cls"])) for sample in peer}
    found = {}
    for source in (train, test):
        for i in range(len(source)):
            shard, name = source.name(i).split(" ")
            assert shard in urls
            found[name.removesuffix(".png")] = source[i].permute(1, 2, 0).numpy(), int(source.labels[i])
    assert found.keys() == expected.keys()
    for key, (image, label) in expected.items():
        assert np.array_equal(found[key][0], image)
        assert found[key][1] == label
    assert train.classes == test.classes == ["0", "1", "2"]


def test_labels_of_json_text_of_none_and_ignored(tmp_path: Path) -> None:
    named = write_shards(tmp_path / "a", label=lambda i: {"json": {"kind": ["eel", "cat"][i % 2]}})
    train, _ = load(named, label_key="kind")
    assert train.classes == ["cat", "eel"]
    assert [train.classes[k] for k in train.labels.tolist()] == [
        ["eel", "cat"][int(train.name(i)[-9:-4]) % 2] for i in range(len(train))
    ]
    assert load(named)[0].labels is None  # no key "label"
    assert load(named, label_key="kind", labels=False)[0].labels is None
    numbers = write_shards(tmp_path / "b", label=lambda i: {"cls": ["10", "9"][i % 2]})
    assert load(numbers)[0].classes == ["9", "10"]
    some = write_shards(tmp_path / "c", label=lambda i: {"cls": "1"} if i != 7 else {})
    with pytest.raises(UsageError, match=r"0001.tar some/00007.png' has no label; .*data.labels=false"):
        load(some)
    with pytest.raises(UsageError, match="has no label"):
        load(write_shards(tmp_path / "d", label=lambda i: {}), labels=True)


def test_a_label_of_the_test_split_alone_is_refused(tmp_path: Path) -> None:
    train, test = write_shards(tmp_path / "a"), write_shards(tmp_path / "b", label=lambda i: {"cls": "7"})
    with pytest.raises(UsageError, match="has a label '7' that no training image has"):
        load(train, test)
    with pytest.raises(UsageError, match=r"is in data.train and in data.test"):
        load(train, train / "0001.tar")


def test_one_shard_is_split_by_images(tmp_path: Path) -> None:
    folder = write_shards(tmp_path, each=100)
    train, test = load(folder / "0000.tar")
    names = [source.name(i) for source in (train, test) for i in range(len(source))]
    assert len(names) == len(set(names)) == 23
    assert len(test) == 5


def test_both_splits_may_be_slices_of_the_same_shards(tmp_path: Path) -> None:
    folder = write_shards(tmp_path)
    one, other = load(folder, folder / "*.tar")
    assert one is other
    assert len(one) == 23


def test_members_that_are_no_samples_are_passed_over(tmp_path: Path) -> None:
    png = encoded(picture(0))
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        for name in (
            "._a.png",
            "readme.txt",
            "a.png",
            "b.v2.PNG",
            "../../up.png",
            "c.png",
            "c.png",
            "long/" * 40 + "d.png",
        ):
            info = tarfile.TarInfo(name)
            info.size = len(png)
            tar.addfile(info, io.BytesIO(png))
    train, test = load(path)
    names = sorted(source.name(i).split(" ", 1)[1] for source in (train, test) for i in range(len(source)))
    assert names == sorted(["a.png", "b.v2.PNG", "../../up.png", "c.png", "c.png", "long/" * 40 + "d.png"])
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["cache", "x.tar"]  # nothing was unpacked


def test_the_index_is_kept_and_notices_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_shards(tmp_path / "shards")
    paths = [str(path) for path in sorted(folder.glob("*.tar"))]
    first = index_shards(paths, "label")
    with monkeypatch.context() as patch:
        patch.setattr(tarfile, "open", None)  # nobody looks into the shards again
        second = index_shards(paths, "label")
    assert isinstance(second.starts, np.memmap)
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one, other)
    write_shards(folder, n=28)
    assert len(index_shards(paths, "label").starts) == 25


def test_an_index_that_cannot_be_kept_is_made_anyhow(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards")
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="is not kept for the next run"):
        index = index_shards([str(folder / "0000.tar")], "label", tmp_path / "file" / "cache")
    assert len(index.starts) == 5


def test_a_source_of_shards_can_be_pickled_without_its_index(tmp_path: Path) -> None:
    train, _ = load(write_shards(tmp_path / "shards"))
    blob = pickle.dumps(train.files)
    assert len(blob) < 2000
    assert pickle.loads(blob)[17] == train.files[17]


def test_many_shards_are_indexed_alike_by_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_shards(tmp_path / "shards")
    paths = [str(path) for path in sorted(folder.glob("*.tar"))]
    alone = index_shards(paths, "label", tmp_path / "one")
    monkeypatch.setattr("selfsup.data.readers.tar_index.AT_ONCE", 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    for one, other in zip(alone, index_shards(paths, "label", tmp_path / "two"), strict=True):
        assert np.array_equal(one, other)


def damaged(folder: Path) -> Iterator[tuple[str, int, str]]:
    """Ways to damage a shard of five: what is done, the images left, and what is said."""
    path = folder / "0001.tar"
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        members = {info.name: info for info in tar}
    third = members["some/00007.png"]
    path.write_bytes(whole[: third.offset_data + 10])
    yield "within an image", 2, "ends early: member 'some/00007.png' is cut off"
    path.write_bytes(whole[: third.offset + 100])
    yield "within a header", 2, "end"
    path.write_bytes(whole[: third.offset])
    yield "between two members", 2, "has no end mark"
    path.write_bytes(whole[: third.offset] + b"x" * 512 + whole[third.offset + 512 :])
    yield "a header overwritten", 2, f"damaged at byte {third.offset}"
    path.write_bytes(b"<html>Not found</html>" * 100)
    yield "no tar", 0, "cannot be read as a tar file"
    path.write_bytes(b"")
    yield "empty", 0, "cannot be read as a tar file"
    path.write_bytes(bytes(10240))
    yield "no members", 0, "holds no images"


def test_a_damaged_shard_gives_what_is_whole_and_is_named(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards", n=40, label=lambda i: {})
    for what, left, words in damaged(folder):
        train, test = load(folder)
        assert len(train) + len(test) == 35 + left, what
        bad = train.skipped + test.skipped
        assert [path for path, _ in bad] == [str(folder / "0001.tar")], what
        assert words in bad[0][1], what
        write_tar(folder / "0002.tar", [])
        with pytest.raises(UsageError, match=r"2 of 8 shards .* are damaged, the first .*repair or remove"):
            load(folder)
        write_shards(tmp_path / "new", n=40, label=lambda i: {})
        (tmp_path / "new" / "0002.tar").rename(folder / "0002.tar")


def test_a_shard_that_changed_since_is_unreadable_and_one_that_vanished_too(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards")
    train, _ = load(folder)
    path = Path(train.files.paths[1])
    path.write_bytes(b"x" * path.stat().st_size)
    from selfsup.data import UnreadableImage

    with pytest.raises(UnreadableImage, match="was changed or damaged"):
        train[5]
    path.unlink()
    Path(train.files.paths[2]).unlink()
    with pytest.raises(UnreadableImage, match=r"No such file") as raised:
        train[10]
    assert raised.value.name == f"{train.files.paths[2]} image 0"


def test_patterns(tmp_path: Path) -> None:
    assert list(expand_braces("a{1..3}{x,y}.tar")) == [
        "a1x.tar",
        "a1y.tar",
        "a2x.tar",
        "a2y.tar",
        "a3x.tar",
        "a3y.tar",
    ]
    assert list(expand_braces("{08..10}")) == ["08", "09", "10"]
    assert list(expand_braces("{only}")) == ["{only}"]
    folder = write_shards(tmp_path / "shards")
    every = [str(folder / f"000{i}.tar") for i in range(5)]
    for pattern in (f"{folder}/{{0000..0004}}.tar", f"{folder}/*.tar", str(folder)):
        assert find_shards(pattern, "train") == every
    with pytest.raises(UsageError, match=r"there is no shard .*0005.tar' \(data.train\); did you mean"):
        find_shards(f"{folder}/{{0000..0005}}.tar", "train")
    with pytest.raises(UsageError, match="means no tar files"):
        find_shards(f"{folder}/*.zip", "train")
    with pytest.raises(UsageError, match=r"names .*0001.tar' more than once"):
        find_shards(f"{folder}/{{0000..0002,0001}}.tar".replace("{0000..0002,0001}", "000{1,2,1}"), "train")
    with pytest.raises(UsageError, match=r"needs data.train=SHARDS"):
        find_shards("", "train")


def test_few_shards_are_shuffled_whole_and_many_in_order(tmp_path: Path) -> None:
    few, _ = load(write_shards(tmp_path / "few"))
    many, _ = load(write_shards(tmp_path / "many", n=45, each=1))
    assert type(make_order(few, 4, 0)) is EpochOrder
    order = make_order(many, 4, 0)
    assert type(order) is ShardOrder
    seen = [i for _, batch in order for i in batch]
    assert len(seen) == len(set(seen)) == 36
    assert np.array_equal(many[seen[0]].numpy(), pixels(picture(int(many.name(seen[0])[-9:-4]))))


def test_json_that_is_none_is_no_label(tmp_path: Path) -> None:
    members = [
        ("a.png", encoded(picture(0))),
        ("a.json", b"{"),
        ("b.png", encoded(picture(1))),
        ("b.json", b"[1]"),
    ]
    members += [("c.png", encoded(picture(2))), ("c.json", json.dumps({"label": 3}).encode())]
    with pytest.raises(UsageError, match=r"a.png' has no label"):
        load(write_tar(tmp_path / "x.tar", members))


def test_processes_that_start_together_index_once(tmp_path: Path) -> None:
    """What one of them finds is what the other reads, though both ask at the same time."""
    folder = write_shards(tmp_path / "shards")
    paths = [str(path) for path in sorted(folder.glob("*.tar"))]
    context = get_context("fork")
    both, looks = context.Barrier(2), context.Queue()

    def start() -> None:
        each = tar_index._each

        def watched(*arguments: Any) -> Any:
            looks.put(os.getpid())
            time.sleep(0.2)
            return each(*arguments)

        tar_index._each = watched
        both.wait()
        assert len(index_shards(paths, "label", tmp_path / "index").starts) == 23

    processes = [context.Process(target=start) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert looks.get() in [process.pid for process in processes]
    assert looks.empty()
