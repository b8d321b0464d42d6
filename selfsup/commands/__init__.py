"""The command line: ``selfsup COMMAND key=value ...``, or ``python -m ssl.COMMAND`` in a checkout.

A mistake is told in one sentence on standard error, with exit status 2; ``traceback=true`` shows
where it was noticed.
"""

import importlib
import sys

from selfsup.errors import UsageError

COMMANDS = {
    "train": "learn an encoder from images without labels",
    "evaluate": "judge a saved encoder: kNN, linear probe, few-shot, RankMe, beside controls",
}


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    name, *rest = arguments
    traceback = "traceback=true" in rest
    try:
        if name not in COMMANDS:
            from selfsup.config import near

            raise UsageError(f"no command '{name}'{near(name, COMMANDS)}")
        if any(argument in ("-h", "--help") for argument in rest):
            from selfsup.commands.help import describe

            print(describe(name, [argument for argument in rest if not argument.startswith("-")]))
            return 0
        from selfsup.config import load_config

        config = load_config(name, rest)
        importlib.import_module(f"selfsup.commands.{name}").run(config)
    except UsageError as error:
        if traceback:
            raise
        print(f"selfsup {name}: {error}", file=sys.stderr)
        return 2
    except FloatingPointError as error:
        if traceback:
            raise
        print(f"selfsup {name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"selfsup {name}: interrupted", file=sys.stderr)
        return 130
    return 0


def _overview() -> str:
    lines = [f"  {name:10} {text}" for name, text in COMMANDS.items()]
    head = ["Self-supervised learning from images.", "", "usage: selfsup COMMAND [key=value ...]", ""]
    return "\n".join([*head, *lines, "", "'selfsup COMMAND --help' lists a command's settings."])
