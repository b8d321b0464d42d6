"""Where images come from: sources of decoded images, with labels where there are any."""

from selfsup.data.arrays import arrays, from_arrays
from selfsup.data.compose import concat, mix
from selfsup.data.decode import UnreadableImage
from selfsup.data.digits import digits
from selfsup.data.files import files
from selfsup.data.folder import folder
from selfsup.data.fractals import fractals
from selfsup.data.huggingface import huggingface
from selfsup.data.imagenet import imagenet, imagenet100
from selfsup.data.load import load_data
from selfsup.data.mixture import mixture
from selfsup.data.parquet import parquet
from selfsup.data.parquet_folder import parquet_folder
from selfsup.data.shards import shards
from selfsup.data.source import ImageArray, ImageFiles, Source, subset
from selfsup.data.splits import Splits
from selfsup.data.torchvision_sets import cifar10, cifar100, stl10

__all__ = [
    "ImageArray",
    "ImageFiles",
    "Source",
    "Splits",
    "UnreadableImage",
    "arrays",
    "cifar10",
    "cifar100",
    "concat",
    "digits",
    "files",
    "folder",
    "fractals",
    "from_arrays",
    "huggingface",
    "imagenet",
    "imagenet100",
    "load_data",
    "mix",
    "mixture",
    "parquet",
    "parquet_folder",
    "shards",
    "stl10",
    "subset",
]
