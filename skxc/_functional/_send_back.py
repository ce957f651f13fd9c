"""Back-propagation of gradients that are known in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def send_back(outputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    """Add to the leaves' gradients, as `torch.autograd.backward` does.

    That imports torch's symbolic shapes, and with them SymPy, when it is first given gradients:
    half a second of a fit. A scalar needs none.
    """
    if not any(output.requires_grad for output in outputs):
        return
    with torch.enable_grad():
        scalar: Tensor = _WithGradients.apply(tuple(gradients), *outputs)
        scalar.backward()


class _WithGradients(torch.autograd.Function):
    """A scalar whose gradients by the outputs are those given."""

    @staticmethod
    def forward(ctx: Any, gradients: tuple[Tensor, ...], *outputs: Tensor) -> Tensor:
        ctx.gradients = gradients
        return outputs[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor | None, ...]:
        return None, *ctx.gradients
