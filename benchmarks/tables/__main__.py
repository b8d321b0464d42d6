"""Make the tables of README and documentation from ``benchmarks/results/*.jsonl``.

python -m benchmarks.tables            # rewrite the tables
python -m benchmarks.tables --check    # only say whether they are up to date
"""

import functools
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.robustness import faults
from benchmarks.robustness.mutation_cases import MUTATIONS
from benchmarks.rows import METHODS, ROOT, Row, read
from benchmarks.speed.index import AIMS
from benchmarks.tables import (
    auxiliary,
    backbones,
    channels,
    copies,
    curation,
    evidence,
    forgetting,
    gpu,
    learned,
    matrix,
    relations,
    scores,
    size,
    speeds,
    transfer,
    tune,
)
from selfsup.config import load_config, summary
from selfsup.encoder.trials import TRIALS


def objectives() -> str:
    """Ours against lightly's, a row a case."""
    found = read("objectives")
    device, versions = found[0]["device"], found[0]["versions"]
    lines = [
        f"{device['processor']}, {device['cores']} cores; torch {versions['torch']}, "
        f"lightly {versions['lightly']}.",
        "",
        "| | ours | lightly | times as fast | peak memory, ours | lightly's |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in found:
        lines.append(
            "| {case} | {ours_ms:.1f} ms | {lightly_ms:.1f} ms | **{times_as_fast:.1f}** "
            "| {ours_peak_mib:.0f} MiB | {lightly_peak_mib:.0f} MiB |".format(**row)
        )
    return "\n".join(lines)


def training_input() -> str:
    """The waiting time of a training step."""
    lines = ["| device | precision | batch | a step | waiting for a batch | its views | both |"]
    lines += ["| --- | --- | ---: | ---: | ---: | ---: | ---: |"]
    for row in (row for name in ("input", "input-gpu") for row in read(name) if row["part"] == "training"):
        device = row["device"]
        ms, name = row["ms"], device["gpu"] or f"{device['processor']}, {device['cores']} cores"
        lines.append(
            f"| {name} | {row['precision']} | {row['batch']} | {ms['step']:.0f} ms | {ms['waiting']:.2f} ms "
            f"| {ms['views']:.2f} ms | **{100 * row['share_of_input']:.2f} %** |"
        )
        if "epoch_seconds" in row:
            lines += ["", f"An epoch of {row['images']} images takes {row['epoch_seconds']:.1f} s on {name}."]
    return "\n".join(lines)


def starts() -> str:
    """The first batch of a folder of many files, at each kind of start."""
    rows = read("index")
    found, device = rows[0], rows[0]["device"]
    lines = [
        f"{found['files']:,} files in {found['folders']:,} folders; "
        f"{device['processor']}, {device['cores']} cores.",
        "",
        f"| | first {found['batch']} images, decoded | with imports | memory | |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        name = row["start"]
        aim = f"at most {AIMS[name]} s" if name in AIMS else ""
        lines.append(
            f"| {name} | **{row['seconds']:.1f}** s | {row['seconds_with_imports']:.1f} s "
            f"| {row['megabytes']:.0f} MiB | {aim} |"
        )
    return "\n".join(lines)


# A photograph adds to a shard, beside its own bytes, a header of 512 and on average 256 of padding; a label
# the same and 512 of its own.
TAR_IMAGE, TAR_LABEL, SHARD = 768, 1024, 300e6


def scaling() -> str:
    """Disk, files and memory for 10^8 and 10^9 images."""
    size = _input("decoding")["bytes_an_image"] + TAR_IMAGE
    lines = ["| | 10⁸ images | 10⁹ images |", "| --- | ---: | ---: |"]
    rows: dict[str, Callable[[float], str]] = {
        f"photographs of {(size - TAR_IMAGE) / 1000:.0f} kB, in tar": lambda n: f"{n * size / 1e12:.1f} TB",
        "labels as `.cls` beside them": lambda n: f"{n * TAR_LABEL / 1e12:.1f} TB",
        f"shards of {SHARD / 1e6:.0f} MB": lambda n: f"{n * size / SHARD:,.0f}",
        "the index on the disk, without labels": lambda n: f"{n * 8 / 1e9:.1f} GB",
        "labels in the memory of each process": lambda n: f"{n * 8 / 1e9:.1f} GB",
    }
    lines += [f"| {name} | {value(1e8)} | {value(1e9)} |" for name, value in rows.items()]
    return "\n".join(lines)


def feeding() -> str:
    """Bandwidth and cores for a rate of images."""
    found = _input("decoding")
    size, rate = found["bytes_an_image"] + TAR_IMAGE, found["images_a_second"]
    lines = ["| images a second and GPU | read by a GPU | by 8 | by 256 | cores that decode, a GPU |"]
    lines += ["| ---: | ---: | ---: | ---: | ---: |"]
    for images in (500, 1000, 2000, 4000):
        read = [f"{images * size * gpus / 1e6:,.0f} MB/s" for gpus in (1, 8, 256)]
        lines.append(f"| {images:,} | {' | '.join(read)} | {images / rate:.1f} |")
    machine = found["device"]["processor"]
    return "\n".join([*lines, "", f"One core here ({machine}) decodes and crops {rate:,} a second."])


def shard_memory() -> str:
    """Memory along an epoch of shards."""
    found = _input("memory")
    points = [found["points"][round(share * (len(found["points"]) - 1))] for share in (0, 1 / 3, 2 / 3, 1)]
    seen = " | ".join(f"{point['samples']:,}" for point in points)
    used = " | ".join(f"{point['mib']:.0f} MiB" for point in points)
    return f"| samples seen | {seen} |\n| --- |{' ---: |' * len(points)}\n| memory | {used} |"


def _input(part: str) -> dict[str, Any]:
    return next(row for row in read("input") if row["part"] == part)


def mutations() -> str:
    """How many were noticed, and the list of them."""
    known = {(Path(row["file"]).stem, row["old"], row["new"]): row for row in read("mutations")}
    listed = [(file, *change) for file, changes in MUTATIONS.items() for change in changes]
    rows = [known[each] for each in listed if each in known]
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


def reliability(part: Callable[[dict[str, list[Row]]], str]) -> str:
    """A table of measurements of reliability, and their machine."""
    rows = read("reliability")
    device, versions = rows[-1]["device"], rows[-1]["versions"]
    found = {name: [row for row in rows if row["part"] == name] for name in ("kills", "cost", "tests")}
    where = f"{device['processor']}, {device['cores']} cores; torch {versions['torch']}."
    return f"{where}\n\n{part(found)}"


def provoked() -> str:
    """Each failure provoked on digits, and when the guard reported it."""
    rows = [row for row in read("guard") if row["kind"] == "provoked"]
    lines = ["| provoked by | first reported at step | as |", "| --- | ---: | --- |"]
    for row in rows:
        named = row["warnings"]
        first = named[0]["step"] if named else "–"
        names = ", ".join(dict.fromkeys(one["name"] for one in named)) or "**not reported**"
        lines.append(f"| {row['failure']} | {first} | {names} |")
    return "\n".join(lines)


def healthy() -> str:
    """The guard's signals and warnings in healthy runs: the minimum and maximum of each signal."""
    rows = [row for row in read("guard") if row["kind"] == "healthy"]
    alarms = sum(len(row["warnings"]) for row in rows)
    methods = [method for method in METHODS if any(row["method"] == method for row in rows)]
    lines = [f"{len(rows)} runs, {alarms} warnings.", ""]
    lines += [f"| | {' | '.join(METHODS[method] for method in methods)} |"]
    lines += [f"| --- |{' ---: |' * len(methods)}"]
    seen = {
        method: [look for row in rows if row["method"] == method for look in row["looks"] if look["step"] > 1]
        for method in methods
    }
    for signal in dict.fromkeys(key for looks in seen.values() for look in looks for key in look):
        if signal == "step":
            continue
        cells = []
        for method in methods:
            values = [look[signal] for look in seen[method] if signal in look]
            cells.append(f"{min(values):.3g} … {max(values):.3g}" if values else "")
        lines.append(f"| `{signal}` | {' | '.join(cells)} |")
    return "\n".join(lines)


NEEDS = {"masking": "a convolutional network"}
NEEDS |= dict.fromkeys(TRIALS, "a vision transformer")


def _needs(method: str) -> str:
    """What a method requires of the backbone, and whether of the data."""
    requires = load_config("train", [f"method={method}"])["method"]["requires"]
    backbone = ", ".join(dict.fromkeys(NEEDS[each] for each in requires if each in NEEDS)) or "any backbone"
    return f"{backbone}, with labels" if "labels" in requires else backbone


def few_words(folder: str) -> str:
    """A row for each kind of backbone: the methods that train it, with their pages in ``folder``."""
    rows: dict[str, list[str]] = {}
    for method, title in METHODS.items():
        name = title.removesuffix(" (labels)")  # the row says so
        rows.setdefault(_needs(method), []).append(f"[`{method}`]({folder}{method}.md) ({name})")
    lines = ["| it trains | `method=` |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| {needs} | {', '.join(names)} |" for needs, names in rows.items())])


def methods(folder: str) -> str:
    """A row a method: its page in ``folder``, idea, needs, when to choose it, and what it did on digits."""
    digits = learned.costs("digits")
    lines = [
        "| `method=` | | idea | needs | choose it | on digits |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for method in METHODS:
        title, _, idea = summary("method", method).partition(": ")
        page = ROOT / "docs" / "methods" / f"{method}.md"
        text = page.read_text(encoding="utf-8") if page.is_file() else ""
        found = re.search(r"## When to choose it\n\n(.+?)\.\s", text, re.S)
        when = re.sub(r"\[(.+?)\]\(.+?\)", r"\1", " ".join(found[1].split())) if found else ""
        name = f"[`{method}`]({folder}{method}.md)" if text else f"`{method}`"
        row = [name, title, idea, _needs(method), when[:1].lower() + when[1:], digits.get(method, "")]
        lines.append(f"| {' | '.join(row)} |")
    note = "On digits: kNN accuracy (untrained), and the 10¹² multiplications and additions of its training."
    return "\n".join([*lines, "", note])


PAGES: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {"methods": lambda: few_words("docs/methods/"), "results": learned.front},
    "docs/index.md": {"methods": lambda: methods("methods/")},
    "docs/results/index.md": {
        suite: functools.partial(learned.golden, suite)
        for suite in ("digits", "cifar10-cpu", "cifar10-short")
    },
    "docs/results/trials.md": {
        f"tuning-{suite}": functools.partial(learned.tuned, suite) for suite in ("cifar10-cpu", "digits")
    },
    "docs/auxiliary.md": {"auxiliary": auxiliary.table},
    "docs/pictures.md": {"channels": channels.table},
    "docs/backbones.md": {"families": backbones.taken, "refusals": backbones.refused},
    "docs/evaluation.md": {"fewshot": scores.fewshot, "evaluation": scores.evaluation},
    "docs/inspect.md": {"copies": copies.found, "judged": copies.judged, "inspect": copies.speed},
    "docs/curate.md": {"curation": curation.halves, "labelling": curation.labels, "pairs": curation.pairs},
    "docs/tune.md": {"tune": tune.table},
    "docs/relations.md": {"relations": relations.worth},
    "docs/weights.md": {"transfer": transfer.table, "forgetting": forgetting.table},
    "docs/label-free.md": {
        "spectra": scores.spectra,
        "pitfalls": scores.pitfalls,
        "within": matrix.within,
        "across": matrix.across,
        "evaluators": matrix.evaluators,
        "choosing": matrix.choosing,
        "stopping": matrix.stopping,
    },
    "docs/objectives.md": {"objectives": objectives, "mutations": mutations},
    "docs/data.md": {"index": starts},
    "docs/views.md": {"views": speeds.views, "input": training_input},
    "docs/speed.md": {
        "stages": speeds.stages,
        "overhead": speeds.overhead,
        "operations": speeds.operations,
        "savings": speeds.savings,
        "shared": speeds.shared,
        "gpu": gpu.measured,
        "time-to": speeds.time_to,
        "peers": speeds.peers,
    },
    "docs/scaling.md": {
        "scaling": scaling,
        "shard_memory": shard_memory,
        "feeding": feeding,
        "curation-measured": size.measured,
        "curation-planned": size.planned,
    },
    "docs/guard.md": {"provoked": provoked, "healthy": healthy},
    "docs/reliability.md": {
        "faults": lambda: reliability(faults.table),
        "kills": lambda: reliability(faults.kills),
        "cost": lambda: reliability(faults.cost),
    },
}

# Whole files that are made from the results.
FILES: dict[str, Callable[[], str]] = {"selfsup/evidence.json": evidence.written}


def with_tables(page: str, text: str) -> str:
    """The page's text with each ``<!-- table: NAME -->`` section made from the results."""
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
    for page in [*PAGES, *FILES]:
        path = ROOT / page
        old = path.read_text(encoding="utf-8")
        new = FILES[page]() if page in FILES else with_tables(page, old)
        if new != old:
            stale.append(page)
        if "--check" not in sys.argv[1:]:
            path.write_text(new, encoding="utf-8")
    if "--check" in sys.argv[1:]:
        print(f"out of date: {', '.join(stale)}; run python -m benchmarks.tables" if stale else "up to date")
        return int(bool(stale))
    return 0


if __name__ == "__main__":
    sys.exit(main())
