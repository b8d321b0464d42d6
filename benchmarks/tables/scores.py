"""Tables of the evaluation suite: its speed beside peers, spectra, few shots."""

from pathlib import PurePath
from typing import Any

from benchmarks.rows import read


def evaluation() -> str:
    """Every target of the suite and its result."""
    found = {row["case"]: row for row in read("evaluation")}
    device = next(iter(found.values()))["device"]
    lines = [
        f"{device['processor']}, {device['cores']} cores.",
        "",
        "| | ours | beside | | aim |",
        "| --- | ---: | --- | ---: | ---: |",
    ]
    rows = {"knn": _knn, "knn_million": _million, "ridge": _ridge, "linear": _linear, "cifar10": _cifar10}
    rows["table"] = _table
    for name, lines_of in rows.items():
        if name in found:
            other = found[name]["device"]
            where = f" ({other['processor']}, {other['cores']} cores)" if other != device else ""
            # After the first cell, the title.
            lines += [f"| {line[2:].replace(' |', f'{where} |', 1)}" for line in lines_of(found[name])]
    missing = ", ".join(f"`{name}`" for name in rows if name not in found)
    return "\n".join(lines + (["", f"Not measured yet on this machine: {missing}."] if missing else []))


def _knn(found: dict[str, Any]) -> list[str]:
    versions = found["versions"] | found["peers"]
    peers = {
        "sklearn": (f"scikit-learn {versions['scikit-learn']}, brute force", 3),
        "lightly": (f"lightly {versions['lightly']}, `knn_predict`", 1.5),
        "faiss": (f"faiss {versions['faiss-cpu']}, flat index", 1),
    }
    return [
        *(
            _row("kNN, 10,000 of 50,000 x 512, k=200", found["ours_s"], title, found[f"{peer}_s"], aim)
            for peer, (title, aim) in peers.items()
        ),
        f"| its products in float32 alone | | | {found['products_s']:.2f} s | |",
        f"| its queries with scikit-learn's neighbours, ties aside | {found['queries_same_but_for_ties']:,} "
        "| | | 10,000 |",
        f"| its memory beyond the features | {found['ours_beyond_features_mib']:.0f} MiB | | | at most 150 |",
    ]


def _million(found: dict[str, Any]) -> list[str]:
    what = f"kNN, {found['queries']} of 1,000,000 x 384 in float16 on disk, k=200"
    return [f"| {what} | {found['ours_s']:.1f} s | | {found['peak_mib'] / 954:.1f} GB in all | at most 3 |"]


def _ridge(found: dict[str, Any]) -> list[str]:
    peer = f"one scikit-learn `LogisticRegression()`, {found['sklearn_iterations']} iterations"
    what = "ridge, 7 strengths, 50,000 x 512"
    return [_row(what, found["ours_s"], peer, found["sklearn_logistic_s"], 10)]


def _linear(found: dict[str, Any]) -> list[str]:
    many, one = found["all_s"], found["one_s"]
    return [
        f"| linear, {found['rates']} rates | {many:.2f} s | one rate: {one:.2f} s "
        f"| **{many / one:.1f}** times as long | at most 5 |"
    ]


def _cifar10(found: dict[str, Any]) -> list[str]:
    ours, converged, peer = (100 * found[name] for name in ("linear", "logistic", "sklearn_logistic"))
    return [
        f"| linear, on an untrained ResNet-18's features of CIFAR-10 | {ours:.2f} % "
        f"| `logistic` {converged:.2f} %, scikit-learn's of its strength {peer:.2f} % "
        f"| **{abs(ours - converged):.2f}** points apart | at most 0.3 |"
    ]


def _table(found: dict[str, Any]) -> list[str]:
    spent = ", ".join(f"{name} {seconds:.1f}" for name, seconds in found["seconds"].items())
    return [
        f"| all but `attentive` and `finetune`, of cached features | **{found['total_s']:.0f}** s | {spent} "
        f"| **{found['peak_mib'] / 954:.1f}** GB in all | at most 60 s, 3 GB |"
    ]


def _row(what: str, ours: float, peer: str, theirs: float, aim: float) -> str:
    ratio = f"**{theirs / ours:.1f}** times as fast"
    return f"| {what} | {ours:.2f} s | {peer}: {theirs:.2f} s | {ratio} | at least {aim:g} |"


def spectra() -> str:
    """RankMe by the Gram matrix against singular values, a row a size."""
    found = [row for row in read("spectra") if row["part"] == "sizes"]
    device, versions = found[0]["device"], found[0]["versions"]
    lines = [
        f"{device['processor']}, {device['threads']} threads; torch {versions['torch']}.",
        "",
        "| N x D | ours | svdvals | times as fast (at least 2) | relative error (at most 1e-4) "
        "| all six scores | peak memory, ours | svdvals' |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in found:
        lines.append(
            "| {size} | {gram_ms:.0f} ms | {svd_ms:.0f} ms | **{times_as_fast:.1f}** | {relative_error:.0e} "
            "| {panel_ms:.0f} ms | {gram_peak_mib:.0f} MiB | {svd_peak_mib:.0f} MiB |".format(**row)
        )
    return "\n".join(lines)


def pitfalls() -> str:
    """RankMe with too few samples and with rounding."""
    found = {row["part"]: row["rankme"] for row in read("spectra")}
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
    rows = {(row["name"], row["scaling"]): row for row in read("fewshot") if row["shots"] == 5}
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
    trained = next(iter(rows.values()))["trained"]
    about = "; ".join(f"{PurePath(path).parent.name}: {how}" for path, how in trained.items())
    return "\n".join([*lines, "", f"{about}."])
