"""The bag's torch module: a weighted sum of words' embeddings, its gradient row-sparse."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skxc._data._tokens import TokenStore
from skxc._functional._row_sparse import row_sparse
from skxc._functional._unit_rows import lengths, unit_rows
from skxc._kernels import to_device

from ._base import EncoderModule

# Length of an embedding. It does not depend on the width, so that one learning rate fits all.
LENGTH = 16.0
# Tensors of an embedding's size at the peak of a step: sums, the scaled ones, dropout, ...
_TENSORS_A_TEXT = 6
_TENSORS_A_WORD = 2


class BagModule(EncoderModule):
    """The bag's table of word embeddings."""

    def __init__(self, table: Tensor) -> None:  # (n_words, dim)
        super().__init__()
        self.dim = table.shape[1]
        self.table = nn.Parameter(table)
        self.table.is_row_sparse = True  # type: ignore[attr-defined]

    def forward(self, tokens: TokenStore) -> Tensor:
        """Embeddings of one length, (n_texts, dim); zeros for a text without words."""
        return unit_rows(bag_of_rows(self.table, tokens)) * LENGTH

    def addends(self, tokens: TokenStore) -> Tensor:  # (n_tokens, dim)
        ids, weights = (
            torch.from_numpy(a) for a in (tokens.ids.astype(np.int64), _weights(tokens))
        )
        parts = self.table[ids.to(self.table.device)] * weights.to(self.table)[:, None]
        return parts * (LENGTH / lengths(parts.sum(0, keepdim=True)))

    def activation_bytes(
        self, lengths: np.ndarray, n_texts: int, dim: int, dtype: torch.dtype
    ) -> int:
        """Embeddings, and the gradient of the words that the texts have."""
        n_words = min(len(self.table), int(n_texts * lengths.mean()))
        return 4 * dim * (_TENSORS_A_TEXT * n_texts + _TENSORS_A_WORD * n_words)


def bag_of_rows(
    table: Tensor,  # (n_words, dim)
    tokens: TokenStore,
) -> Tensor:  # (n_texts, dim)
    """Weighted sums of the table's rows; the table's gradient is row-sparse and coalesced."""
    bag: Tensor = _BagOfRows.apply(table, tokens)
    return bag


class _BagOfRows(torch.autograd.Function):
    """torch's embedding_bag, whose own backward is several times slower on a CPU.

    The gradient of a bag is a bag again: a word's gradient is the weighted sum of the gradients of
    the texts that hold it.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, tokens: TokenStore) -> Tensor:
        ctx.tokens, ctx.shape = tokens, table.shape
        ids = tokens.ids.astype(np.int64)
        return _bags(table, ids, tokens.offsets, _weights(tokens))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        tokens: TokenStore = ctx.tokens
        words, places = np.unique(tokens.ids, return_inverse=True)
        by_text = sp.csr_array(
            (_weights(tokens), places.ravel(), tokens.offsets), shape=(len(tokens), len(words))
        )
        by_word = by_text.tocsc()
        values = _bags(gradients[0].contiguous(), by_word.indices, by_word.indptr, by_word.data)
        rows = to_device(torch.from_numpy(words.astype(np.int64)), values.device)
        return row_sparse(rows, values, ctx.shape, is_coalesced=True), None


def _weights(tokens: TokenStore) -> np.ndarray:
    return np.ones(len(tokens.ids), np.float32) if tokens.weights is None else tokens.weights


def _bags(
    table: Tensor, ids: np.ndarray, offsets: np.ndarray, weights: np.ndarray
) -> Tensor:  # (len(offsets) - 1, dim)
    indices = (torch.from_numpy(part.astype(np.int64)) for part in (ids, offsets))
    on_device = [to_device(part, table.device) for part in (*indices, torch.from_numpy(weights))]
    return F.embedding_bag(
        on_device[0],
        table,
        on_device[1],
        mode="sum",
        per_sample_weights=on_device[2].to(table.dtype),
        include_last_offset=True,
    )
