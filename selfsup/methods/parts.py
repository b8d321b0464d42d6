"""Parts of methods whose state follows optimizer steps: a teacher, a centre, a layer frozen at first.

A loss changes no state: it would change it once a micro-batch, in steps that are skipped, and wherever
somebody only looks at the loss. It leaves what it saw with a part, and the part moves after the step.
"""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup.methods.snapshot import Snapshot
from selfsup.methods.step import StepMeans
from selfsup.objectives.distributed import gather
from selfsup.optim import cosine, update_average

Copied = TypeVar("Copied", bound=nn.Module)
SHORTEST_LAG = 4.0  # steps in which half of a teacher is renewed: one that follows at once teaches nothing


class Part(nn.Module):
    """Something with state, which lives in buffers, so that checkpoints hold it.

    ``step`` is the number of optimizer steps made before this one, ``steps`` that of the whole run.
    """

    def before_update(self, step: int, steps: int) -> None:
        """Called between the backward pass and the optimizer's step."""

    def after_step(self, step: int, steps: int) -> None:
        """Called after every optimizer step that was not skipped, accumulated batches counting as one."""

    def after_step_unless(self, skipped: Tensor, step: int, steps: int) -> None:
        """Called in place of ``after_step`` where a device alone knows whether the step was skipped.

        It undoes on the device what ``after_step`` changed in the part's own parameters and buffers.
        """
        before = Snapshot([*self.parameters(), *self.buffers()])
        self.after_step(step, steps)
        before.put_back(skipped)

    def forget(self) -> None:
        """Drop what was gathered in this step: it is over, or somebody only looked at the loss."""


class Teacher(Part):
    """A copy of a student that follows it as a moving average: ``teacher = m teacher + (1 - m) student``.

    With a momentum of 1 it never moves: a frozen or a random teacher.

    The published momenta are for runs of 10⁵ steps. A momentum that rises to 1 in a short run leaves much of
    the teacher at its initial weights, so that ``lag`` bounds it: m <= 2^(-1 / (lag steps)), by which half of
    the teacher is younger than that share of the run, but for runs so short that it would be under 4 steps.

    Args:
        student: what is trained; a copy of it as it is now begins.
        momentum: ``start`` and ``end`` of m, and perhaps ``lag``, None for no bound.
        schedule: the way between them, :func:`~selfsup.optim.cosine` or :func:`~selfsup.optim.linear`.
        buffers: whether the student's batch-norm statistics are copied; not for a teacher that runs in
            training mode and so gathers its own.

    Attributes:
        module: the copy. Call the teacher itself for an answer without gradients.

    Example:
        >>> student = nn.Linear(1, 1, bias=False)
        >>> teacher = Teacher(student, {"start": 0.5, "end": 0.5})
        >>> _ = student.weight.data.fill_(1.0), teacher.module.weight.data.fill_(0.0)
        >>> teacher.after_step(0, 10)
        >>> teacher.module.weight.item()
        0.5
    """

    def __init__(
        self,
        student: nn.Module,
        momentum: Mapping[str, Any],
        schedule: Callable[[int, int, float, float], float] = cosine,
        buffers: bool = False,
    ) -> None:
        super().__init__()
        self.module = copied(student).requires_grad_(False)
        self.momentum, self.schedule, self.buffers_too = momentum, schedule, buffers
        self._student = (student,)  # in a tuple, so that it is no part of the teacher's state

    @torch.no_grad()
    def forward(self, *inputs: Any, **settings: Any) -> Any:
        return self.module(*inputs, **settings)

    def after_step(self, step: int, steps: int) -> None:
        momentum = self.momentum_of(step, steps)
        update_average(self.module, self._student[0], momentum, buffers=self.buffers_too)

    def after_step_unless(self, skipped: Tensor, step: int, steps: int) -> None:
        # By a momentum of 1, without a copy of the teacher.
        momentum = torch.where(skipped, 1.0, self.momentum_of(step, steps))
        update_average(self.module, self._student[0], momentum, buffers=self.buffers_too)

    def momentum_of(self, step: int, steps: int) -> float:
        """The share of the teacher that a step leaves."""
        momentum = self.schedule(step, steps, self.momentum["start"], self.momentum["end"])
        if lag := self.momentum.get("lag"):
            momentum = min(momentum, 0.5 ** (1 / max(SHORTEST_LAG, lag * steps)))
        return momentum

    def copy_of(self, module: nn.Module) -> nn.Module | None:
        """The teacher's copy of a part of the student, None of what is not in it."""
        for name, part in self._student[0].named_modules():
            if part is module:
                return self.module.get_submodule(name)
        return None


class Frozen(Part):
    """A trained network that stays as it is, in evaluation mode; call it for an answer without gradients.

    Example:
        >>> frozen = Frozen(nn.Dropout(0.5)).train()
        >>> frozen(torch.ones(3)).tolist()
        [1.0, 1.0, 1.0]
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, *inputs: Any, **settings: Any) -> Any:
        return self.module(*inputs, **settings)

    def after_step_unless(self, skipped: Tensor, step: int, steps: int) -> None:
        """Nothing moves, and nothing need be undone."""

    def train(self, mode: bool = True) -> "Frozen":
        return super().train(False)


class Centre(Part):
    """A running mean of what steps see, such as a teacher's mean output; zeros at first.

    Args:
        shape: of the mean.
        momentum: of the running mean.

    Attributes:
        value: a tensor of that shape.
    """

    value: Tensor

    def __init__(self, shape: int | tuple[int, ...], momentum: float) -> None:
        super().__init__()
        self.momentum, self.means = momentum, StepMeans()
        self.register_buffer("value", torch.zeros(shape))

    def gather(self, mean: Tensor) -> None:
        """Take note of a micro-batch's mean, over all processes."""
        self.means.add(mean=mean)

    def after_step(self, step: int, steps: int) -> None:
        if "mean" in self.means:
            self.value.lerp_(self.means["mean"].to(self.value), 1 - self.momentum)

    def forget(self) -> None:
        self.means.clear()


class FrozenAtFirst(Part):
    """Keeps a module's parameters as they are during the first ``share`` of the run."""

    def __init__(self, module: nn.Module, share: float) -> None:
        super().__init__()
        self.share = share
        self._module = (module,)

    def frozen(self, step: int, steps: int) -> bool:
        """Whether the parameters stand still in this step."""
        return step < self.share * steps

    def before_update(self, step: int, steps: int) -> None:
        if self.frozen(step, steps):
            # None, not zero: an optimizer still decays and carries on a parameter whose gradient is zero.
            for parameter in self._module[0].parameters():
                parameter.grad = None


class Prototypes(FrozenAtFirst):
    """Trained directions that embeddings are compared with; every step leaves them at length 1.

    Args:
        width: of an embedding.
        count: of the prototypes.
        freeze: share of the run in which they are not updated.

    Attributes:
        weight: ``(count, width)``, of unit rows.

    Example:
        >>> prototypes = Prototypes(width=2, count=3)
        >>> _ = prototypes.weight.data.mul_(5)
        >>> prototypes.after_step(0, 10)
        >>> prototypes.weight.norm(dim=1).round(decimals=3).tolist()
        [1.0, 1.0, 1.0]
    """

    def __init__(self, width: int, count: int, freeze: float = 0.0) -> None:
        super().__init__(self, freeze)
        self.weight = nn.Parameter(F.normalize(torch.randn(count, width), dim=1))

    def forward(self, z: Tensor) -> Tensor:
        """Cosines ``(..., count)`` of embeddings ``(..., width)`` and prototypes, in full precision."""
        with torch.autocast(z.device.type, enabled=False):
            return F.linear(F.normalize(z.to(self.weight), dim=-1), self.weight)

    @torch.no_grad()
    def after_step(self, step: int, steps: int) -> None:
        if not self.frozen(step, steps):  # else they would move by rounding
            self.weight.copy_(F.normalize(self.weight, dim=1))


class Queue(Part):
    """The newest rows that were gathered, by all processes; at first rows of random directions.

    Args:
        size: number of rows.
        width: of a row.

    Attributes:
        rows: ``(size, width)``, in no order of age.

    Example:
        >>> queue = Queue(size=3, width=1)
        >>> queue.gather(torch.tensor([[1.0], [2.0]]))
        >>> queue.after_step(0, 10)
        >>> queue.forget()
        >>> queue.gather(torch.tensor([[3.0], [4.0]]))
        >>> queue.after_step(1, 10)
        >>> queue.rows.flatten().tolist()
        [4.0, 2.0, 3.0]
    """

    rows: Tensor
    next: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self._gathered: list[Tensor] = []
        self.register_buffer("rows", F.normalize(torch.randn(size, width), dim=1))
        self.register_buffer("next", torch.zeros((), dtype=torch.int64))

    def gather(self, rows: Tensor) -> None:
        """Take note of a micro-batch's rows ``(N, width)`` of this process."""
        self._gathered.append(gather(rows.detach()))

    @torch.no_grad()
    def after_step(self, step: int, steps: int) -> None:
        if self._gathered:
            rows = torch.cat(self._gathered)[-len(self.rows) :].to(self.rows)
            places = (self.next + torch.arange(len(rows), device=rows.device)) % len(self.rows)
            self.rows.index_copy_(0, places, rows)
            self.next.add_(len(rows)).remainder_(len(self.rows))

    def forget(self) -> None:
        self._gathered.clear()


def copied(module: Copied) -> Copied:
    """A deep copy, also of layers whose weight is computed from others (weight norm)."""
    return deepcopy(module, {id(tensor): tensor.detach().clone() for tensor in _computed(module)})


def _computed(module: nn.Module) -> Iterator[Tensor]:
    for part in module.modules():
        yield from (value for value in vars(part).values() if isinstance(value, Tensor) and not value.is_leaf)
