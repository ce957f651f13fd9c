"""Exact search on a CPU: a pass in eight bits, then the exact scores of few labels.

A product with a table in eight bits takes a fraction of one in float32, be it bound by arithmetic
(many texts) or by memory (few), and of the words only the texts' own are read. What an eight-bit
product can be wrong by is known: every label that could be among the best is scored exactly.

numba is imported with this module: import it where it is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from skxc._data._tokens import TokenStore
from skxc._functional._quantized import (
    MOST_COLUMNS,
    Quantized,
    mean_row,
    quantized,
    query_bounds,
)
from skxc._functional._quantized_loops import (
    Candidates,
    Postings,
    exact_scores,
    find_candidates,
    integer_products,
    keep_best,
)
from skxc._functional._squared_hinge import with_narrow_indices
from skxc._functional._top_k import UNSEEN_SCORE
from skxc._kernels._int8 import PRODUCTS_AT_ONCE, has_int8_products, int8_products

_FEWEST_TEXTS_BY_TORCH = 3  # for 1 it takes twice as long as numba's loop, for 16 hardly longer
_FEWEST_TEXTS_A_THREAD = 16
_ROOM = 4096  # candidates that a text may have
_NO_LABELS = sp.csr_array((0, 0), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class EightBitTable:
    """A table of labels beside the exact one: a quarter of its memory."""

    rows: Tensor  # (n_labels, dim) on the host
    mean: NDArray[np.float64]  # (dim,) of the rows: what all share takes none of the eight bits
    table: Quantized  # of the rows less the mean
    unseen: NDArray[np.int64]
    by_word: sp.csr_array | None  # (n_words, n_labels) sorted

    @classmethod
    def of(
        cls, rows: Tensor, unseen: Tensor | None, words: sp.csr_array | None
    ) -> EightBitTable | None:
        """None where it would not be exact."""
        if rows.shape[1] > MOST_COLUMNS:
            return None
        mean = mean_row(rows)
        table = quantized(rows, mean)
        if not table.is_finite():
            return None
        places = np.zeros(0, np.int64) if unseen is None else unseen.numpy()
        by_word = None if words is None else with_narrow_indices(words.T.tocsr())
        return cls(rows, mean, table, places, by_word)

    def top_k(
        self,
        queries: Tensor,  # (batch, dim)
        tokens: TokenStore,
        k: int,
        exclude: sp.csr_array | None = None,  # (batch, n_labels)
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
        """As `top_k_inner_products` gives it, but that a text's scores do not depend on its batch.

        None where a query is not finite, or a text has too many candidates.
        """
        queries, k = queries.cpu().float(), min(k, len(self.rows))
        rounded = quantized(queries)
        if not rounded.is_finite():
            return None
        bounds = query_bounds(queries, rounded, self.mean)
        candidates = self._candidates(rounded.values, bounds, tokens, k, exclude)
        if candidates.is_full:
            return None
        labels = np.full((len(queries), k), -1)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        for i in range(len(queries)):
            keep_best(candidates, i, k)
            n = candidates.counts[i]
            found, exact = candidates.labels[i, :n], np.empty(n, np.float32)
            rows = self.rows.index_select(0, torch.from_numpy(found)).float().numpy()
            is_known = np.isin(found, self.unseen, invert=True)
            exact_scores(rows, queries[i].numpy(), candidates.added[i, :n], is_known, exact)
            best = np.argsort(-exact, kind="stable")[:k]  # of equal scores the first labels
            labels[i, : len(best)], scores[i, : len(best)] = found[best], exact[best]
        labels[scores == -np.inf] = -1
        return labels, scores

    def _candidates(
        self,
        queries: NDArray[np.int8],  # (batch, dim)
        bounds: NDArray[np.float64],  # (batch, 5)
        tokens: TokenStore,
        k: int,
        exclude: sp.csr_array | None,
    ) -> Candidates:
        """Of each text, the labels that may be among its k best."""
        n_texts, n_labels, table = len(queries), len(self.rows), self.table
        words, excluded = self._words(tokens), _excluded(exclude, n_texts)
        candidates = Candidates.empty(n_texts, _ROOM)

        def find(block: slice, products: NDArray[np.int32], labels: slice) -> None:
            first, last = np.searchsorted(self.unseen, [labels.start, labels.stop])
            find_candidates(
                products[block], labels.start,
                table.scales[labels], table.lengths[labels], table.errors[labels], bounds[block],
                words.of(block), self.unseen[first:last], UNSEEN_SCORE, excluded.of(block), k,
                candidates.of(block),
            )  # fmt: skip

        step = max(PRODUCTS_AT_ONCE // n_texts, 1)
        for start in range(0, n_labels, step):
            labels = slice(start, min(start + step, n_labels))
            products = self._products(queries, labels)
            _in_threads(partial(find, products=products, labels=labels), n_texts)
            if candidates.is_full:
                break
        return candidates

    def _products(
        self, queries: NDArray[np.int8], labels: slice
    ) -> NDArray[np.int32]:  # (batch, n_labels)
        """Those of the rounded rows."""
        rows = self.table.values[labels]
        if len(queries) >= _FEWEST_TEXTS_BY_TORCH and has_int8_products():
            return int8_products(queries, rows)
        products = np.empty((len(queries), len(rows)), np.int32)
        # widened once: an eighth faster than in the loop
        integer_products(rows, queries.astype(np.int16), products)
        return products

    def _words(self, tokens: TokenStore) -> Postings:
        """The labels of the texts' words."""
        if self.by_word is None:
            return _postings(_NO_LABELS, np.zeros_like(tokens.offsets), tokens.ids[:0])
        return _postings(self.by_word, tokens.offsets, tokens.ids, tokens.weights)


def _excluded(exclude: sp.csr_array | None, n_texts: int) -> Postings:
    """A text's excluded labels are one list of it."""
    if exclude is None:
        return _postings(_NO_LABELS, np.zeros(n_texts + 1, np.int64), np.zeros(0, np.int64))
    labels = with_narrow_indices(exclude.sorted_indices())
    labels.data = np.full(labels.nnz, -np.inf, np.float32)
    return _postings(labels, np.arange(n_texts + 1), np.arange(n_texts))


def _postings(
    labels: sp.csr_array,  # (n_lists, n_labels) sorted
    offsets: NDArray[np.int64],  # (n_texts + 1,) of each text's lists
    lists: NDArray[np.integer],  # (n,) rows of `labels`
    weights: NDArray[np.float32] | None = None,  # (n,) of the lists
) -> Postings:
    if weights is None:
        weights = np.ones(len(lists), np.float32)
    starts, ends = (labels.indptr[i:][lists].astype(np.int64) for i in (0, 1))
    return Postings(offsets, starts, ends, weights, labels.indices, labels.data)


def _in_threads(run: Callable[[slice], None], n_texts: int) -> None:
    """Run it for all texts, a slice of them in each thread."""
    n = max(min(torch.get_num_threads(), n_texts // _FEWEST_TEXTS_A_THREAD), 1)
    edges = np.arange(n + 1) * n_texts // n
    slices = [slice(*ends) for ends in pairwise(edges.tolist())]
    if n == 1:
        run(slices[0])
    else:
        with ThreadPoolExecutor(n) as pool:
            list(pool.map(run, slices))  # raises what one raised
