"""The device that a command runs an encoder on."""

from selfsup.errors import UsageError


def find_device(asked: str) -> str:
    """``auto`` as a GPU if there is one, else the CPU; anything else as it is.

    Raises:
        UsageError: a GPU was asked for where torch sees none.
    """
    import torch

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if str(asked).startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"device={asked} was asked for, but torch sees no GPU here; use device=auto")
    return str(asked)
