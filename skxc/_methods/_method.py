"""What a method offers: to the training loop, to validation and to the estimator."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from skxc._data._batches import TrainingRows
from skxc._search._ranker import Ranker
from skxc._training._loop import Step
from skxc._training._memory import Memory
from skxc._training._setup import Settings, TrainingSetup
from skxc.encoders._base import EncoderModule

S = TypeVar("S", bound=Settings)


class Ended(NamedTuple):
    """What is left of a training."""

    ranker: Ranker
    arrays: dict[str, Any]  # fitted attributes, `label_embeddings_` and `is_seen_` among them
    score_scale: float = 1.0  # what scores are multiplied by in training


class Method(Step, Generic[S]):
    """One paper: its start, its bytes, its step (`__call__`) and its end. It knows no estimator."""

    Settings: ClassVar[type[Settings]]
    memory_parameters: ClassVar[tuple[str, ...]] = ("batch_size",)  # less memory when lowered

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


def seen_labels(rows: TrainingRows, fitted: Mapping[str, Any] | None) -> NDArray[np.bool_]:
    """The labels that some training text has, now or in the fit that training goes on from."""
    is_seen = np.bincount(rows.Y.indices, minlength=rows.Y.shape[1]) > 0
    return is_seen if fitted is None else is_seen | fitted["is_seen_"]
