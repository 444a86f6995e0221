"""Zoos of which it is known what each network can tell, and so what any average of them reaches.

Every network sees a number for each class: noise of variance 1, and its strength in that class more where the sample
is of it. Its posterior follows from these, and is honest. Networks of one group share nearly all of their noise.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax

from sfda.metric.ensemble import calibrated

CLASSES, SHARED = 12, 0.95  # of the noise's variance
EVERY, LOW, HIGH = range(12), range(6), range(6, 12)


@dataclass(frozen=True)
class Planted:
    """A network: how well it tells the `classes` from the others, and how much surer it is than it should be."""

    classes: range
    strength: float
    group: str | None = None
    sure: float = 1.0


def draw(zoo, n, rng):
    """Labels, and by network the features (n, 12) and the log-posteriors (n, 12)."""
    y, shared, features, log_p = np.arange(n) % CLASSES, {}, {}, {}
    for name, net in zoo.items():
        strength = np.where(np.isin(np.arange(CLASSES), net.classes), net.strength, 0.0)
        noise = rng.standard_normal((n, CLASSES))
        if net.group is not None:
            common = shared.setdefault(net.group, rng.standard_normal((n, CLASSES)))
            noise = np.sqrt(1 - SHARED) * noise + np.sqrt(SHARED) * common
        x = np.diag(strength)[y] + noise
        features[name] = x
        log_p[name] = log_softmax(net.sure * (strength * x - strength**2 / 2), axis=1)
    return y, features, log_p


def reached(zoo, size, *, n=12_000, seed=0):
    """Accuracy of every average of `size` calibrated posteriors on n fresh samples, by its names."""
    y, _, log_p = draw(zoo, n, np.random.default_rng([seed, n]))
    p = {name: np.exp(calibrated(each, y)) for name, each in log_p.items()}
    return {
        frozenset(names): float((sum(p[name] for name in names).argmax(1) == y).mean())
        for names in itertools.combinations(zoo, size)
    }


def several(count, name, *arguments, **options):
    """So many networks of one kind."""
    return {f"{name} {i}": Planted(*arguments, **options) for i in range(count)}


_EXPERTS = {"low": Planted(LOW, 6), "high": Planted(HIGH, 6)}
_TWINS = several(5, "twin", EVERY, 3.1, "twins")
_THIRDS = {f"third {i}": Planted(range(4 * i, 4 * i + 4), 6) for i in range(3)}
_STRONG = several(1, "strong", EVERY, 3.5)
_COPIES = several(5, "copy", EVERY, 2.5, "copies")

#: Zoos and sizes in which the best choice is two experts, with or without others.
EXPERTS = {
    "two twins": (several(2, "twin", EVERY, 3.1, "twins") | _EXPERTS, 2),
    "worse twins": (several(2, "twin", EVERY, 2.7, "twins") | _EXPERTS, 2),
    "many twins": (_TWINS | _EXPERTS, 2),
    "many twins, three wanted": (_TWINS | _EXPERTS, 3),
    "experts too sure": (_TWINS | {"low": Planted(LOW, 6, sure=2), "high": Planted(HIGH, 6, sure=3)}, 2),
    "experts too modest": (_TWINS | {"low": Planted(LOW, 6, sure=0.3), "high": Planted(HIGH, 6)}, 2),
}
#: Others, in which several choices are good and some are bad.
OTHERS = {
    "good twins, bad experts": (several(2, "twin", EVERY, 3.6, "twins") | {
        "low": Planted(LOW, 2.5), "high": Planted(HIGH, 2.5)}, 2),
    "one strong, four weak": (_STRONG | several(4, "weak", EVERY, 1.5), 2),
    "one strong, four weak, three wanted": (_STRONG | several(4, "weak", EVERY, 1.5), 3),
    "copies of a good one": (_COPIES | several(4, "other", EVERY, 2.2), 3),
    "copies of a good one, five wanted": (_COPIES | several(4, "other", EVERY, 2.2), 5),
    "too sure, too modest": ({
        "good": Planted(EVERY, 2.5, "a"), "its double, too sure": Planted(EVERY, 2.5, "a", 4),
        "too sure": Planted(EVERY, 2.4, sure=4), "too modest": Planted(EVERY, 2.2, sure=0.3),
        "bad and too sure": Planted(EVERY, 1.2, sure=6)}, 3),
    "all kinds": ({f"net {i}": Planted(EVERY, 1.5 + 0.15 * i) for i in range(9)}, 3),
}  # fmt: skip
