"""Dropout whose random numbers are nobody else's."""

from __future__ import annotations

import torch
from torch import Tensor


def dropout(vectors: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """`torch.nn.functional.dropout`, which draws from the process's generator, from another one."""
    return vectors if rate == 0 else vectors * dropout_mask(vectors, rate, generator)


def dropout_mask(vectors: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """What dropout multiplies `vectors` with: 0, or what keeps the mean."""
    mask = torch.empty_like(vectors, requires_grad=False)
    return mask.bernoulli_(1 - rate, generator=generator).div_(1 - rate)
