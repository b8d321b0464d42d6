"""One range of values for a data set: from its configuration to its pixels, whatever the source."""

import json
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from selfsup.data import ImageArray, ImageFiles, from_arrays
from selfsup.data.channels import ranged
from selfsup.data.compose import concat
from selfsup.data.load import chosen_ranged, load_data
from selfsup.data.source import subset
from selfsup.data.tried import settle, try_images
from selfsup.errors import UsageError
from selfsup.evaluation.features.cache import identity

from .images import encoded, noise, write_parquet
from .test_load import config
from .test_values import CAMERA
from .tiffs import tiff

THERMAL = [np.random.default_rng(seed).integers(7301, 8207, (16, 16)).astype(np.uint16) for seed in range(10)]
THERMAL[0][0, :2] = 7301, 8206


def mapped(low: float, high: float) -> list[bytes]:
    """The images by the definition, in any order."""
    return sorted(
        np.rint(255 * ((image.astype(float) - low) / (high - low)).clip(0, 1)).astype(np.uint8).tobytes()
        for image in THERMAL
    )


def found(*sources) -> list[bytes]:
    images = [source[i] for source in sources for i in range(len(source))]
    assert all((image == image[:1]).all() for image in images)
    return sorted(image[0].numpy().tobytes() for image in images)


def folder_of(path, images=THERMAL):
    for i, image in enumerate(images):
        Image.fromarray(image).save(path / f"{i}.png")
    return path


@pytest.fixture
def thermal(tmp_path):
    """Settings of the same ten images in each source."""
    folder, shards, files = tmp_path / "folder", tmp_path / "0.tar", tmp_path / "list.csv"
    folder.mkdir()
    folder_of(folder)
    files.write_text("".join(f"folder/{i}.png\n" for i in range(10)))
    with tarfile.open(shards, "w") as tar:
        for file in sorted(folder.iterdir()):
            tar.add(file, file.name)
    parquet = write_parquet(tmp_path / "a.parquet", [encoded(Image.fromarray(image)) for image in THERMAL])
    np.save(tmp_path / "a.npy", np.stack(THERMAL))
    np.save(tmp_path / "floats.npy", np.stack(THERMAL).astype(np.float32))
    return {
        "folder": [f"data.root={folder}"],
        "files": [f"data.files={files}"],
        "shards": [f"data.train={shards}", "data.source.test_fraction=0.2"],
        "parquet": [f"data.train={parquet}"],
        "arrays": [f"data.images={tmp_path / 'a.npy'}"],
        "arrays of floats": [f"data.images={tmp_path / 'floats.npy'}"],
    }


@pytest.mark.parametrize("kind", ["folder", "files", "shards", "parquet", "arrays", "arrays of floats"])
@pytest.mark.parametrize("in_memory", [True, False])
def test_one_range_for_every_source(thermal, kind, in_memory):
    name = kind.split()[0]
    settings = [*thermal[kind], f"data.in_memory={in_memory}"]
    with pytest.raises(
        UsageError, match=r"use values from 7301 to 8206 of 0 to .*data\.range=\[7301,8206\], or"
    ):
        load_data(config(name, *settings))
    train, test = load_data(config(name, *settings, "data.range=[7301,8206]"))
    assert (train.images is not None) == in_memory
    assert train.range == test.range == (7301, 8206)
    assert found(train, test) == mapped(7301, 8206)
    assert train.decisions.values == "values from 7301 to 8206 become black to white"
    dark, _ = load_data(config(name, *settings, "data.range=[0,65535]"))
    assert dark[0].max() < 40


def test_a_range_is_measured_on_the_training_images_alone(thermal, tmp_path):
    both = tmp_path / "both"
    for split, images in (("train", THERMAL[:8]), ("test", [THERMAL[8] * 3])):
        (both / split).mkdir(parents=True)
        folder_of(both / split, images)
    train, test = load_data(config("folder", f"data.root={both}", "data.range=auto"))
    low, high = np.quantile(np.stack(THERMAL[:8]), [0.001, 0.999], method="nearest")
    assert abs(train.range[0] - low) <= 2
    assert abs(train.range[1] - high) <= 2
    assert train.range == test.range
    assert test[0].min() == 255  # three times as warm
    assert "data.range=auto: all but 0.1 % at either end" in train.decisions.values
    again, _ = load_data(config("folder", f"data.root={both}", "data.range=auto", "data.in_memory=false"))
    assert again.range == train.range
    black = folder_of(tmp_path / "folder", [np.zeros((16, 16), np.uint16)] * 10)
    with pytest.raises(UsageError, match="auto cannot be measured"):
        load_data(config("folder", f"data.root={black}", "data.range=auto"))


def test_a_run_that_has_begun_reads_its_images_as_before(thermal):
    train, _ = load_data(config("folder", *thermal["folder"]), as_before=True)
    assert train.range is None
    assert train[0].unique().tolist() == [28, 29, 30, 31, 32]


def test_masks_of_8_bits_are_refused_and_few_points_or_black_are_not(tmp_path):
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16) // 13
    root = folder_of(tmp_path, [mask] * 6)
    with pytest.raises(UsageError, match=r"8-bit images use values from 0 to 19 of 0 to 255.*range=\[0,19\]"):
        load_data(config("folder", f"data.root={root}"))
    train, _ = load_data(config("folder", f"data.root={root}", "data.range=[0,19]"))
    assert train[0].max() == 255
    load_data(config("folder", f"data.root={folder_of(tmp_path, [mask * 0] * 6)}"))
    mask[3, 3] = 40
    load_data(config("folder", f"data.root={folder_of(tmp_path, [mask] * 6)}"))


def test_jpegs_that_are_tried_smaller_are_judged_by_their_pixels(tmp_path):
    """Means of 8 x 8 pixels use less than an eighth of the range, and single pixels all of it."""
    board = (np.indices((256, 320)).sum(0) % 2 * 255).astype(np.uint8)
    for i in range(4):
        Image.fromarray(board).save(tmp_path / f"{i}.jpg", quality=95)
    load_data(config("folder", f"data.root={tmp_path}"))
    flat = (board // 255 * 9 + np.arange(320) // 32 + 100).astype(np.uint8)
    for i in range(4):
        Image.fromarray(flat).save(tmp_path / f"{i}.jpg", quality=95)
    with pytest.raises(UsageError, match="8-bit"):
        load_data(config("folder", f"data.root={tmp_path}"))


def test_mixed_types_keep_their_own_ranges_and_share_one_that_is_set(tmp_path):
    wide = CAMERA.astype(np.uint16) * 257
    root = folder_of(tmp_path, [CAMERA, wide] * 5)
    train, test = load_data(config("folder", f"data.root={root}"))
    assert found(train, test) == [CAMERA.tobytes()] * 10
    assert train.decisions.values.count("-bit from 0 to") == 2
    train, _ = load_data(config("folder", f"data.root={root}", "data.range=[0,255]"))
    assert "in 8-bit and 16-bit images alike" in train.decisions.values or "16-bit and 8-bit" in (
        train.decisions.values
    )


def test_a_range_of_other_images_is_refused():
    with pytest.raises(UsageError, match=r"all black in the range \[7301,8206\].*range=\[0,255\]"):
        load_data(config("digits", "data.range=[7301,8206]"))
    train, _ = load_data(config("digits", "data.range=[0,510]"))
    plain, _ = load_data(config("digits"))
    assert torch.equal(train.images, (plain.images.double() / 2).round().byte())


def test_a_mixture_has_one_range(thermal, tmp_path):
    both = [
        f"data.sources.{name}.{setting}"
        for name in ("folder", "arrays")
        for setting in [*(each.removeprefix("data.") for each in thermal[name]), "weight=1"]
    ]
    train, test = load_data(config("mixture", *both, "data.range=[7301,8206]"))
    assert sorted(set(found(train, test))) == mapped(7301, 8206)
    with pytest.raises(UsageError, match="7301 to 8206"):
        load_data(config("mixture", *both))
    with pytest.raises(UsageError, match=r"belongs to the whole mixture; set data\.range"):
        load_data(config("mixture", *both, "data.sources.folder.range=[0,1]"))


def test_a_part_keeps_the_range_and_sources_are_joined_before_they_get_one():
    source = ranged(ImageFiles([tiff(image) for image in THERMAL]), (7301, 8206))
    assert subset(source, torch.tensor([3])).range == (7301, 8206)
    assert identity(source) != identity(ImageFiles(source.files))
    with pytest.raises(ValueError, match="already"):
        ranged(source, (0, 1))
    with pytest.raises(ValueError, match="one range"):
        concat([source, source])


def test_images_without_checks_take_the_encoders_range_unless_one_is_set(thermal):
    plain = config("folder", *thermal["folder"])
    train, test = chosen_ranged(plain, (7301, 8206))
    assert found(train, test) == mapped(7301, 8206)
    train, test = chosen_ranged({**plain, "range": [7000, 9000]}, (7301, 8206))
    assert found(train, test) == mapped(7000, 9000)
    assert chosen_ranged(plain, None)[0].range is None
    with pytest.raises(UsageError, match="all white"):
        chosen_ranged(plain, (0, 255))


def test_what_pages_and_bands_are_used_is_decided_for_the_images_tried(tmp_path):
    wide = np.stack([CAMERA] * 3 + [CAMERA // 2], axis=2)
    for i in range(8):
        pages = {0: 3, 1: 3}.get(i, 1)
        (tmp_path / f"{i}.tif").write_bytes(tiff(wide if i < 5 else CAMERA, 2 if i < 5 else 1, pages=pages))
    train, _ = load_data(config("folder", f"data.root={tmp_path}"))
    assert train.decisions.pages == "2 of 8 images tried have 3 pages (the first is used)"
    assert train.decisions.bands.startswith("5 of 8 images tried have 4 bands of uint8 (the first three")
    assert train.decisions.values == ""


def test_floats_beyond_1_are_not_called_unreadable_where_a_range_is_set(tmp_path):
    for i in range(6):
        (tmp_path / f"{i}.tif").write_bytes(tiff(CAMERA.astype(np.float32) - 100))
    with pytest.raises(UsageError, match=r"float images use values from -100 to 155 of 0 to 1; set"):
        load_data(config("folder", f"data.root={tmp_path}"))
    train, _ = load_data(config("folder", f"data.root={tmp_path}", "data.range=[-100,155]"))
    assert (train[0][0].numpy() == CAMERA).all()
    assert load_data(config("folder", f"data.root={tmp_path}", "data.range=auto"))[0].range == (-100, 155)


def test_arrays_from_python():
    wide = np.stack([CAMERA.astype(np.uint16) * 16] * 2)
    source = from_arrays(wide, range=(0, 4080))
    assert isinstance(source, ImageArray)
    assert (source.images.numpy() == CAMERA).all()
    assert source.range == (0, 4080)
    assert from_arrays(np.array([[[0, 257, 65535]]], np.uint16)).images[0, 0].tolist() == [[0, 1, 255]]
    for kind in (np.int16, np.int64, np.float64):
        with pytest.raises(UsageError, match="range"):
            from_arrays(wide.astype(kind))
        assert (from_arrays(wide.astype(kind), range=(0, 4080)).images.numpy() == CAMERA).all()


def test_what_cannot_be_measured_is_none():
    tried = try_images(ImageFiles([b"no image"] * 3))
    assert len(tried.bad) == 3
    assert settle("auto", [tried]) is None
    assert settle(None, [try_images(ImageFiles([encoded(noise(0))]))]) is None


def test_decisions_are_plain_text_and_numbers(thermal):
    train, _ = load_data(config("folder", *thermal["folder"], "data.range=auto"))
    assert json.loads(json.dumps([train.decisions.as_json(), train.range]))[1] == list(train.range)
