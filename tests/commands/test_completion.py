"""What there is to choose from: listed, and completed by bash."""

import os
import shutil
import subprocess
import sys

import pytest

from selfsup.commands import COMMANDS, main
from selfsup.config import options


def test_the_list_names_every_choice_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for group in ("method", "backbone", "data", "views"):
        assert f"{group}=" in lines
        for name in options(group):
            assert any(line.split()[:1] == [name] and len(line.split()) > 2 for line in lines), name


@pytest.mark.parametrize("asked", [["--help"], ["train", "--help"], ["train", "--list"], ["completion"]])
def test_a_reader_may_have_seen_enough(asked: list[str]) -> None:
    taken, given = os.pipe()
    os.close(taken)  # as head does
    try:
        command = [sys.executable, "-m", "selfsup.commands", *asked]
        result = subprocess.run(command, stdout=given, stderr=subprocess.PIPE, text=True, timeout=60)
    finally:
        os.close(given)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("selfsup ", [*COMMANDS, "completion"]),
        ("selfsup ev", ["evaluate"]),
        ("selfsup train method=b", ["barlow", "byol"]),
        ("selfsup train method=simclr batch", ["batch_size="]),
        ("selfsup report pic", ["pictures="]),
        ("selfsup nonsense ", []),
    ],
)
def test_bash_completes(line: str, offered: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(["completion"])
    script = capsys.readouterr().out
    words = line.split(" ")
    # As readline would: "=" is a word of its own.
    parts = [part for word in words for part in word.replace("=", " = ").split(" ")]
    call = f"""
    COMP_LINE='{line}' COMP_POINT={len(line)} COMP_WORDBREAKS=' ='
    COMP_WORDS=({" ".join(part or "''" for part in parts)}) COMP_CWORD={len(parts) - 1}
    _selfsup; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    result = subprocess.run(["bash", "-c", script + call], capture_output=True, text=True, timeout=30)
    assert result.stdout.split() == offered, result.stderr
