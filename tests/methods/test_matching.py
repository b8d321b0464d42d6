"""Matching: SimCLR beside cells that are matched one to one."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from selfsup.errors import UsageError
from selfsup.objectives import floors, matched_cells
from tests.methods.building import batch_of, build


def test_without_cells_it_is_simclr() -> None:
    matching: Any = build("method=matching", "method.weight=0").eval()
    simclr: Any = build("method=simclr").eval()
    batch = batch_of(matching)
    simclr.encoder.load_state_dict(matching.encoder.state_dict())
    simclr.projector.load_state_dict(matching.projector.state_dict())
    torch.testing.assert_close(matching.loss(batch).loss, simclr.loss(batch).loss)


@pytest.mark.parametrize("backbone", ["vit_mini", "resnet10"])
def test_cells_are_the_encoders_places_and_their_loss_is_added(backbone: str) -> None:
    small = () if backbone == "resnet10" else ("backbone.model_args.depth=2",)
    given = ("method=matching", f"backbone={backbone}", "data.image_size=32", *small)
    method: Any = build(*given, "method.weight=0.3", "method.matches=3").eval()
    batch = batch_of(method, image=torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8))
    output = method.loss(batch)
    scalars = output.scalars
    torch.testing.assert_close(output.loss, scalars["images"] + 0.3 * scalars["cells"])
    assert [tuple(each.shape) for each in output.features] == [(8, method.encoder.dim)] * 2
    torch.testing.assert_close(output.features[1], method.encoder(batch.views[1]))
    rows = method.encoder.model.forward_features(batch.images)
    rows = rows[:, method.encoder.prefix :] if rows.ndim == 3 else rows.flatten(2).transpose(1, 2)
    one, other = method.cell_projector(rows.flatten(0, 1)).unflatten(0, rows.shape[:2]).chunk(2)
    here, there = method.match(one, other)
    assert here.shape == there.shape == (8, 3)
    pairs = [torch.stack([z[n, k[n]] for n in range(8)]) for z, k in ((one, here), (other, there))]
    torch.testing.assert_close(scalars["cells"], matched_cells(*pairs, temperature=0.2))


def test_the_most_similar_matches_are_kept_and_none_is_there_twice() -> None:
    method: Any = build("method=matching", "method.matches=4")
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 5, 9, 6, generator=generator)
    here, there = method.match(one, other)
    method.matches = 9
    all_here, all_there = method.match(one, other)
    likeness = F.cosine_similarity(one.unsqueeze(2), other.unsqueeze(1), dim=3)
    for n in range(5):
        assert sorted(all_here[n].tolist()) == sorted(all_there[n].tolist()) == list(range(9))
        kept = likeness[n][all_here[n], all_there[n]]
        assert (kept.diff() <= 0).all()
    assert torch.equal(here, all_here[:, :4])
    assert torch.equal(there, all_there[:, :4])


def test_two_equal_views_match_in_place() -> None:
    method: Any = build("method=matching").eval()
    batch = batch_of(method)
    batch.views[1].copy_(batch.views[0])
    assert float(method.loss(batch).scalars["same_place"]) == 1


def test_its_mark_counts_the_cells_that_there_are() -> None:
    method: Any = build("method=matching", "method.matches=1000", "batch_size=32", "method.weight=0.5")
    cells = method.encoder.grid[0] * method.encoder.grid[1]
    expected = floors.nt_xent(32) + 0.5 * floors.matched_cells(32, cells)
    assert method.marks() == {"trivial": pytest.approx(expected)}


def test_views_of_several_sizes_and_networks_without_places_are_refused() -> None:
    with pytest.raises(UsageError, match=r"compares the cells of views of .* take views=simclr"):
        build("method=matching", "views=dino")
    with pytest.raises(UsageError, match="matching compares 2 views"):
        build("method=matching", "views=mae")
