"""Weights of rows, and pairs to ignore."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from ._parameters import short


def check_sample_weight(sample_weight: Any, n_samples: int) -> NDArray[np.float32] | None:
    """One weight of at least 0 per text, not all of them 0."""
    if sample_weight is None:
        return None
    try:
        weights = np.asarray(sample_weight, dtype=np.float32)
    except (TypeError, ValueError):
        raise ValueError(
            f"sample_weight is {short(sample_weight)}. Pass one number per text."
        ) from None
    if weights.ndim == 0:
        weights = np.full(n_samples, weights)
    if weights.ndim != 1:
        raise ValueError("Sample weights must be 1D array or scalar: one weight per text.")
    if len(weights) != n_samples:
        raise ValueError(
            f"sample_weight has {len(weights)} entries, but X has {n_samples} texts. "
            f"Pass one weight per text."
        )
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("sample_weight holds negative, NaN or infinite weights. Pass >= 0.")
    if not weights.any():
        raise ValueError("All sample_weight are zero: nothing to fit. Pass a positive weight.")
    return weights


def check_exclude(exclude: Any, shape: tuple[int, int]) -> sp.csr_array | None:
    """A sparse (n_samples, n_labels) mask: stored non-zeros are the pairs to ignore."""
    if exclude is None:
        return None
    if not sp.issparse(exclude):
        raise TypeError(
            f"exclude is a {type(exclude).__name__}. Pass a SciPy sparse (n_samples, n_labels) "
            f"matrix that holds 1 where a label must not be given."
        )
    if exclude.shape != shape:
        raise ValueError(
            f"exclude has shape {exclude.shape}, but there are {shape[0]} texts and {shape[1]} "
            f"labels. Pass a mask of shape {shape}."
        )
    mask = sp.csr_array(exclude, copy=True)
    mask.eliminate_zeros()
    return mask
