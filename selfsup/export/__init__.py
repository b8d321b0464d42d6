"""An encoder in the formats of other programs, checked against the original on photographs."""

from selfsup.export.check import difference, photographs
from selfsup.export.formats import FORMATS, Preprocessed, export

__all__ = ["FORMATS", "Preprocessed", "difference", "export", "photographs"]
