"""Rows of what users pass as X or y."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from skxc._validation import sound_sparse


def sound(value: Any, name: str) -> Any:
    """A sparse matrix with its arrays checked; anything else as it is."""
    return sound_sparse(value, name) if sp.issparse(value) else value


def sound_values(values: dict[str, Any] | None) -> dict[str, Any]:
    """The same for arguments that are passed on."""
    return {name: sound(value, name) for name, value in (values or {}).items()}


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
