"""An encoder that others made sees what timm would show it; one of ours sees what it always saw."""

import io
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
import torch.nn.functional as F
from PIL import Image

from selfsup import build_encoder, load_encoder, save_encoder
from selfsup.data import ImageFiles
from selfsup.encoder.resizing import INTERPOLATIONS, Resizing
from selfsup.evaluation import Cache, evaluate, extract
from selfsup.evaluation.features.embeddings import embed
from selfsup.evaluation.features.images import batches, fit, fitting
from selfsup.export import photographs
from selfsup.export.formats import preprocessing
from selfsup.report.gallery import make_gallery

DATA = Path(os.environ.get("SELFSUP_DATA", Path(__file__).parents[3] / "shared" / "data"))
RECIPES = [
    (size, interpolation, crop, mode)
    for size in (48, 65)
    for interpolation in ("bilinear", "bicubic")
    for crop, mode in (
        (0.875, "center"),
        (1.0, "center"),
        (1.15, "center"),
        (0.9, "squash"),
        (0.95, "border"),
    )
]
RECIPES += [(48, name, 0.9, mode) for name in INTERPOLATIONS for mode in ("center", "border")]


def synthetic() -> list[Image.Image]:
    """Edges and noise, wide, high, square, small and exactly of the size."""
    random = np.random.default_rng(0)
    shapes = ((60, 97), (131, 64), (80, 80), (20, 31), (48, 61), (55, 55))
    noise = [random.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    edges = [np.where(picture > 127, 255, 0).astype(np.uint8) for picture in noise]
    return [Image.fromarray(picture) for picture in (*noise, *edges)]


def photos(count: int) -> list[Image.Image]:
    file = DATA / "flowers-val.parquet"
    if not file.is_file():
        pytest.skip(f"no flower photographs in {DATA}")
    rows = pq.read_table(file).column("image").slice(0, count).to_pylist()
    return [Image.open(io.BytesIO(row["bytes"])).convert("RGB") for row in rows]


def pixels(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def largest_difference(pictures: list[Image.Image], size: int, name: str, crop: float, mode: str) -> float:
    mean = (0.2, 0.5, 0.7)
    fill = tuple(round(255 * value) for value in mean) if mode == "border" else (0, 0, 0)
    ours = Resizing(size, name, crop, mode, fill)
    settings = {"interpolation": name, "crop_pct": crop, "crop_mode": mode, "mean": mean, "std": (1, 1, 1)}
    theirs = timm.data.create_transform((3, size, size), **settings)
    worst = 0.0
    for picture in pictures:
        expected = 255 * (theirs(picture) + torch.tensor(mean).view(3, 1, 1))
        found = fit(pixels(picture)[None], ours)[0]
        assert found.shape == expected.shape
        worst = max(worst, (found.float() - expected).abs().max().item())
    return round(worst, 3)


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_pixels_are_timms(recipe: tuple[int, str, float, str]) -> None:
    assert largest_difference(synthetic(), *recipe) == 0


@pytest.mark.parametrize(
    "recipe", [(224, "bicubic", 0.875, "center"), (96, "bicubic", 1.0, "squash")], ids=str
)
def test_pixels_of_photographs_are_timms(recipe: tuple[int, str, float, str]) -> None:
    assert largest_difference(photos(12), *recipe) == 0


def test_ours_are_fitted_as_ever() -> None:
    for picture in map(pixels, synthetic()):
        height, width = picture.shape[-2:]
        shape = (
            max(48, round(height * 48 / min(height, width))),
            max(48, round(width * 48 / min(height, width))),
        )
        whole = F.interpolate(picture[None], shape, mode="bilinear", antialias=True, align_corners=False)
        top, left = (shape[0] - 48) // 2, (shape[1] - 48) // 2
        assert torch.equal(fit(picture[None], 48), whole[..., top : top + 48, left : left + 48])
    assert fitting(build_encoder("resnet10_small", 16)) == 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder of timm's whose configuration asks for bicubic resizing to 36, of which 32 are seen."""
    path = tmp_path_factory.mktemp("foreign") / "timms"
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=0)
    data = {"input_size": (3, 32, 32), "crop_pct": 0.9, "interpolation": "bicubic", "mean": (0.5, 0.4, 0.3)}
    timm.models.save_for_hf(model, path, safe_serialization=True, data_config=data)
    return path


@pytest.fixture
def source(tmp_path: Path) -> ImageFiles:
    paths = []
    for number, picture in enumerate(synthetic() * 2):
        paths.append(str(tmp_path / f"{number}.png"))
        picture.save(paths[-1])
    return ImageFiles(paths, torch.arange(24) % 2)


def by_timm(folder: Path, source: ImageFiles) -> torch.Tensor:
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    with torch.no_grad():
        return model(torch.stack([transform(Image.open(path)) for path in source.files]))


def test_every_way_of_judging_sees_images_as_timm_does(folder: Path, source: ImageFiles) -> None:
    encoder, expected = load_encoder(folder).eval(), by_timm(folder, source)
    assert encoder.resizing == Resizing(32, "bicubic", 0.9)
    close = {"atol": 1e-4 * expected.abs().max().item(), "rtol": 0.0}
    ours = extract(encoder, source, 32, encoder.mean, encoder.std).x
    assert (ours - expected).abs().max() > 100 * close["atol"]  # it makes a difference
    for found in (
        extract(encoder, source, fitting(encoder), encoder.mean, encoder.std).x,
        torch.cat([block["x"] for block in embed(encoder, {"all": source})]),
        make_gallery(encoder, source, 24, 100.0).x,
    ):
        torch.testing.assert_close(found, expected, **close)
    (_, both) = next(batches(source, torch.arange(2), fitting(encoder), 2))
    assert both.shape == (2, 3, 32, 32)


PROTOCOLS = {
    "knn": {"_target_": "selfsup.evaluation.protocols.knn.score", "k": [3], "temperature": 0.07},
}


def test_the_result_says_how_each_row_saw_the_images(
    folder: Path, source: ImageFiles, tmp_path: Path
) -> None:
    foreign, own = load_encoder(folder), build_encoder("resnet10_small", 32, seed=0)
    cache = Cache(tmp_path / "cache", 1.0)
    settings = {"protocols": PROTOCOLS, "cache": cache}
    results = evaluate({"foreign": foreign, "own": own}, source, source, {"name": "toy"}, **settings)
    rows = {row["name"]: row["preprocessing"] for row in results["rows"]}
    assert {name: row["interpolation"] for name, row in rows.items()} == {
        "foreign": "bicubic",
        "own": "bilinear",
        "untrained foreign": "bicubic",
        "untrained own": "bilinear",
        "pixels": "bicubic",  # as the first encoder is given them
        "pixels, PCA": "bicubic",
    }
    assert (rows["foreign"]["crop_pct"], rows["own"]["crop_pct"]) == (0.9, 1.0)
    assert rows["foreign"]["resize"] == "shorter side to 35 px, bicubic, antialiased; centre crop of 32 px"
    assert rows["own"]["resize"] == "shorter side, bilinear, antialiased; centre crop"
    assert rows["foreign"]["mean"] == [0.5, 0.4, 0.3]
    assert preprocessing(foreign)["resize"] == rows["foreign"]["resize"]
    # The same weights seen otherwise are another encoder, and another entry of the cache.
    other = load_encoder(folder)
    other.resizing = Resizing(32, "bicubic", 1.0)
    assert other.fingerprint() != foreign.fingerprint()
    entries = len(list(cache.folder.iterdir()))
    evaluate(other, source, source, {"name": "toy"}, controls=False, **settings)
    assert len(list(cache.folder.iterdir())) == entries + 1


def test_preprocessing_stays_with_an_encoder_that_is_saved_again(folder: Path, tmp_path: Path) -> None:
    foreign = load_encoder(folder)
    again = save_encoder(foreign, tmp_path / "again")
    assert load_encoder(again).resizing == foreign.resizing
    model = timm.create_model(f"local-dir:{again}", pretrained=True)
    data = timm.data.resolve_model_data_config(model)
    assert (data["interpolation"], data["crop_pct"], data["mean"]) == ("bicubic", 0.9, [0.5, 0.4, 0.3])
    assert load_encoder(save_encoder(build_encoder("resnet10_small", 16), tmp_path / "own")).resizing is None


def test_timm_names_bring_theirs() -> None:
    for name in ("resnet18", "vit_tiny_patch16_224", "convnext_atto", "mobilenetv3_small_050"):
        cfg = timm.get_pretrained_cfg(name)
        expected = Resizing(cfg.input_size[-1], cfg.interpolation, cfg.crop_pct, cfg.crop_mode)
        assert load_encoder(f"timm:{name}").resizing == expected
    assert load_encoder("timm:vit_base_patch16_sapiens2").input_size == (1024, 768)


def test_photographs_of_an_export_are_fitted_alike(folder: Path) -> None:
    assert not torch.equal(photographs(fitting(load_encoder(folder))), photographs(32))
