"""Every container in which texts and labels are accepted.

`test_validation` runs over all of them. Layers above it run over five representatives of each,
which cover the kinds: they test that a layer passes on what it was given.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import scipy.sparse as sp


class SimpleArray:
    """An object that offers only `__array__`."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array if dtype is None else self.array.astype(dtype)


TEXT_CONTAINERS = {
    "list": list,
    "tuple": tuple,
    "object array": lambda t: np.array(t, dtype=object),
    "U array": np.array,
    "(n, 1) object array": lambda t: np.array(t, dtype=object)[:, None],
    "(n, 1) U array": lambda t: np.array(t)[:, None],
    "object Series": lambda t: pd.Series(t, dtype=object),
    "str Series": lambda t: pd.Series(t, dtype="str"),
    "string Series": lambda t: pd.Series(t, dtype="string"),
    "category Series": lambda t: pd.Series(t, dtype="category"),
    "Series with another index": lambda t: pd.Series(t, index=range(len(t), 0, -1)),
    "Index": pd.Index,
    "one-column DataFrame": lambda t: pd.DataFrame({"text": t}),
    "polars Series": pl.Series,
    "polars categorical": lambda t: pl.Series(t, dtype=pl.Categorical),
    "one-column polars DataFrame": lambda t: pl.DataFrame({"text": t}),
    "only __array__": lambda t: SimpleArray(np.array(t, dtype=object)),
}
if hasattr(np.dtypes, "StringDType"):  # NumPy 2
    TEXT_CONTAINERS["StringDType"] = lambda t: np.array(t, dtype=np.dtypes.StringDType())


def _sparse(make, dtype=np.int64):
    return lambda Y: make(Y.astype(dtype))


def _wide_indices(Y):
    Y = sp.csr_array(Y)
    Y.indices, Y.indptr = Y.indices.astype(np.int64), Y.indptr.astype(np.int64)
    return Y


INDEX_DTYPES = [
    (np.int64, np.int32), (np.int32, np.int64), (np.uint32, np.uint32), (np.uint16, np.int32),
    (np.uint64, np.int8), (">i4", ">i8"),
]  # fmt: skip


def with_index_dtypes(Y, format, first, second):
    """Its indptr and indices, or rows and columns, have these dtypes."""
    Y = sp.csr_matrix(Y).asformat(format)
    if format == "coo":
        Y.coords = (Y.row.astype(first), Y.col.astype(second))
    else:
        Y.indptr, Y.indices = Y.indptr.astype(first), Y.indices.astype(second)
    return Y


def _with_data(dtype):
    def make(Y):
        Y = sp.csr_array(Y)
        Y.data = Y.data.astype(dtype)  # which the constructor does not take
        return Y

    return make


def _unsorted_twice(container):
    """Every entry of value 1 stored twice, and a stored 0, in no order."""

    def make(Y):
        rows, columns = Y.nonzero()
        zero = np.argwhere(Y == 0)[0]
        rows = np.concatenate([rows, zero[:1], rows])[::-1].copy()
        columns = np.concatenate([columns, zero[1:], columns])[::-1].copy()
        values = np.ones(len(rows))
        values[len(rows) // 2] = 0
        coo = container((values, (rows, columns)), shape=Y.shape)
        assert coo.nnz == len(rows)
        return coo

    return make


def _compressed_twice(Y):
    """CSR whose rows hold every entry twice, largest column first."""
    lists = [np.repeat(np.flatnonzero(row)[::-1], 2) for row in Y]
    indptr = np.cumsum([0] + [len(columns) for columns in lists])
    return sp.csr_array((np.ones(indptr[-1]), np.concatenate(lists), indptr), shape=Y.shape)


def _compressed_columns_twice(Y):
    twice = _compressed_twice(Y.T)
    return sp.csc_array((twice.data, twice.indices, twice.indptr), shape=Y.shape)


def explicit_zeros(Y):
    full = sp.csr_array(np.ones(Y.shape))
    full.data[:] = Y.ravel()
    return full


MATRICES = {
    **{
        f"{container.__name__} of {np.dtype(dtype).name}": _sparse(container, dtype)
        for container in (sp.csr_matrix, sp.csr_array, sp.csc_matrix, sp.csc_array, sp.coo_matrix,
                          sp.coo_array, sp.lil_array, sp.dok_array)
        for dtype in (bool, np.int64, np.float32)
    },
    "csr_array of uint8": _sparse(sp.csr_array, np.uint8),
    "csr_array of float64": _sparse(sp.csr_array, np.float64),
    "int64 indices": _wide_indices,
    "bsr_array": sp.bsr_array,
    "dia_array": sp.dia_array,
    **{
        f"{format} of {first} and {second}": lambda Y, how=(format, first, second):
            with_index_dtypes(Y, *how)
        for format in ("csr", "csc", "bsr", "coo")
        for first, second in [tuple(np.dtype(d).str for d in pair) for pair in INDEX_DTYPES]
    },
    "big-endian values": _with_data(">f8"),
    "float16 values": _with_data(np.float16),
    "duplicates in a coo_array": _unsorted_twice(sp.coo_array),
    "duplicates in a coo_matrix": _unsorted_twice(sp.coo_matrix),
    "duplicates in a csr_array": _compressed_twice,
    "duplicates in a csc_array": _compressed_columns_twice,
    "explicit zeros": explicit_zeros,
    "dense int": np.array,
    "dense bool": lambda Y: Y.astype(bool),
    "dense float": lambda Y: Y.astype(np.float32),
    "dense objects": lambda Y: Y.astype(object),
    "Fortran order": np.asfortranarray,
    "DataFrame": lambda Y: pd.DataFrame(Y),
    "sparse DataFrame": lambda Y: pd.DataFrame.sparse.from_spmatrix(sp.csr_matrix(Y)),
    "DataFrame of bool and int": lambda Y: pd.DataFrame(Y).astype({0: bool, 2: bool}),
    "nullable DataFrame": lambda Y: pd.DataFrame(Y, dtype="Int64"),
    "nullable bool DataFrame": lambda Y: pd.DataFrame(Y, dtype="boolean"),
    "DataFrame of objects": lambda Y: pd.DataFrame(Y, dtype=object),
    "DataFrame of categories": lambda Y: pd.DataFrame(Y, dtype="category"),
    "sparse DataFrame that leaves 1 out": lambda Y: pd.DataFrame(Y).astype(pd.SparseDtype(int, 1)),
    "sparse bool DataFrame": lambda Y: pd.DataFrame(Y == 1).astype(pd.SparseDtype(bool, False)),
    "DataFrame of sparse and other columns": lambda Y: pd.DataFrame(Y).astype(
        {0: pd.SparseDtype(int, 0), 1: pd.SparseDtype(int, 1), 2: "Int64"}),
    "list of 0/1 lists": lambda Y: Y.tolist(),
    "tuple of 0/1 tuples": lambda Y: tuple(map(tuple, Y.tolist())),
    "list of 0/1 arrays": list,
    "only __array__": SimpleArray,
}  # fmt: skip


LABEL_LISTS = {
    "lists": list,
    "tuples": lambda rows: [tuple(row) for row in rows],
    "sets": lambda rows: [set(row) for row in rows],
    "frozensets": lambda rows: [frozenset(row) for row in rows],
    "arrays": lambda rows: [np.array(row, dtype=object) for row in rows],
    "of several kinds": lambda rows: [set(rows[0]), tuple(rows[1]), np.array(rows[2]), *rows[3:]],
    "with repetitions": lambda rows: [row + row[::-1] for row in rows],
    "in a tuple": tuple,
    "in a Series": lambda rows: pd.Series(rows, index=range(len(rows), 0, -1)),
    "in a polars Series": pl.Series,
    "in an object array": lambda rows: pd.Series(rows).to_numpy(),
}


def _few(containers, *names):
    return {name: containers[name] for name in names}


FEW_TEXT_CONTAINERS = _few(
    TEXT_CONTAINERS, "list", "(n, 1) object array", "Series with another index",
    "one-column DataFrame", "polars Series",
)  # fmt: skip
FEW_MATRICES = _few(
    MATRICES, "csr_matrix of int64", "int64 indices", "dense int", "DataFrame",
    "list of 0/1 lists",
)  # fmt: skip
FEW_LABEL_LISTS = _few(
    LABEL_LISTS, "lists", "sets", "of several kinds", "in a Series", "in a polars Series"
)
FEW_LABEL_CONTAINERS = [*FEW_MATRICES, *FEW_LABEL_LISTS]


def labels_in(container, Y):
    """The dense indicator `Y` in one of `FEW_LABEL_CONTAINERS`."""
    if container in FEW_MATRICES:
        return FEW_MATRICES[container](Y)
    return FEW_LABEL_LISTS[container]([row.nonzero()[0].tolist() for row in Y])
