"""What steps share that embed texts and label texts by one encoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skxc._data._batches import Batch, length_sorted_slices
from skxc._data._tokens import TokenStore
from skxc._functional._grad_cache import CachedEncoding
from skxc._kernels import to_device
from skxc.encoders._base import EncoderModule, autocast

from ._loop import Step

# texts embedded at once where no tokens bound them
_TEXTS_AT_ONCE = 1 << 14


class TwoTowerStep(Step):
    """Embeds texts and label texts, within a budget of tokens."""

    def __init__(
        self,
        module: EncoderModule,
        label_tokens: TokenStore,
        *,
        encode_batch_size: int | None,
        dtype: torch.dtype,  # bfloat16: the encoder runs under autocast
    ) -> None:
        self.module, self.label_tokens = module, label_tokens
        self.encode_batch_size, self.dtype = encode_batch_size, dtype
        self.device = next(module.parameters()).device

    def parameters(self) -> Iterable[nn.Parameter]:
        """The encoder's."""
        return self.module.parameters()

    def state(self) -> dict[str, Tensor]:
        """The encoder."""
        return {f"module.{k}": v for k, v in self.module.state_dict().items()}

    def optimizer_state(self) -> dict[str, Tensor]:
        """Nothing: the loop's optimisers remember all."""
        return {}

    def _embed(self, tokens: TokenStore) -> Tensor:  # (len(tokens), dim), float32 or wider
        with autocast(self.device, self.dtype):
            embeddings = self.module(tokens)
        return embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))

    @torch.no_grad()
    def _embed_all(self, tokens: TokenStore) -> Tensor:  # (len(tokens), dim), float32
        """As in prediction: without dropout."""
        is_training = self.module.training
        self.module.eval()
        table = torch.empty(len(tokens), self.module.dim, device=self.device)
        for rows in self._slices(tokens.lengths, _TEXTS_AT_ONCE):
            table[torch.from_numpy(rows)] = self._embed(tokens.take(rows)).float()
        self.module.train(is_training)
        return table

    def _encoding(self, tokens: TokenStore) -> CachedEncoding:
        chunks = [
            (tokens.take(rows), torch.from_numpy(rows))
            for rows in self._slices(tokens.lengths, len(tokens))
        ]
        return CachedEncoding(self._embed, chunks, self.device)

    def _slices(self, lengths: NDArray[np.int64], batch_size: int) -> Iterator[NDArray[np.int64]]:
        """Texts of like lengths, encoded at once: `encode_batch_size` of the longest, or more."""
        budget = max(int(lengths.max()), 1) * (self.encode_batch_size or len(lengths))
        return length_sorted_slices(lengths, batch_size, budget)

    def _tensors(self, *arrays: NDArray[Any]) -> list[Tensor]:
        return [to_device(torch.from_numpy(array), self.device) for array in arrays]

    def _sample_weight(self, batch: Batch) -> Tensor | None:
        weights = batch.sample_weight
        return None if weights is None else to_device(torch.from_numpy(weights), self.device)
