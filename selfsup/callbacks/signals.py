"""A polite request to stop: SIGTERM, Ctrl-C, a closed terminal, or SIGUSR1, SLURM's warning."""

import os
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from selfsup.errors import REQUEUE, RunStopped

_NAMES = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP")
SIGNALS = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
TOGETHER = 1.0  # seconds in which signals count as one: a launcher forwards what its whole group has received
_INTERRUPTED = 130  # a shell's exit status for a command that Ctrl-C ended


class _Interrupted(BaseException):
    """Raised by a signal; not an Exception, so that no decoder's ``except Exception`` catches it."""


class StopSignals:
    """Turns the first signal into a :class:`RunStopped`; a second one, a second later, ends the process.

    While :meth:`waiting`, the first signal is only noted in ``received``, so that the step that is
    being made can be finished and written down.

    Python runs a handler when the main thread returns to Python, which it may never do: in torch it may wait
    for another process. So a thread listens, too. It ends the process at the second signal and, while
    processes look for each other (:meth:`looking`), at the first.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self.hint = "; nothing was started"
        self._waits = False
        self.looks = False  # whether processes look for each other
        self.ending = False  # whether the run is ending, which waits for no other process
        self._first = 0.0
        self._limit: threading.Timer | None = None

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catch the signals, in the main thread, until the block is left."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in SIGNALS}
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        listener = threading.Thread(target=self._listen, args=(reader,), name="signals", daemon=True)
        listener.start()
        wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            self.catch()
            yield
        except _Interrupted:
            raise self.stopped(self.hint) from None
        finally:
            self.found()
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup)
            writer.close()
            listener.join()
            reader.close()

    def catch(self) -> None:
        """Install the handlers; again after a library has installed its own."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if not _ignored(number):
                    signal.signal(number, self._handle)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A block in which a signal is noted, not raised; whoever reads ``received`` acts on it."""
        self._waits = True
        try:
            yield
        finally:
            self._waits = False

    @property
    def training(self) -> bool:
        """Whether steps are being made and no signal asks to stop."""
        return self._waits and not self.received and not self.ending

    def looking(self, minutes: float, where: str) -> None:
        """From now until :meth:`found`, processes look for each other; after ``minutes`` the process ends."""

        def end() -> None:
            self.leave(
                f"the other processes did not come within {minutes:g} minutes; they were awaited at {where}; "
                "see whether all were started, with the same settings"
            )

        self.looks = True
        self._limit = threading.Timer(60 * minutes, end)
        self._limit.daemon = True
        self._limit.start()

    def found(self) -> None:
        """The processes have found each other, or no longer look."""
        self.looks = False
        if self._limit is not None:
            self._limit.cancel()

    def leave(self, sentence: str, status: int = 1) -> None:
        """End the process from a thread, with a sentence: the main thread waits in vain."""
        print(f"selfsup train: {sentence}", file=sys.stderr, flush=True)
        os._exit(status)

    def stopped(self, then: str) -> RunStopped:
        """The exception of the signal that was received: ``then`` ends its sentence."""
        status = _INTERRUPTED if self.received == "SIGINT" else REQUEUE
        return RunStopped(f"stopped by {self.received or 'a signal to another process'}{then}", status)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._first = signal.Signals(number).name, time.monotonic()
            if self.received == "SIGHUP":
                _leave_the_terminal()
            if not self._waits:
                raise _Interrupted
        elif time.monotonic() - self._first > TOGETHER:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def _listen(self, reader: socket.socket) -> None:
        first = None
        while caught := reader.recv(1):
            number = caught[0]
            if number not in SIGNALS:
                continue
            first = first or time.monotonic()
            if self.looks:
                self.received = self.received or signal.Signals(number).name
                error = self.stopped(f" while the processes looked for each other{self.hint}")
                self.leave(str(error), error.status)
            if time.monotonic() - first > TOGETHER:
                time.sleep(TOGETHER)  # for the main thread to end by the signal
                os._exit(128 + number)


def _ignored(number: int) -> bool:
    """Whether this process was started to outlive its terminal, as by ``nohup``."""
    return number == getattr(signal, "SIGHUP", None) and signal.getsignal(number) == signal.SIG_IGN


def _leave_the_terminal() -> None:
    """Discard what is printed if the terminal is closed: writing to it fails."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        try:
            if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
                os.dup2(nowhere, descriptor)
        except OSError:  # it was closed before
            continue
    os.close(nowhere)
