"""Word scores of single pairs of texts and labels."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from skxc._kernels._compiled import compiled


def add_word_scores_(
    scores: NDArray[np.float32],  # (n_texts, n); updated in place
    labels: NDArray[np.int64],  # (n_texts, n); negative: none
    texts: sp.csr_array,  # (n_texts, n_words)
    words: sp.csr_array,  # (n_labels, n_words)
) -> None:
    """Add the inner products of the texts' words and the labels'."""
    _add(
        scores, labels,
        texts.indptr, texts.indices, texts.data, words.indptr, words.indices, words.data,
        np.zeros(words.shape[1], np.float32),
    )  # fmt: skip


@compiled
def _add(  # type: ignore[no-untyped-def]
    scores, labels, text_offsets, text_words, text_weights, offsets, words, weights, dense
):
    for i in range(len(labels)):
        for p in range(text_offsets[i], text_offsets[i + 1]):
            dense[text_words[p]] += text_weights[p]
        for j in range(labels.shape[1]):
            if labels[i, j] >= 0:
                added = np.float32(0)
                for p in range(offsets[labels[i, j]], offsets[labels[i, j] + 1]):
                    added += dense[words[p]] * weights[p]
                scores[i, j] += added
        for p in range(text_offsets[i], text_offsets[i + 1]):
            dense[text_words[p]] = 0
