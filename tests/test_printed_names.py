"""Names are bytes: whatever a file system allows is written, printed and found again."""

import csv
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from selfsup.commands import main
from selfsup.data import ImageFiles
from selfsup.data.fingerprint import fingerprint
from selfsup.evaluation import print_table
from selfsup.report.folder import Run
from selfsup.report.page import render
from selfsup.run.lettering import lettered
from selfsup.terminal import make_console

ROOT = Path(__file__).parents[1]
# No text, a line break, an escape sequence, markup, a formula, code, a dash, letters, a turn, 255 bytes.
NAMES = [
    b"caf\xe9.png",
    b"line\nbreak.png",
    b"\x1b[31mred\x1b]0;title\x07.png",
    b"[red].png",
    b"[bold]x[.png",
    b"=1+1.png",
    b"'\"<script>alert(1)<.png",
    b"-dash.png",
    "é中文😀.png".encode(),
    "a\u202egnp.exe.png".encode(),
    b"x" * 251 + b".png",
]
CLASSES = [b"cl\xe9 [bold]", "[é\n中".encode()]


def written(name: bytes) -> str:
    """A name as tables have it, by another way than the library's."""
    return name.decode("utf-8", "backslashreplace")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    root = os.fsencode(tmp_path_factory.mktemp("names")) + b"/d\xe9 [/]\n"
    random = np.random.default_rng(0)
    for kind in CLASSES:
        os.makedirs(root + b"/" + kind)
        for name in NAMES:
            picture = io.BytesIO()
            Image.fromarray(random.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(picture, "PNG")
            with open(root + b"/" + kind + b"/" + name, "wb") as file:
                file.write(picture.getvalue())
        with open(root + b"/" + kind + b"/bro\xe9ken[red].png", "wb") as file:
            file.write(b"no image")
    return root


def on(photos: bytes) -> list[str]:
    given = [b"data.root=" + photos, b"data.image_size=16", b"data.max_unreadable=0.5", b"data.workers=0"]
    return ["data=folder", "data.labels=true", "data.in_memory=false", *map(os.fsdecode, given)]


SMALL = ("backbone.model_args.depth=1", "backbone.model_args.embed_dim=24", "backbone.model_args.num_heads=2")
KNN = "protocols=[knn]"


def test_from_training_to_search(
    photos: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SELFSUP_CACHE", os.fsdecode(os.fsencode(tmp_path) + b"/c\xe9"))
    out = os.fsdecode(b"o\xe9 [red]")
    name = os.fsdecode(b"r\xe9n\n\x1b[31m[x]")
    run = f"{out}/{name}"
    given = ["method=mae", "batch_size=8", "trainer.max_steps=2", "evaluate=false", *SMALL, *on(photos)]
    assert main(["train", *given, f"out={out}", f"name={name}"]) == 0
    assert main(["report", run, "device=cpu"]) == 0
    assert main(["embed", f"encoder={run}/encoder", "out=f.parquet", *on(photos)]) == 0
    said = capsys.readouterr()
    assert r"run folder o\xe9 [red]/r\xe9n\n\x1b[31m[x]" in said.out
    assert r"bro\xe9ken[red].png" in said.out
    assert "\x1b" not in said.out + said.err

    table = pq.read_table("f.parquet")
    ends = {path.rpartition("/")[2] for path in table["name"].to_pylist()}
    assert ends == {written(each) for each in NAMES}
    assert set(table["class"].to_pylist()) == {written(each) for each in CLASSES}
    assert [table["class"][i].as_py() in table["name"][i].as_py() for i in range(len(table))] == [True] * 22
    with open(f"{run}/skipped.csv", newline="", encoding="utf-8") as file:
        skipped = {row["image"].rpartition("/")[2] for row in csv.DictReader(file)}
    assert skipped <= {r"bro\xe9ken[red].png"}
    page = Path(run, "report.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", page)
    assert r"r\xe9n\n\x1b[31m[x]" in page

    query = os.fsdecode(photos + b"/" + CLASSES[0] + b"/" + NAMES[0])
    assert main(["search", f"encoder={run}/encoder", "features=f.parquet", f"query={query}", "k=22"]) == 0
    nearest, *others = capsys.readouterr().out.splitlines()
    assert nearest.startswith("1.0000")
    assert nearest.endswith(r"caf\xe9.png")
    assert len(others) == 21

    assert main(["evaluate", f"encoder={run}/encoder", KNN, *on(photos)]) == 0
    first = capsys.readouterr().out
    assert r"skipped train image" in first
    assert main(["evaluate", f"encoder={run}/encoder", KNN, *on(photos)]) == 0  # out of the cache
    assert json.loads(Path(run, "results.json").read_text())["rows"]
    assert main(["views", *given, "out=sheet.png", "images=4"]) == 0
    assert main(["train", f"resume={run}", "trainer.max_steps=3"]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_a_name_is_no_markup_on_a_page_and_no_line_in_a_table() -> None:
    name = "[red]\n</script><b>\x1b[0m\udce9 é"
    score: dict[str, Any] = {"value": 0.5, "title": name, "shown": True, "accuracy": True}
    score |= {"reason": name, "flags": [name], "top": None, "interval": [0.4, 0.6]}
    rows = [{"name": name, "role": "encoder", "scores": {name: score}}]
    results = {"rows": rows, "labels": True, "data": name, "n_train": 3, "n_test": 2, "classes": 2}
    results |= {"encoder": name, "skipped": {"train": [[name, name]], "test": []}}
    run = Run(name, Path(), {"method": {"name": name}, "overrides": [name]}, results=results)
    run.metrics, run.missing = [{"step": 1.0, "loss": 2.0, name: 1.0}], [name]
    run.warnings, run.skipped = (
        [{"step": "1", "name": name, "message": name}],
        [{"image": name, "reason": name}],
    )
    page = render([run], [{}])
    assert "</script><b>" not in page
    assert "\x1b" not in page
    page.encode()
    printed = io.StringIO()
    print_table(results, make_console(file=printed, width=400))
    assert r"[red]\n</script><b>\x1b[0m\xe9 é" in printed.getvalue()
    assert "\x1b" not in printed.getvalue()


def test_the_identity_of_data_is_of_bytes() -> None:
    plain, odd = ImageFiles(["a/b.png"]), ImageFiles([os.fsdecode(b"a/\xe9.png")])
    assert len({fingerprint(plain), fingerprint(odd), fingerprint(ImageFiles(["a/\\xe9.png"]))}) == 3
    assert fingerprint(ImageFiles(["elsewhere/b.png"])) == fingerprint(plain)


def test_letters_that_no_font_has_are_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfsup.run.lettering._FONTS", ())
    assert lettered("a é\n中", 14).text == r"a \xe9\n\u4e2d"
    for text in ("zero.png", r"[1, 2] <a> \x"):
        assert lettered(text, 14).text == text


def test_only_two_modules_write_and_one_makes_consoles() -> None:
    writes = re.compile(
        r"""\.write_(text|bytes)\(|\bopen\([^)]*["'][wax]b?\+?["']|\bConsole\(|\.open\(["'][wax]|\btorch\.save\("""
    )
    found = {
        f"{path.relative_to(ROOT / 'selfsup')}: {line.strip()}"
        for path in (ROOT / "selfsup").rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if writes.search(line) and path not in (ROOT / "selfsup/files.py", ROOT / "selfsup/terminal.py")
    }
    allowed = {
        "callbacks/checkpoint_writer.py: torch.save(content, file)",  # into a file of written_whole
        # A cache, whose files are moved into place.
        'data/readers/tar_index.py: with own.open("wb") as file:',
        'lock.py: file = self.path.open("ab")',  # holds nothing
        'tuning/trials.py: with log.open("wb") as file:',  # what a trial prints, as it prints it
    }
    assert found <= allowed
