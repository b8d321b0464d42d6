"""Losses beside a method's own: what they add, where they are refused, and that the run keeps them apart."""

import csv
from pathlib import Path

import pytest
import torch

from selfsup import build_encoder, save_encoder
from selfsup.commands import main
from selfsup.commands.train import check
from selfsup.config import load_config, options
from selfsup.errors import UsageError
from selfsup.objectives import koleo
from tests.methods.building import SMALL, batch_of, build

QUICK = ("evaluate=false", "report=false", "online=none", "guard.enabled=false", "trainer.accelerator=cpu")


def test_koleo_adds_its_weighted_value_of_the_features() -> None:
    method = build("method=barlow", "auxiliary=[koleo]", "auxiliary.koleo.weight=0.5").eval()
    batch = batch_of(method)
    alone, together = method.loss(batch), method(batch)
    expected = torch.stack([koleo(method.encoder(view)) for view in batch.views]).sum()
    torch.testing.assert_close(together.loss, alone.loss + 0.5 * expected, rtol=1e-5, atol=1e-5)
    assert float(together.scalars["objective"]) == pytest.approx(alone.loss.item(), rel=1e-6)
    assert float(together.scalars["koleo"]) == pytest.approx(expected.item(), rel=1e-4)


def test_its_gradient_reaches_the_encoder() -> None:
    method = build("method=byol", "auxiliary=[koleo]", "auxiliary.koleo.weight=3.0").eval()
    plain = build("method=byol").eval()
    gradients = [
        torch.autograd.grad(m(batch_of(m)).loss, list(m.encoder.parameters())[1:3]) for m in (method, plain)
    ]
    assert not any(torch.allclose(a, b, rtol=1e-2) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("name", options("auxiliary"))
@pytest.mark.parametrize("method", ["mae", "jepa"])
def test_a_method_without_features_of_whole_views_refuses_it(name: str, method: str) -> None:
    needed = load_config("train", [f"auxiliary=[{name}]"])["auxiliary"][name]["requires"]
    views = [f"views.each.{need}" for need in needed if need.startswith("turn=")]
    with pytest.raises(UsageError, match=rf"auxiliary={name} needs the features of whole views"):
        build(f"method={method}", f"auxiliary=[{name}]", *views)


def test_what_compares_samples_is_not_accumulated() -> None:
    settings = ("method=byol", "auxiliary=[koleo]", "trainer.accumulate_grad_batches=2")
    with pytest.raises(UsageError, match="loss of auxiliary=koleo, as it is set, compares all images"):
        check(load_config("train", [*SMALL, *settings]))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["auxiliary=[koleo]", "auxiliary.koleo.weight=-1"], "auxiliary.koleo.weight is -1"),
        (["auxiliary=[kolo]"], "no auxiliary 'kolo'; did you mean 'koleo'?"),
        (["auxiliary.koleo.weight=1"], "no setting 'auxiliary.koleo.weight'"),
    ],
)
def test_mistakes_are_one_sentence(overrides: list[str], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_config("train", overrides)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_logs_both_losses_and_is_resumed_with_its_auxiliary_loss(tmp_path: Path) -> None:
    run = (f"out={tmp_path}", "name=run", "trainer.log_every_n_steps=1", *QUICK, *SMALL)
    assert main(["train", "method=barlow", "auxiliary=[koleo]", "trainer.max_steps=2", *run]) == 0
    folder = tmp_path / "run"
    assert main(["train", f"resume={folder}", "trainer.max_steps=4", "trainer.max_epochs=2", *QUICK[:1]]) == 0
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4]
    for row in rows:
        total = float(row["objective"]) + 0.1 * float(row["koleo"])
        assert float(row["loss"]) == pytest.approx(total, rel=1e-3)


# Of masked or mixed images, whose features are not those of the views.
CHANGED = ("capi", "dinov2", "distill", "gmml", "ibot", "msn", "semaim", "simmim", "spark")


@pytest.mark.parametrize("name", [name for name in options("method") if name not in CHANGED])
def test_features_are_of_the_views_that_an_auxiliary_loss_is_shown(name: str) -> None:
    method = build(f"method={name}").eval()
    batch = batch_of(method)
    output = method.loss(batch)
    shown = batch.only(output.of or range(len(output.features)))
    for view, features in zip(shown.views, output.features, strict=True):
        torch.testing.assert_close(features, method.encoder(view), atol=1e-5, rtol=1e-4)
    for number, k in enumerate(output.of):
        assert torch.equal(shown.drawn(number)["box"], batch.drawn(k)["box"])


def test_distillation_keeps_features_near_those_of_the_start() -> None:
    method = build("method=byol", "auxiliary=[distill]").eval()
    batch = batch_of(method)
    teacher = method.auxiliary["distill"].teacher
    assert method(batch).scalars["distill"] == 0.0  # it is the start
    before = [teacher(view) for view in batch.views]
    with torch.no_grad():
        for parameter in method.encoder.parameters():
            parameter.mul_(1.1)
    output = method(batch)
    expected = torch.stack(
        [((method.encoder(view) - told) ** 2).mean() for view, told in zip(batch.views, before, strict=True)]
    ).mean()
    torch.testing.assert_close(output.scalars["distill"], expected.detach())
    output.loss.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert not method.train().auxiliary["distill"].teacher.module.training


def test_a_teacher_of_another_width_is_refused(tmp_path: Path) -> None:
    other = save_encoder(build_encoder("resnet10_small", 24), tmp_path / "other")
    with pytest.raises(UsageError, match="take one that began from the same weights, or method=distill"):
        build("method=byol", "auxiliary=[distill]", f"auxiliary.distill.teacher={other}")
