"""Exact search for a few texts on a CPU: a pass in eight bits, then the exact scores of few labels.

A product of few texts with a table in float32 takes as long as reading the table, and the words'
scores as long as reading all labels' words. Here the table is read in eight bits, and of the words
only the texts' own. What an eight-bit product can be wrong by is known: every label that could be
among the best is scored exactly, so that the result is that of a search in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from skxc._data._tokens import TokenStore
from skxc._functional._quantized import (
    MOST_COLUMNS,
    Quantized,
    QueryBound,
    quantized,
    query_bounds,
)
from skxc._functional._top_k import UNSEEN_SCORE
from skxc._kernels._int8 import has_int8_products, int8_products

_BLOCKS_A_LABEL = 16  # asked for: few of the best then share a block
# Texts a call up to which it is faster than a product in float32. Measured with 100,000 labels on
# one thread of a Xeon: by numba's loop 20 with words and 8 without, by torch's product 80 and 32.
_MOST_TEXTS = 8
_MOST_TEXTS_BY_TORCH = 32
_FEWEST_TEXTS_BY_TORCH = 3  # for 1 it takes twice as long as numba's loop, for 16 hardly longer
_PRODUCTS_AT_ONCE = 1 << 21  # texts times labels; int32
_LEAST_NUMBERS = 1 << 20  # smaller tables take a fraction of a millisecond in any case


def is_small(n_texts: int, rows: Tensor, k: int) -> bool:
    """Whether this search is the faster one."""
    is_large = rows.numel() >= _LEAST_NUMBERS and len(rows) >= _BLOCKS_A_LABEL * k
    most = _MOST_TEXTS_BY_TORCH if has_int8_products() else _MOST_TEXTS
    return n_texts <= most and is_large and rows.device.type == "cpu"


@dataclass(frozen=True, eq=False)
class SmallBatches:
    """A table of labels for a few texts a call."""

    rows: Tensor  # (n_labels, dim) on the host
    table: Quantized
    unseen: NDArray[np.int64] | None
    by_word: sp.csr_array | None  # (n_words, n_labels)
    loops: Any  # the module of compiled loops

    @classmethod
    def of(
        cls, rows: Tensor, unseen: Tensor | None, words: sp.csr_array | None
    ) -> SmallBatches | None:
        """None where it would not be exact, or numba is missing."""
        try:
            from skxc._functional import _quantized_loops as loops
        except ImportError:
            return None
        if rows.shape[1] > MOST_COLUMNS:
            return None
        table = quantized(rows)
        if not table.is_finite():
            return None
        places = None if unseen is None else unseen.numpy()
        if places is not None:  # rows of 0: what is added is then their score
            for array in table:
                array[places] = 0
        return cls(rows, table, places, None if words is None else words.T.tocsr(), loops)

    def top_k(
        self,
        queries: Tensor,  # (batch, dim)
        tokens: TokenStore,
        k: int,
        exclude: sp.csr_array | None = None,  # (batch, n_labels)
    ) -> tuple[Tensor, Tensor] | None:
        """As `top_k_inner_products` gives it, but for the rounding of scores.

        None where a query is not finite.
        """
        queries, k = queries.cpu().float(), min(k, len(self.rows))
        rounded = quantized(queries)
        if not rounded.is_finite():
            return None
        labels = np.empty((len(queries), k), np.int64)
        scores = np.empty((len(queries), k), np.float32)
        n_at_once = max(_PRODUCTS_AT_ONCE // len(self.rows), 1)
        for i, bound in enumerate(query_bounds(rounded)):
            added = self._added(tokens, i, exclude)
            if i % n_at_once == 0:
                products = self._products(rounded.values[i : i + n_at_once])
            candidates = self._candidates(products[i % n_at_once], bound, added, k)
            exact = np.empty(len(candidates), np.float32)
            rows = self._rows_of(candidates)
            self.loops.exact_scores(rows, queries[i].numpy(), added[candidates], exact)
            best = np.argsort(-exact, kind="stable")[:k]  # of equal scores the first labels
            labels[i], scores[i] = candidates[best], exact[best]
        labels[scores == -np.inf] = -1
        return torch.from_numpy(labels), torch.from_numpy(scores)

    def _products(self, queries: NDArray[np.int8]) -> NDArray[np.int32]:  # (batch, n_labels)
        """Those of the rounded rows."""
        if len(queries) >= _FEWEST_TEXTS_BY_TORCH and has_int8_products():
            return int8_products(queries, self.table.values)
        products = np.empty((len(queries), len(self.rows)), np.int32)
        # widened once: an eighth faster than in the loop
        self.loops.integer_products(self.table.values, queries.astype(np.int16), products)
        return products

    def _rows_of(self, labels: NDArray[np.int64]) -> NDArray[np.float32]:  # (len(labels), dim)
        rows: NDArray[np.float32] = self.rows[torch.from_numpy(labels)].float().numpy()
        rows[self.table.lengths[labels] == 0] = 0  # unseen ones: of others, it is a little more
        return rows

    def _added(
        self, tokens: TokenStore, text: int, exclude: sp.csr_array | None
    ) -> NDArray[np.float32]:  # (n_labels,)
        """The words' scores, those of unseen labels, and -inf where a pair is excluded."""
        added = np.zeros(len(self.rows), np.float32)
        if self.by_word is not None:
            part = slice(tokens.offsets[text], tokens.offsets[text + 1])
            assert tokens.weights is not None  # words have them
            self.loops.add_word_scores(
                tokens.ids[part],
                tokens.weights[part],
                self.by_word.indptr,
                self.by_word.indices,
                self.by_word.data,
                added,
            )
        if self.unseen is not None:
            added[self.unseen] = UNSEEN_SCORE
        if exclude is not None:
            added[exclude.indices[exclude.indptr[text] : exclude.indptr[text + 1]]] = -np.inf
        return added

    def _candidates(
        self, products: NDArray[np.int32], bound: QueryBound, added: NDArray[np.float32], k: int
    ) -> NDArray[np.int64]:
        """Labels that may be among the k best, ascending; k at least."""
        n_labels, table = len(added), self.table
        upper, lower = np.empty((2, n_labels), np.float32)
        self.loops.bound_scores(
            products, table.scales, table.lengths, table.errors, *bound, added, upper, lower
        )
        # k blocks have a label of at least so much; to find the k best labels takes longer
        block = max(n_labels // (_BLOCKS_A_LABEL * k), 1)
        maxima = np.empty(-(-n_labels // block), np.float32)
        self.loops.block_maxima(lower, maxima, block)
        return np.flatnonzero(upper >= np.partition(maxima, -k)[-k])
