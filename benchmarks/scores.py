"""Tables of the evaluation suite: its speed beside peers, spectra, few shots."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def evaluation() -> str:
    """Every aim of the suite and what was reached."""
    found = _read("evaluation-cpu")["cases"]
    knn, million, table, regressions = (found[name] for name in ("knn", "knn_million", "table", "cifar10"))
    device, versions = knn["origin"]["device"], knn["origin"]["versions"] | knn["versions"]
    lines = [
        f"{device['processor']}, {device['cores']} cores; "
        + ", ".join(f"{name} {versions[name]}" for name in ("torch", "lightly", "scikit-learn", "faiss-cpu"))
        + ".",
        "",
        "| | ours | beside | | aim |",
        "| --- | ---: | --- | ---: | ---: |",
    ]
    for peer, title, aim in (
        ("sklearn", "scikit-learn, brute force", 3),
        ("lightly", "lightly, `knn_predict`", 1.5),
        ("faiss", "faiss, flat index", 1),
    ):
        ours, theirs = knn["ours_s"], knn[f"{peer}_s"]
        lines.append(_row("kNN, 10,000 of 50,000 x 512, k=200", ours, title, theirs, aim))
    ridge, linear = found["ridge"], found["linear"]
    title = "one scikit-learn `LogisticRegression()`"
    lines.append(
        _row("ridge, 7 strengths, 50,000 x 512", ridge["ours_s"], title, ridge["sklearn_logistic_s"], 10)
    )
    many, one = linear["all_s"], linear["one_s"]
    lines.append(
        f"| linear, 13 rates | {many:.2f} s | one rate: {one:.2f} s | **{many / one:.1f}** times as long "
        "| at most 5 |"
    )
    lines += [
        f"| kNN, memory beyond the features | {knn['ours_beyond_features_mib']:.0f} MiB | | | at most 150 |",
        f"| kNN, 500 of 1,000,000 x 384 in float16 on disk | {million['ours_s']:.1f} s "
        f"| | {million['peak_mib'] / 1024:.1f} GiB in all | at most 3 |",
        f"| all protocols of cached features but `attentive` and `finetune` | {table['total_s']:.0f} s "
        f"| | {table['peak_mib'] / 1024:.1f} GiB in all | 60 s, 3 GB |",
        "",
        f"{knn['queries_same_but_for_ties']:,} of 10,000 queries have scikit-learn's neighbours, ties aside. "
        f"On CIFAR-10 features `linear` has {100 * regressions['linear']:.2f} %, "
        f"`logistic` {100 * regressions['logistic']:.2f} % and scikit-learn's regression of its strength "
        f"{100 * regressions['sklearn_logistic']:.2f} %.",
        "",
        "Seconds of each protocol: "
        + ", ".join(f"`{name}` {spent:.1f}" for name, spent in table["seconds"].items())
        + ".",
    ]
    return "\n".join(lines)


def _row(what: str, ours: float, peer: str, theirs: float, aim: float) -> str:
    ratio = f"**{theirs / ours:.1f}** times as fast"
    return f"| {what} | {ours:.2f} s | {peer}: {theirs:.2f} s | {ratio} | at least {aim:g} |"


def spectra() -> str:
    """RankMe by the Gram matrix against singular values, a row a size."""
    found = _read("spectra-cpu")
    device = found["device"]
    lines = [
        f"{device['processor']}, {device['threads']} threads; torch {found['versions']['torch']}.",
        "",
        "| N x D | ours | svdvals | times as fast (at least 2) | relative error (at most 1e-4) "
        "| all six scores | peak memory, ours | svdvals' |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in found["rows"]:
        lines.append(
            "| {size} | {gram_ms:.0f} ms | {svd_ms:.0f} ms | **{times_as_fast:.1f}** | {relative_error:.0e} "
            "| {panel_ms:.0f} ms | {gram_peak_mib:.0f} MiB | {svd_peak_mib:.0f} MiB |".format(**row)
        )
    return "\n".join(lines)


def pitfalls() -> str:
    """What too few samples and rounding do to RankMe."""
    found = _read("spectra-cpu")
    few, rounded = found["few_samples"], found["rounding"]
    halves = {name.removeprefix("torch."): value for name, value in rounded.items()}
    return "\n".join(
        [
            f"| 1/k spectrum, D = 384, N = | {' | '.join(few)} |",
            f"| --- |{' ---: |' * len(few)}",
            f"| RankMe | {' | '.join(f'{value:.0f}' for value in few.values())} |",
            "",
            f"| rank 8, D = 2048, as | {' | '.join(halves)} |",
            f"| --- |{' ---: |' * len(halves)}",
            f"| RankMe | {' | '.join(f'{value:.2f}' for value in halves.values())} |",
        ]
    )


def fewshot() -> str:
    """Five-shot accuracy on the hold-out by scaling and penalty, a row of features each."""
    found = _read("fewshot")
    rows = {(row["name"], row["scaling"]): row for row in found["rows"] if row["shots"] == 5}
    shown = ("1", "0.3", "0.1", "0.01", "0.001")
    fixed = " | ".join(f"centred, {strength}" for strength in shown)
    lines = [
        f"|  | standardised, 0.3 | {fixed} | leave-one-out |",
        f"| --- |{' ---: |' * (len(shown) + 2)}",
    ]
    for name, scaling in rows:
        if scaling == "centred":
            before, row = rows[name, "standardised"], rows[name, scaling]
            values = [before["fixed"]["0.3"], *(row["fixed"][strength] for strength in shown)]
            cells = " | ".join(f"{100 * value:.1f}" for value in values)
            lines.append(f"| {name} | {cells} | **{100 * row['chosen']:.1f}** |")
    about = "; ".join(f"{Path(path).parent.name}: {how}" for path, how in found["trained"].items())
    return "\n".join([*lines, "", f"{about}."])


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found
