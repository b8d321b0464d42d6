"""``data.labels=FILE``: a few labels that judge, and no labels to learn from."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from selfsup.commands import main
from selfsup.config import load_config
from selfsup.data import load_data
from selfsup.data.labels import labelled
from selfsup.errors import UsageError


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pictures, the first half dark."""
    root = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(0)
    for i in range(40):
        pixels = np.clip(draw.normal(60 if i < 20 else 190, 30, (16, 16, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / f"{i:02}.png")
    return root


def table(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def loaded(photos: Path, labels: Path):
    config = load_config(
        "evaluate", ["encoder=x", "data=folder", f"data.root={photos}", f"data.labels={labels}"]
    )
    return config["data"], *load_data(config["data"])


def named(photos: Path, train, numbers) -> list[str]:
    own = {train.name(i).rpartition("/")[2] for i in range(len(train))}
    return [name for i in numbers if (name := f"{i:02}.png") in own]


def test_learning_sees_all_images_without_labels_and_judging_the_labelled_ones(photos, tmp_path):
    _, train, _ = loaded(
        photos, table(tmp_path / "all.csv", "name,label\n00.png,dark\n01.png,dark\n39.png,light\n")
    )
    names = [*named(photos, train, range(20))[:6], *named(photos, train, range(20, 40))[:4]]
    lines = [f"{name},{'dark' if int(name[:2]) < 20 else 'light'}" for name in names]
    blank = named(photos, train, range(20))[6]
    file = table(
        tmp_path / "some.csv", "\ufeffname;label\n" + "\n".join([*lines, f"{blank},"]).replace(",", ";")
    )
    config, train, test = loaded(photos, file)
    assert (len(train), len(test), train.labels, test.labels) == (32, 8, None, None)
    bank, query = labelled(config, train, test)
    # No test image is named: a fifth of the ten is held out, of both classes.
    assert (len(bank), len(query)) == (8, 2)
    assert sorted(query.labels.tolist()) == [0, 1]
    found = {}
    for part in (bank, query):
        assert part.classes == ["dark", "light"]
        for i in range(len(part)):
            found[part.name(i).rpartition("/")[2]] = part.classes[int(part.labels[i])]
            assert (part[i].float().mean() < 125) == (part.labels[i] == 0)
    assert found == dict(line.split(",") for line in lines)
    assert "10 images have labels" in bank.decisions.labels


def test_test_images_that_are_named_are_tested_on(photos, tmp_path):
    every = "name,label\n" + "".join(f"{i:02}.png,{int(i >= 20)}\n" for i in range(40))
    config, train, test = loaded(photos, table(tmp_path / "every.csv", every))
    bank, query = labelled(config, train, test)
    assert len(bank) == len(train) == 32
    assert len(query) == len(test) == 8
    for part in (bank, query):
        assert torch.equal(
            part.labels, torch.tensor([int(part[i].float().mean() > 125) for i in range(len(part))])
        )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name,label\n00.png,a\nnowhere.png,b\n", "'nowhere.png' in .* means no image of this data"),
        ("name,label\n00.png,a\n00.png,b\n", "names '00.png' twice"),
        ("name,label\n00.png,a\n01.png,a\n", "are all 'a'; label images of a second class"),
        ("name,label\n00.png,\n01.png,\n", "has no label yet"),
        ("name,class\n00.png,a\n", "needs the columns name and label, and has name, class"),
    ],
)
def test_what_is_wrong_with_a_table_is_a_sentence(photos, tmp_path, text, sentence):
    with pytest.raises(UsageError, match=sentence):
        loaded(photos, table(tmp_path / "labels.csv", text))


def test_a_missing_table_is_reported_before_anything_starts(photos, capsys):
    given = ["encoder=timm:resnet18", "data=folder", f"data.root={photos}", "data.labels=lables.csv"]
    assert main(["evaluate", *given]) == 2
    assert "there is no 'lables.csv'" in capsys.readouterr().err
