"""Batches of like texts: their labels are one another's hard negatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

# as in NGAME's and UniDEC's code: the gain in mean cosine at which a level is done
_TOLERANCE = 1e-4
# a place of a node without a row; at most one a node, and always its first
_FREE = -1


@torch.no_grad()
def balanced_clusters(
    embeddings: Tensor,  # (n_rows, dim) of any length
    n_per_cluster: int,
    rng: np.random.Generator,
    *,
    max_iterations: int = 20,  # of every level
) -> list[NDArray[np.int64]]:
    """Every row once, in clusters of at least `n_per_cluster` and at most twice as many like rows.

    Balanced 2-means by cosine, to depth floor(log2(n_rows / n_per_cluster)): NGAME's batches
    (Dahiya et al., WSDM 2023), as UniDEC makes them. The sizes of all clusters differ by at most
    one. Fewer rows than `n_per_cluster` are one cluster.

    All nodes of a level are halved together. Memory: a copy of the embeddings, float32 or wider.
    """
    depth = max((len(embeddings) // n_per_cluster).bit_length() - 1, 0)
    # shuffled: ties, as between duplicates, are cut by chance, from where 2-means can go on
    nodes = torch.from_numpy(rng.permutation(len(embeddings))).to(embeddings.device)[None]
    for _ in range(depth):
        nodes = _halved(nodes, embeddings, rng, max_iterations)
    return [rows[rows != _FREE] for rows in nodes.cpu().numpy()]


def _halved(
    nodes: Tensor,  # (n_nodes, width) rows; sizes differ by at most one, so this is the whole level
    embeddings: Tensor,  # (n_rows, dim)
    rng: np.random.Generator,
    max_iterations: int,
) -> Tensor:  # (2 * n_nodes, ceil(width / 2)) halves, side by side
    order = _ranks_of_two_means(nodes, embeddings, rng, max_iterations)
    left, right = nodes.gather(1, order).tensor_split([_left_size(nodes)], dim=1)
    # left keeps the free place, if any: right has one where the width was odd
    right = F.pad(right, (left.shape[1] - right.shape[1], 0), value=_FREE)
    return torch.stack([left, right], dim=1).flatten(0, 1)


def _ranks_of_two_means(
    nodes: Tensor,  # (n_nodes, width)
    embeddings: Tensor,  # (n_rows, dim)
    rng: np.random.Generator,
    max_iterations: int,
) -> Tensor:  # (n_nodes, width) places: the left cluster's first
    """Alternate between centroids and the cut at the median of the cosines' difference.

    Neither can lower the mean cosine of points with their centroid, so a node that has settled is
    not hurt by what others still need.
    """
    is_free = nodes == _FREE
    points = _unit_points(nodes, embeddings)
    centroids = points.take_along_dim(_seed_places(is_free, rng)[:, :, None], dim=1)
    score = -torch.inf
    for _ in range(max_iterations):
        cosines = (points @ centroids.mT).mT  # (n_nodes, 2, width); the other order is slower
        order = _order(cosines, is_free)
        is_left = torch.zeros_like(is_free).scatter_(1, order[:, : _left_size(nodes)], True)
        is_mine = torch.stack([is_left & ~is_free, ~is_left], dim=1)
        last, score = score, float(cosines.mul_(is_mine).sum(dtype=torch.float64))
        if score - last < _TOLERANCE * len(embeddings):
            break
        centroids = F.normalize(is_mine.to(points.dtype) @ points, dim=2)
    return order


def _unit_points(nodes: Tensor, embeddings: Tensor) -> Tensor:  # (n_nodes, width, dim)
    """The nodes' embeddings at length 1; zeros stay: as near to one centroid as to another."""
    points = embeddings[nodes.clamp(min=0)]
    # centroids are sums over up to all rows: too many for half precision
    points = points.to(torch.promote_types(points.dtype, torch.float32))
    return points.div_(torch.linalg.vector_norm(points, dim=2, keepdim=True).clamp_(min=1e-12))


def _seed_places(is_free: Tensor, rng: np.random.Generator) -> Tensor:  # (n_nodes, 2)
    """Two different places of every node; NumPy's draws are the same on every device."""
    sizes = (~is_free).sum(1).cpu().numpy()
    first = rng.integers(sizes)
    second = (first + 1 + rng.integers(sizes - 1)) % sizes
    from_the_end: NDArray[Any] = np.stack([first, second], axis=1) + 1
    return torch.from_numpy(is_free.shape[1] - from_the_end).to(is_free.device)


def _order(cosines: Tensor, is_free: Tensor) -> Tensor:  # (n_nodes, width)
    """The free place, then the rows that lean to the left centroid, then those to the right."""
    lean = cosines[:, 1] - cosines[:, 0]
    # first, not last: nan, where training has diverged, sorts behind everything
    return lean.masked_fill_(is_free, -torch.inf).argsort(dim=1, stable=True)


def _left_size(nodes: Tensor) -> int:
    """Places of the left half, the free one among them: halves differ by at most one row."""
    return (nodes.shape[1] + 1) // 2
