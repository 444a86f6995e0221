"""Features and labels in every container that the reference lists give the score of plain arrays."""

from decimal import Decimal
from functools import partial

import dask.array as da
import ml_dtypes
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from data_sets import gaussian_classes
from sfda import FisherDiscriminant, leep, nce, select_ensemble, sfda_score, stream_score
from sfda.rank.jackknife import jackknife
from sfda.rank.result import rank_features
from sfda.rivals.etran import etran
from sfda.rivals.ncti import ncti

try:
    from jax.numpy import asarray as as_jax
except ImportError:

    class as_jax:  # what of such an array can be asked for
        def __init__(self, x):
            self.x, self.dtype, self.shape, self.ndim, self.size = x, x.dtype, x.shape, x.ndim, x.size

        def __array__(self, dtype=None, copy=None):
            return self.x.astype(dtype or self.dtype)

        def __dlpack__(self, **options):
            return self.x.__dlpack__(**options)

        def __len__(self):
            return len(self.x)


Y = np.arange(60) % 3
X = gaussian_classes(0, Y, 6, 1.0, 0.1).astype(np.float16).astype(float)  # every dtype holds it
F, LISTS, NAMES = pd.DataFrame(X), X.tolist(), np.array(["ape", "bee", "cow"])[Y]
# In the order of the table in the reference.
FEATURES = {
    "lists": LISTS, "list of arrays": list(X), "list of tensors": list(torch.tensor(X)), "float16": X.astype("f2"), "objects": X.astype(object),
    "array of arrays": pd.Series(list(X)).to_numpy(), "bfloat16 of ml_dtypes": X.astype(ml_dtypes.bfloat16), "tensor": torch.tensor(X),
    "bfloat16 tensor": torch.tensor(X).bfloat16(), "frame": F, "convert_dtypes": F.convert_dtypes(), "double[pyarrow]": F.astype("double[pyarrow]"),
    "object frame": F.astype(object), "sparse frame": F.astype(pd.SparseDtype(float)), "Decimal": F.map(Decimal), "Series of arrays": pd.Series(list(X)),
    "Series of lists": pd.Series(LISTS), "frame of arrays": pd.DataFrame({"embedding": list(X)}),
    "pyarrow lists in pandas": pd.Series(LISTS, dtype=pd.ArrowDtype(pa.list_(pa.float64()))), "polars frame": pl.DataFrame(X),
    "polars List": pl.Series(LISTS), "polars Array": pl.Series(LISTS, dtype=pl.Array(pl.Float64, 6)), "polars frame of lists": pl.DataFrame({"e": LISTS}),
    "pyarrow list": pa.array(LISTS), "pyarrow fixed list": pa.array(LISTS, pa.list_(pa.float64(), 6)), "pyarrow chunks": pa.chunked_array([LISTS[:9], LISTS[9:]]),
    "pyarrow table": pa.table({str(i): X[:, i] for i in range(6)}), "JAX": as_jax(X.astype("f4")), "bfloat16 of JAX": as_jax(X.astype(ml_dtypes.bfloat16)),
    "pyarrow table of lists": pa.table({"e": LISTS}), "Dask": da.from_array(X, chunks=(20, 3)), "named columns": np.rec.fromarrays(list(X.T)),
}  # fmt: skip
LABELS = {
    "list": Y.tolist(), "floats": Y.astype(float), "gaps": 7 * Y - 3, "booleans and more": Y.astype(object), "strings": NAMES, "list of strings": NAMES.tolist(),
    "bytes": NAMES.astype("S"), "tensor": torch.tensor(Y), "Series": pd.Series(Y), "Int64": pd.Series(Y, dtype="Int64"), "string[pyarrow]": pd.Series(NAMES, dtype="string[pyarrow]"),
    "category": pd.Series(NAMES, dtype="category"), "int64[pyarrow]": pd.Series(Y).astype("int64[pyarrow]"), "polars": pl.Series(NAMES),
    "polars Categorical": pl.Series(NAMES).cast(pl.Categorical), "pyarrow": pa.array(NAMES), "pyarrow dictionary": pa.array(NAMES).dictionary_encode(), "JAX": as_jax(Y.astype("i4")), "Dask": da.from_array(Y, chunks=20),
}  # fmt: skip


@pytest.mark.parametrize("name", FEATURES)
def test_features(name):
    exact = 0 if "bfloat16" not in name else 2e-3  # 8 bits of each number, a tenth of a class's spread at most
    assert sfda_score(FEATURES[name], Y) == pytest.approx(sfda_score(X, Y), abs=exact)
    fitted = FisherDiscriminant().fit(FEATURES[name], Y)
    expected = FisherDiscriminant().fit(X, Y).predict_proba(X)
    np.testing.assert_allclose(fitted.predict_proba(FEATURES[name]), expected, rtol=0, atol=0.05 if exact else 1e-12)


@pytest.mark.parametrize("name", LABELS)
def test_labels(name):
    assert sfda_score(X, LABELS[name]) == sfda_score(X, Y)
    fitted, expected = (FisherDiscriminant().fit(X, labels) for labels in (LABELS[name], Y))
    assert np.array_equal(np.searchsorted(fitted.classes_, fitted.predict(X)), expected.predict(X))


@pytest.mark.parametrize(("missing", "found"), [
    (["a", None, "b"] * 20, "None"), (pd.Series([0, None, 1] * 20, dtype="Int64"), "nan|<NA>"), (pa.array(["a", None, "b"] * 20), "None"),
    (pl.Series([0, None, 1] * 20), "nan"), (pd.Series(["a", None, "b"] * 20, dtype="string[pyarrow]"), "<NA>"),
])  # fmt: skip
def test_a_row_without_a_label(missing, found):
    for function, name in ((sfda_score, "labels"), (FisherDiscriminant().fit, "y")):
        with pytest.raises(ValueError, match=rf"^{name}: expected a class in every row, found none \(({found})\) in row 1; drop it$"):
            function(X, missing)


def test_rows_of_frames_in_another_order_are_refused_and_of_other_rows_are_taken_as_they_stand():
    order = np.random.default_rng(0).permutation(60)
    frame, y = pd.DataFrame(X, index=[f"{i}.jpg" for i in range(60)]), pd.Series(Y, index=[f"{i}.jpg" for i in range(60)])
    theta = pd.DataFrame(np.full((60, 2), 0.5), frame.index)
    several = partial(select_ensemble, size=1), rank_features, ncti, etran
    calls = [partial(function, {"a": X, "b": frame, "c": X}) for function in several]
    calls += [partial(sfda_score, frame), partial(FisherDiscriminant().fit, frame), partial(leep, theta), partial(nce, theta)]
    calls += [partial(jackknife, frame), lambda y: stream_score(lambda: [(frame, y)])]
    found = f"got '0.jpg' and '{order[0]}.jpg' at position 0"
    for call in calls:
        with pytest.raises(ValueError, match=f"(labels|y): expected the rows of .* in their order, {found}"):
            call(y.iloc[order])
    for function in several:  # though the labels have no order
        with pytest.raises(ValueError, match=rf"^features_by_model\['c'\]: expected the rows of features_by_model\['a'\] in their order, {found}"):
            function({"a": frame, "b": X, "c": frame.iloc[order]}, Y)
    assert sfda_score(frame.iloc[order], y.iloc[order]) == pytest.approx(sfda_score(X, Y), abs=1e-12)
    assert sfda_score(frame, pd.Series(Y)) == sfda_score(X, Y)
