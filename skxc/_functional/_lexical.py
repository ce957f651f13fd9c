"""Scores from words: a sparse linear layer over the words of a batch.

A label has weights for few of all words, and a text has few words. The score of the two is the
inner product; only the words of the batch are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

# embedding_bag's gradient by the weights alone fails in torch 2.4 (pytorch/pytorch#136457)
_NEEDS_BOTH_GRADIENTS = torch.__version__ < "2.7"

_WORDS_AT_ONCE = 1 << 22  # of texts, when pairs are counted
# labels with at most so many texts keep every word of these
_FEW_TEXTS = 10


class WordEntries(NamedTuple):
    """(label, word) entries of a CSR table: of some labels and of the batch's words."""

    positions: NDArray[np.int64]  # (n_entries,) in the table's data
    words: NDArray[np.int64]  # (n_entries,) rows of `BatchWords.weights`
    offsets: NDArray[np.int64]  # (n_labels + 1,) where the entries of each label begin


class BatchWords:
    """The words of a batch of texts, as a dense matrix of their weights in the texts."""

    def __init__(self, texts: sp.csr_array) -> None:  # (batch, n_words)
        words, word_rows = np.unique(texts.indices, return_inverse=True)
        self._rows = np.full(texts.shape[1], -1, np.int32)  # of `weights`; -1: not in the batch
        self._rows[words] = np.arange(len(words), dtype=np.int32)
        text_of_each = np.repeat(np.arange(texts.shape[0]), np.diff(texts.indptr))
        weights = np.zeros((len(words), texts.shape[0]), texts.dtype)
        weights[word_rows.ravel(), text_of_each] = texts.data
        self.weights = torch.from_numpy(weights)  # (n_batch_words, batch)

    def entries(
        self,
        table: sp.csr_array,  # (n_rows, n_words)
        labels: NDArray[np.int64],  # (n_labels,) some of its rows
    ) -> WordEntries:
        """The table's entries of `labels` and of the batch's words."""
        starts = table.indptr[labels].astype(np.int64)
        lengths = table.indptr[labels + 1] - starts
        ends = np.cumsum(lengths)
        positions = np.arange(ends[-1]) + np.repeat(starts - (ends - lengths), lengths)
        rows = self._rows[table.indices[positions]]
        kept = np.flatnonzero(rows >= 0)
        bounds = np.searchsorted(kept, np.concatenate([[0], ends]))
        return WordEntries(positions[kept], rows[kept].astype(np.int64), bounds)

    def scores(self, entries: WordEntries, weights: Tensor) -> Tensor:  # (n_labels, batch)
        """Inner products of labels and texts; differentiable by the entries' weights (n_entries,).

        Each label is a bag of words for torch's embedding_bag: it computes the product, and its
        backward pass computes the gradient of these weights alone.
        """
        return F.embedding_bag(
            torch.from_numpy(entries.words),
            self.weights.detach().requires_grad_(weights.requires_grad and _NEEDS_BOTH_GRADIENTS),
            torch.from_numpy(entries.offsets),
            mode="sum",
            per_sample_weights=weights,
            include_last_offset=True,
        )


def co_occurring_pairs(
    texts: sp.csr_array,  # (n_texts, n_words); perhaps in files
    Y: sp.csr_array,  # (n_rows, n_labels)
    label_texts: sp.csr_array,  # (n_labels, n_words)
    rows: NDArray[np.int64] | None = None,  # (n_rows,) the texts that `Y` is of; None: all
) -> sp.csr_array:  # (n_labels, n_words), its values the label texts'
    """An entry for each label and word of its texts, or of its label text.

    A word in only one of a label's many texts says little about the label. Such entries, the
    majority, are left out.
    """
    has_label = _ones(Y).tocsc()
    rows = np.arange(Y.shape[0]) if rows is None else rows
    n_words = np.diff(texts.indptr)[rows]
    parts = []
    for labels in _label_blocks(has_label, n_words):
        of_block = has_label[:, labels]
        found, places = np.unique(of_block.indices, return_inverse=True)
        by_label = sp.csr_array(
            (of_block.data, places.ravel(), of_block.indptr), (of_block.shape[1], len(found))
        )
        counts = sp.csr_array(by_label @ _ones(texts[rows[found]]))
        n_texts = np.diff(of_block.indptr)
        is_chance = (counts.data < 2) & (n_texts > _FEW_TEXTS).repeat(np.diff(counts.indptr))
        counts.data[is_chance] = 0
        counts.eliminate_zeros()
        parts.append(counts)
    marked = sp.csr_array(_ones(sp.vstack(parts, format="csr")) + _ones(label_texts))
    marked.sort_indices()
    marked.data = values_at(sp.csr_array(label_texts), marked)
    return marked


def _label_blocks(has_label: sp.csc_array, n_words: NDArray[np.integer]) -> Iterator[slice]:
    """Labels whose texts are looked at together: so many that their words are not too many."""
    n_entries = np.concatenate([[0], np.cumsum(n_words[has_label.indices], dtype=np.int64)])
    of_label = np.diff(n_entries[has_label.indptr])
    block = (np.cumsum(of_label) - of_label) // _WORDS_AT_ONCE
    edges = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), has_label.shape[1]]
    return (slice(a, b) for a, b in pairwise(edges))


def values_at(matrix: sp.csr_array, pattern: sp.csr_array) -> NDArray[np.float32]:
    """The matrix's values at the entries of `pattern`, 0 if it has none; `pattern` is sorted."""
    keys, known = _keys(pattern, pattern.shape[1]), _keys(matrix, pattern.shape[1])
    values = np.zeros(len(keys), np.float32)
    values[np.searchsorted(keys, known)] = matrix.data
    return values


def _keys(matrix: sp.csr_array, n_columns: int) -> NDArray[np.int64]:
    """A number for each entry, ascending in a sorted matrix."""
    rows = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
    return rows * n_columns + matrix.indices


def _ones(matrix: sp.csr_array) -> sp.csr_array:
    ones = np.ones(len(matrix.indices), np.float32)
    return sp.csr_array((ones, matrix.indices, matrix.indptr), shape=matrix.shape)
