"""What a training starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import scipy.sparse as sp
import torch

from skxc import _distributed as processes
from skxc._data._batches import TrainingRows
from skxc._data._shares import column_share, text_share
from skxc._data._token_files import TokenRows
from skxc._data._tokens import TokenStore
from skxc._functional._lexical import co_occurring_pairs
from skxc.encoders._base import Encoder, EncoderModule

from ._paper import Paper

# fewer texts than this tell too little to tune anything by
LEAST_TUNING_TEXTS = 50
MOST_TUNING_TEXTS = 500


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The estimators' parameters of the same names, with a value for this fit in place of None."""

    details: ClassVar[type[Paper]] = Paper  # what `paper` may name

    epochs: int
    batch_size: int
    encode_batch_size: int | None
    learning_rate: float
    weight_decay: float
    warmup_fraction: float
    max_grad_norm: float | None
    dropout: float
    early_stopping: bool
    paper: Paper = field(default_factory=Paper)
    dim: int  # of the encoder's embeddings


S = TypeVar("S", bound=Settings)


@dataclass(frozen=True, kw_only=True)
class TrainingSetup(Generic[S]):
    """Texts, labels, encoder and settings: all that a method begins with."""

    settings: S
    module: EncoderModule  # in training mode, on `device`
    rows: TrainingRows  # without the held-out rows
    held_out: TrainingRows | None
    encoder: Encoder
    label_texts: list[str] | None
    label_tokens: TokenStore | None  # of the label texts
    device: torch.device
    dtype: torch.dtype  # bfloat16: the encoder runs under autocast
    generator: torch.Generator  # on `device`
    fitted: Mapping[str, Any] | None  # fitted attributes, where training goes on from them
    is_partial: bool  # one pass of `partial_fit`
    n_reranked: int = 0  # training texts that the second stage is trained on candidates of

    @cached_property
    def host_generator(self) -> torch.Generator:
        """The generator, or, where that is a GPU's, one on the CPU."""
        if self.device.type == "cpu":
            return self.generator
        return torch.Generator().manual_seed(self.generator.initial_seed())

    @property
    def n_labels(self) -> int:
        """Number of labels."""
        n_labels: int = self.rows.Y.shape[1]
        return n_labels

    @property
    def own_labels(self) -> slice:
        """Those whose rows this process holds: of one process, all."""
        return processes.share(self.n_labels)

    @property
    def tuning_rows(self) -> TrainingRows | None:
        """The held-out rows, where they are enough to tune anything by."""
        held_out = self.held_out
        return held_out if held_out is not None and len(held_out) >= LEAST_TUNING_TEXTS else None

    @property
    def choosing_rows(self) -> TrainingRows | None:
        """Rows by which probabilities and the threshold are chosen: training rows without others.

        None where a stream goes on: in its small steps, what was chosen stays.
        """
        is_stream = self.is_partial and self.fitted is not None
        if is_stream or self.tuning_rows is not None:
            return self.tuning_rows
        n_rows = min(len(self.rows), MOST_TUNING_TEXTS)
        return self.rows.take(np.linspace(0, len(self.rows) - 1, n_rows).astype(np.int64))

    @property
    def n_searched(self) -> int:
        """Texts that one search is over, mining apart."""
        rows = (self.held_out, self.choosing_rows)
        return max(self.n_reranked, *(len(part) if part else 0 for part in rows))

    @property
    def word_pairs(self) -> sp.csr_array:
        """The pairs of an own label and a word that it was seen with, (n_own, n_words)."""
        cache = vars(self)  # not cached_property: its lock (before Python 3.12) survives no fork
        if "_word_pairs" not in cache:
            assert self.label_tokens is not None
            n_words, own = self.encoder.n_words, self.own_labels
            texts, rows = self.rows.tokens.placed_csr(n_words)
            label_tokens = text_share(self.label_tokens, own)
            cache["_word_pairs"] = co_occurring_pairs(
                texts, column_share(self.rows.Y, own), label_tokens.as_csr(n_words), rows
            )
        pairs: sp.csr_array = cache["_word_pairs"]
        return pairs

    @property
    def data_bytes(self) -> int:
        """Tokens, labels and the vocabulary."""
        parts = [self.rows, self.held_out, self.label_tokens]
        kept, _ = self.encoder.reading_bytes(0)
        kept += sum(part.nbytes for part in parts if part is not None)
        tokens = self.rows.tokens
        if not tokens.has_vectors and not isinstance(tokens, TokenRows):  # those are to come
            n_texts = sum(len(part) for part in parts if part is not None)
            kept += 4 * (self.module.frozen_dim or 0) * n_texts
        return kept

    @property
    def reading_bytes(self) -> int:
        """What reading the texts took on top of what is kept of them."""
        parts = [self.rows, self.held_out]
        tokens = [part.tokens for part in parts if part is not None]
        n_tokens = sum(t.n_tokens for t in tokens if not isinstance(t, TokenRows))
        return self.encoder.reading_bytes(n_tokens)[1] - sum(t.nbytes for t in tokens)


def n_tuning_texts(n_texts: int) -> int:
    """Texts held out to tune by: a twentieth, at most 500; none where that is too few."""
    n_held_out = min(n_texts // 20, MOST_TUNING_TEXTS)
    return n_held_out if n_held_out >= LEAST_TUNING_TEXTS else 0
