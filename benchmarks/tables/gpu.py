"""What a GPU computes, how fast, and how soon it learns, from ``benchmarks/results/gpu.jsonl``."""

from pathlib import Path
from typing import Any

from benchmarks.rows import METHODS, RESULTS, Row, read

NONE = "Not measured yet."


def measured(folder: Path = RESULTS) -> str:
    """The machine, the methods against the CPU, runs, speed by stage, and accuracy along a run."""
    rows = read("gpu", folder)
    if not rows:
        return NONE
    parts: dict[str, dict[str, Row]] = {}
    for row in rows:
        parts.setdefault(row["part"], {})[row["item"]] = row
    made = [
        make({item: row for item, row in parts[part].items() if "error" not in row})
        for part, make in TABLES.items()
        if part in parts
    ]
    failed = [
        f"* {part}, {item}: {row['error']}"
        for part, items in parts.items()
        for item, row in items.items()
        if "error" in row
    ]
    if failed:
        made.append("\n".join(["Without a value:", "", *failed]))
    return "\n\n".join(each for each in made if each)


def machine(rows: dict[str, Row]) -> str:
    """Rates of the device."""
    for row in rows.values():
        rates = [f"{name} {row[f'{name}_tflops']:,.0f}" for name in ("bfloat16", "tf32", "float32")]
        device = row["device"]["gpu"] or row["device"]["processor"]
        return (
            f"{device}, torch {row['versions']['torch']}: 10¹² operations a second in matrix products, "
            f"{', '.join(rates)}; {row['copy_gb']:,.0f} GB/s read and written in copies, "
            f"{row['from_host_gb']:,.0f} GB/s from the host."
        )
    return ""


def right(rows: dict[str, Row]) -> str:
    """The largest distance of each kind over the methods, and the methods beyond a limit."""
    if not rows:
        return ""
    kinds = {
        "views_apart": "views, absolute",
        "loss_apart": "loss in float32, relative",
        "gradient_apart": "gradient in float32, relative",
        "bfloat16_apart": "loss in bfloat16, relative",
    }
    lines = [f"Of {len(rows)} methods, device against CPU:", "", "| | largest | of |", "| --- | ---: | --- |"]
    for key, title in kinds.items():
        name = max(rows, key=lambda item: rows[item][key])
        lines.append(f"| {title} | {rows[name][key]:.1e} | {METHODS[name]} |")
    waiting = [f"`{item}` {row['waits']}" for item, row in rows.items() if row["waits"]]
    lines += ["", f"Waits a step, as CUDA reports them: {', '.join(waiting) or 'none'}."]
    wrong = [f"`{item}` ({', '.join(row['wrong'])})" for item, row in rows.items() if row["wrong"]]
    return "\n".join([*lines, "", f"Beyond a limit: {', '.join(wrong) or 'none'}."])


def runs(rows: dict[str, Row]) -> str:
    """Whether runs went on elsewhere and passed over a step that is not finite."""
    lines = [f"| {item} | {', '.join(row['wrong']) or 'as expected'} |" for item, row in rows.items()]
    return _table(["a run", ""], lines)


def speed(rows: dict[str, Row]) -> str:
    """Images a second and milliseconds a stage."""
    stages = ("views", "forward", "backward", "optimizer")
    heads = ["", "images a second", "of the matrix rate", *stages, "others (ms)", "peak memory"]
    lines = []
    for item, row in rows.items():
        ms: dict[str, Any] = {each["stage"]: each["ms"] for each in row["stages"]}
        others = sum(value for stage, value in ms.items() if stage not in stages)
        peak = "–" if row["peak_gib"] is None else f"{row['peak_gib']:.1f} GiB"
        cells = [f"{row['images_per_second']:,.0f}", f"{100 * row['share_of_matrix_rate']:.0f} %"]
        cells += [f"{ms[stage]:.1f}" for stage in stages] + [f"{others:.1f}", peak]
        lines.append(f"| {item}, batch {row['batch']}, {row['precision']} | {' | '.join(cells)} |")
    return _table(heads, lines)


def learning(rows: dict[str, Row]) -> str:
    """Accuracy of nearest neighbours beside minutes."""
    lines = [
        f"| {row['seconds_in_all'] / 60:.1f} | {row['steps']:,} | {100 * row['knn']:.1f} |"
        for row in rows.values()
    ]
    return _table(["minutes", "steps", "kNN (%)"], lines)


def compiled(rows: dict[str, Row]) -> str:
    """What ``torch.compile`` gives: views or images a second."""
    lines = []
    for item, row in rows.items():
        rates = {key.partition("_")[0]: value for key, value in row.items() if key.endswith("_a_second")}
        both = [f"{rates[name]:,.0f}" if name in rates else "–" for name in ("plain", "compiled")]
        kind = "colours, views a second" if item.endswith("px") else "encoder, images a second"
        lines.append(f"| {item}, {kind} | {' | '.join(both)} |")
    return _table(["", "plain", "compiled"], lines)


def _table(heads: list[str], lines: list[str]) -> str:
    if not lines:
        return ""
    return "\n".join([f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * (len(heads) - 1)}", *lines])


TABLES = {
    "machine": machine,
    "right": right,
    "runs": runs,
    "speed": speed,
    "learning": learning,
    "views": compiled,
    "compile": compiled,
}
