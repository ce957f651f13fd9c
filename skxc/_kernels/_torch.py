"""The reference kernels, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on `device`; the copy to a GPU is asynchronous."""
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def stochastic_round_(
    target: Tensor,  # bfloat16, written
    values: Tensor,  # float32, same shape
    generator: torch.Generator | None = None,
) -> Tensor:
    """Write `values` into `target`, each rounded up or down at random, right on average.

    Adds sixteen random bits to the float32 pattern and cuts off its low half. bfloat16 has the
    exponent of float32, so this is exact at zero and for subnormals too. A step too small for
    rounding to nearest still moves the weight on average.
    """
    noise = torch.randint(
        0, 1 << 16, values.shape, dtype=torch.int32, device=values.device, generator=generator
    )
    # a GPU's nan has all bits set: adding to it would give -0
    noise += values.view(torch.int32).clamp(max=0x7FFF0000)
    target.view(torch.int16).copy_(noise.bitwise_right_shift_(16))
    return target


def sgd_update_(
    weights: Tensor,  # (labels, dim), updated in place
    error: Tensor,  # (labels, batch): d loss / d scores
    embeddings: Tensor,  # (batch, dim)
    learning_rate: float,
    weight_decay: float,
    momentum: float = 0.0,
    velocity: Tensor | None = None,  # (labels, dim), float32 or wider, updated in place
    generator: torch.Generator | None = None,
) -> None:
    """One SGD step on the weights with the gradient ``error @ embeddings``, which is not kept.

    Weight decay is added to the gradient before the momentum, as in torch.optim.SGD.
    """
    if velocity is None and weights.dtype == embeddings.dtype != torch.bfloat16:
        weights.addmm_(
            error, embeddings, beta=1 - learning_rate * weight_decay, alpha=-learning_rate
        )
        return
    wide = torch.promote_types(weights.dtype, torch.float32)
    gradient = (error @ embeddings).to(wide)
    updated = weights.to(wide)  # float32 and float64 weights: the weights themselves
    if velocity is not None:
        gradient = velocity.mul_(momentum).add_(gradient).add_(updated, alpha=weight_decay)
    else:
        updated.mul_(1 - learning_rate * weight_decay)
    updated.sub_(gradient, alpha=learning_rate)
    if weights.dtype == torch.bfloat16:
        stochastic_round_(weights, updated, generator)
