"""Arrays of numbers: what numpy would read as something else is refused."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from ._parameters import check_real, is_auto, short


def refuse_masked(values: Any, name: str) -> None:
    """Raise for a masked array, or a list of them, that has masked entries: numpy reads them."""
    parts = values if isinstance(values, list | tuple) else (values,)
    for part in parts:
        if isinstance(part, np.ma.MaskedArray) and np.ma.is_masked(part):
            raise ValueError(
                f"{name} holds masked entries, which have no value. Pass an array without a mask, "
                f"or leave these rows out."
            )


def as_numbers(values: Any, name: str, accepted: str) -> NDArray[np.float64]:
    """`values` as float64; an error that says what is `accepted` for what is no real number."""
    refuse_masked(values, name)
    try:
        if sp.issparse(values):
            raise TypeError
        array = np.asarray(values)
        has_strings = array.dtype == object and any(isinstance(v, str | bytes) for v in array.flat)
        if array.dtype.kind not in "biufO" or has_strings:
            raise TypeError
        return array.astype(np.float64)
    except (OverflowError, RuntimeError, TypeError, ValueError):  # of torch, too
        raise ValueError(f"{name} is {short(values)}. Pass {accepted}.") from None


def addable(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights in the same ratios, whose sum neither overflows nor vanishes."""
    largest = weights.max(initial=0)
    return weights if largest == 0 or 1e-200 < largest < 1e200 else weights / largest


def check_threshold(threshold: Any, n_labels: int | None = None) -> Any:
    """`threshold`, "auto", a number in [0, 1] or, as a float64 array, one for each label."""
    if is_auto(threshold):
        return threshold
    refuse_masked(threshold, "threshold")
    try:
        thresholds = as_numbers(threshold, "threshold", "numbers")
    except ValueError:
        thresholds = np.empty(0)
    if thresholds.ndim == 0 or isinstance(threshold, str | Real):
        check_real("threshold", threshold, high=1)
        return float(threshold)
    if thresholds.ndim != 1 or not len(thresholds):
        raise TypeError(
            f"threshold is {short(threshold)}. Pass a number in [0, 1], or a 1-d array of one "
            f"such number per label."
        )
    is_bad = ~((thresholds >= 0) & (thresholds <= 1))
    if is_bad.any():
        raise ValueError(
            f"threshold[{is_bad.argmax()}]={thresholds[is_bad][0]} is out of range. Pass numbers "
            f"in [0, 1]."
        )
    if n_labels is not None and len(thresholds) != n_labels:
        raise ValueError(
            f"threshold has {len(thresholds)} entries, but the model has {n_labels} labels. Pass "
            f"one number per label, in the order of classes_, or one for all."
        )
    return thresholds
