"""combine=mgda: whose gradients are balanced, on how many processes, and where it is refused."""

from typing import Any

import pytest
import torch
from torch import Tensor

from selfsup.commands import main
from selfsup.commands.train import check
from selfsup.config import load_config
from selfsup.errors import UsageError
from selfsup.methods.combining import balanced
from selfsup.objectives import all_reduce_mean
from selfsup.optim import minimum_norm
from tests.methods.building import SMALL, batch_of, build
from tests.objectives.declarations import wave
from tests.objectives.processes import WORLDS, on_worlds

MGDA = ("method=simclr", "views.each.turn=quadrant", "auxiliary=[lorot,koleo]", "combine=mgda")
NAMES = ("objective", "lorot", "koleo")


def gradients(losses: list[Tensor], method: Any) -> Tensor:
    """Of the encoder's parameters, a row a loss."""
    trained = [p for p in method.encoder.parameters() if p.requires_grad]
    found = [torch.autograd.grad(loss, trained, retain_graph=True) for loss in losses]
    return torch.stack([torch.cat([gradient.flatten() for gradient in one]) for one in found]).double()


def test_the_weights_are_those_of_the_encoders_gradients() -> None:
    method = build(*MGDA).eval()
    batch = batch_of(method)
    output = method.loss(batch)
    losses = [output.loss, *(method.auxiliary[name](batch, output.features) for name in NAMES[1:])]
    rows = gradients(losses, method)
    expected = minimum_norm(rows @ rows.T)
    together = method(batch)
    found = torch.stack([torch.as_tensor(together.scalars[f"{name}_weight"]) for name in NAMES])
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-5)
    total = sum(float(weight) * float(loss.detach()) for weight, loss in zip(expected, losses, strict=True))
    assert float(together.loss.detach()) == pytest.approx(total, rel=1e-3)
    # The step goes down all of them, and no gradient of a weight comes into it.
    (step,) = gradients([together.loss], method)
    assert (rows @ step).min() > 0
    torch.testing.assert_close(step, expected @ rows, rtol=1e-2, atol=1e-4)


def test_heads_learn_by_the_weight_of_their_loss() -> None:
    method = build(*MGDA).eval()
    batch = batch_of(method)
    together = method(batch)
    head = method.auxiliary["lorot"].head.weight
    (found,) = torch.autograd.grad(together.loss, head)
    (alone,) = torch.autograd.grad(method.auxiliary["lorot"](batch, method.loss(batch).features), head)
    torch.testing.assert_close(found, together.scalars["lorot_weight"] * alone, rtol=1e-4, atol=1e-7)


def test_without_gradients_the_fixed_weights_hold() -> None:
    method = build(*MGDA).eval()
    with torch.no_grad():
        output = method(batch_of(method))
    assert not any(name.endswith("_weight") for name in output.scalars)
    lorot, koleo = (float(output.scalars[name]) for name in NAMES[1:])
    expected = float(output.scalars["objective"]) + 0.1 * lorot + 0.1 * koleo
    assert float(output.loss) == pytest.approx(expected, rel=1e-6)


def test_a_loss_without_a_gradient_gets_no_weight() -> None:
    """A teacher that is the encoder itself has none, and would bring all others to a stop."""
    method = build(*MGDA, "auxiliary=[distill,lorot]").eval()
    output = method(batch_of(method))
    assert output.scalars["distill_weight"] == 0
    assert 0 < float(output.scalars["lorot_weight"]) < 1


def test_none_at_all_is_no_error() -> None:
    x = torch.ones(2, requires_grad=True)
    assert [float(w) for w in balanced({"one": 0 * x.sum(), "other": 0 * x[0]}, [x]).values()] == [0.0, 0.0]


def weights_of_a_share(world: int, rank: int) -> Any:
    weight = wave(0.2, 6, 6).requires_grad_()
    rows = wave(0.3, 12, 6).chunk(world)[rank] @ weight
    losses = {
        "square": all_reduce_mean(rows.square().mean()),
        "cube": all_reduce_mean((rows - 1).pow(3).mean()),
        "wave": all_reduce_mean(rows.sin().sum(1).mean()),
    }
    return torch.stack(list(balanced(losses, [weight]).values())).detach()


def test_any_number_of_processes_has_the_weights_of_one(tmp_path_factory: pytest.TempPathFactory) -> None:
    found = on_worlds(tmp_path_factory, "combining", weights_of_a_share)
    (alone,) = found[1]
    assert float(alone.sum()) == pytest.approx(1, abs=1e-6)
    assert (alone > 0.01).sum() > 1
    for world in WORLDS:
        for each in found[world]:
            torch.testing.assert_close(each, alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["combine=mean", "auxiliary=[koleo]"], "combine is fixed or mgda, not 'mean'"),
        (["combine=mgda"], "add one, such as auxiliary=[lorot]"),
        (
            ["combine=mgda", "auxiliary=[koleo]", "auxiliary.koleo.weight=0.2"],
            "would not use auxiliary.koleo.weight; leave one out",
        ),
        (
            ["combine=mgda", "auxiliary=[augself]", "trainer.accumulate_grad_batches=2"],
            "raise batch_size instead of trainer.accumulate_grad_batches",
        ),
        (["combine=mgda", "auxiliary=[koleo]", "trainer.precision=16-mixed"], "take bf16-mixed or 32-true"),
    ],
)
def test_where_it_cannot_work_it_is_refused(settings: list[str], words: str) -> None:
    with pytest.raises(UsageError) as refused:
        check(load_config("train", ["method=simclr", *SMALL, *settings]))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_run_logs_the_weights(tmp_path: Any) -> None:
    quick = (
        "evaluate=false",
        "report=false",
        "online=none",
        "guard.enabled=false",
        "trainer.accelerator=cpu",
    )
    run = (
        f"out={tmp_path}",
        "name=run",
        "trainer.max_steps=2",
        "trainer.log_every_n_steps=1",
        *quick,
        *SMALL,
    )
    assert main(["train", *MGDA, *run]) == 0
    header = (tmp_path / "run" / "metrics.csv").read_text().partition("\n")[0].split(",")
    assert {f"{name}_weight" for name in NAMES} <= set(header)
