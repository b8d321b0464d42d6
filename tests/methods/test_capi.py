"""CAPI predicts a share of the hidden patches, and trains its clusters by themselves."""

from typing import Any

import torch

from tests.methods.building import batch_of, build


def test_what_is_predicted_is_hidden() -> None:
    method: Any = build("method=capi", "method.predicted=0.5")
    keep, asked = method.draw(16, batch_of(method))
    assert keep.shape == (16, 12)  # 35 of 100 of 36 patches, rounded down
    assert asked.shape == (16, 12)  # half of the other 24
    assert not (keep.unsqueeze(1) == asked.unsqueeze(2)).any()
    assert all(len(set(row.tolist())) == 12 for row in asked)


def test_the_clustering_learns_from_its_own_loss_and_passes_nothing_on() -> None:
    method: Any = build("method=capi")
    output = method.loss(batch_of(method))
    parts = dict(method.named_parameters())
    clusters = [p for key, p in parts.items() if key.startswith("clusters")]
    others = [p for key, p in parts.items() if p.requires_grad and not key.startswith("clusters")]
    clustering = method.clustering(method.answer(batch_of(method).views[0]))
    gradients = torch.autograd.grad(clustering.sum(), others, allow_unused=True)
    assert all(gradient is None for gradient in gradients)
    assert all(g.abs().max() > 0 for g in torch.autograd.grad(output.loss, clusters))


def test_a_prediction_depends_on_its_place_and_on_what_is_seen() -> None:
    method: Any = build("method=capi").eval()
    seen = method.encoder.sequence(batch_of(method, 2).views[0], torch.arange(12).expand(2, -1))
    one, other = (method.predict(seen, torch.full((2, 1), place)) for place in (20, 30))
    assert (one - other).abs().max() > 1e-4
    assert (method.predict(seen.flip(0), torch.full((2, 1), 20)) - one).abs().max() > 1e-4
