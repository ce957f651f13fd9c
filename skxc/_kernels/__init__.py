"""The one door to fast code. The plain torch version is the reference and is always there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from ._row_noise import RowNoise
from ._torch import add_product_, sgd_update_, stochastic_round_, to_device, to_host

__all__ = [
    "RowNoise",
    "add_product_",
    "fused_step_for",
    "has_fused_step",
    "sgd_update_",
    "stochastic_round_",
    "to_device",
    "to_host",
]

logger = logging.getLogger("skxc")

FusedStep = Callable[..., tuple[Tensor, Tensor | None]]


def fused_step_for(
    weights: Tensor, embeddings: Tensor, velocity: Tensor | None = None
) -> FusedStep | None:
    """The one-vs-all step as Triton kernels, where they serve these tensors; else None.

    They do in bfloat16 on an NVIDIA GPU that multiplies it, where Triton and what it needs (a C
    compiler) are installed.
    """
    if weights.dtype != embeddings.dtype or weights.stride(1) != 1:
        return None
    if velocity is not None and _layout(velocity) != _layout(weights):
        return None
    return (
        _load_fused_step(weights.device) if has_fused_step(weights.device, weights.dtype) else None
    )


def _layout(table: Tensor) -> tuple[torch.dtype, tuple[int, ...]]:
    return table.dtype, table.stride()


def has_fused_step(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the kernels serve weights of this kind."""
    is_narrow = device.type == "cuda" and dtype == torch.bfloat16
    return is_narrow and _load_fused_step(device) is not None


@cache
def _load_fused_step(device: torch.device) -> FusedStep | None:
    is_supported = torch.version.cuda and torch.cuda.get_device_capability(device) >= (8, 0)
    if not is_supported or find_spec("triton") is None:
        return None
    try:
        from ._triton import fused_step_

        _try_out(fused_step_, device)
    except Exception as error:  # whatever is missing: the torch version does the same
        logger.warning("Triton's kernels do not run here, plain torch is used: %s", error)
        return None
    return fused_step_


def _try_out(step: FusedStep, device: torch.device) -> None:
    """Compile and run the kernels once; another generator leaves the caller's seeds alone.

    With momentum, and both ways to sum the texts' gradient: what fails here would fail in training.
    """
    none = torch.empty(0, dtype=torch.int64, device=device)
    generator = torch.Generator(device).manual_seed(0)
    for batch in (16, 257):
        weights, velocity = torch.zeros(2, 16, 16, dtype=torch.bfloat16, device=device)
        step(
            weights, weights.new_zeros(batch, 16), none, none, none.float(), 0.0, 0.0, 0.9,
            chunk_size=16, velocity=velocity, generator=generator,
        )  # fmt: skip
    torch.cuda.synchronize(device)
