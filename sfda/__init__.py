"""Rank pre-trained networks for a new data set without fine-tuning any.

Self-challenging Fisher Discriminant Analysis (W. Shao et al., ECCV 2022),
exact and fast, with a leave-one-out variant that does not saturate.
"""

from sfda.challenge import confmix
from sfda.discriminant import FisherDiscriminant
from sfda.ranking import weighted_tau
from sfda.score import SaturationWarning, sfda_score

__all__ = [
    "FisherDiscriminant",
    "SaturationWarning",
    "confmix",
    "sfda_score",
    "weighted_tau",
]
