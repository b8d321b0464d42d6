"""Sources of one to sixteen channels: ranges, statistics and pages of a whole data set."""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsup.config import load_config
from selfsup.data import ImageArray, from_arrays, load_data
from selfsup.data.channels import ranged
from selfsup.data.load import chosen_ranged
from selfsup.data.readers.reading import reading_of
from selfsup.data.settings import range_of, require_reading
from selfsup.data.statistics import keep_measured, measured
from selfsup.errors import UsageError
from selfsup.evaluation.features.ranges import with_channels
from selfsup.targets import typed

from .images import write
from .tiffs import tiff

BANDS = np.random.default_rng(0).integers(0, 50, (12, 6, 5, 4)) * np.array([1, 10, 100, 1000])


def config_of(*settings: str) -> dict:
    return load_config("train", ["data=folder", *settings])["data"]


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    for i, each in enumerate(BANDS.astype("u2")):
        (tmp_path / f"{i:02}.tif").write_bytes(tiff(each))
    return tmp_path


def test_each_band_has_its_range_and_its_statistics(maps: Path) -> None:
    data = config_of(
        f"data.root={maps}", "data.channels=4", "data.range=auto", "data.source.test_fraction=0.25"
    )
    train, test = load_data(data, measure=True)
    assert isinstance(train, ImageArray)
    assert train.channels == test.channels == 4
    assert len(train.range) == 4
    low, high = zip(*train.range, strict=True)
    assert [value // scale // 2 for value, scale in zip(low, (1, 10, 100, 1000), strict=True)] == [0] * 4
    assert all(45 <= value / scale <= 49 for value, scale in zip(high, (1, 10, 100, 1000), strict=True))
    pixels = train.images.double() / 255
    mean, std = train.statistics
    assert np.allclose(mean, pixels.mean((0, 2, 3)), atol=1e-6)
    assert np.allclose(std, pixels.std((0, 2, 3), correction=0), atol=1e-6)
    assert "measured on 9 images" in train.decisions.values
    keep_measured(data, train)
    assert (data["mean"], data["range"]) == (mean, [list(pair) for pair in train.range])
    again, _ = load_data(data, measure=True)
    assert torch.equal(again.images, train.images)
    assert again.statistics == train.statistics


def test_bands_are_those_named(maps: Path) -> None:
    whole, _ = load_data(config_of(f"data.root={maps}", "data.channels=4", "data.range=[0,49000]"))
    part, _ = load_data(config_of(f"data.root={maps}", "data.bands=[4,3,2]", "data.range=[0,49000]"))
    assert torch.equal(part.images, whole.images[:, [3, 2, 1]])
    one, _ = load_data(
        config_of(f"data.root={maps}", "data.bands=[4]", "data.channels=1", "data.range=[0,49000]")
    )
    assert torch.equal(one.images, whole.images[:, [3]])


def test_pictures_of_other_bands_are_counted_and_refused(maps: Path) -> None:
    for i in range(4):
        (maps / f"x{i}.tif").write_bytes(tiff(BANDS[i, ..., :3].astype("u2"), 2))
    settings = [f"data.root={maps}", "data.channels=4", "data.range=[0,49000]"]
    with pytest.raises(
        UsageError, match=r"images tried cannot be read, the first .*it has 3 bands, and data\.ch"
    ):
        load_data(config_of(*settings))
    train, test = load_data(config_of(*settings, "data.max_unreadable=0.5"))
    assert len(train) + len(test) == 12
    with pytest.raises(UsageError, match=r"none of the training images .*data\.bands asks for band 9"):
        load_data(config_of(f"data.root={maps}", "data.bands=[9]", "data.channels=1"))


def test_a_band_of_one_value_has_no_range(maps: Path) -> None:
    for i, each in enumerate(BANDS.astype("u2")):
        (maps / f"{i:02}.tif").write_bytes(tiff(each * np.array([1, 1, 0, 1], "u2")))
    with pytest.raises(UsageError, match="all values of band 3 of the images tried are the same"):
        load_data(config_of(f"data.root={maps}", "data.channels=4", "data.range=auto"))


def test_pages_are_images_of_their_own_on_the_side_of_their_file(tmp_path: Path) -> None:
    for i in range(8):
        folder = tmp_path / "ab"[i % 2]
        folder.mkdir(exist_ok=True)
        (folder / f"{i}.tif").write_bytes(tiff(np.full((4, 4), 20 * i, np.uint8), pages=1 + i % 3))
    (tmp_path / "a" / "bad.tif").write_bytes(b"II*\0")
    settings = [f"data.root={tmp_path}", "data.max_unreadable=1", "data.range=[0,255]", "data.pages=all"]
    for memory in ("true", "false"):
        train, test = load_data(config_of(*settings, f"data.in_memory={memory}", "data.channels=1"))
        names = [source.name(i) for source in (train, test) for i in range(len(source))]
        assert len({*names}) == len(names) == 15 + (memory == "false")
        assert sum("page 3" in name for name in names) == 2
        files = [{source.name(i).split(" page")[0] for i in range(len(source))} for source in (train, test)]
        assert not files[0] & files[1]
        for source in (train, test):
            for i in range(len(source)):
                if "bad" not in (name := source.name(i)):
                    assert source[i].unique().item() == 20 * int(Path(name.split(" page")[0]).stem)
                assert source.classes[source.labels[i]] == Path(name).parent.name


def test_grey_is_one_channel_of_sources_in_memory() -> None:
    three, _ = load_data(load_config("train", ["data=digits"])["data"])
    one, _ = load_data(load_config("train", ["data=digits", "data.channels=1"])["data"], measure=True)
    assert torch.equal(one.images, three.images[:, :1])
    assert one.statistics[0] == pytest.approx([0.3053], abs=1e-3)
    with pytest.raises(UsageError, match="these images have 3 channels"):
        load_data(load_config("train", ["data=digits", "data.channels=2"])["data"])


def test_arrays_of_any_channels(tmp_path: Path) -> None:
    values = BANDS.transpose(0, 3, 1, 2)
    ranges = tuple((0, 49 * scale) for scale in (1, 10, 100, 1000))
    expected = np.rint(255 * values / np.array([high for _, high in ranges]).reshape(1, 4, 1, 1))
    for each in (values, BANDS):
        assert from_arrays(each, range=ranges, channels=4).images.tolist() == expected.tolist()
    for kind, name in ((values.astype("u2"), "first"), (BANDS.astype("f4"), "last")):
        np.save(tmp_path / f"{name}.npy", kind)
        data = load_config("train", ["data=arrays", f"data.images={tmp_path / name}.npy", "data.channels=4"])
        train, test = load_data({**data["data"], "range": [list(pair) for pair in ranges]})
        assert sorted(train.images.tolist() + test.images.tolist()) == sorted(expected.tolist())
    with pytest.raises(UsageError, match=r"with 7 channels have to be of shape \(N, C, H, W\)"):
        from_arrays(values, channels=7)


def test_statistics_are_exact_count_images_alike_and_leave_out_what_is_no_data(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(np.array([[np.nan, 0.2], [0.4, 1]], np.float32)))
    (tmp_path / "b.tif").write_bytes(tiff(np.array([[0.6]], np.float32)))
    data = config_of(f"data.root={tmp_path}", "data.channels=1")
    train, test = chosen_ranged(data, None)
    for source, levels in ((train, None), (test, None)):
        name = Path(source.name(0)).name
        levels = [51, 102, 255] if name == "a.tif" else [153]
        shares = [Fraction(level, 255) for level in levels]
        mean = sum(shares) / len(shares)
        deviation = math.sqrt(sum((share - mean) ** 2 for share in shares) / len(shares))
        found, std, count = measured(source)
        assert (count, found) == (1, [round(float(mean), 6)])
        assert std == [max(1e-3, round(deviation, 6))]
    small = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    large = torch.full((1, 1, 2, 2), 255, dtype=torch.uint8)
    assert measured(ImageArray(torch.cat([small, large, large, large])))[0] == [0.75]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"channels": 17}, "from 1 to 16"),
        ({"channels": 0}, "from 1 to 16"),
        ({"bands": [1, 2]}, r"data\.bands=\[1,2\] and data\.channels=3 do not fit; set data\.channels=2"),
        ({"bands": [0, 1, 2]}, "counted from 1"),
        ({"pages": "last"}, "first, middle or all"),
        (
            {"channels": 4, "range": [[0, 1], [0, 1]]},
            "has 2 pairs and data.channels is 4; give one pair, or 4",
        ),
        ({"range": [[0, 1]] * 3}, "one pair for all colours"),
        ({"channels": 2, "range": [[0, 1], [1, 1]]}, "from low to high"),
        ({"mean": "some"}, "one a channel, auto or null"),
    ],
)
def test_settings_that_do_not_fit(settings: dict, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        require_reading(settings)


def test_typed_numbers_have_to_be_one_a_channel_and_others_are_measured() -> None:
    data = {"channels": 4, "mean": [0.5] * 3, "std": [0.2] * 3}
    require_reading(data)
    with pytest.raises(
        UsageError, match=r"data\.mean has 3 numbers and data\.channels is 4; give one a channel"
    ):
        require_reading(data, ["data.mean=[0.5,0.5,0.5]"])
    assert range_of([[0, 2]], channels=1) == (0, 2)
    assert reading_of({}).channels == 3
    for setting in ("mean=auto", "mean=null", "std=null", "mean=[0.1,0.2]"):
        load_config("train", [f"data.{setting}"])
    one = ranged(ImageArray(torch.full((1, 2, 1, 1), 10, dtype=torch.uint8)), ((0, 20), (0, 40)))
    assert one.images.flatten().tolist() == [128, 64]


def test_only_a_decoder_that_was_typed_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_reader.py").write_text(
        "import numpy, pathlib\n"
        "pathlib.Path(__file__).with_suffix('.ran').touch()\n"
        "def cube(path):\n    return numpy.fromfile(path, 'u1').reshape(2, 3)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    images = tmp_path / "images"
    images.mkdir()
    for i in range(4):
        (images / f"{i}.cube").write_bytes(bytes([*range(0, 250, 50), 40 * i]))
    settings = [
        f"data.root={images}",
        "data.endings=[cube]",
        "data.decode=own_reader:cube",
        "data.channels=1",
    ]
    data = config_of(*settings)
    with pytest.raises(UsageError, match=r"add data\.decode=own_reader:cube to the command if you trust it"):
        load_data(data)
    assert not (tmp_path / "own_reader.ran").exists()
    with typed({"data": data}):
        train, test = load_data(data)
        assert sorted(image[0, 1, 2].item() for source in (train, test) for image in source.images) == [
            0,
            40,
            80,
            120,
        ]
        with pytest.raises(UsageError, match="no function"), typed({"decode": "own_reader:none"}):
            load_data({**data, "decode": "own_reader:none"})


def test_an_encoder_says_how_many_channels_its_images_have() -> None:
    from types import SimpleNamespace as Encoder

    one, four = Encoder(channels=1), Encoder(channels=4)
    assert with_channels({"channels": 3, "bands": None}, {"a": four})["channels"] == 4
    assert with_channels({"channels": 4}, {"a": four}, ["data.channels=4"])["channels"] == 4
    with pytest.raises(UsageError, match=r"'a' takes images of 4 channels; leave data\.channels=3 out"):
        with_channels({"channels": 3}, {"a": four}, ["data.channels=3"])
    with pytest.raises(UsageError, match="'a' takes images of 4 channels and 'b' of 1; judge them apart"):
        with_channels({"channels": 4}, {"a": four, "b": one})


def test_a_photograph_without_bands_asked_for_is_as_ever(tmp_path: Path) -> None:
    for i in range(4):
        write(tmp_path / f"{i}.png", i)
    train, _ = load_data(config_of(f"data.root={tmp_path}"), measure=True)
    assert train.statistics == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert "deviation" not in train.decisions.values
    auto, _ = load_data(config_of(f"data.root={tmp_path}", "data.mean=auto"), measure=True)
    assert auto.statistics[0] != train.statistics[0]
    null, _ = load_data(config_of(f"data.root={tmp_path}", "data.mean=null"), measure=True)
    assert null.statistics == train.statistics
