"""ResNets for images of 32 to 64 px: a 3 x 3 stem and no max-pooling.

The usual stem (7 x 7, stride 2, then pooling) leaves an image of 32 px an 8 x 8 map before the
first block; this one, of SimCLR's CIFAR experiments (Chen et al. 2020, arXiv:2002.05709,
appendix B.9), leaves it 32 x 32.
"""

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import nn


class SmallStemResNet(ResNet):
    """timm's ResNet with its first convolution and pooling replaced.

    Args:
        stem_stride: 1, as in the paper, or 2 for a quarter of the computation.
        stem_padding: 1, or 2 for weights of solo-learn.
    """

    def __init__(self, *args: Any, stem_stride: int = 1, stem_padding: int = 1, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        usual: Any = self.conv1
        stem = nn.Conv2d(
            usual.in_channels,
            usual.out_channels,
            kernel_size=3,
            stride=stem_stride,
            padding=stem_padding,
            bias=False,
        )
        nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
        self.add_module("conv1", stem)
        self.add_module("maxpool", nn.Identity())
        for info, reduction in zip(self.feature_info, (1, 1, 2, 4, 8), strict=True):
            info["reduction"] = reduction * stem_stride


def _create(variant: str, pretrained: bool, **kwargs: Any) -> ResNet:
    return build_model_with_cfg(SmallStemResNet, variant, pretrained, **kwargs)


_CFG = {
    "num_classes": 1000,
    "input_size": (3, 32, 32),
    "pool_size": (4, 4),
    "crop_pct": 1.0,
    "interpolation": "bilinear",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "first_conv": "conv1",
    "classifier": "fc",
}
# The name under which timm looks for a module's configurations.
default_cfgs = generate_default_cfgs(
    {name: dict(_CFG) for name in ("resnet10_small", "resnet18_small", "resnet50_small")}
)


@register_model
def resnet10_small(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-10 of half the usual width (1.2 M parameters) with the small-image stem."""
    args = {"block": BasicBlock, "layers": (1, 1, 1, 1), "channels": (32, 64, 128, 256)}
    return _create("resnet10_small", pretrained, **{**args, **kwargs})


@register_model
def resnet18_small(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-18 (11.2 M parameters) with the small-image stem."""
    return _create("resnet18_small", pretrained, **{"block": BasicBlock, "layers": (2, 2, 2, 2), **kwargs})


@register_model
def resnet50_small(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-50 (23.5 M parameters) with the small-image stem."""
    return _create("resnet50_small", pretrained, **{"block": Bottleneck, "layers": (3, 4, 6, 3), **kwargs})
