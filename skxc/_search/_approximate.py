"""Approximate search: a graph over the labels' rows proposes candidates, scored exactly after.

The graph is usearch's (HNSW). Rows and texts are changed so that neighbours in it are the labels of
the highest scores, also where rows differ in length: rows less their mean, which changes no text's
order of labels, then one more coordinate that makes all of one length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from skxc._data._tokens import TokenStore
from skxc._functional._top_k import top_k_of_rows

from ._building import building
from ._graph import check_graph, new_graph
from ._ranker import LabelTable, Ranker, Search

_LABELS_A_WIDTH = 1000  # with fewer, the exact search is about as fast: 128,000 labels for k=5
_WIDTH, _WIDTH_A_LABEL = 128, 4  # labels that a walk through the graph keeps: the larger
_POSTINGS = 128  # labels of each word: those of its highest weights
_CHUNK = 1 << 16  # rows changed at once
_GATHERED = 1 << 22  # numbers of rows gathered at once: 16 MiB


@dataclass(frozen=True, eq=False)
class LabelIndex:
    """Finds candidates among the labels of one table."""

    rows: Tensor  # the table's
    mean: NDArray[np.float32]  # (dim,) of the rows that are in the graph
    radius: np.floating[Any]  # the greatest length of a row less the mean
    graph: Any  # usearch's Index; its keys are labels
    postings: sp.csr_array | None  # (n_words, n_labels) the highest weights of each word
    content: NDArray[np.uint8] | None = None  # bytes that the graph reads: held while it lives

    @classmethod
    def built(cls, table: LabelTable) -> LabelIndex:
        """A graph over the labels that are not unseen."""
        labels = _seen(table)
        total = np.zeros(table.rows.shape[1], np.float64)
        for part in _parts(labels):
            total += _rows(table, part).sum(0, dtype=np.float64)
        mean = (total / len(labels)).astype(np.float32)
        lengths = [np.linalg.norm(_rows(table, p) - mean, axis=1).max() for p in _parts(labels)]
        radius = np.float32(max(*lengths, np.finfo(np.float32).tiny))
        index = cls(table.rows, mean, radius, new_graph(len(mean) + 1), _postings(table))
        index._add(table, labels)
        return index

    @classmethod
    def restored(cls, arrays: Mapping[str, NDArray[Any]], table: LabelTable) -> LabelIndex:
        """What `arrays` gave, found to be of this table.

        Raises
        ------
        ValueError
            If the arrays are no sound index of the table.
        """
        if {*arrays} != {"graph", "mean", "radius"}:
            raise ValueError("its arrays are other ones")
        mean, radius, content = arrays["mean"], arrays["radius"], arrays["graph"]
        dim = table.rows.shape[1]
        is_sound = mean.dtype == radius.dtype == np.float32 and content.dtype == np.uint8
        if not is_sound or mean.shape != (dim,) or radius.shape != (1,) or content.ndim != 1:
            raise ValueError("its arrays are of other shapes or types")
        if not np.isfinite(mean).all() or not 0 < radius[0] < np.inf:
            raise ValueError("its numbers are not finite")
        labels = _seen(table)
        vectors = check_graph(content, labels, dim + 1)
        graph = new_graph(dim + 1)
        index = cls(table.rows, mean, radius[0], graph, _postings(table), content)
        for start in range(0, len(labels), _CHUNK):
            part = labels[start : start + _CHUNK]
            off = np.abs(vectors(start, start + len(part)) - index._as_vectors(table, part))
            if not (off < 0.02).all():  # bfloat16's rounding, and nan
                raise ValueError("it is an index of other labels")
        graph.view(content.data)
        return index

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The index in numbers, for a file."""
        with building(self):
            content = np.frombuffer(self.graph.save(), np.uint8)
        return {"graph": content, "mean": self.mean, "radius": np.array([self.radius])}

    def is_of(self, table: LabelTable) -> bool:
        """Whether these are the table's rows: the same memory, which `rows` keeps."""
        rows = table.rows
        return rows.data_ptr() == self.rows.data_ptr() and rows.shape == self.rows.shape

    def extended(self, table: LabelTable) -> LabelIndex | None:
        """The index with the labels that the table has more, if it is the same otherwise."""
        n_known = len(self.rows)
        if len(table.rows) <= n_known or table.rows.shape[1] != self.rows.shape[1]:
            return None
        if not torch.equal(table.rows[:n_known], self.rows):
            return None
        graph = new_graph(len(self.mean) + 1)
        graph.load(bytes(self.arrays()["graph"]))  # other threads search in this one
        index = LabelIndex(table.rows, self.mean, self.radius, graph, _postings(table))
        labels = _seen(table)
        index._add(table, labels[labels >= n_known])
        return index

    def search(self, ranker: Ranker) -> Search:
        """For the ranker of this table."""
        return partial(self._top_k, ranker)

    def _top_k(
        self,
        ranker: Ranker,
        embeddings: Tensor,  # (batch, dim)
        tokens: TokenStore,
        k: int,
        exclude: sp.csr_array | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The `k` best of the candidates, by their exact scores.

        A text that excludes so much that fewer than `k` of the graph's labels are left is searched
        for exactly.
        """
        table = ranker.table
        texts = None if table.words is None else tokens.as_csr(table.words.shape[1])
        most = 0 if exclude is None else int(np.diff(exclude.indptr).max())
        found = self._nearest(embeddings, min(2 * k + most, _width(k)), _width(k))
        is_left = ~_is_in(found, exclude)
        is_lacking = is_left.sum(1) < k
        found = np.where(is_left, found, -1)
        if texts is not None and self.postings is not None:
            more = _best_by_words(texts, self.postings, 2 * k)
            more[_is_in(more, exclude)] = -1
            found = np.concatenate([found, more], 1)
        found.sort(axis=1)
        found[:, 1:][found[:, 1:] == found[:, :-1]] = -1
        scores = _scores(embeddings, found, table, texts)
        best, order = top_k_of_rows(torch.from_numpy(scores), k)
        result = np.take_along_axis(found, order.numpy(), 1), best.numpy()
        if is_lacking.any():
            rows = np.flatnonzero(is_lacking)
            mask = None if exclude is None else exclude[rows]
            exact = ranker.exact_top_k(embeddings[rows], tokens.take(rows), k, mask)
            result[0][rows], result[1][rows] = exact
        return result

    def _nearest(self, embeddings: Tensor, n: int, width: int) -> NDArray[np.int64]:
        """The graph's `n` labels of the highest dense scores, (batch, n); -1: none."""
        queries = np.zeros((len(embeddings), len(self.mean) + 1), np.float32)
        queries[:, :-1] = torch.nn.functional.normalize(embeddings.float(), dim=1).numpy()
        # in turn: two calls would share usearch's scratch memory, and the graph's width
        with building(self):
            self.graph.expansion_search = width
            found = self.graph.search(queries, n, threads=torch.get_num_threads())
        keys = np.asarray(found.keys, np.int64).reshape(len(queries), -1)
        if len(queries) > 1:  # a single text's are cut by usearch
            keys = np.where(np.arange(keys.shape[1]) < np.asarray(found.counts)[:, None], keys, -1)
        return keys

    def _add(self, table: LabelTable, labels: NDArray[np.int64]) -> None:
        for part in _parts(labels):
            # one thread: the same rows then give the same graph
            self.graph.add(part, self._as_vectors(table, part), threads=1)

    def _as_vectors(self, table: LabelTable, labels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Rows as the graph holds them: of length 1, but for labels beyond the radius."""
        vectors = np.empty((len(labels), len(self.mean) + 1), np.float32)
        vectors[:, :-1] = (_rows(table, labels) - self.mean) / self.radius
        squares = (vectors[:, :-1] ** 2).sum(1)
        vectors[:, -1] = np.sqrt(np.maximum(1 - squares, 0))
        return vectors


def pays(n_labels: int, k: int) -> bool:
    """Whether the approximate search for `k` of the labels is faster than the exact one."""
    return n_labels >= _LABELS_A_WIDTH * _width(k)


def _width(k: int) -> int:
    return max(_WIDTH, _WIDTH_A_LABEL * k)


def _seen(table: LabelTable) -> NDArray[np.int64]:
    labels = np.arange(len(table.rows))
    return labels if table.unseen is None else np.delete(labels, table.unseen.numpy())


def _parts(labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [labels[start : start + _CHUNK] for start in range(0, len(labels), _CHUNK)]


def _rows(table: LabelTable, labels: NDArray[np.int64]) -> NDArray[np.float32]:
    return table.rows[torch.from_numpy(labels)].float().numpy()


def _postings(table: LabelTable) -> sp.csr_array | None:
    """For each word, the labels of its `_POSTINGS` highest weights above 0."""
    if table.words is None:
        return None
    words = sp.csr_array(table.words.T.tocsr())
    if table.unseen is not None:  # they rank last, whatever their words
        words.data[np.isin(words.indices, table.unseen.numpy())] = 0
    lengths = np.diff(words.indptr)
    word_of_each = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((-words.data, word_of_each))
    places = np.arange(words.nnz) - np.repeat(words.indptr[:-1], lengths)
    kept = order[(places < _POSTINGS) & (words.data[order] > 0)]
    entries = words.data[kept], (word_of_each[kept], words.indices[kept])
    return sp.csr_array(entries, shape=words.shape)


def _best_by_words(texts: sp.csr_array, postings: sp.csr_array, n: int) -> NDArray[np.int64]:
    """Labels of the highest word scores by the postings, (n_texts, n); -1: none."""
    scores = sp.csr_array(texts @ postings)
    best = np.full((scores.shape[0], n), -1)
    for row, (start, end) in enumerate(zip(scores.indptr, scores.indptr[1:], strict=False)):
        labels, values = scores.indices[start:end], scores.data[start:end]
        if len(labels) > n:
            labels = labels[np.argpartition(-values, n)[:n]]
        best[row, : len(labels)] = labels
    return best


def _is_in(labels: NDArray[np.int64], mask: sp.csr_array | None) -> NDArray[np.bool_]:
    """Which (text, label) pairs are none or in the mask."""
    if mask is None:
        return labels < 0
    rows, columns = mask.nonzero()
    n_labels = mask.shape[1]
    keys = np.arange(len(labels))[:, None] * n_labels + labels
    return (labels < 0) | np.isin(keys, rows.astype(np.int64) * n_labels + columns)


def _scores(
    embeddings: Tensor,  # (batch, dim)
    labels: NDArray[np.int64],  # (batch, n); -1: none
    table: LabelTable,
    texts: sp.csr_array | None,  # (batch, n_words)
) -> NDArray[np.float32]:
    """The scores of these pairs, (batch, n); -inf where there is none."""
    places = torch.from_numpy(labels.clip(min=0))
    scores = np.empty(labels.shape, np.float32)
    step = max(_GATHERED // (labels.shape[1] * table.rows.shape[1]), 1)
    for start in range(0, len(labels), step):
        part = slice(start, start + step)
        rows = table.rows[places[part]].float()  # (step, n, dim)
        scores[part] = torch.bmm(rows, embeddings[part].float()[:, :, None])[:, :, 0].numpy()
    if texts is not None:
        from skxc._functional._squared_hinge import LinearClassifiers  # imports numba

        words = table.words
        assert words is not None
        no_intercepts = np.zeros(len(table.rows), np.float32)
        scores += LinearClassifiers(words, no_intercepts).margins(texts, labels)
    scores[labels < 0] = -np.inf
    return scores
