"""The guard in a run: it changes nothing, says what it sees, survives interruptions, and stops if asked."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image

from selfsup.build import make_encoder, make_method
from selfsup.callbacks.checkpoint_files import newest_intact, read_checkpoint
from selfsup.callbacks.checkpoints import Checkpoints
from selfsup.callbacks.guard import SIGNALS, CollapseGuard
from selfsup.callbacks.guard import callback as guard_callback
from selfsup.callbacks.guard.undisturbed import undisturbed
from selfsup.commands import main
from selfsup.config import load_config, options
from selfsup.errors import RunStopped
from selfsup.methods.base import Method
from selfsup.methods.failures import Bound, Failure
from selfsup.methods.rehearsal import noise_batch
from tests.methods.building import composed, fitting

TINY = (
    "backbone.model_args.depth=1",
    "backbone.model_args.embed_dim=32",
    "backbone.model_args.num_heads=2",
    "batch_size=32",
    "evaluate=false",
    "report=false",
    "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1",
    "guard.every=2",
    "guard.images=16",
)
METHODS = options("method")
ALWAYS = Failure("always", (Bound("update", above=-1.0),), "it is {update:.2g} since {since}", "do not mind")


def run(out: Path, name: str, *overrides: str) -> int:
    return main(["train", f"out={out}", f"name={name}", "traceback=true", *TINY, *overrides])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    newest, _ = newest_intact(folder)
    assert newest is not None
    state: dict[str, torch.Tensor] = read_checkpoint(newest)["state_dict"]
    return state


@pytest.fixture
def _always_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_callback, "failures_of", lambda own: (ALWAYS,))


def build(name: str, *overrides: str) -> Method:
    config = composed(*fitting(*TINY, f"method={name}", *overrides))
    return make_method(config, make_encoder(config), devices=1)


def observed(method: Method, raw: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    batch = method.batch(raw, 1, 10, torch.Generator().manual_seed(0))
    return method.observe(replace(batch, views=batch.views[:2]))


@pytest.mark.parametrize("name", METHODS)
def test_looking_leaves_no_trace_in_the_method_or_the_random_generator(name: str) -> None:
    method = build(name, "backbone.model_args.drop_path_rate=0.5").train()
    next(method.encoder.model.children()).eval()  # whatever a part's mode is, it is kept
    raw = {"image": torch.randint(0, 256, (16, 3, 8, 8), dtype=torch.uint8), "index": torch.arange(16)}
    raw["label"] = torch.arange(16) % 3
    before = {key: value.clone() for key, value in method.state_dict().items()}
    modes = [part.training for part in method.modules()]
    random = torch.get_rng_state()
    with undisturbed(method):
        seen = observed(method, raw)
        again = observed(method, raw)
    assert all(torch.equal(value, again[key]) for key, value in seen.items())
    assert all(torch.equal(value, method.state_dict()[key]) for key, value in before.items())
    assert [part.training for part in method.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in method.parameters())
    assert not any(value.requires_grad for value in seen.values())


@pytest.mark.parametrize("backbone", ["vit_mini", "resnet10"])
def test_batch_norms_take_the_batch_at_hand_and_get_their_statistics_back(backbone: str) -> None:
    config = load_config("train", ["method=simclr", f"backbone={backbone}"])
    method = make_method(config, make_encoder(config), devices=1)
    images = torch.randint(0, 256, (16, 3, 8, 8), dtype=torch.uint8)
    with undisturbed(method):
        seen = observed(method, {"image": images, "index": torch.arange(16)})
    # The projector ends in a batch norm: over the batch at hand each dimension has mean 0 and deviation 1.
    torch.testing.assert_close(seen["embedding"].mean(dim=0), torch.zeros(128), atol=1e-5, rtol=0)
    running = [value for key, value in method.state_dict().items() if "running_mean" in key]
    assert running
    assert all((value == 0).all() for value in running)


def test_a_method_that_declares_nothing_is_watched_by_its_backbone() -> None:
    config = load_config("train", [*TINY, "method=simclr"])
    plain = Method(make_encoder(config), build("simclr").views, config["method"]["optimizer"], 32)
    assert set(plain.observe(noise_batch(plain))) == {"backbone"}
    assert plain.failures == ()
    assert plain.marks() == {}
    assert plain.average() is None


@pytest.mark.parametrize("name", ["simclr", "dino", "jepa"])
def test_weights_are_bit_for_bit_those_of_a_run_without_the_guard(name: str, tmp_path: Path) -> None:
    settings = (f"method={name}", "trainer.max_steps=5", "backbone.model_args.drop_path_rate=0.2")
    run(tmp_path, "with", *settings)
    run(tmp_path, "without", *settings, "guard.enabled=false")
    watched, alone = weights(tmp_path / "with"), weights(tmp_path / "without")
    assert [key for key in alone if not torch.equal(alone[key], watched[key])] == []
    assert "guard/update" in rows(tmp_path / "with" / "metrics.csv")[0]
    assert "guard/update" not in rows(tmp_path / "without" / "metrics.csv")[0]


def test_metrics_hold_the_newest_look(tmp_path: Path) -> None:
    run(tmp_path, "one", "method=dino", "trainer.max_steps=5")
    found = rows(tmp_path / "one" / "metrics.csv")
    assert [int(row["step"]) for row in found] == [1, 2, 3, 4, 5]
    columns = {key.removeprefix("guard/") for key in found[0] if key.startswith("guard/")}
    assert columns == set(SIGNALS) - {"target_std", "context_gain", "loss_floor", "one_colour", "input_norm"}
    losses = [float(row["loss"]) for row in found]
    for row, mean in zip(found, [losses[0], losses[1], losses[1], sum(losses[2:4]) / 2], strict=False):
        assert float(row["guard/loss"]) == pytest.approx(mean, rel=1e-5)
    assert not (tmp_path / "one" / "warnings.csv").exists()


def test_the_loss_is_the_mean_over_accumulated_batches(tmp_path: Path) -> None:
    run(tmp_path, "whole", "method=mae", "trainer.max_steps=1", "batch_size=64")
    run(
        tmp_path,
        "parts",
        "method=mae",
        "trainer.max_steps=1",
        "batch_size=32",
        "trainer.accumulate_grad_batches=2",
    )
    whole, parts = (float(rows(tmp_path / n / "metrics.csv")[0]["guard/loss"]) for n in ("whole", "parts"))
    assert parts == pytest.approx(whole, rel=0.05)  # masks differ; half or twice the loss would not pass


def test_step_0_is_the_untrained_model(tmp_path: Path) -> None:
    settings = ("method=barlow", "trainer.max_steps=2", "guard.every=1", "method.optimizer.warmup=0.0")
    run(tmp_path, "slow", *settings, "method.optimizer.lr=1e-12")
    run(tmp_path, "fast", *settings, "method.optimizer.lr=1e-2")
    slow, fast = (rows(tmp_path / name / "metrics.csv") for name in ("slow", "fast"))
    assert fast[0]["guard/backbone_std"] == slow[0]["guard/backbone_std"] == slow[1]["guard/backbone_std"]
    assert fast[1]["guard/backbone_std"] != fast[0]["guard/backbone_std"]


def test_images_that_are_all_black_end_no_run(tmp_path: Path) -> None:
    """No gradient reaches anything, so that there is no median gradient to be a multiple of."""
    for number in range(48):  # a part of them is held back
        Image.new("RGB", (24, 24)).save(tmp_path / f"{number}.png")
    data = ("data=folder", f"data.root={tmp_path}", "data.image_size=24", "online=none", "guard.every=1")
    assert run(tmp_path / "runs", "black", "method=barlow", *data, "trainer.max_steps=3") == 0
    found = rows(tmp_path / "runs" / "black" / "metrics.csv")
    assert [float(row["guard/gradient"]) for row in found] == [0, 0, 0]
    assert {row["guard/gradient_jump"] for row in found} == {"nan"}


@pytest.mark.usefixtures("_always_named")
def test_a_warning_is_on_the_terminal_and_in_the_file_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, "one", "method=mae", "trainer.max_steps=7")
    (row,) = rows(tmp_path / "one" / "warnings.csv")
    assert list(row) == ["step", "name", "value", "message"]
    assert (row["step"], row["name"]) == ("4", "always")
    assert row["message"].endswith("since 2; do not mind")
    assert f"warning at step 4: {row['message']}" in capsys.readouterr().out


@pytest.mark.usefixtures("_always_named")
def test_stop_ends_the_run_with_the_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RunStopped, match=r"stopped at step 4: it is .* since 2; do not mind"):
        run(tmp_path, "one", "method=mae", "trainer.max_steps=7", "guard.stop=true")
    assert [row["step"] for row in rows(tmp_path / "one" / "warnings.csv")] == ["4"]
    command = ["train", f"out={tmp_path}", *TINY, "method=mae", "trainer.max_steps=7", "guard.stop=true"]
    capsys.readouterr()
    assert main(command) == 1
    assert capsys.readouterr().err.startswith("selfsup train: stopped at step 4: ")


class Killed(Exception):
    """Stands for the machine going down."""


@pytest.mark.usefixtures("_always_named")
@pytest.mark.parametrize("at", [3, 5])
def test_a_resumed_run_saw_and_said_what_one_that_was_not_interrupted_did(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ("method=jepa", "trainer.max_steps=8", "trainer.checkpoint_minutes=1e-6")
    run(tmp_path, "whole", *settings)
    saved = Checkpoints.on_train_batch_end

    def die(self: Checkpoints, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step <= at:
            saved(self, trainer, *args)
        elif trainer.global_step == 7:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "on_train_batch_end", die)
        with pytest.raises(Killed):
            run(tmp_path, "parts", *settings)
    assert main(["train", f"resume={tmp_path / 'parts'}", "traceback=true"]) == 0
    for file in ("metrics.csv", "warnings.csv"):
        whole, parts = (rows(tmp_path / name / file) for name in ("whole", "parts"))
        for row in (*whole, *parts):
            for clock in ("seconds", "images_per_second", "waiting", "memory_gib"):
                row.pop(clock, None)
        assert parts == whole


def test_files_on_disk_are_a_probe_like_any_other_and_a_broken_one_is_no_matter(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    generator = np.random.default_rng(0)
    for i in range(40):
        pixels = generator.integers(0, 256, (40 + i, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no image")
    settings = ["data=folder", f"data.root={tmp_path / 'photos'}", "data.image_size=24", "batch_size=16"]
    run(tmp_path, "one", "method=dino", *settings, "trainer.max_steps=2", "guard.images=100")
    found = rows(tmp_path / "one" / "metrics.csv")
    assert 0 < float(found[1]["guard/embedding_std"]) < 1.2


def test_the_probe_is_the_same_for_the_same_seed_and_all_of_a_small_source() -> None:
    def probe(images: int, seed: int) -> list[int]:
        return guard(range(50), images=images, seed=seed).index

    assert probe(20, 0) == probe(20, 0) != probe(20, 1)
    assert len(set(probe(20, 0))) == 20
    assert sorted(probe(500, 0)) == list(range(50))


def guard(
    source: Any, batch_size: int = 128, every: int = 50, images: int = 128, **more: Any
) -> CollapseGuard:
    settings = {"every": every, "images": images, "stop": False, "path": Path("w"), "console": None, **more}
    return CollapseGuard(source, batch_size=batch_size, **settings)


@pytest.mark.parametrize(
    ("batch_size", "images", "looks"),
    [
        (1024, 128, [1, 50, 100, 150, 200, 250, 300, 350, 400, 450, 500, 550, 600]),
        (64, 64, [1, 50, 100, 150, 200, 250, 300, 350, 400, 450, 500, 550, 600]),
        (16, 32, [1, 100, 200, 300, 400, 500, 600]),
        (8, 32, [1, 100, 200, 400, 600]),
        (1, 32, [1, 100, 200]),
    ],
)
def test_small_batches_are_looked_at_with_fewer_images_and_more_rarely(
    batch_size: int, images: int, looks: list[int]
) -> None:
    one = guard(range(5000), batch_size)
    assert len(one.index) == images
    assert [step for step in range(1, 601) if one.due(step)] == looks
    # A look is a fraction of a step at most; it is the images in it that cost.
    seen, trained = images * len([step for step in looks if step > 200]), 400 * batch_size
    assert seen <= trained / 50
    assert len([step for step in looks if 1 < step <= 200]) >= 2


def test_looks_that_were_asked_for_are_no_rarer_or_denser() -> None:
    for every in (1, 7, 300):
        one = guard(range(5000), every=every)
        assert [step for step in range(2, 1000) if one.due(step)] == list(range(max(2, every), 1000, every))


def test_an_update_is_at_least_what_the_weights_must_have_made_to_grow() -> None:
    method = build("mae")
    one = guard(range(50), every=2)
    one.loss, one.gradient, one.marks = 1.0, torch.tensor(1.0), {}

    def look(step: int, grow: float) -> float:
        """The encoder's weights become `grow` times as long, and then make no step at all."""
        with torch.no_grad():
            for parameter in method.encoder.parameters():
                parameter.mul_(grow)
        one.weights, one.losses = [p.detach().clone() for p in method.encoder.parameters()], 1
        return one._of_step(step, method)["update"]

    assert look(1, 1.0) == 0.0
    assert look(50, 1.49) == pytest.approx(0.01)
    assert look(60, 0.5) == pytest.approx(0.05)
    assert look(160, 1.0) == pytest.approx(0.0, abs=1e-9)


def test_too_few_images_to_judge_by_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    for i in range(10):
        Image.new("RGB", (24, 24), (i * 20, 0, 0)).save(tmp_path / "photos" / f"{i}.png")
    settings = ["data=folder", f"data.root={tmp_path / 'photos'}", "data.image_size=24", "batch_size=4"]
    assert run(tmp_path, "one", "method=mae", *settings, "trainer.max_steps=2") == 0
    assert "the collapse guard is off: 8 images are too few" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("guard.every=0", "guard.enabled=false turns it off"),
        ("guard.every=-3", "has to be a whole number from 1"),
        ("guard.every=2.5", "is a whole number"),
        ("guard.images=3", "needs 16"),
        ("guard.evry=5", "did you mean 'guard.every'?"),
        ("guard=off", "a group of settings"),
        ("guard.stop=maybe", "true or false"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(
    setting: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", f"out={tmp_path / 'runs'}", setting]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (tmp_path / "runs").exists()
