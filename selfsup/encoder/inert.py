"""Reading a checkpoint that holds other packages' objects beside its weights: the objects are not made.

An object of a package that is known for settings becomes an :class:`Inert` one, which takes whatever a pickle
does to it and does nothing. Nothing of the package is imported or called. Any other name is refused.
"""

import collections
import pickle
import re
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

# Whose objects stand beside the weights in checkpoints: a command's settings, paths, numbers.
_OF_SETTINGS = re.compile(
    r"argparse|collections|enum|functools|pathlib|typing|copy_?reg|_codecs|numpy|lightly|lightning"
    r"|lightning_fabric|pytorch_lightning|mmengine|omegaconf|solo|yacs"
)
# torch.save writes the names of Python 2.
_PLAIN = re.compile(
    r"(builtins|__builtin__)\."
    r"(bool|bytearray|complex|dict|float|int|list|long|object|set|slice|str|tuple|unicode)"
)
_TENSORS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch", "Size"): torch.Size,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
}


class Inert:
    """Stands for an object, or for what makes one, and does nothing.

    >>> Inert("any", argument=1)("call").append(3)
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> "Inert":
        return Inert()

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        pass

    def add(self, value: Any) -> None:
        pass


class Unpickler(pickle.Unpickler):
    """Makes tensors, plain values and inert objects.

    Raises (in ``load``):
        pickle.UnpicklingError: a name of neither.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _TENSORS:
            return _TENSORS[module, name]
        if module == "torch" and isinstance(kind := getattr(torch, name, None), torch.dtype):
            return kind
        if _OF_SETTINGS.fullmatch(module.partition(".")[0]) or _PLAIN.fullmatch(f"{module}.{name}"):
            return Inert
        raise pickle.UnpicklingError(f"{module}.{name} is not a tensor or a setting")


def load_tensors(file: Path) -> Any:
    """What :func:`torch.save` wrote into a zip file, with inert objects in the place of settings.

    Raises:
        pickle.UnpicklingError: it holds something else.
    """
    with zipfile.ZipFile(file) as archive:
        if any(name.endswith("constants.pkl") for name in archive.namelist()):
            raise pickle.UnpicklingError("a script, which torch would compile")
    this = SimpleNamespace(Unpickler=Unpickler, __name__=__name__)
    return torch.load(file, map_location="cpu", weights_only=False, pickle_module=this, mmap=True)
