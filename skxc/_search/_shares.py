"""Searches over labels of which each process holds a share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skxc import _distributed as processes


def best_of_all(
    labels: NDArray[np.int64],  # (n_texts, n) places among the own labels, best first; -1: none
    scores: NDArray[np.float32],  # (n_texts, n)
    n_labels: int,  # of all processes
    k: int,  # that were asked for; n is less where fewer labels are this process's
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:  # (n_texts, k)
    """The best of all processes' best labels; of equal scores the first labels."""
    if processes.size() == 1:
        return labels, scores
    sizes = [min(k, n) for n in processes.share_sizes(n_labels)]
    labels = np.where(labels < 0, -1, labels + processes.share(n_labels).start)
    labels, scores = (_columns_of_all(part, sizes) for part in (labels, scores))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(labels, order, 1), np.take_along_axis(scores, order, 1)


def _columns_of_all(part: NDArray[Any], sizes: list[int]) -> NDArray[Any]:
    rows = torch.from_numpy(np.ascontiguousarray(part.T))
    return processes.all_gather_rows(rows, sizes).numpy().T


def values_of_all(
    values: NDArray[np.float32],  # (n_parts, n_texts, n_own_labels)
    labels: NDArray[np.int64],  # (n_texts, n) of all labels; -1: none
    n_labels: int,
) -> NDArray[np.float32]:  # (n_parts, n_texts, n)
    """The values that the labels have, whichever process holds them."""
    if processes.size() == 1:
        return np.take_along_axis(values, labels[None].clip(min=0), axis=2)
    own = processes.share(n_labels)
    found = np.zeros((len(values), *labels.shape), np.float32)
    is_own = (labels >= own.start) & (labels < own.stop)
    rows, columns = np.nonzero(is_own)
    found[:, rows, columns] = values[:, rows, labels[rows, columns] - own.start]
    return processes.all_reduce_(torch.from_numpy(found)).numpy()
