"""What a method offers: to the training loop, to validation and to the estimator."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skxc import _distributed as processes
from skxc._data._batches import TrainingRows, length_sorted_slices
from skxc._data._tokens import TokenStore
from skxc._functional._grad_cache import CachedEncoding
from skxc._search._explaining import Part
from skxc._search._ranker import Ranker
from skxc._training._loop import Step
from skxc._training._memory import Memory
from skxc._training._setup import Settings, TrainingSetup
from skxc.encoders._base import EncoderModule, autocast

from ._attributes import Check
from ._encoding import SharedEncoding, no_embeddings

S = TypeVar("S", bound=Settings)
# parts of a score, by what they were learnt from
CLASSIFIER, LABEL_TEXT, WORD_WEIGHTS = "classifier", "label text", "word weights"


class Ended(NamedTuple):
    """What is left of a training."""

    ranker: Ranker
    arrays: dict[str, Any]  # fitted attributes, `label_embeddings_` and `is_seen_` among them
    score_scale: float = 1.0  # what scores are multiplied by in training


class Method(Step, Generic[S]):
    """One paper: its start, its bytes, its step (`__call__`) and its end. It knows no estimator."""

    Settings: ClassVar[type[Settings]]
    # less memory when lowered, the least harmful first
    memory_parameters: ClassVar[tuple[str, ...]] = ("encode_batch_size", "batch_size")
    # its fitted attributes, and what they are in a model that is loaded: in this order
    attributes: ClassVar[Mapping[str, Check]]

    def __init__(self, setup: TrainingSetup[S]) -> None:
        self.settings, self.rows, self.module = setup.settings, setup.rows, setup.module
        self.dtype, self.device = setup.dtype, setup.device
        self.generator = setup.generator

    @classmethod
    @abstractmethod
    def begin(cls, setup: TrainingSetup[S]) -> Self:
        """The method before its first step."""

    @classmethod
    @abstractmethod
    def memory(cls, setup: TrainingSetup[S], settings: S) -> Memory:
        """Bytes of labels and steps in a training with `settings`; see `Memory` for the parts."""

    @abstractmethod
    def ranker(self) -> Ranker:
        """The model as it is now: what validation and mining search with."""

    @abstractmethod
    def end(self, setup: TrainingSetup[S]) -> Ended:
        """The trained model. Training can go on afterwards as if it had not been asked for."""

    @classmethod
    @abstractmethod
    def restored(
        cls, fitted: Mapping[str, Any], module: EncoderModule, dtype: torch.dtype
    ) -> Ranker:
        """The model again, from the arrays of its end."""

    @classmethod
    def score_parts(
        cls,
        fitted: Mapping[str, Any],
        ranker: Ranker,
        labels: NDArray[np.int64],  # (n,)
    ) -> dict[str, Part]:
        """What some labels' scores are the sum of, by what it was learnt from."""
        return {CLASSIFIER: Part(ranker.table.rows[torch.from_numpy(labels)])}

    def parameters(self) -> Iterable[nn.Parameter]:
        """The encoder's; a method updates its labels' weights inside the step."""
        return self.module.parameters()

    def _embed(self, tokens: TokenStore) -> Tensor:  # (len(tokens), dim), float32 or wider
        with autocast(self.device, self.dtype):
            embeddings = self.module(tokens)
        return embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))

    def _encoding(self, tokens: TokenStore) -> SharedEncoding:
        """The embeddings, and the way back to the encoder's parameters."""
        dtype = next(self.module.parameters()).dtype
        return SharedEncoding(
            self._own_encoding, tokens, no_embeddings(self.module.dim, dtype, self.device)
        )

    def _own_encoding(self, tokens: TokenStore) -> CachedEncoding:
        chunks = [
            (tokens.take(rows), torch.from_numpy(rows))
            for rows in self._slices(tokens.lengths, len(tokens))
        ]
        return CachedEncoding(self._embed, chunks, self.device)

    def _slices(self, lengths: NDArray[np.int64], batch_size: int) -> Iterator[NDArray[np.int64]]:
        """Texts of like lengths, encoded at once: `encode_batch_size` of the longest, or more."""
        at_once = self.settings.encode_batch_size or len(lengths)
        longest = int(lengths.max(initial=1))
        return length_sorted_slices(lengths, batch_size, longest * at_once)


def encoder_bytes(
    setup: TrainingSetup[S],
    settings: S,
    parts: Sequence[tuple[NDArray[np.int64], int]],  # lengths to draw from, texts of a step
) -> int:
    """What embedding a step's texts holds, until their gradients are computed."""
    at_once, dtype, dim = settings.encode_batch_size, setup.dtype, settings.dim
    of_all = 2 * 4 * dim * sum(n for _, n in parts)  # embeddings, and their gradients
    parts = [(lengths, processes.n_share(n)) for lengths, n in parts]
    n_texts = sum(n for _, n in parts)
    if at_once is None or at_once >= n_texts:
        own = sum(setup.module.activation_bytes(*part, dim, dtype) for part in parts)
        return own + of_all * (processes.size() > 1)
    longest = np.concatenate([lengths for lengths, _ in parts])
    return setup.module.activation_bytes(longest, at_once, dim, dtype) + of_all


def seen_labels(rows: TrainingRows, fitted: Mapping[str, Any] | None) -> NDArray[np.bool_]:
    """The labels that some training text has, now or in the fit that training goes on from."""
    is_seen = np.bincount(rows.Y.indices, minlength=rows.Y.shape[1]) > 0
    return is_seen if fitted is None else is_seen | fitted["is_seen_"]
