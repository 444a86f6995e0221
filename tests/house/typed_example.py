"""What users write, and what mypy must accept; never run."""

import numpy as np

import sfda
from sfda.rank import rank
from sfda.rank.result import rank_features
from sfda.streaming.cluster import dask_score

X, y = np.zeros((4, 2), np.float32), ["cat", "cat", "dog", "dog"]
lists: list[list[float]] = [[0.1, 0.9], [0.8, 0.2]]


class Tensor:
    """Has what torch's tensors have, the one method by which they are arrays."""

    def __array__(self) -> np.ndarray:
        return X


score: float = sfda.sfda_score(X, y, posterior="leave-one-out", shrinkage=0.1, dtype="float32", device="cpu")
score += sfda.sfda_score(Tensor(), y) + sfda.leep(lists, y) + sfda.nce(lists, np.array(y))
score += sfda.weighted_tau([0.1, 0.2], X[0]) + sfda.METRICS["GBC"](X, y, log=True)
score += sfda.stream_score(lambda: [(X, y), (X, y)], metric="left-out probability", shrinkage=0.1)
score += dask_score([(X, y)], metric="SFDA")
sums: np.ndarray = sfda.FisherDiscriminant("leave-one-out").fit(X, y).predict_proba(X).sum(1)
sums = sfda.confmix(X, y, [0.5] * 4)
names: list[str] = sfda.select_ensemble({"a": X, "b": Tensor()}, y, 2, method="top", scores={"a": 1, "b": 2}).members
names += rank(["torchvision:resnet18"], "photographs", part="all", cache=None, progress=print).tied
names += rank_features({"a": X}, y, parameters={"a": 10**6}).tied
