"""Training rows and the batches cut from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from skxc._functional._pairs import Pairs, Positives

from ._tokens import TokenStore

# Rows are shuffled, then sorted by length within windows of this many batches: the texts of a batch
# have similar lengths (little padding), and batches differ from epoch to epoch.
_WINDOW = 100
# Rows that are shuffled freely; more are shuffled in parts of so many, made of runs.
MOST_SHUFFLED = 1 << 20
_RUN = 1 << 9


@dataclass(frozen=True)
class Batch:
    """The rows of one training step."""

    index: NDArray[np.int64]  # (n_rows,) positions among the training rows
    tokens: TokenStore
    positives: Positives[NDArray[Any]]
    ignored: Pairs[NDArray[Any]] | None  # neither positive nor negative; none of the positives
    sample_weight: NDArray[np.float32] | None  # (n_rows,)

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class TrainingRows:
    """Tokenised texts with their labels."""

    tokens: TokenStore
    Y: sp.csr_array  # (n_rows, n_labels)
    sample_weight: NDArray[np.float32] | None = None
    exclude: sp.csr_array | None = None  # (n_rows, n_labels) pairs to ignore; none of Y's

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        matrices = [m for m in (self.Y, self.exclude) if m is not None]
        arrays = [a for m in matrices for a in (m.data, m.indices, m.indptr)]
        return self.tokens.nbytes + sum(a.nbytes for a in arrays)

    def take(self, rows: NDArray[np.int64]) -> TrainingRows:
        """The rows at `rows`, in that order."""
        return self._with(self.tokens.take(rows), rows)

    def view(self, rows: NDArray[np.int64]) -> TrainingRows:
        """Likewise; tokens in files stay there."""
        return self._with(self.tokens.view(rows), rows)

    def _with(self, tokens: TokenStore, rows: NDArray[np.int64]) -> TrainingRows:
        weights = None if self.sample_weight is None else self.sample_weight[rows]
        exclude = None if self.exclude is None else self.exclude[rows]
        return TrainingRows(tokens, self.Y[rows], weights, exclude)

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """The batch of `rows`."""
        part = self.take(rows)
        ignored = None if part.exclude is None else Pairs(*_by_label(part.exclude)[:2])
        return Batch(rows, part.tokens, _by_label(part.Y), ignored, part.sample_weight)


def _by_label(matrix: sp.csr_array) -> Positives[NDArray[Any]]:
    """The matrix's entries, sorted by label."""
    order = np.argsort(matrix.indices, kind="stable")
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    labels = matrix.indices[order].astype(np.int64)
    return Positives(labels, rows[order], matrix.data[order])


def epoch_batches(
    lengths: NDArray[np.int64],  # (n_rows,) tokens
    batch_size: int,
    rng: np.random.Generator,
    *,
    is_bucketed: bool,
) -> list[NDArray[np.int64]]:
    """Every row once, in random batches; of similar lengths if `is_bucketed`."""
    order = _permutation(len(lengths), rng)
    if not is_bucketed:
        return list(_slices(order, batch_size))
    batches: list[NDArray[np.int64]] = []
    for window in _slices(order, batch_size * _WINDOW):
        batches += _slices(window[np.argsort(lengths[window], kind="stable")], batch_size)
    return [batches[i] for i in rng.permutation(len(batches))]


def _permutation(n_rows: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """All rows in random order; of very many, within parts that are read from few places each.

    A part is made of shuffled runs of rows, from all over the set. A pass over tokens in a file
    then reads every place of it once, however little of it the memory keeps.
    """
    if n_rows <= MOST_SHUFFLED:
        return rng.permutation(n_rows)
    runs = rng.permutation(-(-n_rows // _RUN))
    order = (runs[:, None] * _RUN + np.arange(_RUN)).ravel()
    order = order[order < n_rows]
    for start in range(0, n_rows, MOST_SHUFFLED):
        rng.shuffle(order[start : start + MOST_SHUFFLED])
    return order


def padding_share(lengths: NDArray[np.int64], batches: list[NDArray[np.int64]]) -> float:
    """Share of padding in an epoch, if the texts of a batch are padded to the longest."""
    padded = sum(len(rows) * int(lengths[rows].max()) for rows in batches)
    return 1.0 - float(lengths.sum()) / padded if padded else 0.0


# rows of a slice are a multiple of it: a matrix product over 155 rows is slower than over 160
_ALIGNED = 16


def length_sorted_slices(
    lengths: NDArray[np.int64],
    batch_size: int,  # rows at most
    max_tokens: int,  # padded tokens at most, unless a single row has more
) -> Iterator[NDArray[np.int64]]:
    """Every row once, in slices to embed together; sorted by length if they do not fit in one."""
    if not len(lengths):
        return
    if len(lengths) <= min(batch_size, max_tokens // max(int(lengths.max()), 1)):
        yield np.arange(len(lengths))
        return
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        # an upper bound: as many as fit if all are as short as the first
        n_at_most = min(batch_size, max_tokens // max(int(lengths[order[start]]), 1))
        rows = order[start : start + max(n_at_most, 1)]
        padded = lengths[rows] * np.arange(1, len(rows) + 1)
        n_fit = max(int(np.searchsorted(padded, max_tokens, side="right")), 1)
        if n_fit >= _ALIGNED and start + n_fit < len(order):
            n_fit = n_fit // _ALIGNED * _ALIGNED
        rows = rows[:n_fit]
        yield rows
        start += len(rows)


def _slices(rows: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    return (rows[i : i + size] for i in range(0, len(rows), size))
