"""A report: whole, self-contained, true to the run's files, and of what is there where much is missing."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from sklearn.neighbors import NearestNeighbors

from selfsup import load_encoder
from selfsup.commands import main
from selfsup.data import ImageArray, load_data, subset
from selfsup.errors import UsageError
from selfsup.evaluation import extract
from selfsup.evaluation.features.extract import evenly
from selfsup.evaluation.features.images import fitting
from selfsup.report import write_report

SMALL = ("backbone.model_args.depth=1", "backbone.model_args.embed_dim=24", "backbone.model_args.num_heads=2")
EVIL = "<script>alert(1)</script>"
VOID = ("meta", "link", "img", "br", "input")


class Page(HTMLParser):
    """Checks that every element is closed, and collects texts, attributes and scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif "style" not in self.open:
            self.texts.append(data)

    @property
    def data(self) -> dict:
        return json.loads(self.scripts[0])

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    settings = [*SMALL, "method=mae", "trainer.max_steps=3", "trainer.log_every_n_steps=1"]
    assert main(["train", f"out={out}", "name=one", "traceback=true", *settings]) == 0
    # Written when the run ended.
    assert Page((out / "one" / "report.html").read_text()).data["runs"][0]["map"]["count"] == 500
    return out / "one"


@pytest.fixture(scope="module")
def page(run: Path) -> Page:
    path = write_report([run], images=60)
    assert path == run / "report.html"
    return Page(path.read_text())


def copy(run: Path, folder: Path, name: str = "copy") -> Path:
    return Path(shutil.copytree(run, folder / name))


def test_it_asks_nothing_of_the_network(page: Page) -> None:
    keys = ("src", "href", "srcset")
    sources = [attrs[key] for _, attrs in page.attributes for key in keys if key in attrs]
    assert sources
    assert all(source.startswith(("data:", "#")) for source in sources)
    script = page.scripts[1]
    assert not re.search(r"https?:|fetch\(|import\(|XMLHttp|@import", script)


def test_curves_are_those_of_the_metrics(run: Path, page: Page) -> None:
    unseen = {"step", "epoch", "seconds", "guard/gradient_jump"}  # the last has no value in so few steps
    header, *rows = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()]
    curves = page.data["runs"][0]["curves"]
    assert set(curves) <= set(header)
    assert set(header) - set(curves) <= unseen
    column = header.index("loss")
    assert curves["loss"] == {"step": [1, 2, 3], "value": [float(row[column]) for row in rows]}
    drawn = [name for chart in page.data["charts"] + page.data["more"] for name in chart["series"]]
    assert sorted(drawn) == sorted(curves)


def test_scores_are_those_of_the_results(run: Path, page: Page) -> None:
    rows = json.loads((run / "results.json").read_text())["rows"]
    expected = {
        (row["role"], name): score["value"]
        for row in rows
        for name, score in row["scores"].items()
        if score["shown"]
    }
    cells = [attrs for tag, attrs in page.attributes if tag == "td" and "data-score" in attrs]
    shown = {(cell["data-role"], cell["data-score"]): float(cell["data-value"]) for cell in cells}
    assert shown == expected


def test_every_picture_has_a_text(page: Page) -> None:
    pictures = [attrs for tag, attrs in page.attributes if tag == "img"]
    assert len(pictures) > 90
    assert all(picture["alt"] for picture in pictures)
    for word in ("What it paints in", "What the network sees", "The class token looks here", "raw pixels"):
        assert word in page.text


def test_neighbours_on_the_map_are_the_nearest_by_cosine(run: Path, page: Page) -> None:
    import yaml

    encoder = load_encoder(run / "encoder")
    _, test = load_data(yaml.safe_load((run / "config.yaml").read_text())["data"])
    some = subset(test, evenly(len(test), 60).nonzero().flatten())
    features = extract(encoder, some, fitting(encoder), encoder.mean, encoder.std)
    found = NearestNeighbors(n_neighbors=2, metric="cosine").fit(features.x).kneighbors(features.x)[1]
    drawn = page.data["runs"][0]["map"]
    assert [near[0] for near in drawn["near"]] == found[:, 1].tolist()
    assert drawn["groups"] == some.labels.tolist()


def test_runs_side_by_side(run: Path, tmp_path: Path) -> None:
    other = copy(run, tmp_path, f"other {EVIL}"[:9] + "&amp")
    text = (other / "config.yaml").read_text().replace("mask_ratio: 0.75", "mask_ratio: 0.5")
    (other / "config.yaml").write_text(text)
    page = Page(write_report([run, other], tmp_path / "two.html", pictures=False).read_text())
    assert [each["name"] for each in page.data["runs"]] == ["one", other.name]
    assert "method.mask_ratio 0.75 0.5" in page.text
    with pytest.raises(UsageError, match="not overwritten"):
        write_report([run, other], tmp_path / "two.html")


def test_names_are_text_and_nothing_else(run: Path, tmp_path: Path) -> None:
    evil = copy(run, tmp_path)
    for name in ("config.yaml", "results.json"):
        path = evil / name
        path.write_text(path.read_text().replace("digits", EVIL).replace("untrained", f"untrained {EVIL}"))
    (evil / "warnings.csv").write_text(f"step,name,value,message\n2,{EVIL},0,{EVIL}\n")
    (evil / "metrics.csv").write_text(f"step,loss,{EVIL}\n1,2.0,3.0\n2,1.0,3.0\n")
    page = Page(write_report([evil], pictures=False).read_text())
    assert len(page.scripts) == 2
    assert EVIL in page.text
    assert EVIL in page.data["runs"][0]["curves"]


def test_a_run_that_crashed_early_shows_what_there_is(run: Path, tmp_path: Path) -> None:
    crashed = copy(run, tmp_path)
    for name in ("encoder", "checkpoints"):
        shutil.rmtree(crashed / name)
    (crashed / "results.json").unlink()
    (crashed / "metrics.csv").write_text("step,epoch,loss\n1,0,2.5\n2,0,na")
    page = Page(write_report([crashed], images=30).read_text())
    for words in ("has not saved an encoder", "was not judged", "There is no checkpoint", "Not judged"):
        assert words in page.text
    assert page.data["runs"][0]["curves"]["loss"]["value"] == [2.5]
    assert "What the network sees" in page.text
    (crashed / "metrics.csv").unlink()
    assert "No step was logged" in Page(write_report([crashed], pictures=False).read_text()).text


def test_an_unfinished_run_is_shown_by_its_checkpoint(run: Path, tmp_path: Path) -> None:
    unfinished = copy(run, tmp_path)
    shutil.rmtree(unfinished / "encoder")
    page = Page(write_report([unfinished], images=30).read_text())
    assert "of the newest checkpoint" in page.text
    assert page.data["runs"][0]["map"]["count"] == 30


def test_images_that_are_gone_and_files_of_other_versions(run: Path, tmp_path: Path) -> None:
    old = copy(run, tmp_path)
    config = yaml.safe_load((old / "config.yaml").read_text())
    folder = {"root": "gone", "labels": "auto", "test_fraction": 0.2}
    config["data"]["source"] = {"_target_": "selfsup.data.folder", **folder}
    config["method"]["old_ratio"] = config["method"].pop("mask_ratio")
    (old / "config.yaml").write_text(yaml.safe_dump(config))
    results = json.loads((old / "results.json").read_text())
    for row in results["rows"]:
        del row["role"]
        for score in row["scores"].values():
            for key in ("title", "accuracy", "shown", "top"):
                score.pop(key, None)
    (old / "results.json").write_text(json.dumps(results))
    (checkpoint,) = (old / "checkpoints").glob("*.ckpt")
    checkpoint.write_bytes(b"half")
    page = Page(write_report([old]).read_text())
    assert "The images cannot be shown" in page.text
    assert "not of this version" in page.text
    assert "is damaged" in page.text
    assert "raw pixels" in page.text
    assert "loss" in page.data["runs"][0]["curves"]


def test_a_strangers_run_calls_nothing(run: Path, tmp_path: Path) -> None:
    strange = copy(run, tmp_path)
    text = (strange / "config.yaml").read_text().replace("selfsup.data.digits", "os.system")
    (strange / "config.yaml").write_text(text)
    page = Page(write_report([strange]).read_text())
    assert "The settings cannot be read" in page.text
    assert "raw pixels" in page.text


def test_without_labels_colours_are_clusters(run: Path, tmp_path: Path) -> None:
    train, test = load_data(yaml.safe_load((run / "config.yaml").read_text())["data"])
    bare = ImageArray(train.images[:40]), ImageArray(test.images[:40])
    page = Page(write_report([copy(run, tmp_path)], sources=bare).read_text())
    drawn = page.data["runs"][0]["map"]
    assert drawn["kind"] == "cluster"
    assert drawn["group_names"] == ["cluster 1", "cluster 2", "cluster 3", "cluster 4"]  # of 40 images
    assert "right" not in drawn
    few = ImageArray(train.images[:40]), ImageArray(test.images[:3])
    page = Page(write_report([copy(run, tmp_path, "few")], sources=few).read_text())
    assert "3 test images are too few" in page.text


def test_features_that_collapsed_or_are_not_finite(run: Path, tmp_path: Path) -> None:
    for name, value in (("collapsed", 0.0), ("diverged", float("nan"))):
        broken = copy(run, tmp_path, name)
        weights = broken / "encoder" / "model.safetensors"
        state = {key: torch.full_like(tensor, value) for key, tensor in load_file(weights).items()}
        save_file(state, weights, metadata={"format": "pt"})
        page = Page(write_report([broken], images=20).read_text())
        assert ("are not finite" in page.text) == (name == "diverged")
        assert (page.data["runs"][0]["map"] is None) == (name == "diverged")
        assert "raw pixels" in page.text


def test_a_mistake_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["report", str(tmp_path / "none")]) == 2
    assert main(["report", str(tmp_path / "empty")]) == 2
    assert main(["report", str(tmp_path / "empty"), "image=3"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert "there is no run" in said[0]
    assert "is not a run's folder" in said[1]
    assert "did you mean 'images'" in said[2]
