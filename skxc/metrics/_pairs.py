"""Sets of (row, label) pairs, each pair one integer: row * n_labels + label, sorted.

A pair takes 8 bytes, and membership is a binary search.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from ._checks import Matrix, check_labels, check_same_shape


def label_pairs(matrix: Matrix, name: str) -> tuple[np.ndarray, tuple[int, int]]:
    """Positions of the entries above 0, sorted row * n_labels + label (int64), and the shape."""
    checked = check_labels(matrix, name)
    rows, labels, values = _entries(checked)
    is_bad = ~(values >= 0)  # also NaN
    if is_bad.any():
        raise ValueError(
            f"{name} holds {values[is_bad][0]}. Pass 0 for no, and 1 (or another positive "
            f"number) for yes."
        )
    if checked.shape[0] * checked.shape[1] > np.iinfo(np.int64).max:
        raise ValueError(
            f"{name} has shape {checked.shape}, more pairs than int64 can number. Leave out the "
            f"columns that no row uses."
        )
    is_positive = values > 0
    pairs = rows[is_positive].astype(np.int64) * checked.shape[1] + labels[is_positive]
    # not np.unique, which hashes: it took 6 s for 5 million pairs, which CSR has in order
    pairs.sort(kind="stable")
    return pairs[np.diff(pairs, prepend=-1) > 0], checked.shape


def _entries(matrix: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and values of what a matrix stores, or of what is not 0 in an array."""
    if sp.issparse(matrix):
        coo = matrix.tocoo()
        return coo.row, coo.col, coo.data
    rows, labels = np.nonzero(matrix)
    return rows, labels, matrix[rows, labels]


def excluded_pairs(exclude: Matrix | None, shape: tuple[int, int]) -> np.ndarray:
    """The excluded pairs; none of them for None."""
    if exclude is None:
        return np.empty(0, dtype=np.int64)
    pairs, exclude_shape = label_pairs(exclude, "exclude")
    check_same_shape(exclude_shape, "exclude", shape)
    return pairs


def contains(
    pairs: np.ndarray,  # (n_pairs,) sorted
    queries: np.ndarray,  # any shape
) -> np.ndarray:
    """Whether each query is one of `pairs`."""
    if len(pairs) == 0:
        return np.zeros(queries.shape, dtype=bool)
    return pairs[np.minimum(np.searchsorted(pairs, queries), len(pairs) - 1)] == queries
