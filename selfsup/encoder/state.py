"""The state of a network by the names that timm knows."""

from torch import Tensor, nn
from torch.nn.utils import parametrize


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dictionary as it would be of plain layers: a weight that is computed has its value."""
    state = dict(model.state_dict())
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module):
            for tensor in module.parametrizations:  # type: ignore[union-attr]
                inside = f"{name}.parametrizations.{tensor}."
                state = {key: value for key, value in state.items() if not key.startswith(inside)}
                state[f"{name}.{tensor}"] = getattr(module, tensor).detach()
    return state
