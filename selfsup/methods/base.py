"""What all methods share: views, optimizer, schedules, and the order of a step."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from selfsup.encoder import Encoder
from selfsup.errors import UsageError
from selfsup.methods.step import StepMeans
from selfsup.objectives.precision import finite_or_not
from selfsup.optim import LARS, cosine, parameter_groups, part, warmup_cosine
from selfsup.views import ViewPlan


class Method(pl.LightningModule):
    """A self-supervised method: views -> encoder -> heads -> objective.

    A method implements :meth:`loss`, and overrides :meth:`after_step` (a teacher's average),
    :meth:`learned_encoder` (if it is the teacher), :meth:`regions` (if it masks), :meth:`before_update` or
    :attr:`whole_batch` where it needs to.

    State of a step (a teacher, a centre, a queue, a temperature) follows optimizer steps: ``loss`` changes
    nothing, gathers in ``self.of_step`` what a step is to leave behind, and :meth:`after_step` applies it.
    The running statistics of batch norms alone are a micro-batch's.

    Args:
        encoder: the encoder to train.
        views: the plan that makes the views.
        optimizer: settings, as in ``configs/method/*.yaml``.
        batch_size: samples an optimizer step, over all processes and accumulated batches.
        seed: of masks and of dropout.

    Attributes:
        of_step: means over the micro-batches of this step, of what ``loss`` gathers.
        untrained: names of parameters that pooled features use and the method leaves as they are.
    """

    def __init__(
        self,
        encoder: Encoder,
        views: ViewPlan,
        optimizer: Mapping[str, Any],
        batch_size: int,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.views = views
        self.optimizer = optimizer
        self.peak_lr = optimizer["lr"] * batch_size / optimizer["lr_batch"]
        self.seed = seed
        self.batch_size = batch_size
        self.step_skipped = False  # set where a step's gradients are not finite, and so not used
        self.of_step = StepMeans()
        self.untrained: list[str] = []

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning writes the name of the hook in work fifty times a step, and callbacks some numbers. Torch
        # asks each time whether it is a parameter: a tenth of a millisecond in all.
        if isinstance(value, str | float | None) and name in self.__dict__:
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def loss(self, views: Sequence[Tensor]) -> tuple[Tensor, dict[str, Tensor | float]]:
        """Loss of normalised views, each ``(N, 3, size, size)``, and scalars worth logging.

        Every step's loss has to reach all that is trained: what the first one does not reach is frozen.
        """
        raise NotImplementedError

    @property
    def whole_batch(self) -> bool:
        """Whether the loss compares a batch's samples, so that it is not the mean of its parts' losses.

        Batch norms do not count: they normalise by a micro-batch wherever batches are accumulated.
        """
        return False

    def regions(self, n: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Patches that are treated apart in ``n`` views, as a person would be shown them; none by default.

        Returns:
            By name, bool ``(n, L)``: "hidden" from the encoder, its "context", or others by their own names.
        """
        return {}

    def learned_encoder(self) -> Encoder:
        """The encoder that is handed over."""
        return self.encoder

    def average(self) -> Encoder | None:
        """The encoder's moving average, of a method that has one."""
        return None

    def observe(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        """What the collapse guard measures (:func:`selfsup.callbacks.guard.measure`), without gradients.

        A method with a projector, a teacher or masks adds what its objective compares.

        Args:
            views: the first one or two views of fixed images, each ``(N, 3, size, size)``.

        Returns:
            ``backbone``, the pooled features ``(N, D)`` of the encoder that is handed over, and any of
            ``embedding`` ``(N, D)``; ``teacher`` and ``student``, probabilities ``(N, K)``; named scalars.
        """
        return {"backbone": self.learned_encoder()(views[0])}

    def pictures(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        """What the method makes of images, for a person to look at, without gradients; {} if nothing.

        Args:
            views: of a few images, each ``(N, 3, size, size)``.

        Returns:
            By title: normalised images ``(N, 3, size, size)``, or maps of patches ``(N, rows, columns)`` in
            [0, 1], not-a-number where there is nothing to tell.
        """
        return {}

    def marks(self) -> dict[str, float]:
        """The loss's value where nothing is learned, ``trivial``, and the least it can be, ``floor``.

        Values of :mod:`selfsup.objectives.floors`; empty where there are none.
        """
        return {}

    def before_update(self) -> None:
        """Called between backward and the optimizer's step."""

    def after_step(self) -> None:
        """Called after every optimizer step but skipped ones, accumulated batches counting as one."""

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run; 1 without a trainer."""
        return int(self.trainer.estimated_stepping_batches) if self._trainer is not None else 1

    def learning_rate(self, step: int, total_steps: int) -> float:
        """Of a step of a run of ``total_steps``, before layer decay."""
        warmup = part(self.optimizer["warmup"], total_steps)
        return warmup_cosine(step, total_steps, warmup, self.peak_lr, self.peak_lr * self.optimizer["lr_end"])

    def generator(self) -> torch.Generator:
        """Random numbers of this step and process alone, so that nothing need be saved to resume."""
        micro_step = self.trainer.fit_loop.total_batch_idx if self._trainer is not None else 0
        return step_generator(self.seed, micro_step, self.global_rank)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        # Lightning goes through a batch, down to the last name of a skipped image, also where it is to stay.
        if device.type == "cpu":
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        step, total, settings = self.global_step, self.total_steps, self.optimizer
        lr = self.learning_rate(step, total)
        decay = cosine(step, total, settings["weight_decay"], settings["weight_decay_end"])
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = lr * group["lr_scale"]
            group["weight_decay"] = decay if group["decayed"] else 0.0
        # Dropout and stochastic depth draw from the device's own generator.
        seed_device(self.device, int(torch.randint(2**62, (), generator=self.generator())))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            views = self.views(batch, batch["epoch"])
        with finite_or_not():
            loss, scalars = self.loss(views)
        group = self.trainer.optimizers[0].param_groups[0]
        rates = {"lr": group["lr"], "weight_decay": group["weight_decay"]}
        scalars = {"loss": loss, **scalars}
        self.of_step.add(**scalars)
        # Where callbacks look; one of them writes to loggers. ``self.log`` takes longer than a small step.
        self.trainer.callback_metrics.update({**self.of_step.of(scalars), **rates})
        return loss * self._weight(batch_idx) if self.trainer.accumulate_grad_batches > 1 else loss

    def _weight(self, batch_idx: int) -> float:
        """What a micro-batch's loss is multiplied by, so that a step's gradient is the mean of its own.

        Lightning divides by the micro-batches that a step should have; the last one of an epoch may have
        fewer.
        """
        whole = self.trainer.accumulate_grad_batches
        return whole / min(whole, self.trainer.num_training_batches - batch_idx // whole * whole)

    def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        self.before_update()
        limit = self.optimizer["clip"]
        if limit is None:
            return
        parameters = [p for p in self.parameters() if p.grad is not None]
        if self.optimizer["clip_each"]:
            for parameter in parameters:
                nn.utils.clip_grad_norm_(parameter, limit)
        else:
            nn.utils.clip_grad_norm_(parameters, limit)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        if not self.step_skipped:
            self.after_step()
        self.of_step.clear()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return build_optimizer(self, self.optimizer)


def step_generator(seed: int, micro_step: int, rank: int) -> torch.Generator:
    """Random numbers of one batch of one process."""
    return torch.Generator().manual_seed((seed * 1_000_003 + micro_step) * 4_099 + rank)


def seed_device(device: torch.device, seed: int) -> None:
    """Seed what draws on the device, and only that.

    ``torch.manual_seed`` seeds every kind of device; of those that are absent it remembers that, with the
    stack of the call, which takes longer than a small network's forward pass.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


def build_optimizer(module: nn.Module, settings: Mapping[str, Any]) -> torch.optim.Optimizer:
    """The optimizer ``settings["name"]`` (adamw, lars or sgd) over a module's trainable parameters."""
    try:
        groups = parameter_groups(module, settings["weight_decay"], settings["layer_decay"])
    except ValueError as error:
        raise UsageError(f"method.optimizer: {error}") from error
    match settings["name"]:
        case "adamw":
            return torch.optim.AdamW(groups, lr=settings["lr"], betas=tuple(settings["betas"]), fused=True)
        case "lars":
            return LARS(groups, lr=settings["lr"], momentum=settings["momentum"])
        case "sgd":
            return torch.optim.SGD(groups, lr=settings["lr"], momentum=settings["momentum"])
        case name:
            raise UsageError(f"no optimizer '{name}'; choose adamw, lars or sgd")


def by_size(views: Sequence[Tensor]) -> list[Tensor]:
    """Consecutive views of one size as one batch, so that each size costs one forward pass."""
    batches: list[list[Tensor]] = []
    for view in views:
        if batches and batches[-1][0].shape == view.shape:
            batches[-1].append(view)
        else:
            batches.append([view])
    return [torch.cat(batch) for batch in batches]


def require_views(plan: ViewPlan, at_least: int, method: str) -> None:
    """Raise a UsageError unless the plan has enough views for the method."""
    if len(plan) < at_least:
        raise UsageError(
            f"{method} compares {at_least} views and the plan gives {len(plan)}; take views={method}"
        )


def require_full_size(plan: ViewPlan, encoder: Encoder, method: str) -> None:
    """Raise a UsageError unless every view has the encoder's input size."""
    if set(plan.sizes) != {encoder.input_size}:
        raise UsageError(
            f"{method} masks views of {encoder.input_size} px and the plan has {sorted(set(plan.sizes))}; "
            f"take views={method}"
        )


def require_heads(where: str, settings: Mapping[str, int]) -> None:
    """Raise a UsageError unless a transformer of this ``width`` can have so many ``heads``.

    They share the width out evenly; sine-cosine positions share it out among four.

    >>> require_heads("method.decoder", {"width": 96, "heads": 3})
    """
    width, heads = settings["width"], settings["heads"]
    if width % 4:
        raise UsageError(f"{where}.width is {width}; it has to be a multiple of 4, for its positions")
    if width % heads:
        fitting = [number for number in range(1, width + 1) if width % number == 0]
        nearest = min(fitting, key=lambda number: abs(number - heads))
        raise UsageError(
            f"{where}.heads is {heads}, which does not divide {where}.width={width}; take {nearest} heads"
        )
