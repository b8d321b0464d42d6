"""One numbering of the classes for a bank and queries that come from different data."""

import copy

import torch

from selfsup.data import Source
from selfsup.errors import UsageError


def same_classes(bank: Source, query: Source) -> Source:
    """``query`` with its labels numbered as those of ``bank``, by the names of the classes.

    Classes that only the queries have get numbers beyond the bank's, and so count as wrong. Without labels,
    or if a source does not name its classes, ``query`` is returned unchanged.

    Raises:
        UsageError: no class is in both.

    Example:
        >>> from selfsup.data import ImageArray
        >>> images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
        >>> bank = ImageArray(images, torch.tensor([0, 1]), ["cat", "dog"])
        >>> same_classes(bank, ImageArray(images, torch.tensor([0, 1]), ["dog", "owl"])).labels
        tensor([1, 2])
    """
    if bank.labels is None or query.labels is None or not bank.classes or not query.classes:
        return query
    if bank.classes == query.classes:
        return query
    if not set(bank.classes) & set(query.classes):
        raise UsageError(
            f"the bank's classes ({_few(bank.classes)}) and the query's ({_few(query.classes)}) have no name "
            "in common; give data that share some, or leave labels out for the scores that need none"
        )
    every = [*bank.classes, *(name for name in query.classes if name not in bank.classes)]
    number = torch.tensor([every.index(name) for name in query.classes])
    renumbered = copy.copy(query)
    renumbered.labels, renumbered.classes = number[query.labels], every
    return renumbered


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
