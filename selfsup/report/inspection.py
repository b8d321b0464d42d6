"""The page of an inspection: one self-contained HTML file."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.curation.alignment import SIDE
from selfsup.curation.copies import least_similar
from selfsup.curation.inspection import Inspection
from selfsup.curation.survey import grey_of, squashed
from selfsup.data import Source
from selfsup.evaluation.features.extract import evenly
from selfsup.report.findings import Finding
from selfsup.report.pictures import caption, data_uri, false_colours, thumbnail
from selfsup.report.templates import rendered
from selfsup.text import printable

TILE = 96  # pixels of the longer side
MOST = 12  # groups, pairs, clusters, images shown in a section
IN_A_GROUP = 8
_SHOWN = ("tone", "sign", "title", "says", "commands", "section")  # of a finding


class Pictures:
    """Thumbnails of the images that are shown, read once more and kept."""

    def __init__(self, found: Inspection, sources: Mapping[str, Source]):
        self.found, self.sources = found, sources
        self.kept: dict[int, dict[str, Any]] = {}

    def pixels(self, i: int) -> Tensor:
        """uint8 ``(C, H, W)``.

        Raises:
            UnreadableImage: it has changed since.
        """
        return self.sources["test" if self.found.test[i] else "train"][int(self.found.position[i])]

    def __call__(self, i: int, note: str = "", **more: Any) -> dict[str, Any]:
        """Image ``i`` as the page shows it: ``src``, ``name``, ``note``."""
        if i not in self.kept:
            self.kept[i] = {
                "src": data_uri(thumbnail(self.pixels(i), TILE)),
                "name": caption(self.found.seen[i].name),
            }
        return {**self.kept[i], "note": note, "test": bool(self.found.test[i]), **more}


def render(found: Inspection, told: Sequence[Finding], sources: Mapping[str, Source], data: str) -> str:
    """The page.

    Args:
        told: of :func:`selfsup.report.findings.findings`.
        sources: that were inspected, to show images from.
        data: the name of the data.
    """
    show = Pictures(found, sources)
    content: dict[str, Any] = {
        "title": f"Inspection of {data}",
        "about": _about(found, sources),
        "false_colours": false_colours(sources["train"].channels),
        "findings": [
            {key: getattr(each, key) for key in _SHOWN} for each in told
        ],
        "space": found.space,
        "threshold": f"{found.threshold:g}",
        "counts": _counts(found),
        "sizes": _common((f"{s.width} × {s.height}" for s in found.seen if s.width), len(found.readable)),
        "formats": _common((s.format or "numbers" for s in found.seen), len(found.seen)),
        "values": _values(found),
        "unreadable": [{"name": s.name, "reason": s.reason} for s in found.seen if s.reason is not None],
        "exact": _exact(found, show),
        "near": _near(found, show),
        "chains": _chains(found, show),
        "leaks": _leaks(found, show),
        "leak": None if found.leak is None else found.leak._asdict(),
        "outliers": _outliers(found, show),
        "clusters": _clusters(found, show),
        "classes": _classes(found),
        "labels": _labels(found, show),
        "most": MOST,
    }  # fmt: skip
    return rendered("inspection.html", **printable(content))


def _about(found: Inspection, sources: Mapping[str, Source]) -> str:
    parts = [f"{int((~found.test).sum()):,} training", f"{int(found.test.sum()):,} test images"]
    said = sources["train"].decisions.splits
    return f"{' and '.join(parts)}; compared by {found.space}. {said[:1].upper()}{said[1:]}"


def _counts(found: Inspection) -> list[dict[str, Any]]:
    rows = []
    for name, mask in (("training", ~found.test), ("test", found.test)):
        own = [found.seen[i] for i in mask.nonzero().flatten().tolist()]
        readable = [each for each in own if each.reason is None]
        sides = [min(each.width or 0, each.height or 0) for each in readable]
        rows.append({
            "name": name, "images": len(own), "unreadable": len(own) - len(readable),
            "bytes": sum(each.bytes or 0 for each in own) / 1e6,
            "classes": len(found.labels[mask & (found.labels >= 0)].unique()),
            "shortest": min(sides, default=0), "longest": max(
                (max(each.width or 0, each.height or 0) for each in readable), default=0),
            "channels": ", ".join(map(str, sorted({each.channels for each in readable if each.channels}))),
        })  # fmt: skip
    return [row for row in rows if row["images"]]


def _common(values: Any, total: int) -> list[tuple[str, int, float]]:
    counted = Counter(values)
    rows = [(name, count, 100 * count / max(total, 1)) for name, count in counted.most_common(8)]
    rest = counted.total() - sum(count for _, count, _ in rows)
    more = len(counted) - len(rows)
    return rows + ([(f"{more} others", rest, 100 * rest / max(total, 1))] if rest else [])


def _values(found: Inspection) -> list[dict[str, Any]]:
    """Quantiles over images of the lowest, highest and mean value and the deviation."""
    at = torch.tensor([0.0, 0.05, 0.5, 0.95, 1.0], dtype=torch.float64)
    names = {"low": "lowest value", "high": "highest value", "mean": "mean", "std": "standard deviation"}
    rows = []
    for key, name in names.items():
        values = torch.tensor([float(getattr(found.seen[i], key)) for i in found.readable.tolist()]).double()
        rows.append({"name": name, "quantiles": [f"{each:.0f}" for each in values.quantile(at).tolist()]})
    return rows


def _exact(found: Inspection, show: Pictures) -> dict[str, Any]:
    sizes = found.exact.bincount(minlength=len(found.seen))
    firsts = (sizes > 1).nonzero().flatten()
    order = firsts[sizes[firsts].argsort(descending=True, stable=True)].tolist()
    groups = [(found.exact == first).nonzero().flatten().tolist() for first in order[:MOST]]
    groups = [group for group in groups if found.seen[group[0]].reason is None]
    by_bytes = [len({found.seen[i].digest for i in group}) == 1 for group in groups]
    return {
        "groups": len(order),
        "images": int(sizes[firsts].sum()),
        "shown": [
            {
                "kind": "the same file" if same else "the same pixels in other files",
                "count": len(group),
                "images": [show(i, _fate(found, i)) for i in group[:IN_A_GROUP]],
            }
            for group, same in zip(groups, by_bytes, strict=True)
        ],
    }


def _fate(found: Inspection, i: int) -> str:
    if found.test[i]:
        return "test"
    return "dropped" if found.dropped[i] else "kept"


def _near(found: Inspection, show: Pictures) -> dict[str, Any]:
    """Pairs above and below the threshold, those next to it and the most and least similar among them."""
    value, pairs = found.pairs.similarity, found.pairs
    order = value.argsort(descending=True, stable=True)
    above = order[value[order] >= found.threshold]
    below = order[value[order] < found.threshold][:MOST]

    def pair(i: int) -> dict[str, Any]:
        a, b = int(pairs.first[i]), int(pairs.second[i])
        images = [show(a, _fate(found, a)), show(b, _fate(found, b))]
        return {"similarity": f"{float(value[i]):.3f}", "images": images}

    half = MOST // 2
    some = (
        above
        if len(above) <= MOST
        else torch.cat([above[:-half][evenly(len(above) - half, half)], above[-half:]])
    )
    return {
        "count": len(above),
        "above": [pair(i) for i in some.tolist()],
        "below": [pair(i) for i in below.tolist()],
    }


def _chains(found: Inspection, show: Pictures) -> list[dict[str, Any]]:
    """The largest components of near copies, with their least similar pair."""
    own = found.exact == torch.arange(len(found.exact))
    sizes = found.component[own].bincount(minlength=len(found.seen))
    order = sizes.argsort(descending=True, stable=True)[: MOST // 2]
    rows = []
    for first in order[sizes[order] > 2].tolist():
        members = ((found.component == first) & own).nonzero().flatten()
        grey = torch.stack([squashed(grey_of(show.pixels(i)), SIDE)[0] for i in members[:MOST].tolist()])
        least = least_similar(torch.arange(len(grey)), grey)
        images = [show(i, _fate(found, i)) for i in members[:IN_A_GROUP].tolist()]
        rows.append({"count": len(members), "least": f"{least:.2f}", "images": images})
    return rows


def _leaks(found: Inspection, show: Pictures) -> list[list[dict[str, Any]]]:
    rows = []
    for i in found.leaked.nonzero().flatten().tolist()[:MOST]:
        partner = (found.test & (found.component == found.component[i])).nonzero().flatten()[0]
        rows.append([show(i, "training"), show(int(partner), "test")])
    return rows


def _outliers(found: Inspection, show: Pictures) -> dict[str, Any]:
    order = found.strange.argsort(descending=True, stable=True)[: 2 * MOST]
    flagged = int((found.strange > found.limit).sum())
    images = [show(int(found.readable[i]), f"{float(found.strange[i]):.2f}") for i in order.tolist()]
    return {
        "count": flagged,
        "limit": f"{found.limit:.2f}" if math.isfinite(found.limit) else "",
        "images": images,
    }


def _clusters(found: Inspection, show: Pictures) -> dict[str, Any]:
    """Each cluster with the images nearest its centre, and what labels it has."""
    unit = F.normalize(found.x, dim=1)
    rows = []
    counts = found.cluster.bincount()
    for number_, centre in enumerate(found.centroids.to(unit)):
        own = (found.cluster == number_).nonzero().flatten()
        near = own[(unit[own] - centre).norm(dim=1).argsort(stable=True)[:IN_A_GROUP]]
        labels = found.labels[found.readable[own]]
        named = labels[labels >= 0]
        most = int(named.bincount().argmax()) if len(named) else None
        note = (
            ""
            if most is None
            else (f"{100 * float((named == most).double().mean()):.0f} % {found.classes[most]}")
        )
        images = [show(int(found.readable[i])) for i in near.tolist()]
        rows.append({"count": len(own), "note": note, "images": images})
    return {"rows": rows, "evenness": f"{_evenness(counts):.2f}"}


def _evenness(counts: Tensor) -> float:
    """The entropy of positive counts over its largest value: 1 if all are equal."""
    share = counts.double() / counts.sum()
    return float(-(share * share.log()).sum()) / math.log(len(share)) if len(share) > 1 else 1.0


def _classes(found: Inspection) -> dict[str, Any]:
    if not found.classes:
        return {"rows": []}
    size = len(found.classes)
    train, test = (
        found.labels[mask & (found.labels >= 0)].bincount(minlength=size)
        for mask in (~found.test, found.test)
    )
    order = train.argsort(descending=True, stable=True).tolist()
    present = train[train > 0]
    top = max(int(train.max()), 1)
    rows = [
        {
            "name": found.classes[i],
            "train": int(train[i]),
            "test": int(test[i]),
            "bar": 100 * int(train[i]) / top,
        }
        for i in order
    ]
    return {
        "rows": rows[:40],
        "more": max(0, len(rows) - 40),
        "evenness": f"{_evenness(present):.2f}",
        "ratio": f"{top / int(present.min()):.1f}" if len(present) else "",
    }


def _labels(found: Inspection, show: Pictures) -> dict[str, Any]:
    if found.doubtful is None or found.quality is None or found.other is None:
        return {"count": 0, "images": []}
    flagged = found.doubtful.nonzero().flatten()
    order = flagged[found.quality[flagged].argsort(stable=True)][: 2 * MOST]
    images = []
    for i in order.tolist():
        given, other = found.labels[found.readable[i]], found.other[i]
        images.append(show(int(found.readable[i]), f"{found.classes[given]} → {found.classes[other]}"))
    return {"count": len(flagged), "images": images}
