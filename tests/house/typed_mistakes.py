"""What mypy must refuse, in each line with a comment, which is part of its message; never run."""

import numpy as np

import sfda
from sfda.rank import rank
from sfda.rank.result import rank_features

X, y = np.zeros((4, 2)), np.zeros(4)

sfda.sfda_score(1)  # Missing positional argument "labels"
sfda.sfda_score(X, y, posterior="loo")  # has incompatible type "Literal['loo']"
sfda.sfda_score(X, y, shrinkage="leave-one-out")  # expected "float | None"
sfda.FisherDiscriminant().fit(X)  # Missing positional argument "y"
sfda.FisherDiscriminant(shrinkage="loo")  # has incompatible type "Literal['loo']"
sfda.select_ensemble([X, X], y, 2)  # expected "Mapping[str,
sfda.stream_score([(X, y)])  # expected "Callable[[], Iterable[tuple[
sfda.weighted_tau(X)  # Missing positional argument "accuracies"
rank("torchvision:resnet18", "photographs", part="test")  # has incompatible type "Literal['test']"
rank_features(X, y)  # expected "Mapping[str,
