"""The loops of a search in eight bits. Import it where it is used: numba takes a while."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skxc._kernels._compiled import compiled


@compiled
def add_word_scores(
    ids: NDArray[np.integer],  # (n_tokens,) the words of one text
    weights: NDArray[np.float32],  # (n_tokens,)
    starts: NDArray[np.integer],  # (n_words + 1,) of each word's entries
    labels: NDArray[np.integer],  # (n_entries,)
    values: NDArray[np.float32],  # (n_entries,)
    scores: NDArray[np.float32],  # (n_labels,) updated in place
) -> None:
    """Add each word's weight times its labels' values, word after word."""
    for token in range(len(ids)):
        word, weight = ids[token], weights[token]
        for entry in range(starts[word], starts[word + 1]):
            scores[labels[entry]] += weight * values[entry]


@compiled
def integer_products(
    rows: NDArray[np.int8],  # (n, dim)
    queries: NDArray[np.int16],  # (batch, dim) of eight bits
    products: NDArray[np.int32],  # (batch, n) written
) -> None:
    """All inner products; a row is read once for all queries."""
    for i in range(rows.shape[0]):
        for query in range(queries.shape[0]):
            total = np.int32(0)
            for j in range(rows.shape[1]):
                # numba widens to 64 bits, which its vectors have no products for
                product = np.int32(np.int32(rows[i, j]) * np.int32(queries[query, j]))
                total = np.int32(total + product)
            products[query, i] = total


@compiled
def bound_scores(
    products: NDArray[np.int32],  # (n,) of one query
    scales: NDArray[np.float32],  # (n,)
    lengths: NDArray[np.float32],  # (n,)
    errors: NDArray[np.float32],  # (n,)
    scale: float,
    length: float,
    error: float,
    added: NDArray[np.float32],  # (n,) exact
    upper: NDArray[np.float32],  # (n,) written
    lower: NDArray[np.float32],  # (n,) written
) -> None:
    """What each score is at most and at least."""
    for i in range(len(products)):
        middle = products[i] * (np.float64(scales[i]) * scale)
        radius = errors[i] * length + lengths[i] * error
        # float64's and float32's roundings keep the order of sums
        upper[i] = np.float32((middle + radius) + added[i])
        lower[i] = np.float32((middle - radius) + added[i])


@compiled
def block_maxima(
    values: NDArray[np.float32],  # (n,)
    maxima: NDArray[np.float32],  # (ceil(n / block),) written
    block: int,
) -> None:
    """The largest of each block of values."""
    for i in range(len(maxima)):
        start = i * block
        largest = values[start]
        for j in range(start + 1, min(start + block, len(values))):
            largest = max(largest, values[j])
        maxima[i] = largest


@compiled
def exact_scores(
    rows: NDArray[np.float32],  # (n, dim)
    query: NDArray[np.float32],  # (dim,)
    added: NDArray[np.float32],  # (n,)
    scores: NDArray[np.float32],  # (n,) written
) -> None:
    """Inner products in float64, each in the same order: equal rows have equal scores."""
    for i in range(rows.shape[0]):
        total = 0.0
        for j in range(rows.shape[1]):
            total += np.float64(rows[i, j]) * np.float64(query[j])
        scores[i] = np.float32(total + added[i])
