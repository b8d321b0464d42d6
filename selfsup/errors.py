"""The exceptions that end a command with a sentence instead of a traceback."""


class UsageError(ValueError):
    """A user's mistake, as one sentence that says what is wrong and what would be right.

    Commands print the sentence without a traceback and exit with status 2.
    """


class RunStopped(RuntimeError):
    """A run that ended early, as one sentence that says why and how to continue.

    Commands print the sentence without a traceback and exit with ``status``: 1 if somebody has to look, or
    :data:`REQUEUE` if the run only has to be resumed.
    """

    def __init__(self, sentence: str, status: int = 1) -> None:
        super().__init__(sentence)
        self.status = status


REQUEUE = 75  # EX_TEMPFAIL of sysexits.h: a temporary failure, to be tried again
