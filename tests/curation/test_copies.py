"""Copies that are planted are found, each kind, and distinct images are not joined."""

import io
import os
import random
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, ImageOps

from selfsup.curation.alignment import similarity, textures, within
from selfsup.curation.copies import joined, near_copies, redundant, same
from selfsup.curation.inspection import inspect_data
from selfsup.curation.pairs import Pairs
from selfsup.curation.table import table
from selfsup.data import ImageArray, ImageFiles
from selfsup.errors import UsageError
from tests.data.images import encoded

DATA = Path(os.environ.get("SELFSUP_DATA", Path(__file__).parents[3] / "shared" / "data"))
KINDS = {
    "half": lambda image: encoded(image.resize([max(1, side // 2) for side in image.size])),
    "twice": lambda image: encoded(image.resize([2 * side for side in image.size])),
    "jpeg": lambda image: encoded(image, "JPEG", quality=30),
    "mirrored": lambda image: encoded(ImageOps.mirror(image)),
    "cropped": lambda image: encoded(image.crop((3, 5, 3 + 0.8 * image.width, 5 + 0.8 * image.height))),
}


def scene(seed: int, side: int = 64) -> Image.Image:
    """Random discs of random colours: a texture of its own, with edges."""
    draw = np.random.default_rng(seed)
    down, across = np.mgrid[:side, :side]
    image = np.full((side, side, 3), draw.integers(0, 256, 3))
    for _ in range(25):
        y, x, radius = draw.uniform([0, 0, 2], [side, side, side / 4])
        image[(down - y) ** 2 + (across - x) ** 2 < radius**2] = draw.integers(0, 256, 3)
    return Image.fromarray(image.astype(np.uint8))


def planted() -> tuple[list[bytes], list[str], list[int]]:
    files = [encoded(scene(i)) for i in range(60)]
    kinds, origin = [], []
    for number, (kind, change) in enumerate(KINDS.items()):
        for i in range(4 * number, 4 * number + 4):
            files.append(change(scene(i)))
            kinds.append(kind)
            origin.append(i)
    return files, kinds, origin


def test_every_kind_of_copy_is_joined_with_its_origin_alone() -> None:
    files, kinds, origin = planted()
    found = inspect_data({"train": ImageFiles(files)})
    partners = {kind: set() for kind in KINDS}
    for i, (kind, at) in enumerate(zip(kinds, origin, strict=True)):
        partners[kind].add(int(found.component[60 + i]) == at)
    assert partners == {kind: {True} for kind in KINDS}
    assert len(found.component.unique()) == 60
    assert int(found.dropped.sum()) == len(kinds)
    # Twice the size has more pixels than its origin, and stays.
    assert not any(found.dropped[60 + i] for i, kind in enumerate(kinds) if kind == "twice")
    assert all(found.dropped[60 + i] for i, kind in enumerate(kinds) if kind in ("half", "cropped"))


@pytest.mark.parametrize("name", ["flowers", "cifar10"])
def test_copies_planted_among_photographs_are_found(name: str) -> None:
    if not (DATA / f"{name}-train.parquet").is_file():
        pytest.skip(f"{name} is not at hand (SELFSUP_DATA names the folder it is looked for in)")
    rows = pq.read_table(DATA / f"{name}-train.parquet")["image"][:80].to_pylist()
    files = [each["bytes"] for each in rows]
    draw, planted = random.Random(0), []
    for number, change in enumerate(KINDS.values()):
        for i in range(8 * number, 8 * number + 8):
            planted.append((i, len(files)))
            files.append(change(Image.open(io.BytesIO(files[i])).convert("RGB")))
    for i in draw.sample(range(40, 80), 8):
        planted.append((i, len(files)))
        files.append(files[i])
    found = inspect_data({"train": ImageFiles(files)})
    together = [int(found.component[a] == found.component[b]) for a, b in planted]
    assert sum(together) >= 0.95 * len(planted)
    assert all(found.exact[b] == a for a, b in planted[-8:])
    near = found.pairs.similarity >= found.threshold
    pairs = set(zip(found.pairs.first[near].tolist(), found.pairs.second[near].tolist(), strict=True))
    wrong = [pair for pair in pairs - set(planted) if pair[1] >= 80]
    assert len(wrong) <= 0.05 * len(planted)


def test_a_part_matches_where_it_was_cut_and_correlations_are_numpys() -> None:
    made = torch.Generator().manual_seed(0)
    whole = 20 * torch.randn(2, 32, 32, generator=made)
    part = 20 * torch.randn(2, 32, 32, generator=made)
    expected = [np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in zip(whole, part, strict=True)]
    torch.testing.assert_close(within(whole, part, [1.0]), torch.tensor(expected).float(), atol=1e-5, rtol=0)
    small = torch.nn.functional.interpolate(part[:, None], (16, 16), mode="bilinear", antialias=True)[:, 0]
    slid = max(
        np.corrcoef(whole[0, y : y + 16, x : x + 16].flatten(), small[0].flatten())[0, 1]
        for y in range(17)
        for x in range(17)
    )
    assert float(within(whole, part, [0.5])[0]) == pytest.approx(slid, abs=1e-5)
    assert float(similarity(whole, whole.flip(2)).min()) == pytest.approx(1, abs=1e-5)


def test_flat_images_match_nothing() -> None:
    grey = torch.full((3, 32, 32), 7, dtype=torch.uint8)
    flat = textures(grey)
    assert float(similarity(flat, flat).abs().max()) == 0
    found = inspect_data(
        {"train": ImageArray(torch.stack([torch.full((3, 20, 20), i) for i in range(30)]).byte())}
    )
    assert not len(found.pairs.first)
    assert not found.dropped.any()


def test_groups_chains_and_what_is_kept() -> None:
    assert same(["a", None, "a", "b", None]).tolist() == [0, 1, 0, 3, 4]
    pairs = Pairs(torch.tensor([0, 1, 3]), torch.tensor([1, 4, 5]), torch.tensor([0.9, 0.95, 0.5]), 0)
    assert joined(torch.arange(6), pairs, 0.88).tolist() == [0, 0, 2, 3, 0, 5]
    component = torch.tensor([0, 0, 0, 3, 3, 5])
    test = torch.tensor([False, False, False, False, True, True])
    # The largest picture, then the largest file, then the first; of 3 and 4 the test image.
    assert redundant(component, test, [4, 9, 9, 9, 1, 1], [1, 1, 2, 1, 1, 1]).tolist() == [
        True, True, False, True, False, False,
    ]  # fmt: skip
    assert not redundant(torch.arange(6), test, [1] * 6, [1] * 6).any()


def test_the_table_has_a_row_an_image_and_null_where_nothing_is_known() -> None:
    files, _, _ = planted()
    files = [*files, files[0], b"no image"]
    test = ImageFiles([encoded(scene(3)), encoded(scene(900))], names=["t0", "t1"])
    found = inspect_data({"train": ImageFiles(files), "test": test})
    rows = table(found).to_pylist()
    assert [row["position"] for row in rows] == [*range(82), 0, 1]
    assert [row["split"] for row in rows] == ["train"] * 82 + ["test"] * 2
    assert rows[80]["group"] == rows[0]["group"] == 0
    assert (rows[80]["kept"], rows[80]["similarity"]) == (False, 1.0)
    assert rows[81]["reason"]
    assert rows[81]["width"] is rows[81]["outlier"] is None
    assert rows[81]["kept"]  # nothing is said about what cannot be read
    assert (rows[3]["copy_of_test"], rows[3]["kept"]) == (True, False)
    assert (rows[82]["near"], rows[82]["kept"], rows[82]["copy_of_test"]) == (0, True, False)
    assert rows[83]["near"] is None
    assert (rows[5]["low"], rows[5]["high"]) == (min(scene(5).tobytes()), max(scene(5).tobytes()))
    assert rows[5]["mean"] == pytest.approx(np.asarray(scene(5)).mean(), abs=1e-3)


def test_too_few_or_unreadable_images_are_no_reason_to_stop() -> None:
    found = inspect_data({"train": ImageFiles([encoded(scene(0))])})
    assert found.cluster.tolist() == [0]
    assert not (found.strange > found.limit).any()
    empty = near_copies(
        torch.zeros(1, 3, 16, 16, dtype=torch.uint8), torch.zeros(1, 32, 32, dtype=torch.uint8)
    )
    assert not len(empty.first)
    with pytest.raises(UsageError, match="none of the 2 images can be read; the first"):
        inspect_data({"train": ImageFiles([b"", b"x"])})
