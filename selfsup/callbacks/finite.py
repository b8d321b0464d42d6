"""Steps whose gradients are not finite: reported, saved and skipped; too many of them end the run."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from rich.console import Console
from safetensors.torch import save
from torch import Tensor

from selfsup.callbacks.checkpoint_files import last_good
from selfsup.errors import RunStopped
from selfsup.files import write_text, written_whole
from selfsup.objectives.precision import finite_or_not
from selfsup.terminal import say
from selfsup.text import shown

LARGEST = 32 * 2**20  # bytes of a batch that is saved
_NAMED = 5  # samples named in a sentence; the file has all


class Culprit(NamedTuple):
    """What was not finite first, and the indices of the samples it was not finite for (none: unknown)."""

    what: str
    samples: list[int]
    forward: bool  # already in the forward pass, which only the process with the samples sees


class FiniteSteps(pl.Callback):
    """Looks at the gradients between the backward pass and the optimizer's step.

    It computes the gradients' norms and one bit that the host reads, for which it waits until a GPU has
    finished the backward pass; everything else is done only if they are not finite. Then the step is undone:
    gradients and what the forward pass wrote into buffers are dropped, and no teacher is averaged. The step
    still counts, so that schedules and the order of the data stay those of any other run. Processes that
    share gradients do the same.

    A gradient scaler (``precision=16-mixed``) makes infinite gradients on purpose while it searches
    its scale; these it skips itself, and they are not counted as long as the loss is finite.

    Args:
        folder: the run's; ``nonfinite/`` in it gets each batch (at most 32 MiB) and a JSON file about it.
        allowed: steps that may be skipped in the whole run.
        name: of a sample, by its index.

    Raises (while training):
        RunStopped: at one step more than is allowed, or if a weight was not finite before it.
    """

    def __init__(self, folder: Path, allowed: int, name: Callable[[int], str], console: Console) -> None:
        self.folder, self.allowed, self.name, self.console = folder, allowed, name, console
        self.skipped: list[int] = []
        self._forget()

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped = list(state_dict["skipped"])

    def _forget(self) -> None:
        self.batches: list[Any] = []
        self.losses: list[Tensor] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Searching all modules for them takes longer than using them.
        self.parameters, self.buffers = list(pl_module.parameters()), list(pl_module.buffers())
        self.before = [buffer.clone() for buffer in self.buffers]

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if not self.batches:
            _copy(self.before, self.buffers)
            pl_module.step_skipped = False  # type: ignore[assignment]
        self.batches.append(batch)

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        self.losses.append(loss.detach())

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any
    ) -> None:
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if not _agreed(trainer, finite(gradients)):
            scaler = getattr(trainer.precision_plugin, "scaler", None)
            if scaler is None or scaler.get_scale() < 1 or not _agreed(trainer, finite(self.losses)):
                self._report(trainer, pl_module)
            _copy(self.buffers, self.before)
            if scaler is None:  # which wants to see them, and does not step then
                for parameter in self.parameters:
                    parameter.grad = None
            pl_module.step_skipped = True  # type: ignore[assignment]
        self._forget()

    def _report(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        step = trainer.global_step + 1
        weight = nonfinite(dict(pl_module.named_parameters()))
        bad = [number for number, loss in enumerate(self.losses) if not finite([loss])]
        batch = self.batches[bad[0] if bad else -1]
        ours = culprit(pl_module, batch, trainer.precision_plugin.forward_context)
        all_found = _gathered(trainer, ours)
        found = next((one for one in all_found if one.forward), all_found[0])
        if weight:
            found = Culprit(f"the parameter {weight}, before the step,", [], False)
        sentence = f"step {step}: {found.what} is not finite{self._named(found.samples)}"
        if ours.forward or trainer.is_global_zero:
            where = self._write(trainer, step, batch, ours, sentence)
            say(self.console, f"{sentence}; {where} has the batch")
        if weight or len(self.skipped) >= self.allowed:
            trainer.strategy.checkpoint_io.teardown()  # the newest checkpoint may be on its way to the disk
            reason = "" if weight else f" (skipped before: {len(self.skipped)}, as many as may be)"
            raise RunStopped(
                f"{sentence}{reason}; {last_good(self.folder)}; if it happens again, start a new run "
                "with a lower method.optimizer.lr or trainer.precision=32-true"
            )
        self.skipped.append(step)

    def _named(self, samples: list[int]) -> str:
        if not samples:
            return ""
        names = ", ".join(f"'{shown(self.name(index))}' (index {index})" for index in samples[:_NAMED])
        more = f" and {len(samples) - _NAMED} more" if len(samples) > _NAMED else ""
        return f" for {names}{more}"

    def _write(self, trainer: pl.Trainer, step: int, batch: Any, found: Culprit, sentence: str) -> Path:
        folder = self.folder / "nonfinite"
        folder.mkdir(exist_ok=True)
        rank = f"-{trainer.global_rank}" if trainer.global_rank else ""
        path = folder / f"step-{step:09d}{rank}.safetensors"
        with written_whole(path) as file:
            file.write(save(bounded(batch, found.samples)))
        about = {"step": step, "sentence": sentence, "what": found.what, "samples": found.samples}
        about |= {"losses": [str(float(loss)) for loss in self.losses], "epoch": batch["epoch"]}
        write_text(path.with_suffix(".json"), json.dumps(about, indent=2) + "\n")
        return path


@torch.no_grad()
def culprit(method: Any, batch: Mapping[str, Any], context: Callable[[], Any]) -> Culprit:
    """What is not finite first in another forward pass of ``batch``, or in the gradients there are.

    Args:
        method: in training, a :class:`selfsup.methods.base.Method`.
        batch: as it was trained on.
        context: gives the context manager of the forward pass, such as autocast.
    """
    index = batch["index"].tolist()
    found: list[Culprit] = []

    def look(what: str, output: Any) -> None:
        for tensor in output if isinstance(output, (list, tuple)) else [output]:
            if found or not isinstance(tensor, Tensor) or not tensor.is_floating_point() or finite([tensor]):
                continue
            # Views lie behind one another, each with a row a sample.
            rows = None
            if tensor.ndim and len(tensor) and len(tensor) % len(index) == 0:
                rows = tensor.reshape(-1, len(index), tensor[0].numel()).transpose(0, 1).flatten(1)
            bad = [] if rows is None else (~rows.isfinite().all(dim=1)).nonzero().flatten().tolist()
            found.append(Culprit(what, [index[row] for row in bad], True))

    again = method.batch(batch, method.global_step, method.total_steps, method.generator())
    for number, view in enumerate(again.views):
        look(f"view {number}", view)
    modules = [(name, module) for name, module in method.named_modules() if name]
    handles = [
        module.register_forward_hook(lambda _, __, output, name=name: look(f"the output of {name}", output))
        for name, module in modules
    ]
    try:
        with context(), finite_or_not():
            loss = method(again).loss
    finally:
        for handle in handles:
            handle.remove()
    look("the loss", loss)
    if found:
        return found[0]
    bad = [name for name, p in method.named_parameters() if p.grad is not None and not finite([p.grad])]
    if not bad:
        return Culprit("the norm of the gradients", [], False)
    more = f" (with {len(bad) - 1} other parameters)" if len(bad) > 1 else ""
    # The backward pass came to the last of them first.
    return Culprit(f"the gradient of {bad[-1]}{more}", [], False)


def bounded(batch: Mapping[str, Any], samples: Iterable[int]) -> dict[str, Tensor]:
    """The batch's tensors, in at most :data:`LARGEST` bytes: the rows of ``samples`` come first."""
    images = batch["image"]
    views = [images] if isinstance(images, Tensor) else images
    tensors = {"image" if i == 0 else f"image.{i}": view for i, view in enumerate(views)}
    tensors |= {key: value for key, value in batch.items() if key in ("index", "label")}
    each = sum(value[0].numel() * value.element_size() for value in tensors.values())
    wanted = torch.isin(batch["index"].cpu(), torch.tensor(list(samples), dtype=torch.int64))
    rows = torch.argsort(~wanted, stable=True)[: max(1, LARGEST // each)]
    return {key: value.cpu()[rows].contiguous() for key, value in tensors.items()}


def finite(tensors: list[Tensor]) -> Tensor:
    """Whether all elements are finite, and so is the sum of the tensors' norms: a bool where they are.

    Example:
        >>> finite([torch.ones(2), torch.tensor([1.0, float("nan")])]).item()
        False
    """
    if not tensors:
        return torch.tensor(True)
    # Norms are not negative, so that no two of them cancel; each operation more is felt in a small step.
    return torch.stack(torch._foreach_norm(tensors)).sum() < math.inf


def _copy(into: list[Tensor], of: list[Tensor]) -> None:
    if of:  # torch refuses to copy no tensors
        torch._foreach_copy_(into, of)


def nonfinite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor with an element that is not finite, or None."""
    floating = {name: value for name, value in tensors.items() if value.is_floating_point()}
    if finite(list(floating.values())):
        return None
    return next((name for name, value in floating.items() if not value.isfinite().all()), None)


def _agreed(trainer: pl.Trainer, fine: Tensor) -> bool:
    """Whether it is fine in every process."""
    if trainer.world_size == 1:
        return bool(fine)
    device = trainer.strategy.root_device
    return not int(trainer.strategy.reduce((~fine).int().to(device), reduce_op="max"))


def _gathered(trainer: pl.Trainer, found: Culprit) -> list[Culprit]:
    everyone: list[Any] = [found]
    if trainer.world_size > 1:
        everyone = [None] * trainer.world_size
        torch.distributed.all_gather_object(everyone, found)
    return everyone
