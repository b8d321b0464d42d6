"""The tables of docs/inspect.md, from ``benchmarks/results/copies.jsonl`` and ``inspect.jsonl``."""

from benchmarks.rows import Row, machine, read

NAMES = {"flowers": "flowers", "cifar10": "CIFAR-10", "digits": "digits"}


def _name(row: Row) -> str:
    return f"{NAMES[row['data']]}, {'an encoder' if row['space'] == 'encoder' else 'pixels'}"


def found() -> str:
    """Recall and precision by kind of copy, a row a kind."""
    rows = [row for row in read("copies") if "copies" in row]
    if not rows:
        return "Not measured yet."
    lines = [f"| copy | {' | '.join(map(_name, rows))} |", f"| --- |{' ---: |' * len(rows)}"]
    for kind in [*rows[0]["copies"], "all"]:
        cells = []
        for row in rows:
            of_kind = [counts for name, counts in row["copies"].items() if kind in (name, "all")]
            planted, right, wrong = (
                sum(each[key] for each in of_kind) for key in ("planted", "found", "wrong")
            )
            precision = right / (right + wrong) if right + wrong else 1.0
            cells.append(f"{right / planted:.3f} / {precision:.3f}")
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"Recall / precision at a threshold of {rows[0]['threshold']:g}."])


def _leakage(row: Row) -> str:
    if "leakage" not in row:
        return "– | – | –"
    leak = {key: 100 * value for key, value in row["leakage"].items()}
    added = f"{leak['effect']:.2f} [{leak['low']:.2f}, {leak['high']:.2f}]"
    return f"{leak['whole']:.1f} | {added} | {leak['truth']:.2f}"


def judged() -> str:
    """Leakage beside its truth, and planted label errors."""
    rows = read("copies")
    if not rows:
        return "Not measured yet."
    lines = [
        "| data | kNN, % | copies add, points | truth | labels that agree | lift | of the first fifth |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        labels = row["labels"]
        shares = f"{100 * labels['agree']:.0f} % | {labels['lift']:.1f} | {labels['lift_of_first']:.1f}"
        lines.append(f"| {_name(row)} | {_leakage(row)} | {shares} |")
    return "\n".join(lines)


def speed() -> str:
    """Seconds by number of images."""
    rows = read("inspect")
    if not rows:
        return "Not measured yet."
    lines = [
        "| images | CPU seconds | wall-clock seconds | load | memory, GiB |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in sorted(rows, key=lambda row: int(row["images"])):
        cells = (row["cpu_seconds"], row["seconds"], row["load"], row["memory_gib"])
        lines.append(f"| {row['images']:,} | {' | '.join(f'{each:g}' for each in cells)} |")
    return "\n".join([*lines, "", f"{machine(rows[0])}."])
