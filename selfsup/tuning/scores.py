"""Scores that a search can follow: where each is found, which way is better, and where it cannot judge."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from selfsup.errors import UsageError
from selfsup.hints import near
from selfsup.tuning.space import Dimension

# Methods and auxiliary losses with a term that spreads the embeddings over their directions.
SPREADING = {
    "barlow", "mixed_barlow", "vicreg", "frossl", "mmcr", "tico", "lejepa", "spectral", "koleo", "mixed",
}  # fmt: skip
NO_SCORES = {
    "loss": "its value moves with temperatures, crops and masks, whatever the encoder is worth",
    "alignment": "a collapsed encoder is perfectly aligned",
    "uniformity": "noise is perfectly uniform",
    "clid": "its value depends on the other encoders that it is computed with; take clid-learnability",
    **dict.fromkeys(("knn", "linear", "logistic", "nshot"), "it needs labels, which are for the end"),
}


class Kind(NamedTuple):
    """A score.

    Attributes:
        protocol: of ``configs/protocols`` that computes it.
        title: for a person.
        better: which way is better, and why.
    """

    protocol: str
    title: str
    better: str


SCORES = {
    "rotation": Kind(
        "rotation",
        "rotation accuracy",
        "higher: it orders policies of views as labels do (Spearman above .94, arXiv:2009.07724)",
    ),
    "rankme": Kind("spectra", "RankMe", "higher: features spread over more directions (arXiv:2210.02885)"),
    "rankme-centred": Kind(
        "spectra", "RankMe, centred", "higher: the same about the mean, which a large mean hides"
    ),
    "alpha-req": Kind(
        "spectra", "alpha-ReQ", "nearer to 1: far above is collapse, far below is noise (NeurIPS 2022)"
    ),
    "lidar": Kind(
        "lidar", "LiDAR", "higher: more directions tell images apart than views (arXiv:2312.04000)"
    ),
    "clid-learnability": Kind(
        "clid",
        "cluster learnability",
        "higher: neighbours predict clusters; half of CLID, whose other half has no scale (arXiv:2206.01251)",
    ),
}
_OF_SPREAD = ("rankme", "rankme-centred", "alpha-req")


def require_score(score: str, config: Mapping[str, Any], space: Iterable[Dimension]) -> list[str]:
    """Refuse a score that cannot judge such runs; returns sentences that qualify it.

    Args:
        config: of the run without a search, resolved.

    Raises:
        UsageError: there is no such score, the images have no upright, or the loss has the score in it.
    """
    if score in NO_SCORES:
        raise UsageError(f"score={score} cannot be searched by: {NO_SCORES[score]}; take one of {_listed()}")
    if score not in SCORES:
        raise UsageError(f"no score '{score}'{near(score, SCORES)}; choose one of {_listed()}")
    method = config["method"]["name"]
    if score == "rotation":
        turned = [
            kind for kind, view in config["views"].items() if kind != "repeat" and view["turn"] != "none"
        ]
        searched = [each.name for each in space if each.name.endswith(".turn") or each.name == "data.turns"]
        if config["data"].get("turns"):
            raise UsageError(
                "score=rotation asks how an image was turned, and data.turns=true says that a turn means "
                "nothing; take score=lidar or score=clid-learnability"
            )
        if turned or searched:
            raise UsageError(
                f"score=rotation cannot judge what learns from turned views ("
                f"{f'views.{turned[0]}.turn' if turned else searched[0]}); take another score"
            )
    spreads = [name for name in (method, *config["auxiliary"]) if name in SPREADING]
    if score in _OF_SPREAD and spreads:
        raise UsageError(
            f"score={score} measures the spread of features, which the loss of {spreads[0]} raises: it is "
            "part of training, and no judge; take score=rotation or score=clid-learnability"
        )
    notes = []
    if score == "lidar" and spreads:
        notes.append(f"the loss of {spreads[0]} raises the spread of features, of which LiDAR is made too")
    if score != "rotation":
        notes.append(
            f"{SCORES[score].title} has no interval, and how far it follows accuracy depends on the method "
            "and the data"
        )
    return notes


def _listed() -> str:
    return ", ".join(SCORES)
