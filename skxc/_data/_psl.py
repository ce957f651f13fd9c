"""Pick Some Labels: the few thousand labels that a batch learns most from (UniDEC)."""

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
