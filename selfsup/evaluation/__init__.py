"""What judges a saved encoder, ours or anybody's: features, probes, neighbours, spectra."""

from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.features import Features, extract, pixels
from selfsup.evaluation.intervals import student, wilson
from selfsup.evaluation.neighbours import knn, neighbours
from selfsup.evaluation.probes import linear_probe, logistic, nshot
from selfsup.evaluation.results import write_results
from selfsup.evaluation.spectra import rankme, spectrum
from selfsup.evaluation.suite import SETTINGS, evaluate
from selfsup.evaluation.table import print_table

__all__ = [
    "SETTINGS",
    "Features",
    "NoScore",
    "evaluate",
    "extract",
    "knn",
    "linear_probe",
    "logistic",
    "neighbours",
    "nshot",
    "pixels",
    "print_table",
    "rankme",
    "spectrum",
    "student",
    "wilson",
    "write_results",
]
