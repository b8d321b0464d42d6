"""An encoder written while a run goes on."""

import copy
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfsup.encoder import Encoder, save_encoder


def keep_encoder(encoder: Encoder, folder: Path, card: Mapping[str, Any]) -> None:
    """Write an encoder in place of an older one; its folder holds a whole one at any moment."""
    fresh, old = (folder.with_name(f"{folder.name}{ending}") for ending in (".new", ".old"))
    for left in (fresh, old):
        shutil.rmtree(left, ignore_errors=True)
    save_encoder(copy.deepcopy(encoder).cpu().eval(), fresh, dict(card))
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
