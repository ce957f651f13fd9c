"""Clusters of similar texts: in a batch, their labels are hard negatives of each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

# a level stops at a smaller gain in mean cosine, as in NGAME's and UniDEC's code
_TOLERANCE = 1e-4
# an empty slot of a node; a node has at most one, its first
_EMPTY = -1
# numbers of embeddings that are copied at once (float32: 256 MiB)
_NUMBERS_AT_ONCE = 1 << 26


@torch.no_grad()
def balanced_clusters(
    embeddings: Tensor,  # (n_rows, dim) of any length
    n_per_cluster: int,
    rng: np.random.Generator,
    *,
    max_iterations: int = 20,  # of every level
) -> list[NDArray[np.int64]]:
    """Every row once, in clusters of `n_per_cluster` to twice as many similar rows.

    Balanced 2-means by cosine, to depth floor(log2(n_rows / n_per_cluster)): the batches of NGAME
    (Dahiya et al., WSDM 2023), as in UniDEC. The sizes of all clusters differ by at most one. Fewer
    rows than `n_per_cluster` are one cluster.

    All nodes of a level are halved together. Memory: see `cluster_bytes`.
    """
    depth = max((len(embeddings) // n_per_cluster).bit_length() - 1, 0)
    # shuffled: ties, as between duplicates, are split at random, from which 2-means can improve
    nodes = torch.from_numpy(rng.permutation(len(embeddings))).to(embeddings.device)[None]
    for _ in range(depth):
        nodes = _halved(nodes, embeddings, rng, max_iterations)
    return [rows[rows != _EMPTY] for rows in nodes.cpu().numpy()]


def _halved(
    nodes: Tensor,  # (n_nodes, width) rows of a level; sizes differ by at most one
    embeddings: Tensor,  # (n_rows, dim)
    rng: np.random.Generator,
    max_iterations: int,
) -> Tensor:  # (2 * n_nodes, ceil(width / 2)) halves, side by side
    order = _ranks_of_two_means(nodes, embeddings, rng, max_iterations)
    left, right = nodes.gather(1, order).tensor_split([_left_size(nodes)], dim=1)
    # an empty slot stays in the left half; of an odd width, the right half gets one
    right = F.pad(right, (left.shape[1] - right.shape[1], 0), value=_EMPTY)
    return torch.stack([left, right], dim=1).flatten(0, 1)


def _ranks_of_two_means(
    nodes: Tensor,  # (n_nodes, width)
    embeddings: Tensor,  # (n_rows, dim)
    rng: np.random.Generator,
    max_iterations: int,
) -> Tensor:  # (n_nodes, width) slots: those of the left cluster first
    """Alternate between centroids and the cut at the median of the difference of cosines.

    Neither step can lower the mean cosine of points with their centroid, so further iterations do
    not harm nodes that have converged.
    """
    is_empty = nodes == _EMPTY
    points = _points(nodes, embeddings)
    centroids = _unit_points(nodes.gather(1, _seed_slots(is_empty, rng)), embeddings)
    score = -torch.inf
    for _ in range(max_iterations):
        # the other order of the product is slower
        cosines = torch.cat([(part @ centroids.mT).mT for _, part in points()], dim=2)
        order = _order(cosines, is_empty)
        is_left = torch.zeros_like(is_empty).scatter_(1, order[:, : _left_size(nodes)], True)
        is_member = torch.stack([is_left & ~is_empty, ~is_left], dim=1)
        previous, score = score, float(cosines.mul_(is_member).sum(dtype=torch.float64))
        if score - previous < _TOLERANCE * len(embeddings):
            break
        sums = (is_member[:, :, slots].to(part.dtype) @ part for slots, part in points())
        centroids = F.normalize(reduce(torch.add, sums), dim=2)
    return order


def _points(
    nodes: Tensor, embeddings: Tensor
) -> Callable[[], Iterable[tuple[slice, Tensor]]]:  # slots and their points
    """All points, in one part where they are few, else copied part by part whenever asked for."""
    n_slots = max(_NUMBERS_AT_ONCE // (len(nodes) * embeddings.shape[1]), 1)
    slots = [slice(i, i + n_slots) for i in range(0, nodes.shape[1], n_slots)]
    if len(slots) == 1:
        part = _unit_points(nodes, embeddings)
        return lambda: [(slots[0], part)]
    return lambda: ((part, _unit_points(nodes[:, part], embeddings)) for part in slots)


def cluster_bytes(n_rows: int, dim: int) -> int:
    """What `balanced_clusters` holds of float32 embeddings: they, and some of them once more."""
    return 4 * dim * n_rows + 2 * 4 * min(dim * n_rows, _NUMBERS_AT_ONCE)


def _unit_points(nodes: Tensor, embeddings: Tensor) -> Tensor:  # (n_nodes, width, dim)
    """The nodes' embeddings at length 1; zeros stay zeros, equally near to all centroids."""
    points = embeddings[nodes.clamp(min=0)]
    # centroids are sums over up to all rows, too many for half precision
    points = points.to(torch.promote_types(points.dtype, torch.float32))
    return points.div_(torch.linalg.vector_norm(points, dim=2, keepdim=True).clamp_(min=1e-12))


def _seed_slots(is_empty: Tensor, rng: np.random.Generator) -> Tensor:  # (n_nodes, 2)
    """Two different slots of every node; NumPy's draws are the same on every device."""
    sizes = (~is_empty).sum(1).cpu().numpy()
    first = rng.integers(sizes)
    second = (first + 1 + rng.integers(sizes - 1)) % sizes
    from_the_end: NDArray[Any] = np.stack([first, second], axis=1) + 1
    return torch.from_numpy(is_empty.shape[1] - from_the_end).to(is_empty.device)


def _order(cosines: Tensor, is_empty: Tensor) -> Tensor:  # (n_nodes, width)
    """The empty slot, then the rows from nearest to the left centroid to nearest to the right."""
    difference = cosines[:, 1] - cosines[:, 0]
    # empty first, not last: nan, after training has diverged, sorts behind everything
    return difference.masked_fill_(is_empty, -torch.inf).argsort(dim=1, stable=True)


def _left_size(nodes: Tensor) -> int:
    """Slots of the left half, with the empty one: halves differ by at most one row."""
    return (nodes.shape[1] + 1) // 2
