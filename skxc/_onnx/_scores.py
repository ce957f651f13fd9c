"""Scores, second stage and best labels, as operators of ONNX.

What `Ranker` and `Reranker` compute. Sparse tables stay sparse: what a batch needs of them is
gathered, and added up where it belongs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from skxc._functional._top_k import UNSEEN_SCORE
from skxc._search._ranker import LabelTable
from skxc._search._reranker import CANDIDATES, Reranker

from ._graph import Graph, Value


class Words(NamedTuple):
    """The words of texts, padded."""

    ids: Value  # (n, m) int64
    weights: Value  # (n, m) float32, 0 where there is none


class Best(NamedTuple):
    """Labels of texts, best first."""

    labels: Value  # (n, k) int64
    scores: Value  # (n, k) float32
    proba: Value  # (n, k) float32


def scores_of_all(graph: Graph, rows: Value, table: LabelTable, words: Words | None) -> Value:
    """The scores of all labels, (n, n_labels)."""
    scores = graph("MatMul", rows, table.rows.float().cpu().numpy().T)
    if table.words is not None:
        assert words is not None
        scores = _with_word_scores(graph, scores, table.words, words)
    if table.unseen is not None:
        is_unseen = np.zeros((1, len(table.rows)), np.bool_)
        is_unseen[:, table.unseen.cpu().numpy()] = True
        scores = graph("Where", is_unseen, np.float32(UNSEEN_SCORE), scores)
    return scores


def _with_word_scores(graph: Graph, scores: Value, table: sp.csr_array, words: Words) -> Value:
    """Add what the texts' words say of labels: of each word, the labels that weigh it."""
    by_word = table.tocsc()
    places = graph("NonZero", words.weights)  # (2, n_entries)
    of_texts, pairs = graph("Gather", places, 0), graph("Transpose", places)
    ids, weights = (graph("GatherND", part, pairs) for part in words)
    entries, sources = _expanded(graph, by_word.indptr, ids)
    label = _gathered(graph, by_word.indices, entries)
    added = graph("Mul", graph("Gather", by_word.data, entries), graph("Gather", weights, sources))
    first = graph("Mul", graph("Gather", of_texts, sources), [table.shape[0]])
    return graph(
        "Reshape",
        _added_up(graph, graph.flat(scores), graph("Add", first, label), added),
        graph("Shape", scores),
    )


def _expanded(
    graph: Graph,
    offsets: NDArray[np.integer],  # (n_keys + 1,)
    keys: Value,  # (n,) int64
) -> tuple[Value, Value]:
    """Where a sparse table's entries of the keys are, and which key each of them is of, (total,).

    The second counts the keys that have begun so far.
    """
    offsets_ = graph.constant(offsets.astype(np.int64))
    starts = graph("Gather", offsets_, keys)
    lengths = graph("Sub", graph("Gather", offsets_, graph("Add", keys, [1])), starts)
    before = graph("CumSum", lengths, 0, exclusive=1)
    total = graph("ReduceSum", lengths, keepdims=1)
    others = graph("Slice", before, [1], [np.iinfo(np.int64).max])
    zeros = graph("Expand", [0], graph("Add", total, [1]))  # keys without entries may begin behind
    ones = graph("Expand", [1], graph("Shape", others))
    begun = graph("CumSum", _added_up(graph, zeros, others, ones), 0)
    sources = graph("Slice", begun, [0], total)
    entries = graph("Range", 0, graph("Squeeze", total), 1)
    moved = graph("Gather", graph("Sub", starts, before), sources)
    return graph("Add", entries, moved), sources


def _gathered(graph: Graph, numbers: NDArray[np.integer], places: Value) -> Value:
    """Whole numbers, kept in 32 bits, as int64."""
    return graph.cast(graph("Gather", numbers.astype(np.int32), places), np.int64)


def _added_up(graph: Graph, into: Value, places: Value, values: Value, axis: int = 0) -> Value:
    return graph("ScatterElements", into, places, values, axis=axis, reduction="add")


def token_words(
    graph: Graph,
    ids: Value,  # (n, m) int64
    mask: Value,  # (n, m) int64: 1 at tokens
    idf: NDArray[np.float32],
) -> Words:
    """What the second stage reads in tokens that have no weights: their TF-IDF, at unit length.

    A token that a text has several times has its share of the weight at each place.
    """
    is_there = graph.cast(mask, np.float32)
    is_same = graph("Equal", graph("Unsqueeze", ids, [2]), graph("Unsqueeze", ids, [1]))
    counted = graph("Mul", graph.cast(is_same, np.float32), graph("Unsqueeze", is_there, [1]))
    counts = graph("Max", graph("ReduceSum", counted, [2], keepdims=0), np.float32(1))
    # tokens beyond those of training texts weigh nothing
    idf_of = graph("Gather", np.append(idf, np.float32(0)), graph("Min", ids, [len(idf)]))
    weights = graph("Mul", graph("Add", graph("Log", counts), np.float32(1)), idf_of)
    shares = graph("Div", graph("Mul", weights, is_there), counts)
    squares = graph("ReduceSum", graph("Mul", shares, weights), [1])
    length = graph("Max", graph("Sqrt", squares), np.float32(np.finfo(np.float32).tiny))
    return Words(ids, graph("Div", shares, length))


class Reranked(NamedTuple):
    """The candidates' scores, and how far all others fall."""

    scores: Value  # (n, n_candidates)
    shift: Value  # (n, 1)


def reranked(
    graph: Graph,
    labels: Value,  # (n, n_candidates) int64
    scores: Value,  # (n, n_candidates)
    words: Words,
    reranker: Reranker,
) -> Reranked:
    """Add the candidates' margins; see `Reranker`."""
    is_known = graph("Greater", scores, np.float32(UNSEEN_SCORE))
    margins = graph("Mul", _margins(graph, labels, words, reranker), np.float32(reranker.weight))
    moved = graph("Where", is_known, graph("Add", scores, margins), scores)
    last, lowest = (
        graph("ReduceMin", graph("Where", is_known, values, np.float32(np.inf)), [1])
        for values in (scores, moved)
    )
    is_any = graph("Less", last, np.float32(np.inf))
    shift = graph("Where", is_any, graph("Sub", lowest, last), np.float32(0))
    return Reranked(moved, graph("Min", shift, np.float32(0)))


def _margins(graph: Graph, labels: Value, words: Words, reranker: Reranker) -> Value:
    """What the labels' classifiers say of the texts, (n, n_candidates).

    Each pair of a candidate and a word is looked for among the label's words, which are sorted: by
    steps of falling powers of 2, to the last word that is not beyond it.
    """
    table = reranker.classifiers.weights
    n_steps = int(np.diff(table.indptr).max(initial=0)).bit_length()
    known = np.append(table.indices, np.full(1 << n_steps, -1)).astype(np.int32)
    kind = np.int32 if len(known) < 1 << 31 else np.int64
    offsets = table.indptr.astype(kind)
    wanted = graph("Unsqueeze", graph.cast(words.ids, np.int32), [1])  # (n, 1, m)
    labels_ = graph("Unsqueeze", labels, [2])  # (n, n_candidates, 1)
    starts, ends = (graph("Gather", part, labels_) for part in (offsets[:-1], offsets[1:]))
    known_ = graph.constant(known)
    nothing = graph.cast(graph("Mul", wanted, np.int32(0)), kind)
    place = graph("Sub", graph("Add", starts, nothing), kind(1))
    for step in (1 << i for i in reversed(range(n_steps))):
        next_ = graph("Add", place, kind(step))
        is_up_to = graph("LessOrEqual", graph("Gather", known_, next_), wanted)
        is_before = graph("And", is_up_to, graph("Less", next_, ends))
        place = graph("Where", is_before, next_, place)
    is_found = graph("GreaterOrEqual", place, starts)
    place = graph("Max", place, kind(0))
    is_found = graph("And", is_found, graph("Equal", graph("Gather", known_, place), wanted))
    values = np.append(table.data, np.zeros(1)).astype(np.float32)
    found = graph("Where", is_found, graph("Gather", values, place), np.float32(0))
    sums = graph("MatMul", found, graph("Unsqueeze", words.weights, [2]))  # (n, n_candidates, 1)
    intercepts = graph("Gather", reranker.classifiers.intercepts.astype(np.float32), labels)
    return graph("Add", graph("Squeeze", sums, [2]), intercepts)


def shifted(graph: Graph, scores: Value, shift: Value) -> Value:
    """Move the scores of known labels."""
    is_known = graph("Greater", scores, np.float32(UNSEEN_SCORE))
    return graph("Where", is_known, graph("Add", scores, shift), scores)


def best_labels(
    graph: Graph,
    scores: Value,  # (n, n_labels)
    k: int,
    n_labels: int,
    reranker: Reranker | None,
    words: Words | None,  # what the second stage reads
    sigmoid: tuple[float, float],  # slope and intercept
    *,
    is_classes: bool,  # y was 1-d: the probabilities of all classes sum to 1
) -> Best:
    """The `k` best labels, as `predict_top_k` gives them, and their probabilities."""
    n_found = k if reranker is None else min(max(k, CANDIDATES), n_labels)
    values, labels = graph.all("TopK", 2, scores, [n_found])
    if reranker is not None:
        assert words is not None
        first = graph("Slice", labels, [0], [CANDIDATES], [1])
        candidates = graph("Slice", values, [0], [CANDIDATES], [1])
        others = graph("Slice", values, [CANDIDATES], [n_found], [1])
        found = reranked(graph, first, candidates, words, reranker)
        others = shifted(graph, others, found.shift)
        values = graph("Concat", found.scores, others, axis=1)
        if is_classes:
            scores = shifted(graph, scores, found.shift)
            scores = graph("ScatterElements", scores, labels, values, axis=1)
        # of equal scores the first labels: TopK takes the first places
        labels, order = graph.all("TopK", 2, labels, [n_found], largest=0)
        values = graph("GatherElements", values, order, axis=1)
        values, order = graph.all("TopK", 2, values, [k])
        labels = graph("GatherElements", labels, order, axis=1)
    proba = _probabilities(graph, values, sigmoid)
    if is_classes:
        every = _probabilities(graph, scores, sigmoid)
        proba = graph("Div", proba, graph("ReduceSum", every, [1]))
    return Best(labels, values, proba)


def _probabilities(graph: Graph, scores: Value, sigmoid: tuple[float, float]) -> Value:
    """Strictly inside (0, 1).

    onnxruntime's Sigmoid gives 0 below -18, and a few digits above: too coarse where they are
    divided by their sum. Here none of the exponents is above 0, so that small ones are exact.
    """
    slope, intercept = map(np.float32, sigmoid)
    log_odds = graph("Add", graph("Mul", scores, slope), intercept)
    above = graph("Exp", graph("Min", log_odds, np.float32(0)))
    rest = graph("Add", graph("Exp", graph("Neg", graph("Abs", log_odds))), np.float32(1))
    kind = np.finfo(np.float32)
    return graph("Clip", graph("Div", above, rest), kind.tiny, np.float32(1 - kind.eps))
