"""What every encoder offers to the training loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from skxc._data._tokens import TokenStore
from skxc._persistence import ModelFolder


class EncoderModule(nn.Module):
    """A torch module that embeds a batch of texts."""

    dim: int

    def forward(self, tokens: TokenStore) -> Tensor:  # (len(tokens), dim)
        """Embeddings of the texts, not yet dropped out."""
        raise NotImplementedError

    def activation_bytes(
        self,
        lengths: np.ndarray,  # (n,) tokens of the texts that batches are drawn from
        n_texts: int,
        dim: int,
        dtype: torch.dtype,  # bfloat16: under autocast
    ) -> int:
        """What embedding `n_texts` at once holds until their gradient is there, at width `dim`."""
        raise NotImplementedError


class Encoder(Protocol):
    """A public encoder object: parameters only, until `fit` reads texts or weights.

    An estimator clones it, so one object can serve many fits. Fitted attributes are NumPy arrays,
    strings and dicts: they pickle, memory-map and save without torch.
    """

    is_padded: ClassVar[bool]  # a batch costs its longest text: length-bucket the batches
    is_pretrained: ClassVar[bool]  # which of an estimator's two sets of defaults is meant for it
    dim_parameter: ClassVar[str]  # the name of the parameter that narrows its embeddings
    weights_: dict[str, np.ndarray]  # the module's state

    def fit(self, texts: Sequence[str], *, label_texts: Sequence[str], seed: int) -> Self: ...

    def tokenize(self, texts: Sequence[str]) -> TokenStore: ...

    def _write_files(
        self, folder: Path, *, is_normalized: bool
    ) -> dict[str, Any]: ...  # what is in no file, as JSON

    def _read_files(
        self, files: ModelFolder, rest: Mapping[str, Any], *, is_mapped: bool
    ) -> None: ...

    def build_module(self) -> EncoderModule: ...  # holding a copy of `weights_`, on the CPU

    # bytes of the fitted vocabulary, and what reading texts of so many tokens took on top
    def reading_bytes(self, n_tokens: int) -> tuple[int, int]: ...


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """The context in which an encoder runs, in training and in prediction alike."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)
