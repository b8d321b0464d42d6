"""Methods that hide patches in lightly's form."""

from copy import deepcopy
from typing import Any

import pytorch_lightning as pl
import torch
from lightly.models import utils
from lightly.models.modules import MaskedVisionTransformerTIMM
from lightly.models.modules.ijepa_timm import IJEPAPredictorTIMM
from lightly.models.modules.masked_vision_transformer_decoder_timm import MaskedVisionTransformerDecoderTIMM
from torch import Tensor, nn

from benchmarks.speed.forms.form import Config


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


class SimMIM(pl.LightningModule):
    def __init__(self, backbone: nn.Module, config: Config) -> None:
        super().__init__()
        self.mask_ratio, self.patch_size = config["method"]["mask_ratio"], backbone.patch_embed.patch_size[0]
        self.backbone = MaskedVisionTransformerTIMM(vit=backbone)
        self.sequence_length = self.backbone.sequence_length
        self.decoder = nn.Linear(backbone.embed_dim, 3 * self.patch_size**2)
        self.criterion = nn.L1Loss()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images = batch[0][0]
        _, mask = utils.random_token_mask(
            size=(len(images), self.sequence_length), mask_ratio=self.mask_ratio, device=images.device
        )
        encoded = self.backbone.encode(images=images, idx_mask=mask)
        predicted = self.decoder(utils.get_at_index(encoded, mask))
        patches = utils.patchify(images, self.patch_size)
        prefix = self.sequence_length - patches.shape[1]  # tokens that are no patches are never hidden
        return self.criterion(predicted, utils.get_at_index(patches, mask - prefix))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1.5e-4)
