"""Everything that users pass in is checked here, before anything is computed."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets

TargetKind = Literal["sparse", "dense", "classes"]


# ------------------------------------------------------------------------------------ parameters
def check_choice(name: str, value: object, accepted: Sequence[object]) -> None:
    """Raise unless `value` is one of `accepted`; grids of arrays hold NumPy scalars."""
    plain = value.item() if isinstance(value, np.bool_ | np.str_) else value
    if not any(type(plain) is type(a) and plain == a for a in accepted):
        options = ", ".join(map(repr, accepted))
        raise ValueError(f"{name}={value!r} is unknown. Pass one of {options}.")


def check_integer(name: str, value: object, low: int) -> None:
    """Raise unless `value` is an integer of at least `low`."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer of at least {low}, got {value!r}.")
    if value < low:
        raise ValueError(f"{name}={value} is too small. Pass an integer of at least {low}.")


def check_real(
    name: str, value: object, low: float = 0.0, high: float = math.inf, ends: str = "[]"
) -> None:
    """Raise unless `value` is a number between `low` and `high`; `ends` says which are included."""
    number: Any = value
    interval = f"{ends[0]}{low:g}, {high:g}{ends[1] if high < math.inf else ')'}"
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number in {interval}, got {value!r}.")
    above = number >= low if ends[0] == "[" else number > low
    below = number <= high if ends[1] == "]" else number < high
    if not (above and below and math.isfinite(number)):
        raise ValueError(f"{name}={value} is out of range. Pass a number in {interval}.")


def check_threshold(threshold: Any, n_labels: int | None = None) -> Any:
    """`threshold`, a number in [0, 1] or, as a float64 array, one for each label."""
    try:
        thresholds = np.asarray(threshold)
        if thresholds.dtype.kind in "SU" and thresholds.ndim:
            raise TypeError
        thresholds = thresholds.astype(np.float64)
    except (TypeError, ValueError):
        thresholds = np.empty(0)
    if thresholds.ndim == 0 or isinstance(threshold, str):
        check_real("threshold", threshold, high=1)
        return threshold
    if thresholds.ndim != 1 or not len(thresholds):
        raise TypeError(
            f"threshold is {_short(threshold)}. Pass a number in [0, 1], or a 1-d array of one "
            f"such number per label."
        )
    is_bad = ~((thresholds >= 0) & (thresholds <= 1))
    if is_bad.any():
        raise ValueError(
            f"threshold[{is_bad.argmax()}]={thresholds[is_bad][0]} is out of range. Pass numbers "
            f"in [0, 1]."
        )
    if n_labels is not None and len(thresholds) != n_labels:
        raise ValueError(
            f"threshold has {len(thresholds)} entries, but the model has {n_labels} labels. Pass "
            f"one number per label, in the order of classes_, or one for all."
        )
    return thresholds


def resolve_device(device: Any) -> Any:
    """The torch device that `device` names; "auto" is CUDA where there is one."""
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.zeros(1, device=resolved).item()  # "meta" would pass without
    except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device={device!r} is not available here ({str(error).splitlines()[0]}). "
            f"Pass 'auto', 'cpu' or a device that this torch build sees, such as 'cuda:0'."
        ) from error
    return resolved


# ------------------------------------------------------------------------------------------ texts
def check_texts(X: Any, name: str = "X") -> list[str]:
    """The texts of a list, tuple, 1-d or (n, 1) array, or Series of str."""
    if isinstance(X, str | bytes):
        raise ValueError(
            f"{name} is a single {type(X).__name__}, {_short(X)}. "
            f"Pass a list of texts; for one text: [{name}]."
        )
    if isinstance(X, dict | set | frozenset) or sp.issparse(X):
        raise TypeError(
            f"{name} is a {type(X).__name__}. Pass a list, tuple, 1-d array or Series of str."
        )
    if not isinstance(X, list | tuple):
        X = _as_column(X, name)
    texts = list(X)
    if not texts:
        raise ValueError(f"{name} holds 0 texts. Pass at least one.")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise _not_a_text(name, position, text)
    return texts


def _as_column(X: Any, name: str) -> list[Any]:
    """The entries of an array-like with one column."""
    if not hasattr(X, "__array__") and not hasattr(X, "__iter__"):
        raise TypeError(
            f"{name} is {X!r}. Pass a list, tuple, 1-d array or Series of str, one text a row."
        )
    if isinstance(X, Iterator):
        raise TypeError(f"{name} is a {type(X).__name__}, read once only. Pass list({name}).")
    array = np.asarray(X, dtype=object)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(
            f"{name} has shape {array.shape}. Pass texts as a 1-d sequence of str, or one column."
        )
    return array.tolist()


def _not_a_text(name: str, position: int, text: Any) -> Exception:
    what = f"{name}[{position}] is {_short(text)} of type {type(text).__name__}, not a str."
    if isinstance(text, bytes):
        return TypeError(f"{what} Decode the bytes first, such as with text.decode('utf-8').")
    if _is_missing(text):
        return ValueError(f"{what} Fill missing texts, such as with '', or drop the rows.")
    return TypeError(f"{what} Pass one str a row.")


def _is_missing(value: Any) -> bool:
    """Whether `value` is None, NaN or pandas' NA."""
    is_nan = isinstance(value, Real) and math.isnan(value)
    return value is None or is_nan or type(value).__name__ == "NAType"


def check_label_texts(label_texts: Any, n_labels: int) -> list[str] | None:
    """The texts of the labels, in the order of Y's columns."""
    if label_texts is None:
        return None
    texts = check_texts(label_texts, "label_texts")
    if len(texts) != n_labels:
        raise ValueError(
            f"label_texts has {len(texts)} entries, but Y has {n_labels} labels. "
            f"Pass one text per column of Y, in the columns' order."
        )
    return texts


# ----------------------------------------------------------------------------------------- labels
@dataclass(frozen=True)
class Target:
    """What `fit` was given as y, in one form."""

    Y: sp.csr_array  # (n_samples, n_labels) float32 in (0, 1], canonical; never the caller's own
    classes: NDArray[Any]  # (n_labels,)
    kind: TargetKind  # the container that predictions mirror
    dtype: np.dtype[Any]  # of `predict`


def check_target(y: Any, n_samples: int, classes: NDArray[Any] | None = None) -> Target:
    """Labels in any accepted container as a sparse matrix; `classes` fixes its columns."""
    if y is None:
        raise ValueError(
            "This estimator requires y to be passed, but the target y is None. "
            "Pass a (n_samples, n_labels) sparse or 0/1 matrix, label lists, or 1-d classes."
        )
    if sp.issparse(y):
        target = _matrix_target(y, "sparse", classes)
    elif hasattr(y, "columns") and getattr(y, "shape", (0, 0))[1] != 1:
        target = _frame_target(y, classes)
    else:
        target = _array_target(y, classes)
    if target.Y.shape[0] != n_samples:
        raise ValueError(
            f"Y has {target.Y.shape[0]} rows, but X has {n_samples} texts. Pass one row per text."
        )
    return target


def _frame_target(frame: Any, classes: NDArray[Any] | None) -> Target:
    """A DataFrame's indicator; where columns and `classes` have names, matched by name."""
    matrix, names = np.asarray(frame), np.asarray(frame.columns)
    if classes is not None and not (is_nameless(names) or is_nameless(classes)):
        matrix = matrix[:, np.argsort(_columns_of(names, classes))]
    return _matrix_target(matrix, "dense", names if classes is None else classes)


def is_nameless(classes: NDArray[Any]) -> bool:
    """Whether labels are but the numbers of Y's columns."""
    return np.array_equal(classes, np.arange(len(classes)))


def _array_target(y: Any, classes: NDArray[Any] | None) -> Target:
    """Lists, arrays and Series: an indicator, label lists or 1-d classes."""
    if isinstance(y, str | bytes) or not (hasattr(y, "__array__") or isinstance(y, list | tuple)):
        raise TypeError(
            f"Y is {_short(y)} of type {type(y).__name__}. Pass a (n_samples, n_labels) sparse or "
            f"0/1 matrix, a list of label lists, or a 1-d array of classes."
        )
    if _is_label_lists(y):
        return _label_lists_target(y, classes)
    array = np.asarray(y)
    if array.ndim == 2 and array.shape[1] == 1:
        warnings.warn(
            f"A column-vector y was passed when a 1d array was expected: y of shape {array.shape} "
            f"is read as {len(array)} classes. Pass y.ravel() for classes, or a sparse matrix for "
            f"one label.",
            DataConversionWarning,
            stacklevel=callers_stack_level(),
        )
        array = array[:, 0]
    if array.ndim == 1:
        return _classes_target(array, classes)
    return _matrix_target(array, "dense", classes)


def _is_label_lists(y: Any) -> bool:
    """Whether the rows are collections of labels, not a rectangle of 0 and 1."""
    rows = y if isinstance(y, list | tuple) else np.asarray(y)
    if isinstance(rows, np.ndarray) and (rows.ndim != 1 or rows.dtype != object):
        return False
    if any(isinstance(row, set | frozenset) for row in rows):
        return True
    if not any(isinstance(row, list | tuple | np.ndarray) for row in rows):
        return False
    lengths = {len(row) if hasattr(row, "__len__") else -1 for row in rows}
    if len(lengths) > 1 or lengths <= {0, 1}:
        return True
    return not all(label in (0, 1) for row in rows for label in row)


def _label_lists_target(y: Any, classes: NDArray[Any] | None) -> Target:
    for position, row in enumerate(y):
        if isinstance(row, str | bytes) or not isinstance(row, Collection | np.ndarray):
            raise TypeError(
                f"Y[{position}] is {_short(row)} of type {type(row).__name__}, but other rows are "
                f"lists of labels. Pass a list of labels for every text; [] for none."
            )
    lengths = np.array([len(row) for row in y])
    flat = [label for row in y for label in row]
    if classes is None and not flat:
        raise ValueError("Y names 0 labels: every list is empty. Pass at least one label.")
    try:
        unique = set(flat)
        if any(_is_missing(label) or _is_fraction(label) for label in unique):
            raise _not_a_label(y)
        found = sorted(unique)
    except TypeError as error:
        raise TypeError(
            f"Y's labels cannot be sorted ({error}). Pass labels of one type."
        ) from None
    # names as objects: in a str array each would take the longest one's bytes
    has_names = any(isinstance(label, str) for label in found)
    fixed = np.array(found, dtype=object if has_names else None) if classes is None else classes
    place = {label: column for column, label in enumerate(fixed.tolist())}
    try:
        columns = np.fromiter(map(place.__getitem__, flat), np.int64, len(flat))
    except KeyError as error:
        raise _unknown_label(error.args[0], len(fixed)) from None
    pairs = (np.repeat(np.arange(len(y)), lengths), columns)
    Y = sp.csr_array((np.ones(len(flat), np.float32), pairs), shape=(len(y), len(fixed)))
    Y.data[:] = 1.0  # a label named twice in a row counts once
    return Target(Y, fixed, "sparse", np.dtype(np.int64))


def _is_fraction(label: Any) -> bool:
    return isinstance(label, float | np.floating) and not float(label).is_integer()


def _not_a_label(y: Any) -> ValueError:
    """The error for the first label that is missing or a fraction."""
    position, label = next(
        (i, label) for i, row in enumerate(y) for label in row
        if _is_missing(label) or _is_fraction(label)
    )  # fmt: skip
    what = f"Y[{position}] holds {label}. Pass names or ids of labels"
    if _is_missing(label):
        return ValueError(f"{what}; [] for none.")
    return ValueError(f"{what}; for relevances, an array or sparse matrix.")


def _classes_target(array: NDArray[Any], classes: NDArray[Any] | None) -> Target:
    """1-d classes: one label a text."""
    array = column_or_1d(array)
    if array.dtype.kind == "f":
        _check_finite(array)
    if array.dtype == object and any(map(_is_missing, array)):
        position = next(i for i, label in enumerate(array) if _is_missing(label))
        raise ValueError(f"y[{position}] is {array[position]}. Pass a class for every text.")
    if classes is None:
        check_classification_targets(array)
    fixed = np.unique(array) if classes is None else classes
    columns = _columns_of(array, fixed)
    indptr = np.arange(len(array) + 1)
    Y = sp.csr_array(
        (np.ones(len(array), np.float32), columns, indptr), shape=(len(array), len(fixed))
    )
    return Target(Y, fixed, "classes", fixed.dtype)


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
    _merge_duplicates(Y)
    fixed = np.arange(Y.shape[1]) if classes is None else classes
    if len(fixed) != Y.shape[1]:
        raise ValueError(
            f"Y has {Y.shape[1]} columns, but the model knows {len(fixed)} labels. "
            f"Pass Y with the columns of the Y given to fit."
        )
    dtype = matrix.dtype if matrix.dtype.kind in "biu" else np.dtype(np.int64)
    return Target(Y, fixed, kind, dtype)


def _own_csr(matrix: Any) -> sp.csr_array:
    """A float32 copy, with the duplicates that `matrix` stores."""
    wrong_dtype = f"Y has dtype {matrix.dtype}. Pass 0 and 1, or relevances in (0, 1]."
    if matrix.dtype == object and not sp.issparse(matrix):  # a DataFrame of bool and int columns
        try:
            return sp.csr_array(matrix.astype(np.float32))
        except (TypeError, ValueError):
            raise TypeError(wrong_dtype) from None
    if matrix.dtype.kind not in "biuf":
        raise TypeError(wrong_dtype)
    if getattr(matrix, "format", None) != "coo":
        return sp.csr_array(matrix, dtype=np.float32, copy=True)
    # SciPy would sum a COO matrix's duplicates
    order = np.argsort(matrix.row, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(matrix.row, minlength=matrix.shape[0]))])
    values = matrix.data[order].astype(np.float32)
    return sp.csr_array((values, matrix.col[order], indptr), shape=matrix.shape)


def _merge_duplicates(Y: sp.csr_array) -> None:
    """Keep the largest of the values stored for one (text, label); sorted."""
    Y.sort_indices()
    rows = np.repeat(np.arange(Y.shape[0]), np.diff(Y.indptr))
    is_first = np.ones(Y.nnz, bool)
    is_first[1:] = (rows[1:] != rows[:-1]) | (Y.indices[1:] != Y.indices[:-1])
    if is_first.all():
        return
    starts = np.flatnonzero(is_first)
    Y.data = np.maximum.reduceat(Y.data, starts)
    Y.indices = Y.indices[starts]
    Y.indptr = np.searchsorted(starts, Y.indptr).astype(Y.indptr.dtype)
    Y.has_canonical_format = True


def _columns_of(labels: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.int64]:
    """Each label's place among `classes`, which need not be sorted."""
    order = np.argsort(classes, kind="stable")
    place = np.searchsorted(classes, labels, sorter=order).clip(max=len(classes) - 1)
    columns = order[place]
    if len(labels) and (unknown := classes[columns] != labels).any():
        raise _unknown_label(labels[unknown].tolist()[0], len(classes))
    return columns


def _unknown_label(label: Any, n_classes: int) -> ValueError:
    return ValueError(
        f"Y holds the label {label!r}, which is not among the model's {n_classes} classes. Name "
        f"every label in the first fit, or leave this one out, such as by "
        f"MultiLabelBinarizer(classes=clf.classes_, sparse_output=True)."
    )


def _check_finite(values: NDArray[Any]) -> None:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        what = "NaN" if np.isnan(values).any() else "infinity"
        raise ValueError(f"Input y contains {what}. Pass finite values.")


# ------------------------------------------------------------------------------- weights and masks
def check_sample_weight(sample_weight: Any, n_samples: int) -> NDArray[np.float32] | None:
    """One weight of at least 0 per text, not all of them 0."""
    if sample_weight is None:
        return None
    try:
        weights = np.asarray(sample_weight, dtype=np.float32)
    except (TypeError, ValueError):
        raise ValueError(
            f"sample_weight is {_short(sample_weight)}. Pass one number per text."
        ) from None
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
    return weights


def check_exclude(exclude: Any, shape: tuple[int, int]) -> sp.csr_array | None:
    """A sparse (n_samples, n_labels) mask: stored non-zeros are the pairs to ignore."""
    if exclude is None:
        return None
    if not sp.issparse(exclude):
        raise TypeError(
            f"exclude is a {type(exclude).__name__}. Pass a SciPy sparse (n_samples, n_labels) "
            f"matrix that holds 1 where a label must not be given."
        )
    if exclude.shape != shape:
        raise ValueError(
            f"exclude has shape {exclude.shape}, but there are {shape[0]} texts and {shape[1]} "
            f"labels. Pass a mask of shape {shape}."
        )
    mask = sp.csr_array(exclude, copy=True)
    mask.eliminate_zeros()
    return mask


def callers_stack_level() -> int:
    """The `stacklevel` of a warning that is to point at the line that called into skxc."""
    frame, level = sys._getframe(1), 1
    between = ("skxc.", "sklearn.callback.")  # the latter wraps `fit`
    while frame.f_back is not None and frame.f_globals["__name__"].startswith(between):
        frame, level = frame.f_back, level + 1
    return level


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
