"""Arrays of numbers: what numpy would read as something else is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from ._parameters import short


def refuse_masked(values: Any, name: str) -> None:
    """Raise for a masked array, or a list of them, that has masked entries: numpy reads them."""
    parts = values if isinstance(values, list | tuple) else (values,)
    for part in parts:
        if isinstance(part, np.ma.MaskedArray) and np.ma.is_masked(part):
            raise ValueError(
                f"{name} holds masked entries, which have no value. Pass an array without a mask, "
                f"such as {name}.filled(0), or leave these rows out."
            )


def as_numbers(values: Any, name: str, accepted: str) -> NDArray[np.float64]:
    """`values` as float64; an error that says what is `accepted` for what is no real number."""
    refuse_masked(values, name)
    try:
        if sp.issparse(values):
            raise TypeError
        array = np.asarray(values)
        if array.dtype.kind not in "biufO":
            raise TypeError
        return array.astype(np.float64)
    except (OverflowError, TypeError, ValueError):
        raise ValueError(f"{name} is {short(values)}. Pass {accepted}.") from None
