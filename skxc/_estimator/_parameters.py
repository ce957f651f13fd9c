"""The names that the mixins share with the estimators, for readers and type checkers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from skxc._training._loop import History, Step
from skxc._validation import Target, TargetKind, check_label_texts, check_texts
from skxc.encoders._base import Encoder

if TYPE_CHECKING:
    from skxc._data._batches import TrainingRows
    from skxc._data._tokens import TokenStore
    from skxc.encoders._base import EncoderModule

    from ._fit import TrainingSetup
    from ._memory import Memory
    from ._predict import SearchTable


class EstimatorDeclarations:
    """Parameters, fitted attributes and hooks; no values, no code but the hooks' defaults."""

    # parameters that every estimator has, under one name, default and meaning
    encoder: Any
    label_texts: Any
    epochs: int | None
    batch_size: int | None
    learning_rate: float | None
    weight_decay: float
    warmup_fraction: float
    max_grad_norm: float | None
    dropout: float | None
    top_k: int
    threshold: Any  # float, or one for each label
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int
    sparse_output: Any
    device: Any
    precision: str
    random_state: Any
    warm_start: bool
    verbose: int

    # of parameters that are None: with the embedded encoder, and with a pretrained one
    _defaults: ClassVar[Mapping[str, Any]]
    _pretrained_defaults: ClassVar[Mapping[str, Any]]
    _is_tuned: ClassVar[bool] = False  # some texts are held out for `_tune`
    _memory_savers: ClassVar[tuple[str, ...]] = ("batch_size",)  # besides the encoder's width

    # fitted
    classes_: NDArray[Any]
    n_labels_: int
    label_counts_: NDArray[np.int64]
    label_embeddings_: NDArray[np.float32]
    encoder_: Encoder
    history_: History
    n_iter_: int
    n_samples_seen_: int
    _label_names: NDArray[Any]
    _target_kind: TargetKind
    _target_dtype: np.dtype[Any]
    _optimizer_state: dict[str, Any]
    _runtime: dict[str, Any]  # torch's side of the model: rebuilt when missing, never pickled

    if TYPE_CHECKING:
        # of BaseEstimator, and of the mixins for each other

        def get_params(self, deep: bool = True) -> dict[str, Any]: ...

        def _dtype(self, device: torch.device) -> torch.dtype: ...

        def _search(
            self,
            module: EncoderModule,
            table: SearchTable,
            tokens: TokenStore,
            k: int,
            exclude: Any = None,
        ) -> tuple[NDArray[np.int64], NDArray[np.float32]]: ...

    def _check_texts(self, X: Any, *, reset: bool = True) -> list[str]:
        """The one place where X enters."""
        return check_texts(X)

    def _check_label_texts(self, target: Target, *, is_resumed: bool) -> list[str] | None:
        """One text per label, or None where there are none."""
        return check_label_texts(self.label_texts, len(target.classes))

    def _make_step(self, setup: TrainingSetup) -> tuple[Step, TrainingRows]:
        """The one hook of an algorithm: its step, and the rows that the loop feeds it."""
        raise NotImplementedError

    def _check_own_parameters(self) -> None:
        """Check the parameters that no other estimator has."""

    def _own_memory(self, setup: TrainingSetup, settings: Mapping[str, Any]) -> Memory:
        """Bytes of labels and steps in a training with `settings`; see `Memory` for the parts."""
        raise NotImplementedError

    def _tune(self, setup: TrainingSetup) -> None:
        """Choose what is chosen after training."""

    def _final_table(self, step: Any) -> NDArray[np.float32]:
        """`label_embeddings_` after training."""
        raise NotImplementedError

    def _label_words(self) -> sp.csr_array | None:
        """Weights of words that add to a label's scores, (n_labels, n_words), if it has any."""
        return None

    def _log_odds(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """The log-odds of a label, by its score; may be written over the scores."""
        return scores

    def _text_embeddings(self, embeddings: Tensor) -> Tensor:
        """What is multiplied with the table, from the encoder's output."""
        return embeddings.float()
