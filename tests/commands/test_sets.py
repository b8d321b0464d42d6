"""``selfsup evaluate data=[a,b]``: encoders on several sets of images."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from selfsup.commands.evaluate import run
from selfsup.config import load_config
from selfsup.encoder import build_encoder, save_encoder
from selfsup.errors import UsageError
from selfsup.report.board import board_page, entries

QUICK = ["protocols=[knn]", "protocols.knn.k=[1]", "device=cpu", "cache=null", "data.workers=0"]


def picture(path: Path, colour: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng([seed, colour]).integers(0, 50, (16, 16, 3)) + colour
    Image.fromarray(noise.astype(np.uint8)).save(path)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two folders of light and dark images, one without classes, and encoders of three and of one channel."""
    monkeypatch.chdir(tmp_path)
    for i in range(8):
        for name, colour in (("light", 180), ("dark", 20)):
            picture(tmp_path / "my images" / name / f"{i}.png", colour, i)
        picture(tmp_path / "bare" / f"{i}.png", 100, i)
    save_encoder(build_encoder("resnet10_small", 16, seed=1), tmp_path / "one" / "encoder")
    save_encoder(build_encoder("resnet10_small", 16, seed=2), tmp_path / "two" / "encoder")
    grey = build_encoder("resnet10_small", 16, seed=3, channels=1)
    save_encoder(grey, tmp_path / "grey" / "encoder")
    return tmp_path


def judged(*given: str) -> dict[str, Any]:
    run(load_config("evaluate", [*QUICK, *given]))
    return json.loads(Path("results-sets.json").read_text())


def test_each_set_holds_what_it_holds_alone(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut = ["sets.digits.train=train[:10%]", "sets.digits.test=test[:20%]"]
    found = judged(
        "encoder=[one,two,grey]", "data=[digits,folder:my images,folder:bare]", *cut, "controls=false"
    )
    assert list(found["sets"]) == ["digits", "my_images", "bare"]
    assert found["sets"]["digits"]["n_train"] == 130
    run(
        load_config(
            "evaluate",
            [*QUICK, "encoder=[one,two]", "data=folder", "data.root=my images", "controls=false"],
        )
    )
    alone = json.loads(Path("results-comparison.json").read_text())
    several = {key: value for key, value in found["sets"]["my_images"].items() if key != "refused"}
    assert several == {**alone, "data": "my_images"}
    assert found["sets"]["digits"]["refused"]["grey"]["short"] == "1 channel"
    assert {why["short"] for why in found["sets"]["bare"]["refused"].values()} == {"no labels", "1 channel"}
    assert found["across"]["knn"]["rows"]["one"]["rank_sets"] == ["digits", "my_images"]
    said = " ".join(capsys.readouterr().out.split())
    assert "kNN (k=1) on 3 sets" in said
    assert "bare: the images have no labels, which knn need." in said


def test_the_board_reads_each_set_and_names_who_was_not_judged(home: Path) -> None:
    judged("encoder=[one,grey]", "data=[folder:my images,folder:bare]", "controls=false")
    found = entries([home / "results-sets.json"])
    assert [(entry.name, entry.data) for entry in found if entry.scores] == [("one", "my_images")]
    notes = {(entry.name, entry.data): entry.note for entry in found if entry.note}
    assert notes["grey", "my_images"] == (
        "not judged: it takes images of 1 channel, and these are read with 3"
    )
    assert "no labels" in notes["one", "bare"]
    assert "not judged" in board_page(found, home)


@pytest.mark.parametrize(
    ("sets", "note"),
    [
        ({"a": 3}, "no results"),
        ({"a": {}}, "there is no rows"),
        ({"a": {"rows": [{"role": "encoder"}]}}, "there is no rows.0.name"),
        ({"a": {"rows": [], "refused": {"x": {}}}}, "there is no refused.x.reason"),
        ({"a": {"rows": [{"name": "x", "scores": 3}]}}, "not a group of values"),
    ],
)
def test_a_damaged_file_of_several_sets_is_a_note_on_the_board(tmp_path: Path, sets: Any, note: str) -> None:
    (tmp_path / "r.json").write_text(json.dumps({"sets": sets, "minutes": {"x": "long"}}))
    (entry,) = entries([tmp_path / "r.json"])
    assert entry.note.startswith("was not written by evaluate: ")
    assert note in entry.note


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["data=[]"], "names no data"),
        (["data=[digits,digits]"], "has 'digits' twice"),
        (["data=[folder:my images,folder:./my images]"], "twice"),
        (["data=[digits,cifar]"], "no data 'cifar'; did you mean"),
        (["data=[digits:here]"], "data=digits takes no path"),
        (["data=[digits,folder:nowhere]"], "sets.nowhere: data.root: there is no 'nowhere'"),
        (["data=[digits,folder]"], "sets.folder: data.root has to be given"),
        (["data=[digits,folder:bare]", "sets.bare.rot=1"], "sets.bare: no setting 'data.rot'"),
        (["data=[digits]", "sets.cifer10.root=x"], "sets.cifer10: no data 'cifer10'; did you mean 'cifar10'"),
        (["data=[digits]", "sets.a.data=digits"], "sets.digits and sets.a are the same images"),
        (["data=[digits]", "sets.digits=3"], "sets.digits holds settings"),
        (["data=[digits]", "bank=digits"], "bank= is about one set"),
        (["data=[digits]", "banks.a.train=train"], "banks= is about one set"),
        (["data=[digits]", "query=digits"], "query= is about one set"),
        (
            ["data=[digits,folder:bare]", "sets.bare.channels=5"],
            "no encoder takes images of so many channels",
        ),
        (["data=[digits,folder:one]"], "sets.one: "),
        (["data=[digits]", "out=one/encoder/card.json"], "is not overwritten"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_encoded(
    home: Path, given: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfsup.evaluation.evaluate", lambda *_, **__: pytest.fail("encoded"))
    with pytest.raises(UsageError, match=sentence):
        judged("encoder=one", *given)


def test_other_commands_take_one_data() -> None:
    with pytest.raises(UsageError, match=r"'selfsup train' takes one data; data=\[...\] is for"):
        load_config("train", ["data=[digits,cifar10]"])


def test_a_short_name_that_two_share_is_the_whole_path() -> None:
    given = [
        "encoder=x",
        "data=[folder:a/x y,folder:b/x y,folder:2024]",
        "data.workers=3",
        "sets.2024.workers=0",
    ]
    found = load_config("evaluate", given)["sets"]
    assert found == {
        "folder_a_x_y": {"data": "folder", "root": "a/x y", "workers": 3},
        "folder_b_x_y": {"data": "folder", "root": "b/x y", "workers": 3},
        "2024": {"data": "folder", "root": "2024", "workers": 0},
    }
