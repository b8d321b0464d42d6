"""Fewer threads while other programs use the cores."""

from typing import Any

import pytorch_lightning as pl

from selfsup.cores import look


class FreeCores(pl.Callback):
    """Has :func:`selfsup.cores.look` look before a run, and in each step before its two long parts."""

    def on_train_start(self, *_: Any) -> None:
        look()

    def on_train_batch_start(self, *_: Any) -> None:
        look()

    def on_before_backward(self, *_: Any) -> None:
        look()
