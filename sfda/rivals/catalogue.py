"""The catalogue: SFDA and its rivals, by name.

``RIVALS`` lists all of them; ``METRICS`` those that can be called as ``metric(features, labels)``, which the
others cannot: LEEP and NCE need the probabilities of the network's own classifier, NCTI, ETran and the committee the
features of every network that is compared.

Options of a metric beyond its defaults are arguments of its function, for example :func:`sfda.rivals.gbc.gbc`;
entries with other options are listed separately where published numbers depend on them.
"""

import difflib
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from numpy.typing import ArrayLike

from sfda.metric.score import (
    SaturationWarning,
    discriminant_accuracy,
    discriminant_log_likelihood,
    discriminant_probability,
    sfda_score,
)
from sfda.rivals.cdnv import directional_cdnv
from sfda.rivals.committee import committee
from sfda.rivals.etran import etran, etran_discriminant, etran_energy
from sfda.rivals.gbc import gbc
from sfda.rivals.h_score import h_score, regularised_h_score
from sfda.rivals.logme import logme
from sfda.rivals.ncti import ncti
from sfda.rivals.neighbours import nearest_neighbours
from sfda.rivals.parc import parc
from sfda.rivals.probe import linear_probe
from sfda.rivals.ridge import left_out_kernel_ridge, left_out_ridge
from sfda.rivals.source_classifier import leep, nce, nleep
from sfda.rivals.spectrum import alpha_req, effective_rank
from sfda.rivals.transrate import transrate


@dataclass(frozen=True)
class Metric:
    """One transferability metric: larger is better.

    Call it as ``metric(features, labels)``, or with what `needs` says in the place of the features; keyword
    arguments go to the function.

    Attributes
    ----------
    name : str
        Key in ``METRICS`` and ``RIVALS``.
    paper : str
        Short citation; "this package" for our own.
    year : int
    cost : str
        Leading terms in N samples, D features, C classes, without constants; K = min(N, D).
    needs : {"features", "source probabilities", "zoo"}
        The first argument: features of one network; the probabilities its classifier gives its source classes;
        or a mapping from the names of all networks to their features, where the result is a dict of scores.
    bounds : tuple of two
        Smallest and largest possible value: a number, an expression in N and C as a string, or None where there
        is none.
    function : callable
    """

    name: str
    paper: str
    year: int
    cost: str
    needs: str
    bounds: tuple[float | str | None, float | str | None]
    function: Callable[..., Any]

    def __call__(self, features: Any, labels: ArrayLike, **options: Any) -> Any:
        return self.function(features, labels, **options)


_FEATURES, _SOURCE, _ZOO = "features", "source probabilities", "zoo"
_SHAO = "Shao et al., ECCV"
_YOU = "You et al., ICML"
_BOLYA = "Bolya et al., NeurIPS"
_PANDY = "Pandy et al., CVPR"
_GHOLAMI = "Gholami et al., ICCV"
_OURS = "this package"
_FISHER = "Fisher, Annals of Eugenics"

#: All metrics by name, those that need more than features included.
RIVALS = {
    metric.name: metric
    for metric in (
        Metric("SFDA", _SHAO, 2022, "N D K + K^3 + N K C", _FEATURES, (0, 1), sfda_score),
        Metric(
            "left-out SFDA", _OURS, 2026, "N D K + K^3 + rounds * N K C", _FEATURES, (0, 1),
            partial(sfda_score, posterior="leave-one-out"),
        ),
        Metric(
            "LEEP", "Nguyen et al., ICML", 2020, "N Z for Z source classes", _SOURCE, (None, 0),
            leep,
        ),
        Metric(
            "NCE", "Tran et al., ICCV", 2019, "N Z for Z source classes", _SOURCE, ("-log(C)", 0),
            nce,
        ),
        Metric(
            "NLEEP", "Li et al., CVPR", 2021, "N D K + K^3 + rounds * N C d^2 for d principal components",
            _FEATURES, (None, 0), nleep,
        ),
        Metric("LogME", _YOU, 2021, "N D K + K^3 + K C", _FEATURES, (None, None), logme),
        Metric(
            "LogME as published", _YOU, 2021, "N D K + K^3 + K C", _FEATURES, (None, None),
            partial(logme, as_published=True),
        ),
        Metric(
            "H-score", "Bao et al., ICIP", 2019, "N D K + K^3 + K^2 C", _FEATURES, (0, "C - 1"),
            h_score,
        ),
        Metric(
            "regularised H-score", "Ibrahim et al., ECML PKDD", 2022, "N D K + K^3 + K^2 C",
            _FEATURES, (0, "(C - 1) * N / (N - 1)"), regularised_h_score,
        ),
        Metric("PARC", _BOLYA, 2021, "N^2 D + N^2 log N", _FEATURES, (-100, 100), parc),
        Metric(
            "PARC 32 components", _BOLYA, 2021, "N D + N^2 log N", _FEATURES, (-100, 100),
            partial(parc, components=32),
        ),
        Metric(
            "PARC 32 components as published", _BOLYA, 2021, "N D + N^2 log N", _FEATURES,
            (-100, 100), partial(parc, components=32, as_published=True),
        ),
        Metric("GBC", _PANDY, 2022, "N D + C^2 D", _FEATURES, ("-C * (C - 1)", 0), gbc),
        Metric(
            "GBC diagonal", _PANDY, 2022, "N D + C^2 D", _FEATURES, ("-C * (C - 1)", 0),
            partial(gbc, covariance="diagonal"),
        ),
        Metric(
            "GBC log", _PANDY, 2022, "N D + C^2 D", _FEATURES, ("-log(C * (C - 1))", None),
            partial(gbc, log=True),
        ),
        Metric(
            "TransRate", "Huang et al., ICML", 2022, "N D K + K^3", _FEATURES, (None, None),
            transrate,
        ),
        Metric(
            "TransRate normalised", "Huang et al., ICML", 2022, "N D K + K^3", _FEATURES,
            (0, None), partial(transrate, normalised=True),
        ),
        Metric("ETran energy", _GHOLAMI, 2023, "N D", _FEATURES, (None, None), etran_energy),
        Metric(
            "ETran discriminant", _GHOLAMI, 2023, "N D K + K^3 + N K C", _FEATURES, (0, 1),
            etran_discriminant,
        ),
        Metric(
            "ETran discriminant as published", _GHOLAMI, 2023, "N D C", _FEATURES, (0, 1),
            partial(etran_discriminant, as_published=True),
        ),
        Metric("ETran", _GHOLAMI, 2023, "N D K + K^3 + N K C per network", _ZOO, (0, 1), etran),
        Metric(
            "ETran as published", _GHOLAMI, 2023, "N D C per network", _ZOO, (0, 1),
            partial(etran, as_published=True),
        ),
        Metric(
            "committee", _OURS, 2026, "N D K + K^3 + N^2 log N + M^2 D + M^3 per network for M = min(N, 2000)", _ZOO,
            (0, 1), committee,
        ),
        Metric(
            "NCTI", "Wang et al., ICCV", 2023, "N D K + K^3 per network", _ZOO, (-1, 2), ncti
        ),
        Metric(
            "nearest neighbour", "Cover and Hart, IEEE Trans. Inf. Theory", 1967, "N^2 D", _FEATURES, (0, 1),
            nearest_neighbours,
        ),
        Metric(
            "nearest neighbours standardised", "Cover and Hart, IEEE Trans. Inf. Theory", 1967, "N^2 D", _FEATURES,
            (0, 1), partial(nearest_neighbours, k=None, standardise=True),
        ),
        Metric(
            "linear probe", "Alain and Bengio, ICLR workshop", 2017, "folds * rounds * N D C", _FEATURES, (0, 1),
            linear_probe,
        ),
        Metric(
            "left-out ridge", "Allen, Technometrics", 1974, "N D K + K^3 + N K C", _FEATURES, (0, 1),
            left_out_ridge,
        ),
        Metric(
            "left-out kernel ridge", "Cawley and Talbot, Pattern Recognition", 2003, "M^2 D + M^3 for M = min(N, 2000)",
            _FEATURES, (0, 1), left_out_kernel_ridge,
        ),
        Metric(
            "directional CDNV", "Luthra et al., ICML", 2026, "N D C + C^2 D", _FEATURES, (-1e6, 0),
            directional_cdnv,
        ),
        Metric(
            "effective rank", "Garrido et al., ICML", 2023, "N D K + K^3", _FEATURES, (0, None),
            effective_rank,
        ),
        Metric(
            "alpha-ReQ", "Agrawal et al., NeurIPS", 2022, "N D K + K^3", _FEATURES, (None, 0),
            alpha_req,
        ),
        Metric(
            "discriminant accuracy", _FISHER, 1936, "N D K + K^3 + N K C", _FEATURES, (0, 1),
            discriminant_accuracy,
        ),
        Metric(
            "discriminant probability", _FISHER, 1936, "N D K + K^3 + N K C", _FEATURES, (0, 1),
            discriminant_probability,
        ),
        Metric(
            "left-out accuracy", _OURS, 2026, "N D K + K^3 + rounds * N K C", _FEATURES, (0, 1),
            partial(discriminant_accuracy, posterior="leave-one-out"),
        ),
        Metric(
            "left-out probability", _OURS, 2026, "N D K + K^3 + rounds * N K C", _FEATURES, (0, 1),
            partial(discriminant_probability, posterior="leave-one-out"),
        ),
        Metric(
            "left-out log-likelihood", _OURS, 2026, "N D K + K^3 + rounds * N K C", _FEATURES, (None, 0),
            partial(discriminant_log_likelihood, posterior="leave-one-out"),
        ),
    )
}  # fmt: skip

#: The metrics that are called as ``metric(features, labels)``, by name; also ``sfda.METRICS``.
METRICS: dict[str, Metric] = {name: metric for name, metric in RIVALS.items() if metric.needs == _FEATURES}
#: Level with the first of the single metrics on the development tasks, and has no ties (chapter 10).
METRIC = "left-out probability"


def find_metric(name: str, *, needs: Sequence[str] = (_FEATURES,)) -> str:
    """The key of ``sfda.METRICS``, or of ``RIVALS``, that is meant.

    Parameters
    ----------
    name : str
        In any case of letters.
    needs : sequence of str, default ("features",)
        What can be given to the metric, as :class:`Metric` calls it.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        No such metric, with those of a similar name; or one that needs more than features and labels, with the
        reason.
    """
    known, fit = {metric.lower(): metric for metric in RIVALS}, [m for m in RIVALS if RIVALS[m].needs in needs]
    metric = known.get(str(name).strip().lower())
    if metric is None:
        near = difflib.get_close_matches(str(name).lower(), known, n=3)
        meant = " or ".join(repr(known[each]) for each in near if known[each] in fit)
        hint = f"; did you mean {meant}?" if meant else ""
        raise ValueError(f"metric: expected one of {', '.join(fit)}, got {name!r}{hint}")
    if metric not in fit:
        why = {
            _FEATURES: "scores each network by its own features",
            _ZOO: "scores networks against each other, so that none has a score of its own",
            _SOURCE: "needs the probabilities of the network's own classifier",
        }[RIVALS[metric].needs]
        raise ValueError(f"metric: {metric} {why}; expected one of {', '.join(fit)}")
    return metric


def timed(metric, argument, labels, name, task):
    """What a metric says of a network on a task, and how many seconds it took.

    Parameters
    ----------
    metric : Metric
    argument : array-like or mapping
        What the metric needs: features, probabilities or a zoo.
    labels : array-like of shape (N,)
    name, task : str
        Of the network and the task, for errors.

    Returns
    -------
    score : float, or dict of the networks of a zoo
    seconds : float

    Raises
    ------
    ValueError
        The metric's own, after the names of metric, network and task.
    """
    start = time.perf_counter()
    with warnings.catch_warnings():  # the table shows which scores have saturated
        warnings.simplefilter("ignore", SaturationWarning)
        try:
            score = metric(argument, labels)
        except ValueError as error:
            raise ValueError(f"{metric.name} of {name} on {task}: {error}") from error
    return score, time.perf_counter() - start
