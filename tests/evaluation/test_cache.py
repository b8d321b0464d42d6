import os
import threading

import pytest
import torch

from selfsup.data import ImageArray, ImageFiles
from selfsup.evaluation import evaluate
from selfsup.evaluation.features.cache import Cache, default_folder, identity, load, save, trim
from selfsup.evaluation.features.extract import Extracted
from tests.evaluation.toys import OnDemand, ToyEncoder, coloured

PROTOCOLS = {
    "ridge": {
        "_target_": "selfsup.evaluation.classifiers.ridge.score",
        "strengths": [1.0, 0.01],
        "holdout": 0.2,
        "seed": 0,
    }
}


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "features", 1.0)


class Counting(ToyEncoder):
    """Counts the images that it is shown."""

    shown = 0

    def forward(self, images):
        Counting.shown += len(images)
        return super().forward(images)


def judge(cache, train, test, encoder=None, **settings):
    data = {"name": "toy", "max_unreadable": 0.5}
    Counting.shown = 0
    encoder = encoder or Counting()
    return evaluate(encoder, train, test, data, protocols=PROTOCOLS, cache=cache, **settings)


def on_demand(samples):
    source = OnDemand(samples, broken=(2,))
    source.files = source.pictures
    return source


def test_the_second_time_no_image_is_encoded_and_nothing_changes(cache):
    sources = coloured(40), coloured(20, seed=1)
    first = judge(cache, *sources)
    assert Counting.shown == 60
    second = judge(cache, *sources)
    assert Counting.shown == 0
    assert first == second == judge(None, *sources)


def test_images_that_were_skipped_are_remembered_and_pixels_are_kept_as_bytes(cache):
    sources = on_demand(30), on_demand(12)
    first = judge(cache, *sources)
    assert first["skipped"] == {
        "train": [["picture 2", "it is empty"]],
        "test": [["picture 2", "it is empty"]],
    }
    assert judge(cache, *sources) == first
    assert Counting.shown == 0
    # Of encoder, untrained and pixels, each split has an entry; one byte a pixel, four a feature.
    sizes = sorted(entry.stat().st_size for entry in cache.folder.glob("*.safetensors"))
    assert len(sizes) == 6
    assert any(29 * 3 * 8 * 8 < size < 2 * 29 * 3 * 8 * 8 for size in sizes)


def test_what_features_depend_on_makes_another_entry(cache):
    train, test = coloured(40), coloured(20, seed=1)
    other = ImageArray(train.images.clone(), train.labels)
    other.images[7, 0, 0, 0] += 1
    judge(cache, train, test, controls=False)
    for encoder, images, settings, expected in (
        (Counting(), other, {}, 40),
        (Counting(seed=5), train, {}, 60),
        (Counting(), train, {"precision": "bfloat16"}, 60),
    ):
        judge(cache, images, test, encoder, controls=False, **settings)
        assert Counting.shown == expected
    smaller = Counting()
    smaller.mean = (0.5, 0.5, 0.5)
    judge(cache, train, test, smaller, controls=False)
    assert Counting.shown == 60
    # Labels change no feature.
    train.labels = train.labels.roll(1)
    judge(cache, train, test, controls=False)
    assert Counting.shown == 0


def test_identity_sees_content_order_and_files_that_changed(tmp_path):
    pictures = [torch.full((3, 4, 4), i, dtype=torch.uint8) for i in range(4)]
    assert identity(ImageFiles(pictures)) == identity(ImageFiles([p.clone() for p in pictures]))
    assert identity(ImageFiles(pictures)) != identity(ImageFiles(pictures[::-1]))
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path in paths[:2]:
        path.write_bytes(b"abc")
    before = identity(ImageFiles(paths))
    assert before == identity(ImageFiles(paths))
    os.utime(paths[0], (1, 1))
    changed = identity(ImageFiles(paths))
    paths[2].write_bytes(b"abc")
    assert len({before, changed, identity(ImageFiles(paths))}) == 3


def test_an_entry_is_memory_mapped_and_survives_being_changed_in_memory(cache):
    x, samples = torch.randn(50_000, 40), torch.arange(50_000)
    save(cache, "a", Extracted(x, samples), [("one", "broken")])
    found, skipped = load(cache, "a")
    assert skipped == [("one", "broken")]
    assert torch.equal(found.x, x)
    with open("/proc/self/maps") as maps:
        assert any("a.safetensors" in line for line in maps)
    found.x.zero_()
    assert torch.equal(load(cache, "a")[0].x, x)


def test_a_damaged_entry_is_as_good_as_absent(cache):
    save(cache, "a", Extracted(torch.ones(3, 2), torch.arange(3)), [])
    path = cache.folder / "a.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    assert load(cache, "a") is None
    assert load(cache, "b") is None


def test_a_reason_is_kept(cache):
    save(cache, "a", Extracted(torch.empty(0, 0), torch.empty(0, dtype=torch.int64), "no such part"), [])
    assert load(cache, "a")[0].reason == "no such part"


def test_writers_at_the_same_time_leave_whole_entries_and_nothing_else(cache):
    tensors = [torch.full((20_000,), float(i)).view(-1, 4) for i in range(4)]
    torn = []

    def write(i):
        for _ in range(5):
            save(cache, "same", Extracted(tensors[i], torch.arange(5000)), [])
            found, _ = load(cache, "same")
            torn.extend([found] if (found.x != found.x[0, 0]).any() else [])

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not torn
    assert [entry.name for entry in cache.folder.iterdir()] == ["same.safetensors"]


def test_entries_unused_for_longest_go_first_and_old_halves_with_them(cache):
    for age, name in enumerate("abcd"):
        save(cache, name, Extracted(torch.randn(1000, 25), torch.arange(1000)), [])
        os.utime(cache.folder / f"{name}.safetensors", (1000 + age,) * 2)
    load(cache, "a")
    (cache.folder / "x.part").write_bytes(b"")
    (cache.folder / "y.part").write_bytes(b"")
    os.utime(cache.folder / "x.part", (1, 1))
    trim(Cache(cache.folder, 2.5 * 108_000 / 1e9))
    assert sorted(entry.name for entry in cache.folder.iterdir()) == [
        "a.safetensors",
        "d.safetensors",
        "y.part",
    ]


def test_where_it_lives(monkeypatch, tmp_path):
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.delenv("SELFSUP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert str(default_folder()) == "/elsewhere/selfsup/features"
