"""The best threshold of `predict` for given probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from skxc._validation import check_choice, check_exclude
from skxc.metrics._checks import check_matrix
from skxc.metrics._estimators import predict_probabilities, true_target, unwrap
from skxc.metrics._pairs import contains, label_pairs

_METRICS = ("f1_micro", "f1_macro", "f1_samples")


def tune_threshold(
    estimator: Any,
    X: Any,
    Y: Any,
    *,
    metric: str | None = None,
    per_label: bool = False,
    exclude: Any = None,
) -> float | NDArray[np.float64]:
    """Threshold at which `predict` is best on held-out rows.

    All thresholds that separate two probabilities are compared. The result is the best one, in the
    middle between the two; of equally good ones the highest. Pass it on with
    ``clf.set_params(threshold=...)``; no refit follows. Rows that the estimator was fitted on
    would give too high a threshold.

    Parameters
    ----------
    estimator : object
        A fitted classifier with `predict_proba`, or a pipeline or search that ends in one. Its
        `top_k` stays: `predict` gives no more labels a row than that.
    X : array-like of shape (n_samples, ...)
        Held-out texts, or what else `estimator` takes.
    Y : {sparse matrix, array-like} of shape (n_samples, n_labels)
        Their labels, in any container that `fit` takes, but no 1-d classes.
    metric : {"f1_micro", "f1_macro", "f1_samples"}, default=None
        What to maximise: F1 of all pairs, mean F1 of the labels, or mean F1 of the rows. None:
        "f1_micro", and "f1_macro" with `per_label`.
    per_label : bool, default=False
        Give each label a threshold of its own, the best for its own F1; "f1_macro" only. A label
        none of whose held-out rows has it among its predictions takes the one that is best for all
        labels. A label with few such rows takes one that fits these few: compare both on other
        rows.
    exclude : sparse matrix of shape (n_samples, n_labels), default=None
        Pairs to ignore, neither true nor predicted.

    Returns
    -------
    float or ndarray of shape (n_labels,), float64
        Threshold between 0 and 1; with `per_label` in the order of `classes_`.

    Raises
    ------
    ValueError
        If no true label is among the predictions, Y is 1-d, or an argument is unknown.

    Examples
    --------
    >>> from skxc import ReneeClassifier
    >>> from skxc.datasets import make_extreme_classification
    >>> from skxc.model_selection import train_test_split, tune_threshold
    >>> data = make_extreme_classification(500, 10, random_state=0)
    >>> X_train, X_held_out, Y_train, Y_held_out = train_test_split(
    ...     data.texts, data.Y, stratify=data.Y, random_state=0
    ... )
    >>> clf = ReneeClassifier(random_state=0).fit(X_train, Y_train)
    >>> threshold = tune_threshold(clf, X_held_out, Y_held_out)
    >>> predicted = clf.set_params(threshold=threshold).predict(X_held_out)
    >>> tune_threshold(clf, X_held_out, Y_held_out, per_label=True).shape
    (10,)
    """
    check_choice("metric", metric, (None, *_METRICS))
    check_choice("per_label", per_label, (False, True))
    if per_label and metric not in (None, "f1_macro"):
        raise ValueError(
            f"metric={metric!r} with per_label=True: labels' own thresholds are tuned one by one, "
            f"for each label's own F1. Pass metric='f1_macro', or per_label=False."
        )
    classifier, X = unwrap(estimator, X)
    n_samples = X.shape[0] if hasattr(X, "shape") else len(X)
    target = true_target(classifier, Y, n_samples)
    if target.kind == "classes":
        raise ValueError(
            "Y is 1-d: predict gives the most probable class there, whatever the threshold. Pass a "
            "matrix of shape (n_samples, n_labels)."
        )
    candidates = Candidates(predict_probabilities(classifier, X, exclude), target.Y, exclude)
    if not candidates.is_hit.any():
        raise ValueError(
            f"None of the {candidates.n_true_of_row.sum()} true labels is among the predictions: "
            f"no threshold finds any. Check that Y belongs to X and that its columns are the "
            f"estimator's labels, or raise top_k."
        )
    metric = metric or ("f1_macro" if per_label else "f1_micro")
    best_for_all = candidates.best_for_all(metric)
    return candidates.best_for_each(best_for_all) if per_label else best_for_all


class Candidates:
    """The (row, label) pairs that have a probability, and those that are true."""

    def __init__(self, proba: Any, Y: sp.csr_array, exclude: Any) -> None:
        stored, n_labels = sp.coo_array(check_matrix(proba, "predict_proba")), Y.shape[1]
        if stored.shape != Y.shape:
            raise ValueError(
                f"The probabilities have shape {stored.shape}, but Y has shape {Y.shape}. "
                f"Pass Y with one column per label of the estimator."
            )
        mask = check_exclude(exclude, Y.shape)
        true_pairs, _ = label_pairs(Y, "Y")
        pairs = stored.row.astype(np.int64) * n_labels + stored.col
        if mask is not None:
            excluded, _ = label_pairs(mask, "exclude")
            true_pairs = true_pairs[~contains(excluded, true_pairs)]
            is_kept = ~contains(excluded, pairs)
            pairs, stored.data = pairs[is_kept], stored.data[is_kept]
        best_first = np.argsort(-stored.data, kind="stable")
        pairs, self.proba = pairs[best_first], stored.data[best_first]
        self.rows, self.labels = np.divmod(pairs, n_labels)
        self.is_hit = contains(true_pairs, pairs)
        true_rows, self.true_labels = np.divmod(true_pairs, n_labels)
        self.n_true_of_row, self.n_labels = np.bincount(true_rows, minlength=Y.shape[0]), n_labels

    @property
    def n_true_of_label(self) -> NDArray[np.int64]:
        """How many rows have each label."""
        return np.bincount(self.true_labels, minlength=self.n_labels)

    def best_for_all(self, metric: str) -> float:
        """The threshold of the highest F1 of all pairs, or mean F1 of the rows or labels."""
        groups, n_true = np.zeros_like(self.rows), self.n_true_of_row.sum(keepdims=True)
        if metric == "f1_samples":
            groups, n_true = self.rows, self.n_true_of_row
        elif metric == "f1_macro":
            groups, n_true = self.labels, self.n_true_of_label
        order, f1 = self._f1(groups, n_true)
        is_first = np.diff(groups[order], prepend=-1) > 0
        gains = np.empty_like(f1)  # of taking one pair more, in the group's mean
        gains[order] = f1 - np.where(is_first, 0, np.roll(f1, 1))
        total = np.cumsum(gains)
        is_end = np.diff(self.proba, append=-1) != 0  # equal probabilities are on the same side
        last = np.where(is_end, total, -1).argmax()
        below = self.proba[last + 1] if last + 1 < len(self.proba) else self.proba[last]
        return float(_between(self.proba[last], below))

    def best_for_each(self, best_for_all: float) -> NDArray[np.float64]:
        """The threshold of each label's highest F1."""
        order, f1 = self._f1(self.labels, self.n_true_of_label)
        labels, proba = self.labels[order], self.proba[order]
        is_end = (np.diff(labels, append=-1) != 0) | (np.diff(proba, append=-1) != 0)
        ends = np.flatnonzero(is_end & (f1 > 0))
        best_ends = ends[np.lexsort((ends, -f1[ends], labels[ends]))]
        last = best_ends[np.diff(labels[best_ends], prepend=-1) > 0]
        following = np.minimum(last + 1, len(labels) - 1)
        has_more = labels[following] == labels[last]
        thresholds = np.full(self.n_labels, best_for_all)
        below = np.where(has_more, proba[following], proba[last])
        thresholds[labels[last]] = _between(proba[last], below)
        return thresholds

    def _f1(
        self, groups: NDArray[np.int64], n_true: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The pairs ordered by group and probability, and the group's F1 up to each of them."""
        order = np.argsort(groups, kind="stable")
        group = groups[order]
        start = np.searchsorted(group, group)
        n_hits = np.cumsum(np.append(0, self.is_hit[order]))
        n_hits_in_group = n_hits[1:] - n_hits[start]
        n_predicted = np.arange(len(order)) - start + 1
        return order, 2 * n_hits_in_group / (n_predicted + n_true[group])


def _between(above: Any, below: Any) -> Any:
    """A number that `above` reaches and `below` does not, unless they are the same number."""
    middle = (above + (below - above) / 2).astype(above.dtype)
    return np.where(middle > below, middle, above)
