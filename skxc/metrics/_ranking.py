"""Precision, recall and nDCG at k, plain and propensity-scored.

One top-k cut a row (`_rankings`), the gains of its hits summed (`_gains`), then arithmetic. A set
of (row, label) pairs is held as sorted integers, row * n_labels + label: 8 bytes a pair, and
membership is a binary search.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

Matrix: TypeAlias = sp.sparray | sp.spmatrix | ArrayLike  # (n_samples, n_labels)

_BLOCK_CELLS = 1 << 22  # scores ranked together: bounds the working memory to some 100 MB


def ranking_metrics(
    Y_true: Matrix,
    Y_score: Matrix,
    ks: Iterable[int] = (1, 3, 5),
    propensities: ArrayLike | None = None,
    exclude: Matrix | None = None,
    sample_weight: ArrayLike | None = None,
) -> dict[str, float]:
    r"""All ranking metrics of extreme classification [1]_ from one top-k cut.

    Labels are ranked by score; equal scores by label id, lower first. Of the true labels
    :math:`y_i` of row :math:`i`, the ranking :math:`r_i` has found :math:`h_{ij} \in \{0, 1\}` at
    rank :math:`j`. Averaged over all rows,

    .. math:: \mathrm{P@}k = \frac{1}{k} \sum_{j \le k} h_{ij}, \qquad
              \mathrm{R@}k = \frac{1}{|y_i|} \sum_{j \le k} h_{ij}, \qquad
              \mathrm{nDCG@}k = \frac{\sum_{j \le k} h_{ij} / \log_2(j + 1)}
                                     {\sum_{j \le \min(k, |y_i|)} 1 / \log_2(j + 1)}.

    PSP and PSnDCG divide each hit by the label's propensity [2]_, which turns P and nDCG into
    unbiased estimates where labels are missing. Both are divided by what the best ranking (true
    labels first, least propensity first) would score. As in pyxclib and napkinXC, this is one
    quotient of two averages over all rows, not an average of quotients.

    Parameters
    ----------
    Y_true : sparse matrix, sparse array or array-like of shape (n_samples, n_labels)
        True labels: entries greater than 0 (relevances in (0, 1] count fully). A row without
        labels scores 0 and stays in the averages (recall too), as in pyxclib and napkinXC.
    Y_score : sparse matrix, sparse array or array-like of shape (n_samples, n_labels)
        Scores, higher is better. Sparse: the stored entries are the predictions, also a stored 0;
        what is missing is never predicted, so a row may hold fewer than `k`. Dense: every label is
        a prediction. A score of -inf is none in either form. Duplicate entries add up.
    ks : iterable of int, default=(1, 3, 5)
        Where to cut the rankings, each at least 1. A `k` beyond `n_labels` is allowed.
    propensities : array-like of shape (n_labels,), default=None
        Propensities in (0, 1] from the training labels, see :func:`skxc.metrics.propensities`.
        None leaves PSP and PSnDCG out.
    exclude : sparse matrix, sparse array or array-like of shape (n_samples, n_labels), default=None
        Entries greater than 0 are pairs to ignore (the field's "filter" files): neither true nor
        predicted, removed before the cut, so that the next label moves up.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each row, 0 or greater.

    Returns
    -------
    dict of str to float
        ``P@k``, ``nDCG@k`` and ``R@k``, with `propensities` also ``PSP@k`` and ``PSnDCG@k``, for
        each of `ks`. Fractions in [0, 1]; the field prints 100 times these. PSP and PSnDCG are 0
        where no row has a label.

    Raises
    ------
    ValueError
        If shapes differ, `Y_true` or `exclude` holds NaN or a negative number, `Y_score` holds NaN,
        there is no row, or another argument is out of range.

    References
    ----------
    .. [1] K. Bhatia et al. The Extreme Classification Repository: Multi-label Datasets and Code.
       http://manikvarma.org/downloads/XC/XMLRepository.html
    .. [2] H. Jain, Y. Prabhu, M. Varma. Extreme Multi-label Loss Functions for Recommendation,
       Tagging, Ranking & Other Missing Label Applications. KDD 2016.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skxc.metrics import ranking_metrics
    >>> Y_true = csr_array([[1, 1, 0, 0], [0, 0, 1, 0]])
    >>> Y_score = csr_array([[0.9, 0.3, 0.6, 0.0], [0.0, 0.8, 0.7, 0.1]])
    >>> ranking_metrics(Y_true, Y_score, ks=(1, 3), propensities=[1.0, 0.5, 0.5, 0.5])
    {'P@1': 0.5, 'P@3': 0.5, 'nDCG@1': 0.5, 'nDCG@3': 0.77..., 'R@1': 0.25, 'R@3': 1.0,
     'PSP@1': 0.25, 'PSP@3': 1.0, 'PSnDCG@1': 0.25, 'PSnDCG@3': 0.68...}
    """
    ks = _check_ks(ks)
    true_pairs, shape = label_pairs(Y_true, "Y_true")
    scores = _check_scores(Y_score, shape)
    weights = _check_sample_weight(sample_weight, shape[0])
    label_gains = [np.ones(shape[1])]
    if propensities is not None:
        label_gains.append(1.0 / _check_propensities(propensities, shape[1]))
    excluded = _check_exclude(exclude, shape)
    true_pairs = true_pairs[~_contains(excluded, true_pairs)]

    rankings = _rankings(scores, excluded, max(ks))
    gain, dcg = _gains(rankings, true_pairs, label_gains, ks, shape)
    # the best ranking is the cut of the true labels, scored by what each is worth
    best_rankings = _rankings(_true_scores(true_pairs, label_gains[-1], shape), excluded, max(ks))
    best_gain, best_dcg = _gains(best_rankings, true_pairs, label_gains, ks, shape)

    n_true = np.bincount(true_pairs // max(shape[1], 1), minlength=shape[0])
    ideal_dcg = np.where(n_true > 0, best_dcg[0], 1.0)  # 1: no division by 0 in rows without labels

    metrics = _averages("P", ks, gain[0] / np.array(ks)[:, None], weights)
    metrics |= _averages("nDCG", ks, dcg[0] / ideal_dcg, weights)
    metrics |= _averages("R", ks, gain[0] / np.maximum(n_true, 1), weights)
    if propensities is not None:
        metrics |= _averages("PSP", ks, gain[1], weights, best=best_gain[1])
        metrics |= _averages(
            "PSnDCG", ks, dcg[1] / ideal_dcg, weights, best=best_dcg[1] / ideal_dcg
        )
    return metrics


def precision_at_k(
    Y_true: Matrix,
    Y_score: Matrix,
    *,
    k: int = 5,
    exclude: Matrix | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Fraction of true labels among the k best of each row, averaged [1]_.

    A row counts `k` places even where it holds fewer labels or predictions; a row without labels
    scores 0.
    :func:`ranking_metrics` has the formula, the conventions and all metrics at the cost of one.

    Parameters
    ----------
    Y_true : sparse matrix, sparse array or array-like of shape (n_samples, n_labels)
        True labels: entries greater than 0.
    Y_score : sparse matrix, sparse array or array-like of shape (n_samples, n_labels)
        Scores, higher is better. Sparse: only stored entries are predictions. Equal scores rank by
        label id.
    k : int, default=5
        Where to cut the ranking, at least 1.
    exclude : sparse matrix, sparse array or array-like of shape (n_samples, n_labels), default=None
        Entries greater than 0 are pairs to ignore, neither true nor predicted.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each row, 0 or greater.

    Returns
    -------
    float
        P@k in [0, 1].

    Raises
    ------
    ValueError
        If shapes differ or an argument is out of range, as in :func:`ranking_metrics`.

    References
    ----------
    .. [1] K. Bhatia et al. The Extreme Classification Repository: Multi-label Datasets and Code.
       http://manikvarma.org/downloads/XC/XMLRepository.html

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skxc.metrics import precision_at_k
    >>> Y_true = csr_array([[1, 1, 0, 0], [0, 0, 1, 0]])
    >>> Y_score = csr_array([[0.9, 0.3, 0.6, 0.0], [0.0, 0.8, 0.7, 0.1]])
    >>> precision_at_k(Y_true, Y_score, k=2)
    0.5
    """
    return ranking_metrics(Y_true, Y_score, (k,), None, exclude, sample_weight)[f"P@{k}"]


def recall_at_k(
    Y_true: Matrix,
    Y_score: Matrix,
    *,
    k: int = 5,
    exclude: Matrix | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Fraction of each row's true labels among its k best, averaged [1]_.

    A row without labels scores 0 and stays in the average, as in pyxclib and napkinXC. (Codes that
    skip such rows report more, by the quotient of all rows to labelled ones.)
    :func:`ranking_metrics` has the formula, the conventions and all metrics at the cost of one.

    Parameters
    ----------
    Y_true : sparse matrix, sparse array or array-like of shape (n_samples, n_labels)
        True labels: entries greater than 0.
    Y_score : sparse matrix, sparse array or array-like of shape (n_samples, n_labels)
        Scores, higher is better. Sparse: only stored entries are predictions. Equal scores rank by
        label id.
    k : int, default=5
        Where to cut the ranking, at least 1.
    exclude : sparse matrix, sparse array or array-like of shape (n_samples, n_labels), default=None
        Entries greater than 0 are pairs to ignore, neither true nor predicted.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each row, 0 or greater.

    Returns
    -------
    float
        R@k in [0, 1].

    Raises
    ------
    ValueError
        If shapes differ or an argument is out of range, as in :func:`ranking_metrics`.

    References
    ----------
    .. [1] K. Bhatia et al. The Extreme Classification Repository: Multi-label Datasets and Code.
       http://manikvarma.org/downloads/XC/XMLRepository.html

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skxc.metrics import recall_at_k
    >>> Y_true = csr_array([[1, 1, 0, 0], [0, 0, 1, 0]])
    >>> Y_score = csr_array([[0.9, 0.3, 0.6, 0.0], [0.0, 0.8, 0.7, 0.1]])
    >>> recall_at_k(Y_true, Y_score, k=2)
    0.75
    """
    return ranking_metrics(Y_true, Y_score, (k,), None, exclude, sample_weight)[f"R@{k}"]


def ndcg_at_k(
    Y_true: Matrix,
    Y_score: Matrix,
    *,
    k: int = 5,
    exclude: Matrix | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Discounted gain at k over its best attainable value, averaged [1]_.

    The best value of a row is that of min(k, number of its labels) hits; a row without labels
    scores 0.
    :func:`ranking_metrics` has the formula, the conventions and all metrics at the cost of one.

    Parameters
    ----------
    Y_true : sparse matrix, sparse array or array-like of shape (n_samples, n_labels)
        True labels: entries greater than 0.
    Y_score : sparse matrix, sparse array or array-like of shape (n_samples, n_labels)
        Scores, higher is better. Sparse: only stored entries are predictions. Equal scores rank by
        label id.
    k : int, default=5
        Where to cut the ranking, at least 1.
    exclude : sparse matrix, sparse array or array-like of shape (n_samples, n_labels), default=None
        Entries greater than 0 are pairs to ignore, neither true nor predicted.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each row, 0 or greater.

    Returns
    -------
    float
        The nDCG@k, in [0, 1].

    Raises
    ------
    ValueError
        If shapes differ or an argument is out of range, as in :func:`ranking_metrics`.

    References
    ----------
    .. [1] K. Järvelin, J. Kekäläinen. Cumulated Gain-Based Evaluation of IR Techniques. ACM
       Transactions on Information Systems 20(4), 2002.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skxc.metrics import ndcg_at_k
    >>> Y_true = csr_array([[1, 1, 0, 0], [0, 0, 1, 0]])
    >>> Y_score = csr_array([[0.9, 0.3, 0.6, 0.0], [0.0, 0.8, 0.7, 0.1]])
    >>> ndcg_at_k(Y_true, Y_score, k=2)
    0.62...
    """
    return ranking_metrics(Y_true, Y_score, (k,), None, exclude, sample_weight)[f"nDCG@{k}"]


def psp_at_k(
    Y_true: Matrix,
    Y_score: Matrix,
    propensities: ArrayLike,
    *,
    k: int = 5,
    exclude: Matrix | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Propensity-scored precision at k over its best attainable value [1]_.

    Each hit counts 1 / propensity, so that rare labels count more.
    :func:`ranking_metrics` has the formula, the conventions and all metrics at the cost of one.

    Parameters
    ----------
    Y_true : sparse matrix, sparse array or array-like of shape (n_samples, n_labels)
        True labels: entries greater than 0.
    Y_score : sparse matrix, sparse array or array-like of shape (n_samples, n_labels)
        Scores, higher is better. Sparse: only stored entries are predictions. Equal scores rank by
        label id.
    propensities : array-like of shape (n_labels,)
        Propensities in (0, 1] from the training labels, see :func:`skxc.metrics.propensities`.
    k : int, default=5
        Where to cut the ranking, at least 1.
    exclude : sparse matrix, sparse array or array-like of shape (n_samples, n_labels), default=None
        Entries greater than 0 are pairs to ignore, neither true nor predicted.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each row, 0 or greater.

    Returns
    -------
    float
        PSP@k in [0, 1]; 0 where no row has a label.

    Raises
    ------
    ValueError
        If shapes differ or an argument is out of range, as in :func:`ranking_metrics`.

    References
    ----------
    .. [1] H. Jain, Y. Prabhu, M. Varma. Extreme Multi-label Loss Functions for Recommendation,
       Tagging, Ranking & Other Missing Label Applications. KDD 2016.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skxc.metrics import psp_at_k
    >>> Y_true = csr_array([[1, 1, 0, 0], [0, 0, 1, 0]])
    >>> Y_score = csr_array([[0.9, 0.3, 0.6, 0.0], [0.0, 0.8, 0.7, 0.1]])
    >>> psp_at_k(Y_true, Y_score, [1.0, 0.5, 0.5, 0.5], k=2)
    0.6
    """
    return ranking_metrics(Y_true, Y_score, (k,), propensities, exclude, sample_weight)[f"PSP@{k}"]


def psndcg_at_k(
    Y_true: Matrix,
    Y_score: Matrix,
    propensities: ArrayLike,
    *,
    k: int = 5,
    exclude: Matrix | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Propensity-scored nDCG at k over its best attainable value [1]_.

    Each hit counts 1 / propensity, so that rare labels count more.
    :func:`ranking_metrics` has the formula, the conventions and all metrics at the cost of one.

    Parameters
    ----------
    Y_true : sparse matrix, sparse array or array-like of shape (n_samples, n_labels)
        True labels: entries greater than 0.
    Y_score : sparse matrix, sparse array or array-like of shape (n_samples, n_labels)
        Scores, higher is better. Sparse: only stored entries are predictions. Equal scores rank by
        label id.
    propensities : array-like of shape (n_labels,)
        Propensities in (0, 1] from the training labels, see :func:`skxc.metrics.propensities`.
    k : int, default=5
        Where to cut the ranking, at least 1.
    exclude : sparse matrix, sparse array or array-like of shape (n_samples, n_labels), default=None
        Entries greater than 0 are pairs to ignore, neither true nor predicted.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each row, 0 or greater.

    Returns
    -------
    float
        PSnDCG@k in [0, 1]; 0 where no row has a label.

    Raises
    ------
    ValueError
        If shapes differ or an argument is out of range, as in :func:`ranking_metrics`.

    References
    ----------
    .. [1] H. Jain, Y. Prabhu, M. Varma. Extreme Multi-label Loss Functions for Recommendation,
       Tagging, Ranking & Other Missing Label Applications. KDD 2016.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skxc.metrics import psndcg_at_k
    >>> Y_true = csr_array([[1, 1, 0, 0], [0, 0, 1, 0]])
    >>> Y_score = csr_array([[0.9, 0.3, 0.6, 0.0], [0.0, 0.8, 0.7, 0.1]])
    >>> psndcg_at_k(Y_true, Y_score, [1.0, 0.5, 0.5, 0.5], k=2)
    0.51...
    """
    return ranking_metrics(Y_true, Y_score, (k,), propensities, exclude, sample_weight)[
        f"PSnDCG@{k}"
    ]


def label_pairs(matrix: Matrix, name: str) -> tuple[np.ndarray, tuple[int, int]]:
    """Positions of the entries above 0, sorted row * n_labels + label (int64), and the shape."""
    entries = sp.coo_array(_check_matrix(matrix, name))
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


def _contains(
    pairs: np.ndarray,  # (n_pairs,) sorted
    queries: np.ndarray,  # any shape
) -> np.ndarray:
    """Whether each query is one of `pairs`."""
    if len(pairs) == 0:
        return np.zeros(queries.shape, dtype=bool)
    return pairs[np.minimum(np.searchsorted(pairs, queries), len(pairs) - 1)] == queries


def _true_scores(
    true_pairs: np.ndarray, gain_of_label: np.ndarray, shape: tuple[int, int]
) -> sp.csr_array:
    """The true labels, each scored by its gain."""
    rows, labels = np.divmod(true_pairs, max(shape[1], 1))
    indptr = np.searchsorted(rows, np.arange(shape[0] + 1))
    return sp.csr_array((gain_of_label[labels], labels, indptr), shape=shape)


def _gains(
    rankings: Iterable[tuple[np.ndarray, np.ndarray]],
    true_pairs: np.ndarray,
    label_gains: Sequence[np.ndarray],  # each (n_labels,): what a hit is worth
    ks: Sequence[int],
    shape: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Sums and discounted sums of the first k hits' gains, each (n_gains, n_ks, n_samples)."""
    n_samples, n_labels = shape
    sums = np.zeros((len(label_gains), len(ks), n_samples))
    discounted_sums = np.zeros_like(sums)
    for rows, labels in rankings:
        is_hit = (labels >= 0) & _contains(true_pairs, rows[:, None] * n_labels + labels)
        discount = np.log2(np.arange(labels.shape[1]) + 2.0)
        for i, gain_of_label in enumerate(label_gains):
            gains = np.where(is_hit, gain_of_label[labels], 0.0)
            discounted = gains / discount
            for j, k in enumerate(ks):
                sums[i, j, rows] = gains[:, :k].sum(axis=1)
                discounted_sums[i, j, rows] = discounted[:, :k].sum(axis=1)
    return sums, discounted_sums


def _averages(
    name: str,
    ks: Sequence[int],
    values: np.ndarray,  # (n_ks, n_samples)
    weights: np.ndarray,
    best: np.ndarray | None = None,  # (n_ks, n_samples)
) -> dict[str, float]:
    """Weighted mean over the rows for each k; with `best` as a fraction of the best one's mean."""
    averages = np.average(values, axis=1, weights=weights)
    if best is not None:
        attainable = np.average(best, axis=1, weights=weights)
        averages = np.divide(averages, attainable, out=0 * averages, where=attainable > 0)
    return {f"{name}@{k}": float(a) for k, a in zip(ks, averages, strict=True)}


def _rankings(
    scores: sp.csr_array | np.ndarray,  # (n_samples, n_labels)
    excluded: np.ndarray,  # pairs
    k: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of rows with their best labels, (n_rows,) and (n_rows, <= k); -1: no label."""
    if sp.issparse(scores):
        return _sparse_rankings(scores, excluded, k)
    return _dense_rankings(scores, excluded, k)


def _dense_rankings(
    scores: np.ndarray, excluded: np.ndarray, k: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`_rankings` of a dense array."""
    n_samples, n_labels = scores.shape
    dtype = scores.dtype if scores.dtype.kind == "f" else np.float64
    step = max(1, _BLOCK_CELLS // max(1, n_labels))
    for start in range(0, n_samples, step):
        block = np.array(scores[start : start + step], dtype=dtype)  # a copy, written to below
        first, last = np.searchsorted(excluded, [start * n_labels, (start + step) * n_labels])
        np.put(block, excluded[first:last] - start * n_labels, -np.inf)
        rows = np.arange(start, start + len(block))
        _check_nan(block, rows)
        yield rows, _best_columns(block, k)


def _sparse_rankings(
    scores: sp.csr_array, excluded: np.ndarray, k: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`_rankings` of the stored entries; rows without any do not appear."""
    lengths = np.diff(scores.indptr)
    longest_first = np.argsort(-lengths, kind="stable")  # rows of like length pad each other little
    start = 0
    while start < len(lengths) and (width := int(lengths[longest_first[start]])) > 0:
        rows = longest_first[start : start + max(1, _BLOCK_CELLS // width)]
        start += len(rows)
        block = scores[rows]  # a copy: merging leaves the caller's arrays alone
        if block.dtype.kind != "f":
            block = block.astype(np.float64)  # before merging: small integers would overflow
        block.sum_duplicates()
        block_lengths = np.diff(block.indptr)
        values = block.data
        if len(excluded):
            pairs = np.repeat(rows, block_lengths) * scores.shape[1] + block.indices
            values = np.where(_contains(excluded, pairs), -np.inf, values)
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
    if k < n_columns:  # sort only what reaches the k-th best score: with ties more than k
        kth_best = np.partition(scores, n_columns - k, axis=1)[:, n_columns - k]
        is_candidate &= scores >= kth_best[:, None]
    n_candidates = is_candidate.sum(axis=1)
    columns = _padded(np.nonzero(is_candidate)[1], n_candidates, -1)
    candidates = _padded(scores[is_candidate], n_candidates, -np.inf)
    # stable: candidates stand in order of column, so do equal ones after the sort
    order = np.argsort(-candidates, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(columns, order, axis=1)


def _check_matrix(matrix: Matrix, name: str) -> Any:
    """`matrix` as it is where it is sparse, else as an array; two-dimensional and numeric."""
    checked: Any = matrix if sp.issparse(matrix) else np.asarray(matrix)
    if len(checked.shape) != 2 or checked.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} has shape {checked.shape} and dtype {checked.dtype}. Pass a sparse matrix or "
            f"an array of real numbers of shape (n_samples, n_labels)."
        )
    if checked.shape[0] == 0:
        raise ValueError(f"{name} has shape {checked.shape}. Pass at least one row.")
    return checked


def _check_same_shape(shape: tuple[int, int], name: str, expected: tuple[int, int]) -> None:
    """Raise unless a matrix lines up with the truth."""
    if tuple(shape) != tuple(expected):
        raise ValueError(
            f"{name} has shape {tuple(shape)}, but Y_true has shape {tuple(expected)}. "
            f"Pass the same rows and label columns in both."
        )


def _check_scores(Y_score: Matrix, shape: tuple[int, int]) -> sp.csr_array | np.ndarray:
    """Scores as CSR (sharing the caller's arrays where they are CSR) or as a dense array."""
    scores = _check_matrix(Y_score, "Y_score")
    _check_same_shape(scores.shape, "Y_score", shape)
    return sp.csr_array(scores) if sp.issparse(scores) else scores


def _check_exclude(exclude: Matrix | None, shape: tuple[int, int]) -> np.ndarray:
    """The excluded pairs; none of them for None."""
    if exclude is None:
        return np.empty(0, dtype=np.int64)
    pairs, exclude_shape = label_pairs(exclude, "exclude")
    _check_same_shape(exclude_shape, "exclude", shape)
    return pairs


def _check_ks(ks: Iterable[int]) -> tuple[int, ...]:
    """The cuts as a tuple of int."""
    checked = tuple(ks) if isinstance(ks, Iterable) else (ks,)
    for k in checked:
        if not isinstance(k, Integral) or isinstance(k, bool) or k < 1:
            raise ValueError(f"k is {k!r}. Pass a positive integer, such as 5.")
    if not checked:
        raise ValueError("ks is empty. Pass positive integers, such as (1, 3, 5).")
    return tuple(int(k) for k in checked)


def _check_propensities(propensities: ArrayLike, n_labels: int) -> np.ndarray:
    """Propensities as float64."""
    checked = np.asarray(propensities, dtype=np.float64)
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
    return checked


def _check_sample_weight(sample_weight: ArrayLike | None, n_samples: int) -> np.ndarray:
    """Row weights as float64, ones for None."""
    if sample_weight is None:
        return np.ones(n_samples)
    weights = np.asarray(sample_weight, dtype=np.float64)
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
    return weights


def _check_nan(scores: np.ndarray, rows: np.ndarray) -> None:
    """Raise where a score is NaN; `rows` are the block's row ids."""
    is_bad = np.isnan(scores).any(axis=1)
    if is_bad.any():
        raise ValueError(
            f"Y_score holds nan in row {rows[is_bad].min()}. Pass numbers; -inf, or an entry left "
            f"out of a sparse matrix, for a label that is not predicted."
        )
