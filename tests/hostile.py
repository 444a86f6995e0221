"""Features and labels as nobody should pass them, but somebody will."""

import math
import re
import tempfile
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from sfda import SaturationWarning

torch = pytest.importorskip("torch")

SLOW = ("NLEEP", "linear probe", "PARC 32 components as published")


def quick(n):
    """So many examples, the same each time; 1,000 and others with HYPOTHESIS_PROFILE=search."""
    return settings(
        max_examples=n if settings.default.derandomize else settings.default.max_examples,
        deadline=None, suppress_health_check=list(HealthCheck),
    )  # fmt: skip


def outcome(function, *arguments, names=("features", "labels", "shrinkage"), **options):
    """What a function returns; None where it says which argument is wrong.

    Whatever else it does, its input stays as it was.
    """
    before = [_content(each) for each in arguments]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SaturationWarning)
            value = function(*arguments, **options)
    except ValueError as error:
        assert re.match(rf"({'|'.join(names)})\b", str(error)), repr(error)
        assert not isinstance(error, (np.linalg.LinAlgError, UnicodeError))
        value = None
    assert [_content(each) for each in arguments] == before
    return value


def answer(function, *arguments, **options):
    """The finite float that a function returns; None where it says which argument is wrong."""
    value = outcome(function, *arguments, **options)
    assert value is None or (type(value) is float and math.isfinite(value)), value
    return value


def _content(x):
    """What must not change, as something that can be compared."""
    if isinstance(x, torch.Tensor):
        if x.layout == torch.strided and not x.is_meta:
            return repr(x.detach().cpu().tolist())
        return str(x.layout)
    if isinstance(x, np.ndarray):
        mask = np.ma.getmaskarray(x).tobytes() if isinstance(x, np.ma.MaskedArray) else b""
        data = np.asarray(x)
        return (data.tolist().__repr__() if data.dtype.hasobject else data.tobytes()), mask
    if isinstance(x, (pd.DataFrame, pd.Series)):
        return x.to_csv()
    return repr(x)


def within(value, bounds, n, n_classes):
    """Whether a score is where its metric says, but for rounding."""
    places = {"log": math.log, "N": n, "C": n_classes}
    low, high = (eval(b, places) if isinstance(b, str) else b for b in bounds)
    slack = 1e-9 * max(1.0, abs(value))
    return (low is None or value >= low - slack) and (high is None or value <= high + slack)


# What float16 and float32 can hold, and more than the bound.
SCALES = (1e-45, 1e-38, 6e-8, 1e-6, 1e3, 6e4, 1e6, 1e30, 3e38, 1e80)


@st.composite
def numbers_of(draw, n, d, y):
    """An array (n, d) of float64 with one oddity or several."""
    rng = np.random.default_rng(draw(SEEDS))
    x = rng.standard_normal((n, d)) + draw(DISTANCES) * rng.standard_normal((64, d))[y % 64]
    if not x.size:
        return x
    row, column = draw(st.integers(0, n - 1)), draw(st.integers(0, d - 1))
    for oddity, scale in draw(FEW_ODDITIES):
        with np.errstate(all="ignore"):
            x = oddity(x, y, row, column, scale, rng)
    return x


def _set(x, where, value):
    x = x.copy()
    x[where] = value
    return x


ODDITIES = (
    lambda x, y, i, j, s, rng: x * s,
    lambda x, y, i, j, s, rng: x * s,
    lambda x, y, i, j, s, rng: x + s,
    lambda x, y, i, j, s, rng: _set(x, np.s_[:, j], x[:, j] * s),
    lambda x, y, i, j, s, rng: _set(x, (i, j), s),
    lambda x, y, i, j, s, rng: _set(x, i, -s),
    lambda x, y, i, j, s, rng: _set(x, (i, j), rng.choice([np.nan, np.inf, -np.inf])),
    lambda x, y, i, j, s, rng: np.where(x > 0, 3.4e38, -3.4e38),
    lambda x, y, i, j, s, rng: np.full_like(x, 0.1),
    lambda x, y, i, j, s, rng: np.full_like(x, 0.0),
    lambda x, y, i, j, s, rng: _set(x, np.s_[:, j], 0.1),
    lambda x, y, i, j, s, rng: _set(x, np.s_[:, j], 0.1 * y),
    lambda x, y, i, j, s, rng: np.repeat(0.1 * y[:, None], x.shape[1], 1),
    lambda x, y, i, j, s, rng: x[np.arange(len(x)) // 2],
    lambda x, y, i, j, s, rng: x[np.zeros(len(x), int)],
    lambda x, y, i, j, s, rng: x[:, np.arange(x.shape[1]) // 2],
    lambda x, y, i, j, s, rng: x[:, [j] * x.shape[1]],
    lambda x, y, i, j, s, rng: x[:, :1] @ x[:1],
    lambda x, y, i, j, s, rng: np.round(x),
    lambda x, y, i, j, s, rng: np.maximum(x, 0),
    lambda x, y, i, j, s, rng: x - x.mean(1, keepdims=True),
)
# Strategies are made once: made for each example they took as long as what is tested.
SEEDS, DISTANCES, CLASSES = st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 5]), st.sampled_from(range(1, 7))
FEW_ODDITIES = st.lists(st.tuples(st.sampled_from(ODDITIES), st.sampled_from(SCALES)), max_size=3)

DTYPES = ("f8", "f8", "f8", ">f8", "f4", "f2", "g", "i1", "i8", "u1", "u8", "?", "c8", "O", "U", "S", "M8[s]")


def _as_dtype(x, dtype):
    with np.errstate(all="ignore"):
        if dtype in ("M8[s]", "i1", "i8", "u1", "u8"):
            x = np.nan_to_num(x).clip(-1e18, 1e18).astype("i8")
        return x.astype(dtype)


def _mapped(x):
    with tempfile.TemporaryFile() as file:
        mapped = np.memmap(file, x.dtype, "w+", shape=x.shape)
        mapped[:] = x
        return mapped


def _read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def _strided(x):
    wide = np.zeros((2 * len(x), 3 * x.shape[1]), x.dtype)
    wide[::-2, ::3] = x
    return wide[::-2, ::3]


def _tensor(x):
    with np.errstate(all="ignore"):
        return torch.from_numpy(np.ascontiguousarray(x.astype("f8")))


def _sparse(x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # in beta state, torch says
        return _tensor(x).to_sparse_csr()


FORMS = (
    *[lambda x: x] * 4, np.asfortranarray, lambda x: x[::-1].copy()[::-1], lambda x: x[:, ::-1].copy()[:, ::-1],
    _read_only, _strided, lambda x: np.broadcast_to(x[:1], x.shape), lambda x: np.broadcast_to(x[:, :1], x.shape),
    lambda x: np.asmatrix(x), lambda x: x.tolist(), lambda x: tuple(map(tuple, x.tolist())), lambda x: list(x),
    lambda x: x[:, 0], lambda x: x[:, :, None], lambda x: x.T,
)  # fmt: skip
# Of real numbers only.
REAL_FORMS = (
    _mapped, lambda x: np.ma.array(x), lambda x: np.ma.masked_greater(x, 0), pd.DataFrame,
    lambda x: pd.DataFrame(x).astype("Float64"), lambda x: pd.DataFrame(x).rename(columns=str),
    lambda x: scipy.sparse.csr_array(x.astype("f8")), lambda x: scipy.sparse.coo_matrix(x.astype("f8")),
    _tensor, lambda x: _tensor(x).requires_grad_(), lambda x: _tensor(x).half(), lambda x: _tensor(x).bfloat16(),
    lambda x: _tensor(x).T.contiguous().T, lambda x: _tensor(x).long(), lambda x: _tensor(x) > 0,
    lambda x: torch.complex(_tensor(x), _tensor(x)).conj().imag, lambda x: torch.complex(_tensor(x), _tensor(x)),
    lambda x: _tensor(x)[:1].expand(x.shape), lambda x: _tensor(x).to_sparse(), _sparse,
    lambda x: _tensor(x).to("meta"), lambda x: list(_tensor(x).requires_grad_()),
    lambda x: _tensor(x).to(torch.float8_e5m2), lambda x: torch.nn.Parameter(_tensor(x)),
)  # fmt: skip
ANY_DTYPE, ANY_FORM, NO_REAL_FORM = map(st.sampled_from, (DTYPES, FORMS + REAL_FORMS, FORMS))


@st.composite
def forms(draw, x):
    """An array in any dtype, layout or library."""
    x = _as_dtype(x, draw(ANY_DTYPE))
    real = x.dtype.kind in "fiub" and x.dtype.char != "g" and x.dtype.isnative and x.size
    form = draw(ANY_FORM if real else NO_REAL_FORM)
    if not x.size and form not in (FORMS[0], np.asfortranarray):
        return x
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of the making only
        return form(x)


STRANGE = ("", " ", "a", "a\0", "A", "\n", "é", "e\u0301", "\u202e", "😀", "-1", "nan", "None", "[x]", "%s", "\ud800", "x" * 300)
HOW = st.sampled_from(["drawn", "drawn", "drawn", "dealt", "dealt", "one apart", "all different", "sorted"])


@st.composite
def classes_of(draw, n):
    """Classes (n,) from 0: few or many, equal or very unequal sizes."""
    c, how = draw(CLASSES), draw(HOW)
    i = np.arange(n)
    y = {"dealt": i % (c + 1), "one apart": (i == 0).astype(int), "all different": i}.get(how)
    if y is None:
        y = np.frombuffer(draw(st.binary(min_size=n, max_size=n)), np.uint8).astype(int) % c
    return np.sort(y) if how == "sorted" else y


def objects_of(values):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _spoilt(y, value):
    values = y.tolist()
    values[-1:] = [value]
    return values


LABELS = (
    *[lambda y: y] * 6, lambda y: -7 * y, lambda y: y + 2**40, lambda y: y.astype("u8") + np.uint64(2**63),
    lambda y: y.astype("i1"), lambda y: y.astype(">i2"), lambda y: y.astype("f8"), lambda y: y.astype("f2"),
    lambda y: y.astype("g"), lambda y: y.tolist(), lambda y: tuple(y.tolist()), lambda y: list(y),
    lambda y: [np.array(v) for v in y], lambda y: [torch.tensor(v) for v in y],
    lambda y: [torch.tensor(float(v), requires_grad=True) for v in y],
    lambda y: y.astype(bool), lambda y: [bool(v) for v in y], lambda y: y.astype(str), lambda y: y.astype("S"),
    lambda y: [STRANGE[v % len(STRANGE)] for v in y], lambda y: np.array([STRANGE[v % len(STRANGE)] for v in y] or [""])[: len(y)],
    lambda y: [bytes([v % 256, 0]) for v in y], lambda y: [b"\0" * (v + 1) for v in y],
    lambda y: objects_of([STRANGE[v % len(STRANGE)] for v in y]),
    lambda y: y[::-1], lambda y: np.broadcast_to(y[:1], y.shape), lambda y: _read_only(y),
    lambda y: torch.from_numpy(y.copy()), lambda y: torch.from_numpy(y.copy()).bfloat16(),
    lambda y: torch.from_numpy(y.copy()).to(torch.float8_e5m2), lambda y: torch.from_numpy(y.copy()).to_sparse(),
    lambda y: torch.from_numpy(y.copy()).to("meta"), lambda y: torch.from_numpy(y.copy()).to(torch.complex64).conj(),
    lambda y: torch.from_numpy(y.astype("f8")).requires_grad_(),
    lambda y: pd.Series(y), lambda y: pd.Series(y, dtype="Int64"), lambda y: pd.Series(y.astype(str), dtype="category"),
    lambda y: pd.Series(y.astype(str), dtype="string"), lambda y: pd.Series(y).astype("Int64").where(y > 0),
    lambda y: np.ma.array(y), lambda y: np.ma.array(y, mask=y > 0), lambda y: scipy.sparse.coo_array(y[None]),
    lambda y: y.astype(np.dtypes.StringDType()), lambda y: y * 1j, lambda y: y.astype("M8[s]"),
    lambda y: y.astype("m8[s]"), lambda y: np.zeros(len(y), [("a", int)]), lambda y: None, lambda y: 3, lambda y: "ab" * len(y),
    lambda y: y[:-1], lambda y: np.r_[y, 0], lambda y: y[:, None], lambda y: np.eye(64)[y % 64], lambda y: y / 2,
    lambda y: {v: v for v in y.tolist()}, lambda y: set(y.tolist()), lambda y: range(len(y)), lambda y: iter(y.tolist()),
    *[lambda y, value=value: _spoilt(y, value) for value in (
        None, math.nan, math.inf, 1.5, "a", b"a", 1j, [1], (1, 2), {1}, pd.NA, pd.NaT, np.ma.masked, 10**400, 2**53 + 1,
        2**63, np.float32("nan"), np.datetime64("NaT"), object(), torch.tensor([1, 2]), True,
    )],
    *[lambda y, make=make: objects_of([make(v) for v in y.tolist()]) for make in (
        str, float, lambda v: {v}, lambda v: frozenset([v]), lambda v: [v], lambda v: np.array([v, v]), lambda v: None,
        lambda v: v if v else "0", lambda v: math.nan, lambda v: 10**400 + v, lambda v: np.int8(v % 100), lambda v: torch.tensor(v),
    )],
)  # fmt: skip
ANY_LABELS = st.sampled_from(LABELS)


@st.composite
def cases(draw, valid=False, most=40):
    """Features and labels; with `valid`, only the numbers are odd."""
    n = draw(st.integers(2 if valid else 0, most))
    y = draw(classes_of(n))
    x = draw(numbers_of(n, draw(st.integers(1 if valid else 0, 30)), y))
    if valid:
        return x, y
    label = draw(ANY_LABELS)
    if not n and label not in (LABELS[0], LABELS[14]):
        return draw(forms(x)), y
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the making only
        return draw(forms(x)), label(y)
