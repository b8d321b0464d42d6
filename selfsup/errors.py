"""Exceptions that are told as one sentence instead of a traceback."""


class UsageError(ValueError):
    """A mistake in what was asked for, as one sentence that says what is wrong and what would be right.

    Commands print the sentence without a traceback and exit with status 2.
    """


class RunStopped(RuntimeError):
    """A run that ended itself because going on would have been of no use, as one sentence.

    Commands print the sentence without a traceback and exit with status 1.
    """
