"""``selfsup curate``: what is kept can be learned from, and what does not fit is a sentence."""

import csv
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from selfsup import build_encoder, save_encoder
from selfsup.commands import main
from selfsup.commands.curate import check
from selfsup.config import load_config
from selfsup.curation.scores import chosen_by
from selfsup.data import load_data
from selfsup.data.pairs import read_pairs
from selfsup.errors import UsageError


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training images: 40 dark and 8 light ones; test images: 4 of each."""
    root = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(0)
    for split, counts in (("train", (40, 8)), ("test", (4, 4))):
        (root / split).mkdir()
        for i in range(sum(counts)):
            pixels = draw.normal(60 if i < counts[0] else 190, 25, (16, 16, 3))
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(root / split / f"{i:02}.png")
    return root


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    args = {"patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}
    made = build_encoder("vit_tiny_patch16_224", 16, args, seed=0)
    return save_encoder(made, tmp_path_factory.mktemp("encoder") / "encoder")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def curate(photos: Path, *settings: str) -> int:
    return main(["curate", "data=folder", f"data.root={photos}", "data.workers=0", *settings])


def learned(photos: Path, file: str) -> list[str]:
    """The names of the images that training would see."""
    given = ["data=folder", f"data.root={photos}", f"data.indices={file}"]
    train, _ = load_data(load_config("evaluate", ["encoder=x", *given])["data"])
    return sorted(train.name(i)[-6:] for i in range(len(train)))


def table(path: Path, name: str, text: str) -> str:
    (path / name).write_text(text)
    return name


def test_scores_of_a_table_decide_what_is_learned_from(photos, here, capsys):
    rows = "".join(f"{i:02}.png,{i / 10}\n" for i in range(47))  # one image has no score
    scores = table(here, "scores.csv", f"name,blur\n{rows}")
    given = ["mode=scores", f"scores={scores}", "column=blur"]
    assert curate(photos, *given, "above=1", "below=1.4") == 0
    assert learned(photos, "kept.npy") == ["11.png", "12.png", "13.png"]
    assert "images without a score, which are not kept: 1" in capsys.readouterr().out
    page = (here / "kept.html").read_text()
    assert "3 of 48 images kept" in page
    assert page.count("data:image/png") == 3 + 8 + 3 + 8
    assert curate(photos, *given, "top=0.1") == 2
    assert "'kept.npy' exists and is not overwritten" in capsys.readouterr().err
    # Positions count all training images, also where the data chooses among them already.
    assert curate(photos, *given, "top=0.1", "out=kept.txt") == 2
    assert "writes a file .npy" in capsys.readouterr().err
    assert curate(photos, *given, "top=0.7", "data.indices=kept.npy", "out=one.npy") == 0
    assert learned(photos, "one.npy") == ["12.png", "13.png"]


def test_tables_of_positions_and_splits_are_read_as_inspect_writes_them(photos, here):
    train, _ = load_data(load_config("evaluate", ["encoder=x", "data=folder", f"data.root={photos}"])["data"])
    names = [train.name(i) for i in range(len(train))] + ["other.png"]
    kept = [i % 2 == 0 for i in range(len(train))] + [True]
    split = ["train"] * len(train) + ["test"]
    columns = {"name": names, "split": split, "position": [*range(len(train)), 0], "kept": kept}
    pq.write_table(pa.table(columns), here / "inspection.parquet")
    assert curate(photos, "mode=scores", "scores=inspection.parquet", "column=kept", "above=0.5") == 0
    assert np.load(here / "kept.npy").tolist() == list(range(0, 48, 2))


@pytest.mark.parametrize(
    ("text", "column", "sentence"),
    [
        ("name,s\nnowhere.png,1\n", "s", "'nowhere.png' in 'scores.csv' means no image of this data"),
        ("position,s\n48,1\n", "s", "has positions beyond the 48 images"),
        ("position,name,s\n0,01.png,1\n", "s", "is of other data: its image 0 is '01.png'"),
        ("name,s\n00.png,1\n00.png,2\n", "s", "several rows of one image"),
        ("name,s\n00.png,good\n", "s", "holds string, not numbers"),
        ("name,s\n00.png,1\n", "t", "has no column 't'; it has name, s"),
        ("file,s\n00.png,1\n", "s", "neither a column 'name' nor 'position'"),
        ("name,s\n00.png,1\n", "s", "none of the 48 images would be kept"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(photos, here, capsys, text, column, sentence):
    table(here, "scores.csv", text)
    assert curate(photos, "mode=scores", "scores=scores.csv", f"column={column}", "above=5") == 2
    assert sentence in capsys.readouterr().err
    assert sorted(path.name for path in here.iterdir()) == ["scores.csv"]


def test_the_top_share_keeps_the_first_of_equal_scores():
    scores = torch.tensor([1.0, 2.0, 2.0, 2.0, float("nan"), 0.0])
    assert chosen_by(scores, top=0.4).tolist() == [1, 2]
    assert chosen_by(scores, above=1).tolist() == [1, 2, 3]
    assert chosen_by(scores, above=0, below=2).tolist() == [0]
    assert chosen_by(scores, top=1).tolist() == [0, 1, 2, 3, 5]


def test_a_balanced_choice_keeps_more_of_the_few(photos, here):
    assert curate(photos, "mode=balanced", "count=16") == 0
    rows = np.load(here / "kept.npy")
    assert len(rows) == len(set(rows)) == 16
    assert (np.diff(rows) > 0).all()
    assert sum(name >= "40.png" for name in learned(photos, "kept.npy")) >= 5  # of 8; chance would give 2.7
    assert "16 of 48 images kept" in (here / "kept.html").read_text()


def test_a_choice_towards_a_target_takes_what_looks_like_it(photos, here, capsys):
    (here / "light").mkdir()
    for i in range(40, 48):
        (here / "light" / f"{i}.png").write_bytes((photos / "train" / f"{i}.png").read_bytes())
    given = ["mode=towards", "target=folder", "target.root=light", "count=8"]
    assert curate(photos, *given) == 0
    assert learned(photos, "kept.npy") == [f"{i}.png" for i in range(40, 48)]
    assert "nearest to the 6 images of the target" in capsys.readouterr().out
    assert curate(photos, *given[:-1], "count=49", "out=more.npy") == 2
    assert "count=49 is more than the 48 images" in capsys.readouterr().err


def test_copies_are_dropped_also_those_of_test_images_and_none_is_a_sentence(here, capsys):
    draw = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        (here / "in" / split).mkdir(parents=True)
        for i in range(count):
            small = Image.fromarray(draw.integers(0, 255, (7, 7, 3)).astype(np.uint8))
            small.resize((48, 48), Image.Resampling.BICUBIC).save(here / "in" / split / f"{i:02}.png")
    given = ["curate", "mode=copies", "data=folder", "data.root=in", "data.workers=0"]
    assert main([*given, "out=all.npy"]) == 0
    assert np.load("all.npy").tolist() == list(range(12))
    assert "copies, dropped: 0" in capsys.readouterr().out
    train = here / "in" / "train"
    (train / "20.png").write_bytes((train / "03.png").read_bytes())
    with Image.open(train / "05.png") as picture:
        picture.resize((24, 24)).save(train / "21.jpg", quality=80)
    with Image.open(here / "in" / "test" / "01.png") as picture:
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(train / "22.png")
    assert main(given) == 0
    assert np.load("kept.npy").tolist() == list(range(12))  # of a pair the larger, else the first
    told = capsys.readouterr().out
    assert "copies, dropped: 3; 1 of them to the last pixel" in told
    assert "copies of test images among them: 1" in told
    assert "1 copies of a test image" in (here / "kept.html").read_text()


def test_processes_of_a_launcher_choose_together_what_one_does(photos, encoder, here, capsys):
    data = ("data=folder", f"data.root={photos}", "data.workers=0")
    assert main(["embed", f"encoder={encoder}", *data, "out=features"]) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    for mode in (("mode=similar", "threshold=0.9"), ("mode=balanced", "count=20")):
        given = [*mode, "features=features", *data]
        assert main(["curate", *given, "out=one.npy"]) == 0
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
        typed = [sys.executable, "-m", "selfsup.commands", "curate", *given, "out=two.npy"]
        ranks = [os.environ | where | {"RANK": rank, "LOCAL_RANK": rank} for rank in "01"]
        running = [
            subprocess.Popen(typed, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for env in ranks
        ]
        said = [each.communicate(timeout=300) for each in running]
        assert [each.returncode for each in running] == [0, 0], said
        assert [len(out) > 0 for out, _ in said] == [True, False]
        assert Path("two.npy").read_bytes() == Path("one.npy").read_bytes()
        for name in ("one.npy", "two.npy", "one.html", "two.html"):
            Path(name).unlink()


def test_processes_that_could_not_share_the_work_are_refused(photos, monkeypatch, capsys):
    where = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29511",
        "WORLD_SIZE": "2",
        "LOCAL_RANK": "0",
        "RANK": "0",
    }
    for key, value in where.items():
        monkeypatch.setenv(key, value)
    assert curate(photos, "mode=copies") == 2
    assert "torchrun started 2 processes, which share mode=similar and balanced" in capsys.readouterr().err


def test_one_of_each_group_of_similar_images_is_kept(here, capsys):
    draw = np.random.default_rng(0)
    scenes = draw.integers(0, 255, (5, 16, 16, 3))
    (here / "in").mkdir()
    for i in range(20):  # scenes 0 to 4, again and again
        pixels = np.clip(scenes[i % 5] + draw.normal(0, 3, scenes[0].shape), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(here / "in" / f"{i:02}.png")
    data = ["data=folder", "data.root=in", "data.workers=0"]
    assert main(["curate", "mode=similar", "threshold=0.9", *data]) == 0
    train, _ = load_data(load_config("evaluate", ["encoder=x", *data])["data"])
    scene = [int(train.name(i)[-6:-4]) % 5 for i in range(len(train))]
    assert np.load("kept.npy").tolist() == [i for i, one in enumerate(scene) if one not in scene[:i]]
    told = capsys.readouterr().out
    assert f"dropped: {len(scene) - 5} images joined to an earlier one by cosines above 0.9" in told
    assert 0.9 < float(told.split("of a group have a cosine of ")[1].split()[0]) <= 1


def test_features_of_a_file_do_as_well_as_encoding_and_others_are_refused(photos, encoder, here, capsys):
    data = ["data=folder", f"data.root={photos}", "data.workers=0"]
    assert main(["embed", f"encoder={encoder}", *data, "out=f.parquet"]) == 0
    given = ["mode=balanced", "share=0.25", f"encoder={encoder}"]
    assert curate(photos, *given, "out=one.npy") == 0
    assert curate(photos, *given, "out=two.npy", "features=f.parquet") == 0
    assert main(["embed", f"encoder={encoder}", *data, "out=parts"]) == 0
    assert curate(photos, *given, "out=three.npy", "features=parts") == 0
    assert np.load("one.npy").tolist() == np.load("two.npy").tolist() == np.load("three.npy").tolist()
    other = save_encoder(build_encoder("test_resnet", 16, seed=1), here / "other")
    capsys.readouterr()
    assert curate(photos, *given[:2], f"encoder={other}", "features=f.parquet", "out=c.npy") == 2
    assert "are another encoder's" in capsys.readouterr().err
    turned = ["data=folder", f"data.root={photos}", "data.train=test", "data.test=train"]
    assert main(["curate", *turned, *given, "features=f.parquet", "out=d.npy"]) == 2
    assert "are of other images" in capsys.readouterr().err


def test_rounds_of_labelling_ask_no_image_twice_and_end_in_a_table_to_judge_by(photos, here, capsys):
    assert curate(photos, "mode=label", "count=6") == 0
    rows = list(csv.DictReader(Path("label.csv").read_text().splitlines()))
    assert [set(row) for row in rows] == [{"name", "label"}] * 6
    assert (here / "label.html").read_text().count("<b>") == 6
    filled = [[row["name"], "dark" if row["name"][-6:] < "40.png" else "light"] for row in rows]
    assert {label for _, label in filled} == {
        "dark",
        "light",
    }  # chance would miss the light ones one time in three
    with Path("one.csv").open("w") as file:
        csv.writer(file).writerows([["name", "label"], *filled])
    assert curate(photos, "mode=label", "count=5", "labels=one.csv", "strategy=uncertain", "out=two.csv") == 0
    again = list(csv.DictReader(Path("two.csv").read_text().splitlines()))
    assert len({row["name"] for row in again}) == 11
    assert [[row["name"], row["label"]] for row in again[5:]] == filled
    assert "Where the next labels help" in (here / "two.html").read_text()
    capsys.readouterr()
    assert curate(photos, "mode=label", "count=43", "labels=one.csv", "out=three.csv") == 2
    assert "count=43 is more than the 42 images without a label" in capsys.readouterr().err
    assert curate(photos, "mode=label", "count=5", "strategy=uncertain", "out=three.csv") == 2
    assert "needs labels of two classes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("mode=balance count=1", "not 'balance'; did you mean 'balanced'"),
        ("mode=balanced", "mode=balanced needs count= or share="),
        ("mode=similar", "mode=similar needs threshold="),
        ("mode=balanced count=1 share=0.5", "count and share both say what to keep"),
        ("mode=scores scores=x column=a top=0.5 above=1", "above and top both say"),
        ("mode=scores scores=x column=a top=0.5 encoder=timm:resnet18", "does not take encoder"),
        ("mode=scores scores=x", "needs column=NAME and one of above="),
        ("mode=scores scores=nowhere.csv column=a top=0.5", "scores: there is no file 'nowhere.csv'"),
        ("mode=copies labels=x", "mode=copies does not take labels; it is for mode=label"),
        ("mode=label count=5 strategy=random", "strategy is typical"),
        ("mode=pairs", "mode=pairs needs count= or answers="),
        ("mode=pairs count=5 labels=x", "mode=pairs does not take labels; it is for mode=label"),
        ("mode=pairs count=5 follow=false", "follow=false is about answers=FILE"),
        ("mode=pairs answers=nowhere.csv", "answers: there is no file 'nowhere.csv'"),
        ("mode=towards count=5", "mode=towards needs target="),
        ("mode=towards count=5 target=folders", "target: no data 'folders'; did you mean 'folder'"),
        ("mode=balanced count=5 encoder=runs/none", "no encoder 'runs/none'"),
    ],
)
def test_mistakes_are_sentences_before_torch_is_imported(given, sentence):
    with pytest.raises(UsageError, match=sentence):
        check(load_config("curate", given.split()))


def rows_of(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(name).read_text().splitlines()))


def answered(name: str, out: str, *wrong: int) -> None:
    """Fill in a table of pairs as somebody would who tells dark from light; rows ``wrong`` the other way."""
    rows = rows_of(name)
    for number, row in enumerate(rows):
        alike = (row["a"][-6:] < "40.png") == (row["b"][-6:] < "40.png")
        row["same"] = "yes" if alike != (number in wrong) else "no"
    with Path(out).open("w", newline="") as file:
        csv.writer(file).writerows([rows[0].keys(), *(row.values() for row in rows)])


def test_rounds_of_pairs_end_in_a_table_to_learn_from(photos, here, capsys):
    assert curate(photos, "mode=pairs", "count=9") == 0
    first = rows_of("pairs.csv")
    assert [set(row) for row in first] == [{"a", "b", "similarity", "same"}] * 9
    assert {row["same"] for row in first} == {""}
    page = (here / "pairs.html").read_text()
    assert page.count("<figure>") == page.count("data:image/png") == 18
    assert "9 pairs to answer" in page
    assert "answers=pairs.csv" in capsys.readouterr().out
    answered("pairs.csv", "one.csv")
    assert curate(photos, "mode=pairs", "answers=one.csv", "count=5") == 0
    again, edges = rows_of("edges-next.csv"), rows_of("edges.csv")
    asked = [{row["a"], row["b"]} for row in again]
    assert len(again) == 14
    assert all(asked.count(pair) == 1 for pair in asked)
    assert [row["same"] for row in again[5:]] == [row["same"] for row in rows_of("one.csv")]
    assert (here / "edges-next.html").read_text().count("<figure>") == 10
    told = capsys.readouterr().out
    yes = sum(row["same"] == "yes" for row in again)
    assert f"answers: {yes} yes, {9 - yes} no, 0 left empty" in told
    assert f"{len(edges)} pairs that belong together, {len(edges) / yes:.1f} for each yes" in told
    assert "data.pairs=edges.csv positives=edges" in told
    # What follows is right where the answers are, and is what training takes.
    assert all((row["a"][-6:] < "40.png") == (row["b"][-6:] < "40.png") for row in edges)
    data = load_config("evaluate", ["encoder=x", "data=folder", f"data.root={photos}"])["data"]
    taken = read_pairs("edges.csv", *load_data(data))
    assert len(taken.edges()) == len(edges)
    answered("edges-next.csv", "two.csv")
    assert curate(photos, "mode=pairs", "answers=two.csv", "follow=false", "out=only.csv") == 0
    assert not Path("only-next.csv").exists()
    said = {row["a"] + row["b"]: row["same"] for row in rows_of("two.csv")}
    assert len(rows_of("only.csv")) == list(said.values()).count("yes")


def test_answers_that_contradict_each_other_are_named_and_nothing_follows_from_them(photos, here, capsys):
    table(
        here, "a.csv", "a,b,same\n20.png,21.png,yes\n21.png,22.png,yes\n22.png,20.png,no\n25.png,26.png,yes\n"
    )
    assert curate(photos, "mode=pairs", "answers=a.csv") == 0
    told = capsys.readouterr().out
    assert re.search(r"no, although answers of yes connect them: '\S+/22.png' and '\S+/20.png';", told)
    found = {(row["a"][-6:], row["b"][-6:]) for row in rows_of("edges.csv")}
    assert found == {("20.png", "21.png"), ("21.png", "22.png"), ("25.png", "26.png")}
    assert "AUROC" in told


@pytest.mark.parametrize(
    ("text", "given", "sentence"),
    [
        ("a,b,same\n20.png,21.png,\n", "", "has no answer yet; fill in its column 'same'"),
        ("a,b,same\n20.png,nowhere.png,yes\n", "", "'nowhere.png' in 'a.csv' (answers) means no image"),
        ("a,b,same\n20.png,21.png,no\n", "", "no pair belongs together by these answers"),
        ("a,b,same\n20.png,21.png,yes\n", "count=47", "count=47 is more than the 46 pairs left to ask about"),
        ("a,b,kind\n20.png,21.png,intra\n", "", "has kinds of pairs"),
        ("a,b,same\n20.png,21.png,yes\n21.png,20.png,no\n", "", "says both yes and no of"),
        ("a,b,same\n20.png,21.png,yes\n", "data.indices=i.npy", "which is not among the 2 images"),
    ],
)
def test_answers_that_do_not_fit_are_refused(photos, here, capsys, text, given, sentence):
    table(here, "a.csv", text)
    np.save("i.npy", np.array([1, 7]))
    assert curate(photos, "mode=pairs", "answers=a.csv", *given.split()) == 2
    assert sentence in capsys.readouterr().err
    assert sorted(path.name for path in here.iterdir()) == ["a.csv", "i.npy"]


def test_no_more_pairs_are_asked_than_can_say_something_new(photos, here, capsys):
    assert curate(photos, "mode=pairs", "count=47") == 0
    assert curate(photos, "mode=pairs", "count=48", "out=more.csv") == 2
    assert "count=48 is more than the 47 pairs left" in capsys.readouterr().err
    assert curate(photos, "mode=pairs", "count=5") == 2
    assert "'pairs.csv' exists and is not overwritten" in capsys.readouterr().err
