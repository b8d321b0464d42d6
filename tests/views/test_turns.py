"""Turned views: by which quarters, drawn how, and that nothing else of a view is drawn anew."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from selfsup.errors import UsageError
from selfsup.views import ViewPlan
from selfsup.views.image.geometry import turned

from .test_parity import RECIPE, skip_without_compiler

N = 4000
INDEX = torch.arange(N)
EVERYTHING = RECIPE | {"noise": 0.05, "drop": 0.2}


def plan_of(turn: str, size: Any = 16, native: bool = False, **settings: Any) -> ViewPlan:
    kinds = {"each": EVERYTHING | {"count": 2, "turn": turn} | settings}
    return ViewPlan(kinds, size, [0.4, 0.5, 0.6], [0.2, 0.25, 0.3], seed=3, native=native)


def views_of(plan: ViewPlan, n: int = 40) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 3, 20, 24), dtype=torch.uint8, generator=generator)
    return plan({"image": images, "index": INDEX[:n]}, 1)


def by_hand(view: torch.Tensor, label: int, quadrant: bool) -> torch.Tensor:
    """A view (C, side, side) turned as numpy does it, one image at a time."""
    made = view.numpy().copy()
    half = view.shape[1] // 2
    down, across = divmod(label // 4, 2) if quadrant else (0, 0)
    rows, columns = (slice(k * half, (k + 1) * half) if quadrant else slice(None) for k in (down, across))
    made[:, rows, columns] = np.rot90(made[:, rows, columns], label % 4, (1, 2))
    return torch.from_numpy(made)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (6, [[0, 1, 7, 6], [4, 5, 3, 2], [8, 9, 10, 11], [12, 13, 14, 15]]),
        (9, [[0, 1, 2, 3], [4, 5, 6, 7], [9, 13, 10, 11], [8, 12, 14, 15]]),
    ],
)
def test_a_quadrant_is_turned_as_lorot_does(label: int, expected: list[list[int]]) -> None:
    image = torch.arange(16.0).view(1, 1, 4, 4)
    assert turned(image, torch.tensor([label]), quadrant=True)[0, 0].tolist() == expected


@pytest.mark.parametrize("quadrant", [False, True])
def test_all_turns_are_numpys(quadrant: bool) -> None:
    labels = torch.arange(16 if quadrant else 4)
    views = torch.randn(len(labels), 3, 6, 6, generator=torch.Generator().manual_seed(0))
    before = views.clone()
    for view, label, made in zip(views, labels, turned(views, labels, quadrant), strict=True):
        assert torch.equal(made, by_hand(view, int(label), quadrant))
    assert torch.equal(views, before)


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("turn", ["whole", "quadrant"])
def test_a_turned_view_is_the_view_without_a_turn_turned_as_drawn(turn: str, native: bool) -> None:
    """So no other draw depends on it, and the label is the turn, natively and not."""
    if native:
        skip_without_compiler()
    plan = plan_of(turn, native=native)
    upright, made = views_of(plan_of("none", native=native)), views_of(plan)
    for number, (before, after) in enumerate(zip(upright, made, strict=True)):
        assert after.is_contiguous(memory_format=torch.channels_last)
        drawn = plan.drawn(number, INDEX[:40], 1, 20, 24)
        assert len(drawn["turn"].unique()) > 3
        for one, label, other in zip(before, drawn["turn"].tolist(), after, strict=True):
            assert torch.equal(other, by_hand(one.contiguous(), label, turn == "quadrant"))
        straight = plan_of("none").drawn(number, INDEX[:40], 1, 20, 24)
        assert all(torch.equal(drawn[key], straight[key]) for key in straight if key != "turn")


@pytest.mark.parametrize(("turn", "ways"), [("none", 1), ("whole", 4), ("quadrant", 16)])
def test_turns_are_uniform_and_those_of_views_independent(turn: str, ways: int) -> None:
    plan = plan_of(turn)
    first, second = (plan.drawn(number, INDEX, 0, 20, 24)["turn"] for number in (0, 1))
    assert first.dtype == torch.int64
    assert len(first.bincount()) == ways
    if ways > 1:
        assert chisquare(first.bincount().numpy()).pvalue > 1e-6
        both = (ways * first + second).bincount(minlength=ways**2)
        assert chisquare(both.numpy()).pvalue > 1e-6
        assert not torch.equal(first, plan.drawn(0, INDEX, 1, 20, 24)["turn"])  # of another epoch
    halves = [plan.turns(0, part, 0) for part in INDEX.split(N // 2)]
    assert torch.equal(torch.cat(halves), first)


@pytest.mark.parametrize(
    ("turn", "size", "words"),
    [
        ("quarter", 16, "turn=quarter must be none, whole or quadrant"),
        ("whole", [16, 24], "turn=whole is for square views, and these are of 16 x 24 px"),
        ("quadrant", [16, 24], "turn=quadrant is for square views"),
        ("quadrant", 15, "an even side, and these are of 15 px; take size=16"),
    ],
)
def test_what_cannot_be_turned_is_refused(turn: str, size: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        plan_of(turn, size)


def test_an_odd_view_can_be_turned_as_a_whole() -> None:
    assert plan_of("whole", 15).sizes == [(15, 15)] * 2
