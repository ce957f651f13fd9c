"""Rows in eight bits, and what an inner product of them can be wrong by."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

_LARGEST = 127
MOST_COLUMNS = 1 << 17  # a product of longer rows may exceed 32 bits
_NUMBERS_AT_ONCE = 1 << 18  # float64 temporaries stay in a CPU's cache
# more than what all float64 roundings of a product come to, relative to both rows' lengths
_ROUNDING = 1e-10


class Quantized(NamedTuple):
    """Rows x as ``scale * values``, and how far these are from x."""

    values: NDArray[np.int8]  # (n, dim) in -127..127
    scales: NDArray[np.float32]  # (n,)
    lengths: NDArray[np.float32]  # (n,) of scale * values, or a little more
    errors: NDArray[np.float32]  # (n,) length of x - scale * values, or a little more

    def is_finite(self) -> bool:
        """Whether all rows are numbers, and their lengths, too."""
        return bool(np.isfinite(self.lengths).all() and np.isfinite(self.errors).all())


def quantized(rows: Tensor) -> Quantized:  # (n, dim) on the host
    """The rows, each by its own scale."""
    n, dim = rows.shape
    values = np.empty((n, dim), np.int8)
    scales, lengths, errors = np.empty((3, n), np.float32)
    step = max(_NUMBERS_AT_ONCE // max(dim, 1), 1)
    with np.errstate(over="ignore", invalid="ignore"):  # told by `is_finite`
        for start in range(0, n, step):
            part = slice(start, start + step)
            exact = rows[part].double().numpy()
            scales[part] = np.abs(exact).max(1, initial=0) / _LARGEST
            scale = scales[part, None].astype(np.float64)
            rounded = np.rint(exact / np.where(scale > 0, scale, np.inf))
            np.clip(rounded, -_LARGEST, _LARGEST, out=rounded)
            values[part] = rounded
            rounded *= scale
            lengths[part] = _lengths(rounded)
            errors[part] = _lengths(exact - rounded)
    return Quantized(values, scales, lengths, errors)


def _lengths(rows: NDArray[np.float64]) -> NDArray[np.float32]:  # (n, dim) -> (n,)
    """Not below the rows' lengths, also once they are float32."""
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows)) * (1 + _ROUNDING)
    return np.nextafter(lengths.astype(np.float32), np.float32(np.inf))


class QueryBound(NamedTuple):
    """What the error of a query's products is made of, by Cauchy and Schwarz.

    ``|x.q - x'.q'| <= |x - x'| |q| + |x'| |q - q'|`` where x' and q' are the rounded ones.
    """

    scale: float
    length: float  # of q
    error: float  # length of q - q'


def query_bounds(queries: Quantized) -> list[QueryBound]:
    """Of each query; float64's roundings count as errors of the query."""
    lengths = (queries.lengths.astype(np.float64) + queries.errors) * (1 + _ROUNDING)
    errors = queries.errors + _ROUNDING * lengths
    columns = (queries.scales.astype(np.float64), lengths, errors)
    return [QueryBound(*each) for each in np.stack(columns, 1).tolist()]
