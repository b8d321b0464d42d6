"""What judges a saved encoder, ours or anybody's: features, probes, neighbours, spectra."""

from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.features import Features, Part, extract, pixels
from selfsup.evaluation.fewshot import NShot, nshot
from selfsup.evaluation.intervals import student, wilson
from selfsup.evaluation.moments import Moments, moments
from selfsup.evaluation.neighbours import knn, neighbours
from selfsup.evaluation.probes import linear_probe, logistic
from selfsup.evaluation.results import write_results
from selfsup.evaluation.score import Score, accuracy
from selfsup.evaluation.spectra import (
    PowerLaw,
    Spectrum,
    alpha_req,
    nesum,
    participation_ratio,
    rankme,
    spectrum,
    stable_rank,
)
from selfsup.evaluation.suite import SETTINGS, evaluate
from selfsup.evaluation.table import print_table

__all__ = [
    "SETTINGS",
    "Features",
    "Moments",
    "NShot",
    "NoScore",
    "Part",
    "PowerLaw",
    "Score",
    "Spectrum",
    "accuracy",
    "alpha_req",
    "evaluate",
    "extract",
    "knn",
    "linear_probe",
    "logistic",
    "moments",
    "neighbours",
    "nesum",
    "nshot",
    "participation_ratio",
    "pixels",
    "print_table",
    "rankme",
    "spectrum",
    "stable_rank",
    "student",
    "wilson",
    "write_results",
]
