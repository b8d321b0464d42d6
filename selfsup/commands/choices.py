"""The modes of ``selfsup curate`` that keep images: from what there is to choose from to a choice."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from selfsup.commands.curate import Material
from selfsup.curation.balance import balanced
from selfsup.curation.choice import Choice, Group, by_cluster, together
from selfsup.curation.copies import THRESHOLD, find_copies, leaked
from selfsup.curation.draws import Draw
from selfsup.curation.hierarchy import hierarchy, level_sizes, lifted
from selfsup.curation.pairs import chained, components, near_pairs
from selfsup.curation.scores import chosen_by, read_scores
from selfsup.curation.survey import concatenated, survey
from selfsup.curation.towards import towards
from selfsup.errors import UsageError
from selfsup.evaluation.classifiers.neighbours import neighbours
from selfsup.report.kept import EXAMPLES
from selfsup.text import shown


def wanted(config: Mapping[str, Any], material: Material) -> int:
    """How many images to keep, by ``count`` or ``share``.

    Raises:
        UsageError: more than there are.
    """
    if config["share"] is not None:
        return max(1, round(config["share"] * len(material.pool)))
    if config["count"] > len(material.pool):
        raise UsageError(f"count={config['count']} is more than the {len(material.pool)} images; take fewer")
    return int(config["count"])


def _scores(config: Mapping[str, Any], material: Material, draw: Draw) -> Choice:
    scores = read_scores(str(config["scores"]), config["column"], material.whole)[material.pool]
    kept = chosen_by(scores, config["above"], config["below"], config["top"])
    rule = ", ".join(f"{key} {config[key]:g}" for key in ("above", "below", "top") if config[key] is not None)
    lines = [f"by the column '{shown(config['column'])}' of {shown(config['scores'])}: {rule}"]
    if unknown := int(scores.isnan().sum()):
        lines.append(f"images without a score, which are not kept: {unknown:,}")
    return Choice(kept, lines, _extremes(scores, kept, str(config["column"])))


def _balanced(config: Mapping[str, Any], material: Material, draw: Draw) -> Choice:
    count, sizes = wanted(config, material), level_sizes(len(material.x))
    levels = hierarchy(material.x, sizes, draw)
    kept = balanced(levels, count, draw)
    words = " and ".join(f"{size:,}" for size in sizes)
    lines = [f"balanced over levels of {words} clusters of {material.space}, arXiv:2405.15613"]
    return Choice(kept, lines, by_cluster(lifted(levels)[-1], kept))


def _towards(config: Mapping[str, Any], material: Material, draw: Draw) -> Choice:
    count = None if config["count"] is None and config["share"] is None else wanted(config, material)
    found = towards(material.x, material.target, draw, count, stop=0 if count else 0.95)
    alike = neighbours(material.target, material.x, 1)[0][:, 0]
    kept = found.rows.sort().values
    lines = [
        f"nearest to the {len(material.target):,} images of the target in the space of {material.space}, "
        f"arXiv:2303.11101",
        f"mean cosine to the nearest of them: {float(alike[kept].mean()):.3f} of the images kept, "
        f"{float(alike.mean()):.3f} of all",
    ]
    if count is None:
        ends = {"unlike": "where what was left became unlike", "pool": "with all images"}
        lines.append(
            f"without count= or share= it ended {ends.get(found.why, 'at 50 images for each of the target')}"
        )
    return Choice(kept, lines, _extremes(alike, kept, "cosine to the target"))


def _extremes(values: Tensor, kept: Tensor, called: str) -> list[Group]:
    """The samples of the largest values, and those of the smallest, of both sides; of yes and no, some."""
    mask = values.isnan()
    several = len(values[~mask].unique()) > 2
    mask[kept] = True
    groups = []
    for which, down in (("largest", True), ("smallest", False)) if several else (("by", True),):
        sides = (kept, (~mask).nonzero().flatten())
        first = [rows[values[rows].argsort(descending=down, stable=True)][:EXAMPLES] for rows in sides]
        groups.append(Group(f"{which} {called}", *first))
    return groups


def _copies(config: Mapping[str, Any], material: Material, draw: Draw) -> Choice:
    settings = {key: config[key] for key in ("batch_size", "precision")}
    settings["workers"] = config["data"]["workers"]
    surveys = [survey(each, material.encoder, **settings) for each in (material.source, material.test)]
    whole, learned = concatenated(surveys), len(material.source)
    test = torch.arange(len(whole.seen)) >= learned
    found = find_copies(whole, test, config["threshold"] or THRESHOLD)
    of_test = leaked(found.component, test)
    exact = found.exact != torch.arange(len(test))
    counts = [int((found.dropped & each).sum()) for each in (~test, exact, of_test)]
    lines = [
        f"copies, dropped: {counts[0]:,}; {counts[1]:,} of them to the last pixel, the others nearly",
        f"copies of test images among them: {counts[2]:,}",
    ]
    groups = []
    for members in together(found.component, least=2):
        what = "copies of a test image" if bool(test[members].any()) else "copies of one image"
        own = members[~test[members]]
        if bool(found.dropped[own].any()):
            lost = found.dropped[own]
            groups.append(Group(f"{len(own)} {what}", own[~lost], own[lost]))
    groups.sort(key=lambda group: -len(group.dropped))
    return Choice((~found.dropped[:learned]).nonzero().flatten(), lines, groups)


def _similar(config: Mapping[str, Any], material: Material, draw: Draw) -> Choice:
    pairs = near_pairs(material.x, config["threshold"])
    component = components(pairs.first, pairs.second, len(material.x))
    kept = component.unique()  # the lowest member of each
    found = chained(material.x, component)
    lines = [
        f"dropped: {len(component) - len(kept):,} images joined to an earlier one by cosines above "
        f"{config['threshold']:g} in the space of {material.space}"
    ]
    if len(found.smallest):
        lines.append(
            f"joined through others, the least similar two images of a group have a cosine of "
            f"{float(found.smallest.min()):.2f}"
        )
    if pairs.recall is not None and pairs.recall < 1:
        lines.append(f"{100 * pairs.recall:.1f} % of the pairs were found, measured on 1,000 images")
    groups = [
        Group(f"{len(members)} similar images", members[:1], members[1:])
        for members in sorted(together(component, least=2), key=len, reverse=True)
    ]
    return Choice(kept, lines, groups)


MODES: dict[str, Callable[[Mapping[str, Any], Material, Draw], Choice]] = {
    "balanced": _balanced,
    "copies": _copies,
    "similar": _similar,
    "towards": _towards,
    "scores": _scores,
}
