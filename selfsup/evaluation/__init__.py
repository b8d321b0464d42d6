"""Evaluation of frozen encoders, ours or anybody's: features, probes, neighbours, spectra."""

from selfsup.evaluation.classifiers.fewshot import NShot, nshot
from selfsup.evaluation.classifiers.neighbours import knn, neighbours
from selfsup.evaluation.classifiers.probes import linear_probe, logistic
from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.features.cache import Cache, default_folder
from selfsup.evaluation.features.extract import Features, Part, extract, pixels
from selfsup.evaluation.features.moments import Moments, moments
from selfsup.evaluation.intervals import student, wilson
from selfsup.evaluation.label_free.clid import Clid, clid, clid_scores, intrinsic_dimension
from selfsup.evaluation.label_free.lidar import GroupMoments, group_moments, lidar
from selfsup.evaluation.label_free.rotation import Rotation, rotation
from selfsup.evaluation.label_free.spectra import (
    PowerLaw,
    alpha_req,
    nesum,
    panel,
    participation_ratio,
    rankme,
    stable_rank,
)
from selfsup.evaluation.label_free.spectrum import Spectrum, leading, spectrum
from selfsup.evaluation.label_free.torchmetrics import (
    KNN,
    Alignment,
    AlphaReq,
    LiDAR,
    NESum,
    ParticipationRatio,
    RankMe,
    StableRank,
    Uniformity,
)
from selfsup.evaluation.label_free.uniformity import alignment, uniformity
from selfsup.evaluation.results.comparison import compare, paired, spearman
from selfsup.evaluation.results.files import write_results
from selfsup.evaluation.results.table import print_table
from selfsup.evaluation.score import Score, accuracy
from selfsup.evaluation.suite import SETTINGS, evaluate

__all__ = [
    "KNN",
    "SETTINGS",
    "Alignment",
    "AlphaReq",
    "Cache",
    "Clid",
    "Features",
    "GroupMoments",
    "LiDAR",
    "Moments",
    "NESum",
    "NShot",
    "NoScore",
    "Part",
    "ParticipationRatio",
    "PowerLaw",
    "RankMe",
    "Rotation",
    "Score",
    "Spectrum",
    "StableRank",
    "Uniformity",
    "accuracy",
    "alignment",
    "alpha_req",
    "clid",
    "clid_scores",
    "compare",
    "default_folder",
    "evaluate",
    "extract",
    "group_moments",
    "intrinsic_dimension",
    "knn",
    "leading",
    "lidar",
    "linear_probe",
    "logistic",
    "moments",
    "neighbours",
    "nesum",
    "nshot",
    "paired",
    "panel",
    "participation_ratio",
    "pixels",
    "print_table",
    "rankme",
    "rotation",
    "spearman",
    "spectrum",
    "stable_rank",
    "student",
    "uniformity",
    "wilson",
    "write_results",
]
