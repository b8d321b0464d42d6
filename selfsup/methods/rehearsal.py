"""A step on two images before a run is begun: what it shows to be wrong is said while nothing is lost yet.

It measures what no list of architectures could say: which parameters a method trains, and which parts of a
teacher draw random numbers.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from selfsup.encoder import Encoder
from selfsup.encoder.creation import create
from selfsup.errors import UsageError
from selfsup.methods.base import Method
from selfsup.methods.batch import Batch, step_generator
from selfsup.objectives.precision import finite_or_not
from selfsup.sides import sides, sizes_in_words

IMAGES = 2  # the fewest that batch norms and negatives take
# Arguments that leave out a pooling of many weights, as far as an architecture has them.
_POOLINGS: tuple[dict[str, Any], ...] = (
    {"global_pool": "avg", "fc_norm": False},
    {"global_pool": "avg", "use_fc_norm": False},
    {"global_pool": "avg"},
)


def rehearse(method: Method, name: str, alone: bool = False) -> list[str]:
    """Make one step's forward and backward pass, and put right what it shows; nothing else is changed.

    * Parameters that get no gradient are frozen: an optimizer would leave them alone too, but processes that
      share gradients would wait for theirs.
    * Parts of a teacher that draw random numbers (dropout, stochastic depth, dropped patches) stop doing so
      for good; its batch norms go on using the batch. A teacher is what runs without gradients, and never
      with them.

    Args:
        method: as it was built, on the CPU, without a trainer.
        name: the method's, for what is said.
        alone: whether a process has one image at a time, which batch norms refuse.

    Returns:
        Names of the encoder's parameters that are frozen, and that its pooled features nevertheless use;
        vectors that are as they were initialised, such as the norm behind a pooling.

    Raises:
        UsageError: the method cannot train this encoder, or would hand over pooled features of weights that
            it does not train, or a teacher draws random numbers whatever its mode.
    """
    if torch.is_inference_mode_enabled():  # nothing that is made in it can be trained
        return []
    batch = noise_batch(method)
    backbone = method.encoder.recipe["name"]
    trained = {key: p for key, p in method.named_parameters() if p.requires_grad}
    with _unchanged(method), finite_or_not(), torch.enable_grad():
        try:
            before = _generators()
            loss = method(batch).loss
            drawn = _generators() != before
            gradients = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
        except UsageError:
            raise
        except (RuntimeError, ValueError, AssertionError, IndexError) as error:
            raise UsageError(
                f"method={name} cannot train backbone '{backbone}' on views of "
                f"{sizes_in_words(method.views.sizes)} "
                f"({' '.join(str(error).split())}); take another, such as vit_tiny or resnet18"
            ) from error
        if drawn:
            _quieten(method, batch, backbone)
        frozen = {key: p for (key, p), g in zip(trained.items(), gradients, strict=True) if g is None}
        used = _used(method, frozen) if frozen else []
    if alone:
        _require_one_image(method, name, batch)
    for parameter in frozen.values():
        parameter.requires_grad_(False)
    if random_ones := [key for key in used if not _constant(frozen[key])]:
        raise UsageError(
            f"method={name} does not train '{random_ones[0]}' of backbone '{backbone}', through which its "
            f"pooled features pass; {_without(method.encoder, random_ones[0])}"
        )
    return used


def _require_one_image(method: Method, name: str, batch: Batch) -> None:
    one = replace(batch, views=[view[:1] for view in batch.views], index=batch.index[:1])
    if batch.labels is not None:
        one = replace(one, labels=batch.labels[:1])
    with _unchanged(method), finite_or_not(), torch.no_grad():
        try:
            method(one)
        except ValueError as error:
            raise UsageError(
                f"method={name} cannot learn from one image at a time ({' '.join(str(error).split())}); take "
                "batch_size=2 or more"
            ) from error


def noise_batch(method: Method) -> Batch:
    """A batch of two images of noise."""
    index, size = torch.arange(IMAGES), method.encoder.input_size

    def drawn(number: int) -> dict[str, Tensor]:
        return method.views.drawn(number, index, 0, *size)

    labels = index if method.labelled else None
    relation = None if method.relation is None else _alone
    views = [_noise(method, each) for each in method.views.sizes]
    return Batch(views, index, labels, 0, 1, step_generator(method.seed, 0), drawn, relation)


def _alone(rows: Tensor, columns: Tensor) -> Tensor:
    """A relation of samples that belong with themselves alone."""
    return rows.unsqueeze(1) == columns


def _noise(method: Method, size: int | Sequence[int]) -> Tensor:
    shape = method.encoder.channels, *sides(size)
    return torch.randn(IMAGES, *shape, generator=torch.Generator().manual_seed(shape[-1]))


def _used(method: Method, parameters: dict[str, nn.Parameter]) -> list[str]:
    """Which of the parameters the encoder's pooled features depend on."""
    features = method.encoder(_noise(method, method.encoder.input_size))
    found = torch.autograd.grad(features.sum(), list(parameters.values()), allow_unused=True)
    return [key for key, gradient in zip(parameters, found, strict=True) if gradient is not None]


def _without(encoder: Encoder, parameter: str) -> str:
    """Settings with which the backbone has no such parameter, as a trial shows."""
    recipe, name = encoder.recipe, parameter.removeprefix("encoder.model.")
    for more in _POOLINGS:
        try:
            with torch.device("meta"):
                args = {**recipe["model_args"], **more}
                model = create(recipe["name"], recipe["image_size"], args, channels=encoder.channels)
        except UsageError:
            continue
        if name not in model.state_dict():
            return "add " + " and ".join(
                f"backbone.model_args.{key}={str(value).lower()}" for key, value in more.items()
            )
    return "take another, such as vit_tiny"


def _constant(parameter: Tensor) -> bool:
    return bool(parameter.min() == parameter.max())


def _quieten(method: Method, batch: Batch, backbone: str) -> None:
    """Keep what draws without a gradient in evaluation mode, whoever puts the module around it into training.

    A whole teacher in evaluation mode would be another one: its batch norms would use running statistics,
    and networks that keep computed weights between passes (LeViT) would go on with those of old weights.
    """
    for module in _drawing(method, batch):
        module.register_forward_pre_hook(evaluate_only)
    if left := _drawing(method, batch):
        raise UsageError(
            f"the teacher of backbone '{backbone}' draws random numbers in evaluation mode too (in its "
            f"{type(left[0]).__name__}), so that its answers would be noise; take another, such as vit_tiny"
        )


def evaluate_only(module: nn.Module, inputs: object) -> None:
    """A hook before a module's forward pass that leaves it, and not its children, in evaluation mode."""
    module.training = False


def _drawing(method: Method, batch: Batch) -> list[nn.Module]:
    """Modules that draw random numbers themselves in a step, and always without gradients."""
    inside: list[nn.Module] = []
    with_gradients: dict[nn.Module, bool] = {}
    state = _generators()

    def look() -> None:
        nonlocal state
        if (now := _generators()) != state:
            state = now
            if inside:
                module = inside[-1]
                with_gradients[module] = with_gradients.get(module, False) or torch.is_grad_enabled()

    def enter(module: nn.Module, inputs: object) -> None:
        look()
        inside.append(module)

    def leave(module: nn.Module, inputs: object, output: object) -> None:
        look()
        inside.pop()

    handles = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave)]
    try:
        method(batch)
    finally:
        for handle in handles:
            handle.remove()
    return [module for module, learns in with_gradients.items() if not learns]


def _generators() -> tuple[object, ...]:
    """The state of every global generator that a network on the CPU may draw from."""
    numpy = np.random.get_state(legacy=True)  # noqa: NPY002  (that of others' code)
    assert isinstance(numpy, tuple)
    return torch.get_rng_state().numpy().tobytes(), numpy[1].tobytes(), numpy[2:], random.getstate()


@contextmanager
def _unchanged(method: Method) -> Iterator[None]:
    """Inside, a method may be run; afterwards its buffers and all generators are what they were."""
    buffers = [(buffer, buffer.clone()) for buffer in method.buffers()]
    numpy, python = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        np.random.set_state(numpy)  # noqa: NPY002
        random.setstate(python)
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        method.forget()
