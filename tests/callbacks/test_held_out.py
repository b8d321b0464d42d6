"""The loss on held-out images: whose it is, that nothing moves by it, and what is refused."""

import csv
import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch import Tensor

from selfsup.callbacks.checkpoint_files import checkpoints, read_checkpoint
from selfsup.callbacks.held_out import HeldOutLoss
from selfsup.callbacks.online_settings import check_held_out, require_shares
from selfsup.commands import main
from selfsup.config import load_config, options
from selfsup.data import ImageArray
from selfsup.data.select import leave_out
from selfsup.errors import UsageError
from selfsup.methods.base import Method
from tests.methods.building import images
from tests.methods.test_tester import made

METHODS = [name for name in options("method") if name not in ("diet",)]
VIT = [f"backbone.model_args.{each}" for each in ("depth=1", "embed_dim=32", "num_heads=2")]
QUIET = ["evaluate=false", "report=false", "online.bank=60", "online.queries=30"]


def trainer(rank: int = 0, world: int = 1) -> Any:
    """As much of Lightning's trainer as a look at the loss reads."""

    def mean(value: Tensor) -> Tensor:
        if world > 1:
            dist.all_reduce(value)
        return value / world

    return SimpleNamespace(
        global_step=7,
        global_rank=rank,
        world_size=world,
        precision_plugin=SimpleNamespace(forward_context=nullcontext),
        strategy=SimpleNamespace(reduce=mean),
    )


@pytest.fixture(autouse=True)
def _length(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """The length of a run belongs to Lightning's trainer, which is there in a run alone."""
    if "in_a_run" not in request.node.name:
        monkeypatch.setattr(Method, "total_steps", 100)


def source(count: int, seed: int = 0) -> ImageArray:
    return ImageArray(images(count, seed=seed), torch.arange(count) % 3)


@pytest.mark.parametrize("name", METHODS)
def test_a_look_moves_nothing_and_says_the_same_again(name: str) -> None:
    method = made(name).train()
    before = {key: value.clone() for key, value in method.state_dict().items()}
    modes = [module.training for module in method.modules()]
    held_out = HeldOutLoss(source(16, seed=1), source(40), batch_size=8, seed=0)
    torch.manual_seed(3)
    generator = torch.get_rng_state()
    first = held_out.losses(trainer(), method)
    assert torch.equal(torch.get_rng_state(), generator)
    assert held_out.losses(trainer(), method) == first
    assert list(first) == ["loss-held-out", "loss-learned", "loss-gap"]
    assert all(map(torch.isfinite, map(torch.tensor, first.values())))
    after = method.state_dict()
    assert [key for key, value in before.items() if not torch.equal(value, after[key])] == []
    assert [module.training for module in method.modules()] == modes
    assert all(p.grad is None for p in method.parameters())
    for part in method.parts:  # what a loss leaves with a part must not reach it at the next step
        part.after_step(7, 100)
    queues = [key for key in before if key.endswith((".rows", "center.value"))]
    assert [key for key in queues if not torch.equal(before[key], method.state_dict()[key])] == []


def test_it_is_the_mean_of_the_methods_loss_over_batches() -> None:
    """Barlow Twins without dropout: by hand, with batch norms that take the batch's statistics."""
    method = made("barlow").train()
    held, learned = source(16, seed=1), source(16)
    found = HeldOutLoss(held, learned, batch_size=8, seed=0).losses(trainer(), method)
    for name, part in (("held-out", held), ("learned", learned)):
        losses = []
        for first in (0, 8):
            index = torch.arange(first, first + 8)
            raw = {"image": part.images[index], "index": index, "epoch": 0}
            losses.append(method.loss(method.batch(raw, 7, 100)).loss.item())
        assert found[f"loss-{name}"] == pytest.approx(sum(losses) / 2, rel=1e-5)
    assert found["loss-gap"] == found["loss-held-out"] - found["loss-learned"]


@pytest.mark.parametrize("name", ["simclr", "mae"])
def test_equal_images_have_no_gap(name: str) -> None:
    """Held-out and learned images see the same crops and masks: what remains is the images."""
    one = source(16)
    found = HeldOutLoss(one, one, batch_size=8, seed=0).losses(trainer(), made(name).train())
    assert found["loss-gap"] == 0


def _process(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save(_shared(rank, 2), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def _shared(rank: int, world: int) -> dict[str, float]:
    torch.manual_seed(0)
    method = made("simclr").train()
    Method.total_steps = 100  # type: ignore[method-assign,assignment]
    for module in method.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):  # which each process has its own of
            module.forward = lambda x: x  # type: ignore[method-assign]
    held_out = HeldOutLoss(source(32, seed=1), source(40), batch_size=16 // world, seed=0)
    return held_out.losses(trainer(rank, world), method)


def test_two_processes_say_what_one_does(tmp_path: Path) -> None:
    multiprocessing.spawn(_process, (str(tmp_path),), nprocs=2)
    alone = _shared(0, 1)
    assert alone["loss-gap"] != 0
    for rank in (0, 1):
        assert torch.load(tmp_path / f"{rank}.pt") == pytest.approx(alone, rel=1e-5, abs=1e-5)


def test_held_out_images_are_apart_and_chosen_by_the_seed() -> None:
    whole = source(50)
    place = {image.numpy().tobytes(): i for i, image in enumerate(whole.images)}
    rows = [
        [[place[image.numpy().tobytes()] for image in part.images] for part in leave_out(whole, 20, seed)]
        for seed in (0, 0, 1)
    ]
    learned, held = rows[0]
    assert rows[0] == rows[1] != rows[2]
    assert sorted(learned + held) == list(range(50))
    assert len(held) == 20
    assert learned == sorted(learned)


def test_in_a_run_nothing_is_learned_from_them_and_a_look_leaves_no_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A method with a queue, a teacher and batch norms."""
    common = ["method=moco", *VIT, "batch_size=16", "online.held_out=32", *QUIET]
    common += ["trainer.max_steps=3", "data.train=train[:10%]", f"out={tmp_path}"]
    for name, every in (("looks", "online.every_steps=1"), ("none", "online.every_steps=100")):
        assert main(["train", f"name={name}", every, "online.every_epochs=null", *common]) == 0
    looks, none = (
        read_checkpoint(checkpoints(tmp_path / name)[-1])["state_dict"] for name in ("looks", "none")
    )
    assert [key for key, value in none.items() if not torch.equal(value, looks[key])] == []
    with (tmp_path / "looks" / "online.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    for row in rows:
        loss = [float(row[f"online/loss-{name}"]) for name in ("held-out", "learned", "gap")]
        assert loss[0] - loss[1] == pytest.approx(loss[2])
    data = json.loads((tmp_path / "looks" / "data.json").read_text())
    assert data["held"] == "32 of 130 training images are held out to measure their loss"
    start = json.loads((tmp_path / "looks" / "environment.json").read_text())["starts"][0]
    assert start["data"]["images"] == 98
    again = ["train", f"resume={tmp_path / 'looks'}", "trainer.max_steps=4"]
    assert main([*again, "online.held_out=0"]) == 2
    assert "98 images then, 130 now, or others" in capsys.readouterr().err
    assert main(again) == 0


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["batch_size=16", "online.held_out=40"], "multiple of batch_size=16, such as 48, not 40"),
        (["batch_size=8", "online.held_out=8", "method=diet"], "method=diet tells each training image"),
        (["batch_size=8", "online.held_out=8", "positives=labels"], "positives=labels says which training"),
        (["batch_size=8", "online.held_out=8", "online=none"], "set online.every_epochs"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(given: list[str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        check_held_out(load_config("train", given))


def test_shares_of_several_processes_are_whole_and_half_is_left() -> None:
    require_shares(64, 32)
    with pytest.raises(UsageError, match="such as 64, not 48"):
        require_shares(48, 32)
    with pytest.raises(UsageError, match="leaves fewer of 50 training images than it holds out; take 25"):
        leave_out(source(50), 26, 0)
    shards = source(50)
    shards.sizes = torch.tensor([25, 25])  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="in shards are read in their order"):
        leave_out(shards, 8, 0)
