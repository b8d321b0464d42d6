"""Progress: plain lines where nobody watches, a bar where somebody does, and what both say."""

import io
import re
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from selfsup.callbacks.progress import ProgressReport
from selfsup.config import load_config
from selfsup.data import ImageArray
from selfsup.data import batches as batches_module
from selfsup.data.batches import make_order, training_loader
from selfsup.views import ViewPlan

STEPS = 40


def watch(console: Console, scores: dict | None = None, micro_batches: int = 1) -> SimpleNamespace:
    trainer = SimpleNamespace(
        estimated_stepping_batches=STEPS,
        global_step=0,
        is_global_zero=True,
        train_dataloader=SimpleNamespace(waited=0.0),
        callback_metrics={"loss": torch.tensor(2.5), "lr": 1e-3, "guard/backbone_rankme": 7.0},
    )
    module = SimpleNamespace(device=torch.device("cpu"))
    if scores is not None:
        module.online_scores = scores
    progress = ProgressReport(8, console)
    progress.on_train_start(trainer, module)
    for step in range(1, STEPS + 1):
        for micro_batch in range(micro_batches):
            trainer.global_step = step - (micro_batch < micro_batches - 1)
            progress.on_train_batch_end(trainer, module, None, None, 0)
    progress.on_train_end(trainer, module)
    return module


def test_a_file_gets_ten_plain_lines() -> None:
    out = io.StringIO()
    module = watch(Console(file=out))
    lines = out.getvalue().splitlines()
    assert len(lines) == 10
    assert "\x1b" not in out.getvalue()
    assert re.fullmatch(
        r"step 40/40, loss 2\.5, lr 0\.001, RankMe 7\.0, 0% waiting for data, \d+\.\d GiB, [\d,]+ images/s, "
        r"0 s left",
        lines[-1],
    )
    assert module.images_per_second > 0


def test_accumulated_batches_are_one_line_a_step() -> None:
    out = io.StringIO()
    watch(Console(file=out), micro_batches=3)
    steps = [line.partition(",")[0] for line in out.getvalue().splitlines()]
    assert steps == [f"step {step}/40" for step in range(4, 41, 4)]


def test_the_newest_online_scores_are_told() -> None:
    out = io.StringIO()
    watch(Console(file=out), {"knn": 0.861, "rankme": None, "lidar": 3.0})
    assert "kNN 86.1%, RankMe 7.0" in out.getvalue()


def test_ci_gets_lines_even_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    out = io.StringIO()
    watch(Console(file=out, force_terminal=True, no_color=True, width=200))
    assert len(out.getvalue().splitlines()) == 10


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    out = io.StringIO()
    watch(Console(file=out, force_terminal=True, width=100))
    assert "\x1b" in out.getvalue()
    assert "40/40" in out.getvalue()
    assert "waiting for data" in out.getvalue()


def test_waiting_is_the_time_until_batches_come(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(batches_module.time, "perf_counter", lambda: clock[0])

    source = ImageArray(torch.zeros(8, 3, 16, 16, dtype=torch.uint8))
    taken = batches_module.Batches.__getitem__

    def slow(self, key):
        clock[0] += 3.0
        return taken(self, key)

    monkeypatch.setattr(batches_module.Batches, "__getitem__", slow)
    loader = training_loader(source, plan(), make_order(source, 4, 0), 0)
    for _ in loader:
        clock[0] += 10.0  # training
    assert loader.waited == 6.0


def plan() -> ViewPlan:
    return ViewPlan(load_config("train", ["method=mae"])["views"], 16, (0.5,) * 3, (0.5,) * 3)
