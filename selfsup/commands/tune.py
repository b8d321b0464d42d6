"""``selfsup tune``: search for settings by a score without labels."""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfsup.commands.encoders import with_encoders
from selfsup.commands.train import check
from selfsup.config import load_config
from selfsup.errors import REQUEUE, RunStopped, UsageError
from selfsup.experiments import as_override
from selfsup.files import fitting, require_writable, write_text
from selfsup.run.resume import in_one_measure
from selfsup.runs import leaves
from selfsup.text import shown
from selfsup.tuning.found import CURSE, experiment, found, passed_on, verdict
from selfsup.tuning.scores import SCORES, require_score
from selfsup.tuning.space import Dimension, dimensions, settings
from selfsup.tuning.study import Study, Trial, require_optuna, room

PAGE, FILE = "tune.html", "tuned.yaml"
LEARNED, HELD = "learned.txt", "held.txt"
# Settings that a search may be continued with: they change no score, and no proposal.
_MAY_CHANGE = (
    "trials", "minutes", "processes", "out", "name", "traceback", "overrides", "logger", "report", "evaluate",
    "evaluate_precision", "compile", "space", "online", "data.workers", "data.root", "data.source.root",
    "resume", "from", "anneal", "trainer.max_epochs", "trainer.max_steps",
)  # fmt: skip


def run(config: dict[str, Any]) -> None:
    """Search as the resolved configuration says, or continue a search.

    Args:
        config: of ``configs/tune.yaml``: all settings of ``train``, with ``out`` for the search's folder, and
            further ones.

    Raises:
        UsageError: before anything is written, where training would raise it; or if the score, the space or
            the folder does not fit.
        RunStopped: the first trial, with the settings as they are, has no score.
    """
    for key in ("resume", "from", "anneal", "name"):
        if config[key]:
            raise UsageError(f"tune makes runs of its own; leave {key}= out")
    require_optuna()
    config = with_encoders(in_one_measure(dict(config), config["overrides"]))
    check(config)
    space = searched(config)
    notes = require_score(config["score"], config, space)
    folder = Path(str(config["out"] or Path("runs") / _name(config))).expanduser()
    require_writable(folder / PAGE)
    if config["processes"] > 1:  # each with its share of the cores, its trials as well
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // config["processes"])))

    from selfsup.commands.devices import find_device
    from selfsup.runtime import quiet
    from selfsup.tuning.judging import Judge, parts
    from selfsup.tuning.trials import Interrupted, Trainer, search

    quiet()
    cut = parts(config["data"], config["held"], config["seed"])
    held, learned = (folder / name for name in (HELD, LEARNED))
    study = Study(folder, space, _facts(config, space, cut.fingerprint), config["seed"])
    with study.lock:
        for path, rows in ((held, cut.held), (learned, cut.learned)):
            write_text(path, "".join(f"{row}\n" for row in rows.tolist()))
    print(f"search in {shown(folder)}: {len(cut.learned)} images to learn from, {len(cut.held)} held")
    for line in [*notes, *(f"searched: {each.name} {each.words()}" for each in space)]:
        print(shown(line))
    device = find_device("cpu" if config["trainer"]["accelerator"] == "cpu" else "auto", 0)
    trainer = Trainer(
        folder,
        [*passed_on(config["overrides"]), *_of_trials(config, learned)],
        lambda values: settings(values, config),
        Judge(config["score"], config, held, device),
        config["score"],
    )

    def told(trial: Trial, outcome: Mapping[str, Any]) -> None:
        _say(trial, outcome, config["score"])
        _require_first(study)
        with study.lock:
            write_found(config, study, space)

    others = [_other(config) for _ in range(config["processes"] - 1)]
    try:
        search(study, trainer, config["trials"], config["minutes"], told)
        for each in others:
            each.wait()
    except Interrupted as error:
        said = f"a trial was asked to end ({error}); the same command continues the search"
        raise RunStopped(said, REQUEUE) from error
    finally:
        for each in others:
            if each.poll() is None:
                each.terminate()
    _close(config, study, space, folder)


def searched(config: Mapping[str, Any]) -> list[Dimension]:
    """The dimensions of the search, each of whose ends has been checked as a setting.

    Raises:
        UsageError: a range is none, or training would refuse one of its ends.
    """
    typed = {each.partition("=")[0] for each in config["overrides"]}
    space = dimensions(config["space"], config, lambda name: f"space.{name}" in typed)
    command = passed_on(config["overrides"])
    for each in space:
        for end in each.ends():
            values = settings({each.name: end}, config)
            check({**with_encoders(load_config("train", command, values=values)), "name": None})
    return space


def _name(config: Mapping[str, Any]) -> str:
    return fitting(f"tune-{config['method']['name']}-{config['data']['name']}".replace("/", "-"))


def _facts(config: Mapping[str, Any], space: list[Dimension], fingerprint: str) -> dict[str, Any]:
    """What decides the trials and their scores."""
    own = {
        key: value
        for key, value in leaves(config).items()
        if not any(key == each or key.startswith(f"{each}.") for each in _MAY_CHANGE)
    }
    ranges = {f"space.{each.name}": each.words() for each in space}
    return {**own, **ranges, "length of a trial": _length(config), "images": fingerprint}


def _length(config: Mapping[str, Any]) -> str:
    """Of a trial, as a setting of train."""
    key = "max_steps" if config["trainer"]["max_steps"] > 0 else "max_epochs"
    return f"trainer.{key}={max(1, round(config['length'] * config['trainer'][key]))}"


def _of_trials(config: Mapping[str, Any], learned: Path) -> list[str]:
    """Settings of train that all trials share beside those of the command."""
    typed = {each.partition("=")[0].partition(".")[0] for each in config["overrides"]}
    watched = [] if "online" in typed else ["online=none"]
    stopped = [] if "guard" in typed else ["guard.stop=true"]
    subset = [f"data.{key}=null" for key in ("per_class", "imbalance")]
    chosen = [*subset, f"data.indices={as_override(str(learned))}"]
    return [*watched, *stopped, *chosen, _length(config), "evaluate=false", "report=false"]


def _other(config: Mapping[str, Any]) -> "subprocess.Popen[bytes]":
    """A process that searches along; it says nothing."""
    return subprocess.Popen(
        [sys.executable, "-m", "selfsup.commands", "tune", *config["overrides"], "processes=1"],
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )


def _require_first(study: Study) -> None:
    """Raise RunStopped if there is nothing to beat."""
    first = next((each for each in study.trials() if each.number == 0), None)
    if first is not None and first.state in ("pruned", "failed"):
        raise RunStopped(
            f"the settings as they are have no score: {first.reason}; mend that first, and name another "
            f"folder than '{study.folder}' with out="
        )


def _say(trial: Trial, outcome: Mapping[str, Any], score: str) -> None:
    if outcome["value"] is None:
        said = f"{'failed' if outcome.get('failed') else 'ended early'}: {outcome['reason']}"
    else:
        said = f"{SCORES[score].title} {outcome['score']:.4g}"
    values = ", ".join(f"{name} {value}" for name, value in trial.values.items())
    about = "the settings as they are" if trial.number == 0 else values
    print(shown(f"trial {trial.number}: {said}; {about} ({outcome['minutes']:.1f} min)"), flush=True)


def _command(config: Mapping[str, Any]) -> str:
    return shlex.join(["selfsup", "tune", *config["overrides"]])


def write_found(config: Mapping[str, Any], study: Study, space: list[Dimension]) -> None:
    """Write ``tuned.yaml`` and ``tune.html`` of the trials so far."""
    from selfsup.report.tuning import tuning_page

    trials, score = study.trials(), config["score"]
    outcome = found(trials, score)
    if outcome is None:
        return
    made = [each for each in trials if each.state != "running"]
    changed = {} if outcome.best is outcome.first else settings(outcome.best.values, config)
    about = [
        shown(f"Found by: {_command(config)}"),
        f"{SCORES[score].title} {outcome.best.value:.4g} in trial {outcome.best.number} of {len(made)}; "
        f"{outcome.first.value:.4g} with the settings as they are.",
        verdict(outcome, score) + ".",
        CURSE,
    ]
    path = study.folder / FILE
    write_text(path, experiment(config["overrides"], config, changed, about))
    page = tuning_page(
        trials,
        space,
        outcome,
        score=score,
        title=f"Search: {config['method']['name']} on {config['data']['name']}",
        command=_command(config),
        commands=_commands(config, path),
        changed=changed,
    )
    write_text(study.folder / PAGE, page)


def _commands(config: Mapping[str, Any], path: Path) -> list[str]:
    """To train what was found and the settings as they are with a fresh seed, and to judge both."""
    seed = config["seed"] + 1
    own = [each for each in passed_on(config["overrides"]) if not each.startswith("seed=")]
    data = [each for each in own if each.partition("=")[0].partition(".")[0] == "data"]
    names = [f"{_name(config)}-{which}" for which in ("found", "as-they-are")]
    encoders = ",".join(f"runs/{name}/encoder" for name in names)
    return [
        shlex.join(["selfsup", "train", f"experiment={path}", f"seed={seed}", f"name={names[0]}"]),
        shlex.join(["selfsup", "train", *own, f"seed={seed}", f"name={names[1]}"]),
        shlex.join(["selfsup", "evaluate", f"encoder=[{encoders}]", *data]),
    ]


def _close(config: Mapping[str, Any], study: Study, space: list[Dimension], folder: Path) -> None:
    """Say why the search ends, what it found, and what to do with it."""
    trials, score = study.trials(), config["score"]
    outcome = found(trials, score)
    if outcome is None:
        running = any(each.state == "running" for each in trials)
        raise RunStopped(
            f"no trial has a score yet{', another process makes the first' if running else ''}; "
            f"see {folder / 'trials'}"
        )
    print(f"The search ends: {room(trials, config['trials'], config['minutes']) or 'no trial is left'}.")
    if len(trials) == 1 and config["trials"] > 1:
        print(
            f"One trial took {trials[0].minutes:.2g} minutes, so that minutes={config['minutes']:g} has no "
            "room for a second; raise minutes=, or shorten trials by length="
        )
    with study.lock:
        write_found(config, study, space)
    print(f"{verdict(outcome, score)}.\n{CURSE}")
    for line in _commands(config, study.folder / FILE):
        print(f"  {shown(line)}")
    print(f"{shown(folder / PAGE)} has all trials, {shown(folder / FILE)} the settings")
