"""Rows of what users pass as X or y."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from skxc._validation import csr_with_duplicates, sound_sparse


def sound_params(params: dict[str, Any] | None) -> dict[str, Any]:
    """Arguments to pass on, of which sparse matrices are checked."""
    return {name: sound_rows(value, name) for name, value in (params or {}).items()}


def sound_rows(matrix: Any, name: str) -> Any:
    """A checked sparse matrix of which rows can be taken, with every entry; others as they are.

    scikit-learn makes CSR of COO and BSR, and adds up what they store twice: small integers to 0.
    """
    sound = sound_sparse(matrix, name)
    if not sp.issparse(sound) or sound.format not in ("coo", "bsr") or sound.ndim != 2:
        return sound
    container = sp.csr_array if isinstance(sound, sp.sparray) else sp.csr_matrix
    return container(csr_with_duplicates(sound, sound.dtype))


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
