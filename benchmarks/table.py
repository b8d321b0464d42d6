"""Make the tables of README and documentation out of ``benchmarks/results/*.json``.

python benchmarks/table.py            # rewrite the tables
python benchmarks/table.py --check    # only say whether they are up to date
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
COLUMNS = {"knn": "kNN", "linear": "linear", "5-shot": "5-shot", "rankme": "RankMe"}
METHODS = {"simclr": "SimCLR", "barlow": "Barlow Twins", "mae": "MAE", "dino": "DINO", "jepa": "I-JEPA"}


def golden(suite: str) -> str:
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


def objectives() -> str:
    """Ours against lightly's, a row a case."""
    found = json.loads((HERE / "results" / "objectives-cpu.json").read_text())
    device = found["device"]
    lines = [
        f"{device['processor']}, {device['cores']} cores; torch {found['versions']['torch']}, "
        f"lightly {found['versions']['lightly']}.",
        "",
        "| | ours | lightly | times as fast | peak memory, ours | lightly's |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in found["rows"]:
        lines.append(
            "| {case} | {ours_ms:.1f} ms | {lightly_ms:.1f} ms | **{times_as_fast:.1f}** "
            "| {ours_peak_mib:.0f} MiB | {lightly_peak_mib:.0f} MiB |".format(**row)
        )
    return "\n".join(lines)


def mutations() -> str:
    """How many were noticed, and the list of them."""
    rows = json.loads((HERE / "results" / "mutations.json").read_text())["mutations"]
    noticed = sum(row["noticed_by"] is not None for row in rows)
    lines = [f"{noticed} of {len(rows)} are noticed.", "", "<details><summary>The list</summary>", ""]
    lines += ["| file | text | becomes | first noticed by |", "| --- | --- | --- | --- |"]
    for row in rows:
        cells = [Path(row["file"]).stem, _code(row["old"]), _code(row["new"])]
        test = (row["noticed_by"] or "**nothing**").rpartition("::")[2]
        lines.append(f"| {' | '.join(cells)} | {test} |".replace("|  |", "| (nothing) |"))
    return "\n".join([*lines, "", "</details>"])


def _code(text: str) -> str:
    # A table's cell has one line and no bar of its own.
    line = " ".join(text.split()).replace("|", "\\|")
    return f"`{line}`" if line else ""


PAGES: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {"digits": lambda: golden("digits"), "cifar10": lambda: golden("cifar10")},
    "docs/objectives.md": {"objectives": objectives, "mutations": mutations},
}


def with_tables(page: str, text: str) -> str:
    """The page's text with each ``<!-- table: NAME -->`` section filled anew."""
    for name, table in PAGES[page].items():
        start, end = f"<!-- table: {name} -->\n", f"<!-- end: {name} -->"
        if start not in text or end not in text:
            raise SystemExit(f"{page} has no section from '{start.strip()}' to '{end}'")
        before, _, rest = text.partition(start)
        text = before + start + table() + "\n" + end + rest.partition(end)[2]
    return text


def main() -> int:
    """Rewrite the pages, or with ``--check`` say whether that would change one."""
    stale = []
    for page in PAGES:
        path = ROOT / page
        old = path.read_text(encoding="utf-8")
        new = with_tables(page, old)
        if new != old:
            stale.append(page)
        if "--check" not in sys.argv[1:]:
            path.write_text(new, encoding="utf-8")
    if "--check" in sys.argv[1:]:
        print(f"out of date: {', '.join(stale)}; run python benchmarks/table.py" if stale else "up to date")
        return int(bool(stale))
    return 0


if __name__ == "__main__":
    sys.exit(main())
