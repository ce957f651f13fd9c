"""The labels that a training step looks at, where it does not look at all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skxc._functional._pairs import Pairs, Positives


def draw_positives(
    positives: Positives[NDArray[Any]],  # relevances are the odds of being drawn
    n_per_text: int,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Which pairs are drawn: `n_per_text` of each row, without replacement.

    Exponential keys, divided by the odds: the smallest are such a draw (Efraimidis and Spirakis,
    2006), for all rows in one sort.
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
    """`n_per_text` labels of each text's shortlist, all texts' together."""
    keys = rng.random(shortlists.shape)
    keys[shortlists < 0] = 2
    n_drawn = min(n_per_text, shortlists.shape[1])
    places = np.argpartition(keys, n_drawn - 1, axis=1)[:, :n_drawn]
    drawn = np.take_along_axis(shortlists, places, axis=1)
    return drawn[drawn >= 0].astype(np.int64)


def fill_pool(
    pool: NDArray[np.int64],  # candidates that must be in it, ascending, each once
    candidates: NDArray[np.int64],  # ascending, each once
    pool_size: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """The pool, and random candidates up to `pool_size` labels; ascending, each once."""
    if pool_size >= len(candidates):
        return candidates
    n_free = max(pool_size - len(pool), 0)
    # as many more as could be in the pool already: never all candidates, which may be millions
    n_drawn = min(n_free + len(pool), len(candidates))
    random = candidates[rng.choice(len(candidates), n_drawn, replace=False)]
    return np.union1d(pool, random[np.isin(random, pool, invert=True)][:n_free])


def pairs_in_pool(
    pairs: Pairs[NDArray[Any]] | Positives[NDArray[Any]],
    pool: NDArray[np.int64],  # ascending
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Which pairs' labels are in the pool, and their places in it."""
    places = np.searchsorted(pool, pairs.labels)
    is_in = pool[places.clip(max=max(len(pool) - 1, 0))] == pairs.labels if len(pool) else False
    kept = np.flatnonzero(is_in)
    return kept, places[kept]


def pick_some_labels(
    positives: Pairs[NDArray[Any]] | Positives[NDArray[Any]],  # all of the batch's
    drawn: NDArray[np.bool_],  # (n_pairs,) which of them are sampled
    hard: NDArray[np.int64],  # mined negatives drawn by all texts, with repeats; may be empty
    pool_size: int,
) -> NDArray[np.int64]:
    """The pool of a batch, as UniDEC fills it: ascending, `pool_size` labels at most, each once.

    In this order: sampled positives; mined negatives; the batch's other positives. Each kind is
    added as far as there is room, the labels that most texts asked for first, of those that equally
    many asked for the lowest first. With room to spare all positives are in.

    The caller decides what is whose positive, by all of `positives` and not only those `drawn`: one
    text's mined negative may be another's positive.
    """
    pool = np.empty(0, np.int64)
    for asked in (positives.labels[drawn], hard, positives.labels):
        pool = np.union1d(pool, _most_asked(asked, pool, pool_size - len(pool)))
    return pool


def _most_asked(
    asked: NDArray[np.int64],  # with repeats
    pool: NDArray[np.int64],  # labels that need not be asked for
    n_labels: int,
) -> NDArray[np.int64]:
    """At most `n_labels` labels asked for most often that are not in the pool."""
    labels, counts = np.unique(asked, return_counts=True)
    is_new = np.isin(labels, pool, assume_unique=True, invert=True)
    labels, counts = labels[is_new], counts[is_new]
    return labels[np.argsort(-counts, kind="stable")[:n_labels]]
