"""Rows in eight bits, and what an inner product of them can be wrong by.

numba is imported with this module: import it where it is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ._quantized_loops import quantize

_LARGEST = 127
MOST_COLUMNS = 1 << 17  # a product of longer rows may exceed 32 bits
_NUMBERS_AT_ONCE = 1 << 18  # copies stay in a CPU's cache
# more than what all float64 roundings of a product come to, relative to both rows' lengths
_ROUNDING = 1e-10


class Quantized(NamedTuple):
    """Rows x, less a mean, as ``scale * values``, and how far these are from it."""

    values: NDArray[np.int8]  # (n, dim) in -127..127
    scales: NDArray[np.float32]  # (n,)
    lengths: NDArray[np.float32]  # (n,) of scale * values, or a little more
    errors: NDArray[np.float32]  # (n,) length of x - mean - scale * values, or a little more

    def is_finite(self) -> bool:
        """Whether all rows are numbers, and their lengths, too."""
        return bool(np.isfinite(self.lengths).all() and np.isfinite(self.errors).all())


def quantized(
    rows: Tensor,  # (n, dim) on the host
    mean: NDArray[np.float64] | None = None,  # (dim,) that is subtracted
) -> Quantized:
    """The rows, each by its own scale."""
    n, dim = rows.shape
    mean = np.zeros(dim) if mean is None else mean
    values, scales = np.empty((n, dim), np.int8), np.empty(n, np.float32)
    squares = np.empty((2, n))
    for part in _parts(rows):
        exact = rows[part].float().contiguous().numpy()
        quantize(exact, mean, _LARGEST, values[part], scales[part], *squares[:, part])
    with np.errstate(over="ignore", invalid="ignore"):  # told by `is_finite`
        # not below the rows' lengths, also once they are float32
        lengths = (np.sqrt(squares) * (1 + _ROUNDING)).astype(np.float32)
        lengths = np.where(squares > 0, np.nextafter(lengths, np.float32(np.inf)), lengths)
        return Quantized(values, scales, *lengths)


def mean_row(rows: Tensor) -> NDArray[np.float64]:  # (n, dim) -> (dim,)
    """The mean, without a float64 copy of the table."""
    total = torch.zeros(rows.shape[1], dtype=torch.float64)
    for part in _parts(rows):
        total += rows[part].double().sum(0)
    mean: NDArray[np.float64] = (total / max(len(rows), 1)).numpy()
    return mean


def _parts(rows: Tensor) -> Iterator[slice]:
    step = max(_NUMBERS_AT_ONCE // max(rows.shape[1], 1), 1)
    for start in range(0, len(rows), step):
        yield slice(start, start + step)


def query_bounds(
    queries: Tensor,  # (n, dim)
    rounded: Quantized,  # the queries
    mean: NDArray[np.float64],  # (dim,) of what they are multiplied with
) -> NDArray[np.float64]:
    """What scores and their errors are made of, by Cauchy and Schwarz.

    ``q.x = q.m + q.(x - m)``, and ``|q.y - q'.y'| <= |y - y'| |q| + |y'| |q - q'|`` where y' and q'
    are the rounded ones. float64's roundings count as errors.

    Returns
    -------
    ndarray of shape (n, 5)
        Of each query q its scale, its length, that of its error, q.m, and how wrong that may be.
    """
    lengths = (rounded.lengths.astype(np.float64) + rounded.errors) * (1 + _ROUNDING)
    errors = rounded.errors + _ROUNDING * lengths
    slacks = _ROUNDING * lengths * np.linalg.norm(mean)
    columns = (rounded.scales, lengths, errors, queries.double().numpy() @ mean, slacks)
    return np.stack(columns, 1)
