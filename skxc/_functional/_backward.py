"""Backward passes that start from output gradients known in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def backward(outputs: Sequence[Tensor], output_gradients: Sequence[Tensor]) -> None:
    """Add to the leaves' gradients, as `torch.autograd.backward` does; skip constant outputs.

    `torch.autograd.backward` imports torch's symbolic shapes, and with them SymPy, when it is given
    output gradients: half a second of a fit. For a scalar it needs none.
    """
    if not any(output.requires_grad for output in outputs):
        return
    with torch.enable_grad():
        scalar: Tensor = _WithGradients.apply(tuple(output_gradients), *outputs)
        scalar.backward()


class _WithGradients(torch.autograd.Function):
    """A scalar whose gradients with respect to the outputs are the given ones."""

    @staticmethod
    def forward(ctx: Any, output_gradients: tuple[Tensor, ...], *outputs: Tensor) -> Tensor:
        ctx.output_gradients = output_gradients
        return outputs[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor | None, ...]:
        return None, *ctx.output_gradients
