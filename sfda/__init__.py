"""Rank pre-trained networks for a new data set without fine-tuning any.

Self-challenging Fisher Discriminant Analysis (W. Shao et al., ECCV 2022),
exact and fast, with a leave-one-out variant that does not saturate, and the
metrics it is compared with.
"""

from sfda.evidence.record import Record
from sfda.metric.challenge import confmix
from sfda.metric.discriminant import FisherDiscriminant
from sfda.metric.ensemble import select_ensemble
from sfda.metric.ranking import weighted_tau
from sfda.metric.score import SaturationWarning, sfda_score
from sfda.rivals.catalogue import METRICS
from sfda.rivals.source_classifier import leep, nce
from sfda.streaming.stream import stream_score

__all__ = [
    "METRICS",
    "FisherDiscriminant",
    "Record",
    "SaturationWarning",
    "confmix",
    "leep",
    "nce",
    "select_ensemble",
    "sfda_score",
    "stream_score",
    "weighted_tau",
]
