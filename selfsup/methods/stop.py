"""StoP: I-JEPA, whose predictor knows only roughly where the tokens are that it predicts.

Bar et al. 2024, "Stochastic positional embeddings improve masked image modeling", arXiv:2308.00566.
"""

from typing import Any

import torch
from lightly.models import utils
from lightly.models.modules.ijepa_timm import IJEPAPredictorTIMM
from torch import Tensor

from selfsup.methods.batch import Batch
from selfsup.methods.failures import Bound, Failure
from selfsup.methods.jepa import JEPA


class StoP(JEPA):
    """A target's position is a Gaussian about the sine-cosine one, of a covariance that is learned.

    The predictor asks for a token at position p by ``p + W e + b``, where W and b are its layer for what the
    encoder sees and e is drawn from a Gaussian. As W serves both, it cannot turn the noise off and still see.
    The published code calls the standard deviation of e its variance.

    Args:
        noise: standard deviation of e.
    """

    failures: tuple[Failure, ...] = (
        *JEPA.failures,
        Failure(
            "noise turned off",
            (Bound("input_norm", below=0.5, of_start=True),),
            "the predictor's input layer has shrunk to a norm of {input_norm:.2g}, and with it the noise of "
            "positions, since step {since}",
            "lower method.noise",
        ),
    )

    def __init__(self, *, noise: float, **settings: Any) -> None:
        super().__init__(**settings)
        self.noise = noise
        self.predictor.decoder.mask_token.requires_grad_(False)  # the input layer's bias takes its place

    def predict(self, visible: Tensor, context: Tensor, targets: Tensor, batch: Batch) -> Tensor:
        predictor = self.predictor
        assert isinstance(predictor, IJEPAPredictorTIMM)
        positions = predictor.decoder.pos_embed.expand(len(context), -1, -1)
        seen = predictor.predictor_embed(visible) + utils.apply_masks(positions, [context])
        asked = utils.apply_masks(positions, list(targets))
        noise = self.noise * batch.normal(*asked.shape[:2], visible.shape[-1])
        asked = asked + predictor.predictor_embed(noise)
        tokens = torch.cat([seen.repeat(len(targets), 1, 1), asked], dim=1)
        return predictor.predictor_proj(predictor.decoder.decode(tokens)[:, seen.shape[1] :])

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        return super().observe(batch) | {"input_norm": self.predictor.predictor_embed.weight.norm()}
