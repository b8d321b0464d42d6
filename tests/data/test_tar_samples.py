"""Samples of several images, and labels that lie anywhere in a shard."""

import json
from pathlib import Path
from typing import Any

import pytest

from selfsup.errors import UsageError

from .images import encoded, noise
from .test_shards import _own_cache, load, picture, write_tar  # noqa: F401

KINDS = [("png", "seg.png"), ("jpg", "png"), ("b.png", "a.png"), ("webp", "mask.webp")]


@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("apart", [False, True])
def test_of_several_images_of_a_sample_one_is_taken(
    tmp_path: Path, kinds: tuple[str, str], apart: bool
) -> None:
    def mask(i: int) -> Any:
        return noise(i, 3, 3).convert("1").resize((24, 24))

    def of(kind: str, image: Any) -> bytes:
        return encoded(image.convert("RGB"), {"jpg": "JPEG"}.get(kind, kind.rpartition(".")[2]).upper())

    members = [(f"{i}.{kinds[0]}", of(kinds[0], noise(i, 24, 24))) for i in range(8)]
    masks = [(f"{i}.{kinds[1]}", of(kinds[1], mask(i))) for i in range(8)]
    both = members + masks if apart else [each for two in zip(masks, members, strict=True) for each in two]
    train, test = load(write_tar(tmp_path / "x.tar", both))
    names = {source.name(i).split()[-1] for source in (train, test) for i in range(len(source))}
    assert names == {name for name, _ in members}
    lines = train.decisions.lines()
    assert f"8 files are left out: another image of a sample, .{kinds[1]} beside .{kinds[0]}" in lines


def test_labels_are_found_anywhere_in_a_shard(tmp_path: Path) -> None:
    images = [(f"{i}.png", encoded(picture(i))) for i in range(6)]
    labels = [(f"{i}.cls", str(i % 2).encode()) for i in range(6)]
    train, test = load(write_tar(tmp_path / "x.tar", images + labels))
    for source in (train, test):
        assert [source.classes[k] for k in source.labels.tolist()] == [
            str(int(source.name(i)[-5]) % 2) for i in range(len(source))
        ]
    numbers = [(f"{i}.json", json.dumps({"label": [1.0, 10, True][i % 3]}).encode()) for i in range(6)]
    assert load(write_tar(tmp_path / "y.tar", images + numbers))[0].classes == ["1", "10"]


def test_dots_in_names_that_part_nothing_keep_all_images(tmp_path: Path) -> None:
    images = [(f"2024.01.{i}.png", encoded(picture(i))) for i in range(6)]
    images += [(f"other {i}.png", encoded(picture(i))) for i in range(3)]
    train, test = load(write_tar(tmp_path / "x.tar", images))
    assert len(train) + len(test) == 9


def test_a_folder_with_the_shards_of_several_splits_is_refused(tmp_path: Path) -> None:
    for name in ("train-0.tar", "Test-0.tar"):
        write_tar(tmp_path / name, [])
    with pytest.raises(UsageError, match=r"several splits \(train, test\).*train\*\.tar"):
        load(tmp_path)
