"""Rows in eight bits, and what an inner product of them can be wrong by.

numba is imported with this module: import it where it is needed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ._quantized_loops import quantize

_LARGEST = 127
MOST_COLUMNS = 1 << 17  # a product of longer rows may exceed 32 bits
_NUMBERS_AT_ONCE = 1 << 18  # copies in float32 stay in a CPU's cache
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
    values, scales = np.empty((n, dim), np.int8), np.empty(n, np.float32)
    squares = np.empty((2, n))
    step = max(_NUMBERS_AT_ONCE // max(dim, 1), 1)
    for start in range(0, n, step):
        part = slice(start, start + step)
        exact = rows[part].float().contiguous().numpy()
        quantize(exact, _LARGEST, values[part], scales[part], *squares[:, part])
    with np.errstate(over="ignore", invalid="ignore"):  # told by `is_finite`
        # not below the rows' lengths, also once they are float32
        lengths = (np.sqrt(squares) * (1 + _ROUNDING)).astype(np.float32)
        lengths = np.where(squares > 0, np.nextafter(lengths, np.float32(np.inf)), lengths)
        return Quantized(values, scales, *lengths)


def query_bounds(queries: Quantized) -> NDArray[np.float64]:
    """What the errors of products are made of, by Cauchy and Schwarz.

    ``|x.q - x'.q'| <= |x - x'| |q| + |x'| |q - q'|`` where x' and q' are the rounded ones.
    float64's roundings count as errors of the query.

    Returns
    -------
    ndarray of shape (n, 3)
        Of each query its scale, its length, and that of its error.
    """
    lengths = (queries.lengths.astype(np.float64) + queries.errors) * (1 + _ROUNDING)
    errors = queries.errors + _ROUNDING * lengths
    return np.stack([queries.scales.astype(np.float64), lengths, errors], 1)
