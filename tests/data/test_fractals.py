import pickle

import numpy as np
import pytest
import torch

from selfsup.data import fractals
from selfsup.data.sources.fractals import LARGEST, attractor, random_system
from selfsup.errors import UsageError

SYSTEMS = [random_system(np.random.default_rng(seed)) for seed in range(200)]


def made(**changes):
    given = {"length": 60, "test_length": 10, "systems": 5, "objects": 2, "size": 24, "seed": 0}
    return fractals(**given | changes)


def test_every_map_contracts_and_together_they_fill_the_plane_as_the_paper_asks():
    counts = set()
    for system in SYSTEMS:
        sigma = np.linalg.svd(system.A, compute_uv=False)
        counts.add(len(sigma))
        assert sigma.max() <= LARGEST + 1e-12
        total = (sigma @ [1, 2]).sum()
        assert (5 + len(sigma)) / 2 - 1e-9 <= total <= (6 + len(sigma)) / 2 + 1e-9
        assert np.abs(system.b).max() <= 1
        assert system.p.sum() == pytest.approx(1)
        assert system.p.min() > 0
    assert counts == set(range(2, 9))
    assert {bool(np.linalg.det(A) > 0) for system in SYSTEMS for A in system.A} == {True, False}


def test_maps_are_applied_as_often_as_their_area_says():
    system = SYSTEMS[3]
    area = np.abs(np.linalg.det(system.A))
    large = area > area.max() / 50
    assert system.p[large] / system.p[large].sum() == pytest.approx(area[large] / area[large].sum())
    _, maps = attractor(system, 60_000, np.random.default_rng(0))
    assert np.bincount(maps, minlength=len(area)) / len(maps) == pytest.approx(system.p, abs=0.01)


def test_points_lie_on_the_attractor():
    for system in SYSTEMS[:20]:
        points, maps = attractor(system, 1200, np.random.default_rng(1))
        sigma = np.linalg.svd(system.A, compute_uv=False).max()
        assert np.linalg.norm(points, axis=0).max() <= np.sqrt(2) / (1 - sigma) + 1e-9
        # The attractor is the union of its images: each point is its map's image of a point of the attractor.
        others, _ = attractor(system, 60_000, np.random.default_rng(2))
        spread = np.ptp(others, axis=1).max()
        for i in range(0, 1200, 100):
            A, b = system.A[maps[i]], system.b[maps[i]]
            images = A @ others + b[:, None]
            assert np.linalg.norm(images - points[:, i, None], axis=0).min() < 0.1 * spread


def test_pictures_are_the_same_each_time_and_in_every_process():
    train, test = made()
    again, _ = made()
    for i in (0, 7, 59):
        assert (train[i] == again[i]).all()
        assert (train[i] == pickle.loads(pickle.dumps(train))[i]).all()
    assert train[0].dtype == torch.uint8
    assert len({train[i].numpy().tobytes() for i in range(60)}) == 60
    assert (train[0] != test[0]).any()
    assert (train[0] != made(seed=1)[0][0]).any()


def test_the_label_is_the_system_whatever_the_length():
    train, test = made()
    assert train.labels.tolist() == [i % 5 for i in range(60)]
    assert test.labels.tolist() == [i % 5 for i in range(10)]
    longer, _ = made(length=10_000_000)
    assert (longer[59] == train[59]).all()
    assert longer.name(9_999_999) == "fractal 9999999"
    with pytest.raises(IndexError):
        train.files[60]


def test_pictures_of_a_system_are_told_from_others_by_their_shape():
    """Colours, place and turn are random; what is left is how densely the fractal fills its circle."""

    def shape(image):
        grey = image.float().max(0).values
        edges = (grey[1:, 1:] - grey[:-1, :-1]).abs().flatten().sort().values
        return edges[:: len(edges) // 16]

    train, _ = made(length=200, objects=1, size=48)
    shapes = torch.stack([shape(train[i]) for i in range(200)])
    learn, ask = slice(0, 150), slice(150, 200)
    nearest = torch.cdist(shapes[ask], shapes[learn]).argmin(1)
    hits = (train.labels[learn][nearest] == train.labels[ask]).float().mean()
    assert hits > 0.4  # chance is 0.2


def test_colours_differ_where_the_system_does_not():
    train, _ = made(length=50, systems=1, objects=1)
    means = torch.stack([train[i].float().mean((1, 2)) for i in range(50)])
    assert train.labels.unique().tolist() == [0]
    assert (means.std(0) > 10).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"length": 1}, r"data\.length has to be at least 2"),
        ({"test_length": 0}, r"data\.test_length"),
        ({"systems": 0}, r"data\.systems"),
        ({"objects": 0}, r"data\.objects"),
        ({"size": 4}, r"data\.image_size"),
        ({"seed": -1}, r"data\.seed"),
    ],
)
def test_numbers_that_are_too_small(change, words):
    with pytest.raises(UsageError, match=words):
        made(**change)
