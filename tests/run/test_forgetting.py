"""A run over two data sets keeps the encoder of the first, and says what became of it."""

import json
from pathlib import Path

import pytest

import selfsup
from selfsup.commands import main
from selfsup.config import load_config
from selfsup.evaluation import evaluate

HALVES = {"one": ("train[:20%]", "test[:20%]"), "two": ("train[80%:]", "test[80%:]")}
SMALL = ["backbone=resnet10", "data.image_size=8", "batch_size=64", "online=none", "report=false"]


def test_forgetting_is_the_difference_of_two_kept_encoders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = [
        f"data.sources.{name}={{data: digits, epochs: 1, train: '{train}', test: '{test}'}}"
        for name, (train, test) in HALVES.items()
    ]
    typed = ["train", "data=stages", *sources, *SMALL, f"out={tmp_path}", "name=run", "trainer.max_epochs=2"]
    typed += ["schedule=infinite", "method.optimizer.anneal_steps=1"]
    assert main(typed) == 0
    folder = tmp_path / "run"
    found = json.loads((folder / "forgetting.json").read_text())
    train, test = HALVES["one"]
    data = load_config("evaluate", ["encoder=run", "data=digits", f"data.train={train}", f"data.test={test}"])
    both = {
        "after one": selfsup.load_encoder(folder / "encoder-stage-1"),
        "after two": selfsup.load_encoder(folder / "encoder"),
    }
    assert both["after one"].fingerprint() != both["after two"].fingerprint()
    sources_ = selfsup.data.load_data(data["data"])
    knn = load_config("evaluate", ["encoder=run", "protocols=[knn]"])["protocols"]
    again = evaluate(both, *sources_, data["data"], protocols=knn, controls=False)["rows"]
    rows = {row["name"]: row["scores"] for row in found["rows"]}
    for row in again:
        assert rows[row["name"]]["one"]["value"] == row["scores"]["knn"]["value"]
    values = [row["scores"]["knn"]["value"] for row in again]
    [change] = found["changes"]
    assert change["set"] == "one"
    assert change["difference"] == pytest.approx(values[1] - values[0])
    assert set(rows) == {"after one", "after two", "untrained", "pixels", "pixels, PCA"}
    assert "one, since it was learned: " in capsys.readouterr().out

    branch = ["train", f"anneal={folder}", f"out={tmp_path}", "name=branch"]
    assert main(branch) == 0
    of_branch = json.loads((tmp_path / "branch" / "forgetting.json").read_text())
    rows_ = {row["name"]: row["scores"]["one"]["value"] for row in of_branch["rows"]}
    assert rows_["after one"] == rows["after one"]["one"]["value"]
    assert of_branch["reasons"] == {}
