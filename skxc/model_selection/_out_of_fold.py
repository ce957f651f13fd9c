"""Predictions of every row by a model that was trained on the others."""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import cross_val_predict
from sklearn.utils import indexable

from skxc._docstrings import completed_by
from skxc._validation import check_exclude, check_integer
from skxc.metrics._estimators import predict_probabilities, unwrap
from skxc.metrics._top_k import top_k_matrix, top_k_scores

from ._cross_validation import PARAMETERS, splitter
from ._rows import sound_params, sound_rows, take_rows


@completed_by(PARAMETERS)
def cross_val_predict_top_k(
    estimator: Any,
    X: Any,
    Y: Any,
    k: int = 5,
    *,
    exclude: Any = None,
    groups: Any = None,
    cv: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
    params: dict[str, Any] | None = None,
    pre_dispatch: int | str = "2*n_jobs",
) -> Any:
    """Probabilities of each row's k best labels, by a model that was not trained on the row.

    The result is one sparse matrix, which every metric takes, not the two arrays of
    `predict_top_k`. It holds probabilities because scores of different models do not compare.

    Parameters
    ----------
    estimator : object
        A classifier with `predict_proba`, or a pipeline or search that ends in one. Its clones are
        fitted.
    Y : {sparse matrix, array-like} of shape (n_samples, n_labels)
        Labels.
    k : int, default=5
        Labels a row, whatever the estimator's `top_k`.
    exclude : sparse matrix of shape (n_samples, n_labels), default=None
        Pairs never to give. To ignore them in training, too, pass them in `params`.
    cv : int, splitter or iterable, default=None
        Each row in one test part. An int is that of :class:`~sklearn.model_selection.KFold`; None:
        5.

    Returns
    -------
    sparse matrix of shape (n_samples, n_labels)
        CSR, min(k, n_labels) probabilities a row.

    Raises
    ------
    ValueError
        If Y is 1-d or holds label lists (folds would know different labels), or `cv` is no
        partition of the rows.

    Examples
    --------
    >>> from skxc import ReneeClassifier
    >>> from skxc.datasets import make_extreme_classification
    >>> from skxc.model_selection import cross_val_predict_top_k
    >>> data = make_extreme_classification(200, 10, random_state=0)
    >>> clf = ReneeClassifier(epochs=2, random_state=0)
    >>> proba = cross_val_predict_top_k(clf, data.texts, data.Y, k=3, cv=2)
    >>> proba.shape, proba.nnz
    ((200, 10), 600)
    """
    check_integer("k", k, 1)
    if len(getattr(Y, "shape", ())) != 2:
        raise ValueError(
            "Y is no matrix: the models of two folds would know different labels. Pass a matrix of "
            "shape (n_samples, n_labels), such as MultiLabelBinarizer(sparse_output=True) gives."
        )
    X, Y = indexable(sound_rows(X, "X"), sound_rows(Y, "Y"))
    mask = check_exclude(exclude, Y.shape)
    return cross_val_predict(
        _OutOfFold(estimator, X, k, mask),
        np.arange(Y.shape[0]),
        Y,
        groups=groups,
        cv=splitter(cv, Y),
        n_jobs=n_jobs,
        verbose=verbose,
        params=sound_params(params),
        pre_dispatch=pre_dispatch,
    )


class _OutOfFold(BaseEstimator):
    """An estimator whose X are the numbers of rows, so that prediction finds rows of `exclude`."""

    def __init__(self, estimator: Any, X: Any, k: int, exclude: sp.csr_array | None) -> None:
        self.estimator, self.X, self.k, self.exclude = estimator, X, k, exclude

    def __sklearn_clone__(self) -> _OutOfFold:
        return _OutOfFold(clone(self.estimator), self.X, self.k, self.exclude)

    def get_metadata_routing(self) -> Any:
        """What the estimator asks for."""
        return self.estimator.get_metadata_routing()

    def fit(self, X: NDArray[np.int64], y: Any, **params: Any) -> Self:
        """Fit the estimator on these rows."""
        self.estimator.fit(take_rows(self.X, X), y, **params)
        return self

    def predict(self, X: NDArray[np.int64]) -> Any:
        """CSR of the k best labels."""
        exclude = None if self.exclude is None else self.exclude[X]
        final, texts = unwrap(self.estimator, take_rows(self.X, X))
        if hasattr(final, "predict_top_k"):
            final = copy.copy(final).set_params(top_k=self.k, sparse_output=True)
            return final.predict_proba(texts, exclude=exclude)
        proba = predict_probabilities(final, texts)
        return top_k_matrix(*top_k_scores(proba, self.k, exclude), proba.shape[1])
