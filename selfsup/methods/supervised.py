"""Supervised learning, a baseline with labels: a linear classifier tells the classes apart.

With a projector before the classifier, features transfer better: Sariyildiz et al. 2023, "No Reason for No
Supervision: Improved Generalization in Supervised Models", arXiv:2206.15369. Several views of an image in a
batch that agree in their classes are the view-batch model, arXiv:2503.18371.
"""

from collections.abc import Mapping
from typing import Any

import torch
from lightly.models.modules.heads import SimCLRProjectionHead
from torch import nn

from selfsup.errors import UsageError
from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, Output, by_size
from selfsup.methods.failures import FLOOR, TRIVIAL, few_dimensions
from selfsup.objectives import cross_entropy, floors, view_batch


class Supervised(Method):
    """Cross-entropy of the classes, over all views.

    Args:
        classes: how many there are, which the run counts.
        smoothing: share of the label that all classes get alike.
        consistency: weight of the views' divergence from the first (:func:`~selfsup.objectives.view_batch`).
        projector: ``hidden``, ``out`` (widths) and ``layers``; 0 layers for none.

    Raises:
        UsageError: there is a ``consistency``, and one view; or a projector has one layer.
    """

    def __init__(
        self,
        *,
        classes: int,
        smoothing: float,
        consistency: float,
        projector: Mapping[str, int],
        **common: Any,
    ) -> None:
        super().__init__(**common)
        if consistency and len(self.views) < 2:
            raise UsageError(
                f"method.consistency={consistency} compares several views, and the plan gives one; take "
                "views=simclr, or method.consistency=0"
            )
        self.classes, self.smoothing, self.consistency = classes, smoothing, consistency
        dim, hidden, out, layers = (
            self.encoder.dim,
            projector["hidden"],
            projector["out"],
            projector["layers"],
        )
        if layers == 1:
            raise UsageError("method.projector.layers is 1; take 0 for no projector, or 2 or more")
        self.projector = SimCLRProjectionHead(dim, hidden, out, layers) if layers else nn.Identity()
        self.classifier = nn.Linear(out if layers else dim, classes)
        self.failures = (TRIVIAL, FLOOR, few_dimensions("backbone", classes))

    def loss(self, batch: Batch) -> Output:
        assert batch.labels is not None
        views = len(batch.views)
        features = torch.cat([self.encoder(each) for each in by_size(batch.views)])
        logits, labels = self.classifier(self.projector(features)), batch.labels.repeat(views)
        loss = cross_entropy(logits, labels, self.smoothing)
        scalars = {"accuracy": (logits.detach().argmax(1) == labels).float().mean()}
        if self.consistency:
            apart = view_batch(logits.unflatten(0, (views, -1)))
            loss, scalars["divergence"] = loss + self.consistency * apart, apart.detach()
        return Output(loss, features.chunk(views), scalars)

    def marks(self) -> dict[str, float]:
        return floors.marks("cross_entropy", {"classes": self.classes, "smoothing": self.smoothing})
