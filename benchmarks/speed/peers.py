"""Our training against lightly's published form: one network, data set, batch and number of steps.

    python -m benchmarks.speed.peers --data ../shared/data                     # all that have a form
    python -m benchmarks.speed.peers --methods barlow --minutes 2 --rounds 1

Ours is `selfsup train` as shipped, with its guard, checkpoints and metrics, except for I-JEPA's masks; theirs
is `benchmarks/speed/forms` under a plain Lightning trainer with as many loading processes as
cores. They run in turn, each in a process of its own, and the faster of the rounds counts: neighbours on a
shared machine only ever slow a run down. Speed is that of the steps after the tenth; memory is the largest
proportional set size of the process and its children. With ``--minutes`` both then train for as many steps as
they make in that time, and kNN measures what they have learned. Results go to
``benchmarks/results/peers.jsonl``, beside those of other machines.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from selfsup.config import options
from selfsup.runtime import prepare_process

WARM = 10  # steps before the clock starts
BANK, QUERIES = 10_000, 2_000
# Methods that `benchmarks/speed/forms` has; that folder is imported by lightly's side alone.
WITH_FORMS = ("simclr", "barlow", "dino", "mae", "jepa", "vicreg", "byol", "moco", "swav", "simmim")
# lightly has the published sampler of masks alone; our own keeps a third more patches.
SAME = {
    "jepa": [
        "method.masks.faithful=true",
        "method.masks.min_keep=4",
        "method.masks.target_scale=[0.15,0.2]",
    ]
}


def settings(method: str, data: str, steps: int, out: Path) -> list[str]:
    """Our side's command; the other takes network, batch and widths from the same settings."""
    short = f"cifar10_short_{method}"
    return [
        f"experiment={short if short in options('experiment') else f'cifar10_cpu_{method}'}",
        *SAME.get(method, []),
        "data=parquet",
        f"data.train={data}/cifar10-train.parquet[:{BANK}]",
        f"data.test={data}/cifar10-test.parquet[:{QUERIES}]",
        f"trainer.max_steps={steps}",
        "evaluate=false",
        f"out={out}",
        "name=run",
    ]


def ours(method: str, data: str, steps: int, out: Path) -> dict[str, float]:
    import csv

    import selfsup
    from selfsup.config import load_config
    from selfsup.run.train import train

    config = load_config("train", settings(method, data, steps, out))
    folder = train(config)
    with (folder / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if int(row["step"]) >= WARM]
    made = int(rows[-1]["step"]) - int(rows[0]["step"])
    seconds = float(rows[-1]["seconds"]) - float(rows[0]["seconds"])
    return {
        "images_per_second": made * config["batch_size"] / seconds,
        "knn": nearest(selfsup.load_encoder(folder / "encoder"), config),
    }


def theirs(method: str, data: str, steps: int, out: Path) -> dict[str, float]:
    import pytorch_lightning as pl

    from selfsup.config import load_config

    class Clock(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            if trainer.global_step == WARM:
                self.started = time.perf_counter()
            self.ended = time.perf_counter()

    config, clock = load_config("train", settings(method, data, steps, out)), Clock()
    encoder = fit_form(method, config, steps, clock)
    made = (steps - WARM) * config["batch_size"]
    return {"images_per_second": made / (clock.ended - clock.started), "knn": nearest(encoder, config)}


def fit_form(method: str, config: dict[str, Any], steps: int, callback: Any) -> Any:
    """An encoder of these settings, trained in lightly's form under a plain trainer with one callback."""
    import pytorch_lightning as pl
    import torch
    from PIL import Image

    from benchmarks.speed.forms import FORMS
    from selfsup.build import make_encoder
    from selfsup.data import load_data
    from selfsup.runtime import quiet

    quiet()
    pl.seed_everything(0, verbose=False)
    source, _ = load_data(config["data"])
    form, encoder = FORMS[method], make_encoder(config)
    transform = form.transform(config)

    class Images(torch.utils.data.Dataset):
        """As torchvision's CIFAR10: arrays in memory, made into pictures on demand."""

        arrays = source.images.permute(0, 2, 3, 1).contiguous().numpy()

        def __len__(self) -> int:
            return len(self.arrays)

        def __getitem__(self, i: int) -> tuple[Any, int]:
            return transform(Image.fromarray(self.arrays[i])), 0

    loader = torch.utils.data.DataLoader(
        Images(),
        config["batch_size"],
        shuffle=True,
        drop_last=True,
        num_workers=len(os.sched_getaffinity(0)),
        persistent_workers=True,
        collate_fn=form.collate(config, encoder.model),
    )
    trainer = pl.Trainer(
        max_epochs=-1,
        max_steps=steps,
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    trainer.fit(form.module(encoder.model, config), loader)
    return encoder


def nearest(encoder: Any, config: dict[str, Any]) -> float:
    """kNN accuracy of the frozen encoder (k = 20, DINO's weights), with last weights and no selection."""
    from selfsup.data import load_data
    from selfsup.evaluation import extract, knn

    data = config["data"]
    bank, queries = (
        extract(encoder, source, data["image_size"], encoder.mean, encoder.std) for source in load_data(data)
    )
    votes = knn(bank.x, bank.labels, queries.x, k=20)
    return float((votes.argmax(1) == queries.labels).double().mean())


def measured(side: str, method: str, data: str, steps: int) -> dict[str, float]:
    """One run in a process of its own, watched for memory."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        typed = [sys.executable, "-m", "benchmarks.speed.peers", "--side", side, "--methods", method]
        typed += ["--data", data, "--steps", str(steps), "--out", str(result)]
        child = subprocess.Popen(typed)
        peak = [0.0]
        watcher = threading.Thread(target=_watch, args=(child, peak))
        watcher.start()
        status = child.wait()
        watcher.join()
        if status:
            raise SystemExit(f"{side} {method} ended with {status}")
        return {**json.loads(result.read_text()), "peak_mib": round(peak[0])}


def _watch(child: subprocess.Popen[bytes], peak: list[float]) -> None:
    while child.poll() is None:
        peak[0] = max(peak[0], sum(_pss(pid) for pid in _tree(child.pid)))
        time.sleep(0.5)


def _tree(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has just ended
        return []
    return [pid, *(each for child in children for each in _tree(int(child)))]


def _pss(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def compared(method: str, data: str, steps: int, rounds: int, minutes: float) -> dict[str, Any]:
    """Both sides in turn, and their ratios."""
    sides: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        for side in ("ours", "lightly"):
            run = measured(side, method, data, steps)
            if side not in sides or run["images_per_second"] > sides[side]["images_per_second"]:
                sides[side] = run
    row: dict[str, Any] = {"method": method, "steps": steps}
    for side, run in sides.items():
        row |= {f"{side}_images_per_second": round(run["images_per_second"], 1)}
        row |= {f"{side}_peak_mib": run["peak_mib"]}
    for name, key in {"times_as_fast": "images_per_second", "times_the_memory": "peak_mib"}.items():
        row[name] = round(sides["ours"][key] / sides["lightly"][key], 2)
    if minutes:
        batch = _batch(method, data)
        row["minutes"] = minutes
        for side, run in sides.items():
            made = max(2 * WARM, round(run["images_per_second"] * 60 * minutes / batch))
            row |= {f"{side}_steps": made, f"{side}_knn": round(measured(side, method, data, made)["knn"], 4)}
    return row


def _batch(method: str, data: str) -> int:
    from selfsup.config import load_config

    return int(load_config("train", settings(method, data, 1, Path("unused")))["batch_size"])


def main() -> None:
    """Compare the methods that the command line asks for."""
    if sys.argv[1:3] == ["--side", "ours"]:
        prepare_process()  # as every command does, before torch is imported
    from benchmarks.rows import keep

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", choices=WITH_FORMS, default=WITH_FORMS)
    parser.add_argument("--data", default="../shared/data", help="folder of the CIFAR-10 parquet files")
    parser.add_argument("--steps", type=int, default=40, help="of a run whose speed is measured")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=0.0, help="of training before kNN; 0 leaves it out")
    parser.add_argument("--side", choices=("ours", "lightly"), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.steps < 2 * WARM and not arguments.side:
        parser.error(f"--steps has to be at least {2 * WARM}: the first {WARM} are not timed")
    if arguments.side:
        run = ours if arguments.side == "ours" else theirs
        found = run(arguments.methods[0], arguments.data, arguments.steps, arguments.out.parent)
        arguments.out.write_text(json.dumps(found))
        return
    for method in arguments.methods:
        found = compared(method, arguments.data, arguments.steps, arguments.rounds, arguments.minutes)
        print(found)
        keep("peers", [found], "method", "device")


if __name__ == "__main__":
    main()
