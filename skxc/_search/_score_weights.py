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
from skxc.metrics import ranking_metrics
from skxc.metrics._estimators import top_k_matrix


class Candidates(NamedTuple):
    """Labels that any part of the score ranks high, and what every part gives them."""

    labels: NDArray[np.int64]  # (n_texts, n) -1: none
    parts: NDArray[np.float32]  # (n_parts, n_texts, n)


def candidates_of(
    scores: Iterable[NDArray[np.float32]],  # blocks (n_parts, n_rows, n_labels); -inf: excluded
    views: Sequence[NDArray[np.float32]],  # (n_parts,) weights that each rank the labels
    k: int,  # labels of each view
) -> Candidates:
    """The `k` best labels of every view."""
    labels, parts = [], []
    for block in scores:
        n, best = min(k, block.shape[2]), []
        for view in views:
            joined = torch.tensordot(torch.from_numpy(view), torch.from_numpy(block), 1)
            joined.nan_to_num_(nan=-torch.inf, neginf=-torch.inf)  # 0 * -inf: nan
            best.append(top_k_of_rows(joined, n)[1].numpy())
        found = np.sort(np.concatenate(best, axis=1), axis=1)
        found[:, 1:][found[:, 1:] == found[:, :-1]] = -1
        parts.append(np.take_along_axis(block, found[None].clip(min=0), axis=2))
        labels.append(found)
    return Candidates(np.concatenate(labels), np.concatenate(parts, axis=1))


def best_weights(
    start: Mapping[str, float],
    grids: Mapping[str, Sequence[float]],
    measure: Callable[[Mapping[str, float]], float],  # higher is better
    *,
    least_gain: float,
) -> dict[str, float]:
    """Coordinate ascent: each weight in turn to its best value, twice around.

    A value takes over where it gains at least `least_gain`: less is chance.
    """

    @cache  # the second time around, most have been tried
    def measured(*values: float) -> float:
        return measure(dict(zip(start, values, strict=True)))

    weights, best = dict(start), measured(*start.values())
    for _ in range(2):
        for name, values in grids.items():
            for value in values:
                trial = weights | {name: value}
                gained = measured(*trial.values())
                if gained >= best + least_gain:
                    weights, best = trial, gained
    return weights


def ndcg_at_5(
    labels: NDArray[np.int64],  # (n_texts, n) -1: none
    scores: NDArray[np.float32],  # (n_texts, n) -inf or nan: excluded
    rows: TrainingRows,
) -> float:
    """nDCG@5 of the candidates, ranked by their scores."""
    scores = np.where(labels < 0, -np.inf, scores)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    is_given = np.isfinite(np.take_along_axis(scores, best, 1))
    labels = np.where(is_given, np.take_along_axis(labels, best, 1), -1)
    ranks = np.broadcast_to(np.arange(best.shape[1], 0, -1, dtype=np.float32), best.shape)
    weights = rows.sample_weight
    if weights is not None and not weights.any():
        weights = None
    found = top_k_matrix(labels, ranks, rows.Y.shape[1])
    metrics = ranking_metrics(rows.Y, found, exclude=rows.exclude, sample_weight=weights)
    return metrics["nDCG@5"]
