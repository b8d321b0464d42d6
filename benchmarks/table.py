"""Make the README's tables out of ``benchmarks/results/*.json``.

python benchmarks/table.py            # rewrite the tables in README.md
python benchmarks/table.py --check    # only say whether they are up to date
"""

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
SUITES = ("digits", "cifar10")
COLUMNS = {"knn": "kNN", "linear": "linear", "5-shot": "5-shot", "rankme": "RankMe"}
METHODS = {"simclr": "SimCLR", "barlow": "Barlow Twins", "mae": "MAE", "dino": "DINO", "jepa": "I-JEPA"}


def table(suite: str) -> str:
    """The suite's table in Markdown: a row a method, its untrained control in brackets, pixels last."""
    head = ["", *COLUMNS.values(), "minutes"]
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join([' --- '] + [' ---: '] * (len(head) - 1))}|"]
    pixels: list[str] = []
    for method, title in METHODS.items():
        path = HERE / "results" / f"{suite}-{method}-seed0.json"
        if not path.is_file():
            continue
        found = json.loads(path.read_text())
        rows = {row["name"]: row["scores"] for row in found["results"]["rows"]}
        trained, untrained = rows["encoder"], rows["untrained"]
        cells = [
            f"**{_value(trained, key)}**{_spread(trained, key)} ({_value(untrained, key)})" for key in COLUMNS
        ]
        link = f"[{title}](benchmarks/results/{path.name})"
        lines.append(f"| {link} | {' | '.join(cells)} | {found['minutes_in_all']:.1f} |")
        pixels = [_value(rows["pixels"], key) for key in COLUMNS]
    lines.append(f"| raw pixels | {' | '.join(pixels)} | |")
    return "\n".join(lines)


def _value(scores: dict[str, Any], key: str) -> str:
    value = scores[key]["value"]
    if value is None:
        return "–"
    return f"{value:.0f}" if key == "rankme" else f"{100 * value:.1f}"


def _spread(scores: dict[str, Any], key: str) -> str:
    interval = scores[key]["interval"]
    return f" ±{50 * (interval[1] - interval[0]):.1f}" if interval and key != "rankme" else ""


def with_tables(text: str) -> str:
    """The text with each ``<!-- table: SUITE -->`` section filled anew."""
    for suite in SUITES:
        start, end = f"<!-- table: {suite} -->\n", f"<!-- end: {suite} -->"
        if start not in text or end not in text:
            raise SystemExit(f"README.md has no section from '{start.strip()}' to '{end}'")
        before, _, rest = text.partition(start)
        text = before + start + table(suite) + "\n" + end + rest.partition(end)[2]
    return text


def main() -> int:
    """Rewrite the README, or with ``--check`` say whether that would change it."""
    old = README.read_text(encoding="utf-8")
    new = with_tables(old)
    if "--check" in sys.argv[1:]:
        print("up to date" if new == old else "README.md is out of date: run python benchmarks/table.py")
        return int(new != old)
    README.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
