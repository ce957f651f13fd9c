"""The reference kernels, in plain torch."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from ._row_noise import RowNoise

_LABELS_AT_ONCE = 8192  # copied to float32 where torch multiplies bfloat16 to bfloat16 alone


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on `device`; the copy to a GPU is asynchronous."""
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def to_host(tensor: Tensor) -> Tensor:
    """The tensor on the CPU; of a table with padded rows a view of the whole rows' copy.

    Without the padding, torch would first make a dense copy on the GPU.
    """
    if tensor.dim() != 2 or tensor.stride(1) != 1:
        return tensor.cpu()
    whole = tensor.as_strided((len(tensor), padded_width(tensor)), tensor.stride())
    return whole.cpu()[:, : tensor.shape[1]]


def padded_width(table: Tensor) -> int:
    """Columns up to the next row, where that is less than 8 away, and the memory is the table's."""
    (n_rows, dim), stride = table.shape, table.stride(0)
    n_held = table.untyped_storage().nbytes() // table.itemsize - table.storage_offset()
    return stride if 0 < stride - dim < 8 and n_rows * stride <= n_held else dim


def stochastic_round_(
    target: Tensor,  # bfloat16, written
    values: Tensor,  # float32, same shape
    noise: RowNoise,
) -> Tensor:
    """Write `values` into `target`, each rounded up or down at random, right on average.

    Adds sixteen random bits to the float32 pattern and cuts off its low half. bfloat16 has the
    exponent of float32, so this is exact at zero and for subnormals too. A step too small for
    rounding to nearest still moves the weight on average.
    """
    # a GPU's nan has all bits set: adding to it would give -0
    bits = noise.halves(values).add_(values.view(torch.int32).clamp(max=0x7FFF0000))
    target.view(torch.int16).copy_(bits.bitwise_right_shift_(16))
    return target


def add_product_(
    total: Tensor,  # (n, m), added to; float32 where the factors are bfloat16
    a: Tensor,  # (n, k)
    b: Tensor,  # (k, m)
) -> None:
    """``total += a @ b``, summed in the total's precision: bfloat16 factors, no bfloat16 product.

    A sum over all labels comes chunk by chunk: were each chunk's part rounded to 8 bits, the sum
    would be no better than its largest parts are.
    """
    if a.dtype == total.dtype:
        total.addmm_(a, b)
    elif _has_wide_products(a.device):
        total += torch.mm(a, b, out_dtype=total.dtype)
    else:  # as exact, but slower, and with copies
        for i, j in zip(a.split(_LABELS_AT_ONCE, 1), b.split(_LABELS_AT_ONCE), strict=True):
            total.addmm_(i.to(total.dtype), j.to(total.dtype))


@cache
def _has_wide_products(device: torch.device) -> bool:
    """Whether torch multiplies bfloat16 to float32 there: on a CUDA device, from 2.8 on."""
    matrix = torch.empty(8, 8, dtype=torch.bfloat16, device=device)
    try:
        torch.mm(matrix, matrix, out_dtype=torch.float32)
    except (TypeError, RuntimeError):  # no such argument; not on this device
        return False
    return True


def sgd_update_(
    weights: Tensor,  # (labels, dim), updated in place
    error: Tensor,  # (labels, batch): d loss / d scores
    embeddings: Tensor,  # (batch, dim)
    learning_rate: float,
    weight_decay: float,
    momentum: float = 0.0,
    velocity: Tensor | None = None,  # (labels, dim), updated in place; bfloat16 or wider
    noise: RowNoise | None = None,  # for bfloat16
) -> None:
    """One SGD step on the weights with the gradient ``error @ embeddings``, which is not kept.

    Weight decay is added to the gradient before the momentum, as in torch.optim.SGD. Arithmetic is
    in float32 or wider; what is kept in bfloat16 is rounded at random, weights and velocity apart.
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
        moving = velocity.to(wide)
        gradient = moving.mul_(momentum).add_(gradient).add_(updated, alpha=weight_decay)
    else:
        updated.mul_(1 - learning_rate * weight_decay)
    updated.sub_(gradient, alpha=learning_rate)
    _store_(weights, updated, noise)
    if velocity is not None:  # after the weights, which move by what it is before it is rounded
        _store_(velocity, gradient, noise and noise._replace(stream=1))


def _store_(table: Tensor, values: Tensor, noise: RowNoise | None) -> None:
    """Values in the table's precision, unless they are the table itself."""
    if table.dtype == torch.bfloat16:
        assert noise is not None
        stochastic_round_(table, values, noise)
    elif table is not values:
        table.copy_(values)
