"""The torch module of a transformer encoder: last hidden states, pooled, and layers that follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from skxc._data._tokens import TokenStore
from skxc._kernels import to_device

from . import _compiled, _lora
from ._base import EncoderModule

if TYPE_CHECKING:  # transformers takes seconds to import
    from transformers import PreTrainedModel

POOLINGS = ("mean", "weightedmean", "cls", "last")
# of the dense layers that sentence-transformers' folders name, by torch's names
ACTIVATIONS = {
    "Identity": nn.Identity,
    "Tanh": nn.Tanh,
    "ReLU": nn.ReLU,
    "GELU": nn.GELU,
    "SiLU": nn.SiLU,
    "Sigmoid": nn.Sigmoid,
}
# What autograd keeps per layer, token and hidden unit; some of it is float32 under autocast
_BYTES_A_LAYER = {torch.float32: 72, torch.bfloat16: 45}
# float32 maps of all pairs of tokens, which the CPU's attention holds where it has dropout
_MAPS_A_LAYER = 3
# Batches of changing shapes fragment the CPU's heap: 1.5 times the memory was measured.
_CPU_HEAP = 1.5


class PooledTransformer(EncoderModule):
    """A transformer, its pooling, its dense layers and an optional projection."""

    def __init__(
        self,
        transformer: PreTrainedModel,
        *,
        pooling: str,
        pad_token_id: int,
        dense: Sequence[nn.Module] = (),  # linear layers and activations
        projection: nn.Linear | None = None,
    ) -> None:
        super().__init__()
        self.transformer = transformer
        self.pooling = pooling
        self.pad_token_id = pad_token_id
        self.is_compiled = self.is_checkpointing = False
        self.dense = nn.Sequential(*dense)
        self.projection: nn.Module = nn.Identity() if projection is None else projection
        layers = [m for m in (*dense, projection) if isinstance(m, nn.Linear)]
        self.dim = layers[-1].out_features if layers else transformer.config.hidden_size

    @property
    def is_as_built(self) -> bool:
        """Adapters stay beside the weights in training alone."""
        return not any(map(_lora.is_factor, dict(self.transformer.named_parameters())))

    def forward(self, tokens: TokenStore) -> Tensor:  # (n_texts, dim)
        embeddings = self.pooled(tokens)
        with torch.autocast(embeddings.device.type, enabled=False):
            return self.projection(embeddings)

    def pooled(self, tokens: TokenStore) -> Tensor:
        """The embeddings before the projection."""
        device = next(self.parameters()).device
        padded = _pad(tokens, self.pad_token_id)
        ids, mask = (to_device(torch.from_numpy(a), device) for a in padded)
        # decided on the host: transformers would wait for the GPU to see that nothing is padded
        attention_mask = None if padded[1].all() else mask.long()
        embeddings = pool(self._states(ids, attention_mask), mask, self.pooling)
        with torch.autocast(device.type, enabled=False):
            return self.dense(embeddings)

    def _states(self, ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """The last hidden states, (n_texts, longest, hidden)."""
        if not self.is_compiled:
            try:
                states = self.transformer(input_ids=ids, attention_mask=attention_mask)
                return states.last_hidden_state
            except (AttributeError, LookupError, TypeError, ValueError) as error:
                raise ValueError(
                    f"The encoder's configuration makes {type(self.transformer).__name__} fail "
                    f"({error!r:.300}). Use a model with its own config.json."
                ) from error
        has_graph = torch.is_grad_enabled()
        # training that encodes twice, first without a graph, is compiled once: with it
        with _compiled.many_graphs(), torch.set_grad_enabled(has_graph or self.training):
            states = self.transformer(input_ids=ids, attention_mask=attention_mask)
        return states.last_hidden_state if has_graph else states.last_hidden_state.detach()

    def checkpoint_gradients_(self) -> None:
        """Keep each block's input alone, and compute the rest again for the gradient.

        Raises
        ------
        ValueError
            If this transformer cannot do that.
        """
        if not self.transformer.supports_gradient_checkpointing:
            raise ValueError(
                f"gradient_checkpointing=True, and {type(self.transformer).__name__} has no blocks "
                f"that could be computed again. Pass gradient_checkpointing=False."
            )
        model = self.transformer  # transformers 5 has another name for it
        enable = getattr(model, "activation_checkpointing_enable", None)
        (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})
        self.is_checkpointing = True

    def activation_bytes(
        self, lengths: np.ndarray, n_texts: int, dim: int, dtype: torch.dtype
    ) -> int:
        """What autograd keeps of every layer, measured on BERT."""
        config, longest = self.transformer.config, int(lengths.max(initial=1))
        a_token, heap = float(_BYTES_A_LAYER[dtype] * config.hidden_size), 1.0
        if next(self.parameters()).device.type == "cpu":
            a_token += 4 * _MAPS_A_LAYER * config.num_attention_heads * longest
            heap = _CPU_HEAP
        n_layers, kept = config.num_hidden_layers, 0.0
        if self.is_checkpointing:  # of all layers the inputs, of one the rest
            n_layers, kept = 1, 4.0 * config.hidden_size * config.num_hidden_layers
        return int(heap * n_texts * (longest * (a_token * n_layers + kept) + 4 * dim))


def linear_of(weight: np.ndarray, bias: np.ndarray | None) -> nn.Linear:
    """A layer of this shape; its weights are loaded later."""
    return nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)


def dense_layers(
    weights: Mapping[str, np.ndarray],  # "dense.0.weight", "dense.0.bias", "dense.2.weight", ...
    activations: Sequence[str],
) -> list[nn.Module]:
    """Linear layers, each followed by its activation."""
    layers: list[nn.Module] = []
    for i, activation in enumerate(activations):
        name = f"dense.{2 * i}"
        layers.append(linear_of(weights[f"{name}.weight"], weights.get(f"{name}.bias")))
        layers.append(ACTIVATIONS[activation]())
    return layers


def _pad(tokens: TokenStore, pad_token_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids (int64) and mask (bool) of a batch, as wide as its longest text."""
    lengths = np.diff(tokens.offsets)
    mask = np.arange(lengths.max(initial=1)) < lengths[:, None]  # (n_texts, longest)
    ids = np.full(mask.shape, pad_token_id, dtype=np.int64)
    ids[mask] = tokens.ids
    return ids, mask


def pool(
    states: Tensor,  # (n_texts, longest, hidden)
    mask: Tensor,  # (n_texts, longest) bool: the real tokens, which come first
    pooling: str,
) -> Tensor:
    """One vector per text, (n_texts, hidden), in float32 or better."""
    dtype = torch.promote_types(states.dtype, torch.float32)
    if pooling == "cls":
        return states[:, 0].to(dtype)
    lengths = mask.sum(dim=1)
    if pooling == "last":
        return states[torch.arange(len(states), device=states.device), lengths - 1].to(dtype)
    states = states.masked_fill(~mask.unsqueeze(-1), 0)
    if pooling == "weightedmean":  # a token's weight is its place, from 1 on
        places = torch.arange(1, states.shape[1] + 1, device=states.device, dtype=dtype)
        total = torch.einsum("nth,t->nh", states.to(dtype), places)
        return total / (lengths * (lengths + 1) / 2).unsqueeze(-1).to(dtype)
    return states.sum(dim=1, dtype=dtype) / lengths.unsqueeze(-1)
