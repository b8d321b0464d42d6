import re

import pytest

from selfsup.data import imagenet, imagenet100
from selfsup.data.sources.imagenet import LISTED
from selfsup.errors import UsageError

from .images import write

SYNSETS = ["n01440764", "n01443537", "n01484850"]


@pytest.fixture
def top(tmp_path):
    for split, count in (("train", 3), ("val", 2)):
        for synset in SYNSETS:
            for i in range(count):
                write(tmp_path / split / synset / f"{synset}_{i}.JPEG", i)
    return tmp_path


def listed(path, *names):
    path.write_text("\n".join(names) + "\n")
    return str(path)


def test_folders_are_classes(top):
    splits = imagenet(str(top), None)
    assert {name: len(splits[name]) for name in splits} == {"train": 9, "val": 6, "test": 6}
    assert splits["val"] is splits["test"]
    for name in ("train", "val"):
        source = splits[name]
        assert source.classes == SYNSETS
        for i in range(len(source)):
            assert source.name(i).split("/")[-2] == SYNSETS[source.labels[i]]


def test_a_list_chooses_classes(top):
    file = listed(top / "classes.txt", f"{SYNSETS[2]} great white shark", SYNSETS[0], "")
    for name, count in (("train", 6), ("val", 4)):
        source = imagenet100(str(top), file)[name]
        assert source.classes == [SYNSETS[0], SYNSETS[2]]
        assert len(source) == count
        for i in range(count):
            assert source.name(i).split("/")[-2] == source.classes[source.labels[i]]
            assert source[i].shape == (3, 8, 8)


def test_the_published_list():
    names = LISTED.read_text().split()
    assert len(set(names)) == len(names) == 100
    assert all(re.fullmatch(r"n\d{8}", name) for name in names)


def test_mistakes_are_told(top, tmp_path):
    def sentence(function, root, classes=None):
        with pytest.raises(UsageError) as caught:
            function(str(root), classes)["val"]
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "100 of the 100 classes" in sentence(imagenet100, top)
    assert "data=imagenet needs" in sentence(imagenet, "")
    assert "there is no" in sentence(imagenet, top, str(top / "no.txt"))
    assert "names 1 classes" in sentence(imagenet, top, listed(top / "one.txt", SYNSETS[0]))
    assert "must hold train/ and val/" in sentence(imagenet, top / "train")
    write(top / "val" / "loose.JPEG")
    assert "are in no class folders" in sentence(imagenet, top)
