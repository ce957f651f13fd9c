"""From texts to labels: one search over one table, in the container that y came in."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import sklearn
import torch
from numpy.typing import NDArray
from scipy.special import log_expit
from sklearn.base import TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skxc._docstrings import completed_by
from skxc._training._memory import free_bytes
from skxc._validation import (
    check_choice,
    check_exclude,
    check_integer,
    check_sample_weight,
    check_target,
    check_threshold,
)
from skxc.metrics import precision_at_k
from skxc.metrics._estimators import top_k_matrix

from ._indexed import IndexedModel
from ._sources import opened_labels

# of the methods that predict
SHARED = """
Parameters
----------
X : array-like of shape (n_samples,), str
    Texts.
k : int, default=None
    Labels a text; None: the parameter `top_k`. At most n_labels are given.
exclude : sparse matrix of shape (n_samples, n_labels), default=None
    Pairs never to give. They leave before the cut, so that k labels still come back.

Raises
------
ValueError
    If a parameter or argument is out of what is accepted, or a result would not fit into memory.
sklearn.exceptions.NotFittedError
    If the estimator is not fitted.
"""


def _is_dense(estimator: Any) -> bool:
    """Whether results are full arrays: decision_function exists in this mode alone."""
    kind = getattr(estimator, "_target_kind", "dense")
    if kind == "classes" or estimator.sparse_output == "auto":
        return kind not in ("sparse", "lists")
    return not estimator.sparse_output


class PredictMixin(IndexedModel, TransformerMixin):
    """Checks and containers around a `Ranker`.

    A TransformerMixin itself: `set_output` reaches only a `transform` defined in a class that is.
    """

    @completed_by(SHARED)
    def predict_top_k(
        self, X: Any, k: int | None = None, exclude: Any = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The best labels of each text and their scores.

        Exact, unless `search` says otherwise: every label is scored, in chunks; never an
        (n_samples, n_labels) array. The 100 best are then ranked anew by the second stage, if there
        is one. Unseen labels of which nothing else is known (no training text has them, and their
        own text, if any, has no known word) rank last, at -1e4.

        Returns
        -------
        labels : ndarray of shape (n_samples, k), int64
            Places in `classes_`, best first; -1 where fewer than k labels are not excluded.
        scores : ndarray of shape (n_samples, k), float32
            As `decision_function` gives them; -inf where the label is -1.
        """
        check_is_fitted(self)
        name, k = ("top_k", self.top_k) if k is None else ("k", k)
        check_integer(name, k, 1)
        texts = self._check_texts(X, reset=False)
        mask = check_exclude(exclude, (len(texts), self.n_labels_))
        tokens = self.encoder_.tokenize(texts)
        with self._predicting() as ranker:
            k = min(k, self.n_labels_)
            return ranker.top_k(tokens, k, mask, self._search(ranker, ranker.n_searched(k)))

    @completed_by(SHARED)
    def predict_labels(self, X: Any, k: int | None = None, exclude: Any = None) -> list[list[Any]]:
        """The names of the best labels of each text, best first.

        Returns
        -------
        list of list
            Entries of `classes_`; of `label_texts` where Y's columns had no names.
        """
        labels, _ = self.predict_top_k(X, k, exclude)
        return [self.label_names_[row[row >= 0]].tolist() for row in labels]

    @completed_by(SHARED)
    def predict_top_k_proba(
        self, X: Any, k: int | None = None, exclude: Any = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The best labels of each text and their probabilities, as `predict_proba` gives them.

        Returns
        -------
        labels : ndarray of shape (n_samples, k), int64
            As `predict_top_k` gives them.
        proba : ndarray of shape (n_samples, k), float32
            In (0, 1), best first; where y was 1-d they sum to 1 over all classes.
        """
        check_is_fitted(self)
        check_choice("sparse_output", self.sparse_output, ("auto", True, False))
        if self._target_kind != "classes":
            labels, scores = self.predict_top_k(X, k, exclude)
            return labels, self._proba(scores)
        check_integer("k", self.top_k if k is None else k, 1)
        every = self.predict_proba(X, exclude)
        labels = (-every).argsort(1, kind="stable")[:, : self.top_k if k is None else k]
        return labels, np.take_along_axis(every, labels, axis=1)

    @completed_by(SHARED)
    def predict_proba(self, X: Any, exclude: Any = None) -> Any:
        """Probability that each label applies.

        Returns
        -------
        {sparse matrix, ndarray} of shape (n_samples, n_labels), float32
            Where y was sparse or label lists: CSR with the `top_k` best labels a row, each in
            (0, 1). Where y was dense: every label. Where y was 1-d: rows that sum to 1 (the
            classes' own probabilities, divided by their sum).
        """
        check_is_fitted(self)
        if not _is_dense(self):
            return self._in_container(*self.predict_top_k_proba(X, exclude=exclude), np.float32)
        scores = self._dense_scores(X, exclude)
        if self._target_kind != "classes":
            return self._proba(scores)
        is_excluded = scores == -np.inf
        _check_some_class_left(is_excluded.all(1))
        proba = np.where(is_excluded, np.float32(0), self._proba(scores))
        return proba / proba.sum(1, keepdims=True)

    @completed_by(SHARED)
    def predict(self, X: Any, exclude: Any = None) -> Any:
        """Labels of at least `threshold` probability; for 1-d y, the most probable class.

        Returns
        -------
        {sparse matrix, ndarray} of shape (n_samples, n_labels) or (n_samples,)
            0 and 1 in y's container (sparse: among the `top_k` best labels), or classes.
        """
        check_is_fitted(self)
        if self._target_kind == "classes":
            best, _ = self.predict_top_k(X, 1, exclude)
            _check_some_class_left(best[:, 0] < 0)
            return self.classes_[best[:, 0]]
        threshold = check_threshold(self.threshold, self.n_labels_)
        if isinstance(threshold, str):
            threshold = self.threshold_
        if _is_dense(self):
            return (self._proba(self._dense_scores(X, exclude)) >= threshold).astype(
                self._target_dtype
            )
        labels, proba = self.predict_top_k_proba(X, exclude=exclude)
        of_labels = threshold[labels] if np.ndim(threshold) else threshold
        labels = np.where(proba >= of_labels, labels, -1)
        return self._in_container(labels, np.ones_like(proba), self._target_dtype)

    @available_if(_is_dense)
    @completed_by(SHARED)
    def decision_function(self, X: Any) -> NDArray[np.float32]:
        """Scores of all labels; only where results are dense.

        A sparse matrix of scores would lie: what is missing reads as 0 and outranks every stored
        negative score. Use `predict_top_k` there.

        Returns
        -------
        ndarray of shape (n_samples, n_labels) or (n_samples,), float32
            ``transform(X) @ label_embeddings_.T``, with -1e4 for labels of which nothing is known,
            what the words add where labels have weights for them (`UniDEC`), and what the second
            stage adds to a text's 100 best labels; the others fall below these. For two 1-d
            classes, the log-odds of the second against the first.
        """
        check_is_fitted(self)
        scores = self._dense_scores(X)
        if self._target_kind == "classes" and self.n_labels_ == 2:
            log_proba = log_expit(self._log_odds(scores))
            return np.asarray(log_proba[:, 1] - log_proba[:, 0])
        return scores

    @completed_by(SHARED)
    def transform(self, X: Any) -> NDArray[np.float32]:
        """Embeddings of texts.

        Returns
        -------
        ndarray of shape (n_samples, width of `label_embeddings_`), float32
            What is multiplied with `label_embeddings_`; a classifier's intercepts are met by a
            constant in the last place.
        """
        check_is_fitted(self)
        tokens = self.encoder_.tokenize(self._check_texts(X, reset=False))
        with self._predicting() as ranker:
            return ranker.embed(tokens)

    @completed_by(SHARED)
    def score(self, X: Any, y: Any, sample_weight: Any = None, exclude: Any = None) -> float:
        """Precision at 1; accuracy where y is 1-d.

        scikit-learn's own default for many labels, the share of texts whose whole label set is
        right, is near 0 whatever the model.

        Parameters
        ----------
        y : {sparse matrix, array-like} of shape (n_samples, n_labels) or (n_samples,)
            True labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the texts.
        exclude : sparse matrix of shape (n_samples, n_labels), default=None
            Pairs to ignore, in predictions and in y.

        Returns
        -------
        float
            Between 0 and 1.
        """
        check_is_fitted(self)
        texts = self._check_texts(X, reset=False)
        kind, is_1d = self._target_kind, self._target_kind == "classes"
        y = opened_labels(y)
        target = check_target(y, len(texts), self.classes_, kind, may_be_unknown=is_1d)
        weights = check_sample_weight(sample_weight, len(texts))
        if is_1d:
            best = self.predict_top_k(X, 1, exclude)[0][:, 0]
            _check_some_class_left(best < 0)
            is_right = target.Y[np.arange(len(best)), best] > 0
            return float(np.average(is_right, weights=weights))
        best = self._in_container(*self.predict_top_k_proba(X, 1, exclude), np.float32)
        return precision_at_k(target.Y, best, k=1, exclude=exclude, sample_weight=weights)

    # ------------------------------------------------------------------------------------- pieces
    def _dense_scores(self, X: Any, exclude: Any = None) -> NDArray[np.float32]:
        check_choice("sparse_output", self.sparse_output, ("auto", True, False))
        texts = self._check_texts(X, reset=False)
        mask = check_exclude(exclude, (len(texts), self.n_labels_))
        needed = 2 * 4 * len(texts) * self.n_labels_  # the scores, and one copy in what follows
        if needed > free_bytes(torch.device("cpu")):
            is_classes = self._target_kind == "classes"
            remedy = "use predict_top_k" if is_classes else "set sparse_output=True"
            raise ValueError(
                f"A dense result of {len(texts)} texts x {self.n_labels_} labels needs "
                f"{needed / 2**30:.1f} GiB. Pass fewer texts, or {remedy}."
            )
        tokens = self.encoder_.tokenize(texts)
        with self._predicting() as ranker:
            return ranker.scores(tokens, mask)

    def _in_container(self, labels: NDArray[np.int64], values: NDArray[Any], dtype: Any) -> Any:
        """CSR of the labels that are not -1, in scikit-learn's sparse interface."""
        best = top_k_matrix(labels, values.astype(dtype), self.n_labels_)
        is_array = sklearn.get_config().get("sparse_interface") == "sparray"
        container = sp.csr_array if is_array else sp.csr_matrix
        return container((best.data, best.indices, best.indptr), shape=best.shape)

    # -------------------------------------------------------------------------- scikit-learn's API
    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.target_tags.required = True
        tags.classifier_tags.multi_label = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "label_embeddings_")

    @property
    def _n_features_out(self) -> int:
        return int(self.label_embeddings_.shape[1])


def _check_some_class_left(is_empty: NDArray[np.bool_]) -> None:
    if is_empty.any():
        raise ValueError(
            f"exclude leaves no class for text {int(is_empty.argmax())}. Leave at least one."
        )
