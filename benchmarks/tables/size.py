"""The tables of curation at size, from ``benchmarks/results/curation-size.jsonl``."""

from typing import Any

from benchmarks.rows import machine, read

PLANNED = 10**8
CELL, PROBES = 1000, 8  # rows of a cell, and cells that a row is compared with, of near_pairs
TITLES = {"pairs": "near copies", "levels": "k-means of two levels"}


def measured() -> str:
    """A row a task: minutes, memory, and what was found; and a sentence beside faiss."""
    rows = {row["task"]: row for row in read("curation-size") if row["rows"] == 10**6}
    lines = ["| of 1,000,000 rows of width 384 | processor minutes | minutes | memory | found |"]
    lines += ["| --- | ---: | ---: | ---: | --- |"]
    for task, title in TITLES.items():
        if task in rows:
            row = rows[task]
            times = f"{row['cpu_minutes']:.1f} | {row['minutes']:.1f} | {row['peak_gb']:.1f} GB"
            lines.append(f"| {title} | {times} | {_found(row)} |")
    if "faiss" in rows:
        lines += ["", _beside(rows["faiss"])]
    if not rows:
        return "Not measured yet."
    first = next(rows[task] for task in TITLES if task in rows)
    return "\n".join([*lines, "", f"{machine(first)}; threads: {first['torch_threads']}."])


def planned() -> str:
    """What 10^8 rows take, by the operations of each task and their rate as measured."""
    rows = {row["task"]: row for row in read("curation-size") if row["rows"] == 10**6}
    lines = [f"| of {PLANNED:,} rows of width 384 | |", "| --- | ---: |"]
    lines.append(f"| features, float16 | {PLANNED * 384 * 2 / 1e9:.0f} GB |")
    for task, title in TITLES.items():
        if task in rows:
            operations = _operations(task, PLANNED)
            rate = _operations(task, 10**6) / (60 * rows[task]["cpu_minutes"])
            hours = operations / rate / 3600
            each = f"{hours:,.0f} core hours, {hours / 32:,.1f} hours of 32 cores"
            lines.append(
                f"| {title}: {operations:.1e} operations at {rate / 1e9:.0f} GFLOP/s and core | {each} |"
            )
    return "\n".join(lines)


def _found(row: dict[str, Any]) -> str:
    if row["task"] == "pairs":
        share = f"recall {row['recall']:.3f} on 1,000 rows, {row['planted_found']:.3f} of the planted"
        return f"{row['pairs']:,} pairs, {share}"
    return f"{' and '.join(f'{size:,}' for size in row['sizes'])} clusters, {row['iterations']} iterations"


def _beside(row: dict[str, Any]) -> str:
    ours, theirs, start = (row["seconds"][name]["wall"] for name in ("ours", "faiss", "k-means++"))
    inertia = row["inertia"]
    return (
        f"k-means of {row['sample']:,} of these rows with {row['k']} clusters, {row['iterations']} "
        f"iterations from the same random rows, on {row['torch_threads']} threads: {ours:.1f} s here, "
        f"{theirs:.1f} s by faiss {row['faiss']} (mean squared distance {inertia['ours']:.4f} and "
        f"{inertia['faiss']:.4f}); k-means++ takes {start:.1f} s more and reaches "
        f"{inertia['after k-means++']:.4f}."
    )


def _operations(task: str, rows: int) -> float:
    """Multiplications and additions of the products."""
    if task == "pairs":  # the nearest of the cells, then the rows of those
        return 2.0 * rows * 384 * (rows / CELL + PROBES * CELL)
    parts = (rows / 100) ** 0.5  # as many cells as each is split in
    return 2 * 2.0 * rows * 384 * parts * (10 + 1 + 6)
