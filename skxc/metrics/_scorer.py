"""Ranking metrics as `scoring=` of scikit-learn's searches and cross-validation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import sklearn
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.metadata_routing import UNCHANGED, MetadataRequest

from skxc._validation import csr_with_duplicates

from ._checks import Matrix, check_labels
from ._estimators import predict_top_k, training_counts, true_matrix
from ._propensity import propensities_from_counts
from ._ranking import ranking_metrics
from ._top_k import top_k_matrix

_METRIC = re.compile(r"(?:P|R|nDCG|MRR|PSP|PSnDCG)@([1-9][0-9]*)")


class XMCScorer:
    """Score fitted estimators by ranking metrics, all of them from one prediction call [1]_.

    A callable ``scorer(estimator, X, y)`` for `scoring` in ``GridSearchCV`` and other searches, in
    ``cross_validate`` and in ``ScoringMonitor``. With several metrics a search needs ``refit``,
    such as ``refit="P@1"``; ``cross_val_score`` and the curves take a scorer of one.

    The estimator may be inside pipelines and searches. It predicts as many labels as the metrics
    need, whatever its `top_k`. PSP and PSnDCG take the propensities of the rows that
    it was fitted on, so inside cross-validation those of the fold. Estimators of other libraries
    are ranked by `predict_proba` or else `decision_function`, if these give one column per label;
    without `label_counts_` they have no PSP and PSnDCG.

    Parameters
    ----------
    metrics : str or sequence of str
        Names such as ``"P@1"``, ``"R@10"``, ``"nDCG@3"``, ``"MRR@10"``, ``"PSP@5"`` and
        ``"PSnDCG@5"``. A sequence makes the scorer give a dict, one string a number.
    A : float, default=0.55
        Of the propensities: how fast they fall with rarity, 0 or greater.
    B : float, default=1.5
        Of the propensities: added to the counts, greater than 0.

    Raises
    ------
    ValueError
        If a metric is unknown, or `A` or `B` is out of range.

    References
    ----------
    .. [1] K. Bhatia et al. The Extreme Classification Repository: Multi-label Datasets and Code.
       http://manikvarma.org/downloads/XC/XMLRepository.html

    Examples
    --------
    >>> from sklearn.dummy import DummyClassifier
    >>> from skxc.metrics import XMCScorer
    >>> clf = DummyClassifier(strategy="prior").fit([[0], [0], [0]], ["pie", "fish", "pie"])
    >>> scorer = XMCScorer(("P@1", "R@2"))
    >>> scorer
    XMCScorer(('P@1', 'R@2'))
    >>> scorer(clf, [[0], [0]], ["fish", "pie"])
    {'P@1': 0.5, 'R@2': 1.0}
    >>> XMCScorer("P@1")(clf, [[0], [0]], ["fish", "pie"])
    0.5
    """

    def __init__(self, metrics: str | Sequence[str], *, A: float = 0.55, B: float = 1.5) -> None:
        # checked here, not in the call: searches turn a scorer's errors into NaN and a warning
        is_many = isinstance(metrics, Iterable) and not isinstance(metrics, str)
        self.metrics = tuple(metrics) if is_many else metrics
        self._ks = _check_metrics(self._names)
        propensities_from_counts([1], 1, A, B)
        self.A, self.B = A, B
        self._requests: dict[str, Any] = {}

    def __call__(
        self,
        estimator: Any,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        exclude: Matrix | None = None,
    ) -> Any:
        """Score `estimator` on `X`.

        Parameters
        ----------
        estimator : object
            A fitted classifier, or a pipeline or search that ends in one.
        X : array-like of shape (n_samples, ...)
            What `estimator` predicts from.
        y : {sparse matrix, array-like} of shape (n_samples, n_labels) or (n_samples,)
            True labels, in any container that `fit` takes. Where it names labels (label lists,
            1-d classes), one that the estimator does not know counts as missed.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row, 0 or greater.
        exclude : sparse matrix of shape (n_samples, n_labels), default=None
            Pairs to ignore, neither true nor predicted.

        Returns
        -------
        dict of str to float, or float
            By the metrics' names; the number alone where `metrics` is one string.

        Raises
        ------
        ValueError
            If shapes do not match, or PSP is asked of an estimator without `label_counts_`.
        TypeError
            If the estimator has no method to rank labels by.
        """
        counts = None
        if any(name.startswith("PS") for name in self._names):
            remedy = "Leave out PSP and PSnDCG, or compute them with skxc.metrics.psp_at_k."
            counts = training_counts(estimator, remedy)
        labels, scores = predict_top_k(estimator, X, max(self._ks), exclude)
        Y_true = true_matrix(estimator, y, len(labels), may_be_unknown=True)
        n_columns = Y_true.shape[1]
        values = ranking_metrics(
            Y_true,
            top_k_matrix(labels, scores, n_columns),
            self._ks,
            None if counts is None else self._propensities(*counts, n_columns),
            None if exclude is None else _widened(exclude, n_columns),
            sample_weight,
        )
        if isinstance(self.metrics, str):
            return values[self.metrics]
        return {name: values[name] for name in self.metrics}

    def __repr__(self) -> str:
        constants = f", A={self.A}, B={self.B}" if (self.A, self.B) != (0.55, 1.5) else ""
        return f"XMCScorer({self.metrics!r}{constants})"

    @property
    def _names(self) -> tuple[str, ...]:
        return self.metrics if isinstance(self.metrics, tuple) else (self.metrics,)

    def _propensities(
        self, label_counts: NDArray[np.int64], n_samples: int, n_columns: int
    ) -> NDArray[np.float64]:
        """Of the labels that the estimator knows, then of those that it never saw."""
        padded = np.pad(label_counts, (0, n_columns - len(label_counts)))
        return propensities_from_counts(padded, n_samples, self.A, self.B)

    # --------------------------------------------------------------- scikit-learn's metadata API
    def set_score_request(
        self,
        *,
        sample_weight: bool | str | None = UNCHANGED,
        exclude: bool | str | None = UNCHANGED,
    ) -> Self:
        """Say which metadata the scorer asks for, where metadata routing is enabled.

        Parameters
        ----------
        sample_weight : bool, str or None
            True: wanted; False: not; a str: wanted, and passed under this name; None: an error
            where it is passed.
        exclude : bool, str or None
            The same for `exclude`.

        Returns
        -------
        object
            The scorer itself.

        Raises
        ------
        RuntimeError
            If metadata routing is not enabled.
        """
        if not sklearn.get_config()["enable_metadata_routing"]:
            raise RuntimeError(
                "This method is only available when metadata routing is enabled. You can enable "
                "it using sklearn.set_config(enable_metadata_routing=True)."
            )
        given = {"sample_weight": sample_weight, "exclude": exclude}
        given = {name: alias for name, alias in given.items() if alias != UNCHANGED}
        _request(self, self._requests | given)  # raises for a bad alias
        self._requests = self._requests | given
        return self

    def get_metadata_routing(self) -> MetadataRequest:
        """Tell which metadata the scorer asks for.

        Returns
        -------
        sklearn.utils.metadata_routing.MetadataRequest
            Nothing until `set_score_request` says otherwise.
        """
        return _request(self, self._requests)

    def _accept_sample_weight(self) -> bool:
        """Asked by scikit-learn 1.7 and later where metadata routing is off."""
        return True


def _request(owner: XMCScorer, requests: dict[str, Any]) -> MetadataRequest:
    request = MetadataRequest(owner=owner)
    for name in ("sample_weight", "exclude"):
        request.score.add_request(param=name, alias=requests.get(name))
    return request


def _check_metrics(names: tuple[str, ...]) -> tuple[int, ...]:
    """The cuts of all metrics."""
    if not names:
        raise ValueError("metrics is empty. Pass names such as 'P@1' and 'PSP@5'.")
    matches = [_METRIC.fullmatch(name) if isinstance(name, str) else None for name in names]
    for name, match in zip(names, matches, strict=True):
        if match is None:
            raise ValueError(
                f"metrics holds {name!r}. Pass P, R, nDCG, MRR, PSP or PSnDCG, an @ and where to "
                f"cut the ranking, at least 1: such as 'P@1', 'nDCG@5' or 'PSP@5'."
            )
    return tuple(sorted({int(match[1]) for match in matches if match is not None}))


def _widened(exclude: Matrix, n_columns: int) -> sp.csr_array:
    """The mask with empty columns added at the end."""
    mask = csr_with_duplicates(check_labels(exclude, "exclude"), bool)
    return sp.csr_array((mask.data, mask.indices, mask.indptr), shape=(mask.shape[0], n_columns))
