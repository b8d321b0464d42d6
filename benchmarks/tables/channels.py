"""The table of pictures of other channels and depths, from ``benchmarks/results/channels.jsonl``."""

from benchmarks.rows import machine, read
from benchmarks.tables.learned import ACCURACIES
from benchmarks.tables.transfer import gains
from selfsup.evaluation.results.verdict import percent


def table() -> str:
    """A row a kind of file: scores, and differences from 8-bit RGB."""
    rows = read("channels")
    if not rows:
        return "Not measured yet."
    lines = [
        f"| pictures | settings | {' | '.join(ACCURACIES.values())} | than 8-bit RGB |",
        f"| --- | --- |{' ---: |' * len(ACCURACIES)} --- |",
    ]
    for row in rows:
        scores = row["results"]["rows"][0]["scores"]
        settings = " ".join(each for each in row["typed"].split() if each.startswith(("data.ch", "data.ra")))
        cells = [percent(scores[key]) for key in ACCURACIES]
        against = gains(row["against"]) if row is not rows[0] else ""
        lines.append(
            f"| {row['kind']} | {f'`{settings}`' if settings else ''} | {' | '.join(cells)} | {against} |"
        )
    threads = rows[0]["device"]["threads"]
    return "\n".join(
        [*lines, "", f"{machine(rows[0])}; threads: {threads}. Differences are in points, paired."]
    )
