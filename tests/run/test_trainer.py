"""What our trainer leaves out of a step is nothing that is needed."""

from collections import Counter
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.profilers import PassThroughProfiler
from torch.utils.data import DataLoader

from selfsup.run.trainer import Unmeasured, without_idle_hooks


class Layer(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.layer(batch).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def called_in(steps: int, callback: pl.Callback, profiler: PassThroughProfiler | None = None) -> list[str]:
    """The callback's hooks that Lightning calls in training, in order, as its profiler is told them."""
    seen: list[str] = []

    class Seeing(PassThroughProfiler):
        def start(self, action_name: str) -> None:
            if action_name.startswith(f"[Callback]{callback.state_key}."):
                seen.append(action_name.rpartition(".")[2])

    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=steps,
        callbacks=[callback],
        logger=False,
        profiler=profiler or Seeing(),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Layer(), DataLoader(torch.randn(8, 2), batch_size=None))
    return seen


class Looking(pl.Callback):
    def __init__(self) -> None:
        self.looks: list[str] = []

    def on_after_backward(self, *args: Any) -> None:
        self.looks.append("on_after_backward")

    def on_train_batch_end(self, *args: Any) -> None:
        self.looks.append("on_train_batch_end")


def test_of_an_idle_callback_nothing_is_called_in_a_step() -> None:
    def in_a_step(callback: pl.Callback) -> Counter[str]:
        return Counter(called_in(2, callback)) - Counter(called_in(1, callback))

    (idle,) = without_idle_hooks([pl.Callback()])
    assert in_a_step(pl.Callback()).total() >= 6  # Lightning calls them though they are empty
    assert in_a_step(idle).total() == 0


def test_hooks_that_do_something_are_called_as_ever() -> None:
    (looking,) = without_idle_hooks([Looking()])
    seen = called_in(3, looking)
    assert looking.looks == ["on_after_backward", "on_train_batch_end"] * 3
    assert [hook for hook in seen if hook in set(looking.looks)] == looking.looks
    assert {"on_fit_start", "on_train_start", "on_train_epoch_end", "on_train_end"} <= set(seen)


def test_an_unmeasured_run_is_the_same_and_lets_errors_through() -> None:
    looking = Looking()
    called_in(3, looking, Unmeasured())
    assert looking.looks == ["on_after_backward", "on_train_batch_end"] * 3

    class Failing(pl.Callback):
        def on_after_backward(self, *args: Any) -> None:
            raise KeyError("no such thing")

    with pytest.raises(KeyError, match="no such thing"):
        called_in(1, Failing(), Unmeasured())
