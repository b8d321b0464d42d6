"""Where images come from: sources of decoded images, with labels where there are any."""

from selfsup.data.decode import UnreadableImage
from selfsup.data.digits import digits
from selfsup.data.folder import folder
from selfsup.data.load import load_data
from selfsup.data.parquet import parquet
from selfsup.data.source import ImageArray, ImageFiles, Source
from selfsup.data.torchvision_sets import cifar10, cifar100, stl10

__all__ = [
    "ImageArray",
    "ImageFiles",
    "Source",
    "UnreadableImage",
    "cifar10",
    "cifar100",
    "digits",
    "folder",
    "load_data",
    "parquet",
    "stl10",
]
