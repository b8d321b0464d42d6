"""An objective of all views sees each view's embeddings once, made by itself."""

from typing import Any

import pytest
import torch

from selfsup.objectives import floors, frossl
from tests.methods.building import batch_of, build


@torch.no_grad()
def test_all_views_are_compared_at_once() -> None:
    method: Any = build("method=frossl", "views=relational", "method.objective.weight=1.4")
    batch = batch_of(method)
    embeddings = torch.stack([method.projector(method.encoder(view)) for view in batch.views])
    assert embeddings.shape == (4, 8, 1024)
    torch.testing.assert_close(method.loss(batch).loss, frossl(embeddings, weight=1.4))


def test_its_marks_know_how_many_views_there_are() -> None:
    marks = build("method=frossl", "views=relational", "batch_size=32").marks()
    assert marks == {"trivial": 0.0, "floor": pytest.approx(floors.frossl_least(4, 32, 1024))}
