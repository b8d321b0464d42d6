"""A subset of the training images judged while the encoder learns: ``online.csv``, ``spectrum.csv``, and the
best encoder."""

import random
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from rich.console import Console

from selfsup.callbacks.held_out import HeldOutLoss
from selfsup.callbacks.kept import keep_encoder
from selfsup.data import Source
from selfsup.data.source import subset
from selfsup.encoder import Encoder
from selfsup.evaluation import Features, NoScore, extract, knn, leading, panel
from selfsup.evaluation.features.images import fitting
from selfsup.evidence import goodness
from selfsup.tables import rows_until, write_rows
from selfsup.terminal import say

KEPT = "encoder-best"
FEWEST = 3  # images: two to vote, one to judge
EIGENVALUES = 16  # in spectrum.csv, at most


class OnlineEvaluation(pl.Callback):
    """Evaluates the encoder that would be saved, on a fixed subset, with the code of the evaluation.

    Training is not touched: the encoder runs in evaluation mode without gradients and is given back in its
    mode, and random generators are restored; with and without this callback the weights are the same to
    the bit. All images are of the training split: the labels of one part vote on those of the other, and the
    test split is not read. Several processes share the images.

    Args:
        source: the training split, of at least 3 images.
        folder: of the run.
        settings: as in ``configs/online/default.yaml``.
        by: the score by which the best encoder is kept; None keeps none.
        workers: processes that decode, for a source that decodes on demand.
        seed: of the subset.
        card: what is written into the best encoder's card.
        console: prints one line per evaluation.
        held_out: the loss on images that are not learned from, if there are some.
    """

    def __init__(
        self,
        source: Source,
        folder: Path,
        settings: Mapping[str, Any],
        by: str | None,
        workers: int,
        seed: int,
        card: Mapping[str, Any],
        console: Console,
        held_out: HeldOutLoss | None = None,
    ) -> None:
        self.held_out = held_out
        self.settings, self.folder, self.card, self.console = settings, folder, card, console
        self.workers = workers
        chosen = random.Random(seed).sample(
            range(len(source)), min(len(source), settings["bank"] + settings["queries"])
        )
        # Of few images a third is judged.
        queries = min(settings["queries"], len(chosen) // 3)
        # In the order of the source, for shards are read from beginning to end.
        self.queries, self.bank = (
            subset(source, torch.tensor(sorted(rows), dtype=torch.int64))
            for rows in (chosen[:queries], chosen[queries:])
        )
        self.by = by
        self.best: float | None = None
        self.last = 0

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        every = self.settings["every_steps"]
        if every is not None and trainer.global_step % every == 0:
            self.look(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        every = self.settings["every_epochs"]
        if every is not None and (trainer.current_epoch + 1) % every == 0:
            self.look(trainer, pl_module)

    def look(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Judge the encoder now, unless it was at this step."""
        step = trainer.global_step
        if step in (0, self.last):  # a further micro-batch of an accumulated step, or an epoch's end
            return
        self.last, started = step, time.perf_counter()
        encoder: Encoder = pl_module.learned_encoder()
        devices = [pl_module.device] if pl_module.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            features = self._features(encoder)
            found = self._scores(*features)
            if (other := pl_module.average()) is not None:
                name, other = ("student", pl_module.encoder) if other is encoder else ("teacher", other)
                others = self._scores(*self._features(other))
                found |= {f"{name}-{key}": value for key, value in others.items()}
            if self.held_out is not None:
                found |= self.held_out.losses(trainer, pl_module)
            better = self._better(found)
            if better and trainer.is_global_zero:
                self._keep(encoder, step, found)
        pl_module.online_scores = (step, found)  # for the progress on the terminal
        at: dict[str, Any] = {"step": step, "epoch": trainer.current_epoch}
        row = {**at, "seconds": round(time.perf_counter() - started, 2)}
        row |= {f"online/{name}": value for name, value in found.items()}
        if trainer.is_global_zero:
            append(self.folder / "online.csv", row)
            append(self.folder / "spectrum.csv", {**at, **eigenvalues(features)})
            known = {f"online/{name}": value for name, value in found.items() if value is not None}
            for logger in trainer.loggers:
                logger.log_metrics(known, step)
            self._tell(step, found, better)

    def _scores(self, bank: Features, queries: Features) -> dict[str, float | None]:
        return scores(bank, queries, k=self.settings["k"], temperature=self.settings["temperature"])

    def _features(self, encoder: Encoder) -> tuple[Features, Features]:
        bank, queries = (
            extract(
                encoder,
                part,
                fitting(encoder),
                encoder.mean,
                encoder.std,
                precision=self.settings["precision"],
                workers=self.workers,
            )
            for part in (self.bank, self.queries)
        )
        return bank, queries

    def _better(self, found: Mapping[str, float | None]) -> bool:
        value = found.get(self.by) if self.by else None
        if self.by is None or value is None:
            return False
        good = goodness(self.by, value)
        if self.best is not None and good <= self.best:
            return False
        self.best = good
        return True

    def _keep(self, encoder: Encoder, step: int, found: Mapping[str, float | None]) -> None:
        card = {**self.card, "steps": step, "selected_by": self.by, "online": dict(found)}
        keep_encoder(encoder, self.folder / KEPT, card)

    def _tell(self, step: int, found: Mapping[str, float | None], better: bool) -> None:
        words = [f"RankMe {found['rankme']:.1f}"] if found["rankme"] is not None else []
        if found.get("knn") is not None:
            rest = {name: found.get(f"{name}-knn") for name in ("student", "teacher")}
            shares = {"kNN": found["knn"], **rest}
            words[:0] = [f"{name} {100 * value:.1f} %" for name, value in shares.items() if value is not None]
        if found.get("loss-gap") is not None:
            words.append(f"loss {found['loss-held-out']:.4g} held out, {found['loss-learned']:.4g} learned")
        note = f", the best so far: {KEPT}" if better else ""
        say(self.console, f"step {step}, online: {', '.join(words) or 'no score'}{note}")


def scores(bank: Features, queries: Features, k: int, temperature: float) -> dict[str, float | None]:
    """The scores by name; None where there is none.

    ``knn``, the share of the queries whose label the nearest neighbours predict, only where there are labels.
    The others are of bank and queries together.
    """
    found: dict[str, float | None] = {}
    if bank.labels is not None and queries.labels is not None:
        try:
            votes = knn(bank.x, bank.labels, queries.x, min(k, len(bank)), temperature)
            found["knn"] = (votes.argmax(1) == queries.labels).double().mean().item()
        except NoScore:
            found["knn"] = None
    spectral = panel(torch.cat([bank.x, queries.x]))
    return found | {name: None if isinstance(value, str) else value for name, value in spectral.items()}


def eigenvalues(features: Iterable[Features]) -> dict[str, float | None]:
    """``eigenvalue-1`` to ``eigenvalue-16`` of the features' covariance; None where they are not finite."""
    x = torch.cat([part.x for part in features])
    names = [f"eigenvalue-{number}" for number in range(1, 1 + min(EIGENVALUES, *x.shape))]
    try:
        return dict(zip(names, leading(x, EIGENVALUES).tolist(), strict=True))
    except NoScore:
        return dict.fromkeys(names)


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Add a row to a CSV file; rows of the same or later steps, which a resumed run will write again, are
    dropped."""
    write_rows(path, list(row), [*rows_until(path, row["step"] - 1), row])
