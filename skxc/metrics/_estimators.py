"""What metrics and plots ask of an estimator, also of another library, also inside a wrapper."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from skxc._validation import Target, check_target, sound_sparse

from ._checks import Matrix
from ._propensity import propensities_from_counts
from ._top_k import top_k_matrix, top_k_scores


def final_estimator(estimator: Any) -> Any:
    """The classifier at the end of pipelines and searches."""
    while (inner := _unwrapped_once(estimator)) is not None:
        estimator = inner[1]
    return estimator


def unwrap(estimator: Any, X: Any) -> tuple[Any, Any]:
    """The classifier, and `X` as transformed by the steps before it."""
    if isinstance(X, os.PathLike):
        raise TypeError(f"X is the path {str(X)!r}. Pass list(skxc.datasets.FileColumn(X)).")
    while (inner := _unwrapped_once(estimator)) is not None:
        steps_before, estimator = inner
        for step in steps_before:  # a Pipeline of them would check that its last one is fitted
            X = X if step in (None, "passthrough") else step.transform(X)
    return estimator, X


def _unwrapped_once(estimator: Any) -> tuple[list[Any], Any] | None:
    """The steps before the next inner estimator, and that estimator; None for no wrapper."""
    if isinstance(estimator, Pipeline):
        *steps_before, last = (step for _, step in estimator.steps)
        return steps_before, last
    if isinstance(estimator, FrozenEstimator):
        return [], estimator.estimator
    if hasattr(estimator, "best_estimator_"):
        return [], estimator.best_estimator_
    return None


def predict_top_k(
    estimator: Any,
    X: Any,
    k: int,
    exclude: Matrix | None = None,
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Columns and scores of each row's best labels, best first, (n_samples, <= k); -1: no label.

    An estimator without `predict_top_k` is ranked by `predict_proba`, or by `decision_function`
    where it has only that; equal scores by label id.
    """
    estimator, X = unwrap(estimator, X)
    exclude = sound_sparse(exclude, "exclude")
    if hasattr(estimator, "predict_top_k"):
        labels, scores = estimator.predict_top_k(X, k=k, exclude=exclude)
        return labels, scores
    Y_score = _all_scores(estimator, X, ("predict_proba", "decision_function"))
    return top_k_scores(Y_score, k, exclude)


def predict_top_k_proba(
    estimator: Any, X: Any, k: int, exclude: Matrix | None = None
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """As `predict_top_k`, with probabilities for scores where the estimator gives them."""
    estimator, X = unwrap(estimator, X)
    if not hasattr(estimator, "predict_top_k_proba"):
        return predict_top_k(estimator, X, k, exclude)
    labels, proba = estimator.predict_top_k_proba(X, k=k, exclude=sound_sparse(exclude, "exclude"))
    return labels, proba


def predict_probabilities(estimator: Any, X: Any, exclude: Matrix | None = None) -> Any:
    """`predict_proba` of the classifier, sparse or dense, (n_samples, n_labels).

    Where it takes no `exclude`, the excluded pairs are still there.
    """
    estimator, X = unwrap(estimator, X)
    exclude = sound_sparse(exclude, "exclude")
    if hasattr(estimator, "predict_top_k"):
        return estimator.predict_proba(X, exclude=exclude)
    return _all_scores(estimator, X, ("predict_proba",))


def true_matrix(
    estimator: Any, y: Any, n_samples: int, *, may_be_unknown: bool = False
) -> sp.csr_array:
    """Truth in any container that `fit` takes, in the columns of the estimator's predictions.

    Labels that `may_be_unknown` get columns after those.
    """
    return true_target(estimator, y, n_samples, may_be_unknown=may_be_unknown).Y


def true_target(estimator: Any, y: Any, n_samples: int, *, may_be_unknown: bool = False) -> Target:
    """As `true_matrix`, with what kind of container `y` is."""
    classifier = final_estimator(estimator)
    classes = getattr(classifier, "classes_", None)
    kind = getattr(classifier, "_target_kind", None)
    return check_target(y, n_samples, classes, kind, may_be_unknown=may_be_unknown)


def top_k_predictions(
    estimator: Any, X: Any, y: Any, k: int, exclude: Matrix | None = None
) -> tuple[sp.csr_array, sp.csr_array]:
    """Truth and the scores of each row's k best labels, both (n_samples, n_labels)."""
    labels, scores = predict_top_k(estimator, X, k, exclude)
    Y_true = true_matrix(estimator, y, len(labels))
    return Y_true, top_k_matrix(labels, scores, Y_true.shape[1])


def training_counts(estimator: Any, remedy: str) -> tuple[NDArray[np.int64], int]:
    """Number of training rows of each label, and of all training rows."""
    classifier = final_estimator(estimator)
    if not hasattr(classifier, "label_counts_"):
        raise ValueError(
            f"{type(classifier).__name__} does not tell how often it saw each label (it has no "
            f"label_counts_). {remedy}"
        )
    return classifier.label_counts_, classifier.n_samples_seen_


def training_propensities(estimator: Any) -> NDArray[np.float64]:
    """Propensities, by the default constants, from the rows that the estimator was fitted on."""
    remedy = "Pass propensities, such as skxc.metrics.propensities(Y_train)."
    return propensities_from_counts(*training_counts(estimator, remedy))


def _all_scores(estimator: Any, X: Any, methods: tuple[str, ...]) -> Any:
    """Scores of another library's estimator, (n_samples, n_labels), by the first of `methods`."""
    name = type(estimator).__name__
    method = next((method for method in methods if hasattr(estimator, method)), None)
    if method is None:
        raise TypeError(
            f"{name} has no {' or '.join(methods)}. Pass a fitted classifier that has; a search "
            f"needs refit."
        )
    values = sound_sparse(getattr(estimator, method)(X), f"{name}.{method}")
    if isinstance(values, list) or len(values.shape) != 2:
        found = "a list" if isinstance(values, list) else f"an array of shape {values.shape}"
        raise ValueError(
            f"{name}.{method} gives {found}. Pass an estimator that gives one matrix of shape "
            f"(n_samples, n_labels), such as OneVsRestClassifier(...)."
        )
    return values
