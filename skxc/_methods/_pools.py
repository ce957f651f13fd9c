"""The pool of labels of a training step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skxc._functional._pairs import Pairs, Positives


def draw_positives(
    positives: Positives[NDArray[Any]],  # drawn in proportion to relevance
    n_per_text: int,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Which pairs are drawn: `n_per_text` of each row, without replacement.

    Each pair gets an exponential key over its relevance, and the smallest keys of a row are drawn
    (Efraimidis and Spirakis, 2006): one sort for all rows.
    """
    keys = rng.exponential(size=len(positives.values)) / positives.values
    order = np.lexsort((keys, positives.rows))
    rows = positives.rows[order]
    starts = np.searchsorted(rows, rows)  # where each pair's row begins
    drawn = np.zeros(len(rows), bool)
    drawn[order] = np.arange(len(rows)) - starts < n_per_text
    return drawn


def draw_negatives(
    shortlists: NDArray[np.int32],  # (n_rows, n) hardest labels of each text; -1: none
    n_per_text: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """`n_per_text` labels of each text's shortlist, in one array; fewer from a shorter list."""
    keys = rng.random(shortlists.shape)
    keys[shortlists < 0] = 2
    n_drawn = min(n_per_text, shortlists.shape[1])
    positions = np.argpartition(keys, n_drawn - 1, axis=1)[:, :n_drawn]
    drawn = np.take_along_axis(shortlists, positions, axis=1)
    return drawn[drawn >= 0].astype(np.int64)


def fill_pool(
    pool: NDArray[np.int64],  # candidates that stay in it, ascending, each once
    candidates: NDArray[np.int64],  # ascending, each once
    pool_size: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """The pool, filled to `pool_size` with random candidates; ascending, each once."""
    if pool_size >= len(candidates):
        return candidates
    n_free = max(pool_size - len(pool), 0)
    # some are in the pool already, so draw more; never all candidates, which may be millions
    n_drawn = min(n_free + len(pool), len(candidates))
    random = candidates[rng.choice(len(candidates), n_drawn, replace=False)]
    return np.union1d(pool, random[np.isin(random, pool, invert=True)][:n_free])


def pairs_in_pool(
    pairs: Pairs[NDArray[Any]] | Positives[NDArray[Any]],
    pool: NDArray[np.int64],  # ascending
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Indices of the pairs whose labels are in the pool, and the positions of these labels."""
    positions = np.searchsorted(pool, pairs.labels)
    is_in = pool[positions.clip(max=max(len(pool) - 1, 0))] == pairs.labels if len(pool) else False
    kept = np.flatnonzero(is_in)
    return kept, positions[kept]


def pick_some_labels(
    positives: Pairs[NDArray[Any]] | Positives[NDArray[Any]],  # all of the batch's
    drawn: NDArray[np.bool_],  # (n_pairs,) which of them are sampled
    hard: NDArray[np.int64],  # mined negatives drawn by all texts, with repeats; may be empty
    pool_size: int,
) -> NDArray[np.int64]:
    """The pool of a batch by UniDEC's rules: at most `pool_size` labels, ascending, each once.

    Three kinds of labels are added in this order, until the pool is full: sampled positives; mined
    negatives; the other positives of the batch. Within a kind the most frequent labels come first;
    of equally frequent labels, the lowest.

    The targets of the pool are all of `positives`, not only those `drawn`: a mined negative of one
    text may be a positive of another.
    """
    pool = np.empty(0, np.int64)
    for labels in (positives.labels[drawn], hard, positives.labels):
        pool = np.union1d(pool, _most_frequent(labels, pool, pool_size - len(pool)))
    return pool


def _most_frequent(
    labels: NDArray[np.int64],  # with repeats
    pool: NDArray[np.int64],
    n_labels: int,
) -> NDArray[np.int64]:
    """The `n_labels` most frequent labels that are not in the pool; fewer if there are not more."""
    labels, counts = np.unique(labels, return_counts=True)
    is_new = np.isin(labels, pool, assume_unique=True, invert=True)
    labels, counts = labels[is_new], counts[is_new]
    return labels[np.argsort(-counts, kind="stable")[:n_labels]]
