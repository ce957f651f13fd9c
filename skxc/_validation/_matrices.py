"""Sparse matrices and DataFrames of any make, in a form that SciPy computes with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from copy import copy
from numbers import Integral
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from ._texts import is_missing

_INT32, _INT64 = np.iinfo(np.int32), np.iinfo(np.int64)


def sound_sparse(matrix: Any, name: str) -> Any:
    """A sparse matrix with checked indices, all of one dtype; what is not sparse as it is.

    SciPy takes more than it computes with (index arrays of two dtypes, unsigned or big-endian
    ones), and reads outside the arrays where an index is out of range. The result shares the
    arrays that are sound; CSR, CSC, BSR and COO keep their format, others become CSR.
    """
    if not sp.issparse(matrix):
        return matrix
    if matrix.ndim > 2:
        raise ValueError(
            f"{name} has shape {matrix.shape}. Pass a matrix of (n_samples, n_labels), in two "
            f"dimensions."
        )
    try:
        own = _compressed_or_coo(matrix)
        _check_unmasked(own.data, "values")
        data = np.asarray(own.data)
        if data.dtype.kind not in "biufc":
            raise ValueError(f"its values have the dtype {data.dtype}, which is no number")
        own.data = data.astype(native(data.dtype), copy=False)
        if own.format == "coo":
            own.coords = _alike(own.coords)
            _check_coo(own)
        else:
            own.indptr, own.indices = _alike((own.indptr, own.indices))
            if np.any(own.indptr[1:] < own.indptr[:-1]):  # a difference may overflow
                raise ValueError("indptr must be a non-decreasing sequence")
            own.check_format(full_check=True)
        kind = "array" if isinstance(matrix, sp.sparray) else "matrix"
        return getattr(sp, f"{own.format}_{kind}")(own)  # it has not looked at its order yet
    except (AttributeError, IndexError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(
            f"{name} is a damaged {matrix.format} matrix: {error}. Pass one as scipy.sparse makes "
            f"it, such as csr_array((values, (rows, columns)), shape=(n_samples, n_labels))."
        ) from error


def _compressed_or_coo(matrix: Any) -> Any:
    """An object of its own with the arrays of `matrix`; CSR for DIA, DOK and LIL."""
    _check_integers(set(map(type, matrix.shape)))
    if max(matrix.shape) > _INT64.max:
        raise ValueError("it is longer than an int64 counts")
    if matrix.format in ("csr", "csc", "bsr", "coo"):
        return copy(matrix)
    if matrix.format == "lil":
        _check_lil(matrix)
    elif matrix.format == "dok":
        _check_dok(matrix)
    else:  # the constructor compares offsets and diagonals
        _check_unmasked(matrix.data, "values")
        (offsets,) = _alike((matrix.offsets,))
        data = np.asarray(matrix.data)
        data = data.astype(native(data.dtype), copy=False)
        matrix = type(matrix)((data, offsets), shape=matrix.shape)
    return matrix.tocsr()


def _check_lil(matrix: Any) -> None:
    """Raise for what tocsr takes for something else."""
    if {np.shape(matrix.rows), np.shape(matrix.data)} != {matrix.shape[:1]}:
        raise ValueError("it has not one list of columns and one of values a row")
    if [*map(len, matrix.rows)] != [*map(len, matrix.data)]:
        raise ValueError("a row has more columns than values, or fewer")
    _check_integers({type(column) for row in matrix.rows for column in row})


def _check_dok(matrix: Any) -> None:
    """Raise for what tocsr takes for something else."""
    places = [(p,) if matrix.ndim == 1 else p for p in matrix.keys()]  # noqa: SIM118
    if any(len(place) != matrix.ndim for place in places):
        raise ValueError("an entry has not one row and one column")
    _check_integers({type(index) for place in places for index in place})


def _check_integers(kinds: set[type]) -> None:
    if wrong := [kind for kind in kinds if not issubclass(kind, Integral)]:
        raise ValueError(f"it has an index of type {wrong[0].__name__}, which is no integer")


def native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which SciPy computes; it has no big-endian numbers, and no float16."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype.newbyteorder("=")


def _alike(arrays: tuple[Any, ...]) -> tuple[NDArray[Any], ...]:
    """Index arrays, all int32 or all int64; the longest one stays as it is if it can."""
    for array in arrays:
        _check_unmasked(array, "indices")
    arrays = tuple(map(np.asarray, arrays))
    if wrong := [array.dtype for array in arrays if array.dtype.kind not in "iu"]:
        raise ValueError(f"its indices have the dtype {wrong[0]}, which is no integer")
    if any(array.size and array.max() > _INT64.max for array in arrays):
        raise ValueError("it has an index that no int64 holds")
    longest = max(arrays, key=len).dtype
    dtype = longest if longest in (np.int32, np.int64) else np.dtype(np.int32)
    if not all(array.dtype == dtype or dtype == np.int64 or _fits(array) for array in arrays):
        dtype = np.dtype(np.int64)
    return tuple(array.astype(dtype, copy=False) for array in arrays)


def _check_unmasked(array: Any, what: str) -> None:
    if np.ma.is_masked(array):
        raise ValueError(f"its {what} are masked, and numpy reads what is behind a mask")


def _fits(array: NDArray[Any]) -> bool:
    """Whether int32 can hold the entries."""
    return len(array) == 0 or (array.min() >= _INT32.min and array.max() <= _INT32.max)


def _check_coo(matrix: Any) -> None:
    """Raise for coordinates outside the matrix."""
    if {array.shape for array in (*matrix.coords, matrix.data)} != {matrix.data.shape[:1]}:
        raise ValueError("its rows, columns and values have different lengths")
    for axis, (indices, length) in enumerate(zip(matrix.coords, matrix.shape, strict=True)):
        if len(indices) and not 0 <= indices.min() <= indices.max() < length:
            what = ("row", "column")[axis]
            raise ValueError(
                f"it has the {what} {indices.max() if indices.min() >= 0 else indices.min()}, but "
                f"{length} {what}s"
            )


# -------------------------------------------------------------------------------------- DataFrames
def is_frame(value: Any) -> bool:
    """Whether `value` is a DataFrame of pandas or polars, or has their interface."""
    return hasattr(value, "columns") and (hasattr(value, "items") or hasattr(value, "iter_columns"))


def is_sparse_frame(frame: Any) -> bool:
    """Whether every column of a DataFrame stores only what is not 0."""
    return all(map(_is_sparse, frame.dtypes))


def frame_to_csr(frame: Any, name: str) -> sp.csr_array:
    """The entries of a DataFrame that are stored or not 0, a column at a time.

    The dtype is the one that all columns have in common. Indices are sorted.
    """
    # bytes grow in place: a list of arrays would take more than their entries
    rows, values, indptr, dtypes = bytearray(), bytearray(), [0], {np.dtype(bool)}
    for label, column in _columns(frame):
        places, entries = _column_entries(column, label, name)
        dtypes.add(entries.dtype)
        rows += places.astype(np.int32).tobytes()
        values += entries.astype(np.float64).tobytes()
        indptr.append(indptr[-1] + len(places))
    data = np.frombuffer(values)
    if np.abs(data).max(initial=0) < 2**53:  # larger integers were rounded, and may overflow
        data = data.astype(native(np.result_type(*dtypes)))
    arrays = (data, np.frombuffer(rows, np.int32), indptr)
    return sp.csc_array(arrays, shape=(len(frame), len(indptr) - 1)).tocsr()


def frame_to_array(frame: Any, name: str) -> NDArray[Any]:
    """All entries of a DataFrame that has a column."""
    return np.column_stack([_numbers(column, label, name) for label, column in _columns(frame)])


def _columns(frame: Any) -> Iterator[tuple[Any, Any]]:
    """Names and columns, by place: a name may be there twice."""
    if hasattr(frame, "iter_columns"):  # polars
        return zip(frame.columns, frame.iter_columns(), strict=True)
    return iter(frame.items())


def _is_sparse(dtype: Any) -> bool:
    """Whether it is a dtype of pandas' sparse columns of numbers that leave out 0."""
    fill_value = getattr(dtype, "fill_value", None)
    return not is_missing(fill_value) and fill_value == 0 and dtype.subtype.kind in "biuf"


def _column_entries(column: Any, label: Any, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """The rows of a column's entries, ascending, and their values."""
    if not _is_sparse(column.dtype):
        values = _numbers(column, label, name)
        rows = np.flatnonzero(values)
        return rows, values[rows]
    rows = column.array.sp_index.to_int_index().indices
    values = column.array.sp_values
    if np.isnan(values).any():
        _numbers(column, label, name)  # which names the row
    return rows, values


def _numbers(column: Any, label: Any, name: str) -> NDArray[Any]:
    """A column's values; an error for one that is missing or no number."""
    values = np.asarray(column)
    is_object = values.dtype == object
    is_bad = np.isnan(values) if values.dtype.kind == "f" else np.zeros(0, bool)
    if is_object:
        is_bad = np.fromiter(map(is_missing, values), bool, len(values))
    if is_bad.any():
        row = is_bad.argmax()
        raise ValueError(
            f"{name} holds {values[row]} in column {label!r}, row {row}. Pass a number everywhere, "
            f"0 for none."
        )
    if is_object and not any(isinstance(value, str | bytes) for value in values):
        with suppress(TypeError, ValueError):
            values = values.astype(np.float64)
    if values.dtype.kind not in "biuf":
        raise TypeError(
            f"{name} has dtype {values.dtype} in column {label!r}. Pass 0 and 1, or relevances in "
            f"(0, 1]."
        )
    return values
