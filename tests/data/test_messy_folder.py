"""A folder of photographs as people have them: looked at, trained on, nothing in it lost without a word."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfsup.commands import main
from selfsup.data import UnreadableImage, folder

from .images import noise, write

SMALL = (
    *("backbone.model_args.depth=1", "backbone.model_args.embed_dim=32", "backbone.model_args.num_heads=2"),
    *("data=folder", "data.image_size=24", "batch_size=8", "data.workers=0", "data.max_unreadable=0.2"),
)
BROKEN = ("cut.jpg", "dangling.jpg", "empty.png", "words.jpg")


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    top = tmp_path / "my photos"
    for i in range(26):
        write(top / f"{2015 + i % 3}" / "summer" / f"{i}.png", i, height=20 + i, width=50 - i)
    for year in (2015, 2016):  # two files of one name
        write(top / f"{year}" / "IMG_0001.jpg", year, height=40, width=30)
    write(top / "line\nbreak, ünïcode 'quoted'.png", 1, height=40, width=30)
    noise(2, 30, 40).convert("L").save(top / "grey.JPG")
    noise(3, 30, 40).convert("RGBA").save(top / "transparent.webp")
    noise(4, 30, 40).convert("P").save(top / "palette.gif")
    noise(5, 30, 40).convert("CMYK").save(top / "print.tiff")
    Image.fromarray(np.random.default_rng(6).integers(0, 2**16, (30, 40), dtype=np.uint16)).save(
        top / "scan.png"
    )
    upright = Image.Exif()
    upright[274] = 6
    noise(7, 30, 40).save(top / "turned.jpg", exif=upright)
    whole = write(top / "cut.jpg", 8, height=64, width=64)
    whole.write_bytes(whole.read_bytes()[:900])
    (top / "dangling.jpg").symlink_to(tmp_path / "gone.jpg")
    (top / "empty.png").touch()
    (top / "words.jpg").write_text("<html>Not found</html>")
    (top / "Thumbs.db").write_bytes(b"no image")
    (top / ".hidden.png").write_bytes(b"no image")
    return top


def test_it_is_looked_at_and_trained_on(
    messy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["views", "method=simclr", f"data.root={messy}", "out=sheet.png", "images=4", *SMALL]) == 0
    run = ["train", "method=simclr", f"data.root={messy}", "trainer.max_epochs=2", "name=one"]
    assert main([*run, *SMALL, "evaluate=false", "guard.enabled=false"]) == 0
    assert "Encoder:" in capsys.readouterr().out
    with (tmp_path / "runs" / "one" / "skipped.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["image", "reason"]
    skipped = {Path(name).name for name, _ in rows}
    assert skipped <= set(BROKEN)
    assert len(skipped) >= 2  # others are in the test part, or were left over in all epochs


def test_every_image_is_seen_and_every_broken_one_named(messy: Path) -> None:
    splits = folder(str(messy), "auto", test_fraction=0.2)
    train, test = splits["train"], splits["test"]
    assert len(train) + len(test) == 26 + 2 + 7 + len(BROKEN)
    bad = []
    for source in (train, test):
        for i in range(len(source)):
            try:
                assert source[i].shape[0] == 3
            except UnreadableImage as error:
                bad.append((Path(source.name(i)).name, str(error)))
    assert sorted(name for name, _ in bad) == sorted(BROKEN)
    assert all(name in said for name, said in bad)


def test_on_a_disk_that_cannot_be_written_the_images_are_still_read(
    messy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As root anything can be written, so a file stands where a folder would have to be made."""
    (tmp_path / "full").touch()
    run = ["train", "method=simclr", f"data.root={messy}", f"out={tmp_path / 'full'}", *SMALL]
    assert main(run) == 2
    said = capsys.readouterr().err
    assert "cannot make the run's folder" in said
    assert said.count("\n") == 1
