"""usearch's graph, and its bytes checked before usearch reads them.

usearch believes what it loads: a neighbour beyond the last label would have it read anywhere. A
model may come from anyone, so every number that it follows is checked here. The layout is that of
usearch 2 (`index_dense.hpp` and `index.hpp`): vectors, a head of 64 bytes, the graph's sizes, the
levels of all nodes, and the nodes: key, level, and a count and places of neighbours for each level.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONNECTIVITY = 16  # neighbours of a label; twice as many on the lowest level
EXPANSION = 128  # labels that are looked at as neighbours of a new one
_HEAD, _SIZES = 64, 40  # bytes
_MOST_LEVELS = 32
_CHUNK = 1 << 16  # nodes checked at once


def new_graph(dim: int) -> Any:
    """An empty graph for vectors of this length, kept in bfloat16.

    Raises
    ------
    ImportError
        If usearch is not installed.
    """
    try:
        from usearch.index import Index
    except ImportError as error:
        raise ImportError(
            "search='approximate' needs the package usearch, which is not installed. Install it "
            'with pip install "skxc[approximate]", or set search="exact".'
        ) from error
    return Index(
        ndim=dim,
        metric="ip",
        dtype="bf16",
        connectivity=CONNECTIVITY,
        expansion_add=EXPANSION,
        enable_key_lookups=False,
    )


def check_graph(
    content: NDArray[np.uint8],  # what usearch saved
    labels: NDArray[np.int64],  # the keys, in the order in which they were added
    dim: int,
) -> Callable[[int, int], NDArray[np.float32]]:
    """Raise unless usearch can follow every number; the vectors of nodes start:stop.

    Raises
    ------
    ValueError
        If the bytes are no graph of these labels.
    """
    n = len(labels)
    after = 8 + 2 * dim * n
    _require(len(content) >= after + _HEAD + _SIZES + 2 * n, "it is cut")
    _require(content[:8].view("<u4").tolist() == [n, 2 * dim], "it has other vectors")
    _check_head(content[after : after + _HEAD], n, dim)
    after += _HEAD
    size, *connectivity, max_level, entry = content[after : after + _SIZES].copy().view("<u8")
    _require(size == n and connectivity == [CONNECTIVITY, 2 * CONNECTIVITY], "it has other sizes")
    after += _SIZES
    levels = content[after : after + 2 * n].copy().view("<i2")
    _require(levels.min() >= 0 and levels.max() < _MOST_LEVELS, "its levels are wrong")
    _require(entry < n and levels[entry] == max_level == levels.max(), "its entry is wrong")
    _check_nodes(content[after + 2 * n :], levels, labels)

    def vectors(start: int, stop: int) -> NDArray[np.float32]:
        halves = content[8 + 2 * dim * start : 8 + 2 * dim * stop].copy().view("<u2")
        return (halves.astype("<u4") << 16).view("<f4").reshape(-1, dim)

    return vectors


def _check_head(head: NDArray[np.uint8], n: int, dim: int) -> None:
    """The version, the kinds of numbers and their counts: as this usearch writes them."""
    graph = new_graph(dim)
    graph.add(np.arange(1), np.zeros((1, dim), np.float32))
    ours = np.frombuffer(graph.save(), np.uint8)[8 + 2 * dim :][:_HEAD]
    # before 2.10, kinds had other numbers
    is_known = bytes(head[:9]) == bytes(ours[:9]) and head[9:11].copy().view("<u2")[0] >= 10
    _require(is_known, "it is of another version of usearch")
    _require(bytes(head[13:17]) == bytes(ours[13:17]), "it has other numbers")
    _require(head[17:41].copy().view("<u8").tolist() == [n, 0, dim], "it has other sizes")
    _require(not head[41:].any(), "its head is wrong")


def _check_nodes(
    content: NDArray[np.uint8], levels: NDArray[np.int16], labels: NDArray[np.int64]
) -> None:
    """Keys, levels and neighbours; nodes of one level are of one size."""
    sizes = np.array([_node(level).itemsize for level in range(_MOST_LEVELS)])[levels]
    ends = np.cumsum(sizes)
    _require(int(ends[-1]) == len(content), "it is cut, or goes on")
    for level in np.unique(levels).tolist():
        nodes = np.flatnonzero(levels == level)
        for part in np.array_split(nodes, -(-len(nodes) // _CHUNK)):
            places = (ends[part] - sizes[part])[:, None] + np.arange(_node(level).itemsize)
            found = content[places].view(_node(level))[:, 0]
            _require((found["key"] == labels[part]).all(), "its labels are others")
            _require((found["level"] == level).all(), "its levels are wrong")
            _check_neighbours(found["lowest"], levels, 0)
            for upper in range(level):
                _check_neighbours(found["upper"][:, upper], levels, upper + 1)


def _node(level: int) -> np.dtype[Any]:
    """A node that is on levels 0 to `level`."""
    lowest = np.dtype([("n", "<u4"), ("nodes", "<u4", (2 * CONNECTIVITY,))])
    upper = np.dtype([("n", "<u4"), ("nodes", "<u4", (CONNECTIVITY,))])
    return np.dtype(
        [("key", "<u8"), ("level", "<i2"), ("lowest", lowest), ("upper", upper, (level,))]
    )


def _check_neighbours(found: NDArray[Any], levels: NDArray[np.int16], level: int) -> None:
    """Those that count are nodes, and on this level themselves."""
    nodes = found["nodes"]
    _require((found["n"] <= nodes.shape[1]).all(), "a node has too many neighbours")
    nodes = nodes[np.arange(nodes.shape[1]) < found["n"][:, None]]
    _require(not len(nodes) or nodes.max() < len(levels), "a neighbour does not exist")
    _require((levels[nodes] >= level).all(), "a neighbour is not on its level")


def _require(is_so: Any, otherwise: str) -> None:
    if not is_so:
        raise ValueError(otherwise)
