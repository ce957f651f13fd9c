"""What the ranking metrics and the displays take: matrices, cuts, propensities and weights."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

from skxc._validation import (
    addable,
    as_numbers,
    csr_with_duplicates,
    frame_to_array,
    frame_to_csr,
    is_frame,
    is_number,
    is_sparse_frame,
    native,
    refuse_masked,
    short,
    sound_sparse,
)

Matrix: TypeAlias = sp.sparray | sp.spmatrix | ArrayLike  # (n_samples, n_labels)


_LEAST_PROPENSITY = 1e-100
# what makes a matrix of lists of label ids
_FROM_LISTS = (
    "MultiLabelBinarizer(classes=range(n_labels), sparse_output=True).fit_transform(lists)"
)


def check_matrix(matrix: Matrix, name: str) -> Any:
    """A sparse matrix, its arrays checked, or an array; two-dimensional and of real numbers."""
    if is_frame(matrix):
        matrix = frame_to_csr(matrix, name)
    refuse_masked(matrix, name)
    checked: Any = sound_sparse(matrix, name) if sp.issparse(matrix) else _array(matrix)
    if len(checked.shape) != 2 or checked.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} has shape {checked.shape} and dtype {checked.dtype}. Pass a sparse matrix or "
            f"an array of real numbers of shape (n_samples, n_labels). Of lists of label ids, "
            f"{_FROM_LISTS} makes one; of lists of the best labels, the example in the "
            f"documentation of ranking_metrics does."
        )
    if checked.shape[0] == 0:
        raise ValueError(f"{name} has shape {checked.shape}. Pass at least one row.")
    return checked.astype(native(checked.dtype), copy=False)


def _array(matrix: Any) -> np.ndarray:
    """`matrix` as an array; 1-d and of objects where it holds lists of several lengths."""
    try:
        return np.asarray(matrix)
    except ValueError:
        return np.empty(len(matrix), dtype=object)


def _is_list(matrix: Any) -> bool:
    """Whether numpy would make an array of something that is none, such as a list of lists."""
    return not (sp.issparse(matrix) or is_frame(matrix) or hasattr(matrix, "__array__"))


def check_labels(matrix: Matrix, name: str) -> Any:
    """`check_matrix` of truth or of a mask, in which label ids are not taken for relevances."""
    checked = check_matrix(matrix, name)
    largest = (checked.data if sp.issparse(checked) else checked).max(initial=0)
    is_integer = checked.dtype.kind in "iu" or (is_frame(matrix) and largest >= 2**53)
    if largest > 1 and (_is_list(matrix) or (is_integer and not sp.issparse(matrix))):
        raise ValueError(
            f"{name} holds {largest}: a label id? Pass 0 and 1, a column per label. Of lists "
            f"of label ids, {_FROM_LISTS} makes such a matrix; of counts or grades, Y > 0."
        )
    return checked


def refuse_integer_lists(matrix: Matrix, name: str) -> None:
    """Raise for lists of lists of integers: they may be label ids, whatever their values."""
    if _is_list(matrix) and _array(matrix).dtype.kind in "iu":
        raise ValueError(
            f"{name} is {short(matrix)}: a matrix, or lists of label ids? Pass a matrix as "
            f"np.asarray({name}). Of lists of label ids, {_FROM_LISTS} makes one; of lists of the "
            f"best labels, the example in the documentation of ranking_metrics does."
        )


def check_same_shape(shape: tuple[int, int], name: str, expected: tuple[int, int]) -> None:
    """Raise unless a matrix has the shape of the truth."""
    if tuple(shape) != tuple(expected):
        raise ValueError(
            f"{name} has shape {tuple(shape)}, but Y_true has shape {tuple(expected)}. "
            f"Pass the same rows and label columns in both."
        )


def check_scores(
    Y_score: Matrix, shape: tuple[int, int], name: str = "Y_score"
) -> sp.csr_array | np.ndarray:
    """Scores as CSR (sharing the caller's arrays where they are CSR) or as a dense array."""
    refuse_integer_lists(Y_score, name)
    if is_frame(Y_score) and not is_sparse_frame(Y_score):
        Y_score = frame_to_array(Y_score, name)  # where 0 is a score, too
    scores = check_matrix(Y_score, name)
    check_same_shape(scores.shape, name, shape)
    if not sp.issparse(scores):
        return scores
    dtype = None if scores.dtype.kind == "f" else np.float64  # sums of small integers overflow
    return csr_with_duplicates(scores, dtype, copy=False)


def check_ks(ks: Iterable[int]) -> tuple[int, ...]:
    """The cuts as a tuple of int."""
    checked = tuple(ks) if isinstance(ks, Iterable) else (ks,)
    for k in checked:
        if not is_number(k, Integral) or k < 1:
            raise ValueError(f"k is {k!r}. Pass a positive integer, such as 5.")
    if not checked:
        raise ValueError("ks is empty. Pass positive integers, such as (1, 3, 5).")
    return tuple(int(k) for k in checked)


def check_propensities(propensities: ArrayLike, n_labels: int) -> np.ndarray:
    """Propensities as float64."""
    accepted = "one propensity in (0, 1] per label"
    checked = as_numbers(propensities, "propensities", accepted)
    if checked.shape != (n_labels,):
        raise ValueError(
            f"propensities has shape {checked.shape}, but Y_true has {n_labels} columns. Pass one "
            f"propensity per label, shape ({n_labels},)."
        )
    is_bad = ~((checked > 0) & (checked <= 1))
    if is_bad.any():
        raise ValueError(
            f"propensities holds {checked[is_bad][0]:g}. Pass numbers in (0, 1]; if yours are "
            f"inverse propensities, pass 1 / them."
        )
    if checked.min(initial=1) < _LEAST_PROPENSITY:
        raise ValueError(
            f"propensities holds {checked.min():g}, whose inverse is too large to add up. Pass at "
            f"least {_LEAST_PROPENSITY:g}."
        )
    return checked


def check_sample_weight(sample_weight: ArrayLike | None, n_samples: int) -> np.ndarray:
    """Row weights as float64, ones for None."""
    if sample_weight is None:
        return np.ones(n_samples)
    weights = as_numbers(sample_weight, "sample_weight", "one weight per row")
    if weights.shape != (n_samples,):
        raise ValueError(
            f"sample_weight has shape {weights.shape}, but Y_true has {n_samples} rows. Pass one "
            f"weight per row, shape ({n_samples},)."
        )
    is_bad = ~((weights >= 0) & (weights < np.inf))
    if is_bad.any():
        raise ValueError(
            f"sample_weight holds {weights[is_bad][0]:g}. Pass finite weights of at least 0."
        )
    if not weights.any():
        raise ValueError("sample_weight sums to 0. Give at least one row a positive weight.")
    return addable(weights)
