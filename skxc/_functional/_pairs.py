"""Pairs of a label and a row (a text of the batch), in NumPy arrays or in tensors."""

from __future__ import annotations

from typing import Any, Generic, NamedTuple, TypeVar

from numpy.typing import NDArray
from torch import Tensor

A = TypeVar("A", NDArray[Any], Tensor)


class Pairs(NamedTuple, Generic[A]):
    """Pairs, each once; sorted by label if nothing else is said."""

    labels: A  # (n_pairs,) int64
    rows: A  # (n_pairs,) int64


class Positives(NamedTuple, Generic[A]):
    """Pairs and their relevances; sorted by label if nothing else is said."""

    labels: A  # (n_pairs,) int64
    rows: A  # (n_pairs,) int64
    values: A  # (n_pairs,) relevance in (0, 1]; if drawn, an equal share of the row's relevances
