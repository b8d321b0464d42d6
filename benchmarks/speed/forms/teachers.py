"""Methods with a teacher in lightly's form: a copy of backbone and head, moved before each step."""

from copy import deepcopy
from typing import Any

import pytorch_lightning as pl
import torch
from lightly.loss import DINOLoss, NegativeCosineSimilarity, NTXentLoss
from lightly.models import utils
from lightly.models.modules.heads import (
    BYOLPredictionHead,
    BYOLProjectionHead,
    DINOProjectionHead,
    MoCoProjectionHead,
)
from lightly.utils.scheduler import cosine_schedule
from torch import Tensor, nn

from benchmarks.speed.forms.form import Config


class DINO(pl.LightningModule):
    def __init__(self, backbone: nn.Module, config: Config) -> None:
        super().__init__()
        head = config["method"]["head"]
        prototypes, width = head["out"], backbone.num_features
        self.student_backbone = self.backbone = backbone
        self.student_head = DINOProjectionHead(
            width, head["hidden"], head["bottleneck"], prototypes, batch_norm=True, freeze_last_layer=1
        )
        self.teacher_backbone = deepcopy(backbone)
        self.teacher_head = DINOProjectionHead(
            width, head["hidden"], head["bottleneck"], prototypes, batch_norm=True
        )
        utils.deactivate_requires_grad(self.teacher_backbone)
        utils.deactivate_requires_grad(self.teacher_head)
        self.criterion = DINOLoss(output_dim=prototypes, warmup_teacher_temp_epochs=5)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        momentum = cosine_schedule(self.current_epoch, 10, 0.996, 1)
        utils.update_momentum(self.student_backbone, self.teacher_backbone, m=momentum)
        utils.update_momentum(self.student_head, self.teacher_head, m=momentum)
        views = batch[0]
        teacher = [self.teacher_head(self.teacher_backbone(view)) for view in views[:2]]
        student = [self.student_head(self.student_backbone(view)) for view in views]
        return self.criterion(teacher, student, epoch=self.current_epoch)

    def on_after_backward(self) -> None:
        self.student_head.cancel_last_layer_gradients(current_epoch=self.current_epoch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.001)


class BYOL(pl.LightningModule):
    def __init__(self, backbone: nn.Module, config: Config) -> None:
        super().__init__()
        projector, predictor = config["method"]["projector"], config["method"]["predictor"]
        self.backbone = backbone
        self.projection_head = BYOLProjectionHead(
            backbone.num_features, projector["hidden"], projector["out"]
        )
        self.prediction_head = BYOLPredictionHead(projector["out"], predictor["hidden"], projector["out"])
        self.backbone_momentum, self.projection_head_momentum = (
            deepcopy(backbone),
            deepcopy(self.projection_head),
        )
        utils.deactivate_requires_grad(self.backbone_momentum)
        utils.deactivate_requires_grad(self.projection_head_momentum)
        self.criterion = NegativeCosineSimilarity()

    def forward(self, x: Tensor) -> Tensor:
        return self.prediction_head(self.projection_head(self.backbone(x).flatten(start_dim=1)))

    def forward_momentum(self, x: Tensor) -> Tensor:
        return self.projection_head_momentum(self.backbone_momentum(x).flatten(start_dim=1)).detach()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        momentum = cosine_schedule(self.current_epoch, 10, 0.996, 1)
        utils.update_momentum(self.backbone, self.backbone_momentum, m=momentum)
        utils.update_momentum(self.projection_head, self.projection_head_momentum, m=momentum)
        x0, x1 = batch[0]
        p0, z0, p1, z1 = self(x0), self.forward_momentum(x0), self(x1), self.forward_momentum(x1)
        return 0.5 * (self.criterion(p0, z1) + self.criterion(p1, z0))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.06)


class MoCo(pl.LightningModule):
    def __init__(self, backbone: nn.Module, config: Config) -> None:
        super().__init__()
        method = config["method"]
        projector = method["projector"]
        self.backbone = backbone
        self.projection_head = MoCoProjectionHead(
            backbone.num_features, projector["hidden"], projector["out"]
        )
        self.backbone_momentum, self.projection_head_momentum = (
            deepcopy(backbone),
            deepcopy(self.projection_head),
        )
        utils.deactivate_requires_grad(self.backbone_momentum)
        utils.deactivate_requires_grad(self.projection_head_momentum)
        self.criterion = NTXentLoss(
            temperature=method["temperature"], memory_bank_size=(method["queue"], projector["out"])
        )

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        momentum = cosine_schedule(self.current_epoch, 10, 0.996, 1)
        utils.update_momentum(self.backbone, self.backbone_momentum, m=momentum)
        utils.update_momentum(self.projection_head, self.projection_head_momentum, m=momentum)
        x_query, x_key = batch[0]
        query = self.projection_head(self.backbone(x_query).flatten(start_dim=1))
        with torch.no_grad():
            key = self.projection_head_momentum(self.backbone_momentum(x_key).flatten(start_dim=1))
        return self.criterion(query, key)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.06)
