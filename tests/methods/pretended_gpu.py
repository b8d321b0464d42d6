"""A pretended GPU: tensors without data whose device is cuda, which run wherever there is no GPU.

It tells what mixes devices, an error on a real one, and what makes the CPU wait for the GPU: values that are
read back (``item``, the boolean of a tensor, ``cpu``) and shapes that depend on values (``nonzero``, masks).
"""

import collections
import traceback
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten


class PretendedGPU(TorchDispatchMode):
    """Operations on what is there run without data; all others run as they are.

    Attributes:
        waits: how often the CPU would have waited, by the line of ours that made it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.waits: collections.Counter[str] = collections.Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        named = any(isinstance(leaf, torch.device) and leaf.type == "cuda" for leaf in leaves)
        if not named and not any(isinstance(leaf, FakeTensor) for leaf in leaves):
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        if func is aten.nonzero.default:  # of a shape that has to be guessed
            self.waits[_line()] += 1
            x = args[0]
            shape = (max(1, (x.shape[0] if x.ndim else 1) // 2), max(1, x.ndim))
            return aten.empty.memory_format(shape, dtype=torch.int64, device=x.device)
        if func is aten._local_scalar_dense.default:
            self.waits[_line()] += 1
            return 1.0 if args[0].dtype.is_floating_point else 1
        if func is aten._to_copy.default and kwargs.get("device") == torch.device(
            "cpu"
        ):  # to be read as it is
            self.waits[_line()] += 1
            with unset_fake_temporarily():
                return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        return func(*args, **kwargs)

    def __enter__(self) -> Any:
        self.fake.__enter__()
        return super().__enter__()

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        self.fake.__exit__(*raised)

    def move(self, module: nn.Module) -> None:
        """Put a module's parameters and buffers there."""
        for part in module.modules():
            for name, value in list(part._parameters.items()):
                if value is not None:
                    there = torch.empty(value.shape, dtype=value.dtype, device="cuda")
                    part._parameters[name] = nn.Parameter(there, requires_grad=value.requires_grad)
            for name, value in list(part._buffers.items()):
                if value is not None:
                    part._buffers[name] = torch.empty(value.shape, dtype=value.dtype, device="cuda")


def _line() -> str:
    ours = [frame for frame in traceback.extract_stack() if "/selfsup/" in frame.filename]
    return f"{ours[-1].filename.rpartition('/selfsup/')[2]}:{ours[-1].lineno}" if ours else "elsewhere"
