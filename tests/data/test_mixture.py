import pytest

from selfsup.config import load_config
from selfsup.data import load_data
from selfsup.data.settings import require_paths
from selfsup.errors import UsageError

from .images import NAMES, encoded, noise, write, write_parquet


def mixture(*settings):
    data = load_config("train", ["data=mixture", *(f"data.sources.{setting}" for setting in settings)])[
        "data"
    ]
    require_paths(data)
    return data


@pytest.fixture
def parts(tmp_path):
    images = [encoded(noise(i)) for i in range(12)]
    file = write_parquet(tmp_path / "a.parquet", images, [0, 1] * 6, NAMES)
    for i in range(8):
        write(tmp_path / "my images" / ["dog", "eel"][i % 2] / f"{i}.png", 100 + i)
    return [
        f"parquet.train={file}",
        f"parquet.test={write_parquet(tmp_path / 'b.parquet', images[:3], [0, 1, 0], NAMES)}",
        "parquet.weight=1",
        "mine.data=folder",
        f"mine.root={tmp_path / 'my images'}",
        "mine.source.test_fraction=0.5",
        "mine.weight=3",
    ]


def test_sources_are_mixed_by_weight_with_their_own_settings(parts):
    train, test = load_data(mixture(*parts))
    assert train.images.shape == (12 + 36, 3, 8, 8)
    assert len(test) == 3 + 4
    names = [train.name(i) for i in range(len(train))]
    assert sum("a.parquet" in name for name in names) == 12
    assert {names.count(name) for name in names if "my images" in name} == {9}
    assert train.classes == test.classes == ["cat", "dog", "eel"]
    for source in (train, test):
        for i in range(len(source)):
            if "my images" in source.name(i):
                assert f"/{source.classes[source.labels[i]]}/" in source.name(i)


def test_settings_of_a_source_reach_it(parts):
    train, _ = load_data(mixture(*parts, "mine.labels=false", "parquet.per_class=2"))
    assert train.labels is None
    assert sum("a.parquet" in train.name(i) for i in range(len(train))) == 4
    whole = load_config(
        "train", ["data=mixture", "data.sources={digits: {weight: 1}, cifar10: {weight: 2.5}}"]
    )
    assert whole["data"]["sources"]["cifar10"] == {"weight": 2.5}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["digts.weight=1"], "data.sources.digts: no data 'digts'; did you mean 'digits'"),
        (["digits.wieght=1"], "no setting 'data.wieght'"),
        (["digits.weight=1", "digits.image_size=8"], r"belongs to the whole mixture; set data\.image_size"),
        (["digits=1"], "holds settings, such as weight=1, not '1'"),
        (["folder.weight=1"], "data.sources.folder: data.root has to be given"),
        (["folder.root=/none", "folder.weight=1"], "there is no '/none'"),
        (["digits.weight=1", "digits.train=train[:x]"], "neither a whole number nor a percentage"),
    ],
)
def test_mistakes_are_told_before_anything_is_read(settings, words):
    with pytest.raises(UsageError, match=words.replace("[", r"\[") if "train[" in words else words):
        mixture(*settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ([], "a mixture needs two sources or more"),
        (["digits.weight=1"], "a mixture needs two sources or more"),
        (["digits.weight=1", "again.data=digits"], "source 'again' has no weight"),
        (["digits.weight=1", "again.data=digits", "again.weight=0"], "'again' has to be a number above 0"),
    ],
)
def test_mixtures_that_are_none(settings, words):
    with pytest.raises(UsageError, match=words):
        load_data(mixture(*settings))


def test_a_mixture_of_sizes_is_read_when_asked_for(tmp_path):
    for i in range(6):
        write(tmp_path / f"{i}.png", i, height=9)
    train, _ = load_data(
        mixture("digits.weight=1", "folder.weight=1", f"folder.root={tmp_path}", "digits.per_class=2")
    )
    assert train.images is None
    assert {tuple(train[i].shape) for i in range(len(train))} == {(3, 8, 8), (3, 9, 8)}
