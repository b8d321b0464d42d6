"""The five methods as in lightly's published examples: its losses, heads and transforms in a plain
Lightning module, and a DataLoader that makes views image by image. Backbone and widths are ours, so that
both sides compute the same network.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from lightly.data.ijepa_collate import IJEPAMaskCollator
from lightly.loss import BarlowTwinsLoss, DINOLoss, NTXentLoss
from lightly.models import utils
from lightly.models.modules import MaskedVisionTransformerTIMM
from lightly.models.modules.heads import (
    BarlowTwinsProjectionHead,
    DINOProjectionHead,
    SimCLRProjectionHead,
)
from lightly.models.modules.ijepa_timm import IJEPAPredictorTIMM
from lightly.models.modules.masked_vision_transformer_decoder_timm import MaskedVisionTransformerDecoderTIMM
from lightly.transforms import (
    BYOLTransform,
    BYOLView1Transform,
    BYOLView2Transform,
    DINOTransform,
    MAETransform,
    SimCLRTransform,
)
from lightly.transforms.ijepa_transform import IJEPATransform
from lightly.utils.scheduler import cosine_schedule
from torch import Tensor, nn

Config = Mapping[str, Any]


class Form(NamedTuple):
    """A method in lightly's form."""

    module: Callable[[nn.Module, Config], pl.LightningModule]
    transform: Callable[[Config], Callable[..., Any]]
    collate: Callable[[Config, nn.Module], Callable[..., Any] | None] = lambda config, backbone: None


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


class MAE(pl.LightningModule):
    def __init__(self, backbone: nn.Module, config: Config) -> None:
        super().__init__()
        self.mask_ratio, decoder = config["method"]["mask_ratio"], config["method"]["decoder"]
        self.patch_size = backbone.patch_embed.patch_size[0]
        self.backbone = MaskedVisionTransformerTIMM(vit=backbone)
        self.sequence_length = self.backbone.sequence_length
        self.embed = nn.Linear(backbone.embed_dim, decoder["width"])
        self.decoder = MaskedVisionTransformerDecoderTIMM(
            backbone.patch_embed.num_patches,
            decoder["width"],
            decoder["depth"],
            decoder["heads"],
            backbone.num_prefix_tokens,
        )
        self.predict = nn.Linear(decoder["width"], 3 * self.patch_size**2)
        self.criterion = nn.MSELoss()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images = batch[0][0]
        keep, mask = utils.random_token_mask(
            size=(len(images), self.sequence_length), mask_ratio=self.mask_ratio, device=images.device
        )
        encoded = self.embed(self.backbone.encode(images=images, idx_keep=keep))
        tokens = self.decoder.mask_token.repeat(len(images), self.sequence_length, 1)
        tokens = utils.set_at_index(tokens, keep, encoded.type_as(tokens))
        decoded = self.decoder.decode(self.decoder.add_pos_embed(tokens))
        predicted = self.predict(utils.get_at_index(decoded, mask))
        patches = utils.patchify(images, self.patch_size)
        return self.criterion(predicted, utils.get_at_index(patches, mask - 1))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1.5e-4)


class IJEPA(pl.LightningModule):
    def __init__(self, backbone: nn.Module, config: Config) -> None:
        super().__init__()
        settings = config["method"]["predictor"]
        self.backbone = MaskedVisionTransformerTIMM(vit=backbone)
        self.predictor = IJEPAPredictorTIMM(
            backbone.patch_embed.num_patches,
            settings["depth"],
            backbone.embed_dim,
            settings["width"],
            settings["heads"],
        )
        self.teacher = deepcopy(self.backbone)
        utils.deactivate_requires_grad(self.teacher)
        self.criterion = nn.SmoothL1Loss()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        utils.update_momentum(self.backbone, self.teacher, m=0.996)
        (images, *_), context, targets = batch
        with torch.no_grad():
            whole = nn.functional.layer_norm(self.teacher.encode(images), (self.predictor_width,))
            target = utils.repeat_interleave_batch(
                utils.apply_masks(whole, targets), len(images), repeat=len(context)
            )
        visible = self.backbone.encode(images, idx_keep=context[0])
        return self.criterion(self.predictor(visible, context, targets), target)

    @property
    def predictor_width(self) -> int:
        return self.predictor.predictor_proj.out_features

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1.5e-4)


def _size(config: Config) -> int:
    return int(config["data"]["image_size"])


def _byol(config: Config) -> BYOLTransform:
    size = _size(config)
    return BYOLTransform(BYOLView1Transform(input_size=size), BYOLView2Transform(input_size=size))


def _ijepa_collate(config: Config, backbone: nn.Module) -> IJEPAMaskCollator:
    patch = backbone.patch_embed.patch_size[0]
    return IJEPAMaskCollator(
        (_size(config), _size(config)),
        patch,
        enc_mask_scale=(0.85, 1.0),
        pred_mask_scale=(0.15, 0.2),
        aspect_ratio=(0.75, 1.5),
        npred=4,
    )


FORMS = {
    "simclr": Form(simclr, lambda config: SimCLRTransform(input_size=_size(config), cj_strength=0.5)),
    "barlow": Form(barlow, _byol),
    "dino": Form(
        DINO,
        lambda config: DINOTransform(
            global_crop_size=_size(config),
            local_crop_size=round(_size(config) * config["views"]["small"]["size"]),
            n_local_views=config["views"]["small"]["count"],
        ),
    ),
    "mae": Form(MAE, lambda config: MAETransform(input_size=_size(config))),
    "jepa": Form(IJEPA, lambda config: IJEPATransform(input_size=_size(config)), _ijepa_collate),
}
