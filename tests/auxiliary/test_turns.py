"""Rotation prediction and LoRot: what they are told, what they are worth, and where they are refused."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from selfsup.commands import main
from selfsup.errors import UsageError
from selfsup.views import ViewPlan
from tests.methods.building import SMALL, batch_of, build, images
from tests.views.plain import PLAIN

TURNS = {"rotation": ("whole", 4), "lorot": ("quadrant", 16)}
every_kind = pytest.mark.parametrize(("name", "turn", "ways"), [(n, *how) for n, how in TURNS.items()])


def made(name: str, *settings: str) -> Any:
    return build(
        "method=simclr", f"auxiliary=[{name}]", f"views.each.turn={TURNS[name][0]}", *settings
    ).eval()


@every_kind
def test_the_loss_is_the_cross_entropy_of_the_turns_that_were_drawn(name: str, turn: str, ways: int) -> None:
    method = made(name)
    batch = batch_of(method)
    output = method(batch)
    terms = []
    for k, view in enumerate(batch.views):
        logits = method.auxiliary[name].head(method.encoder(view))
        assert logits.shape[1] == ways
        drawn = method.views.turns(k, batch.index, 0)
        terms.append(F.cross_entropy(logits, drawn))
    torch.testing.assert_close(output.scalars[name], torch.stack(terms).mean().detach())
    weight = {"rotation": 1.0, "lorot": 0.1}[name]
    expected = output.scalars["objective"] + weight * output.scalars[name]
    torch.testing.assert_close(output.loss.detach(), expected)


@every_kind
def test_its_gradient_reaches_head_and_encoder(name: str, turn: str, ways: int) -> None:
    method = made(name)
    batch = batch_of(method)
    module = method.auxiliary[name]
    loss = module(batch, [method.encoder(view) for view in batch.views])
    for part in (module.head.weight, method.encoder.model.patch_embed.proj.weight):
        (gradient,) = torch.autograd.grad(loss, part, retain_graph=True)
        assert gradient.abs().max() > 0


@every_kind
def test_without_knowledge_it_is_the_logarithm_of_the_ways(name: str, turn: str, ways: int) -> None:
    method = made(name)
    nn.init.zeros_(method.auxiliary[name].head.weight)
    nn.init.zeros_(method.auxiliary[name].head.bias)
    assert method(batch_of(method)).scalars[name] == pytest.approx(math.log(ways), abs=1e-5)


def test_the_least_of_quadrants_is_that_of_not_knowing_which_was_left() -> None:
    """The label's entropy given the picture: four labels of a quadrant that is not turned look alike."""
    plan = ViewPlan({"each": PLAIN | {"turn": "quadrant"}}, 4, [0.0] * 3, [1.0] * 3)
    turns = plan.turns(0, torch.arange(40_000), 0)
    known = (turns % 4 != 0).double()
    best = (known * 0.0 + (1 - known) * math.log(4)).mean()
    assert float(best) == pytest.approx(math.log(4) / 4, rel=0.03)
    upright = plan({"image": images(40), "index": torch.arange(40)}, 0)[0][turns[:40] % 4 == 0]
    straight = ViewPlan({"each": PLAIN}, 4, [0.0] * 3, [1.0] * 3)
    torch.testing.assert_close(
        upright, straight({"image": images(40), "index": torch.arange(40)}, 0)[0][turns[:40] % 4 == 0]
    )


@pytest.mark.parametrize("name", [*TURNS, "sla"])
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ([], "not all have; add views.first.turn={turn} views.second.turn={turn}"),
        (["views.second.turn={turn}"], "not all have; add views.first.turn={turn}"),
        (
            ["views.first.turn={turn}", "views.second.turn={other}"],
            "not all have; add views.second.turn={turn}",
        ),
        (
            ["views.first.turn={turn}", "views.second.turn={turn}", "data.turns=true"],
            "data.turns=true says that turned ones mean the same; leave auxiliary={name} out",
        ),
    ],
)
def test_views_without_the_turn_are_refused(name: str, settings: list[str], words: str) -> None:
    turn, _ = TURNS.get(name, ("whole", 4))
    known = {"turn": turn, "other": "quadrant" if turn == "whole" else "whole", "name": name}
    with pytest.raises(UsageError) as refused:
        build("method=barlow", f"auxiliary=[{name}]", *(each.format(**known) for each in settings))
    assert str(refused.value).endswith(words.format(**known))
    assert "\n" not in str(refused.value)


def test_kinds_without_views_need_no_turn() -> None:
    settings = ("views.first.turn=whole", "views.second.turn=whole", "views.small.count=0")
    assert build("method=dino", "auxiliary=[rotation]", *settings).auxiliary["rotation"]


def test_images_without_an_upright_may_be_turned_all_the_same() -> None:
    method = build("method=simclr", "views.each.turn=whole", "data.turns=true")
    assert len(batch_of(method).drawn(0)["turn"].unique()) > 1


def test_a_run_trains_and_is_refused_before_its_folder_is_made(tmp_path: Any) -> None:
    quick = (
        "evaluate=false",
        "report=false",
        "online=none",
        "guard.enabled=false",
        "trainer.accelerator=cpu",
    )
    run = (f"out={tmp_path}", "name=run", "trainer.max_steps=2", *quick, *SMALL)
    assert main(["train", "method=simclr", "auxiliary=[lorot]", *run]) != 0
    assert not (tmp_path / "run").exists()
    assert main(["train", "method=simclr", "auxiliary=[lorot]", "views.each.turn=quadrant", *run]) == 0
    assert "lorot" in (tmp_path / "run" / "metrics.csv").read_text().partition("\n")[0]
