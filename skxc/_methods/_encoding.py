"""A batch's embeddings: each process encodes a share of its texts, and all have all of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skxc import _distributed as processes
from skxc._data._shares import even_sizes, part_of, text_share
from skxc._data._tokens import TokenStore
from skxc._functional._grad_cache import CachedEncoding


class SharedEncoding:
    """Embeddings of all texts, (len(tokens), dim), with the way back to the encoder's parameters.

    The shares take about as long as each other: their sizes go by tokens.
    """

    def __init__(
        self,
        encode: Callable[[TokenStore], CachedEncoding],
        tokens: TokenStore,
        empty: Tensor,  # (0, dim) of the embeddings' dtype, on the device
    ) -> None:
        self.sizes = even_sizes(tokens.lengths, processes.size())
        self.own = part_of(self.sizes, processes.rank())
        is_any = self.own.start < self.own.stop  # fewer texts than processes
        self._encoding = encode(text_share(tokens, self.own)) if is_any else None
        part = empty if self._encoding is None else self._encoding.embeddings
        self.embeddings = processes.all_gather_rows(part, self.sizes)

    def backward(self, gradient: Tensor) -> None:  # (len(tokens), dim), the same on all processes
        """Add the own texts' share to the gradients of the encoder's parameters."""
        self._backward(gradient[self.own])

    def backward_sum(self, gradient: Tensor) -> None:  # (len(tokens), dim)
        """Likewise, of the sum of the processes' gradients."""
        self._backward(processes.reduce_scatter_rows(gradient, self.sizes))

    def _backward(self, gradient: Tensor) -> None:
        if self._encoding is not None:
            self._encoding.backward(gradient)


def no_embeddings(dim: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What a process has of a batch of which it encodes nothing."""
    return torch.empty(0, dim, dtype=torch.promote_types(dtype, torch.float32), device=device)
