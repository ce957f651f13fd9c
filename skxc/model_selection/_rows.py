"""Rows of what users pass as X or y."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skxc._validation import sound_sparse


def sound_params(params: dict[str, Any] | None) -> dict[str, Any]:
    """Arguments to pass on, of which sparse matrices are checked."""
    return {name: sound_sparse(value, name) for name, value in (params or {}).items()}


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
