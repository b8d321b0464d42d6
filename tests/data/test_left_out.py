"""What is no image of a folder is counted, and nothing is left out without a word."""

import os
from pathlib import Path

import pytest

from selfsup.commands import main
from selfsup.data import folder as read_folder
from selfsup.data.decisions import decisions_of
from selfsup.data.readers.kinds import image_endings, is_image_name, unread_picture
from selfsup.errors import UsageError
from selfsup.files import read_json

from .images import encoded, noise, write


def read(top: Path) -> tuple[int, str]:
    """How many images there are, and what was decided."""
    splits = read_folder(str(top), test_fraction=0.25)
    count = sum(len(splits[name]) for name in ("train", "test"))
    return count, "\n".join(splits["train"].decisions.lines())


def touch(top: Path, ending: str, count: int) -> None:
    top.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        (top / f"{i}{ending}").write_bytes(b"something else")


def test_every_ending_that_pillow_decodes_is_an_image(tmp_path: Path) -> None:
    kinds = {
        "jfif": "JPEG",
        "jpe": "JPEG",
        "tga": "TGA",
        "qoi": "QOI",
        "pcx": "PCX",
        "dib": "DIB",
        "J2K": "JPEG2000",
    }
    for ending, kind in kinds.items():
        (tmp_path / f"x.{ending}").write_bytes(encoded(noise(1), kind))
    count, _ = read(tmp_path)
    assert count == len(kinds)
    usual = "jpg jpeg png webp bmp gif tif tiff ppm pgm pbm jp2 avif"
    assert set(usual.split()) <= set(image_endings())
    assert not any(map(is_image_name, ("a.pdf", "a.eps", "a.svg", "a.mpg", "a.h5", "jpg", "a.npy")))


def test_an_ending_that_this_pillow_cannot_decode_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from selfsup.data.readers import kinds

    monkeypatch.setattr(kinds.features, "check", lambda codec: codec != "webp")
    for cached in (kinds.image_endings, kinds._as_set):
        cached.cache_clear()
    try:
        assert "webp" not in image_endings()
        assert "built without" in str(unread_picture("webp"))
    finally:
        monkeypatch.undo()
        for cached in (kinds.image_endings, kinds._as_set):
            cached.cache_clear()


@pytest.mark.parametrize(
    ("ending", "remedy"),
    [(".jxl", "mogrify"), (".czi", "data.decode=module:function"), (".NEF", "dcraw"), (".mp4", "ffmpeg")],
)
def test_pictures_that_cannot_be_read_are_counted(tmp_path: Path, ending: str, remedy: str) -> None:
    for i in range(6):
        write(tmp_path / "cat" / f"{i}.jpg", i)
        write(tmp_path / "dog" / f"{i}.jpg", 10 + i)
    touch(tmp_path / "eel", ending, 30)
    touch(tmp_path / "cat", ending.replace(".", " x."), 2)
    (tmp_path / "cat" / "notes.txt").touch()
    (tmp_path / "labels.csv").write_text("file_name,label\n")
    count, said = read(tmp_path)
    assert count == 12
    assert f"32 files are left out: ending {ending.lower()}" in said
    assert remedy in said
    assert "no image can be read in 'eel'" in said
    assert "1 file is left out: not named like images (.txt)" in said
    assert f"read it with data=files data.files='{tmp_path / 'labels.csv'}'" in said


def test_only_pictures_that_cannot_be_read(tmp_path: Path) -> None:
    touch(tmp_path, ".jxl", 3)
    with pytest.raises(UsageError, match=r"no images in .*; 3 files have the ending \.jxl \(JPEG XL\)"):
        read(tmp_path)


def test_files_without_an_ending_are_images_where_they_are_the_most(tmp_path: Path) -> None:
    for i in range(5):
        target = tmp_path / f"{i:x}" / f"3f{i}a9"
        target.parent.mkdir()
        target.write_bytes(encoded(noise(i), "PNG"))
    write(tmp_path / "0" / "x.png", 9)
    count, said = read(tmp_path)
    assert count == 6
    assert "left out" not in said
    for i in range(6):
        write(tmp_path / "1" / f"{i}.png", 20 + i)
    count, said = read(tmp_path)
    assert count == 7
    assert "5 files are left out: called without an ending, though images" in said
    touch(tmp_path / "2", ".md", 40)
    assert read(tmp_path)[0] == 7


def test_a_link_to_itself_is_a_broken_link(tmp_path: Path) -> None:
    for i in range(6):
        write(tmp_path / f"{i}.png", i)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    (tmp_path / "gone").symlink_to("nowhere")
    count, said = read(tmp_path)
    assert count == 7  # the one that is called like an image is found unreadable when read
    assert "4 files are left out: links that lead nowhere, such as 'gone'" in said


def test_what_was_decided_is_printed_and_kept_with_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for i in range(12):
        write(tmp_path / "d" / "Training" / "ab"[i % 2] / f"{i}.png", i, height=24, width=24)
    write(tmp_path / "d" / "Testing" / "a" / "x.png", 1, height=24, width=24)
    os.rename(tmp_path / "d/Testing/a/x.png", os.fsencode(tmp_path) + b"/d/Testing/a/\xe9.png")
    touch(tmp_path / "d", ".heic", 3)
    small = (
        "backbone.model_args.depth=1",
        "backbone.model_args.embed_dim=32",
        "backbone.model_args.num_heads=2",
    )
    run = [
        "train",
        "method=simclr",
        "data=folder",
        "data.root=d",
        "data.image_size=24",
        "batch_size=4",
        *small,
    ]
    run += ["trainer.max_steps=1", "name=one", "evaluate=false", "guard.enabled=false", "data.workers=0"]
    assert main(run) == 0
    said = capsys.readouterr().out
    lines = decisions_of(read_json(tmp_path / "runs" / "one" / "data.json")).lines()
    assert len(lines) == 3
    assert all(line in said for line in lines)
    page = (tmp_path / "runs" / "one" / "report.html").read_text("utf-8")
    assert "those in &#39;Testing&#39; are not learned from" in page
    assert decisions_of(read_json(tmp_path / "runs" / "one" / "data.json")).classes == {"a": 7, "b": 6}
    assert said.index("3 files are left out") < said.index("run folder") < said.index("Encoder:")


@pytest.mark.parametrize(
    ("ending", "package", "extra"), [(".HEIC", "pillow_heif", "heic"), (".dcm", "pydicom", "pictures")]
)
def test_pictures_that_need_a_package_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, package: str, extra: str
) -> None:
    from selfsup.data.readers import kinds

    for i in range(8):
        write(tmp_path / f"{i}.jpg", i)
        (tmp_path / f"{i}{ending}").write_bytes(encoded(noise(i)))
    for there, count in ((True, 16), (False, 8)):
        monkeypatch.setattr(kinds, "installed", lambda name, there=there: there)
        kinds.image_endings.cache_clear()
        kinds._as_set.cache_clear()
        try:
            found, said = read(tmp_path)
        finally:
            monkeypatch.undo()
            kinds.image_endings.cache_clear()
            kinds._as_set.cache_clear()
        assert found == count
        assert there == (f"8 files are left out: ending {ending.lower()}" not in said)
        assert there or f"pip install 'selfsup[{extra}]'" in said


def test_arrays_and_dicom_without_endings_are_images_where_they_are_the_most(tmp_path: Path) -> None:
    import numpy as np

    for i in range(5):
        np.save(tmp_path / f"{i}.npy", np.full((4, 4), i))
    assert read(tmp_path)[0] == 5
    for i in range(6):
        write(tmp_path / f"{i}.jpg", i)
    count, said = read(tmp_path)
    assert count == 6
    assert "add data.endings=[npy] to use them" in said
    whole = read_folder(str(tmp_path), endings=[".NPY"], test_fraction=0.25)
    assert len(whole["train"]) + len(whole["test"]) == 11
    slices = tmp_path / "slices"
    slices.mkdir()
    for i in range(12):
        (slices / f"IM{i}").write_bytes(bytes(128) + b"DICM")
    assert read(slices)[0] == 12
