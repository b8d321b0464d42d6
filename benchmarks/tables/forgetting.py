"""The tables of what was forgotten, from ``benchmarks/results/forgetting.jsonl``."""

from benchmarks.rows import Row, machine, read
from selfsup.evaluation.results.verdict import percent

SECOND = {"two": "Tiny-ImageNet", "far": "the digits"}
SCORES = {"knn": "kNN", "5-shot": "5-shot"}


def table() -> str:
    """For each second set a table, with the paired differences of the two ways to go on."""
    rows = read("forgetting")
    if not rows:
        return "Not measured yet."
    parts = [_part(runs, [row for row in rows if row["runs"] == runs]) for runs in SECOND]
    return "\n\n".join(
        [*filter(None, parts), f"{machine(rows[0])}; threads: {rows[0]['device']['threads']}."]
    )


def _part(runs: str, rows: list[Row]) -> str:
    """A row an encoder or control, a column a set and score."""
    if not rows:
        return ""
    names = {
        f"{runs}-first": "after CIFAR-10",
        f"{runs}-cosines": f"then {SECOND[runs]}, by a second cosine",
        f"{runs}-annealed": f"then {SECOND[runs]}, by a rate without an end",
    }
    heads = [f"{row['set']}: {title}" for row in rows for title in SCORES.values()]
    lines = [f"| encoder | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(heads)}"]
    judged = [{each["name"]: each for each in row["results"]["rows"]} for row in rows]
    for name in judged[0]:
        if all(name in each for each in judged) and not name.startswith("start of"):
            cells = [percent(each[name]["scores"][key]) for each in judged for key in SCORES]
            lines.append(f"| {names.get(name, name)} | {' | '.join(cells)} |")
    lines += [
        "",
        "The rate without an end against the second cosine, in points, paired over the same images or draws:",
    ]
    for row in rows:
        said = [
            f"{SCORES[each['score']]} {sign * 100 * each['difference']:+.1f} "
            f"[{min(ends):+.1f}, {max(ends):+.1f}]"
            for each in row["results"]["comparison"]["differences"]
            if each["score"] in SCORES
            and {each["first"], each["second"]} == {f"{runs}-cosines", f"{runs}-annealed"}
            for sign in [1 if each["first"] == f"{runs}-annealed" else -1]
            for ends in [[sign * 100 * end for end in each["interval"]]]
        ]
        lines.append(f"* {row['set']}: {', '.join(said)}.")
    return "\n".join(lines)
