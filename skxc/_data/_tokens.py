"""Texts as ragged token ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp


@dataclass(frozen=True)
class TokenStore:
    """Token ids of many texts, one after the other, without padding.

    Parameters
    ----------
    ids : ndarray of shape (n_tokens,), uint16 or uint32
        Ids of the tokens: uint16 where the vocabulary has at most 65,536.
    offsets : ndarray of shape (n_texts + 1,), int64
        Text ``i`` holds ``ids[offsets[i]:offsets[i + 1]]``.
    weights : ndarray of shape (n_tokens,), float32, default=None
        Weights of the tokens, such as TF-IDF. None: they have none.
    others : TokenStore, default=None
        The same texts' tokens of another vocabulary, for an encoder that reads both.
    vectors : ndarray of shape (n_texts, dim), float32, default=None
        What the part of the encoder that is not trained made of each text: it is then not asked
        again, and `others` are not needed any more.

    Examples
    --------
    >>> import numpy as np
    >>> from skxc.encoders import TokenStore
    >>> tokens = TokenStore(np.array([4, 2, 7], np.uint16), np.array([0, 2, 2, 3]))
    >>> len(tokens), tokens.lengths.tolist()
    (3, [2, 0, 1])
    """

    ids: np.ndarray
    offsets: np.ndarray
    weights: np.ndarray | None = None
    others: TokenStore | None = None
    vectors: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """What there is to read of each text, (n_texts,) int64: tokens; a vector counts as one."""
        lengths = np.diff(self.offsets)
        if self.others is not None:
            lengths += self.others.lengths
        return lengths + (self.vectors is not None)

    @property
    def has_vectors(self) -> bool:
        """Whether there are vectors; they are not read from files to see that."""
        return self.vectors is not None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        parts = (self.ids, self.offsets, self.weights, self.others, self.vectors)
        return sum(part.nbytes for part in parts if part is not None)

    @property
    def n_tokens(self) -> int:
        """Tokens of all texts."""
        return int(self.offsets[-1])

    def take(self, rows: np.ndarray) -> TokenStore:
        """Take some of the texts.

        Parameters
        ----------
        rows : ndarray of shape (n,), int
            Which ones, in the order that is wanted.

        Returns
        -------
        TokenStore
            The texts at `rows`.
        """
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        # the old position of each token: the start of its text plus its position within the text
        source = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        return TokenStore(
            self.ids[source],
            offsets,
            None if self.weights is None else self.weights[source],
            None if self.others is None else self.others.take(rows),
            None if self.vectors is None else self.vectors[rows],
        )

    def with_vectors(self, vectors: np.ndarray) -> TokenStore:
        """Give each text the vector that an encoder need not compute again.

        Parameters
        ----------
        vectors : ndarray of shape (n_texts, dim), float32
            One a text.

        Returns
        -------
        TokenStore
            The same texts, without `others`.
        """
        return TokenStore(self.ids, self.offsets, self.weights, None, vectors)

    def view(self, rows: np.ndarray) -> TokenStore:
        """Take some of the texts; where the tokens are in files, without reading them.

        Parameters
        ----------
        rows : ndarray of shape (n,), int
            Which ones, in the order that is wanted.

        Returns
        -------
        TokenStore
            The texts at `rows`.
        """
        return self.take(rows)

    def parts(self) -> Iterator[TokenStore]:
        """Go through the texts in order; where the tokens are in files, some at a time.

        Yields
        ------
        TokenStore
            The next texts.
        """
        yield self

    def followed_by(self, others: TokenStore) -> TokenStore:
        """Join with other texts; where both are in the same files, without reading them.

        Parameters
        ----------
        others : TokenStore
            Texts with the same vocabulary.

        Returns
        -------
        TokenStore
            These texts, then the others.
        """
        return TokenStore.concatenate([self, others])

    def as_csr(self, n_ids: int) -> sp.csr_array:
        """Give the weights as a sparse matrix.

        Parameters
        ----------
        n_ids : int
            Size of the vocabulary.

        Returns
        -------
        sparse array of shape (n_texts, n_ids), float32
            A token's weight in its own column; 1 where tokens have none.
        """
        weights = np.ones(len(self.ids), np.float32) if self.weights is None else self.weights
        is_wide = self.ids.dtype == np.uint32  # these need no copy
        ids = self.ids.view(np.int32) if is_wide else self.ids.astype(np.int32)
        # SciPy would widen the ids to the offsets' int64
        offsets = self.offsets.astype(np.int32) if self.n_tokens < 1 << 31 else self.offsets
        return sp.csr_array((weights, ids, offsets), (len(self), n_ids))

    def placed_csr(self, n_ids: int) -> tuple[sp.csr_array, np.ndarray]:
        """Give the weights as a sparse matrix that may have other texts' rows, too.

        Parameters
        ----------
        n_ids : int
            Size of the vocabulary.

        Returns
        -------
        matrix : sparse array of shape (n_rows, n_ids), float32
            As `as_csr` gives it; in files where the tokens are.
        rows : ndarray of shape (n_texts,), int64
            The row of each text.
        """
        return self.as_csr(n_ids), np.arange(len(self))

    @staticmethod
    def concatenate(stores: Sequence[TokenStore]) -> TokenStore:
        """Join stores.

        Parameters
        ----------
        stores : sequence of TokenStore
            Stores with the same vocabulary.

        Returns
        -------
        TokenStore
            The texts of all `stores`.
        """
        starts = np.cumsum([0] + [s.offsets[-1] for s in stores])
        offsets = [s.offsets[:-1] + start for s, start in zip(stores, starts, strict=False)]
        weights = [s.weights for s in stores if s.weights is not None]
        others = [s.others for s in stores if s.others is not None]
        vectors = [s.vectors for s in stores if s.vectors is not None]
        return TokenStore(
            np.concatenate([s.ids for s in stores]),
            np.concatenate([*offsets, starts[-1:]]).astype(np.int64),
            np.concatenate(weights) if weights else None,
            TokenStore.concatenate(others) if others else None,
            np.concatenate(vectors) if vectors else None,
        )


def id_dtype(n_ids: int) -> type[np.unsignedinteger]:
    """The smallest of uint16 and uint32 that holds the ids below `n_ids`."""
    return np.uint16 if n_ids <= 1 << 16 else np.uint32


def are_equal(tokens: TokenStore) -> bool:
    """Whether all texts have the same ids."""
    if tokens.others is not None and not are_equal(tokens.others):
        return False
    first = tokens.take(np.arange(1)).ids
    for part in tokens.parts():
        if (np.diff(part.offsets) != len(first)).any():
            return False
        if not (part.ids.reshape(len(part), len(first)) == first).all():
            return False
    return True
