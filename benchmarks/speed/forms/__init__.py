"""Methods as in lightly's published examples.

Its losses, heads and transforms in plain Lightning modules, and a DataLoader that makes views image by image.
Backbone and widths are ours, so that both sides compute the same network.
"""

from lightly.data.ijepa_collate import IJEPAMaskCollator
from lightly.transforms import (
    BYOLTransform,
    BYOLView1Transform,
    BYOLView2Transform,
    DINOTransform,
    MAETransform,
    MoCoV2Transform,
    SimCLRTransform,
    SwaVTransform,
    VICRegTransform,
)
from lightly.transforms.ijepa_transform import IJEPATransform
from torch import nn

from benchmarks.speed.forms.form import Config, Form
from benchmarks.speed.forms.masked import IJEPA, MAE, SimMIM
from benchmarks.speed.forms.teachers import BYOL, DINO, MoCo
from benchmarks.speed.forms.two_views import SwaV, barlow, simclr, vicreg


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
    "vicreg": Form(vicreg, lambda config: VICRegTransform(input_size=_size(config))),
    "byol": Form(BYOL, _byol),
    "moco": Form(MoCo, lambda config: MoCoV2Transform(input_size=_size(config))),
    "swav": Form(
        SwaV,
        lambda config: SwaVTransform(
            crop_sizes=(_size(config), round(_size(config) * config["views"]["small"]["size"])),
            crop_counts=(2, config["views"]["small"]["count"]),
        ),
    ),
    "simmim": Form(SimMIM, lambda config: MAETransform(input_size=_size(config))),
}
