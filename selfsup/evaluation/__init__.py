"""Evaluation of frozen encoders, ours or anybody's: features, probes, neighbours, spectra."""

from selfsup.evaluation.cache import Cache, default_folder
from selfsup.evaluation.clid import Clid, clid, clid_scores, intrinsic_dimension
from selfsup.evaluation.comparison import compare, paired, spearman
from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.features import Features, Part, extract, pixels
from selfsup.evaluation.fewshot import NShot, nshot
from selfsup.evaluation.intervals import student, wilson
from selfsup.evaluation.lidar import GroupMoments, group_moments, lidar
from selfsup.evaluation.metrics import (
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
from selfsup.evaluation.moments import Moments, moments
from selfsup.evaluation.neighbours import knn, neighbours
from selfsup.evaluation.probes import linear_probe, logistic
from selfsup.evaluation.results import write_results
from selfsup.evaluation.rotation import Rotation, rotation
from selfsup.evaluation.score import Score, accuracy
from selfsup.evaluation.spectra import (
    PowerLaw,
    Spectrum,
    alpha_req,
    nesum,
    panel,
    participation_ratio,
    rankme,
    spectrum,
    stable_rank,
)
from selfsup.evaluation.suite import SETTINGS, evaluate
from selfsup.evaluation.table import print_table
from selfsup.evaluation.uniformity import alignment, uniformity

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
