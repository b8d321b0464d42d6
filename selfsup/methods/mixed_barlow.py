"""Mixed Barlow Twins: mixtures of images correlate with the views as mixtures of their embeddings do.

Bandara et al. 2023, "Guarding Barlow Twins Against Overfitting with Mixed Samples", arXiv:2312.02151.
"""

from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from selfsup.errors import UsageError
from selfsup.methods.barlow_twins import BarlowTwins
from selfsup.methods.batch import Batch, Output
from selfsup.methods.requirements import large_views
from selfsup.objectives import barlow_twins, mixed_barlow
from selfsup.objectives.devices import sent


class MixedBarlow(BarlowTwins):
    """Barlow Twins, and a third pass for mixtures of one large view with other images' other one.

    A process mixes the images that it holds, in one ratio and one order a step, both drawn at random.

    Args:
        mix: weight of the regulariser, in multiples of ``lambda_``.
        settings: those of :class:`~selfsup.methods.barlow_twins.BarlowTwins`.
    """

    def __init__(self, *, mix: float, **settings: Any) -> None:
        super().__init__(**settings)
        self.mix = mix
        self.large = large_views(self.views, "mixed_barlow")
        if self.large < 2:
            raise UsageError("mixed_barlow mixes two large views and the plan gives one; take views=moco")

    def loss(self, batch: Batch) -> Output:
        features = [self.encoder(view) for view in batch.views]
        embeddings = [self.projector(each) for each in features]
        pairs, positives = combinations(embeddings, 2), batch.positives
        agreement = [barlow_twins(one, other, self.lambda_, positives) for one, other in pairs]
        regularizer = []
        for one, other in combinations(range(self.large), 2):
            z1, z2 = embeddings[one], embeddings[other]
            mixed, order, share = self.mixture(batch, one, other)
            z = self.projector(self.encoder(mixed))
            regularizer.append(mixed_barlow(z1, z2, z2[order], z, share.to(z).expand(len(z))))
        mixing = torch.stack(regularizer).mean()
        loss = torch.stack(agreement).mean() + self.mix * self.lambda_ * mixing
        return Output(loss, features, {"mixing": mixing.detach()})

    def mixture(self, batch: Batch, one: int, other: int) -> tuple[Tensor, Tensor, Tensor]:
        """Mixed images, the order of those of the ``other`` view, and the share (1) of the first."""
        share = sent(torch.rand(1, generator=batch.generator), batch.device)
        order = sent(torch.randperm(len(batch), generator=batch.generator), batch.device)
        first, second = batch.views[one], batch.views[other][order]
        return torch.lerp(second, first, share.to(first.dtype)), order, share

    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        mixed, order, _ = self.mixture(batch, 0, 1)
        return {
            "View 1": batch.views[0],
            "View 2 of another image": batch.views[1][order],
            "Their mixture": mixed,
        }
