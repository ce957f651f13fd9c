"""Labels in any container as one sparse matrix; weights of rows; pairs to ignore."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, ValuesView
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from ._arrays import addable, as_numbers, refuse_masked
from ._duplicates import csr_with_duplicates, merge_duplicates
from ._label_lists import TargetKind, is_collection, is_label_lists
from ._label_names import (
    as_classes,
    as_sorted,
    check_distinct,
    check_labels,
    columns_of,
    exact_array,
    is_nameless,
    sorted_labels,
    unknown_label,
    warn_of_joined_names,
)
from ._lazy import LazyColumn, is_lazy, refuse_read_once, unbatched
from ._matrices import frame_to_csr, is_frame, sound_sparse
from ._parameters import callers_stack_level, short
from ._texts import is_missing


@dataclass(frozen=True)
class Target:
    """What `fit` was given as y, in one form."""

    Y: sp.csr_array  # (n_samples, n_labels) float32 in (0, 1], canonical, a copy
    labels: NDArray[Any] | range  # (n_labels,); without names a range, whatever their number
    kind: TargetKind  # the container that predictions mirror
    dtype: np.dtype[Any]  # of `predict`

    @property
    def classes(self) -> NDArray[Any]:
        """The labels as an array, whose memory was checked before."""
        if isinstance(self.labels, range):
            return np.arange(len(self.labels))
        return self.labels


def check_target(
    y: Any,
    n_samples: int,
    classes: NDArray[Any] | None = None,
    kind: TargetKind | None = None,
    *,
    may_be_unknown: bool = False,
) -> Target:
    """Labels in any accepted container as a sparse matrix.

    A fitted model's `classes` fix its columns, and its `kind` how lists are read. Labels that
    `may_be_unknown` get columns after those.
    """
    if y is None:
        raise ValueError(
            "This estimator requires y to be passed, but the target y is None. "
            "Pass a (n_samples, n_labels) sparse or 0/1 matrix, label lists, or 1-d classes."
        )
    refuse_masked(y, "y")
    if is_lazy(y):
        target = _lazy_target(y, classes, kind, may_be_unknown=may_be_unknown)
    elif sp.issparse(y):
        target = _matrix_target(sound_sparse(y, "Y"), "sparse", classes)
    elif hasattr(y, "columns") and getattr(y, "shape", (0, 0))[1] != 1:
        target = _frame_target(y, classes)
    else:
        target = _array_target(y, classes, kind, may_be_unknown=may_be_unknown)
    if target.Y.shape[0] != n_samples:
        raise ValueError(
            f"Y has {target.Y.shape[0]} rows, but X has {n_samples} texts. Pass one row per text."
        )
    return target


def _frame_target(frame: Any, classes: NDArray[Any] | None) -> Target:
    """A DataFrame's indicator; where columns and `classes` have names, matched by name."""
    if not is_frame(frame):
        raise TypeError(
            f"Y is a {type(frame).__name__}. Pass a DataFrame of pandas or polars, or a sparse "
            f"matrix."
        )
    names = exact_array(np.asarray(frame.columns, object))
    check_distinct(names, "Y's columns")
    matrix = frame_to_csr(frame, "Y")
    if classes is not None and _are_matched_by_name(names, classes):
        matrix = matrix[:, np.argsort(columns_of(names, classes))]
    return _matrix_target(matrix, "dense", names if classes is None else classes)


def _are_matched_by_name(names: NDArray[Any], classes: NDArray[Any]) -> bool:
    """By place only where one side has no names but numbers, which are not the other's."""
    both_named = not (is_nameless(names) or is_nameless(classes))
    return both_named or set(names.tolist()) == set(classes.tolist())


def _array_target(
    y: Any,
    classes: NDArray[Any] | None,
    kind: TargetKind | None,
    *,
    may_be_unknown: bool,
) -> Target:
    """Lists, arrays and Series: an indicator, label lists or 1-d classes."""
    if isinstance(y, Iterator | ValuesView):
        raise TypeError(f"Y is a {type(y).__name__}, not a list. Pass list(y).")
    if isinstance(y, str | bytes) or not (hasattr(y, "__array__") or isinstance(y, list | tuple)):
        raise TypeError(
            f"Y is {short(y)} of type {type(y).__name__}. Pass a (n_samples, n_labels) sparse or "
            f"0/1 matrix, a list of label lists, or a 1-d array of classes."
        )
    if is_label_lists(y, kind, None if classes is None else len(classes)):
        return _label_lists_target(y, classes, may_be_unknown=may_be_unknown)
    array = exact_array(y)
    if array.ndim == 2 and array.shape[1] == 1 and kind not in ("sparse", "dense"):
        warnings.warn(
            f"A column-vector y was passed when a 1d array was expected: y of shape {array.shape} "
            f"is read as {len(array)} classes. Pass y.ravel() for classes, or a sparse matrix for "
            f"one label.",
            DataConversionWarning,
            stacklevel=callers_stack_level(),
        )
        array = array[:, 0]
        if is_label_lists(array, kind, None if classes is None else len(classes)):
            return _label_lists_target(array, classes, may_be_unknown=may_be_unknown)
    if array.ndim == 1:
        return _classes_target(array, classes, may_be_unknown=may_be_unknown)
    return _matrix_target(array, "dense", classes)


def _lazy_target(
    y: Any, classes: NDArray[Any] | None, kind: TargetKind | None, *, may_be_unknown: bool
) -> Target:
    """A column of label lists, or of classes, that is read in blocks."""
    refuse_read_once(y)
    y = unbatched(y) if kind == "classes" else y
    first = next(iter(y), None)
    if not is_collection(first):
        return _array_target(list(y), classes, kind, may_be_unknown=may_be_unknown)
    rows = LazyColumn(y, "Y", _check_row)
    target = _label_lists_target(rows, classes, may_be_unknown=may_be_unknown)
    if kind != "lists" and {*target.labels} <= {0, 1} and _are_of_one_length(rows):
        raise ValueError(
            "Y is a column of lists that hold 0 and 1 alone, all of one length: the ids of labels, "
            "or a binary indicator? Pass the names of the labels or, for an indicator, a sparse "
            "matrix."
        )
    return target


def _are_of_one_length(rows: LazyColumn) -> bool:
    """Whether all have the same length, and more than one entry."""
    lengths = set(map(len, rows))
    return len(lengths) == 1 and lengths != {1}


def _label_lists_target(
    y: Any,  # a sequence of rows, or a LazyColumn
    classes: NDArray[Any] | None,
    *,
    may_be_unknown: bool,
) -> Target:
    numbers, lengths, parts = dict[Any, int](), [], []  # labels are numbered as they come
    for block in y.blocks() if isinstance(y, LazyColumn) else [y]:
        if block is y:
            for position, row in enumerate(y):
                _check_row("Y", position, row)
        flat = [label for row in block for label in row]
        check_labels(flat, partial(_place, y))  # before they are hashed
        for label in flat:
            numbers.setdefault(label, len(numbers))
        parts.append(np.fromiter(map(numbers.__getitem__, flat), np.int64, len(flat)))
        lengths.append(np.fromiter(map(len, block), np.int64, len(block)))
    if classes is None and not numbers:
        raise ValueError("Y names 0 labels: every list is empty. Pass at least one label.")
    found = _checked_labels(y, list(numbers))
    fixed = as_classes(found) if classes is None else classes
    if classes is None:
        warn_of_joined_names(fixed)
    place = {label: column for column, label in enumerate(fixed.tolist())}
    if may_be_unknown:
        _check_same_type(found, fixed)
        for label in found:
            place.setdefault(label, len(place))
    try:
        columns = np.fromiter(map(place.__getitem__, numbers), np.int64, len(numbers))
    except KeyError as error:
        raise unknown_label(error.args[0], len(fixed)) from None
    offsets = np.concatenate([[0], *lengths]).cumsum()
    shape = (len(offsets) - 1, len(place))
    width = np.int32 if max(*shape, offsets[-1]) < 1 << 31 else np.int64
    indices = columns.astype(width)[np.concatenate(parts)]
    Y = sp.csr_array((np.ones(len(indices), np.float32), indices, offsets.astype(width)), shape)
    Y.sum_duplicates()
    Y.data[:] = 1.0  # a label named twice in a row counts once
    return Target(Y, fixed, "lists", np.dtype(np.int64))


def _check_row(name: str, position: int, row: Any) -> None:
    if isinstance(row, str | bytes) or not isinstance(row, Collection | np.ndarray):
        raise TypeError(
            f"{name}[{position}] is {short(row)} of type {type(row).__name__}, but other rows are "
            f"lists of labels. Pass a list of labels for every text; [] for none."
        )


def _place(y: Any, label: Any) -> str:
    """Which row holds a label; not the label itself: an array makes new ones every time."""
    kinds = (set(map(type, row)) for row in y)
    position = next(i for i, of_row in enumerate(kinds) if type(label) in of_row)
    return f"Y[{position}] holds"


def _checked_labels(y: Any, flat: list[Any]) -> list[Any]:
    """The distinct labels of the lists `y`, sorted."""
    check_labels(flat, partial(_place, y))
    labels = set(flat)
    if any(isinstance(label, bool | np.bool_) for label in labels):
        raise TypeError(
            "Y's lists hold True or False. Pass names or ids of labels; for an "
            "indicator, np.asarray(y)."
        )
    if any(is_missing(label) or _is_fraction(label) for label in labels):
        raise _not_a_label(y)
    return sorted_labels(labels)


def _is_fraction(label: Any) -> bool:
    return isinstance(label, float | np.floating) and not float(label).is_integer()


def _not_a_label(y: Any) -> ValueError:
    """The error for the first label that is missing or a fraction."""
    position, label = next(
        (i, label) for i, row in enumerate(y) for label in row
        if is_missing(label) or _is_fraction(label)
    )  # fmt: skip
    what = f"Y[{position}] holds {label}. Pass names or ids of labels"
    if is_missing(label):
        return ValueError(f"{what}; [] for none.")
    return ValueError(f"{what}; for relevances, an array or sparse matrix.")


def _classes_target(
    array: NDArray[Any], classes: NDArray[Any] | None, *, may_be_unknown: bool
) -> Target:
    """1-d classes: one label a text."""
    if array.dtype.kind == "c":  # column_or_1d refuses it without a remedy
        check_labels(array.ravel().tolist(), lambda _: "y holds")
    array = column_or_1d(array)
    if array.dtype.kind == "f":
        _check_finite(array)
    if array.dtype == object and any(map(is_missing, array)):
        position = next(i for i, label in enumerate(array) if is_missing(label))
        raise ValueError(f"y[{position}] is {array[position]}. Pass a class for every text.")
    if array.dtype.kind in "OSV":
        check_labels(array.tolist(), lambda _: "y holds")
    if classes is None:
        if array.dtype != object:
            check_classification_targets(array)
        fixed = as_sorted(array)
        warn_of_joined_names(fixed)
    else:
        fixed = classes
    known = fixed
    if may_be_unknown:
        _check_same_type(array.tolist(), fixed)
        known = as_classes([*dict.fromkeys([*fixed.tolist(), *as_sorted(array).tolist()])])
    columns = columns_of(array, known)
    indptr = np.arange(len(array) + 1)
    Y = sp.csr_array(
        (np.ones(len(array), np.float32), columns, indptr), shape=(len(array), len(known))
    )
    return Target(Y, fixed, "classes", fixed.dtype)


def _check_same_type(labels: list[Any], classes: NDArray[Any]) -> None:
    """Raise where names were fitted and numbers come, or the other way round.

    They would all count as labels that the model does not know.
    """
    known = [isinstance(name, str) for name in classes.tolist()]
    if not known or any(known) != all(known):
        return
    for label in labels:
        if isinstance(label, str) != known[0]:
            raise ValueError(
                f"Y holds the label {label!r} of type {type(label).__name__}, but the model was "
                f"fitted on labels such as {classes.tolist()[0]!r} of type "
                f"{type(classes.tolist()[0]).__name__}. Pass labels of that type."
            )


def _matrix_target(
    matrix: Any, kind: Literal["sparse", "dense"], classes: NDArray[Any] | None
) -> Target:
    """An (n_samples, n_labels) matrix of relevances."""
    if len(matrix.shape) != 2 or matrix.shape[1] == 0:
        raise ValueError(
            f"Y has shape {matrix.shape}. Pass a matrix of (n_samples, n_labels) with at least "
            f"one label."
        )
    Y = _own_csr(matrix)
    _check_finite(Y.data)
    Y.eliminate_zeros()
    if Y.nnz and (Y.data.min() < 0 or Y.data.max() > 1):
        bad = Y.data[(Y.data < 0) | (Y.data > 1)][0]
        raise ValueError(
            f"Unknown label type: Y holds {bad:g}. Pass 1 for a label that applies, a relevance "
            f"in (0, 1], or nothing."
        )
    merge_duplicates(Y)
    fixed = range(Y.shape[1]) if classes is None else classes
    if len(fixed) != Y.shape[1]:
        raise ValueError(
            f"Y has {Y.shape[1]} columns, but the model knows {len(fixed)} labels. "
            f"Pass Y with the columns of the Y given to fit."
        )
    dtype = matrix.dtype.newbyteorder("=") if matrix.dtype.kind in "biu" else np.dtype(np.int64)
    return Target(Y, fixed, kind, dtype)


def _own_csr(matrix: Any) -> sp.csr_array:
    """A float32 copy, with the duplicates that `matrix` stores."""
    is_convertible = matrix.dtype.kind in "biuf"
    if matrix.dtype == object and not sp.issparse(matrix):
        with suppress(ValueError):
            matrix, is_convertible = as_numbers(matrix, "Y", "numbers"), True
    if not is_convertible:
        raise TypeError(f"Y has dtype {matrix.dtype}. Pass 0 and 1, or relevances in (0, 1].")
    Y = csr_with_duplicates(matrix, np.float32)
    given = matrix.data if sp.issparse(matrix) else matrix
    if np.count_nonzero(Y.data) < np.count_nonzero(given):
        raise ValueError("Y holds a relevance that float32 rounds to 0. Pass 0 for none.")
    return Y


def _check_finite(values: NDArray[Any]) -> None:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        what = "NaN" if np.isnan(values).any() else "infinity"
        raise ValueError(f"Input y contains {what}. Pass finite values.")


def check_sample_weight(sample_weight: Any, n_samples: int) -> NDArray[np.float64] | None:
    """One weight of at least 0 per text, not all of them 0; their mean is 1.

    The learning rates are made for weights around 1.
    """
    if sample_weight is None:
        return None
    weights = as_numbers(sample_weight, "sample_weight", "one number per text")
    if weights.ndim == 0:
        weights = np.full(n_samples, weights)
    if weights.ndim != 1:
        raise ValueError("Sample weights must be 1D array or scalar: one weight per text.")
    if len(weights) != n_samples:
        raise ValueError(
            f"sample_weight has {len(weights)} entries, but X has {n_samples} texts. "
            f"Pass one weight per text."
        )
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("sample_weight holds negative, NaN or infinite weights. Pass >= 0.")
    if not weights.any():
        raise ValueError("All sample_weight are zero: nothing to fit. Pass a positive weight.")
    weights = addable(weights)
    mean: NDArray[np.float64] = weights / weights.mean()
    return mean


def check_exclude(exclude: Any, shape: tuple[int, int]) -> sp.csr_array | None:
    """A sparse (n_samples, n_labels) mask: stored non-zeros are the pairs to ignore."""
    if exclude is None:
        return None
    if not sp.issparse(exclude):
        raise TypeError(
            f"exclude is a {type(exclude).__name__}. Pass a SciPy sparse (n_samples, n_labels) "
            f"matrix that holds 1 where a label must not be given."
        )
    exclude = sound_sparse(exclude, "exclude")
    if exclude.shape != shape:
        raise ValueError(
            f"exclude has shape {exclude.shape}, but there are {shape[0]} texts and {shape[1]} "
            f"labels. Pass a mask of shape {shape}."
        )
    if exclude.dtype.kind not in "biuf":
        raise TypeError(f"exclude has dtype {exclude.dtype}. Pass 1 (or True) for pairs to ignore.")
    if np.isnan(exclude.data).any():
        raise ValueError("exclude holds nan. Pass 1 (or True) for pairs to ignore.")
    mask = csr_with_duplicates(exclude, bool)  # before a sum overflows
    mask.eliminate_zeros()
    merge_duplicates(mask)
    return mask
