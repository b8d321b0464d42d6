"""Looking at a module in training without leaving a trace in it."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

_RUNNING = ("running_mean", "running_var")


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Inside, modules neither drop out nor learn, and batch norms use the batch at hand, as in training.

    Afterwards modes, running statistics and the random generators are what they were. Running statistics lag
    behind the weights, and at step 0 they are those of no data at all. Nothing is compiled for the look,
    whose batches are of other sizes.
    """
    compiled = any(part._compiled_call_impl is not None for part in module.modules())
    stance = torch.compiler.set_stance("force_eager") if compiled else nullcontext()
    modes = [(part, part.training) for part in module.modules()]
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    running = [{name: norm._buffers[name] for name in _RUNNING} for norm in norms]
    devices = {parameter.device for parameter in module.parameters() if parameter.is_cuda}
    module.eval()
    for norm in norms:
        # Without them a batch norm in evaluation mode takes the batch's own, and synchronises nothing.
        norm._buffers.update(dict.fromkeys(_RUNNING))
    try:
        with stance, torch.random.fork_rng(devices=devices), torch.no_grad():
            yield
    finally:
        for norm, buffers in zip(norms, running, strict=True):
            norm._buffers.update(buffers)
        for part, training in modes:
            part.training = training
