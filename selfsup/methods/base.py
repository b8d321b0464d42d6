"""What all methods share: the batch they get, the order of a step, and what others may ask of them."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from selfsup.encoder import Encoder
from selfsup.errors import UsageError
from selfsup.methods.batch import Batch, Output, make_batch, step_generator
from selfsup.methods.combining import balanced
from selfsup.methods.failures import Failure
from selfsup.methods.heads_first import HeadsFirst
from selfsup.methods.parts import Part, Teacher
from selfsup.methods.step import StepMeans
from selfsup.objectives.precision import finite_or_not
from selfsup.optim import build_optimizer, cosine, horizon, learning_rate
from selfsup.views import ViewPlan


class Method(pl.LightningModule):
    """A self-supervised method: views -> encoder -> heads -> objective.

    A method implements :meth:`loss`, a function of a batch that changes nothing. Whatever moves with the
    steps is a :class:`~selfsup.methods.parts.Part`. A method may override :meth:`learned_encoder` (if it
    saves its teacher), :meth:`regions` (if it masks), :meth:`observe`, :meth:`pictures` and :meth:`marks`.

    The running statistics of batch norms alone are a micro-batch's.

    Args:
        encoder: the encoder to train.
        views: the plan that makes the views.
        optimizer: settings, as in ``configs/optimizer/``.
        batch_size: samples an optimizer step, over all processes and accumulated batches.
        seed: of masks and of dropout.
        labelled: whether batches have labels.
        auxiliary: further losses by name, each with its weight (:mod:`selfsup.auxiliary`).
        frozen: share of the run in which only the heads learn, or less (:class:`HeadsFirst`).
        combine: how the losses become one: with fixed weights, 1 of the method's own, or by their gradients
            for the encoder (mgda: :func:`selfsup.methods.combining.balanced`).
        relation: of the positions of two sets of samples, which of them belong together.

    Attributes:
        related: whether ``loss`` uses the ``positives`` of a batch, if there are some.
        failures: what the collapse guard watches for beside :data:`selfsup.methods.failures.COMMON`.
        untrained: names of parameters that pooled features use and the method leaves as they are.
        step_skipped: set where a step's gradients are not finite, and so not used; a bool on the device where
            the host does not know yet.
    """

    failures: tuple[Failure, ...] = ()
    related = False

    def __init__(
        self,
        encoder: Encoder,
        views: ViewPlan,
        optimizer: Mapping[str, Any],
        batch_size: int,
        seed: int = 0,
        labelled: bool = False,
        auxiliary: Mapping[str, tuple[float, nn.Module]] | None = None,
        frozen: float = 0.0,
        combine: str = "fixed",
        relation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.views = views
        self.optimizer = optimizer
        self.peak_lr = optimizer["lr"] * batch_size / optimizer["lr_batch"]
        self.batch_size, self.seed, self.labelled = batch_size, seed, labelled
        self.weights = {name: weight for name, (weight, _) in (auxiliary or {}).items()}
        self.combine = combine
        self.auxiliary = nn.ModuleDict({name: module for name, (_, module) in (auxiliary or {}).items()})
        self.heads_first = HeadsFirst(encoder, frozen) if frozen else None
        self.relation = relation
        if relation is not None:  # each process has it from the data, and DDP would send it at every step
            names = [f"relation.{name}" for name, _ in relation.named_buffers()]
            DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self, names)
        self.step_skipped: bool | Tensor = False
        self.of_step = StepMeans()  # of what is logged
        self.untrained: list[str] = []

    # What a method is.

    def loss(self, batch: Batch) -> Output:
        """The method's loss of a batch.

        Every step's loss has to reach all that is trained: what the first one does not reach is frozen.
        """
        raise NotImplementedError

    def learned_encoder(self) -> Encoder:
        """The encoder that is saved."""
        return self.encoder

    def average(self) -> nn.Module | None:
        """The encoder's moving average, of a method that has one."""
        copies = (part.copy_of(self.encoder) for part in self.parts if isinstance(part, Teacher))
        return next((copy for copy in copies if copy is not None), None)

    def regions(self, batch: Batch) -> dict[str, Tensor]:
        """Masks to visualise: which patches are hidden, context or target; none by default.

        Returns:
            By name, bool ``(V N, L)`` of the V views behind one another: "hidden" from the encoder, its
            "context", or others by their own names.
        """
        return {}

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        """What the collapse guard measures (:func:`selfsup.callbacks.guard.measure`), without gradients.

        A method with a projector, a teacher or masks adds what its objective compares.

        Args:
            batch: the first one or two views of fixed images.

        Returns:
            ``backbone``, the pooled features ``(N, D)`` of the encoder that is saved, and any of
            ``embedding`` ``(N, D)``; ``teacher`` and ``student``, probabilities ``(N, K)``; named scalars.
        """
        return {"backbone": self.learned_encoder()(batch.views[0])}

    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        """Images that show what the method does, for the report, without gradients; {} if there are none.

        Returns:
            By title: normalised images ``(N, 3, size, size)``, or maps of patches ``(N, rows, columns)`` in
            [0, 1], not-a-number where there is nothing to show.
        """
        return {}

    def marks(self) -> dict[str, float]:
        """Reference losses: ``trivial`` (collapsed) and ``floor`` (lower bound).

        Values of :mod:`selfsup.objectives.floors`; empty where there are none.
        """
        return {}

    # A step, for whoever trains: a trainer, or a loop by hand (examples/loop.py).

    def batch(
        self, raw: Mapping[str, Any], step: int = 0, steps: int = 1, generator: torch.Generator | None = None
    ) -> Batch:
        """The batch of what a loader gives, its views made in full precision and without gradients."""
        with torch.no_grad(), torch.autocast(raw["index"].device.type, enabled=False):
            return make_batch(
                raw,
                self.views,
                step=step,
                steps=steps,
                generator=step_generator(self.seed, step) if generator is None else generator,
                labelled=self.labelled,
                relation=self.relation,
            )

    def forward(self, batch: Batch) -> Output:
        """The method's loss and the weighted auxiliary ones; ``objective`` is the former by itself."""
        output = self.loss(batch)
        if self.heads_first is not None:
            self.heads_first.gather(output.loss, self.marks)
        if not self.auxiliary:
            return output
        if not output.features:
            raise UsageError(
                f"auxiliary={next(iter(self.auxiliary))} needs the features of whole views, which "
                f"{type(self).__name__} does not compute; leave auxiliary out, or take method=barlow, byol, "
                "dino, simclr or vicreg"
            )
        seen = batch.only(output.of or range(len(output.features)))
        losses = {"objective": output.loss}
        losses |= {name: module(seen, output.features) for name, module in self.auxiliary.items()}
        weights: Mapping[str, Any] = {"objective": 1.0, **self.weights}
        scalars: dict[str, Tensor | float] = {name: value.detach() for name, value in losses.items()}
        if self.combine == "mgda" and torch.is_grad_enabled():
            weights = balanced(losses, self.encoder.parameters())
            scalars |= {f"{name}_weight": weight for name, weight in weights.items()}
        total = torch.stack([weights[name] * value for name, value in losses.items()]).sum()
        return Output(total, output.features, scalars | dict(output.scalars))

    @property
    def parts(self) -> list[Part]:
        """All parts, wherever in the method they are."""
        return [module for module in self.modules() if isinstance(module, Part)]

    def set_rates(self, optimizer: torch.optim.Optimizer, step: int, steps: int) -> None:
        """Give each parameter group its learning rate and weight decay of a step."""
        rate = self.learning_rate(step, steps)
        decay = cosine(step, steps, self.optimizer["weight_decay"], self.optimizer["weight_decay_end"])
        for group in optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
            group["weight_decay"] = decay if group["decayed"] else 0.0

    def learning_rate(self, step: int, steps: int) -> float:
        """Of a step of a run of ``steps``, before layer decay."""
        return learning_rate(self.optimizer, step, steps, self.peak_lr)

    def before_update(self, step: int, steps: int) -> None:
        """Call it between the backward pass and the optimizer's step."""
        for part in self.parts:
            part.before_update(step, steps)
        if (limit := self.optimizer["clip"]) is None:
            return
        parameters = [p for p in self.parameters() if p.grad is not None]
        for clipped in parameters if self.optimizer["clip_each"] else [parameters]:
            nn.utils.clip_grad_norm_(clipped, limit)

    def after_step(self, step: int, steps: int, skipped: bool | Tensor = False) -> None:
        """Call it after the optimizer's step, with whether that was skipped."""
        for part in self.parts:
            if isinstance(skipped, Tensor):
                part.after_step_unless(skipped, step, steps)
            elif not skipped:
                part.after_step(step, steps)

    def forget(self) -> None:
        """Call it at the end of a step, also of one that was skipped."""
        self.of_step.clear()
        for part in self.parts:
            part.forget()

    # The same for Lightning, whose names these are.

    @property
    def total_steps(self) -> int:
        """Optimizer steps over which schedules run: those of the whole run, if that has an end."""
        return horizon(self.optimizer, int(self.trainer.estimated_stepping_batches))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.set_rates(self.trainer.optimizers[0], self.global_step, self.total_steps)
        # Dropout and stochastic depth draw from the device's own generator.
        seed_device(self.device, int(torch.randint(2**62, (), generator=self.generator())))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        with finite_or_not():
            output = self(self.batch(batch, self.global_step, self.total_steps, self.generator()))
        scalars = {"loss": output.loss, **output.scalars}
        self.of_step.add(**scalars)
        group = self.trainer.optimizers[0].param_groups[0]
        rates = {"lr": group["lr"], "weight_decay": group["weight_decay"]}
        # Where callbacks look; one of them writes to loggers.
        self.trainer.callback_metrics.update({**self.of_step.of(scalars), **rates})
        return (
            output.loss * self._share(batch_idx) if self.trainer.accumulate_grad_batches > 1 else output.loss
        )

    def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            scaler.unscale_(optimizer)  # Lightning leaves it to a fused step, which comes after the clipping
        self.before_update(self.global_step, self.total_steps)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.after_step(self.global_step, self.total_steps, self.step_skipped)
        self.forget()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return build_optimizer(self, self.optimizer)

    def generator(self, place: int | None = None) -> torch.Generator:
        """Random numbers of this process and this micro-batch, or that of another place in the run."""
        place = self.trainer.fit_loop.total_batch_idx if place is None else place
        return step_generator(self.seed, place, self.global_rank)

    def _share(self, batch_idx: int) -> float:
        """What a micro-batch's loss is multiplied by, so that a step's gradient is the mean of its own.

        Lightning divides by the micro-batches that a step should have; the last one of an epoch may have
        fewer.
        """
        whole = self.trainer.accumulate_grad_batches
        return whole / min(whole, self.trainer.num_training_batches - batch_idx // whole * whole)


def seed_device(device: torch.device, seed: int) -> None:
    """Seed what draws on the device, and only that.

    ``torch.manual_seed`` seeds every kind of device; of those that are absent it remembers that, with the
    stack of the call, which takes longer than a small network's forward pass.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)
