"""Pick Some Labels: UniDEC's choice of the pool of a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skxc._functional._pairs import Pairs, Positives


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

    All of `positives` are targets, not only those `drawn`: a text's mined negative may be another's
    positive.
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
    """The most frequent labels that are not in the pool, `n_labels` at most."""
    labels, counts = np.unique(labels, return_counts=True)
    is_new = np.isin(labels, pool, assume_unique=True, invert=True)
    labels, counts = labels[is_new], counts[is_new]
    return labels[np.argsort(-counts, kind="stable")[:n_labels]]
