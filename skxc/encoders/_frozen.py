"""A transformer that is not trained: texts are embedded once, and a linear layer follows."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from skxc._data._tokens import TokenStore
from skxc._functional._unit_rows import unit_rows
from skxc._kernels import to_device

from ._pooled import PooledTransformer
from ._vector_cache import VectorCache

# length of what the layer reads: that of the bag's embeddings, so that one learning rate fits both
LENGTH = 16.0
# tensors of an embedding's size at the peak of a step
_TENSORS_A_TEXT = 6


class FrozenTransformer(PooledTransformer):
    """Unit vectors of a transformer that stays as it is, and a linear layer that is trained.

    The layer begins as the identity (fewer columns: as the texts' principal axes), less the mean of
    the training texts: a pretrained encoder's vectors have much in common that tells nothing.
    """

    cache: VectorCache | None = None
    projection: nn.Linear

    def freeze_(self) -> None:
        """Leave the last layer alone to be trained."""
        for parameter in (*self.transformer.parameters(), *self.dense.parameters()):
            parameter.requires_grad = False
        self.train(self.training)

    @property
    def frozen_dim(self) -> int:
        """Width of what `frozen_vectors` gives."""
        return self.projection.in_features

    def train(self, mode: bool = True) -> FrozenTransformer:
        """Dropout within the transformer stays off."""
        super().train(mode)
        self.transformer.eval()
        return self

    def frozen_vectors(self, tokens: TokenStore) -> np.ndarray:
        """Unit vectors, (n_texts, frozen_dim) float32; those of the cache are not computed."""
        if self.cache is None:
            return self._computed(tokens)
        device = next(self.parameters()).device
        is_narrow = torch.is_autocast_enabled(device.type)
        return self.cache.through(tokens, self._computed, "bfloat16" if is_narrow else "float32")

    @torch.no_grad()
    def _computed(self, tokens: TokenStore) -> np.ndarray:
        return unit_rows(self.pooled(tokens)).float().cpu().numpy()

    def forward(self, tokens: TokenStore) -> Tensor:  # (n_texts, dim)
        vectors = tokens.vectors
        vectors = self.frozen_vectors(tokens) if vectors is None else vectors
        device = self.projection.weight.device
        on_device = to_device(torch.tensor(vectors, dtype=self.projection.weight.dtype), device)
        with torch.autocast(device.type, enabled=False):
            return self.projection(on_device * LENGTH)

    @torch.no_grad()
    def begin_at_(self, vectors: np.ndarray) -> None:
        """Begin the layer at the training texts' vectors, (n_texts, frozen_dim)."""
        mean = torch.from_numpy(vectors.mean(0, dtype=np.float64))
        weight, bias = self.projection.weight, self.projection.bias
        if weight.shape[0] != weight.shape[1]:
            weight.copy_(_principal_axes(vectors, mean, weight.shape[0]))
        bias.copy_(-LENGTH * (weight.double().cpu() @ mean))

    def activation_bytes(
        self, lengths: np.ndarray, n_texts: int, dim: int, dtype: torch.dtype
    ) -> int:
        """Embeddings: the transformer keeps nothing."""
        return 4 * n_texts * (self.frozen_dim + _TENSORS_A_TEXT * dim)


def _principal_axes(vectors: np.ndarray, mean: Tensor, n: int) -> Tensor:  # (n, dim)
    """The directions in which the vectors differ most, largest first."""
    dim, covariance = vectors.shape[1], torch.zeros(vectors.shape[1], vectors.shape[1]).double()
    for start in range(0, len(vectors), 1 << 14):
        part = torch.from_numpy(np.array(vectors[start : start + (1 << 14)], np.float64)) - mean
        covariance += part.T @ part
    axes = torch.linalg.eigh(covariance)[1].T.flip(0)[: min(n, dim)]
    # an axis may point either way: its largest number is to be positive, on any machine
    signs = axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    return torch.cat([axes * signs, axes.new_zeros(n - len(axes), dim)])
