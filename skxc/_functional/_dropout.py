"""Dropout whose random numbers are nobody else's."""

from __future__ import annotations

import torch
from torch import Tensor


def dropout_mask(vectors: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """What dropout multiplies `vectors` with: 0, or what keeps the mean.

    `torch.nn.functional.dropout` draws from the process's generator.
    """
    mask = torch.empty_like(vectors, requires_grad=False)
    return mask.bernoulli_(1 - rate, generator=generator).div_(1 - rate)
