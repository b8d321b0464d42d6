"""The command line: ``selfsup COMMAND key=value ...``, or ``python -m ssl.COMMAND`` in a checkout.

Errors are reported in one sentence on standard error, with exit status 2; ``traceback=true`` shows where they
were noticed.
"""

import errno
import importlib
import io
import os
import sys

from selfsup import __version__
from selfsup.errors import RunStopped, UsageError
from selfsup.files import NotPlain
from selfsup.processes import require_one_process
from selfsup.runtime import prepare_process
from selfsup.text import shown

# Disk errors in the middle of a command, and their remedies.
_OF_THE_DISK = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room, or ask for a larger quota",
    errno.EROFS: "name a place that can be written to",
    errno.EIO: "check the disk",
    errno.EACCES: "check its permissions, or name another place",
    errno.EPERM: "check its permissions, or name another place",
    errno.ENAMETOOLONG: "choose a shorter name",
}

COMMANDS = {
    "inspect": "show what is in a data set: copies, leakage, outliers, doubtful labels, and what to do",
    "advise": "advise how to train on these images: method, size, length, each with its reason",
    "train": "learn an encoder from images without labels",
    "tune": "search for settings by a score without labels",
    "views": "show the images as a training command would see them, in one picture",
    "evaluate": "judge a saved encoder: kNN, linear probe, few-shot, RankMe, beside controls",
    "runs": "list runs: method, data, steps, minutes, scores",
    "board": "compare encoders from any results on one page, beside their controls",
    "report": "report on a run, or on several side by side, in one HTML file",
    "curate": "choose the images to learn from, or to label next",
    "embed": "write the features of all images to a Parquet file",
    "search": "find the images most similar to one",
    "export": "write an encoder for other programs: timm and the Hub, ONNX, TorchScript, torch.export",
}
# Commands that several processes of a launcher do together.
_SHARED = ("train", "evaluate", "embed", "curate")
# The setting that takes a command's bare arguments, those without "=".
_BARE = {"report": "runs", "runs": "folders", "board": "paths"}
# Packages whose versions decide what a run does.
_DEPENDENCIES = ("torch", "torchvision", "pytorch-lightning", "timm", "lightly", "hydra-core", "numpy")
_ENDING = (
    "'selfsup COMMAND --help' lists a command's settings, --list what there is to choose from.",
    "'source <(selfsup completion)' makes bash and zsh complete them; --version says what is installed.",
)
_CONFIGS = {"views": "views-command"}  # configs/views/ holds the view plans


def config_name(command: str) -> str:
    """The name of a command's configuration, which is nearly always its own."""
    return _CONFIGS.get(command, command)


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "--version" in arguments or arguments[:1] == ["version"]:
        _say(versions())
        return 0
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        _say(_overview())
        return 0
    name, *rest = arguments
    # A name that the terminal's encoding does not have is printed with escapes instead of ending the command.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    traceback = "traceback=true" in rest
    try:
        if name == "completion":
            from selfsup.commands.completion import script

            _say(script())
            return 0
        if name not in COMMANDS:
            from selfsup.hints import near

            raise UsageError(f"no command '{name}'{near(name, COMMANDS)}")
        if any(argument in ("-h", "--help") for argument in rest):
            from selfsup.commands.help import describe

            _say(describe(name, [argument for argument in rest if not argument.startswith("-")]))
            return 0
        if "--list" in rest:
            from selfsup.commands.help import choices

            _say(choices(name))
            return 0
        from selfsup.config import load_config
        from selfsup.targets import typed

        bare = [argument for argument in rest if name in _BARE and "=" not in argument]
        config = load_config(config_name(name), [argument for argument in rest if argument not in bare])
        if bare:
            config[_BARE[name]] = bare
        if name not in _SHARED:
            require_one_process(name)
        prepare_process()
        with typed(config):
            importlib.import_module(f"selfsup.commands.{name}").run(config)
    except UsageError as error:
        if traceback:
            raise
        print(f"selfsup {name}: {shown(error)}", file=sys.stderr)
        return 2
    except RunStopped as error:
        if traceback and error.status == 1:
            raise
        print(f"selfsup {name}: {shown(error)}", file=sys.stderr)
        return error.status
    except NotPlain as error:
        if traceback:
            raise
        print(f"selfsup {name}: {shown(error)}", file=sys.stderr)
        return 2
    except OSError as error:
        if traceback or error.errno not in _OF_THE_DISK:
            raise
        where = f" '{shown(error.filename)}'" if error.filename else ""
        print(f"selfsup {name}: {error.strerror}{where}; {_OF_THE_DISK[error.errno]}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"selfsup {name}: interrupted", file=sys.stderr)
        return 130
    return 0


def _say(text: str) -> None:
    """Print; ignore a closed pipe, as of ``head``."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end


def versions() -> str:
    """What is installed, for a bug report; nothing is imported for it."""
    import platform
    from importlib import metadata

    found = [f"selfsup {__version__}", f"Python {platform.python_version()} on {platform.platform()}"]
    for name in _DEPENDENCIES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(f"{name} is not installed")
    return "\n".join(found)


def _overview() -> str:
    lines = [f"  {name:10} {text}" for name, text in COMMANDS.items()]
    head = ["Self-supervised learning from images.", "", "usage: selfsup COMMAND [key=value ...]", ""]
    return "\n".join([*head, *lines, "", *_ENDING])
