"""What a method in lightly's form is."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytorch_lightning as pl
from torch import nn

Config = Mapping[str, Any]


class Form(NamedTuple):
    """A method in lightly's form."""

    module: Callable[[nn.Module, Config], pl.LightningModule]
    transform: Callable[[Config], Callable[..., Any]]
    collate: Callable[[Config, nn.Module], Callable[..., Any] | None] = lambda config, backbone: None
