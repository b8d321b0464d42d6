"""Progress: plain lines where nobody watches, a bar where somebody does, and what both say."""

import io
import re
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from selfsup.callbacks import progress as progress_module
from selfsup.callbacks.guard import CollapseGuard
from selfsup.callbacks.progress import ProgressReport
from selfsup.config import load_config
from selfsup.data import ImageArray
from selfsup.data import batches as batches_module
from selfsup.data.batches import make_order, training_loader
from selfsup.views import ViewPlan

STEPS = 40


def watch(
    console: Console, scores: tuple[int, dict] | None = None, *, steps: int = STEPS, batches_a_step: int = 1
) -> SimpleNamespace:
    guard = CollapseGuard.__new__(CollapseGuard)
    guard.newest, guard.looked = {"backbone_rankme": 7.0}, 1
    trainer = SimpleNamespace(
        estimated_stepping_batches=steps,
        global_step=0,
        is_global_zero=True,
        train_dataloader=SimpleNamespace(waited=0.0),
        callback_metrics={"loss": torch.tensor(2.5), "lr": 1e-3, "guard/backbone_rankme": 7.0},
        callbacks=[guard],
    )
    module = SimpleNamespace(device=torch.device("cpu"))
    if scores is not None:
        module.online_scores = scores
    progress = ProgressReport(8, console)
    progress.on_train_start(trainer, module)
    for step in range(1, steps + 1):
        for batch in range(batches_a_step):
            trainer.global_step = step - (batch < batches_a_step - 1)
            progress.on_train_batch_end(trainer, module, None, None, 0)
    progress.on_train_end(trainer, module)
    return module


def test_a_file_gets_ten_plain_lines() -> None:
    out = io.StringIO()
    module = watch(Console(file=out))
    lines = [line for line in out.getvalue().splitlines() if line.startswith("step")]
    assert len(lines) == 10
    assert "\x1b" not in out.getvalue()
    assert re.fullmatch(
        r"step 40/40, loss 2\.5, lr 0\.001, RankMe 7\.0 at step 1, 0% waiting for data, \d+\.\d GiB, "
        r"[\d,]+ images/s, 0 s left",
        lines[-1],
    )
    assert module.images_per_second > 0


def test_scores_are_told_with_the_step_they_are_of() -> None:
    out = io.StringIO()
    watch(Console(file=out), (36, {"knn": 0.861, "rankme": None, "lidar": 3.0}))
    lines = out.getvalue().splitlines()
    assert "kNN 86.1%, RankMe 7.0 at step 1," in next(line for line in lines if line.startswith("step 36/"))
    assert "kNN 86.1% at step 36, RankMe 7.0 at step 1," in lines[-1]
    out = io.StringIO()
    watch(Console(file=out), (36, {"knn": 0.5, "rankme": 9.0}))
    assert "RankMe 9.0 at step 36," in out.getvalue()


def test_a_step_of_several_batches_is_told_once() -> None:
    out = io.StringIO()
    watch(Console(file=out), batches_a_step=3)
    assert len([line for line in out.getvalue().splitlines() if line.startswith("step")]) == 10


def test_how_long_it_takes_is_told_once_by_the_steps_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    now, clock = [0.0], iter(10 + 0.5 * i for i in range(10_000))  # the first step takes ten seconds
    monkeypatch.setattr(progress_module.time, "perf_counter", lambda: now[0])
    update = ProgressReport.on_train_batch_end

    def later(self, *arguments) -> None:
        now[0] = next(clock)
        update(self, *arguments)

    monkeypatch.setattr(ProgressReport, "on_train_batch_end", later)
    out = io.StringIO()
    watch(Console(file=out, width=200), steps=1006)
    said = [line for line in out.getvalue().splitlines() if line.startswith("about")]
    assert said == ["about 8 min to step 1,006, at 0.5 s a step"]  # 986 steps of half a second
    out = io.StringIO()
    watch(Console(file=out, width=200), steps=12)
    assert "about" not in out.getvalue()  # there is nothing to foresee


def test_ci_gets_lines_even_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    out = io.StringIO()
    watch(Console(file=out, force_terminal=True, no_color=True, width=200))
    assert len([line for line in out.getvalue().splitlines() if line.startswith("step")]) == 10


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
