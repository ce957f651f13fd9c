"""Sums and extremes over columns of which only a part is here."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

# Of all parts of the columns the "sum", "min" or "max" of a tensor, in its place.
Reduce = Callable[[Tensor, str], Tensor]


def as_it_is(tensor: Tensor, op: str) -> Tensor:
    """Where all columns are here."""
    return tensor


def log_sum_exp(logarithms: Tensor, reduce_: Reduce) -> Tensor:
    """Of all parts, from those of the parts; -inf where all are."""
    largest = reduce_(logarithms.clone(), "max")
    finite = largest.masked_fill(largest == -float("inf"), 0)
    return reduce_((logarithms - finite).exp(), "sum").log() + finite
