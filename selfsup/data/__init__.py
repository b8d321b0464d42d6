"""Where images come from: sources of decoded images, with labels where there are any."""

from typing import TYPE_CHECKING

from selfsup.lazy import exports

if TYPE_CHECKING:
    from selfsup.data.compose import concat, mix
    from selfsup.data.load import load_data
    from selfsup.data.readers.decode import UnreadableImage
    from selfsup.data.source import ImageArray, ImageFiles, Source, subset
    from selfsup.data.sources.arrays import arrays, from_arrays
    from selfsup.data.sources.digits import digits
    from selfsup.data.sources.files import files
    from selfsup.data.sources.folder import folder
    from selfsup.data.sources.fractals import fractals
    from selfsup.data.sources.huggingface import huggingface
    from selfsup.data.sources.imagenet import imagenet, imagenet100
    from selfsup.data.sources.mixture import mixture
    from selfsup.data.sources.parquet import parquet
    from selfsup.data.sources.parquet_folder import parquet_folder
    from selfsup.data.sources.shards import shards
    from selfsup.data.sources.stages import stages
    from selfsup.data.sources.torchvision import cifar10, cifar100, stl10
    from selfsup.data.splits import Splits
else:  # settings and slices are checked before torch is imported
    __getattr__ = exports(
        __name__,
        {
            "sources.arrays": ["arrays", "from_arrays"],
            "compose": ["concat", "mix"],
            "readers.decode": ["UnreadableImage"],
            "sources.digits": ["digits"],
            "sources.files": ["files"],
            "sources.folder": ["folder"],
            "sources.fractals": ["fractals"],
            "sources.huggingface": ["huggingface"],
            "sources.imagenet": ["imagenet", "imagenet100"],
            "load": ["load_data"],
            "sources.mixture": ["mixture"],
            "sources.parquet": ["parquet"],
            "sources.parquet_folder": ["parquet_folder"],
            "sources.shards": ["shards"],
            "source": ["ImageArray", "ImageFiles", "Source", "subset"],
            "splits": ["Splits"],
            "sources.stages": ["stages"],
            "sources.torchvision": ["cifar10", "cifar100", "stl10"],
        },
    )

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
    "stages",
    "stl10",
    "subset",
]
