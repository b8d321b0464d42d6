"""The reason why a protocol gives no score."""


class NoScore(ValueError):
    """The data cannot give this score; the message is one sentence that says why.

    It is raised by the public functions, and becomes the reason in the row of a table.
    """
