"""Each ranking metric at one k, by a function of its own."""

from __future__ import annotations

from numpy.typing import ArrayLike

from skxc._docstrings import completed_by

from ._checks import Matrix
from ._ranking import ranking_metrics

_SHARED = """
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

Raises
------
ValueError
    If shapes differ or an argument is out of range, as in :func:`ranking_metrics`.

References
----------
.. [1] K. Bhatia et al. The Extreme Classification Repository: Multi-label Datasets and Code.
   http://manikvarma.org/downloads/XC/XMLRepository.html
"""


@completed_by(_SHARED)
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
    :func:`ranking_metrics` has the formulas and conventions, and gives all metrics in one call.

    Returns
    -------
    float
        P@k in [0, 1].

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


@completed_by(_SHARED)
def recall_at_k(
    Y_true: Matrix,
    Y_score: Matrix,
    *,
    k: int = 5,
    exclude: Matrix | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Fraction of each row's true labels among its k best, averaged [1]_.

    A row without labels scores 0 and stays in the average, as in pyxclib and napkinXC. (Code that
    skips such rows reports more: all rows / labelled rows times as much.)
    :func:`ranking_metrics` has the formulas and conventions, and gives all metrics in one call.

    Returns
    -------
    float
        R@k in [0, 1].

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


@completed_by(_SHARED)
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
    :func:`ranking_metrics` has the formulas and conventions, and gives all metrics in one call.

    Returns
    -------
    float
        The nDCG@k, in [0, 1].

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


@completed_by(_SHARED)
def mrr_at_k(
    Y_true: Matrix,
    Y_score: Matrix,
    *,
    k: int = 5,
    exclude: Matrix | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Mean over the rows of 1 / the rank of the first true label among the k best [1]_.

    The mean reciprocal rank. A row without a true label there, or without labels, scores 0.
    :func:`ranking_metrics` has the formulas and conventions, and gives all metrics in one call.

    Returns
    -------
    float
        MRR@k in [0, 1].

    References
    ----------
    .. [1] E. M. Voorhees. The TREC-8 Question Answering Track Report. TREC 1999.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skxc.metrics import mrr_at_k
    >>> Y_true = csr_array([[1, 1, 0, 0], [0, 0, 1, 0]])
    >>> Y_score = csr_array([[0.9, 0.3, 0.6, 0.0], [0.0, 0.8, 0.7, 0.1]])
    >>> mrr_at_k(Y_true, Y_score, k=2)
    0.75
    """
    return ranking_metrics(Y_true, Y_score, (k,), None, exclude, sample_weight)[f"MRR@{k}"]


@completed_by(_SHARED)
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
    :func:`ranking_metrics` has the formulas and conventions, and gives all metrics in one call.

    Returns
    -------
    float
        PSP@k in [0, 1]; 0 where no row has a label.

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


@completed_by(_SHARED)
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
    :func:`ranking_metrics` has the formulas and conventions, and gives all metrics in one call.

    Returns
    -------
    float
        PSnDCG@k in [0, 1]; 0 where no row has a label.

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
