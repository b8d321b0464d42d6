"""Who belongs with whom: relations as functions of positions, and the settings that ask for them."""

from typing import Any

import pytest
import torch

from selfsup.data import ImageArray
from selfsup.data.relations import Edges, Oracle, SameLabel, make_relation, some_labels
from selfsup.errors import UsageError
from tests.methods.building import composed

EVERY = torch.arange(60)
LABELS = torch.arange(60) % 4


def source(labelled: bool = True) -> ImageArray:
    return ImageArray(torch.zeros(60, 3, 8, 8, dtype=torch.uint8), LABELS if labelled else None)


def random_edges(seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 60, (40, 2), generator=torch.Generator().manual_seed(seed))


def test_images_of_one_class_belong_together() -> None:
    assert torch.equal(SameLabel(LABELS)(EVERY, EVERY), LABELS[:, None] == LABELS)


def test_edges_hold_both_ways_whatever_their_order() -> None:
    ends = random_edges()
    expected = torch.eye(60, dtype=torch.bool)
    expected[ends[:, 0], ends[:, 1]] = expected[ends[:, 1], ends[:, 0]] = True
    for same in (ends, ends.flip(0), ends.flip(1), torch.cat([ends, ends[:7].flip(1)])):
        relation = Edges(same, 60)
        assert torch.equal(relation(EVERY, EVERY), expected)
        assert relation.fingerprint() == Edges(ends, 60).fingerprint()
    assert Edges(random_edges(1), 60).fingerprint() != Edges(ends, 60).fingerprint()


def test_rows_of_a_relation_are_those_of_the_whole() -> None:
    for relation in (Edges(random_edges(), 60), SameLabel(LABELS), Oracle(LABELS, 0.3, 0)):
        whole = relation(EVERY, EVERY)
        rows = torch.tensor([7, 7, 59, 0])
        assert torch.equal(relation(rows, EVERY), whole[rows])
        assert torch.equal(whole, whole.T)


@pytest.mark.parametrize("relation", [SameLabel(LABELS), Edges(random_edges(), 60)])
def test_partners_are_all_that_belong_with_an_image_equally_often(relation: Any) -> None:
    whole = relation(EVERY, EVERY) & ~torch.eye(60, dtype=torch.bool)
    counts = torch.zeros(60, 60)
    draws = torch.arange(1200) / 1200
    for i in range(60):
        found = relation.partner(torch.full((1200,), i), draws)
        counts[i] = found.bincount(minlength=60).float()
    alone = ~whole.any(1)
    assert not counts[~alone].logical_and(~whole[~alone]).any()
    expected = whole.float() / whole.sum(1, keepdim=True).clamp(min=1) * 1200
    assert torch.allclose(counts[~alone], expected[~alone], atol=2)
    assert torch.equal(relation.connected(), (~alone).nonzero().flatten())


def test_an_image_that_belongs_with_no_other_is_its_own_partner() -> None:
    relation = Edges(torch.tensor([[0, 1]]), 4)
    assert relation.partner(torch.arange(4), torch.full((4,), 0.99)).tolist() == [1, 0, 2, 3]
    labels = SameLabel(torch.tensor([0, -1, 1, 0]))
    assert labels.partner(torch.arange(4), torch.full((4,), 0.99)).tolist() == [3, 1, 2, 0]


def test_a_share_of_the_labels_is_of_each_class_and_the_same_every_time() -> None:
    known = some_labels(LABELS, 0.2, 0)
    assert known[known >= 0].bincount().tolist() == [3, 3, 3, 3]
    assert torch.equal(known[known >= 0], LABELS[known >= 0])
    assert torch.equal(known, some_labels(LABELS, 0.2, 0))
    assert not torch.equal(known, some_labels(LABELS, 0.2, 1))
    related = SameLabel(known)(EVERY, EVERY)
    assert not related[known < 0].logical_and(~torch.eye(60, dtype=torch.bool)[known < 0]).any()


def test_an_oracle_answers_for_its_share_of_the_pairs() -> None:
    labels = torch.zeros(400, dtype=torch.int64)
    every = torch.arange(400)
    related = Oracle(labels, 0.1, 0)(every, every)
    share = (related.sum() - 400) / (400 * 399)
    assert float(share) == pytest.approx(0.1, abs=0.005)
    apart = Oracle(torch.arange(400) % 2, 1.0, 0)(every, every)
    assert torch.equal(apart, (every[:, None] - every) % 2 == 0)


@pytest.mark.parametrize("relation", [SameLabel(some_labels(LABELS, 0.5, 0)), Oracle(LABELS, 0.3, 0)])
def test_the_pairs_expected_in_a_batch_are_those_of_random_batches(relation: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(2000):
        batch = torch.randperm(60, generator=generator)[:8]
        found.append((int(relation(batch, batch).sum()) - 8) / 2)
    assert sum(found) / len(found) == pytest.approx(relation.pairs_in(8), rel=0.15)


@pytest.mark.parametrize(
    ("settings", "labelled", "words"),
    [
        (
            ("positives=labels",),
            False,
            "positives=labels needs labels, which the images to learn from do not",
        ),
        (("positives=oracle",), False, "positives=oracle needs labels"),
        (("positives=edges",), True, "needs pairs of images; add data.pairs=FILE"),
        (
            ("method=byol", "views.second.of=pair"),
            True,
            "views.second.of=pair needs to know which images belong",
        ),
        (("positives=labels", "data.pairs=p.csv"), True, "positives=labels does not use it"),
        (("data.pairs=p.csv",), True, "data.pairs is given and nothing uses it; add positives=edges"),
        (("positives=labels", "positives.share=0.01"), True, "no two images to learn from belong together"),
        (
            ("positives=oracle", "positives.share=0.0001"),
            True,
            "a batch of 16 has 0.0028 such pairs on average",
        ),
    ],
)
def test_what_cannot_be_is_refused(settings: tuple[str, ...], labelled: bool, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make_relation(composed("method=simclr", *settings), source(labelled), source(), 16)


def test_a_relation_is_told(tmp_path: Any) -> None:
    (tmp_path / "p.csv").write_text("a,b\n0,1\n1,2\n")
    train = source()
    config = composed("method=simclr", "positives=edges", f"data.pairs={tmp_path / 'p.csv'}")
    relation = make_relation(config, train, source(), 60)
    assert isinstance(relation, Edges)
    assert train.decisions.lines() == ["2 pairs of 3 images belong together, of 60"]
    assert make_relation(composed("method=simclr"), train, source(), 60) is None
