"""The board: every encoder of runs and results beside its controls; what cannot be compared is kept apart."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

from selfsup.commands import main
from selfsup.errors import UsageError
from selfsup.report.board import board_page, entries, sets_of

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def score(value: float) -> dict[str, Any]:
    return {"value": value, "interval": [value - 0.01, value + 0.01], "accuracy": True, "title": "kNN (k=20)"}


def results(knn: float, pixels: float = 0.4, data: str = "digits", **more: Any) -> dict[str, Any]:
    rows = [("encoder", knn), ("untrained", 0.3), ("pixels", pixels)]
    listed = [{"name": role, "role": role, "scores": {"knn": score(value)}} for role, value in rows]
    return {"data": data, "labels": True, "n_train": 90, "n_test": 10, "minutes": 2.5, "rows": listed, **more}


def made(root: Path, name: str, found: Any = None, method: str = "barlow") -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"method: {{name: {method}, requires: []}}\ndata: {{name: digits}}\n")
    (folder / "environment.json").write_text(
        json.dumps({"starts": [{"command": f"selfsup train name={name}"}]})
    )
    if found is not None:
        (folder / "results.json").write_text(found if isinstance(found, str) else json.dumps(found))
    return folder


def test_a_run_stands_beside_its_controls_with_its_cost_and_command(tmp_path: Path) -> None:
    made(tmp_path, "one", results(0.9))
    encoder, untrained, pixels = entries([tmp_path])
    assert (encoder.name, encoder.method, encoder.minutes) == ("one", "barlow", 2.5)
    assert encoder.command == "selfsup train name=one"
    assert (untrained.role, pixels.role) == ("untrained", "pixels")
    assert pixels.minutes is None
    assert sets_of([encoder, untrained, pixels]) == {
        ("digits", 10, (("knn", 0.4),)): "digits: 10 test images",
    }


def test_other_images_are_another_set_though_the_data_has_one_name(tmp_path: Path) -> None:
    made(tmp_path, "one", results(0.9))
    made(tmp_path, "other", results(0.8, pixels=0.5))
    made(tmp_path, "third", results(0.7, data="cifar10"))
    assert list(sets_of(entries([tmp_path])).values()) == [
        "digits: 10 test images (set 1)",
        "digits: 10 test images (set 2)",
        "cifar10: 10 test images",
    ]


def test_nothing_is_dropped_silently(tmp_path: Path) -> None:
    made(tmp_path, "bare")
    made(tmp_path, "cut", json.dumps(results(0.9))[:-30])
    made(tmp_path, "odd", {"rows": [{"scores": 3}]})
    (tmp_path / "no" / "where").mkdir(parents=True)
    notes = {entry.name: entry.note for entry in entries([tmp_path])}
    assert notes["bare"] == "not judged: selfsup evaluate does it"
    assert notes["cut"].startswith("cannot be read: ")
    assert notes["odd"].startswith("was not written by evaluate: ")
    page = board_page(entries([tmp_path]), tmp_path)
    assert all(name in page for name in ("bare", "cut", "odd"))


def test_tables_and_files_of_results_are_read_line_by_line(tmp_path: Path) -> None:
    rows = [
        {"method": "dino", "seed": 1, "command": "selfsup train x", "results": results(0.9)},
        results(0.8),
    ]
    (tmp_path / "all.jsonl").write_text("\n".join([*map(json.dumps, rows), "{"]) + "\n")
    (tmp_path / "one.json").write_text(json.dumps(results(0.7)))
    found = [e for e in entries([tmp_path / "all.jsonl", tmp_path / "one.json"]) if e.role == "encoder"]
    assert [entry.name for entry in found] == [
        "dino, seed 1",
        "all.jsonl, line 2",
        "all.jsonl, line 3",
        "one.json",
    ]
    assert [entry.command for entry in found][:2] == ["selfsup train x", ""]
    assert [bool(entry.note) for entry in found] == [False, False, True, False]


def test_names_are_data(tmp_path: Path) -> None:
    name = "<script>alert(1)<"
    made(tmp_path, name, results(0.9))
    page = board_page(entries([tmp_path]), tmp_path)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;" in page


def test_mistakes_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    made(tmp_path / "runs", "one", results(0.9))
    for path, words in (("absent", "is no folder of runs"), (".", "no run is in '.'")):
        with pytest.raises(UsageError, match=words):
            entries([Path(path)])
    assert main(["board", "out=board.txt"]) == 2
    assert main(["board"]) == 0
    assert "board.html: 1 encoder\n" in capsys.readouterr().out
    assert main(["board"]) == 2
    assert "exists and is not overwritten" in capsys.readouterr().err


@pytest.mark.skipif(BROWSER is None, reason="there is no chromium")
@pytest.mark.parametrize("width", [1300, 400])
def test_it_is_sorted_and_filtered_in_a_browser(tmp_path: Path, width: int) -> None:
    for i in range(60):
        marked = {} if i else {"method": "supcon"}
        found = results(0.5 + (i * 7 % 60) / 150, **marked)
        found["rows"][0]["from_labels"] = ["method=supcon"] if not i else []
        made(tmp_path, f"run-{i:02}", found)
    made(tmp_path, "elsewhere", results(0.99, data="cifar10"))
    made(tmp_path, "bare")
    (tmp_path / "board.html").write_text(board_page(entries([tmp_path]), tmp_path))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto((tmp_path / "board.html").as_uri())

        def names() -> list[str]:
            return [
                each.inner_text().split("\n")[0]
                for each in page.locator("#board tbody tr:not([hidden]) th").all()
            ]

        shown = [name for name in names() if name.startswith("run-")]
        values = [(int(name[4:]) * 7) % 60 for name in shown]
        assert len(shown) == 60
        assert values == sorted(values, reverse=True)
        assert "elsewhere" not in names()
        assert "bare" in names()
        assert page.locator("#count").inner_text() == "61 encoders"
        page.locator("thead button").first.click()
        assert [name for name in names() if name.startswith("run-")][:2] == ["run-00", "run-01"]
        page.locator("#labels").uncheck()
        assert "run-00" not in names()
        page.locator("#words").fill("run-0")
        page.locator("#controls").uncheck()
        assert names() == [f"run-{i:02}" for i in range(1, 10)]
        assert page.evaluate("document.documentElement.scrollWidth") == width
        browser.close()
    assert wrong == []
