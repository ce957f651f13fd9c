"""Products of eight-bit matrices by torch, where its processor has instructions for them."""

from __future__ import annotations

import platform
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

PRODUCTS_AT_ONCE = 1 << 22  # of a search; more are no faster. int32


@cache
def has_int8_products() -> bool:
    """Whether torch has them for this CPU, and none of their sums saturates.

    Older x86 processors add up pairs of products in 16 bits; elsewhere torch's loop is a slow one.
    """
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    if not (is_x86 and torch.backends.mkldnn.is_available() and hasattr(torch, "_int_mm")):
        return False
    signs = np.where(np.arange(67) % 5 == 0, -1, 1)
    left, right = (np.full((n, 67), 127, np.int8) * signs.astype(np.int8) for n in (17, 33))
    right[::2] *= -1
    try:
        found = int8_products(left, right)
    except RuntimeError:
        return False
    return np.array_equal(found, left.astype(np.int32) @ right.T.astype(np.int32))


def int8_products(
    left: NDArray[np.int8],  # (n, dim)
    right: NDArray[np.int8],  # (m, dim)
) -> NDArray[np.int32]:  # (n, m)
    """All inner products of two matrices' rows."""
    products: NDArray[np.int32] = torch._int_mm(
        torch.from_numpy(left), torch.from_numpy(right).T
    ).numpy()
    return products
