"""How the parts of a score are weighed: by what ranks held-out texts best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from skxc._data._batches import TrainingRows
from skxc._functional._top_k import top_k_of_rows

from ._shares import best_of_all, values_of_all


class Candidates(NamedTuple):
    """Labels that any part of the score ranks high, and what every part gives them."""

    labels: NDArray[np.int64]  # (n_texts, n) -1: none
    parts: NDArray[np.float32]  # (n_parts, n_texts, n)


def candidates_of(
    scores: Iterable[NDArray[np.float32]],  # blocks (n_parts, n_rows, n_own); -inf: excluded
    views: Sequence[NDArray[np.float32]],  # (n_parts,) weights that each rank the labels
    k: int,  # labels of each view
    n_labels: int,  # of all processes
) -> Candidates:
    """The `k` best labels of every view."""
    labels, parts, k = [], [], min(k, n_labels)
    for block in scores:
        n, best = min(k, block.shape[2]), []
        for view in views:
            joined = torch.tensordot(torch.from_numpy(view), torch.from_numpy(block), 1)
            joined.nan_to_num_(nan=-torch.inf, neginf=-torch.inf)  # 0 * -inf: nan
            values, of_own = joined, joined.long()  # none
            if n:
                values, of_own = top_k_of_rows(joined, n)
            best.append(best_of_all(of_own.numpy(), values.numpy(), n_labels, k)[0])
        found = np.sort(np.concatenate(best, axis=1), axis=1)
        found[:, 1:][found[:, 1:] == found[:, :-1]] = -1
        parts.append(values_of_all(block, found, n_labels))
        labels.append(found)
    return Candidates(np.concatenate(labels), np.concatenate(parts, axis=1))


def best_weights(
    start: Mapping[str, float],
    grids: Mapping[str, Sequence[float]],
    measure: Callable[[Mapping[str, float]], NDArray[np.float64]],  # (n_texts,) higher is better
    sample_weight: NDArray[np.float32] | None,  # (n_texts,)
) -> dict[str, float]:
    """Coordinate ascent: each weight in turn to its best value, twice around.

    The best value takes over where it gains, in the mean of the texts, more than that mean's
    standard error: less is chance.
    """

    @cache  # the second time around, most have been tried
    def measured(*values: float) -> NDArray[np.float64]:
        return measure(dict(zip(start, values, strict=True)))

    shares = _shares(sample_weight, len(measured(*start.values())))

    weights = dict(start)
    for _ in range(2):
        for name, values in grids.items():
            trials = [weights | {name: value} for value in values]
            best = max(trials, key=lambda trial: shares @ measured(*trial.values()))
            gains = measured(*best.values()) - measured(*weights.values())
            if _exceeds_chance(gains, shares):
                weights = best
    return weights


def _shares(sample_weight: NDArray[np.float32] | None, n_texts: int) -> NDArray[np.float64]:
    """Weights that sum to 1."""
    if sample_weight is None or not sample_weight.any():
        return np.full(n_texts, 1 / n_texts)
    weights = sample_weight.astype(np.float64)
    return weights / weights.sum()


def _exceeds_chance(gains: NDArray[np.float64], shares: NDArray[np.float64]) -> bool:
    """Whether the mean is above its standard error."""
    mean = float(shares @ gains)
    return mean > 0 and mean**2 > float(shares**2 @ (gains - mean) ** 2)


def ndcg_at_5(
    labels: NDArray[np.int64],  # (n_texts, n) -1: none
    scores: NDArray[np.float32],  # (n_texts, n) -inf or nan: excluded
    rows: TrainingRows,
) -> NDArray[np.float64]:  # (n_texts,)
    """Each text's nDCG@5 of the candidates, ranked by their scores; 0 where it has no label."""
    scores = np.where((labels >= 0) & ~np.isnan(scores), scores, -np.inf)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    is_given = np.take_along_axis(scores, best, 1) > -np.inf
    ranked = np.take_along_axis(labels, best, 1).clip(min=0)
    hits = (rows.Y[np.arange(len(ranked))[:, None], ranked].toarray() > 0) & is_given
    discounts = 1 / np.log2(np.arange(2, 7))
    ideal = np.concatenate([[1], np.cumsum(discounts)])  # by the number of a text's labels
    n_labels = np.minimum(np.diff(rows.Y.indptr), 5)
    gained: NDArray[np.float64] = hits @ discounts[: best.shape[1]] / ideal[n_labels]
    return gained
