"""Sets of (row, label) pairs, each pair one integer: row * n_labels + label, sorted.

A pair takes 8 bytes, and membership is a binary search.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from ._checks import Matrix, check_matrix, check_same_shape


def label_pairs(matrix: Matrix, name: str) -> tuple[np.ndarray, tuple[int, int]]:
    """Positions of the entries above 0, sorted row * n_labels + label (int64), and the shape."""
    entries = sp.coo_array(check_matrix(matrix, name))
    is_bad = ~(entries.data >= 0)  # also NaN
    if is_bad.any():
        raise ValueError(
            f"{name} holds {entries.data[is_bad][0]}. Pass 0 for no, and 1 (or another positive "
            f"number) for yes."
        )
    is_positive = entries.data > 0
    rows, labels = entries.row[is_positive], entries.col[is_positive]
    pairs = rows.astype(np.int64) * entries.shape[1] + labels
    # not np.unique, which hashes: it took 6 s for 5 million pairs, which CSR has in order
    pairs.sort(kind="stable")
    return pairs[np.diff(pairs, prepend=-1) > 0], entries.shape


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
