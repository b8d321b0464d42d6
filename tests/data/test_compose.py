import pickle

import numpy as np
import pytest
import torch

from selfsup.data import ImageArray, ImageFiles
from selfsup.data.compose import concat, mix, mixed_counts, shuffled
from selfsup.data.source import in_memory, subset
from selfsup.errors import UsageError

from .images import encoded, noise, pixels


def array(n, first=0, labels=None, classes=None):
    images = torch.stack([torch.from_numpy(pixels(noise(first + i)).copy()) for i in range(n)])
    return ImageArray(images, labels, classes, [f"array {first + i}" for i in range(n)])


def files(n, first=0, labels=None, classes=None, size=8):
    images = [encoded(noise(first + i, size, size)) for i in range(n)]
    return ImageFiles(images, labels, classes, [f"file {first + i}" for i in range(n)])


@pytest.mark.parametrize("make", [array, files])
def test_a_subset_keeps_images_labels_and_names_together(make):
    source = make(5, labels=torch.arange(5), classes=list("abcde"))
    part = subset(subset(source, torch.tensor([4, 1, 3])), torch.tensor([2, 0, 0]))
    for i, row in enumerate([3, 4, 4]):
        assert (part[i].numpy() == pixels(noise(row))).all()
        assert part.labels[i] == row
        assert part.name(i) == source.name(row)
    assert part.classes == list("abcde")
    assert (pickle.loads(pickle.dumps(part))[1] == part[1]).all()


@pytest.mark.parametrize(
    "parts", [(array(3), array(2, 3)), (files(3), files(2, 3)), (array(3), files(2, 3)), (array(5),)]
)
def test_sources_in_a_row(parts):
    whole = concat(parts)
    assert len(whole) == 5
    assert isinstance(whole, ImageArray) == all(part.images is not None for part in parts)
    for i in range(5):
        assert (whole[i].numpy() == pixels(noise(i))).all()
        assert whole.name(i).split()[1] == str(i)
    taken = in_memory(whole)
    assert (taken.images.numpy() == np.stack([pixels(noise(i)) for i in range(5)])).all()


def test_sizes_that_differ_stay_apart():
    whole = concat([array(2), files(2, 2, size=9)])
    assert in_memory(whole) is whole
    assert whole[3].shape == (3, 9, 9)


def test_classes_of_one_name_are_one_class():
    one = array(3, labels=torch.tensor([0, 1, 1]), classes=["cat", "dog"])
    two = files(3, labels=torch.tensor([1, 0, 2]), classes=["eel", "cat", "fox"])
    whole = concat([one, two])
    assert [whole.classes[label] for label in whole.labels] == ["cat", "dog", "dog", "cat", "eel", "fox"]
    assert concat([one, array(2)]).labels is None
    assert concat([one, array(2)]).classes is None
    assert concat(
        [array(1, labels=torch.tensor([3])), array(1, labels=torch.tensor([1]))]
    ).labels.tolist() == [3, 1]
    mixed = concat([one, array(1, labels=torch.tensor([1]))])
    assert [mixed.classes[label] for label in mixed.labels] == ["cat", "dog", "dog", "1"]


@pytest.mark.parametrize(
    ("sizes", "weights"),
    [([2, 9], [1, 3]), ([100, 7, 31], [1, 1, 1]), ([5, 50], [0.9, 0.1]), ([4, 8], [1, 2])],
)
def test_a_mixture_holds_its_shares_and_loses_nothing(sizes, weights):
    starts = [0, *np.cumsum(sizes)]
    sources = [array(n, int(start)) for n, start in zip(sizes, starts, strict=False)]
    mixed = mix(sources, weights, list("abc")[: len(sizes)])
    names = [int(mixed.name(i).split()[1]) for i in range(len(mixed))]
    times = np.bincount(names, minlength=sum(sizes))
    for start, n, weight in zip(starts, sizes, weights, strict=False):
        part = times[start : start + n]
        assert part.min() >= 1
        assert part.max() - part.min() <= 1
        assert abs(part.sum() - len(mixed) * weight / sum(weights)) <= 1
    assert any((times[start : start + n] == 1).all() for start, n in zip(starts, sizes, strict=False))
    for i in (0, len(mixed) - 1):
        assert (mixed[i].numpy() == pixels(noise(names[i]))).all()


def test_a_mixture_is_the_same_each_time():
    sources = [array(3), array(7, 3)]
    first, second = (mix(sources, [1, 1], ["a", "b"]) for _ in range(2))
    assert [first.name(i) for i in range(len(first))] == [second.name(i) for i in range(len(second))]


@pytest.mark.parametrize("weight", [0, -1, "much", True, float("nan"), float("inf"), None])
def test_weights_that_are_none(weight):
    with pytest.raises(UsageError, match="'b' has to be a number above 0"):
        mix([array(2), array(2)], [1, weight], ["a", "b"])


def test_an_epoch_without_end():
    with pytest.raises(UsageError, match="'b' has 3 and a weight of only 1e-12"):
        mix([array(2), array(3)], [1, 1e-12], ["a", "b"])
    assert mixed_counts([1, 1], [1, 1000]) == [1, 1000]


def test_the_shuffle_is_a_permutation_that_growth_leaves_in_order():
    for n in (1, 2, 10, 1000):
        order = shuffled(n, seed=3)
        assert order.sort().values.tolist() == list(range(n))
        longer = shuffled(n + 5, seed=3).tolist()
        assert [i for i in longer if i < n] == order.tolist()
    assert shuffled(1000, 0).tolist() != shuffled(1000, 1).tolist()


def test_the_shuffle_is_that_of_splitmix64():
    def draw(state):
        z = state * 0x9E3779B97F4A7C15 % 2**64
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return z ^ (z >> 31)

    assert draw(1) == 0xE220A8397B1DCDAF  # the first number of the published generator at seed 0
    assert shuffled(50).tolist() == sorted(range(50), key=lambda i: draw(i + 1))


def test_a_shuffled_slice_of_sorted_classes_has_them_all():
    labels = torch.arange(10).repeat_interleave(100)
    counts = labels[shuffled(1000)[:500]].bincount(minlength=10)
    assert counts.min() > 35
