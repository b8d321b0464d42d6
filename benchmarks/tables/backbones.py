"""Which of timm's models each method takes, from ``benchmarks/results/backbones.jsonl``."""

import re
from collections import Counter, defaultdict

from benchmarks.robustness.backbones import POOLED
from benchmarks.rows import METHODS, Row, read
from selfsup.config import load_config
from selfsup.encoder.trials import TRIALS


def taken() -> str:
    """A row a file of timm: its models, and how many of them methods of each need take."""
    rows, groups = read("backbones"), _groups()
    titles = " | ".join(_titles(names) for names in groups.values())
    lines = [
        f"timm {rows[0]['versions']['timm']}, {sum(row['models'] for row in rows):,} models.",
        "",
        f"| `timm.models.` | models | {titles} | SparK, of the smallest |",
        f"| --- | ---: | {' | '.join('---:' for _ in groups)} | --- |",
    ]
    for row in sorted(rows, key=lambda row: row["family"]):
        counts = [_count(row, needs) for needs in groups]
        cells = ["all" if count == row["models"] else str(count or "") for count in counts]
        spark = "" if row["spark"]["refused"] else f"`{row['spark']['model']}`"
        lines.append(f"| `{row['family']}` | {row['models']} | {' | '.join(cells)} | {spark} |")
    return "\n".join(lines)


def refused() -> str:
    """What is said of how many models, by what a method needs."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for row in read("backbones"):
        for need, said in row["refused"].items():
            for sentence, count in said.items():
                found[re.sub(r"\w+\.forward\(\)", "`forward`", sentence)][need] += count
        if row["spark"]["refused"]:
            found[row["spark"]["refused"]]["SparK, of the smallest of a file"] += 1
    rows: dict[tuple[str, int], list[str]] = defaultdict(list)
    for sentence, needs in found.items():
        for need, count in needs.items():
            rows[sentence, count].append(need)
    lines = ["| what is said | models | where these are needed |", "| --- | ---: | --- |"]
    ordered = sorted(rows.items(), key=lambda each: (-each[0][1], each[0][0]))
    lines += [f"| {said} | {count} | {', '.join(needs)} |" for (said, count), needs in ordered]
    return "\n".join(lines)


def _groups() -> dict[frozenset[str], list[str]]:
    """Methods by what they need of the backbone; those that mask maps are left out."""
    groups: dict[frozenset[str], list[str]] = {frozenset([POOLED]): []}
    for name in METHODS:
        requires = load_config("train", [f"method={name}"])["method"]["requires"]
        if "masking" not in requires:
            groups.setdefault(frozenset({POOLED, *requires} & {POOLED, *TRIALS}), []).append(name)
    return groups


def _titles(methods: list[str]) -> str:
    return "methods of whole images" if len(methods) > 8 else ", ".join(METHODS[name] for name in methods)


def _count(row: Row, needs: frozenset[str]) -> int:
    return sum(count for passed, count in row["passed"].items() if needs <= set(passed.split(", ")))
