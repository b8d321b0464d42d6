"""A polite request to stop: SIGTERM, Ctrl-C, or SIGUSR1, with which SLURM warns before it takes a machine."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from selfsup.errors import REQUEUE, RunStopped

SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name)]
_INTERRUPTED = 130  # what a shell says of a command that was ended by Ctrl-C


class _Interrupted(BaseException):
    """What a signal raises wherever it comes; no decoder's ``except Exception`` may take it for a fault."""


class StopSignals:
    """Turns the first signal into a :class:`RunStopped`; the second ends the process at once.

    While :meth:`waiting`, the first signal is only noted in ``received``, so that the step that is
    being made can be finished and written down.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self.hint = "; nothing was begun"
        self._waits = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catch the signals, in the main thread, until the block is left."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in SIGNALS}
        try:
            self.catch()
            yield
        except _Interrupted:
            raise self.stopped(self.hint) from None
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def catch(self) -> None:
        """Put the handlers in place; again after a library has put in its own."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, signal.SIG_DFL if self.received else self._handle)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A block in which a signal is noted, not raised; whoever reads ``received`` acts on it."""
        self._waits = True
        try:
            yield
        finally:
            self._waits = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number).name
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        if not self._waits:
            raise _Interrupted

    def stopped(self, then: str) -> RunStopped:
        """The exception of the signal that was received: ``then`` goes on with its sentence."""
        status = _INTERRUPTED if self.received == "SIGINT" else REQUEUE
        return RunStopped(f"stopped by {self.received or 'a signal to another process'}{then}", status)
