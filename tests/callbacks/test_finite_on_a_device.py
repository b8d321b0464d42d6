"""Steps that are not finite where a device skips them by itself: on the CPU, whose optimizers can, too."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from selfsup.callbacks.checkpoint_files import newest_intact, read_checkpoint
from selfsup.callbacks.culprit import nonfinite
from selfsup.callbacks.finite import FiniteSteps
from selfsup.config import load_config
from selfsup.data import load_data
from selfsup.data.batches import make_order
from selfsup.methods import parts
from selfsup.optim import build_optimizer
from selfsup.optim.build import _sgd
from selfsup.views import ViewPlan
from tests.callbacks.test_finite import run


@pytest.fixture
def spoilt(monkeypatch: pytest.MonkeyPatch) -> int:
    """The fourth sample of the third step, whose first view is spoilt whenever it is made."""
    config = load_config("train", ["batch_size=64"])
    source, _ = load_data(config["data"])
    sample = make_order(source, 64, config["seed"], 1).indices(0, torch.tensor([2]))[0].tolist()[3]
    whole = ViewPlan.__call__

    def spoil(self: ViewPlan, batch: Any, epoch: int) -> list[torch.Tensor]:
        views = whole(self, batch, epoch)
        views[0][batch["index"] == sample, 0, 2, 2] = float("nan")
        return views

    monkeypatch.setattr(ViewPlan, "__call__", spoil)
    return int(sample)


def leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave steps to the device."""
    start = FiniteSteps.on_train_start

    def leaving(self: FiniteSteps, trainer: Any, pl_module: Any) -> None:
        start(self, trainer, pl_module)
        self.later = True

    monkeypatch.setattr(FiniteSteps, "on_train_start", leaving)


def outcome(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A run's last checkpoint, and what it wrote of the step that it skipped."""
    newest, _ = newest_intact(folder)
    assert newest is not None
    (about,) = (folder / "nonfinite").glob("*.json")
    return read_checkpoint(newest), json.loads(about.read_text())


# A centre; a queue; a queue and prototypes; batch norms that a teacher copies.
@pytest.mark.parametrize("method", ["dino", "moco", "swav", "byol"])
@pytest.mark.parametrize("saved", [1, 50])
def test_a_skipped_step_leaves_what_it_leaves_on_the_host(
    method: str, saved: int, tmp_path: Path, spoilt: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reported before a checkpoint, or behind the next step."""
    # A teacher's average is rounded in another way where its momentum is not read.
    average = parts.update_average
    monkeypatch.setattr(
        parts,
        "update_average",
        lambda teacher, student, m, buffers: average(teacher, student, torch.as_tensor(m), buffers),
    )
    settings = (f"method={method}", f"trainer.checkpoint_steps={saved}")
    assert run(tmp_path / "host", *settings) == 0
    leave(monkeypatch)
    assert run(tmp_path / "device", *settings) == 0
    (one, written), (other, as_written) = (outcome(tmp_path / w / "run") for w in ("host", "device"))
    assert as_written == written
    assert written["samples"] == [spoilt]
    assert other["callbacks"]["FiniteSteps"] == one["callbacks"]["FiniteSteps"] == {"skipped": [3]}
    assert nonfinite(other["state_dict"]) is None
    torch.testing.assert_close(other["state_dict"], one["state_dict"], atol=0, rtol=0)
    states = [each["optimizer_states"][0]["state"] for each in (other, one)]
    torch.testing.assert_close(*states, atol=0, rtol=0)


def test_one_step_too_many_stops_the_run(
    tmp_path: Path, spoilt: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(monkeypatch)
    assert run(tmp_path, "trainer.max_skipped_steps=0") == 1
    said = capsys.readouterr().err
    assert "step 3: view 0 is not finite" in said
    newest, _ = newest_intact(tmp_path / "run")
    assert newest is not None
    assert newest.stem == "step-000000002"


@pytest.mark.parametrize("name", ["adamw", "lars", "sgd"])
def test_an_optimizer_leaves_everything_as_it_is_where_it_is_told_so(name: str) -> None:
    """Also in its first step, before it has momenta."""
    settings = {"name": name, "lr": 0.1, "momentum": 0.9, "betas": [0.9, 0.95]}
    settings |= {"weight_decay": 0.1, "layer_decay": 1.0}
    torch.manual_seed(0)
    told, plain = nn.Linear(3, 2), nn.Linear(3, 2)
    plain.load_state_dict(told.state_dict())
    optimizers = [build_optimizer(layer, settings) for layer in (told, plain)]
    if name == "sgd":  # as it is on a device
        optimizers[0] = _sgd([{"params": list(told.parameters()), "weight_decay": 0.1}], 0.1, 0.9, fused=True)
        optimizers[1].param_groups[1]["weight_decay"] = 0.1
    for skipped in (True, False, True, False):
        optimizers[0].found_inf = torch.tensor(float(skipped))  # type: ignore[attr-defined]
        for layer in (told, plain):
            for p in layer.parameters():
                p.grad = torch.full_like(p, 0.5)
        if skipped:
            for p in told.parameters():
                p.grad = torch.full_like(p, torch.nan)
        else:
            optimizers[1].step()
        optimizers[0].step()
        torch.testing.assert_close(told.state_dict(), plain.state_dict())
