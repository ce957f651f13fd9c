"""The k best labels of each row, of sparse or dense scores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from ._checks import Matrix, check_scores
from ._pairs import contains, excluded_pairs

_BLOCK_CELLS = 1 << 22  # scores ranked together: bounds the working memory to some 100 MB


def top_k_scores(
    Y_score: Matrix, k: int, exclude: Matrix | None = None
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Columns and scores of each row's best labels, as `_estimators.predict_top_k` gives them."""
    all_scores: Any = check_scores(Y_score, np.shape(Y_score))
    n_samples, n_labels = all_scores.shape
    labels = np.full((n_samples, min(k, n_labels)), -1, dtype=np.int64)
    scores = np.full(labels.shape, -np.inf)
    for rows, best in best_labels(all_scores, excluded_pairs(exclude, all_scores.shape), k):
        width = best.shape[1]
        labels[rows, :width] = best
        values = all_scores[rows[:, None], best.clip(min=0)]
        values = values.toarray() if sp.issparse(values) else values
        scores[rows, :width] = np.where(best >= 0, values, -np.inf)
    return labels, scores


def top_k_matrix(
    labels: NDArray[np.int64],  # (n_samples, k), -1: no label
    scores: NDArray[Any],  # (n_samples, k)
    n_labels: int,
) -> sp.csr_array:
    """The result of `predict_top_k` as CSR, (n_samples, n_labels)."""
    is_label = labels >= 0
    indptr = np.concatenate([[0], np.cumsum(is_label.sum(axis=1))])
    matrix = sp.csr_array(
        (scores[is_label], labels[is_label], indptr), shape=(len(labels), n_labels)
    )
    matrix.sort_indices()
    return matrix


def best_labels(
    scores: sp.csr_array | np.ndarray,  # (n_samples, n_labels)
    excluded: np.ndarray,  # pairs
    k: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of rows with their best labels, (n_rows,) and (n_rows, <= k); -1: no label."""
    if sp.issparse(scores):
        return _best_of_sparse(scores, excluded, k)
    return _best_of_dense(scores, excluded, k)


def _best_of_dense(
    scores: np.ndarray, excluded: np.ndarray, k: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`best_labels` of a dense array."""
    n_samples, n_labels = scores.shape
    dtype = scores.dtype if scores.dtype.kind == "f" else np.float64
    step = max(1, _BLOCK_CELLS // max(1, n_labels))
    for start in range(0, n_samples, step):
        block = np.array(scores[start : start + step], dtype=dtype)  # a copy: it is changed below
        first, last = np.searchsorted(excluded, [start * n_labels, (start + step) * n_labels])
        np.put(block, excluded[first:last] - start * n_labels, -np.inf)
        rows = np.arange(start, start + len(block))
        _check_nan(block, rows)
        yield rows, _best_columns(block, k)


def _best_of_sparse(
    scores: sp.csr_array, excluded: np.ndarray, k: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`best_labels` of the stored entries; rows without entries are left out."""
    lengths = np.diff(scores.indptr)
    longest_first = np.argsort(-lengths, kind="stable")  # similar ones share a block
    start = 0
    while start < len(lengths) and (width := int(lengths[longest_first[start]])) > 0:
        rows = longest_first[start : start + max(1, _BLOCK_CELLS // width)]
        start += len(rows)
        block = scores[rows]  # a copy: merging leaves the caller's arrays alone
        block.sum_duplicates()
        block_lengths = np.diff(block.indptr)
        values = block.data
        if len(excluded):
            pairs = np.repeat(rows, block_lengths) * scores.shape[1] + block.indices
            values = np.where(contains(excluded, pairs), -np.inf, values)
        padded = _padded(values, block_lengths, -np.inf)
        _check_nan(padded, rows)
        columns = _best_columns(padded, k)
        at = np.where(columns >= 0, block.indptr[:-1, None] + columns, 0)
        yield rows, np.where(columns >= 0, block.indices[at].astype(np.int64), -1)


def _padded(
    values: np.ndarray,  # (lengths.sum(),) row after row
    lengths: np.ndarray,  # (n_rows,)
    fill: float,
) -> np.ndarray:
    """Ragged rows as an array of shape (n_rows, lengths.max())."""
    padded = np.full((len(lengths), lengths.max(initial=0)), fill, dtype=values.dtype)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = values
    return padded


def _best_columns(
    scores: np.ndarray,  # (n_rows, n_columns); -inf: not a candidate
    k: int,
) -> np.ndarray:
    """Columns of each row's k best scores, best first, lower column first if equal; -1: none."""
    n_columns = scores.shape[1]
    is_candidate = scores > -np.inf
    if k < n_columns:  # sort only what reaches the k-th best score: with ties, more than k
        kth_best = np.partition(scores, n_columns - k, axis=1)[:, n_columns - k]
        is_candidate &= scores >= kth_best[:, None]
    n_candidates = is_candidate.sum(axis=1)
    columns = _padded(np.nonzero(is_candidate)[1], n_candidates, -1)
    candidates = _padded(scores[is_candidate], n_candidates, -np.inf)
    # stable: candidates are in order of column, and equal ones stay so
    order = np.argsort(-candidates, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(columns, order, axis=1)


def _check_nan(scores: np.ndarray, rows: np.ndarray) -> None:
    """Raise where a score is NaN; `rows` are the block's row ids."""
    is_bad = np.isnan(scores).any(axis=1)
    if is_bad.any():
        raise ValueError(
            f"Y_score holds nan in row {rows[is_bad].min()}. Pass numbers; -inf, or an entry left "
            f"out of a sparse matrix, for a label that is not predicted."
        )
