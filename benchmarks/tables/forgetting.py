"""The table of what was forgotten, from ``benchmarks/results/forgetting.jsonl``."""

from benchmarks.rows import machine, read
from selfsup.evaluation.results.verdict import percent

NAMES = {
    "two-first": "after CIFAR-10",
    "two-cosines": "then Tiny-ImageNet, by a second cosine",
    "two-annealed": "then Tiny-ImageNet, by a rate without an end",
}
SCORES = {"knn": "kNN", "5-shot": "5-shot"}


def table() -> str:
    """A row an encoder or control, a column a set and score; and the paired differences of the last two."""
    rows = read("forgetting")
    if not rows:
        return "Not measured yet."
    heads = [f"{row['set']}: {title}" for row in rows for title in SCORES.values()]
    lines = [f"| encoder | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(heads)}"]
    judged = [{each["name"]: each for each in row["results"]["rows"]} for row in rows]
    for name in judged[0]:
        if all(name in each for each in judged):
            cells = [percent(each[name]["scores"][key]) for each in judged for key in SCORES]
            lines.append(f"| {NAMES.get(name, name)} | {' | '.join(cells)} |")
    lines += [
        "",
        "The rate without an end against the second cosine, in points, paired over the same images or draws:",
    ]
    for row in rows:
        said = [
            f"{SCORES[each['score']]} {sign * 100 * each['difference']:+.1f} "
            f"[{min(ends):+.1f}, {max(ends):+.1f}]"
            for each in row["results"]["comparison"]["differences"]
            if each["score"] in SCORES and {each["first"], each["second"]} == {"two-cosines", "two-annealed"}
            for sign in [1 if each["first"] == "two-annealed" else -1]
            for ends in [[sign * 100 * end for end in each["interval"]]]
        ]
        lines.append(f"* {row['set']}: {', '.join(said)}.")
    return "\n".join([*lines, "", f"{machine(rows[0])}; threads: {rows[0]['device']['threads']}."])
