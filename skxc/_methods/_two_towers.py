"""What methods share that embed texts and label texts by one encoder."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skxc._data._batches import Batch, length_sorted_slices
from skxc._data._tokens import TokenStore
from skxc._functional._grad_cache import CachedEncoding
from skxc._functional._pairs import Pairs, Positives
from skxc._kernels import to_device
from skxc._training._setup import Settings, TrainingSetup
from skxc._validation import callers_stack_level
from skxc.encoders._base import autocast

from ._method import Method, seen_labels
from ._pools import pairs_in_pool

# texts embedded at once where no tokens bound them
_TEXTS_AT_ONCE = 1 << 14


@dataclass(frozen=True, kw_only=True)
class TwoTowerSettings(Settings):
    """What both methods that embed label texts have; see the estimators' parameters."""

    loss: str
    temperature: float
    negatives: str
    pool_size: int
    negatives_per_text: int
    mining_interval: int
    encode_batch_size: int | None


S = TypeVar("S", bound=TwoTowerSettings)


class TwoTowerMethod(Method[S]):
    """Embeds texts and label texts, within a budget of tokens."""

    memory_parameters = ("encode_batch_size", "batch_size", "pool_size")

    def __init__(self, setup: TrainingSetup[S]) -> None:
        assert setup.label_tokens is not None  # the estimators refuse to go without
        self.settings, self.rows, self.label_tokens = setup.settings, setup.rows, setup.label_tokens
        self.module, self.dtype, self.device = setup.module, setup.dtype, setup.device
        self.rng = np.random.default_rng(setup.generator.initial_seed())
        self.shortlists: NDArray[np.int32] | None = None  # (n_rows, n) hardest negatives; -1: none

    def parameters(self) -> Iterable[nn.Parameter]:
        """The encoder's."""
        return self.module.parameters()

    def state(self) -> dict[str, Tensor]:
        """The encoder."""
        return {f"module.{k}": v for k, v in self.module.state_dict().items()}

    def optimizer_state(self) -> dict[str, Tensor]:
        """Nothing: the loop's optimisers remember all."""
        return {}

    def _mine(self, k: int) -> None:
        """The hardest negatives of every training text, by an exact search over all labels."""
        self.module.eval()
        self.shortlists = self.ranker().hard_negatives(self.rows, min(k, len(self.label_tokens)))
        self.module.train()

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
        at_once = self.settings.encode_batch_size or len(lengths)
        return length_sorted_slices(lengths, batch_size, max(int(lengths.max()), 1) * at_once)

    def _positives_in(
        self, positives: Positives[NDArray[Any]], pool: NDArray[np.int64]
    ) -> Positives[Tensor]:
        """The positives that the pool holds, by their labels' places in it."""
        kept, places = pairs_in_pool(positives, pool)
        return Positives(*self._tensors(places, positives.rows[kept], positives.values[kept]))

    def _ignored_in(
        self, ignored: Pairs[NDArray[Any]] | None, pool: NDArray[np.int64]
    ) -> Pairs[Tensor] | None:
        """The ignored pairs that the pool holds, by their labels' places in it."""
        if ignored is None:
            return None
        kept, places = pairs_in_pool(ignored, pool)
        return Pairs(*self._tensors(places, ignored.rows[kept]))

    def _tensors(self, *arrays: NDArray[Any]) -> list[Tensor]:
        return [to_device(torch.from_numpy(array), self.device) for array in arrays]

    def _sample_weight(self, batch: Batch) -> Tensor | None:
        weights = batch.sample_weight
        return None if weights is None else to_device(torch.from_numpy(weights), self.device)

    def _common_arrays(self, setup: TrainingSetup[S]) -> dict[str, Any]:
        return {
            "label_texts_": np.array(setup.label_texts, dtype=object),
            "is_seen_": seen_labels(self.rows, setup.fitted),
        }

    @classmethod
    def label_rows(
        cls, fitted: Mapping[str, Any], embeddings: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Rows of `label_embeddings_`, from what the ranker makes of unseen labels' texts."""
        return embeddings

    @classmethod
    def grown(cls, fitted: Mapping[str, Any], tokens: TokenStore) -> dict[str, Any]:
        """The arrays of `end`, but the table, with unseen labels of these texts added."""
        return {"is_seen_": np.concatenate([fitted["is_seen_"], np.zeros(len(tokens), bool)])}

    @classmethod
    def _encoder_bytes(
        cls, setup: TrainingSetup[S], settings: S, n_texts: int, n_labels: int
    ) -> int:
        """What embedding a step's texts and labels holds."""
        assert setup.label_tokens is not None
        at_once, dtype, dim = settings.encode_batch_size, setup.dtype, settings.dim
        parts = [(setup.rows.tokens.lengths, n_texts), (setup.label_tokens.lengths, n_labels)]
        if at_once is None:
            return sum(setup.module.activation_bytes(*part, dim, dtype) for part in parts)
        n_all = n_texts + n_labels
        longest = np.concatenate([lengths for lengths, _ in parts])
        encoded = setup.module.activation_bytes(longest, min(n_all, at_once), dim, dtype)
        return encoded + 2 * 4 * dim * n_all  # all embeddings, and their gradients


def warn_of_unknown_words(is_known: NDArray[np.bool_], label_texts: list[str]) -> None:
    """Warn of label texts that the encoder can read nothing of."""
    empty = np.flatnonzero(~is_known)
    if len(empty):
        warnings.warn(
            f"{len(empty)} of {len(label_texts)} label texts hold no word that the encoder knows, "
            f"such as label_texts[{empty[0]}]={label_texts[empty[0]]!r}: these labels rank last. "
            f"Pass texts with known words, or an encoder that reads sub-words.",
            UserWarning,
            stacklevel=callers_stack_level(),
        )
