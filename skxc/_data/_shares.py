"""Contiguous parts of texts and of labels; all of them is the thing itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from ._tokens import TokenStore


def text_share(tokens: TokenStore, part: slice) -> TokenStore:
    """The texts of `part`, in memory."""
    if part == slice(0, len(tokens)):
        return tokens
    return tokens.take(np.arange(part.start, part.stop))


def column_share(matrix: sp.csr_array, part: slice) -> sp.csr_array:
    """The columns of `part`, counted from its first."""
    return matrix if part == slice(0, matrix.shape[1]) else sp.csr_array(matrix[:, part])


def even_sizes(lengths: NDArray[np.int64], n_parts: int) -> list[int]:
    """How many texts each of `n_parts` contiguous parts has, where each takes as long."""
    if n_parts == 1:
        return [len(lengths)]
    costs = np.cumsum(lengths + 1)  # an empty text is some work, too
    wanted = costs[-1] * np.arange(1, n_parts) / n_parts if len(costs) else np.zeros(n_parts - 1)
    ends = np.searchsorted(costs, wanted, side="right")
    return np.diff([0, *ends, len(lengths)]).tolist()


def part_of(sizes: Sequence[int], number: int) -> slice:
    """Where the part of this number is among parts of such sizes."""
    first = sum(sizes[:number])
    return slice(first, first + sizes[number])
