"""``selfsup inspect``: planted faults stand on the page, and the table mends them."""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from selfsup.commands import main
from selfsup.config import load_config
from selfsup.data.load import chosen
from tests.data.images import noise

CLASSES = ("light", "dark")


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of 16 training and 4 test images, with a copy, a leak, two faults and an odd name."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "my images"
    for c, name in enumerate(CLASSES):
        for split, count in (("train", 16), ("test", 4)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                image = np.asarray(noise(100 * c + i + 50 * (split == "test"), 24, 24)) // 2
                Image.fromarray((image + 120 * (c == 0)).astype(np.uint8)).save(folder / f"{name}{i:02}.png")
    train = root / "train"
    (train / "light" / "<b>copy.png").write_bytes((train / "light" / "light03.png").read_bytes())
    Image.open(root / "test" / "dark" / "dark01.png").save(train / "dark" / "leak.bmp")
    (train / "dark" / "cut.png").write_bytes((train / "dark" / "dark00.png").read_bytes()[:60])
    Image.new("RGB", (24, 24), (9, 9, 9)).save(train / "dark" / "flat.png")
    return root


def inspect(*arguments: str) -> int:
    return main(["inspect", "data=folder", *arguments])


def test_planted_faults_are_told_shown_and_mended(faulty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect(f"data.root={faulty}", "data.workers=0") == 0
    said = capsys.readouterr().out
    for line in (
        "✗ 1 training image is a copy of test images",
        "✗ 1 image cannot be read",
        "✗ 1 training image repeats another (2.8 %)",
        "≈ 1 image has a single value everywhere",
        "Page: inspection.html",
    ):
        assert line in said
    page = Path("inspection.html").read_text(encoding="utf-8")
    assert "<b>copy" not in page.replace("&lt;b&gt;copy", "")
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    typed = re.search(r'<pre class="command">(.*?)</pre>', page, re.DOTALL)
    assert typed is not None
    first = shlex.split(typed[1].replace("&#39;", "'").splitlines()[0])
    assert first[-7:] == [
        "data=folder", f"data.root={faulty}", "data.workers=0", "mode=scores", "scores=inspection.parquet",
        "column=kept", "above=0.5", "out=kept.npy",
    ][-7:]  # fmt: skip
    rows = pq.read_table("inspection.parquet").to_pylist()
    kept = [row["position"] for row in rows if row["split"] == "train" and row["kept"]]
    np.save("kept.npy", kept)
    data: dict[str, Any] = load_config(
        "inspect", ["data=folder", f"data.root={faulty}", "data.indices=kept.npy"]
    )["data"]
    train, _ = chosen(data)
    left = {Path(train.name(i)).name for i in range(len(train))}
    assert len(train) == 34
    assert "leak.bmp" not in left
    assert len(left & {"<b>copy.png", "light03.png"}) >= 1


def test_nothing_is_overwritten_and_choices_are_refused(
    faulty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("seen.parquet").touch()
    assert inspect(f"data.root={faulty}", "out=seen") == 2
    assert "'seen.parquet' exists and is not overwritten" in capsys.readouterr().err
    assert inspect(f"data.root={faulty}", "data.per_class=3") == 2
    assert "inspect looks at all images to choose from; leave out data.per_class=" in capsys.readouterr().err
    assert inspect("data.root=none") == 2
    assert "data.root: there is no 'none'" in capsys.readouterr().err


def test_an_encoder_makes_the_space_and_images_without_labels_have_a_page(
    faulty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from selfsup.encoder import build_encoder, save_encoder

    save_encoder(build_encoder("resnet10_small", image_size=16), Path("encoder"))
    extra = [f"data.root={faulty}", "data.labels=false", "data.workers=0"]
    assert inspect(*extra, "encoder=encoder", "out=there/deep") == 0
    said = capsys.readouterr().out
    assert "✓ No labels" in said
    page = Path("there/deep.html").read_text(encoding="utf-8")
    assert "compared by resnet10_small" in page
    assert "The images have no labels." in page
    assert pq.read_table("there/deep.parquet")["label"].null_count == 44
