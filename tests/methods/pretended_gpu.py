"""A pretended GPU: tensors without data on a device that is not the CPU, which run wherever there is no GPU.

It tells what mixes devices, an error on a real one, and what makes the CPU wait for the GPU: values that are
read back (``item``, the boolean of a tensor, ``cpu``), shapes that depend on values (``nonzero``, masks) and
copies of memory that is not pinned, for which CUDA empties its queue first.

Its device is torch's "meta". Torch's fake tensors, whose device can be "cuda", need a driver in the backward
pass, and take ten times as long.
"""

import collections
import contextlib
import traceback
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils._foreach_utils import _get_fused_kernels_supported_devices
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from selfsup.objectives import devices

DEVICE = torch.device("meta")
aten = torch.ops.aten
_INDEXED = {"index", "index_put", "index_put_", "_unsafe_index", "_index_put_impl_"}
# The kernels of CUDA read back how much there is, or whether a solver succeeded.
_COUNTED = {"masked_select", "unique_consecutive", "unique_dim", "_unique2", "bincount", "equal", "histc"}
_COUNTED |= {"repeat_interleave", "_linalg_check_errors", "_linalg_eigh", "_linalg_svd", "linalg_cholesky_ex"}


class PretendedGPU(TorchDispatchMode):
    """Operations on what is there run without data; all others run as they are.

    Attributes:
        waits: how often the CPU would have waited, by the line of ours that made it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: collections.Counter[str] = collections.Counter()
        self.pinned: list[Tensor] = []
        self.patches = contextlib.ExitStack()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        there = [tensor for tensor in tensors if tensor.is_meta]
        named = any(isinstance(leaf, torch.device) and leaf == DEVICE for leaf in leaves)
        if not there and not named:
            return func(*args, **kwargs)
        name = func._schema.name.removeprefix("aten::")
        if name == "lift_fresh":  # of values given to torch.tensor
            self._wait()
        elif name == "nonzero":
            self._wait()
            return torch.stack(_guessed(args[0]), dim=1)
        elif name == "_local_scalar_dense":
            self._wait()
            return 1.0 if args[0].dtype.is_floating_point else 1
        elif name == "_to_copy" and kwargs.get("device") == torch.device("cpu"):  # to be read as it is
            self._wait()
            return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        elif name == "_to_copy" and args[0].device != DEVICE:
            self._copied(args[0], kwargs.get("non_blocking", False))
        elif name == "copy_" and args[0].device != args[1].device:
            host = args[0] if args[1].device == DEVICE else args[1]
            self._copied(host, kwargs.get("non_blocking", False) or args[2:3] == (True,))
            if host is args[0]:
                return host.zero_()
        elif name in _INDEXED:
            places = [place for place in args[1] if place is not None]
            if any(place.dtype == torch.bool or place.device != DEVICE for place in places):
                self._wait()
            args = (args[0], [each for place in args[1] for each in _guessed_of(place)], *args[2:])
        elif name in _COUNTED or (name == "where" and len(there) < len(tensors)):
            self._wait()
        elif any(tensor.ndim and not tensor.is_meta for tensor in tensors):
            raise RuntimeError(f"{func} of tensors on the CPU and on the device ({_line()})")
        elif name.startswith("_fused_"):  # an optimizer's step, in place
            return None
        return func(*args, **kwargs)

    def _copied(self, host: Tensor, promised: bool) -> None:
        """A copy between the two memories waits unless it is of pinned memory and promised not to."""
        if not (promised and any(host is each for each in self.pinned)):
            self._wait()

    def _wait(self) -> None:
        self.waits[_line()] += 1

    def _pin(self, tensor: Tensor) -> Tensor:
        self.pinned.append(tensor.clone())
        return self.pinned[-1]

    def __enter__(self) -> Any:
        module = torch.get_device_module
        fused = [*_get_fused_kernels_supported_devices(), DEVICE.type]
        for what, how in {
            "torch.Tensor.pin_memory": lambda tensor: self._pin(tensor),
            "torch.autocast": lambda *_, **__: contextlib.nullcontext(),
            "torch.Event": mock.MagicMock(),
            "torch.get_device_module": lambda of=None: mock.MagicMock() if of == DEVICE else module(of),
            "torch.optim.optimizer._get_fused_kernels_supported_devices": lambda: fused,
        }.items():
            self.patches.enter_context(mock.patch(what, how))
        self.patches.enter_context(mock.patch.object(devices, "PINNED", ("cuda", DEVICE.type)))
        return super().__enter__()

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        self.patches.close()

    def move(self, module: nn.Module) -> None:
        """Put a module's parameters and buffers there."""
        for part in module.modules():
            for name, value in list(part._parameters.items()):
                if value is not None:
                    there = torch.empty(value.shape, dtype=value.dtype, device=DEVICE)
                    part._parameters[name] = nn.Parameter(there, requires_grad=value.requires_grad)
            for name, value in list(part._buffers.items()):
                if value is not None:
                    part._buffers[name] = torch.empty(value.shape, dtype=value.dtype, device=DEVICE)


def _guessed(mask: Tensor) -> list[Tensor]:
    """The places where a mask is set, half of them: how many depends on values."""
    count = max(1, (mask.shape[0] if mask.ndim else 1) // 2)
    return [torch.empty(count, dtype=torch.int64, device=DEVICE) for _ in range(max(1, mask.ndim))]


def _guessed_of(place: Tensor | None) -> list[Tensor | None]:
    masks = place is not None and place.dtype == torch.bool
    return [*_guessed(place)] if masks else [place]  # type: ignore[arg-type]


def _line() -> str:
    ours = [frame for frame in traceback.extract_stack() if "/selfsup/" in frame.filename]
    return f"{ours[-1].filename.rpartition('/selfsup/')[2]}:{ours[-1].lineno}" if ours else "elsewhere"
