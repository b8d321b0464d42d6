"""When checkpoints are written, what is in them, and that training does not wait for them."""

import random
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from selfsup.build import make_encoder, make_method
from selfsup.callbacks import checkpoint_writer, checkpoints
from selfsup.callbacks.checkpoint_files import (
    checkpoint_path,
    damage,
    newest_intact,
    read_checkpoint,
    step_of,
)
from selfsup.callbacks.checkpoint_files import checkpoints as found
from selfsup.callbacks.checkpoint_writer import WholeFiles
from selfsup.callbacks.checkpoints import Checkpoints
from selfsup.commands import main
from selfsup.config import load_config, options
from selfsup.errors import UsageError

TINY = (
    "method=simclr",
    "batch_size=64",
    "backbone.model_args.depth=1",
    "backbone.model_args.embed_dim=32",
    "backbone.model_args.num_heads=2",
    "trainer.accelerator=cpu",
    "trainer.max_steps=7",
    "guard.enabled=false",
    "online=none",
    "evaluate=false",
    "report=false",
)


def run(out: Path, name: str, *given: str) -> Path:
    assert main(["train", f"out={out}", f"name={name}", *TINY, *given]) == 0
    return out / name


def steps(folder: Path) -> list[int]:
    return [step_of(path) for path in found(folder)]


def weights(folder: Path, step: int) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = read_checkpoint(checkpoint_path(folder, step))["state_dict"]
    return state


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


@pytest.fixture(scope="module")
def every_step(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    return run(out, "each", "trainer.checkpoint_steps=1", "trainer.checkpoints_kept=99")


def test_by_steps_and_at_the_end_and_the_last_few_stay(every_step: Path, tmp_path: Path) -> None:
    assert steps(every_step) == [1, 2, 3, 4, 5, 6, 7]
    assert steps(run(tmp_path, "some", "trainer.checkpoint_steps=3")) == [3, 6, 7]
    assert steps(run(tmp_path, "two", "trainer.checkpoint_steps=1", "trainer.checkpoints_kept=2")) == [6, 7]
    assert steps(run(tmp_path, "none")) == [7]
    assert list((tmp_path / "two" / "checkpoints").glob(".*")) == []


def test_by_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    end = Checkpoints.on_train_batch_end

    def later(self: Checkpoints, *args: Any) -> None:
        nonlocal now
        now += 25  # seconds a step
        self.files.wait()
        end(self, *args)

    monkeypatch.setattr(Checkpoints, "on_train_batch_end", later)
    monkeypatch.setattr(checkpoints, "time", SimpleNamespace(monotonic=lambda: now))
    assert steps(run(tmp_path, "one")) == [3, 6, 7]
    assert steps(run(tmp_path, "two", "trainer.checkpoint_minutes=2")) == [5, 7]


def test_training_goes_on_beside_a_slow_disk_and_what_is_written_is_of_its_step(
    every_step: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, end, go = checkpoint_writer.write_checkpoint, Checkpoints.on_train_batch_end, threading.Event()

    def slow(content: dict[str, Any], path: Path) -> None:
        assert threading.current_thread() is not threading.main_thread()
        assert go.wait(60)
        write(content, path)

    def until_the_fourth(self: Checkpoints, trainer: Any, *args: Any) -> None:
        end(self, trainer, *args)
        if trainer.global_step == 4:
            assert steps(self.folder) == []
            go.set()
            self.files.wait()

    monkeypatch.setattr(checkpoint_writer, "write_checkpoint", slow)
    monkeypatch.setattr(Checkpoints, "on_train_batch_end", until_the_fourth)
    folder = run(tmp_path, "slow", "trainer.checkpoint_minutes=1e-9", "trainer.checkpoints_kept=99")
    assert steps(folder)[0] == 1  # begun then; by the minutes, steps 2 to 4 would have been due as well
    assert steps(folder)[1] == 5
    assert steps(folder)[-1] == 7
    for step in steps(folder):
        assert same(weights(folder, step), weights(every_step, step))


def test_what_is_saved_is_a_copy_and_one_is_written_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, begun, together, most = checkpoint_writer.write_checkpoint, threading.Lock(), 0, 0

    def count(content: dict[str, Any], path: Path) -> None:
        nonlocal together, most
        with begun:
            together += 1
            most = max(most, together)
        write(content, path)
        with begun:
            together -= 1

    monkeypatch.setattr(checkpoint_writer, "write_checkpoint", count)
    files = WholeFiles(keep=9)
    tensor, lists = torch.zeros(1000), {"skipped": [1]}
    for step in range(5):
        content = {"loops": {}, "state_dict": {"weight": tensor}, "callbacks": {"one": lists}}
        files.save_checkpoint(content, checkpoint_path(tmp_path, step))
        tensor += 1
        lists["skipped"].append(step)
    files.teardown()
    assert most == 1
    for step in range(5):
        kept = read_checkpoint(checkpoint_path(tmp_path, step))
        assert (kept["state_dict"]["weight"] == step).all()
        assert len(kept["callbacks"]["one"]["skipped"]) == step + 1


def test_a_failure_is_raised_once_by_who_waits(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("no folder")
    files = WholeFiles(keep=1)
    files.save_checkpoint({}, checkpoint_path(tmp_path, 1))
    with pytest.raises(OSError, match="exists"):
        files.wait()
    files.wait()
    assert not files.busy


def test_any_byte_that_changes_is_told_or_does_not_matter(every_step: Path, tmp_path: Path) -> None:
    whole = checkpoint_path(every_step, 7).read_bytes()
    intact = weights(every_step, 7)
    path = checkpoint_path(tmp_path, 7)
    path.parent.mkdir()
    draw, told = random.Random(0), 0
    ends = (*range(80), *range(len(whole) - 80, len(whole)))  # where the file's own structure is
    for place in (*ends, *draw.sample(range(len(whole)), 60)):
        changed = bytearray(whole)
        changed[place] ^= 1 << draw.randrange(8)
        path.write_bytes(changed)
        if damage(path) is not None:
            told += 1
            continue
        try:
            read = weights(tmp_path, 7)
        except UsageError:  # refused, with its reason
            continue
        assert same(read, intact), place
    assert told > 60


def test_the_newest_of_several_intact_ones_is_taken(every_step: Path, tmp_path: Path) -> None:
    assert newest_intact(tmp_path) == (None, [])
    for step in (1, 3, 5, 6, 7):
        path = checkpoint_path(tmp_path, step)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(checkpoint_path(every_step, step).read_bytes())
    checkpoint_path(tmp_path, 7).write_bytes(b"")
    checkpoint_path(tmp_path, 6).write_bytes(checkpoint_path(every_step, 6).read_bytes()[:-1])
    checkpoint_path(tmp_path, 3).write_bytes(b"older, and of no interest")
    newest, damaged = newest_intact(tmp_path)
    assert newest == checkpoint_path(tmp_path, 5)
    assert [step_of(path) for path, _ in damaged] == [7, 6]


@pytest.mark.parametrize("name", options("method"))
def test_every_buffer_of_a_method_is_in_its_checkpoints(name: str) -> None:
    """A centre or a queue that is not would be another one after the run is resumed."""
    config = load_config("train", [f"method={name}"])
    method = make_method(config, make_encoder(config), devices=1)
    state = method.state_dict()
    assert [key for key, _ in (*method.named_buffers(), *method.named_parameters()) if key not in state] == []
    loose = [
        f"{place}.{key}"
        for place, module in method.named_modules()
        for key, value in vars(module).items()
        # A weight that is normed anew at each step is computed from parameters of its name.
        if isinstance(value, torch.Tensor) and f"{key}_g" not in module._parameters
    ]
    assert loose == []
