"""Texts as ragged token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp


@dataclass(frozen=True)
class TokenStore:
    """Token ids of many texts, one after the other: ragged, nothing padded.

    Text ``i`` holds ``ids[offsets[i]:offsets[i + 1]]``.
    """

    ids: np.ndarray  # (n_tokens,) uint16 where the vocabulary fits, else uint32
    offsets: np.ndarray  # (n_texts + 1,) int64
    weights: np.ndarray | None = None  # (n_tokens,) float32

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text, (n_texts,) int64."""
        return np.diff(self.offsets)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(a.nbytes for a in (self.ids, self.offsets, self.weights) if a is not None)

    def take(self, rows: np.ndarray) -> TokenStore:
        """The texts at `rows`, in that order."""
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        # the old position of each token: the start of its text plus its position within the text
        source = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        weights = None if self.weights is None else self.weights[source]
        return TokenStore(self.ids[source], offsets, weights)

    def as_csr(self, n_ids: int) -> sp.csr_array:
        """The weights as a matrix (n_texts, n_ids); 1 where tokens have none."""
        weights = np.ones(len(self.ids), np.float32) if self.weights is None else self.weights
        return sp.csr_array((weights, self.ids.astype(np.int32), self.offsets), (len(self), n_ids))

    @staticmethod
    def concatenate(stores: Sequence[TokenStore]) -> TokenStore:
        """The texts of all `stores`, which share one vocabulary."""
        starts = np.cumsum([0] + [s.offsets[-1] for s in stores])
        offsets = [s.offsets[:-1] + start for s, start in zip(stores, starts, strict=False)]
        weights = [s.weights for s in stores if s.weights is not None]
        return TokenStore(
            np.concatenate([s.ids for s in stores]),
            np.concatenate([*offsets, starts[-1:]]).astype(np.int64),
            np.concatenate(weights) if weights else None,
        )


def id_dtype(n_ids: int) -> type[np.unsignedinteger]:
    """The smallest of uint16 and uint32 that holds the ids below `n_ids`."""
    return np.uint16 if n_ids <= 1 << 16 else np.uint32
