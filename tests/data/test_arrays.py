import numpy as np
import pytest
import torch

from selfsup.data import arrays, from_arrays
from selfsup.errors import UsageError

RANDOM = np.random.default_rng(0)
COLOUR = RANDOM.integers(0, 256, (6, 3, 5, 7), dtype=np.uint8)


@pytest.mark.parametrize("kind", [lambda x: x, torch.from_numpy], ids=["numpy", "torch"])
def test_every_shape_means_the_same_images(kind):
    last = np.ascontiguousarray(COLOUR.transpose(0, 2, 3, 1))
    assert (from_arrays(kind(COLOUR)).images.numpy() == COLOUR).all()
    assert (from_arrays(kind(last)).images.numpy() == COLOUR).all()
    grey = COLOUR[:, 0]
    for same in (grey, grey[:, None], grey[..., None]):
        images = from_arrays(kind(np.ascontiguousarray(same))).images.numpy()
        assert (images == grey[:, None]).all()
        assert images.shape == COLOUR.shape


def test_floats_are_scaled_and_rounded():
    for kind in (np.float16, np.float32, np.float64):
        assert (from_arrays((COLOUR / 255).astype(kind)).images.numpy() == COLOUR).all()
    assert from_arrays(torch.ones(1, 3, 4, 4, dtype=torch.bfloat16)).images.unique().tolist() == [255]


def test_arrays_of_any_layout():
    assert (from_arrays(COLOUR[:, :, ::-1]).images.numpy() == COLOUR[:, :, ::-1]).all()
    frozen = COLOUR.copy()
    frozen.flags.writeable = False
    assert (from_arrays(frozen).images.numpy() == COLOUR).all()
    assert (from_arrays((COLOUR / 255).astype(">f4")).images.numpy() == COLOUR).all()


def test_labels_are_numbered_without_gaps():
    source = from_arrays(COLOUR, [7, 2, 7, 10, 2, 2])
    assert [source.classes[label] for label in source.labels] == ["7", "2", "7", "10", "2", "2"]
    assert source.classes == ["2", "7", "10"]
    assert from_arrays(COLOUR, list("abacca")).labels.tolist() == [0, 1, 0, 2, 2, 0]
    named = from_arrays(COLOUR, torch.tensor([0, 2, 0, 0, 2, 2]), classes=["x", "y", "z"])
    assert (named.labels.tolist(), named.classes) == ([0, 2, 0, 0, 2, 2], ["x", "y", "z"])
    assert from_arrays(COLOUR).labels is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((COLOUR.astype(np.int64),), "not int64"),
        ((COLOUR.astype(float),), "go from 0 to 255; scale them"),
        ((np.full((1, 3, 2, 2), np.nan),), "go from nan"),
        ((COLOUR[0, 0],), r"not \(5, 7\)"),
        ((np.zeros((2, 4, 8, 8), np.uint8),), r"not \(2, 4, 8, 8\)"),
        ((COLOUR[:0],), "N > 0"),
        ((np.array(["a"]),), "not <U1"),
        ((COLOUR, [1, 2]), r"labels of shape \(6,\), not \(2,\)"),
        ((COLOUR, [[1]] * 6), r"not \(6, 1\)"),
        ((COLOUR, [0.5] * 6), "integers or text"),
        ((COLOUR, [None] * 6), "integers or text"),
        ((COLOUR, [0, 1, -1, 0, 0, 0]), "image 2 has the label -1"),
        ((COLOUR, [0, 1, 2, 0, 0, 0], ["a", "b"]), "there is 2"),
        ((COLOUR, list("abacca"), ["a", "b"]), "these are text"),
        ((COLOUR, None, ["a", "b"]), "there are no labels"),
    ],
)
def test_mistakes_are_told(given, words):
    with pytest.raises(UsageError, match=words):
        from_arrays(*given)


def test_files(tmp_path):
    np.save(tmp_path / "x.npy", np.repeat(COLOUR, 4, 0))
    np.save(tmp_path / "y.npy", np.array(["a", "b"] * 12))
    train, test = arrays(str(tmp_path / "x.npy"), str(tmp_path / "y.npy"), test_fraction=0.25)
    assert train.labels.bincount().tolist() == [9, 9]
    assert test.labels.bincount().tolist() == [3, 3]
    train, test = arrays(str(tmp_path / "x.npy"), None, test_fraction=0.25)
    assert (len(train), len(test), train.labels) == (18, 6, None)


def test_files_that_are_none(tmp_path):
    def sentence(images, labels=None):
        with pytest.raises(UsageError) as caught:
            arrays(str(images), None if labels is None else str(labels), test_fraction=0.5)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    good = tmp_path / "good.npy"
    np.save(good, COLOUR)
    assert "did you mean" in sentence(tmp_path / "god.npy")
    assert "data.labels_file: there is no file" in sentence(good, tmp_path / "no.npy")
    (tmp_path / "text.npy").write_text("text")
    assert "is not a .npy file" in sentence(tmp_path / "text.npy")
    np.save(tmp_path / "objects.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    assert "is not a .npy file" in sentence(tmp_path / "objects.npy")
    np.savez(tmp_path / "many.npz", x=COLOUR, y=COLOUR)
    assert "archive of x, y" in sentence(tmp_path / "many.npz")
    np.save(tmp_path / "one.npy", COLOUR[:1])
    assert "only 1 image" in sentence(tmp_path / "one.npy")
    np.save(tmp_path / "each.npy", np.arange(6))
    assert "single image" in sentence(good, tmp_path / "each.npy")
