"""Training the second stage: its classifiers, and the weight of what they say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from skxc import _distributed as processes
from skxc._data._batches import TrainingRows
from skxc._data._shares import column_share
from skxc._data._tokens import TokenStore

from ._ranker import Ranker
from ._reranker import CANDIDATES, Arrays, Reranker, as_arrays, as_classifiers, features, idf_of
from ._score_weights import best_weights, ndcg_at_5

if TYPE_CHECKING:
    from skxc._functional._squared_hinge import LinearClassifiers

# wrong labels of a training text whose classifiers learn from it: the first stage's best
_NEGATIVES = 50
# training texts that these are searched for: so many scores, or so many texts where labels are many
_MOST_SCORES = 1 << 31
_LEAST_SEARCHED = 10_000
_MOST_SEARCHED = 1 << 17
_TEXTS_AT_ONCE = 1 << 14  # of these
# a pair's text, label and value, in the forms that one is made of the other; a text's token
_BYTES_A_PAIR = 48
_BYTES_A_TOKEN = 24
# of the classifiers; see `squared_hinge_classifiers`
_SOLVER = {"C": 0.5, "intercept_scaling": 0.3, "tol": 0.3, "least_weight": 0.05}
# of a margin, in units of a score in training; the first is tried first and kept by default
_WEIGHTS = (3.0, 0.0, 0.5, 1.0, 2.0, 4.0, 6.0, 10.0)
_LARGEST_WEIGHT = 1e12  # with which float32 can compute: scales may be tiny


def default_weight(score_scale: float) -> float:
    """The weight of a margin where nothing is known of a set."""
    return min(_WEIGHTS[0] / score_scale, _LARGEST_WEIGHT)


def tuned_weight(
    reranker: Reranker, ranker: Ranker, rows: TrainingRows, score_scale: float
) -> float:
    """The weight that ranks held-out texts best, by nDCG@5; 0: no second stage."""
    k = min(CANDIDATES, rows.Y.shape[1])
    labels, scores = ranker.top_k(rows.tokens, k, rows.exclude)
    margins = reranker.classifiers.margins(features(rows.tokens, reranker.idf), labels)

    def ndcg(weights: Mapping[str, float]) -> NDArray[np.float64]:
        weight = np.float32(weights["margin"] / score_scale)
        return ndcg_at_5(labels, scores + weight * margins, rows)

    start = {"margin": _WEIGHTS[0]}
    best = best_weights(start, {"margin": _WEIGHTS[1:]}, ndcg, rows.sample_weight)
    return min(best["margin"] / score_scale, _LARGEST_WEIGHT)


def trained_arrays(
    ranker: Ranker,  # the first stage
    rows: TrainingRows,
    label_tokens: TokenStore | None,
    *,
    n_words: int,  # 0: tokens have no TF-IDF weights
    earlier: Arrays,  # of the fit that training goes on from; empty: none
    is_stream: bool,
    rng: np.random.Generator,
    n_threads: int,
) -> dict[str, Any]:
    """The classifiers of all labels, as a fitted model keeps them.

    Of each label: from its texts, its own text, and those that the first stage takes for its own.
    In a stream, earlier classifiers move as far as these texts ask for; otherwise all are solved
    anew, but of labels that no longer occur.
    """
    known, idf, own = None, np.empty(0, np.float32), processes.share(rows.Y.shape[1])
    if earlier:
        idf, known = earlier["idf"], _of_labels(as_classifiers(earlier), own)
    elif not n_words:
        idf = idf_of(rows.tokens)
    tokens, pairs = rows.tokens, column_share(_pairs(ranker, rows, rng), own)
    if label_tokens is not None and not (is_stream and earlier):  # a stream learns them once
        tokens = tokens.followed_by(label_tokens)
        of_texts = column_share(_of_texts(label_tokens), own)
        pairs = sp.vstack([pairs, of_texts], format="csr")
    if known is not None and not is_stream:
        is_gone = np.bincount(rows.Y.indices, minlength=rows.Y.shape[1])[own] == 0
        pairs = pairs @ sp.diags_array((~is_gone).astype(np.float32), format="csr")
        known = _only(known, is_gone)
    if n_words:
        texts, places = tokens.placed_csr(n_words)
        texts = texts if texts.has_sorted_indices else texts.sorted_indices()
    else:
        parts = (features(part, idf) for part in tokens.parts())
        texts = _widened(sp.vstack(list(parts), format="csr"), len(idf))
        places = np.arange(len(tokens))
    of_labels = _by_label(pairs, places, texts.shape[0])
    del pairs  # as large
    return as_arrays(_solved(texts, of_labels, known, n_threads), idf)


def _by_label(
    pairs: sp.csr_array,  # (n_rows, n_labels)
    places: NDArray[np.int64],  # (n_rows,) of the rows among the texts
    n_texts: int,
) -> sp.csc_array:  # (n_texts, n_labels)
    """The pairs of each label, in the rows' order."""
    pairs.eliminate_zeros()
    of_labels = pairs.tocsc()
    rows = places.astype(of_labels.indices.dtype)[of_labels.indices]
    return sp.csc_array((of_labels.data, rows, of_labels.indptr), (n_texts, pairs.shape[1]))


def _of_labels(known: LinearClassifiers, own: slice) -> LinearClassifiers:
    if own == slice(0, len(known.intercepts)):
        return known
    return type(known)(sp.csr_array(known.weights[own]), known.intercepts[own])


def _only(known: LinearClassifiers, is_kept: NDArray[np.bool_]) -> LinearClassifiers:
    """Some of the classifiers, and 0 in the place of the others."""
    kept = is_kept.astype(np.float32)
    weights = sp.csr_array(sp.diags_array(kept, format="csr") @ known.weights)
    return known._replace(weights=weights, intercepts=known.intercepts * kept)


def _of_texts(tokens: TokenStore) -> sp.csr_array:
    """Each label's own text, if it has a token, as a text that has this label."""
    return sp.diags_array((np.diff(tokens.offsets) > 0).astype(np.float32), format="csr")


def with_new_labels(arrays: Arrays, tokens: TokenStore) -> dict[str, Any]:
    """The arrays, and classifiers of labels of which nothing is known but their texts."""
    if not arrays:
        return {}
    known = as_classifiers(arrays)
    texts = _widened(features(tokens, arrays["idf"]), known.weights.shape[1])
    new = _solved(texts, _of_texts(tokens).tocsc(), None, 1)
    joined = type(known)(
        sp.vstack([known.weights, new.weights], format="csr"),
        np.concatenate([known.intercepts, new.intercepts]),
    )
    return as_arrays(joined, arrays["idf"])


def _solved(
    texts: sp.csr_array,
    pairs: sp.csc_array,  # (n_texts, n_labels) above 0: the text has the label; below: it has not
    earlier: LinearClassifiers | None,
    n_threads: int,
) -> LinearClassifiers:
    from skxc._functional._squared_hinge import squared_hinge_classifiers  # imports numba

    pairs.eliminate_zeros()
    return squared_hinge_classifiers(texts, pairs, **_SOLVER, earlier=earlier, n_threads=n_threads)


def _pairs(ranker: Ranker, rows: TrainingRows, rng: np.random.Generator) -> sp.csr_array:
    """Texts with their labels (above 0) and with those that they are to be told from (below)."""
    n_rows, n_labels = rows.Y.shape
    n_searched = n_texts_searched(n_rows, n_labels)
    searched = np.sort(rng.choice(n_rows, n_searched, replace=False))
    counts, labels = np.zeros(n_rows + 1, rows.Y.indptr.dtype), []
    for start in range(0, n_searched, _TEXTS_AT_ONCE):
        part = searched[start : start + _TEXTS_AT_ONCE]
        found = ranker.hard_negatives(rows.take(part), min(_NEGATIVES, n_labels))
        counts[part + 1] = (found >= 0).sum(1)
        labels.append(found[found >= 0])
    indices = np.concatenate(labels)
    ones = np.ones(len(indices), np.float32)
    pairs = rows.Y - sp.csr_array(
        (ones, indices, np.cumsum(counts, dtype=counts.dtype)), rows.Y.shape
    )
    weights = rows.sample_weight
    if weights is not None:
        pairs = sp.diags_array(weights, format="csr") @ pairs
    return pairs


def n_texts_searched(n_rows: int, n_labels: int) -> int:
    """Training texts whose candidates are searched for: where labels or texts are many, some."""
    return min(n_rows, max(_MOST_SCORES // n_labels, _LEAST_SEARCHED), _MOST_SEARCHED)


def _widened(texts: sp.csr_array, n_words: int) -> sp.csr_array:
    return sp.csr_array((texts.data, texts.indices, texts.indptr), (texts.shape[0], n_words))


def training_bytes(rows: TrainingRows, label_tokens: TokenStore | None) -> int:
    """What training the classifiers holds, with what is kept of them."""
    n_rows, n_labels = rows.Y.shape
    n_texts = n_texts_searched(n_rows, n_labels)
    n_pairs = n_texts * min(_NEGATIVES, n_labels) + rows.Y.nnz + n_labels  # before they are shared
    n_tokens = rows.tokens.n_tokens + (0 if label_tokens is None else label_tokens.n_tokens)
    n_weights = n_pairs * n_tokens // (n_rows + n_labels)  # of all pairs' words, before any is one
    return _BYTES_A_PAIR * n_pairs + _BYTES_A_TOKEN * n_tokens + 8 * min(n_weights, 1 << 23)
