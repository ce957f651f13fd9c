"""Rows scaled to length 1."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

LEAST_LENGTH = 1e-12


def unit_rows(vectors: Tensor) -> Tensor:  # (n, dim) both
    """`torch.nn.functional.normalize` with its gradient in closed form."""
    rows: Tensor = _UnitRows.apply(vectors)
    return rows


def lengths(vectors: Tensor) -> Tensor:  # (n, dim) -> (n, 1)
    """What `unit_rows` divides by."""
    return torch.linalg.vector_norm(vectors, dim=1, keepdim=True).clamp_(min=LEAST_LENGTH)


class _UnitRows(torch.autograd.Function):
    """The gradient minus its part along the row, over the length before the scaling."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor) -> Tensor:
        divisors = lengths(vectors)
        rows = vectors / divisors
        ctx.save_for_backward(rows, divisors)
        return rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        rows, divisors = ctx.saved_tensors
        along = torch.linalg.vecdot(rows, gradients[0])[:, None]
        return gradients[0].addcmul(rows, along, value=-1).div_(divisors)
