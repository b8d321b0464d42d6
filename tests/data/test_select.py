import numpy as np
import pytest
import torch

from selfsup.data import ImageArray, ImageFiles, load_data
from selfsup.data.select import balanced, choose, listed, long_tailed
from selfsup.errors import UsageError

from .images import encoded, noise
from .test_load import config


def source(n, split="train", labels=None):
    images = torch.zeros(n, 3, 4, 4, dtype=torch.uint8)
    classes = None if labels is None else [f"class {i}" for i in range(int(labels.max()) + 1)]
    return ImageArray(images, labels, classes, [f"{split}/{i}.png" for i in range(n)])


SPLITS = {"train": source(20), "test": source(10, "test"), "extra": source(4, "extra")}


def names(source):
    return [source.name(i) for i in range(len(source))]


def pick(splits=SPLITS, **settings):
    return choose(splits, settings)


def refused(splits=SPLITS, **settings):
    with pytest.raises(UsageError) as caught:
        choose(splits, settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_by_default_the_splits_are_taken_whole():
    assert pick() == (SPLITS["train"], SPLITS["test"])
    assert pick(train=None, test=None, indices=None, per_class=None) == (SPLITS["train"], SPLITS["test"])


def test_slices_are_disjoint_and_together_everything():
    train, test = pick(train="train[:90%]", test="train[90%:]")
    assert (len(train), len(test)) == (18, 2)
    assert sorted(names(train) + names(test)) == sorted(names(SPLITS["train"]))
    thirds = [names(pick(train=f"train[{a}:{b}]")[0]) for a, b in ((0, 7), (7, 14), (14, 20))]
    assert [len(third) for third in thirds] == [7, 7, 6]
    assert len({name for third in thirds for name in third}) == 20


def test_splits_are_joined_in_the_order_written():
    train, _ = pick(train="extra+train[:1]")
    assert names(train)[:4] == names(SPLITS["extra"])
    assert len(train) == 5
    assert len(pick(train="train", test="test[:5]+extra")[1]) == 9


def test_mistakes_in_splits():
    assert "did you mean 'train'" in refused(train="trian")
    assert "there are train, test, extra" in refused(test="xyz")
    assert "is empty, as train has 20 images" in refused(train="train[20:]")
    assert "share 10 images of the split 'train'" in refused(train="train", test="train[:10]")
    assert "share 10 images of the split 'test'" in refused(train="train+test")
    assert "share 2 images" in refused(train="train[:60%]", test="train[50%:]")


LABELS = torch.tensor([0, 1, 1, 2, 2, 2] * 40)


def test_balanced():
    rows = balanced(LABELS, 17)
    assert LABELS[rows].bincount().tolist() == [17, 17, 17]
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert set(balanced(LABELS, 5).tolist()) <= set(rows.tolist())
    assert balanced(LABELS, 5, seed=1).tolist() != balanced(LABELS, 5).tolist()
    with pytest.raises(UsageError, match=r"more than the 40 images of class 'a'; take data.per_class=40"):
        balanced(LABELS, 41, ["a", "b", "c"])
    for wrong in (0, -1, 1.5, True, "x"):
        with pytest.raises(UsageError, match="whole number above 0"):
            balanced(LABELS, wrong)
    # A class that a slice left without images asks for none.
    assert len(balanced(torch.tensor([0, 2, 0, 2]), 1)) == 2


@pytest.mark.parametrize("imbalance", [1, 10, 50, 100, 3.7])
def test_the_long_tail_is_that_of_the_paper(imbalance):
    labels = torch.arange(10).repeat(500)
    sizes = labels[long_tailed(labels, imbalance)].bincount(minlength=10).tolist()
    assert sizes == [int(500 * (1 / imbalance) ** (c / 9.0) + 1e-9) for c in range(10)]


def test_a_long_tail_of_uneven_classes_keeps_its_profile():
    sizes = LABELS[long_tailed(LABELS, 4)].bincount()
    assert sizes.tolist() == [40, 20, 10]
    assert long_tailed(torch.tensor([0, 0, 0]), 5).tolist() == [0, 1, 2]
    for wrong in (0.5, 0, "x", True, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="at least 1"):
            long_tailed(LABELS, wrong)
    with pytest.raises(UsageError, match=r"without images; take data.imbalance=40 or less"):
        long_tailed(LABELS, 41)
    long_tailed(LABELS, 40)


def test_choices_by_class_need_labels_and_exclude_each_other():
    labelled = {"train": source(240, labels=LABELS), "test": source(5, "test")}
    assert len(pick(labelled, per_class=3)[0]) == 9
    assert len(pick(labelled, imbalance=4)[0]) == 70
    assert len(pick(labelled, train="train[:50%]", per_class=3)[0]) == 9
    assert "both choose" in refused(labelled, per_class=3, imbalance=4)
    assert "has no labels" in refused(per_class=3)
    assert "has no labels" in refused(imbalance=10)


def test_lists_of_positions_and_of_names(tmp_path):
    whole = source(20)
    np.save(tmp_path / "a.npy", np.array([3, 1, 19], np.int32))
    (tmp_path / "a.txt").write_text("3\n1\n\n19\n")
    (tmp_path / "names.txt").write_text("3.png\ntrain/1.png\n19.png\n")
    for name in ("a.npy", "a.txt", "names.txt"):
        assert listed(whole, str(tmp_path / name)).tolist() == [3, 1, 19]
    assert names(pick(indices=str(tmp_path / "a.txt"))[0]) == ["train/3.png", "train/1.png", "train/19.png"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("20\n", "lists image 20, but there are 0 to 19"),
        ("1\n2\n1\n", "'train/1.png' more than once"),
        ("nowhere.png\n", "'nowhere.png' in .* means no image"),
        ("\n", "lists no images"),
    ],
)
def test_lists_that_do_not_fit(tmp_path, content, words):
    (tmp_path / "list.txt").write_text(content)
    with pytest.raises(UsageError, match=words):
        listed(source(20), str(tmp_path / "list.txt"))


def test_lists_that_cannot_be_read(tmp_path):
    (tmp_path / "list.txt").write_text("1")
    with pytest.raises(UsageError, match=r"there is no .*did you mean .*list\.txt"):
        listed(source(3), str(tmp_path / "lits.txt"))
    np.save(tmp_path / "a.npy", np.zeros((2, 2)))
    with pytest.raises(UsageError, match="not one row of whole numbers"):
        listed(source(3), str(tmp_path / "a.npy"))
    (tmp_path / "b.npy").write_text("no array")
    with pytest.raises(UsageError, match="cannot be read"):
        listed(source(3), str(tmp_path / "b.npy"))
    twice = ImageFiles([encoded(noise(0))] * 2, names=["a/1.png", "b/1.png"])
    (tmp_path / "names.txt").write_text("1.png")
    with pytest.raises(UsageError, match="means 2 images"):
        listed(twice, str(tmp_path / "names.txt"))


def test_choices_reach_any_source(tmp_path):
    train, test = load_data(config("digits", "data.train=train[:10%]+test", "data.test=train[10%:20%]"))
    assert (len(train), len(test)) == (130 + 500, 129)
    train, _ = load_data(config("digits", "data.per_class=7"))
    assert train.labels.bincount().tolist() == [7] * 10
    whole, _ = load_data(config("digits"))
    assert whole.labels.bincount().min() > 100
