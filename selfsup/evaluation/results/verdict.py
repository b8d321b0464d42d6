"""Whether an encoder learned something, as one sentence that needs no knowledge of the field."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# The use of an encoder with a good score, by protocol.
USES = {
    "knn": "finding similar images (kNN)",
    "linear": "classifying with a linear layer on frozen features",
    "5-shot": "classifying from five labelled images a class",
    "rotation": "predicting how far an image is turned",
}
CONTROLS = ("untrained", "start", "pixels", "pca")
# The share of the untrained encoder's centred rank below which the guard also reports a shrunken backbone.
# Recorded runs have 1.6 times the rank or more (tests/evaluation/test_verdict.py).
SHRUNKEN = 0.4
COARSE = 5.0  # points of half an interval above which the report warns
SIGNS = {"good": "✓", "mixed": "≈", "bad": "✗", "unknown": "?"}
_PLAIN_SIGNS = {"good": "[+]", "mixed": "[~]", "bad": "[-]", "unknown": "[?]"}

Scores = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Verdict:
    """The verdict on an encoder.

    Attributes:
        tone: ``"good"``, ``"mixed"``, ``"bad"`` or ``"unknown"``.
        headline: one sentence, without its full stop.
    """

    tone: str
    headline: str


def judged(results: Mapping[str, Any], row: Mapping[str, Any], warned: Iterable[str] = ()) -> Verdict:
    """Judge one encoder of some results.

    Args:
        results: of :func:`selfsup.evaluation.evaluate`, or a ``results.json`` of any version.
        row: of the encoder.
        warned: names of the failures that the collapse guard saw while it was trained.
    """
    names = list(dict.fromkeys(warned))
    controls = {role: scores_of(control_row(results, row, role)) for role in CONTROLS}
    labelled = {name: score for name, score in row.get("scores", {}).items() if is_accuracy(score)}
    if not labelled:
        return _without_labels(row, controls, names)
    own = {name: score for name, score in labelled.items() if score.get("value") is not None}
    if not own:
        reason = next(
            (score["reason"] for score in labelled.values() if score.get("reason")), "no reason was recorded"
        )
        return Verdict("bad", f"It has no score: {reason}")
    found = _against_start(results, row) or _against_controls(own, controls, results.get("n_test"))
    return Verdict("mixed", found.headline) if names and found.tone == "good" else found


def encoder_rows(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The rows that are not controls, best first."""
    order = {name: place for place, name in enumerate(results.get("comparison", {}).get("ranking", ()))}
    rows = [row for row in results.get("rows", ()) if row_role(row) == "encoder"]
    return sorted(rows, key=lambda row: order.get(row.get("name"), 0))


def control_row(results: Mapping[str, Any], row: Mapping[str, Any], role: str) -> Mapping[str, Any]:
    """The control of an encoder's row, empty if there is none.

    An untrained one is of the encoder's architecture, a start is what its training began with.
    """
    rows = [each for each in results.get("rows", ()) if row_role(each) == role]
    if role not in ("untrained", "start"):
        return next(iter(rows), {})
    own = [each for each in rows if each.get("name") == row.get(role)]
    return next(iter(own or (rows if role == "untrained" else ())), {})


def row_role(row: Mapping[str, Any]) -> str:
    """The row's role; older results only have its name."""
    if "role" in row:
        return str(row["role"])
    name = str(row.get("name", ""))
    return "pca" if "PCA" in name else next((role for role in CONTROLS if name.startswith(role)), "encoder")


def is_accuracy(score: Mapping[str, Any]) -> bool:
    """Whether a score is an accuracy; in older records only these have an interval."""
    return bool(score.get("accuracy", score.get("interval") is not None))


def scores_of(row: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """A row's scores that have a value."""
    return {name: score for name, score in row.get("scores", {}).items() if score.get("value") is not None}


def above(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether one score's 95 % interval lies above the other's value, and the other's below its own."""
    low = (one.get("interval") or [one["value"]] * 2)[0]
    high = (other.get("interval") or [other["value"]] * 2)[1]
    return bool(low > other["value"] and high < one["value"])


def half_interval(scores: Scores) -> float:
    """Half the widest 95 % interval, in points of accuracy."""
    intervals = [score["interval"] for score in scores.values() if score.get("interval")]
    return 50 * max((high - low for low, high in intervals), default=0.0)


def percent(score: Mapping[str, Any]) -> str:
    """``97.3 %``."""
    return f"{100 * score['value']:.1f} %"


def sign(tone: str, encoding: str | None) -> str:
    """A mark for a tone, in characters of the terminal's encoding.

    >>> sign("good", "utf-8"), sign("good", "ascii")
    ('✓', '[+]')
    """
    try:
        SIGNS[tone].encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return _PLAIN_SIGNS[tone]
    return SIGNS[tone]


def _against_start(results: Mapping[str, Any], row: Mapping[str, Any]) -> Verdict | None:
    """Judge an encoder by the gains over the weights that its training began with; None without any."""
    gains = [gain for gain in results.get("gains", ()) if gain["first"] == row["name"]]
    if not (found := [gain for gain in gains if gain["score"] in USES] or gains):
        return None
    titles = {name: score.get("title") or name for name, score in row["scores"].items()}
    said = ", ".join(f"{titles[gain['score']]} {points(gain)}" for gain in found)
    better = [gain for gain in found if gain["interval"][0] > 0]
    worse = [gain for gain in found if gain["interval"][1] < 0]
    if better and worse:
        return Verdict(
            "mixed", f"It is better than the weights it began with at some, worse at others: {said}"
        )
    if better:
        return Verdict("good", f"It is better than the weights it began with: {said}")
    if worse:
        return Verdict("bad", f"It is worse than the weights it began with: {said}")
    return Verdict("mixed", f"It is neither better nor worse than the weights it began with: {said}")


def points(gain: Mapping[str, Any]) -> str:
    """A difference of accuracies in points.

    >>> points({"difference": 0.021, "interval": [0.013, 0.029]})
    '+2.1 points [+1.3, +2.9]'
    """
    low, high = gain["interval"]
    return f"{100 * gain['difference']:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"


def _against_controls(own: Scores, controls: Mapping[str, Scores], n_test: int | None) -> Verdict:
    control = controls["untrained"]
    names = [name for name in dict.fromkeys(("knn", "linear", *own)) if name in own and name in control]
    if not names:
        return Verdict("unknown", "There is no untrained encoder for comparison, so its scores say little")
    # The first that shows a gain: masked methods show theirs in linear classifiers, not in neighbours.
    name = next((name for name in names if above(own[name], control[name])), names[0])
    untrained = control[name]
    better, worse = above(own[name], untrained), above(untrained, own[name])
    gain = 100 * (own[name]["value"] - untrained["value"])
    said = f"{percent(own[name])} right by {USES.get(name, name)}, {percent(untrained)} untrained"
    if worse:
        return Verdict("bad", f"Training made it worse: {said}")
    if not better and n_test and half_interval(own) >= COARSE:
        return Verdict("unknown", f"There are too few test images to tell whether it learned: {said}")
    if not better:
        return Verdict("bad", f"Training made no measurable difference: {said}")
    pixels = controls["pixels"].get(name)
    if pixels is None:
        return Verdict("good", f"It learned: {said}")
    said += f", {percent(pixels)} by raw pixels"
    if above(own[name], pixels):
        return Verdict("good", f"It learned: {said}")
    how = "better" if above(pixels, own[name]) else "as well"
    return Verdict("mixed", f"It learned ({gain:+.1f} points), but raw pixels do {how} here: {said}")


def _without_labels(row: Mapping[str, Any], controls: Mapping[str, Scores], warned: Sequence[str]) -> Verdict:
    """Judge by the guard's warnings and by the untrained encoder: a rank has no scale of its own.

    An untrained vision transformer's features have a large mean and a RankMe of 2 or 3.
    """
    own, untrained = scores_of(row), controls["untrained"]
    beside, when = (controls["start"], "before") if controls["start"] else (untrained, "untrained")
    reasons = " ".join(str(score.get("reason") or "") for score in row.get("scores", {}).values())
    if "the features are constant" in reasons:
        return Verdict("bad", "The features have collapsed: those of all images are the same")
    if "not finite" in reasons:
        return Verdict("bad", "Training destroyed the encoder: its features are not finite")
    ranks = [scores["rankme"]["value"] for scores in (own, beside) if "rankme" in scores]
    said = f"; the features use {{:.1f}} dimensions, {when} {{:.1f}} (RankMe)" if len(ranks) == 2 else ""
    if warned:
        seen = f"The collapse guard warned of {', '.join(warned)}, and no score with labels contradicts it"
        return Verdict("bad", seen + said.format(*ranks))
    centred = [each["rankme-centred"]["value"] for each in (own, untrained) if "rankme-centred" in each]
    if len(centred) == 2 and centred[0] < SHRUNKEN * centred[1]:
        return Verdict(
            "mixed",
            "The features have shrunk to {:.1f} dimensions about their mean, untrained {:.1f} "
            "(RankMe, centred), and no score with labels says whether that is a loss".format(*centred),
        )
    none = "There is no score with labels to judge by" + said.format(*ranks)
    return Verdict("unknown", f"{none}. Look at the neighbours and the map in the report")
