"""Steps whose gradients are not finite: reported, saved and skipped; too many of them end the run."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from rich.console import Console
from safetensors.torch import save
from torch import Tensor

from selfsup.callbacks.checkpoint_files import last_good
from selfsup.callbacks.culprit import Culprit, MicroBatch, culprit, finite, lengths_finite, nonfinite, norms
from selfsup.errors import RunStopped
from selfsup.files import write_text, written_whole
from selfsup.methods.snapshot import Snapshot
from selfsup.objectives.devices import Later
from selfsup.optim import LARS
from selfsup.terminal import say
from selfsup.text import shown

LARGEST = 32 * 2**20  # bytes of a batch that is saved
_NAMED = 5  # samples named in a sentence; the file has all


class Step(NamedTuple):
    """An optimizer step whose outcome the host may learn later.

    Attributes:
        number: from 1.
        seen: its micro-batches.
        losses: of each of them.
        norms: of its gradients.
        names: of the parameters whose gradients these are.
        skipped: whether it was, in any process.
    """

    number: int
    seen: list[MicroBatch]
    losses: Later
    norms: Later
    names: list[str]
    skipped: Later


class FiniteSteps(pl.Callback):
    """Looks at the gradients between the backward pass and the optimizer's step.

    It computes the gradients' norms; everything else is done only if they are not finite. Then the step is
    undone: gradients and what the forward pass wrote into buffers are dropped, and no teacher is averaged.
    The step still counts, so that schedules and the order of the data stay those of any other run. Processes
    that share gradients do the same.

    On a GPU the norms stay where they are, and all this is done there: the optimizer leaves weights and
    momenta alone, buffers and parts are put back. The host reads the norms and reports the step when it has
    asked for the next one, so that the GPU is busy meanwhile; before a checkpoint and at the end it waits.

    A gradient scaler (``precision=16-mixed``) makes infinite gradients on purpose while it searches
    its scale; these it skips itself, and they are not counted as long as the loss is finite. With it the host
    waits at every step.

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
        self.unseen: list[Step] = []  # what was left to a GPU and not looked at yet
        self._forget()

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped = list(state_dict["skipped"])

    def _forget(self) -> None:
        self.seen: list[MicroBatch] = []
        self.losses: list[Tensor] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Searching all modules for them takes longer than using them.
        self.parameters, self.buffers = dict(pl_module.named_parameters()), list(pl_module.buffers())
        self.later = pl_module.device.type != "cpu" and _skips(trainer.optimizers[0]) and not _scaler(trainer)
        self.before = [] if self.later else [buffer.clone() for buffer in self.buffers]

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if not self.seen:
            if self.later:
                self.snapshot = Snapshot(self.buffers)
            else:
                _copy(self.before, self.buffers)
            pl_module.step_skipped = False  # type: ignore[assignment]
        self.seen.append(MicroBatch(batch, trainer.fit_loop.total_batch_idx))

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        self.losses.append(loss.detach())

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any
    ) -> None:
        if self.later:
            self._leave(trainer, pl_module, optimizer)
        elif not _agreed(trainer, finite(list(self._gradients().values()))):
            scaler = _scaler(trainer)
            if scaler is None or scaler.get_scale() < 1 or not _agreed(trainer, finite(self.losses)):
                lengths = norms(self._gradients().values())
                self._report(trainer, pl_module, self._step(trainer, lengths, torch.tensor(True)))
            _copy(self.buffers, self.before)
            if scaler is None:  # which wants to see them, and does not step then
                for parameter in self.parameters.values():
                    parameter.grad = None
            pl_module.step_skipped = True  # type: ignore[assignment]
        self._forget()

    def _leave(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:
        """Have the device skip the step if need be."""
        lengths = norms(self._gradients().values())
        skipped = trainer.strategy.reduce((~lengths_finite(lengths)).float(), reduce_op="max") > 0
        self.snapshot.put_back(skipped)
        optimizer.found_inf = skipped.float()
        pl_module.step_skipped = skipped
        self.unseen.append(self._step(trainer, lengths, skipped))

    def _look(self, trainer: pl.Trainer, pl_module: Any, newest: int) -> None:
        """Report the steps that were left to the device and skipped, but for some of the newest."""
        looked, self.unseen = self.unseen[: -newest or None], self.unseen[-newest:] if newest else []
        for made in looked:
            if made.skipped.read():
                buffers = Snapshot(self.buffers)
                self._report(trainer, pl_module, made)
                buffers.put_back(torch.ones((), dtype=torch.bool, device=pl_module.device))
                pl_module.forget()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._look(trainer, pl_module, newest=1)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._look(trainer, pl_module, newest=0)
        checkpoint["callbacks"][self.state_key] = self.state_dict()  # which was asked for before

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._look(trainer, pl_module, newest=0)

    def _gradients(self) -> dict[str, Tensor]:
        return {name: p.grad for name, p in self.parameters.items() if p.grad is not None}

    def _step(self, trainer: pl.Trainer, lengths: Tensor, skipped: Tensor) -> Step:
        losses, names = Later(torch.stack(self.losses)), list(self._gradients())
        return Step(trainer.global_step + 1, self.seen, losses, Later(lengths), names, Later(skipped))

    def _report(self, trainer: pl.Trainer, pl_module: pl.LightningModule, made: Step) -> None:
        weight = nonfinite(self.parameters)
        losses, lengths = made.losses.read(), made.norms.read()
        wrong = (~losses.isfinite()).nonzero().flatten().tolist()
        seen = made.seen[wrong[0] if wrong else -1]
        bad = [name for name, fine in zip(made.names, lengths.isfinite().tolist(), strict=True) if not fine]
        ours = culprit(pl_module, seen, made.number - 1, bad, trainer.precision_plugin.forward_context)
        all_found = _gathered(trainer, ours)
        found = next((one for one in all_found if one.forward), all_found[0])
        if weight:
            found = Culprit(f"the parameter {weight}, before the step,", [], False)
        sentence = f"step {made.number}: {found.what} is not finite{self._named(found.samples)}"
        if ours.forward or trainer.is_global_zero:
            where = self._write(trainer, made, seen.batch, ours, sentence)
            say(self.console, f"{sentence}; {where} has the batch")
        if weight or len(self.skipped) >= self.allowed:
            trainer.strategy.checkpoint_io.teardown()  # the newest checkpoint may be on its way to the disk
            reason = "" if weight else f" (skipped before: {len(self.skipped)}, as many as may be)"
            raise RunStopped(
                f"{sentence}{reason}; {last_good(self.folder)}; if it happens again, start a new run "
                "with a lower method.optimizer.lr or trainer.precision=32-true"
            )
        self.skipped.append(made.number)

    def _named(self, samples: list[int]) -> str:
        if not samples:
            return ""
        names = ", ".join(f"'{shown(self.name(index))}' (index {index})" for index in samples[:_NAMED])
        more = f" and {len(samples) - _NAMED} more" if len(samples) > _NAMED else ""
        return f" for {names}{more}"

    def _write(self, trainer: pl.Trainer, made: Step, batch: Any, found: Culprit, sentence: str) -> Path:
        folder = self.folder / "nonfinite"
        folder.mkdir(exist_ok=True)
        rank = f"-{trainer.global_rank}" if trainer.global_rank else ""
        path = folder / f"step-{made.number:09d}{rank}.safetensors"
        with written_whole(path) as file:
            file.write(save(bounded(batch, found.samples)))
        about = {"step": made.number, "sentence": sentence, "what": found.what, "samples": found.samples}
        about |= {"losses": [str(loss) for loss in made.losses.read().tolist()], "epoch": batch["epoch"]}
        write_text(path.with_suffix(".json"), json.dumps(about, indent=2) + "\n")
        return path


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


def _copy(into: list[Tensor], of: list[Tensor]) -> None:
    if of:  # torch refuses to copy no tensors
        torch._foreach_copy_(into, of)


def _agreed(trainer: pl.Trainer, fine: Tensor) -> bool:
    """Whether it is fine in every process."""
    if trainer.world_size == 1:
        return bool(fine)
    device = trainer.strategy.root_device
    return not int(trainer.strategy.reduce((~fine).int().to(device), reduce_op="max"))


def _scaler(trainer: pl.Trainer) -> Any:
    return getattr(trainer.precision_plugin, "scaler", None)


def _skips(optimizer: Any) -> bool:
    """Whether an optimizer leaves everything as it is where its ``found_inf`` is 1 on the device."""
    return bool(optimizer.defaults.get("fused")) or isinstance(optimizer, LARS)


def _gathered(trainer: pl.Trainer, found: Culprit) -> list[Culprit]:
    everyone: list[Any] = [found]
    if trainer.world_size > 1:
        everyone = [None] * trainer.world_size
        torch.distributed.all_gather_object(everyone, found)
    return everyone
