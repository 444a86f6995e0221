"""Rank pre-trained networks for a new data set without fine-tuning any.

Self-challenging Fisher Discriminant Analysis (W. Shao et al., ECCV 2022),
exact and fast, with a leave-one-out variant that does not saturate, and the
metrics it is compared with.
"""

from sfda.baselines import METRICS
from sfda.challenge import confmix
from sfda.discriminant import FisherDiscriminant
from sfda.ensemble import select_ensemble
from sfda.ranking import weighted_tau
from sfda.score import SaturationWarning, sfda_score
from sfda.source_classes import leep, nce
from sfda.streaming import stream_score

__all__ = [
    "METRICS",
    "FisherDiscriminant",
    "SaturationWarning",
    "confmix",
    "leep",
    "nce",
    "select_ensemble",
    "sfda_score",
    "stream_score",
    "weighted_tau",
]
