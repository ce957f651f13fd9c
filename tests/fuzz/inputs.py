"""Matrices of every make, with the entries that they store, or None for nonsense."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import scipy.sparse as sp
from hypothesis import strategies as st

DTYPES = ["?", "i1", "u1", "i4", "i8", "u8", "f2", "f4", "f8", ">f8", ">i4", "g", "O"]
INDEX_DTYPES = ["i4", "i8", "u2", "u4", ">i4"]
# of what is stored: (row, column, value), a pair maybe more than once
Entries = list[tuple[int, int, float]]


@st.composite
def matrices(draw: Any, shape: tuple[int, int], values: Any) -> tuple[Any, Entries | None]:
    """A matrix in some container, and its entries."""
    cells = draw(st.lists(values, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    dense, dtype = (
        np.array(cells, dtype=np.float64).reshape(shape),
        draw(st.sampled_from([*DTYPES, *DTYPES, "c16", "U3"])),
    )
    with np.errstate(all="ignore"):  # nan as an integer, 300 as uint8: whatever comes of it
        dense = dense.astype(dtype)
    if draw(st.integers(0, 19)) == 0:
        return draw(st.sampled_from(_NONSENSE))(dense), None
    make = draw(st.sampled_from([*_DENSE, *_SPARSE, *_SPARSE]))
    if make in _DENSE:
        return make(dense), _all_entries(dense)
    return draw(make(dense))


def reduced(entries: Entries, shape: tuple[int, int], how: Any) -> np.ndarray:
    """A dense float64 matrix; `how` makes one of what is stored for a pair."""
    stored = defaultdict(list)
    for row, column, value in entries:
        stored[row, column].append(value)
    dense = np.zeros(shape)
    for place, of_pair in stored.items():
        dense[place] = how(of_pair)
    return dense


def _all_entries(dense: np.ndarray) -> Entries | None:
    if dense.dtype.kind not in "biufO":
        return None
    return [(*place, float(value)) for place, value in np.ndenumerate(dense)]


# ------------------------------------------------------------------------------------------ dense
def _frame(dense: np.ndarray) -> Any:
    return pd.DataFrame(dense.astype(dense.dtype.newbyteorder("=")))  # pandas takes no other


def _masked_nowhere(dense: np.ndarray) -> Any:
    return np.ma.array(dense, mask=False)


_DENSE = [
    np.array, np.asfortranarray, np.asmatrix, np.ndarray.tolist, _frame, _masked_nowhere,
    lambda dense: dense[::-1][::-1], lambda dense: tuple(map(tuple, dense.tolist())),
    lambda dense: list(dense), lambda dense: np.broadcast_to(dense, dense.shape),
]  # fmt: skip


def _masked(dense: np.ndarray) -> Any:
    mask = np.zeros(dense.shape, bool)
    mask.flat[0] = True
    return np.ma.array(dense, mask=mask)


_NONSENSE = [
    _masked, lambda dense: list(_masked(dense)), iter, lambda dense: (row for row in dense),
    lambda dense: dense[None], lambda dense: dense[:, :0], lambda dense: dense[:0],
    lambda dense: 3, lambda dense: np.float64(1), lambda dense: None, lambda dense: "text",
    lambda dense: {}, lambda dense: object(), lambda dense: sp.coo_array((2, 2, 2)),
    lambda dense: np.zeros(dense.shape, [("a", int)]),
    lambda dense: np.zeros(dense.shape, "M8[s]"),
    lambda dense: np.full(dense.shape, None).tolist(),
    lambda dense: np.full(dense.shape, 10**400, dtype=object).tolist(),
    lambda dense: pd.DataFrame(np.full(dense.shape, pd.NA)),
    lambda dense: pl.DataFrame({"a": ["x"] * len(dense)}),
]  # fmt: skip


# ----------------------------------------------------------------------------------------- sparse
def _stored(draw: Any, dense: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and values: all that is not 0, in some order, some twice, some zeros."""
    rows, columns = np.indices(dense.shape).reshape(2, -1)
    values = dense.ravel()
    kept = np.array([bool(value) or draw(st.booleans()) for value in values.tolist()], bool)
    places = np.flatnonzero(kept)
    if draw(st.booleans()) and len(places):
        places = np.append(places, draw(st.lists(st.sampled_from(places.tolist()), max_size=3)))
    places = np.array(draw(st.permutations(places.tolist())), np.int64)
    return rows[places], columns[places], values[places]


@st.composite
def _coo(draw: Any, dense: np.ndarray) -> tuple[Any, Entries | None]:
    rows, columns, values = _stored(draw, dense)
    matrix = draw(st.sampled_from([sp.coo_array, sp.coo_matrix]))(dense.shape)
    indices = [array.astype(draw(st.sampled_from(INDEX_DTYPES))) for array in (rows, columns)]
    if len(values) and draw(st.integers(0, 11)) == 0:
        axis, place = draw(st.integers(0, 1)), draw(st.integers(0, len(values) - 1))
        indices[axis] = indices[axis].astype("i8")
        indices[axis][place] = draw(_indices(dense.shape))
    matrix.coords, matrix.data = tuple(indices), values
    return matrix, _entries(*indices, values, dense.shape)


@st.composite
def _compressed(draw: Any, dense: np.ndarray) -> tuple[Any, Entries | None]:
    rows, columns, values = _stored(draw, dense)
    is_csr = draw(st.booleans())
    major, minor = (rows, columns) if is_csr else (columns, rows)
    order = np.argsort(major, kind="stable")
    n_major = dense.shape[0 if is_csr else 1]
    minor, values = minor[order], values[order]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(major, minlength=n_major))])
    kinds = [sp.csr_array, sp.csr_matrix] if is_csr else [sp.csc_array, sp.csc_matrix]
    matrix = draw(st.sampled_from(kinds))(dense.shape)
    matrix.indices = minor.astype(draw(st.sampled_from(INDEX_DTYPES)))
    matrix.indptr = indptr.astype(draw(st.sampled_from(INDEX_DTYPES)))
    matrix.data = values
    if draw(st.integers(0, 11)) == 0:
        name = draw(st.sampled_from(["indices", "indptr"]))
        array = getattr(matrix, name).astype("i8")
        if len(array):
            array[draw(st.integers(0, len(array) - 1))] = draw(_indices(dense.shape))
        setattr(matrix, name, array)
    indptr, indices = matrix.indptr.astype("i8"), matrix.indices.astype("i8")
    falls = indptr[0] != 0 or (np.diff(indptr) < 0).any() or indptr[-1] > len(indices)
    if falls:
        return matrix, None
    major = np.repeat(np.arange(n_major), np.diff(indptr))
    minor, values = indices[: indptr[-1]], values[: indptr[-1]]
    pair = (major, minor) if is_csr else (minor, major)
    if ((indices < 0) | (indices >= dense.shape[1 if is_csr else 0])).any():
        return matrix, None
    return matrix, _entries(*pair, values, dense.shape)


@st.composite
def _other(draw: Any, dense: np.ndarray) -> tuple[Any, Entries | None]:
    """Formats in which a pair is stored once, of dtypes that SciPy knows."""
    if dense.dtype.kind in "OU" or dense.dtype == np.float16:
        dense = np.array(dense.astype(object) == 1, dtype=np.int8)
    dense = dense.astype(dense.dtype.newbyteorder("="))
    container = draw(st.sampled_from([sp.csr_array, sp.csr_matrix]))
    matrix = container(dense).asformat(draw(st.sampled_from(["bsr", "lil", "dok", "dia"])))
    if draw(st.integers(0, 4)) == 0 and dense.dtype.kind in "biuf":
        matrix = pd.DataFrame.sparse.from_spmatrix(sp.csr_matrix(dense))
        return matrix, _entries(*dense.nonzero(), dense[dense.nonzero()], dense.shape)
    coo = matrix.tocoo()
    return matrix, _entries(coo.row, coo.col, coo.data, dense.shape)


_SPARSE = [_coo, _compressed, _compressed, _other]


def _indices(shape: tuple[int, int]) -> Any:
    return st.sampled_from([-(2**31), -2, -1, 0, 1, 2, *shape, 99, 2**31 - 1, 2**40])


def _entries(
    rows: np.ndarray, columns: np.ndarray, values: np.ndarray, shape: tuple[int, int]
) -> Entries | None:
    """The entries, unless one is outside, or no real number."""
    if values.dtype.kind not in "biuf":
        return None
    rows, columns = rows.tolist(), columns.tolist()
    if any(
        not (0 <= r < shape[0] and 0 <= c < shape[1]) for r, c in zip(rows, columns, strict=True)
    ):
        return None
    return list(zip(rows, columns, values.astype(np.float64).tolist(), strict=True))


# ---------------------------------------------------------------------------------------- weights
def weights_of(n: int) -> Any:
    """Containers of a weight a row, and the weights, None for nonsense."""
    good = st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=n, max_size=n)
    bad = st.sampled_from([np.nan, np.inf, -1.0, 1e300, 1e-300])
    mixed = st.lists(st.one_of(*4 * [st.just(1.0)], bad), min_size=n, max_size=n)
    makers = [list, tuple, np.array, pd.Series, pl.Series, lambda w: np.array(w, object),
              lambda w: np.array(w)[::-1][::-1], lambda w: np.ma.array(w, mask=False)]  # fmt: skip
    nonsense = [lambda w: np.ma.array(w, mask=True), lambda w: [*w, 1.0], lambda w: [w, w],
                lambda w: ["a"] * len(w), lambda w: np.array(w) * 1j, lambda w: {}, lambda w: "one",
                lambda w: [None] * len(w), lambda w: [10**400] * len(w),
                lambda w: np.array(w).astype("M8[s]"), sp.csr_array]  # fmt: skip
    plain = st.tuples(st.sampled_from(makers), st.one_of(good, good, mixed))
    given = plain.map(lambda pair: (pair[0](pair[1]), pair[1]))
    return st.one_of(
        *3 * [st.just((None, [1.0] * n))],
        *3 * [given],
        st.tuples(st.sampled_from(nonsense), good).map(lambda pair: (pair[0](pair[1]), None)),
    )
