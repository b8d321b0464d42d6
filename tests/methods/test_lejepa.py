"""LeJEPA's directions are of the run's seed and the step, and its centre is that of the large views."""

from typing import Any

import torch

from selfsup.objectives import lejepa
from tests.methods.building import batch_of, build


def test_directions_change_with_the_step_and_with_the_seed_alone() -> None:
    method: Any = build("method=lejepa").eval()
    other: Any = build("method=lejepa", "seed=1").eval()
    other.load_state_dict(method.state_dict())
    batch, next_one = batch_of(method), batch_of(method, step=1)
    first, again, later, elsewhere = (
        float(each.loss(one).loss.detach())
        for each, one in ((method, batch), (method, batch), (method, next_one), (other, batch))
    )
    assert first == again
    assert len({first, later, elsewhere}) == 3


def test_small_views_do_not_move_the_centre() -> None:
    method: Any = build("method=lejepa").eval()
    batch = batch_of(method)
    assert (method.large, len(batch.views)) == (2, 6)
    with torch.no_grad():
        embeddings = torch.stack([method.projector(method.encoder(view)) for view in batch.views])
        expected = lejepa(embeddings, large=2, lambda_=0.05, slices=512, seed=0)
        torch.testing.assert_close(method.loss(batch).loss, expected, rtol=1e-4, atol=0)
