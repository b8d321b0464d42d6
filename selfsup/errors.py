"""The one exception that means: the person running this can mend it."""


class UsageError(ValueError):
    """A mistake in what was asked for, as one sentence that says what is wrong and what would be right.

    Commands print the sentence without a traceback and exit with status 2.
    """
