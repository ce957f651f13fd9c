"""Rows of what users pass as X or y."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def take_rows(
    array: Any,  # as sklearn.utils.indexable gives it
    rows: NDArray[np.int64],
) -> Any:
    """Rows of a list, array, Series, DataFrame or CSR matrix, in the same container."""
    if hasattr(array, "iloc"):
        return array.iloc[rows]
    if hasattr(array, "shape"):
        return array[rows]
    return [array[row] for row in rows]
