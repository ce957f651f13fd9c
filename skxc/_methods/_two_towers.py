"""What methods share that embed texts and label texts by one encoder."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skxc import _distributed as processes
from skxc._data._batches import Batch
from skxc._data._shares import text_share
from skxc._data._tokens import TokenStore
from skxc._functional._pairs import Pairs, Positives
from skxc._kernels import to_device
from skxc._search._ranker import search_bytes
from skxc._training._paper import Paper
from skxc._training._setup import Settings, TrainingSetup
from skxc._validation import callers_stack_level, check_integer
from skxc.encoders._base import trained_state

from ._method import Method, encoder_bytes, seen_labels
from ._pools import pairs_in_pool

# of each label of a shortlist: label (int64 and int32) and score
_BYTES_A_MINED = 8 + 4 + 4
# texts embedded at once where no tokens bound them; of each, tensors of an embedding's size
_TEXTS_AT_ONCE = 1 << 12
_TENSORS_A_TEXT = 4


@dataclass(frozen=True, kw_only=True)
class TwoTowerPaper(Paper):
    """Likewise, of methods that mine hard negatives."""

    shortlist_size: int = 100  # labels that a text's hard negatives are drawn from

    def check(self) -> None:
        """Raise where a value is out of what is accepted."""
        super().check()
        check_integer("paper['shortlist_size']", self.shortlist_size, 1)


@dataclass(frozen=True, kw_only=True)
class TwoTowerSettings(Settings):
    """What both methods that embed label texts have; see the estimators' parameters."""

    details: ClassVar[type[Paper]] = TwoTowerPaper
    paper: TwoTowerPaper = field(default_factory=TwoTowerPaper)
    loss: str
    temperature: float
    negatives: str
    pool_size: int
    negatives_per_text: int
    mining_interval: int


S = TypeVar("S", bound=TwoTowerSettings)


class TwoTowerMethod(Method[S]):
    """Embeds texts and label texts, within a budget of tokens."""

    memory_parameters = (*Method.memory_parameters, "pool_size")

    def __init__(self, setup: TrainingSetup[S]) -> None:
        super().__init__(setup)
        assert setup.label_tokens is not None  # the estimators refuse to go without
        self.label_tokens, self.own = setup.label_tokens, setup.own_labels
        self.rng = np.random.default_rng(setup.generator.initial_seed())
        self.shortlists: NDArray[np.int32] | None = None  # (n_rows, n) hardest negatives; -1: none

    def state(self) -> dict[str, Tensor]:
        """The encoder."""
        return {f"module.{k}": v for k, v in trained_state(self.module).items()}

    def optimizer_state(self) -> dict[str, Tensor]:
        """Nothing: the loop's optimisers remember all."""
        return {}

    def sampling_state(self) -> dict[str, Any]:
        """Random numbers and shortlists."""
        return {"rng": self.rng.bit_generator.state, "shortlists": self.shortlists}

    def restore_sampling(self, state: Mapping[str, Any]) -> None:
        """Set them."""
        self.rng.bit_generator.state = state["rng"]
        shortlists = state["shortlists"]
        self.shortlists = None if shortlists is None else np.array(shortlists)

    def _mine(self) -> None:
        """The hardest negatives of every training text, by an exact search over all labels."""
        self.module.eval()
        n = min(self.settings.paper.shortlist_size, len(self.label_tokens))
        self.shortlists = self.ranker().hard_negatives(self.rows, n)
        self.module.train()

    @torch.no_grad()
    def _embed_labels(self) -> Tensor:  # (n_own_labels, dim), float32
        """The own labels' texts, as in prediction: without dropout."""
        is_training, tokens = self.module.training, text_share(self.label_tokens, self.own)
        self.module.eval()
        table = torch.empty(len(tokens), self.module.dim, device=self.device)
        for rows in self._slices(tokens.lengths, _TEXTS_AT_ONCE):
            table[torch.from_numpy(rows)] = self._embed(tokens.take(rows)).float()
        self.module.train(is_training)
        return table

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
        parts = [(setup.rows.tokens.lengths, n_texts), (setup.label_tokens.lengths, n_labels)]
        return encoder_bytes(setup, settings, parts)

    @classmethod
    def _search_bytes(cls, setup: TrainingSetup[S], settings: S, dim: int, n_words: int = 0) -> int:
        """What embedding all labels holds, or searching rows of `dim`, besides the tables."""
        place = torch.device("cpu") if n_words else setup.device
        n_labels = processes.n_share(setup.n_labels)
        embedded = 4 * _TENSORS_A_TEXT * settings.dim * min(_TEXTS_AT_ONCE, n_labels)
        is_mined = settings.negatives == "mined"
        n_texts = len(setup.rows) if is_mined else setup.n_searched
        searched = search_bytes(n_texts, n_labels, dim, place, n_words=n_words)
        return max(embedded, searched)

    @classmethod
    def _mining_bytes(cls, setup: TrainingSetup[S], settings: S) -> int:
        """What the shortlists hold when they are made, between epochs."""
        is_mined = settings.negatives == "mined" and settings.pool_size < setup.n_labels
        n_mined = min(settings.paper.shortlist_size, setup.n_labels)
        return _BYTES_A_MINED * len(setup.rows) * n_mined * is_mined


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
