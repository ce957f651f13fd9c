"""From texts to labels: one search over one table, in the container that y came in."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import sklearn
import torch
from numpy.typing import NDArray
from scipy.special import expit, log_expit
from sklearn.base import TransformerMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import Tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from skxc._data._batches import length_sorted_slices
from skxc._data._tokens import TokenStore
from skxc._functional._lexical import BatchWords
from skxc._functional._pairs import Pairs
from skxc._functional._top_k import UNSEEN_SCORE, has_values, top_k_inner_products
from skxc._validation import (
    check_choice,
    check_exclude,
    check_integer,
    check_sample_weight,
    check_target,
    check_threshold,
    resolve_device,
)
from skxc.encoders._base import EncoderModule, autocast
from skxc.metrics import precision_at_k

from ._memory import free_bytes
from ._saving import SavingMixin

# texts and padded tokens embedded together, and scores held at once (float32: 8 MiB)
_QUERY_BATCH = 256
_QUERY_TOKENS = 1 << 14
_SCORES_AT_ONCE = 1 << 21


class SearchTable(NamedTuple):
    """`label_embeddings_` on the device."""

    rows: Tensor  # (n_labels, dim)
    last: Tensor | None  # ascending labels whose row is 0
    words: sp.csr_array | None = None  # (n_labels, n_words) weights, on the host

    @staticmethod
    def of(rows: Tensor, words: sp.csr_array | None = None) -> SearchTable:
        """The table, looked through for rows of zeros."""
        last = (~has_values(rows)).nonzero().squeeze(1)
        return SearchTable(rows, last if len(last) else None, words)

    def word_scores(self, tokens: TokenStore) -> Callable[[int, int], Tensor] | None:
        """What the words add to the scores of a range of labels, (len(tokens), stop - start)."""
        if self.words is None:
            return None
        table, batch = self.words, BatchWords(tokens.as_csr(self.words.shape[1]))

        def added(start: int, stop: int) -> Tensor:
            entries = batch.entries(table, np.arange(start, stop))
            return batch.scores(entries, torch.from_numpy(table.data[entries.positions])).T.to(
                self.rows.device
            )

        return added


def _is_dense(estimator: Any) -> bool:
    """Whether results are full arrays: decision_function exists in this mode alone."""
    kind = getattr(estimator, "_target_kind", "dense")
    if kind == "classes" or estimator.sparse_output == "auto":
        return bool(kind != "sparse")
    return not estimator.sparse_output


class TopKPredictMixin(SavingMixin, TransformerMixin):
    """Prediction methods over `encoder_` and `label_embeddings_`.

    A TransformerMixin itself: `set_output` reaches only a `transform` defined in a class that is.
    """

    def predict_top_k(
        self, X: Any, k: int | None = None, exclude: Any = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The best labels of each text and their scores.

        Exact: every label is scored, in chunks; never an (n_samples, n_labels) array. Labels that
        nothing speaks of (their row of `label_embeddings_` is 0) rank last, at -1e4.

        Parameters
        ----------
        X : array-like of shape (n_samples,), str
            Texts.
        k : int, default=None
            Labels a text; None: the parameter `top_k`. At most n_labels are given.
        exclude : sparse matrix of shape (n_samples, n_labels), default=None
            Pairs never to give; they leave before the cut, so that k labels still come back.

        Returns
        -------
        labels : ndarray of shape (n_samples, k), int64
            Places in `classes_`, best first; -1 where fewer than k labels are not excluded.
        scores : ndarray of shape (n_samples, k), float32
            Inner products, as `decision_function` gives them; -inf where the label is -1.

        Raises
        ------
        ValueError
            If k is below 1, X is not as in `fit`, or `exclude` has another shape.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        check_is_fitted(self)
        name, k = ("top_k", self.top_k) if k is None else ("k", k)
        check_integer(name, k, 1)
        texts = self._check_texts(X, reset=False)
        mask = check_exclude(exclude, (len(texts), self.n_labels_))
        module, table = self._torch_model()
        tokens = self.encoder_.tokenize(texts)
        return self._search(module, table, tokens, min(k, self.n_labels_), mask)

    def predict_labels(self, X: Any, k: int | None = None, exclude: Any = None) -> list[list[Any]]:
        """The names of the best labels of each text, best first.

        Parameters
        ----------
        X : array-like of shape (n_samples,), str
            Texts.
        k : int, default=None
            Labels a text; None: the parameter `top_k`.
        exclude : sparse matrix of shape (n_samples, n_labels), default=None
            Pairs never to give.

        Returns
        -------
        list of list
            Entries of `classes_`; of `label_texts` where Y's columns had no names.
        """
        labels, _ = self.predict_top_k(X, k, exclude)
        return [self._label_names[row[row >= 0]].tolist() for row in labels]

    def predict_proba(self, X: Any, exclude: Any = None) -> Any:
        """Probability that each label applies.

        Parameters
        ----------
        X : array-like of shape (n_samples,), str
            Texts.
        exclude : sparse matrix of shape (n_samples, n_labels), default=None
            Pairs never to give.

        Returns
        -------
        {sparse matrix, ndarray} of shape (n_samples, n_labels), float32
            Where y was sparse or label lists: CSR with the `top_k` best labels a row, each in
            (0, 1). Where y was dense: every label. Where y was 1-d: rows that sum to 1 (the
            classes' own probabilities, divided by their sum).

        Raises
        ------
        ValueError
            If X is not as in `fit`, or a dense result would not fit into memory.
        """
        check_is_fitted(self)
        if not _is_dense(self):
            return self._as_csr(*self._top_k_proba(X, exclude), np.float32)
        scores = self._dense_scores(X, exclude)
        if self._target_kind != "classes":
            return self._proba(scores)
        is_excluded = scores == -np.inf
        _check_some_class_left(is_excluded.all(1))
        proba = np.where(is_excluded, np.float32(0), self._proba(scores))
        return proba / proba.sum(1, keepdims=True)

    def predict(self, X: Any, exclude: Any = None) -> Any:
        """Labels of at least `threshold` probability; for 1-d y, the most probable class.

        Parameters
        ----------
        X : array-like of shape (n_samples,), str
            Texts.
        exclude : sparse matrix of shape (n_samples, n_labels), default=None
            Pairs never to give.

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
        if _is_dense(self):
            return (self._proba(self._dense_scores(X, exclude)) >= threshold).astype(
                self._target_dtype
            )
        labels, proba = self._top_k_proba(X, exclude)
        of_labels = threshold[labels] if np.ndim(threshold) else threshold
        labels = np.where(proba >= of_labels, labels, -1)
        return self._as_csr(labels, np.ones_like(proba), self._target_dtype)

    @available_if(_is_dense)
    def decision_function(self, X: Any) -> NDArray[np.float32]:
        """Scores of all labels; only where results are dense.

        A sparse matrix of scores would lie: what is missing reads as 0 and outranks every stored
        negative score. Use `predict_top_k` there.

        Parameters
        ----------
        X : array-like of shape (n_samples,), str
            Texts.

        Returns
        -------
        ndarray of shape (n_samples, n_labels) or (n_samples,), float32
            ``transform(X) @ label_embeddings_.T``, with -1e4 for labels whose embedding is 0, and
            what the words add where labels have weights for them (`UniDEC`); for two 1-d classes,
            the log-odds of the second against the first.
        """
        check_is_fitted(self)
        scores = self._dense_scores(X)
        if self._target_kind == "classes" and self.n_labels_ == 2:
            log_proba = log_expit(self._log_odds(scores))
            return np.asarray(log_proba[:, 1] - log_proba[:, 0])
        return scores

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Embeddings of texts.

        Parameters
        ----------
        X : array-like of shape (n_samples,), str
            Texts.

        Returns
        -------
        ndarray of shape (n_samples, width of `label_embeddings_`), float32
            What is multiplied with `label_embeddings_`; a classifier's intercepts are met by a
            constant in the last place.
        """
        check_is_fitted(self)
        module, _ = self._torch_model()
        return self._embed(module, self.encoder_.tokenize(self._check_texts(X, reset=False)))

    def score(self, X: Any, y: Any, sample_weight: Any = None, exclude: Any = None) -> float:
        """Precision at 1; accuracy where y is 1-d.

        scikit-learn's own default for many labels, the share of texts whose whole label set is
        right, is near 0 whatever the model.

        Parameters
        ----------
        X : array-like of shape (n_samples,), str
            Texts.
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
        if self._target_kind == "classes":
            predicted = self.predict(X, exclude)
            return float(accuracy_score(y, predicted, sample_weight=sample_weight))
        texts = self._check_texts(X, reset=False)
        target = check_target(y, len(texts), self.classes_)
        weights = check_sample_weight(sample_weight, len(texts))
        best = self._as_csr(*self._top_k_proba(X, exclude, k=1), np.float32)
        return precision_at_k(target.Y, best, k=1, exclude=exclude, sample_weight=weights)

    # ------------------------------------------------------------------------------------- pieces
    def _proba(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities of scores, strictly inside (0, 1), written over the scores."""
        eps = np.finfo(np.float32).eps
        expit(self._log_odds(scores), out=scores)
        return np.clip(scores, np.finfo(np.float32).tiny, 1 - eps, out=scores)

    def _top_k_proba(
        self, X: Any, exclude: Any, k: int | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        check_choice("sparse_output", self.sparse_output, ("auto", True, False))
        labels, scores = self.predict_top_k(X, k, exclude)
        return labels, self._proba(scores)

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
        module, table = self._torch_model()
        tokens = self.encoder_.tokenize(texts)
        embeddings = self._embed(module, tokens)
        scores = _scores(torch.from_numpy(embeddings).to(table.rows.device), table.rows)
        if table.words is not None:  # not all at once: a batch is dense over its words
            for rows in np.array_split(np.arange(len(texts)), -(-len(texts) // _QUERY_BATCH)):
                added = table.word_scores(tokens.take(rows))
                assert added is not None
                scores[rows] += added(0, self.n_labels_).cpu().numpy()
        if table.last is not None:
            scores[:, table.last.cpu().numpy()] = UNSEEN_SCORE
        if mask is not None:
            scores[mask.nonzero()] = -np.inf
        return scores

    @staticmethod
    def _search_bytes(n_labels: int) -> int:
        """What `_search` holds: scores, and their best."""
        return 5 * min(_SCORES_AT_ONCE, _QUERY_BATCH * n_labels)

    def _embed(self, module: EncoderModule, tokens: TokenStore) -> NDArray[np.float32]:
        embeddings = None
        for rows in length_sorted_slices(tokens.lengths, _QUERY_BATCH, _QUERY_TOKENS):
            part = self._embed_batch(module, tokens.take(rows)).cpu().numpy()
            if embeddings is None:
                embeddings = np.empty((len(tokens), part.shape[1]), np.float32)
            embeddings[rows] = part
        assert embeddings is not None  # check_texts lets no empty X through
        return embeddings

    def _search(
        self,
        module: EncoderModule,
        table: SearchTable,
        tokens: TokenStore,
        k: int,
        exclude: sp.csr_array | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Embed and search batch by batch: neither embeddings nor scores of all texts are held."""
        labels = np.empty((len(tokens), k), np.int64)
        scores = np.empty((len(tokens), k), np.float32)
        for rows in length_sorted_slices(tokens.lengths, _QUERY_BATCH, _QUERY_TOKENS):
            part = tokens.take(rows)
            best = top_k_inner_products(
                self._embed_batch(module, part),
                table.rows,
                k,
                chunk_size=max(_SCORES_AT_ONCE // len(rows), k),
                exclude=None if exclude is None else _pairs(exclude[rows], table.rows.device),
                unseen=table.last,
                added=table.word_scores(part),
            )
            labels[rows] = best[0].cpu().numpy()
            scores[rows] = best[1].float().cpu().numpy()
        return labels, scores

    @torch.inference_mode()
    def _embed_batch(self, module: EncoderModule, tokens: TokenStore) -> Tensor:
        device = next(module.parameters()).device
        with autocast(device, self._dtype(device)):
            embeddings = module(tokens)
        return self._text_embeddings(embeddings)

    def _torch_model(self) -> tuple[EncoderModule, SearchTable]:
        """The encoder and the table on `device`, built when first needed."""
        device = resolve_device(self.device)
        if self._runtime.get("device") != device:
            module = self.encoder_.build_module().to(device).eval()
            self._runtime.update(device=device, module=module, table=None)
        if self._runtime.get("table") is None:
            rows = as_read_only_tensor(self.label_embeddings_).to(device)
            self._runtime["table"] = SearchTable.of(rows, self._label_words())
        return self._runtime["module"], self._runtime["table"]

    def _as_csr(self, labels: NDArray[np.int64], values: NDArray[Any], dtype: Any) -> Any:
        """CSR of the labels that are not -1, in scikit-learn's sparse interface."""
        is_kept = labels >= 0
        indptr = np.concatenate([[0], np.cumsum(is_kept.sum(1))])
        is_array = sklearn.get_config().get("sparse_interface") == "sparray"
        container = sp.csr_array if is_array else sp.csr_matrix
        shape = (len(labels), self.n_labels_)
        matrix = container((values[is_kept].astype(dtype), labels[is_kept], indptr), shape=shape)
        matrix.sort_indices()
        return matrix

    # ------------------------------------------------------------------- manners in scikit-learn
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


def _scores(embeddings: Tensor, table: Tensor) -> NDArray[np.float32]:
    """All inner products, in float64: a text's scores then do not depend on its company.

    A float32 product rounds a row differently wherever it stands in the batch.
    """
    scores = np.empty((len(embeddings), len(table)), np.float32)
    chunk_size = max(_SCORES_AT_ONCE // len(embeddings), 1)
    for start in range(0, len(table), chunk_size):
        chunk = table[start : start + chunk_size].double()
        scores[:, start : start + chunk_size] = (embeddings.double() @ chunk.T).cpu().numpy()
    return scores


def _pairs(mask: sp.csr_array, device: torch.device) -> Pairs[Tensor]:
    """The mask's pairs, sorted by label."""
    rows, labels = mask.nonzero()
    order = np.argsort(labels, kind="stable")
    return Pairs(*(torch.from_numpy(a[order].astype(np.int64)).to(device) for a in (labels, rows)))


def as_read_only_tensor(array: NDArray[Any]) -> Tensor:
    """A tensor that shares `array`'s memory, which may be a read-only map: only read it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writ", UserWarning)
        return torch.from_numpy(np.asarray(array))
