"""The space in which images are compared."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.decomposition import PCA

from selfsup.curation.space import PIXELS, space_of, spaces_of
from selfsup.data import ImageArray, ImageFiles
from selfsup.encoder import build_encoder
from selfsup.errors import UsageError
from selfsup.evaluation.features.images import fit
from tests.data.images import encoded


def noise(count: int, side: int = 20, seed: int = 0) -> torch.Tensor:
    made = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 3, side, side), dtype=torch.uint8, generator=made)


def test_pixels_are_projected_on_the_components_of_the_first_source() -> None:
    train, test = noise(300), noise(40, seed=1)
    spaces = spaces_of({"train": ImageArray(train), "test": ImageArray(test)}, None)
    small, other = (fit(images, 16).flatten(1).numpy() / np.float32(255) for images in (train, test))
    peer = PCA(128, svd_solver="full").fit(small)
    for split, rows in (("train", small), ("test", other)):
        # A component's sign is free.
        torch.testing.assert_close(
            spaces[split].x.abs(), torch.from_numpy(peer.transform(rows)).float().abs(), atol=2e-3, rtol=0
        )
    assert spaces["train"].name == PIXELS


def test_rows_are_positions_and_unreadable_images_are_listed() -> None:
    files = [encoded(Image.fromarray(image.permute(1, 2, 0).numpy())) for image in noise(5)]
    files[2] = b"no image"
    space = space_of(ImageFiles(files, names=list("abcde")), None)
    assert space.rows.tolist() == [0, 1, 3, 4]
    assert len(space) == 4
    assert [name for name, _ in space.skipped] == ["c"]
    with pytest.raises(UsageError, match="none of the images of 'train' can be read; the first, 'a'"):
        space_of(ImageFiles([b"no image"] * 3, names=list("abc")), None)


def test_an_encoder_makes_the_features_and_names_them() -> None:
    encoder = build_encoder("resnet10_small", image_size=16)
    images = noise(6)
    space = space_of(ImageArray(images), encoder, batch_size=4)
    unit = (fit(images, 16).float() / 255 - torch.tensor(encoder.mean).view(-1, 1, 1)) / torch.tensor(
        encoder.std
    ).view(-1, 1, 1)
    with torch.inference_mode():
        torch.testing.assert_close(space.x, encoder.eval()(unit), atol=1e-4, rtol=1e-4)
    assert space.name == "resnet10_small"
