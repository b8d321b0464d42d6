"""Tables of speed: a view, the stages of a step, their overhead, and lightly's form next to ours."""

import json
from typing import Any

from benchmarks.rows import METHODS, read


def stages() -> str:
    """Milliseconds of each stage of a step, a column a method, with the floor in brackets."""
    found = {row["method"]: row for row in read("stages")}
    methods = {method: found[method] for method in METHODS if method in found}
    titles = [
        f"{METHODS[method]}, batch {row['batch']}, {row['precision']}" for method, row in methods.items()
    ]
    lines = [
        f"{_where(next(iter(methods.values())))}.",
        "",
        f"| ms | {' | '.join(titles)} |",
        f"| --- |{' ---: |' * len(methods)}",
    ]
    by_stage = [{each["stage"]: each for each in row["stages"]} for row in methods.values()]
    for stage in by_stage[0]:
        cells = [f"{row[stage]['ms']:.1f} ({row[stage]['floor_ms']:.1f})" for row in by_stage]
        lines.append(f"| {stage} | {' | '.join(cells)} |")
    speeds = [f"{row['images_per_second']:.0f}" for row in methods.values()]
    lines.append(f"| images a second | {' | '.join(speeds)} |")
    # Measured beside each method: on a shared machine the floors of two columns may differ by it.
    for title, key in {
        "matrices, GFLOP/s": "gflops_a_second_of_matrices",
        "copies, GB/s": "gigabytes_a_second_of_copies",
    }.items():
        lines.append(f"| {title} | {' | '.join(f'{row[key]:,.0f}' for row in methods.values())} |")
    return "\n".join(lines)


def operations() -> str:
    """Where the time of a step's operations goes, by kind, and what compiling saves."""
    found = read("operations")
    if not found:
        return "Not measured yet."
    kinds = list(found[0]["ms"])
    heads = [*kinds, "products, of the rate of large matrices", "`compile=true`, times as fast", "after"]
    lines = [f"{_where(found[0])}.", "", f"| | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(heads)}"]
    for row in found:
        whole = sum(row["ms"].values())
        rate = row["products_gflops_a_second"] / row["matrices_gflops_a_second"]
        cells = [f"{row['ms'][kind] / whole:.0%}" for kind in kinds]
        cells += [f"{rate:.0%}", f"**{row['plain_ms'] / row['compiled_ms']:.2f}**"]
        cells.append(f"{row['seconds_of_compiling']:.0f} s")
        title = f"{METHODS[row['method']]}, batch {row['batch']}, {row['precision']}"
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines).replace("%", " %")


def overhead() -> str:
    """The overhead of Lightning and of a run in a step."""
    measured = next(row for row in read("overhead") if row["part"] == "added")
    forms = {
        "layer": "Lightning's trainer, one layer",
        "lightning": "Lightning's trainer, a method on a tiny network",
        "ours": "other parts of a run: guard, metrics, online scores, checkpoints",
        "whole": "both together",
    }
    added = {form: measured[form] for form in forms}
    return "\n".join(
        [
            f"{_where(measured)}. The median of {measured['rounds']} rounds, and its 95 % interval.",
            "",
            "| added to a step by | ms | |",
            "| --- | ---: | ---: |",
            *(
                f"| {what} | {added[form]['ms']:.2f} | {added[form]['low']:.2f} … {added[form]['high']:.2f} |"
                for form, what in forms.items()
            ),
        ]
    )


def shared() -> str:
    """Images a second alone and beside a busy program, by how the number of threads is chosen."""
    found = read("shared")
    if not found:
        return "Not measured yet."
    forms = {"all": "a thread a core", "one": "one thread", "free": "as shipped"}
    lines = [
        f"{_where(found[0])}; images a second, the faster of several runs in turn.",
        "",
        f"| | {' | '.join(forms.values())} | times as fast as with a thread a core |",
        f"| --- |{' ---: |' * (len(forms) + 1)}",
    ]
    for row in found:
        rates = [f"{row[f'{form}_images_per_second']:,.0f}" for form in forms]
        where = "beside a busy program" if row["busy"] else "alone"
        lines.append(
            f"| {METHODS[row['method']]}, {where} | {' | '.join(rates)} | **{row['times_as_fast']:.2f}** |"
        )
    return "\n".join(lines)


def time_to() -> str:
    """Minutes of training to three accuracies of nearest neighbours, ours and lightly's."""
    found = read("time_to")
    if not found:
        return "Not measured yet."
    aims = list(found[0]["reached"])
    heads = [f"{aim}, ours | lightly" for aim in aims] + ["at the end, ours | lightly"]
    lines = [
        f"{_where(found[0])}; lightly {found[0]['versions']['lightly']}; "
        f"{found[0]['minutes']:g} minutes of training each.",
        "",
        f"| minutes to | {' | '.join(heads)} |",
        f"| --- |{' ---: |' * (2 * len(aims) + 2)}",
    ]
    for row in found:
        cells = [row["reached"][aim][side] for aim in aims for side in ("ours", "lightly")]
        ends = [f"{row[side]['points'][-1][1]:.1%}" for side in ("ours", "lightly")]
        shown = ["–" if minutes is None else f"{minutes:.1f}" for minutes in cells]
        lines.append(f"| {METHODS[row['method']]} | {' | '.join([*shown, *ends])} |")
    return "\n".join(lines)


def savings() -> str:
    """The savings of hidden patches and of the precision."""
    found = {row["part"]: row for row in read("savings")}
    lines = ["| | without | as shipped | times as fast |", "| --- | ---: | ---: | ---: |"]
    rows = [
        (title, found["tokens"][method]) for method, title in METHODS.items() if method in found["tokens"]
    ]
    for title, row in rows:
        what = (
            f"the encoder of {title} on a quarter of the patches, ViT-S/16, {row['images']} images, "
            f"{row['precision']}"
        )
        cells = f"{row['all_ms']:,.0f} ms | {row['a_quarter_ms']:,.0f} ms"
        lines.append(f"| {what} | {cells} | **{row['times_as_fast']:.1f}** |")
    if step := found.get("precision"):
        ms = step["ms"]
        what = f"SimCLR's step, ResNet-18 at 32 px, {step['precision']}, channels last"
        cells = f"{ms['plain']:,.0f} ms | {ms['shipped']:,.0f} ms"
        lines.append(f"| {what} | {cells} | **{step['times_as_fast']:.1f}** |")
        loss, half = step["loss"], len(step["losses"]["plain"]) // 2
        lines += [
            "",
            f"SimCLR's loss over the last {half} of {2 * half} steps: {loss['shipped']:.2f} as shipped, "
            f"{loss['plain']:.2f} in float32, {loss['plain, another seed']:.2f} in it from another seed.",
        ]
    lines += ["", f"{_where(found['tokens'])}."]
    if passes := found.get("compiled"):
        factors = (
            f"the encoder of `{name}` {passes[name]['times_as_fast']:.2f} times as fast after "
            f"{passes[name]['seconds_of_compiling']:.0f} s"
            for name in ("resnet10", "vit_mini")
        )
        lines += ["", f"`torch.compile` makes {', '.join(factors)} ({_where(passes)})."]
    return "\n".join(lines)


def peers() -> str:
    """A table for each machine on which lightly was measured beside us."""
    return "\n\n".join(_peers(rows) for rows in _by_machine("peers", "command"))


def _peers(found: list[dict[str, Any]]) -> str:
    """lightly's published form beside ours, a row a method."""
    lines = [
        f"{_where(found[0])}; lightly {found[0]['versions']['lightly']}; `{found[0]['command']}`.",
        "",
        "| | ours | lightly | times as fast | memory, ours | lightly's | of lightly's |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in found:
        lines.append(
            f"| {METHODS[row['method']]} | {row['ours_images_per_second']:,.0f} images/s "
            f"| {row['lightly_images_per_second']:,.0f} images/s | **{row['times_as_fast']:.1f}** "
            f"| {row['ours_peak_mib']:,} MiB | {row['lightly_peak_mib']:,} MiB "
            f"| **{row['times_the_memory']:.2f}** |"
        )
    learned = [row for row in found if "minutes" in row]
    if learned:
        lines += [
            "",
            f"| kNN after {learned[0]['minutes']:g} minutes | ours | lightly | of lightly's |",
            "| --- | ---: | ---: | ---: |",
        ]
    for row in learned:
        ours, theirs = (
            f"{100 * row[f'{side}_knn']:.1f} % ({row[f'{side}_steps']:,} steps)"
            for side in ("ours", "lightly")
        )
        share = row["ours_knn"] / row["lightly_knn"]
        lines.append(f"| {METHODS[row['method']]} | {ours} | {theirs} | **{share:.2f}** |")
    return "\n".join(lines)


def views() -> str:
    """A table for each machine on which views were measured."""
    return "\n\n".join(_views(rows) for rows in _by_machine("views"))


def _by_machine(name: str, *keys: str) -> list[list[dict[str, Any]]]:
    """The rows of a benchmark, those of one machine (and of the same ``keys``) together."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in read(name):
        groups.setdefault(json.dumps([row["device"], *(row[key] for key in keys)]), []).append(row)
    return list(groups.values())


def _views(found: list[dict[str, Any]]) -> str:
    """Every side's time per view, its ratio to ours, and our target for it."""
    device, peers = found[0]["device"], {**found[0]["versions"], **found[0]["peers"]}
    named = ("torch", "lightly", "torchvision", "kornia", "albumentations", "pillow")
    lines = [
        f"{device['processor']}, {device['cores']} cores; {', '.join(f'{n} {peers[n]}' for n in named)}.",
        "",
        "| | | a view | ours, compiled, is faster by | ours, by torch, is faster by |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    case = None
    for row in found:
        title, case = "" if row["case"] == case else row["case"], row["case"]
        ratios = [_ratio(row, side) for side in ("native", "torch")]
        lines.append(f"| {title} | {row['side']} | {row['us'] / 1000:.3g} ms | {' | '.join(ratios)} |")
    return "\n".join(lines)


def _ratio(row: dict[str, Any], side: str) -> str:
    times, aim = row[f"{side}_times_as_fast"], row[f"{side}_aim"]
    if row["side"].startswith("ours"):
        return ""
    return f"**{times:.2g}** (at least {aim:g})" if aim else f"{times:.2g}"


def _where(found: dict[str, Any]) -> str:
    device = found["device"]
    cores = "one core" if device["cores"] == 1 else f"{device['cores']} cores"
    return f"{device['processor']}, {cores}; torch {found['versions']['torch']}"
