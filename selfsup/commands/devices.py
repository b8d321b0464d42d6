"""The device that a command runs an encoder on."""

from selfsup.errors import UsageError


def find_device(asked: str, local_rank: int = 0) -> str:
    """``auto`` as a GPU if there is one, else the CPU; anything else as it is.

    Args:
        local_rank: of several processes on a machine this one's number, which is its GPU's.

    Raises:
        UsageError: a GPU was asked for where torch sees none.
    """
    import torch

    if asked == "auto":
        asked = "cuda" if torch.cuda.is_available() else "cpu"
    if str(asked).startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"device={asked} was asked for, but torch sees no GPU here; use device=auto")
    return f"cuda:{local_rank}" if asked == "cuda" and local_rank else str(asked)
