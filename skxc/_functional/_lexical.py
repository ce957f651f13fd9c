"""Scores from the words themselves: a sparse linear layer over a batch's words.

A label has weights for a few words out of many, a text has a few words: a pair's score is the inner
product of the two, and no word that the batch lacks is ever looked at.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

# embedding_bag's gradient by the weights alone fails in torch 2.4 (pytorch/pytorch#136457)
_NEEDS_BOTH_GRADIENTS = torch.__version__ < "2.7"

# of a label with no more texts, every word counts
_FEW_TEXTS = 10


class PickedPairs(NamedTuple):
    """The (label, word) pairs of some labels that have a word of the batch."""

    places: NDArray[np.int64]  # (n_pairs,) among all pairs of the table, ascending
    words: NDArray[np.int64]  # (n_pairs,) among the words of the batch
    offsets: NDArray[np.int64]  # (n_labels + 1,) where each label's pairs begin


class BatchWords:
    """The words of a batch of texts, as a small dense matrix of their weights."""

    def __init__(self, texts: sp.csr_array) -> None:  # (batch, n_words)
        words, places = np.unique(texts.indices, return_inverse=True)
        self._places = np.full(texts.shape[1], -1, np.int32)
        self._places[words] = np.arange(len(words), dtype=np.int32)
        rows = np.repeat(np.arange(texts.shape[0]), np.diff(texts.indptr))
        weights = np.zeros((len(words), texts.shape[0]), texts.dtype)
        weights[places.ravel(), rows] = texts.data
        self.weights = torch.from_numpy(weights)  # (|words|, batch)

    def pairs(
        self,
        offsets: NDArray[np.integer],  # (n_rows + 1,) of the table, as in CSR
        words: NDArray[np.integer],  # (n_pairs,) of the table
        labels: NDArray[np.int64],  # (n_labels,) rows of the table
    ) -> PickedPairs:
        """The pairs of `labels` that the batch has a word of."""
        starts = offsets[labels].astype(np.int64)
        lengths = offsets[labels + 1] - starts
        ends = np.cumsum(lengths)
        places = np.arange(ends[-1]) + np.repeat(starts - (ends - lengths), lengths)
        in_batch = self._places[words[places]]
        kept = np.flatnonzero(in_batch >= 0)
        bounds = np.searchsorted(kept, np.concatenate([[0], ends]))
        return PickedPairs(places[kept], in_batch[kept].astype(np.int64), bounds)

    def scores(
        self,
        pairs: PickedPairs,
        weights: Tensor,  # (n_pairs,) of the picked pairs
    ) -> Tensor:  # (n_labels, batch)
        """Inner products of labels and texts; differentiable by `weights`.

        A bag of the batch's words is a label, so that torch's embedding_bag is both the product
        and, backwards, the gradient of the picked weights alone.
        """
        return F.embedding_bag(
            torch.from_numpy(pairs.words),
            self.weights.detach().requires_grad_(weights.requires_grad and _NEEDS_BOTH_GRADIENTS),
            torch.from_numpy(pairs.offsets),
            mode="sum",
            per_sample_weights=weights,
            include_last_offset=True,
        )


def co_occurring_pairs(
    texts: sp.csr_array,  # (n_texts, n_words)
    Y: sp.csr_array,  # (n_texts, n_labels)
    label_texts: sp.csr_array,  # (n_labels, n_words)
) -> sp.csr_array:  # (n_labels, n_words), its values the label texts'
    """The pairs of a label and a word of its texts, or of its own text.

    One that a single text joins tells nothing of a label that has many: such pairs, most of all,
    are left out.
    """
    has_word, has_label = (_ones(matrix) for matrix in (texts, Y))
    pairs = (has_label.T.tocsr() @ has_word).tocsr()
    n_texts = np.bincount(Y.indices, minlength=Y.shape[1])
    is_chance = (pairs.data < 2) & (n_texts > _FEW_TEXTS).repeat(np.diff(pairs.indptr))
    pairs.data[is_chance] = 0
    pairs.eliminate_zeros()
    marked = sp.csr_array(_ones(pairs) + _ones(label_texts))
    marked.sort_indices()
    marked.data = values_at(sp.csr_array(label_texts), marked)
    return marked


def values_at(matrix: sp.csr_array, pattern: sp.csr_array) -> NDArray[np.float32]:
    """The matrix's values at every stored place of `pattern`, which is sorted; else 0."""
    keys, known = _keys(pattern, pattern.shape[1]), _keys(matrix, pattern.shape[1])
    values = np.zeros(len(keys), np.float32)
    values[np.searchsorted(keys, known)] = matrix.data
    return values


def _keys(matrix: sp.csr_array, n_columns: int) -> NDArray[np.int64]:
    """One number a stored place."""
    rows = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
    return rows * n_columns + matrix.indices


def _ones(matrix: sp.csr_array) -> sp.csr_array:
    ones = np.ones(len(matrix.indices), np.float32)
    return sp.csr_array((ones, matrix.indices, matrix.indptr), shape=matrix.shape)
