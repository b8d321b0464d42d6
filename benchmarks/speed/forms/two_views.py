"""Methods of two views in lightly's form: one pass of both, a head, a loss."""

from typing import Any

import pytorch_lightning as pl
import torch
from lightly.loss import BarlowTwinsLoss, NTXentLoss, SwaVLoss, VICRegLoss
from lightly.models.modules.heads import (
    BarlowTwinsProjectionHead,
    SimCLRProjectionHead,
    SwaVProjectionHead,
    SwaVPrototypes,
    VICRegProjectionHead,
)
from torch import Tensor, nn

from benchmarks.speed.forms.form import Config


class TwoViews(pl.LightningModule):
    """The common parts of its examples with two views: one head, one loss, SGD."""

    def __init__(self, backbone: nn.Module, head: nn.Module, criterion: nn.Module) -> None:
        super().__init__()
        self.backbone, self.projection_head, self.criterion = backbone, head, criterion

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x0, x1 = batch[0]
        z0, z1 = (self.projection_head(self.backbone(x)) for x in (x0, x1))
        return self.criterion(z0, z1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.06)


def simclr(backbone: nn.Module, config: Config) -> TwoViews:
    width = backbone.num_features
    loss = NTXentLoss(temperature=config["method"]["temperature"])
    return TwoViews(backbone, SimCLRProjectionHead(width, width, 128), loss)


def barlow(backbone: nn.Module, config: Config) -> TwoViews:
    projector, width = config["method"]["projector"], backbone.num_features
    head = BarlowTwinsProjectionHead(width, projector["hidden"], projector["out"])
    return TwoViews(backbone, head, BarlowTwinsLoss())


def vicreg(backbone: nn.Module, config: Config) -> TwoViews:
    projector = config["method"]["projector"]
    head = VICRegProjectionHead(
        backbone.num_features, projector["hidden"], projector["out"], projector["layers"]
    )
    return TwoViews(backbone, head, VICRegLoss())


class SwaV(pl.LightningModule):
    def __init__(self, backbone: nn.Module, config: Config) -> None:
        super().__init__()
        projector, prototypes = config["method"]["projector"], config["method"]["prototypes"]
        self.backbone = backbone
        self.projection_head = SwaVProjectionHead(
            backbone.num_features, projector["hidden"], projector["out"]
        )
        self.prototypes = SwaVPrototypes(projector["out"], prototypes["count"])
        self.criterion = SwaVLoss()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.prototypes.normalize()
        features = [self.projection_head(self.backbone(view).flatten(start_dim=1)) for view in batch[0]]
        features = [nn.functional.normalize(each, dim=1, p=2) for each in features]
        scores = [self.prototypes(each) for each in features]
        return self.criterion(scores[:2], scores[2:])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.001)
