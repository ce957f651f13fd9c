"""Precision, recall, nDCG and MRR at k, and the propensity-scored ones.

Each row is cut at k (`best_labels`), the gains of its hits are summed (`_gains`), and the metrics
are computed from these sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

from ._checks import (
    Matrix,
    check_ks,
    check_propensities,
    check_sample_weight,
    check_scores,
    refuse_integer_lists,
)
from ._pairs import contains, excluded_pairs, label_pairs
from ._top_k import best_labels


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
                                     {\sum_{j \le \min(k, |y_i|)} 1 / \log_2(j + 1)}, \qquad
              \mathrm{MRR@}k = \max_{j \le k} h_{ij} / j.

    PSP and PSnDCG divide each hit by the label's propensity [2]_, which turns P and nDCG into
    unbiased estimates where labels are missing. Both are divided by what the best ranking (true
    labels first, least propensity first) would score. As in pyxclib and napkinXC, this is one
    quotient of two averages over all rows, not an average of quotients.

    Parameters
    ----------
    Y_true : sparse matrix, sparse array or array-like of shape (n_samples, n_labels)
        True labels: entries greater than 0 (relevances in (0, 1] count fully). A row without
        labels scores 0 and stays in the averages (recall too), as in pyxclib and napkinXC.
        Integers, unless sparse, are 0 or 1, so that label ids are not taken for them.
    Y_score : sparse matrix, sparse array or array-like of shape (n_samples, n_labels)
        Scores, higher is better. Sparse: the stored entries are the predictions, also a stored 0;
        what is missing is never predicted, so a row may hold fewer than `k`. Dense: every label is
        a prediction. A score of -inf is none in either form. Duplicate entries add up. Lists of
        lists of integers are refused: they may be label ids.
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
        ``P@k``, ``nDCG@k``, ``R@k`` and ``MRR@k``, with `propensities` also ``PSP@k`` and
        ``PSnDCG@k``, for each of `ks`. Fractions in [0, 1]; the field prints 100 times these. PSP
        and PSnDCG are 0 where no row has a label.

    Raises
    ------
    ValueError
        If shapes differ, `Y_true` or `exclude` holds NaN or a negative number, `Y_score` holds NaN,
        lists of label ids are passed, a sparse matrix has an index out of range, there is no row,
        or another argument is out of range.

    References
    ----------
    .. [1] K. Bhatia et al. The Extreme Classification Repository: Multi-label Datasets and Code.
       http://manikvarma.org/downloads/XC/XMLRepository.html
    .. [2] H. Jain, Y. Prabhu, M. Varma. Extreme Multi-label Loss Functions for Recommendation,
       Tagging, Ranking & Other Missing Label Applications. KDD 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_array
    >>> from skxc.metrics import ranking_metrics
    >>> Y_true = csr_array([[1, 1, 0, 0], [0, 0, 1, 0]])
    >>> Y_score = csr_array([[0.9, 0.3, 0.6, 0.0], [0.0, 0.8, 0.7, 0.1]])
    >>> ranking_metrics(Y_true, Y_score, ks=(1, 3), propensities=[1.0, 0.5, 0.5, 0.5])
    {'P@1': 0.5, 'P@3': 0.5, 'nDCG@1': 0.5, 'nDCG@3': 0.77..., 'R@1': 0.25, 'R@3': 1.0,
     'MRR@1': 0.5, 'MRR@3': 0.75, 'PSP@1': 0.25, 'PSP@3': 1.0,
     'PSnDCG@1': 0.25, 'PSnDCG@3': 0.68...}

    Lists of label ids, with the best labels first, are made matrices like this:

    >>> from sklearn.preprocessing import MultiLabelBinarizer
    >>> true_ids, best_ids = [[1, 2, 3], [3, 4, 7]], [[1, 2, 4], [7, 6, 3]]
    >>> Y_true = MultiLabelBinarizer(classes=range(8), sparse_output=True).fit_transform(true_ids)
    >>> ids, indptr = sum(best_ids, []), np.cumsum([0, *map(len, best_ids)])
    >>> ranks = np.concatenate([np.arange(len(row)) for row in best_ids])
    >>> ranking_metrics(Y_true, csr_array((-ranks, ids, indptr), shape=Y_true.shape), ks=(3,))
    {'P@3': 0.66..., 'nDCG@3': 0.73..., 'R@3': 0.66..., 'MRR@3': 1.0}
    """
    ks = check_ks(ks)
    true_pairs, shape = label_pairs(Y_true, "Y_true")
    scores = check_scores(Y_score, shape)
    if isinstance(scores, np.ndarray) and scores.dtype.kind in "iu":
        refuse_integer_lists(Y_true, "Y_true")  # both could be label ids
    weights = check_sample_weight(sample_weight, shape[0])
    label_gains: list[np.ndarray | None] = [None]
    if propensities is not None:
        label_gains.append(1.0 / check_propensities(propensities, shape[1]))
    excluded = excluded_pairs(exclude, shape)
    true_pairs = true_pairs[~contains(excluded, true_pairs)]

    rankings = best_labels(scores, excluded, max(ks))
    gain, dcg, reciprocal_rank = _gains(rankings, true_pairs, label_gains, ks, shape)
    # the best ranking is the cut of the true labels, scored by what each is worth
    best_rankings = best_labels(_true_scores(true_pairs, label_gains[-1], shape), excluded, max(ks))
    best_gain, best_dcg, _ = _gains(best_rankings, true_pairs, label_gains, ks, shape)

    n_true = np.bincount(true_pairs // max(shape[1], 1), minlength=shape[0])
    ideal_dcg = np.where(n_true > 0, best_dcg[0], 1.0)  # 1: no division by 0 in rows without labels

    metrics = _averages("P", ks, gain[0] / np.array(ks)[:, None], weights)
    metrics |= _averages("nDCG", ks, dcg[0] / ideal_dcg, weights)
    metrics |= _averages("R", ks, gain[0] / np.maximum(n_true, 1), weights)
    metrics |= _averages("MRR", ks, reciprocal_rank, weights)
    if propensities is not None:
        metrics |= _averages("PSP", ks, gain[1], weights, best=best_gain[1])
        metrics |= _averages(
            "PSnDCG", ks, dcg[1] / ideal_dcg, weights, best=best_dcg[1] / ideal_dcg
        )
    return metrics


def _true_scores(
    true_pairs: np.ndarray, gain_of_label: np.ndarray | None, shape: tuple[int, int]
) -> sp.csr_array:
    """The true labels, each scored by its gain."""
    rows, labels = np.divmod(true_pairs, max(shape[1], 1))
    indptr = np.searchsorted(rows, np.arange(shape[0] + 1))
    gains = np.ones(len(labels)) if gain_of_label is None else gain_of_label[labels]
    return sp.csr_array((gains, labels, indptr), shape=shape)


def _gains(
    rankings: Iterable[tuple[np.ndarray, np.ndarray]],
    true_pairs: np.ndarray,
    label_gains: Sequence[np.ndarray | None],  # each (n_labels,): what a hit is worth; None: 1
    ks: Sequence[int],
    shape: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums and discounted sums of the first k places' gains, each (n_gains, n_ks, n_samples).

    Then 1 / the place of the first hit among them, (n_ks, n_samples); 0 where there is none.
    """
    n_samples, n_labels = shape
    sums = np.zeros((len(label_gains), len(ks), n_samples))
    discounted_sums = np.zeros_like(sums)
    reciprocal_ranks = np.zeros((len(ks), n_samples))
    for rows, labels in rankings:
        is_hit = (labels >= 0) & contains(true_pairs, rows[:, None] * n_labels + labels)
        places = np.arange(1.0, labels.shape[1] + 1)
        discount = np.log2(places + 1)
        for j, k in enumerate(ks):
            reciprocal_ranks[j, rows] = (is_hit / places)[:, :k].max(axis=1, initial=0)
        for i, gain_of_label in enumerate(label_gains):
            worth = 1.0 if gain_of_label is None else gain_of_label[labels]
            gains = np.where(is_hit, worth, 0.0)
            discounted = gains / discount
            for j, k in enumerate(ks):
                sums[i, j, rows] = gains[:, :k].sum(axis=1)
                discounted_sums[i, j, rows] = discounted[:, :k].sum(axis=1)
    return sums, discounted_sums, reciprocal_ranks


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
