"""Matching: cells of two views of an image are matched one to one; matches attract, as the whole views do.

Cells are matched by the Hungarian algorithm on their similarities. It is no published method: its parts are
SimCLR's loss (Chen et al. 2020, arXiv:2002.05709), and a loss of cells like DenseCL's (Wang et al. 2021,
arXiv:2011.09157) whose matching is one to one.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from lightly.models.modules.heads import SimCLRProjectionHead
from torch import Tensor

from selfsup.encoder import take
from selfsup.errors import UsageError
from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output
from selfsup.methods.failures import DIMENSIONS, SAME_VIEW, TRIVIAL
from selfsup.methods.places import in_rows, places_of, require_places
from selfsup.methods.requirements import require_views
from selfsup.objectives import floors, hungarian, matched_cells, nt_xent
from selfsup.sides import in_words, sizes_in_words


class Matching(Method):
    """NT-Xent of pooled features, and InfoNCE of the cells of two views that are matched one to one.

    A cell is a patch's token, or a place of a convolutional network's last map. This is not the matching of
    LVM-Med (arXiv:2306.11925), which is of second order: of graphs, their edges as well, by a solver of
    quadratic assignments. Here cells alone are assigned.

    Args:
        temperature: of the similarities, of views and of cells.
        weight: of the loss of cells beside that of whole views.
        matches: how many of an image's matches attract, the most similar ones; the others may show what only
            one of the views has.
        projector: ``hidden``, ``out`` (widths) and ``layers`` of the two projectors, of views and of cells.
    """

    failures = (SAME_VIEW, DIMENSIONS, TRIVIAL)

    def __init__(
        self, *, temperature: float, weight: float, matches: int, projector: Mapping[str, int], **common: Any
    ) -> None:
        super().__init__(**common)
        require_views(self.views, 2, "matching", "simclr")
        if set(self.views.sizes) != {size := self.encoder.input_size}:
            raise UsageError(
                f"matching compares the cells of views of {in_words(size)} and the plan has "
                f"{sizes_in_words(self.views.sizes)}; take views=simclr"
            )
        rows, columns = require_places(self.encoder, "take a vision transformer or a convolutional network")
        self.temperature, self.weight, self.matches = temperature, weight, min(matches, rows * columns)
        widths = projector["hidden"], projector["out"], projector["layers"]
        self.projector = SimCLRProjectionHead(self.encoder.dim, *widths)
        self.cell_projector = SimCLRProjectionHead(self.encoder.model.num_features, *widths)

    def loss(self, batch: Batch) -> Output:
        views = len(batch.views)
        features, places = places_of(self.encoder, batch.images)
        embeddings = self.projector(features).chunk(views)
        images = [nt_xent(one, other, self.temperature) for one, other in combinations(embeddings, 2)]
        cells, stayed = [], []
        for one, other in combinations(self.embed(places).chunk(views), 2):
            here, there = self.match(one, other)
            cells.append(matched_cells(take(one, here), take(other, there), self.temperature))
            stayed.append((here == there).float().mean())
        found = {"images": images, "cells": cells, "same_place": stayed}
        means = {name: torch.stack(values).mean() for name, values in found.items()}
        loss = means["images"] + self.weight * means["cells"]
        scalars = {name: value.detach() for name, value in means.items()}
        return Output(loss, features.chunk(views), scalars)

    def embed(self, places: Tensor) -> Tensor:
        """Embeddings ``(N, L, out)`` of the cells of maps ``(N, D, h, w)``."""
        cells = in_rows(places)
        return self.cell_projector(cells.flatten(0, 1)).unflatten(0, cells.shape[:2])

    @torch.no_grad()
    def match(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """The most similar matches of cells ``(N, L, D)``: their numbers ``(N, K)`` in each of two views."""
        one, other = (F.normalize(each.float(), dim=2) for each in (one, other))
        similarity = one @ other.transpose(1, 2)
        match = hungarian(similarity)
        likeness = similarity.gather(2, match.unsqueeze(2)).squeeze(2)
        here = likeness.topk(self.matches, dim=1).indices
        return here, match.gather(1, here)

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        features = self.encoder(batch.views[0])
        return {"backbone": features, "embedding": self.projector(features)}

    def marks(self) -> dict[str, float]:
        cells = floors.matched_cells(self.batch_size, self.matches)
        return {"trivial": floors.nt_xent(self.batch_size) + self.weight * cells}
