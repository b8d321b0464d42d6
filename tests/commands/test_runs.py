"""``selfsup runs``: a row a run, whatever became of it, and nothing of a stranger's folder is trusted."""

import json
import os
from pathlib import Path

import pytest

from selfsup.commands import main

SCORES = {"knn": {"value": 0.912}, "linear": {"value": 0.95}, "rankme": {"value": 41.26}}


def made(root: Path, name: str, method: str, time: int, scores: dict | None = None, steps: int = 0) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"method: {{name: {method}, requires: []}}\ndata: {{name: digits}}\n")
    os.utime(folder / "config.yaml", (time, time))
    if steps:
        (folder / "metrics.csv").write_text(f"step,seconds\n1,2\n{steps},90\n")
    if scores is not None:
        found = {"minutes": 3.25, "steps": 1200, "rows": [{"name": "encoder", "scores": scores}]}
        (folder / "results.json").write_text(json.dumps(found))
    return folder


@pytest.fixture
def listed(capsys: pytest.CaptureFixture[str]):
    def lines(*arguments: str) -> list[list[str]]:
        assert main(["runs", *arguments]) == 0
        rows = capsys.readouterr().out.splitlines()
        return [row.split() for row in rows if row.strip() and "\u2500" not in row][1:]

    return lines


def test_each_run_says_what_became_of_it(tmp_path: Path, listed) -> None:
    made(tmp_path, "judged", "barlow", 30, SCORES)
    saved = made(tmp_path, "saved", "mae", 20, steps=40)
    (saved / "encoder").mkdir()
    (saved / "encoder" / "config.json").write_text("{}")
    cut = made(tmp_path, "cut", "dino", 10, steps=7)
    (cut / "checkpoints").mkdir()
    (cut / "checkpoints" / "last.ckpt").touch()
    (tmp_path / "latest").symlink_to(cut)
    (tmp_path / "notes").mkdir()
    assert listed(str(tmp_path)) == [
        ["judged", "barlow", "digits", "1,200", "3.2", "91.2", "%", "95.0", "%", "41.3", "judged"],
        ["saved", "mae", "digits", "40", "1.5", "finished,", "not", "judged"],
        ["cut", "dino", "digits", "7", "1.5", "under", "way", "or", "stopped;", f"resume={cut}"],
    ]
    assert [row[0] for row in listed(str(tmp_path), "sort=name")] == ["cut", "judged", "saved"]
    assert [row[0] for row in listed(str(cut), str(saved))] == ["saved", "cut"]


def test_the_best_comes_first_if_that_is_asked_for(tmp_path: Path, listed) -> None:
    made(tmp_path, "a", "barlow", 3, {"knn": {"value": 0.5}, "rankme": {"value": 80.0}})
    made(tmp_path, "b", "barlow", 2, SCORES)
    made(tmp_path, "c", "barlow", 1)
    assert [row[0] for row in listed(str(tmp_path), "sort=knn")] == ["b", "a", "c"]
    assert [row[0] for row in listed(str(tmp_path), "sort=rankme")] == ["a", "b", "c"]


def test_what_learned_from_labels_is_marked(tmp_path: Path, listed) -> None:
    folder = made(tmp_path, "a", "simclr", 1)
    (folder / "config.yaml").write_text(
        "method: {name: simclr}\npositives: {name: labels}\ndata: {name: x}\n"
    )
    assert listed(str(tmp_path))[0][:4] == ["a", "simclr", "(labels)", "x"]


def test_what_is_damaged_is_said_in_its_row(tmp_path: Path, listed) -> None:
    (made(tmp_path, "a", "barlow", 2) / "config.yaml").write_text("[]")
    (made(tmp_path, "b", "barlow", 1) / "results.json").write_text('{"rows": 3}')
    rows = [" ".join(row) for row in listed(str(tmp_path), "sort=name")]
    assert "is not a configuration of a run" in rows[0]
    assert "results.json was not written by a run" in rows[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sort=best"], "sort is newest, name, knn, linear, rankme, not 'best'"),
        (["absent"], "there is no folder 'absent'"),
        (["."], "no run is in '.'; selfsup train makes one"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["runs", *arguments]) == 2
    assert words in capsys.readouterr().err
