"""The end of a run whose encoder no longer gets better, as far as the evaluation while training can tell."""

from typing import Any

import pytorch_lightning as pl
from rich.console import Console

from selfsup.evidence import goodness
from selfsup.terminal import say


class Stopping(pl.Callback):
    """Ends a run as its last step would, once a score has not grown for a number of looks.

    It has to stand behind the callback that looks (:class:`selfsup.callbacks.online.OnlineEvaluation`), whose
    scores all processes have. A look without the score counts as one that did not grow. Lightning makes at
    least one epoch whole.

    Args:
        score: its name in ``online.csv``.
        patience: looks in a row.
        console: tells the end.
    """

    def __init__(self, score: str, patience: int, console: Console) -> None:
        self.score, self.patience, self.console = score, patience, console
        self.best: float | None = None
        self.step_of_best = self.seen = self.waited = 0

    def state_dict(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in ("best", "step_of_best", "seen", "waited")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for key, value in state_dict.items():
            setattr(self, key, value)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        self._look(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._look(trainer, pl_module)

    def _look(self, trainer: pl.Trainer, pl_module: Any) -> None:
        nothing: tuple[int, dict[str, float | None]] = (0, {})
        step, found = getattr(pl_module, "online_scores", nothing)
        if step <= self.seen:
            return
        self.seen = step
        value = found.get(self.score)
        good = None if value is None else goodness(self.score, value)
        if good is not None and (self.best is None or good > self.best):
            self.best, self.step_of_best, self.waited = good, step, 0
            return
        self.waited += 1
        if self.waited >= self.patience and not trainer.should_stop:
            trainer.should_stop = True
            say(
                self.console,
                f"stopped at step {step}: {self.score} has not been better in {self.waited} looks since "
                f"step {self.step_of_best} (trainer.stop, trainer.stop_patience)",
            )
