"""Properties of the mask samplers over thousands of draws."""

import pytest
import torch
from torch import Tensor

from selfsup.objectives import (
    MASKS,
    block_masks,
    blockwise_mask,
    connected_mask,
    default_context_size,
    inverse_block_mask,
    random_mask,
    target_shapes,
)
from selfsup.objectives.masks import MaskSampler

GRIDS = [(6, 6), (8, 8), (14, 14), (4, 10)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def covered(patches: Tensor, length: int) -> Tensor:
    """(..., n, k) indices -> (n, length) bool, whether a patch is in any of a sample's lists."""
    lists = patches.reshape(-1, *patches.shape[-2:])
    return torch.stack([torch.zeros(x.shape[0], length).scatter(1, x, 1) for x in lists]).amax(0) > 0


def draws(grid: tuple[int, int], calls: int = 40, n: int = 100, **settings: object) -> tuple[Tensor, Tensor]:
    """(calls * n, H * W) bool: is a patch in the context, in a target."""
    source, length = generator(), grid[0] * grid[1]
    found = [block_masks(n, grid, source, **settings) for _ in range(calls)]  # type: ignore[arg-type]
    context, target = (torch.cat([covered(pair[i], length) for pair in found]) for i in (0, 1))
    return context, target


@pytest.mark.parametrize(
    ("length", "ratio", "kept"),
    [
        *[(100, 0.8, 20), (10, 0.9, 1), (100, 0.9, 10), (196, 0.75, 49), (7, 0.0, 7)],
        *[(5, 0.5, 2), (7, 0.5, 3), (9, 0.5, 4), (6, 0.75, 1), (51, 0.75, 12)],  # as in the published code
    ],
)
def test_random_mask_keeps_the_stated_number(length: int, ratio: float, kept: int) -> None:
    keep, mask = random_mask(33, (1, length), ratio, generator())
    assert keep.shape == (33, kept)
    assert keep.dtype == torch.int64
    assert (keep.diff(dim=1) > 0).all()
    assert torch.equal(covered(keep, length), ~mask)


def test_random_mask_keeps_what_the_published_code_would_without_rounding_errors() -> None:
    for percent in range(100):
        for length in (5, 36, 49, 100, 196):
            kept = length * (100 - percent) // 100
            if kept:
                assert random_mask(1, (1, length), percent / 100, generator())[0].shape == (1, kept)


def test_random_mask_hides_every_patch_equally_often() -> None:
    _, mask = random_mask(20000, (6, 6), 0.75, generator())
    share = mask.double().mean(0)
    deviation = (0.75 * 0.25 / 20000) ** 0.5
    assert (share - 0.75).abs().max() < 4.5 * deviation
    pairs = (mask.double().T @ mask.double()) / 20000
    expected = 27 / 36 * 26 / 35
    assert (pairs - pairs.diag().diag())[~torch.eye(36, dtype=torch.bool)].sub(expected).abs().max() < 0.02


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, (2, 5), 0.5), "n must be at least 1"),
        ((4, (0, 5), 0.5), r"grid must be \(rows, columns\) of at least two patches"),
        ((4, (2, 5), 1.0), "ratio must be at least 0 and below 1"),
        ((4, (2, 5), -0.1), "ratio must be at least 0 and below 1"),
        ((4, (2, 5), 0.97), "ratio must leave at least one of 10 patches"),
    ],
)
@pytest.mark.parametrize("sampler", MASKS.values())
def test_mask_samplers_refuse(
    sampler: MaskSampler, arguments: tuple[int, tuple[int, int], float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        sampler(*arguments, generator())


@pytest.mark.parametrize("sampler", MASKS.values())
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.6, 0.9])
def test_what_is_kept_is_what_is_not_hidden(
    sampler: MaskSampler, grid: tuple[int, int], ratio: float
) -> None:
    keep, mask = sampler(30, grid, ratio, generator())
    assert keep.dtype == torch.int64
    assert (keep.diff(dim=1) > 0).all()
    assert torch.equal(covered(keep, grid[0] * grid[1]), ~mask)
    assert abs(mask.sum(1) - ratio * grid[0] * grid[1]).max() < 1


def components(mask: Tensor) -> int:
    """Connected groups of True cells of (H, W), each by its neighbours above, below, left and right."""
    left = {tuple(cell) for cell in mask.nonzero().tolist()}
    found = 0
    while left:
        found, edge = found + 1, [left.pop()]
        while edge:
            row, column = edge.pop()
            near = {(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)} & left
            left -= near
            edge += near
    return found


@pytest.mark.parametrize("groups", [1, 3])
def test_connected_mask_hides_connected_groups(groups: int) -> None:
    _, mask = connected_mask(200, (8, 6), 0.4, generator(), groups=groups)
    found = torch.tensor([components(each.view(8, 6)) for each in mask])
    assert found.max() == groups
    assert mask.double().mean(0).min() > 0.1  # anywhere


def test_inverse_block_mask_keeps_squares_about_their_centres() -> None:
    # One square is drawn of L = 9 x 9 where 9 are kept; what is inside the grid stays whole.
    _, mask = inverse_block_mask(500, (9, 9), 1 - 9 / 81, generator())
    whole = torch.nn.functional.unfold((~mask).view(-1, 1, 9, 9).float(), 3).amin(1).amax(1)
    inside = (1 - 2 / 9) ** 2  # of centres, squares that do not reach over the edge
    assert abs(whole.mean() - inside) < 4.5 * (inside * (1 - inside) / 500) ** 0.5


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.4, 0.75])
def test_blockwise_mask_hides_exactly_the_stated_number(grid: tuple[int, int], ratio: float) -> None:
    length = grid[0] * grid[1]
    keep, mask = blockwise_mask(50, grid, ratio, generator())
    assert (mask.sum(1) == round(length * ratio)).all()
    assert keep.shape == (50, length - round(length * ratio))
    assert (keep.diff(dim=1) > 0).all()
    assert torch.equal(covered(keep, length), ~mask)


def test_blockwise_mask_hides_the_larger_of_two_nearest_numbers() -> None:
    for length in (5, 7, 9):
        assert blockwise_mask(2, (1, length), 0.5, generator())[1].sum(1).tolist() == [(length + 1) // 2] * 2


@pytest.mark.parametrize("faithful", [False, True])
def test_blockwise_mask_covers_the_grid_evenly_unless_faithful(faithful: bool) -> None:
    """Each patch within a tenth of the stated share; the published corners a twelfth of the middle."""
    _, mask = blockwise_mask(20_000, (14, 14), 0.4, generator(), faithful=faithful)
    share = mask.double().mean(0).reshape(14, 14)
    assert share.mean() == pytest.approx(78 / 196)
    if faithful:
        assert share.argmin() in (0, 13, 182, 195)
        assert share.min() / share.max() == pytest.approx(1 / 12, abs=0.02)
    else:
        assert (share / 0.4 - 1).abs().max() < 0.1
    error = (0.25 / 20_000) ** 0.5
    for mirrored in (share.flip(0), share.flip(1), share.T):
        assert (share - mirrored).abs().max() < 6 * error


def test_blockwise_mask_hides_neighbours_together() -> None:
    def hidden_with_its_neighbour(mask: Tensor) -> float:
        image = mask.reshape(-1, 14, 14)
        return float((image[:, :, 1:] & image[:, :, :-1]).double().mean())

    blocks = blockwise_mask(500, (14, 14), 0.4, generator())[1]
    alone = random_mask(500, (14, 14), 0.4, generator())[1]
    assert hidden_with_its_neighbour(alone) == pytest.approx(0.16, abs=0.01)
    assert hidden_with_its_neighbour(blocks) > 0.28


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 0}, "n must be at least 1"),
        ({"area": 0}, "area must be at least 1"),
        ({"grid": (1, 1)}, "grid must be"),
        ({"ratio": 1.0}, "ratio must be at least 0 and below 1"),
        ({"ratio": 0.99}, "ratio must leave at least one of 36 patches"),
        ({"aspect": (0.0, 2.0)}, "aspect must be"),
    ],
)
def test_blockwise_mask_refuses(settings: dict[str, object], message: str) -> None:
    arguments = {"n": 4, "grid": (6, 6), "ratio": 0.4, "generator": generator(), **settings}
    with pytest.raises(ValueError, match=message):
        blockwise_mask(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("grid", GRIDS)
def test_no_target_is_ever_in_the_context(grid: tuple[int, int]) -> None:
    context, target = draws(grid)
    assert not (context & target).any()


@pytest.mark.parametrize("grid", GRIDS)
def test_every_patch_can_be_context_and_target(grid: tuple[int, int]) -> None:
    context, target = draws(grid)
    assert context.any(0).all()
    assert target.any(0).all()


@pytest.mark.parametrize("grid", GRIDS)
def test_targets_lie_anywhere_with_equal_probability(grid: tuple[int, int]) -> None:
    """The share of samples whose first target covers a patch is that of a rectangle at a uniform position."""
    source, n = generator(), 400
    seen: dict[int, int] = {}
    total = torch.zeros(grid[0] * grid[1])
    expected = torch.zeros(grid[0] * grid[1], dtype=torch.float64)
    for _ in range(60):
        _, targets = block_masks(n, grid, source, targets=1)
        first, last = targets[0, 0, 0], targets[0, 0, -1]
        rows, columns = int(last // grid[1] - first // grid[1]) + 1, int(last % grid[1] - first % grid[1]) + 1
        expected += torch.outer(reach(grid[0], rows), reach(grid[1], columns)).flatten()
        total += covered(targets, grid[0] * grid[1]).sum(0)
        seen[rows * columns] = seen.get(rows * columns, 0) + 1
    share, expected = total.double() / (60 * n), expected / 60
    assert ((share - expected).abs() < 5 * (expected / (60 * n)).sqrt()).all()
    assert len(seen) <= 6


def reach(side: int, length: int) -> Tensor:
    """Probability that a line's patch is covered by an interval of this length at a uniform position."""
    starts = torch.arange(side - length + 1)
    inside = (torch.arange(side)[:, None] >= starts) & (torch.arange(side)[:, None] < starts + length)
    return inside.double().mean(1)


@pytest.mark.parametrize("grid", GRIDS)
def test_context_is_as_likely_at_the_top_as_at_the_bottom(grid: tuple[int, int]) -> None:
    context, _ = draws(grid, calls=60, n=200)
    share = context.double().mean(0).reshape(grid)
    error = (0.25 / len(context)) ** 0.5
    assert (share - share.flip(0)).abs().max() < 6 * error
    assert (share - share.flip(1)).abs().max() < 6 * error


@pytest.mark.parametrize("grid", GRIDS)
def test_targets_are_rectangles_of_one_size_in_ascending_order(grid: tuple[int, int]) -> None:
    source = generator()
    for _ in range(10):
        context, targets = block_masks(50, grid, source)
        assert context.dtype == targets.dtype == torch.int64
        assert (context.diff(dim=1) > 0).all()
        rows, columns = targets // grid[1], targets % grid[1]
        heights, widths = (x.amax(-1) - x.amin(-1) + 1 for x in (rows, columns))
        shape = (int(heights[0, 0]), int(widths[0, 0]))
        assert shape in target_shapes(grid)
        assert (heights == shape[0]).all()
        assert (widths == shape[1]).all()
        assert targets.shape[-1] == shape[0] * shape[1]
        assert (targets.diff(dim=-1) > 0).all()


@pytest.mark.parametrize("grid", GRIDS)
def test_sizes_depend_on_the_grid_alone(grid: tuple[int, int]) -> None:
    sizes = {block_masks(n, grid, generator(seed))[0].shape[1] for n in (1, 7, 256) for seed in range(8)}
    assert sizes == {default_context_size(grid)}


@pytest.mark.parametrize("grid", [(4, 4), (6, 6), (8, 8), (14, 14), (16, 16), (32, 32), (16, 4)])
def test_target_shapes_are_few_and_near_what_was_asked(grid: tuple[int, int]) -> None:
    shapes = target_shapes(grid)
    areas = [h * w / (grid[0] * grid[1]) for h, w in shapes]
    assert len({h * w for h, w in shapes}) <= 6
    assert 0.75 * 0.15 < sum(areas) / 6 < 1.25 * 0.2
    assert all(h <= grid[0] and w <= grid[1] for h, w in shapes)


def test_scale_and_aspect_are_independent() -> None:
    """The published sampler's large targets are all tall."""
    shapes = target_shapes((32, 32), (0.1, 0.3), (0.5, 2.0))
    small, large = shapes[:3], shapes[3:]
    for (h, w), (taller, wider) in zip(small, large, strict=True):
        assert taller > h
        assert wider > w
        assert taller / wider == pytest.approx(h / w, rel=0.1)


def test_the_default_context_needs_few_new_draws() -> None:
    """A context one patch larger than all others leave would be drawn from outside the rectangle."""
    for grid in ((6, 6), (14, 14)):
        size = default_context_size(grid)
        assert grid[0] * grid[1] / 6 < size < grid[0] * grid[1] / 2
        usual, _ = draws(grid, calls=30)
        tiny, _ = draws(grid, calls=30, context_size=1)
        ratio = usual.double().mean(0) / size - tiny.double().mean(0)
        assert ratio.abs().max() < 0.03


@pytest.mark.parametrize("size", [1, 20, 25, 30])
def test_a_context_of_any_possible_size_without_a_leak(size: int) -> None:
    """Thirty of 36 is all that can be left of a 6 x 6 grid: the four targets have to lie on top of each
    other."""
    context, target = draws((6, 6), calls=10, n=50, context_size=size)
    assert (context.sum(1) == size).all()
    assert not (context & target).any()


def test_many_large_targets_without_a_leak() -> None:
    context, target = draws((6, 6), calls=10, n=50, targets=12, target_scale=(0.4, 0.5))
    assert (context.sum(1) >= 1).all()
    assert not (context & target).any()


@pytest.mark.parametrize("faithful", [False, True])
def test_the_generator_is_all_that_decides(faithful: bool) -> None:
    torch.manual_seed(1)
    first = block_masks(9, (14, 14), generator(3), faithful=faithful)
    torch.manual_seed(2)
    again = block_masks(9, [14, 14], generator(3), faithful=faithful)
    other = block_masks(9, (14, 14), generator(4), faithful=faithful)
    assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    for sampler in MASKS.values():
        assert torch.equal(*(sampler(5, (5, 9), 0.5, generator(3))[0] for _ in range(2)))


def test_faithful_never_reaches_the_last_row_and_column() -> None:
    context, target = draws((14, 14), calls=60, n=64, faithful=True)
    for drawn in (context, target):
        used = drawn.any(0).reshape(14, 14)
        assert not used[-1].any()
        assert not used[:, -1].any()
        assert used[:-1, :-1].float().mean() > 0.95


def test_faithful_sizes_and_the_loss_of_the_lower_rows() -> None:
    """The measurements of the published collator at 14 x 14 in batches of 128."""
    source = generator()
    shapes, sizes = set(), []
    rows = torch.zeros(14, dtype=torch.float64)
    for _ in range(60):
        context, targets = block_masks(128, (14, 14), source, faithful=True)
        r, c = targets[0, 0] // 14, targets[0, 0] % 14
        shapes.add((int(r.max() - r.min()) + 1, int(c.max() - c.min()) + 1))
        sizes.append(context.shape[1])
        rows += covered(context, 196).double().mean(0).reshape(14, 14).mean(1) / 60
    assert shapes <= {(7, 5), (5, 6), (6, 6), (6, 5), (8, 5)}
    assert len(shapes) >= 4
    assert sum(sizes) / 60 == pytest.approx(50.5, abs=4)
    assert rows[0] == pytest.approx(0.75, abs=0.06)
    assert rows[6] == pytest.approx(0.18, abs=0.05)
    assert rows[12] < 0.06


def test_faithful_context_shrinks_with_the_batch() -> None:
    source = generator()
    means = [
        sum(block_masks(n, (14, 14), source, faithful=True)[0].shape[1] for _ in range(60)) / 60
        for n in (1, 8, 64)
    ]
    assert means[0] == pytest.approx(82.9, abs=5)
    assert means[0] > means[1] + 5 > means[2] + 10


def test_faithful_leaks_the_last_targets_rather_than_fail() -> None:
    """Nine patches a target on 8 x 8 with many targets leave fewer than asked, so that some are let
    through."""
    source = generator()
    leaks = []
    for _ in range(20):
        context, targets = block_masks(16, (8, 8), source, targets=12, faithful=True, min_keep=8)
        assert context.shape[1] > 8
        leaks += [bool((covered(targets[i : i + 1], 64) & covered(context, 64)).any()) for i in (0, 11)]
    assert not any(leaks[::2])
    assert any(leaks[1::2])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 0}, "n must be at least 1"),
        ({"targets": 0}, "targets must be at least 1"),
        ({"grid": (1, 1)}, "grid must be"),
        ({"grid": (6, 6, 6)}, "grid must be"),
        ({"target_scale": (0.2, 0.1)}, "target_scale must be"),
        ({"target_scale": (0.0, 0.1)}, "target_scale must be"),
        ({"context_scale": (0.5, 1.5)}, "context_scale must be"),
        ({"target_aspect": (0.0, 1.5)}, "target_aspect must be"),
        ({"context_size": 0}, "context_size must be from 1 to"),
        ({"context_size": 31}, "context_size must be from 1 to 30"),
        ({"context_size": 9, "faithful": True}, "context_size must be None with faithful=True"),
        ({"grid": (8, 8), "faithful": True}, "min_keep must be below 9"),
        ({"grid": (8, 1), "faithful": True}, "grid must have two rows and columns"),
    ],
)
def test_block_masks_refuse(settings: dict[str, object], message: str) -> None:
    arguments = {"n": 4, "grid": (6, 6), "generator": generator(), **settings}
    with pytest.raises(ValueError, match=message):
        block_masks(**arguments)  # type: ignore[arg-type]
