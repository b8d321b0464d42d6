"""A step that is not finite is named, written down and skipped; a few of them end the run."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightly.models.modules.heads import SimCLRProjectionHead
from safetensors.torch import load_file

from selfsup.callbacks.checkpoint_files import checkpoints, newest_intact, read_checkpoint
from selfsup.callbacks.finite import LARGEST, bounded, finite, nonfinite
from selfsup.commands import main
from selfsup.config import load_config
from selfsup.data import load_data
from selfsup.data.batches import make_order
from selfsup.views import ViewPlan

SETTINGS = (
    "method=dino",
    "batch_size=64",
    "backbone.model_args.depth=1",
    "backbone.model_args.embed_dim=32",
    "backbone.model_args.num_heads=2",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
    "trainer.log_every_n_steps=1",
    "trainer.checkpoint_steps=1",
    "trainer.max_steps=5",
    "evaluate=false",
    "report=false",
    "guard.enabled=false",  # it would call the plan too
)


def run(out: Path, *given: str) -> int:
    return main(["train", f"out={out}", "name=run", *SETTINGS, *given])


@pytest.fixture
def spoilt(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Calls of the plan (from 1) in which the fourth image of the second view, or the only one, is spoilt."""
    calls, whole = 0, ViewPlan.__call__
    when: list[int] = []

    def spoil(self: ViewPlan, batch: Any, epoch: int) -> list[torch.Tensor]:
        nonlocal calls
        views = whole(self, batch, epoch)
        calls += 1
        if calls in when:
            views[:2][-1][3, 0, 2, 2] = float("nan")
        return views

    monkeypatch.setattr(ViewPlan, "__call__", spoil)
    return when


def test_an_image_that_is_not_finite_costs_its_step(
    tmp_path: Path, spoilt: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    spoilt += [3, 4]  # the third step, and the look back at it
    assert run(tmp_path) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "step 3: view 1 is not finite for 'digit " in said
    (about,) = (tmp_path / "run" / "nonfinite").glob("*.json")
    found = json.loads(about.read_text())
    assert found["step"] == 3
    (index,) = found["samples"]
    batch = load_file(about.with_suffix(".safetensors"))
    assert batch["index"][0] == index
    assert batch["image"].shape == (64, 3, 8, 8)
    newest, _ = newest_intact(tmp_path / "run")
    assert newest is not None
    assert read_checkpoint(newest)["callbacks"]["FiniteSteps"] == {"skipped": [3]}


def test_a_method_without_buffers_skips_the_step_too(
    tmp_path: Path, spoilt: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    spoilt += [3, 4]
    assert run(tmp_path, "method=mae") == 0
    assert "step 3: view 0 is not finite for 'digit " in " ".join(capsys.readouterr().out.split())
    newest, _ = newest_intact(tmp_path / "run")
    assert newest is not None
    weights = read_checkpoint(newest)["state_dict"]
    assert newest.stem == "step-000000005"
    assert nonfinite(weights) is None


def test_a_module_whose_output_is_not_finite_is_named_with_its_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, whole = 0, SimCLRProjectionHead.forward

    def spoil(self: SimCLRProjectionHead, x: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += len(x) == 2 * 64  # not the two images that a step was tried on before the run
        out = whole(self, x)
        if calls in (2, 3):  # the second step, and the look back at it
            out = out.clone()
            out[64 + 5] = float("inf")  # of the second view
        return out

    monkeypatch.setattr(SimCLRProjectionHead, "forward", spoil)
    assert run(tmp_path, "method=simclr", "trainer.max_steps=3") == 0
    (about,) = (tmp_path / "run" / "nonfinite").glob("*.json")
    found = json.loads(about.read_text())
    assert (found["step"], found["what"]) == (2, "the output of projector")
    (index,) = found["samples"]
    batch = load_file(about.with_suffix(".safetensors"))
    assert batch["index"][0] == index
    # The others follow in their order: it was the sixth of the batch.
    config = load_config("train", ["batch_size=64"])
    source, _ = load_data(config["data"])
    order = make_order(source, 64, config["seed"], 1)
    assert order.indices(0, torch.tensor([1]))[0].tolist()[5] == index


def test_nothing_of_a_skipped_step_is_kept(tmp_path: Path, spoilt: list[int]) -> None:
    spoilt += [3, 4]
    assert run(tmp_path, "trainer.max_steps=3") == 0
    second, third = (read_checkpoint(path) for path in checkpoints(tmp_path / "run")[-2:])
    assert all(torch.equal(value, third["state_dict"][key]) for key, value in second["state_dict"].items())
    states = [content["optimizer_states"][0]["state"] for content in (second, third)]
    assert all(torch.equal(states[0][i]["exp_avg"], states[1][i]["exp_avg"]) for i in states[0])


def test_one_step_too_many_stops_the_run_at_its_last_good_checkpoint(
    tmp_path: Path, spoilt: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    spoilt += [3, 4, 5, 6, 7, 8]
    assert run(tmp_path, "trainer.max_skipped_steps=1") == 1
    said = capsys.readouterr().err
    assert "step 4: view 1 is not finite" in said
    newest, _ = newest_intact(tmp_path / "run")
    assert newest is not None
    assert f"the last good checkpoint is {newest}" in said
    assert nonfinite(read_checkpoint(newest)["state_dict"]) is None


@pytest.mark.parametrize("lr", ["1e20", "1e38"])
def test_a_rate_that_explodes_stops_the_run(
    lr: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(tmp_path, f"method.optimizer.lr={lr}", "method.optimizer.warmup=0.0", "method=simclr")
    said = capsys.readouterr().err
    assert code == 1, said
    assert "is not finite" in said
    for path in checkpoints(tmp_path / "run"):
        assert nonfinite(read_checkpoint(path)["state_dict"]) is None


def test_a_batch_is_written_within_bounds_with_the_samples_in_question() -> None:
    side = 512
    number = LARGEST // (3 * side * side) + 5
    batch = {"image": torch.zeros(number, 3, side, side, dtype=torch.uint8), "index": torch.arange(number)}
    kept = bounded(batch, [number - 1])
    assert sum(value.nbytes for value in kept.values()) <= LARGEST
    assert kept["index"][0] == number - 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_one_element_is_enough(bad: float) -> None:
    tensors = {"a": torch.ones(3), "b": torch.tensor([1.0, bad]), "c": torch.tensor([1])}
    assert not finite([tensors["a"], tensors["b"]])
    assert nonfinite(tensors) == "b"
    assert nonfinite({"a": torch.ones(3), "c": torch.tensor([1])}) is None


def test_infinities_do_not_cancel_and_precisions_can_differ() -> None:
    assert not finite([torch.tensor([math.inf]), torch.tensor([-math.inf])])
    mixed = [torch.ones(2, dtype=dtype) for dtype in (torch.float32, torch.float64, torch.bfloat16)]
    assert finite(mixed)
    assert not finite([*mixed, torch.tensor([math.nan], dtype=torch.float16)])
