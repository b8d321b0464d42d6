"""A step of accumulated micro-batches is the step of one batch: its state, its gradient, what is logged."""

from dataclasses import replace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision
from torch.utils.data import DataLoader

from selfsup.commands.train import check
from selfsup.config import options
from selfsup.errors import UsageError
from selfsup.methods.base import Method
from selfsup.methods.parts import Part
from selfsup.methods.step import StepMeans
from tests.methods.building import SMALL, batch_of, build, composed, fitting, images

# Not batch norms, whose statistics are of a micro-batch; and weights that stay where they are.
DINO = ("method=dino", "method.head.batch_norm=false", "method.head.out=64", "method.optimizer.lr=1e-12")


def fit(method: Method, batch_size: int, accumulated: int, samples: int = 32, **more: Any) -> pl.Trainer:
    """An epoch over the same samples in the same order."""
    pixels, index = images(samples), torch.arange(samples)
    batches = [
        {"image": pixels[rows], "index": rows, "epoch": 0} for rows in index.split(batch_size) if len(rows)
    ]
    trainer = pl.Trainer(
        max_epochs=1,
        accumulate_grad_batches=accumulated,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **more,
    )
    trainer.fit(method, DataLoader(batches, batch_size=None))
    return trainer


@pytest.mark.parametrize(("batch_size", "accumulated"), [(32, 1), (8, 4), (1, 32), (8, 5)])
def test_the_centre_moves_once_a_step_by_the_mean_of_all_samples(batch_size: int, accumulated: int) -> None:
    method = build(*DINO)
    large = torch.cat(batch_of(method, 32).views[:2])  # type: ignore[arg-type]
    expected = 0.1 * method.teacher(large).mean(dim=0)  # type: ignore[operator]
    fit(method, batch_size, accumulated)
    torch.testing.assert_close(method.center.value, expected, atol=1e-6, rtol=1e-6)


def test_a_skipped_step_leaves_the_centre_and_nothing_for_the_next() -> None:
    method = build(*DINO)
    large = torch.cat([view[16:] for view in batch_of(method, 32).views[:2]])
    expected = 0.1 * method.teacher(large).mean(dim=0)  # type: ignore[operator]

    class Skip(Part):
        def before_update(self, step: int, steps: int) -> None:
            method.step_skipped = step == 0

    method.add_module("skip", Skip())
    fit(method, 8, 2)
    torch.testing.assert_close(method.center.value, expected, atol=1e-6, rtol=1e-6)


def test_an_epochs_last_step_of_fewer_micro_batches_has_their_mean_gradient() -> None:
    method = build(*DINO, "method.optimizer.clip=null", "method.freeze_last_layer=0.0")
    trained = [p for p in method.parameters() if p.requires_grad]
    pixels, index = images(24)[16:], torch.arange(16, 24)
    last = batch_of(method, image=pixels, index=index, step=1, steps=2)
    expected = torch.autograd.grad(method.loss(last).loss, trained)
    method.forget()
    seen: list[list[torch.Tensor]] = []

    class Keep(Part):
        def before_update(self, step: int, steps: int) -> None:
            seen.append([p.grad.clone() for p in trained if p.grad is not None])

        def after_step(self, step: int, steps: int) -> None:
            method.center.value.zero_()  # type: ignore[union-attr, operator]

    method.add_module("keep", Keep())  # after the centre
    trainer = fit(method, 8, 2, samples=24)
    assert trainer.global_step == len(seen) == 2
    for gradient, right in zip(seen[1], expected, strict=True):
        torch.testing.assert_close(gradient, right, atol=1e-6, rtol=1e-4)


def test_what_is_logged_is_the_mean_over_the_micro_batches() -> None:
    method = build(*DINO)
    parts = torch.arange(32).split(8)
    losses = [
        method.loss(batch_of(method, steps=1, image=images(32)[rows], index=rows)).loss.item()
        for rows in parts
    ]
    method.forget()
    assert max(losses) - min(losses) > 1e-4
    trainer = fit(method, 8, 4)
    assert float(trainer.callback_metrics["loss"]) == pytest.approx(sum(losses) / 4, abs=1e-6)
    assert trainer.callback_metrics["teacher_temperature"] == pytest.approx(0.06, abs=1e-12)


def test_means_are_of_what_was_added_since_the_step_began() -> None:
    means = StepMeans()
    for value in (1.0, 2.0, 6.0):
        means.add(a=value, b=torch.tensor([value, 0.0]))
    assert means["a"] == 3
    assert means["b"].tolist() == [3, 0]
    means.clear()
    assert "a" not in means
    means.add(a=0.1)
    assert means.of(["a"]) == {"a": 0.1}


SETTINGS = [(f"method={name}",) for name in options("method") if name != "gmml"]
SETTINGS += [("method=gmml", "method.corruptions.alien=0")]  # which puts another image of the batch in
SETTINGS += [("method=dino", "method.centering=sinkhorn")]  # type: ignore[list-item]


@pytest.mark.parametrize("settings", SETTINGS, ids=" ".join)
def test_a_loss_that_compares_samples_says_so_and_is_not_accumulated(settings: tuple[str, ...]) -> None:
    """Where the loss is a mean over samples, no sample's gradient depends on another's pixels."""
    method = build(*settings).eval()  # batch norms take running statistics
    config = composed(*fitting(*SMALL, *settings, "trainer.accumulate_grad_batches=2"))

    def gradient_of_the_second(first: float) -> torch.Tensor:
        batch = batch_of(method)
        views = [view.clone() for view in batch.views]
        for view in views:
            view[0] = view[0] * first + 1 - first
            view.requires_grad_()
        loss = method.loss(replace(batch, views=views)).loss
        gradients = torch.autograd.grad(loss, views, allow_unused=True)  # a teacher's views have none
        return torch.cat([each[1].flatten() for each in gradients if each is not None])

    one, other = gradient_of_the_second(1.0), gradient_of_the_second(-1.0)
    differs = float((one - other).norm() / one.norm())
    if "whole_batch" in config["method"]["requires"]:
        assert differs > 1e-3
        with pytest.raises(UsageError, match=r"raise batch_size instead of trainer\.accumulate_grad_batches"):
            check(config)
    else:
        assert differs < 1e-5
        check(config)


def test_gradients_are_unscaled_before_they_are_clipped() -> None:
    """Also those of an optimizer that could do it in its own step, as fused ones can."""
    norms = []
    for plugins in ([], [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=256.0))]):
        torch.manual_seed(0)
        method = build("method=simclr", "method.optimizer.clip=null")

        class Look(Part):
            def before_update(self, step: int, steps: int, method: Any = method) -> None:
                found = [p.grad for p in method.parameters() if p.grad is not None]
                norms.append(torch.nn.utils.get_total_norm(found))

        method.add_module("look", Look())
        assert method.configure_optimizers()._step_supports_amp_scaling  # type: ignore[attr-defined]
        fit(method, 32, 1, plugins=plugins)
    torch.testing.assert_close(norms[1], norms[0], rtol=0.2, atol=0)  # in float16; scaled, 256 times as long
