"""What a fitted estimator holds, and the model that prediction makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from skxc._search._building import building
from skxc._search._ranker import Ranker
from skxc._search._reranker import Reranker
from skxc._training._loop import History
from skxc._validation import TargetKind, check_choice, check_texts, resolve_device
from skxc.encoders._base import Encoder

from ._parameters import CommonParameters
from ._sources import opened


class FittedModel(CommonParameters):
    """Fitted attributes, and the ranker over them."""

    classes_: NDArray[Any]
    n_labels_: int
    label_counts_: NDArray[np.int64]
    label_embeddings_: NDArray[np.float32]
    is_seen_: NDArray[np.bool_]
    encoder_: Encoder
    history_: History
    n_iter_: int
    n_samples_seen_: int
    label_names_: NDArray[Any]
    threshold_: float
    _target_kind: TargetKind
    _target_dtype: np.dtype[Any]
    _optimizer_state: dict[str, Any]
    _sigmoid: tuple[float, float]  # slope, above 0, and intercept
    reranker_: dict[str, Any]
    rerank_weight_: float
    _ranker: Ranker | None = None  # torch's side of the model: rebuilt when missing, never pickled

    @contextmanager
    def _predicting(self) -> Iterator[Ranker]:
        """The model on `device`; a GPU's lack of memory is told in words."""
        try:
            yield self._get_ranker()
        except torch.cuda.OutOfMemoryError as error:
            raise ValueError(
                f"Prediction needs more memory than the GPU has free "
                f"({str(error).splitlines()[0]}). Call set_params(device='cpu'), or end what else "
                f"is on that GPU."
            ) from error

    def _get_ranker(self) -> Ranker:
        """The model on `device`, built when first needed."""
        device = resolve_device(self.device)
        dtype, ranker = self._dtype(device), self._ranker
        where = torch.empty(0, device=device).device  # "cuda" is "cuda:0" there
        if ranker is not None and ranker.device == where and ranker.dtype == dtype:
            return ranker
        with building(self):
            ranker = self._ranker  # another thread may have built it by now
            if ranker is None or ranker.device != where:
                fitted = vars(self).copy()  # its own: tables are read from it later
                fitted.pop("_ranker", None)
                module = self.encoder_.build_module().to(device).eval()
                reranker = Reranker.of_arrays(fitted["reranker_"], fitted["rerank_weight_"])
                ranker = self._method.restored(fitted, module, dtype).with_reranker(reranker)
            elif ranker.dtype != dtype:
                ranker = replace(ranker, dtype=dtype)
            self._ranker = ranker
            return ranker

    def _dtype(self, device: torch.device) -> torch.dtype:
        check_choice("precision", self.precision, ("auto", "float32", "bfloat16"))
        if self.precision != "auto":
            dtype: torch.dtype = getattr(torch, self.precision)
            return dtype
        # GPUs before Ampere (8.0) have no bfloat16 units
        is_fast = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
        return torch.bfloat16 if is_fast else torch.float32

    def _check_texts(self, X: Any, *, reset: bool = True) -> list[str]:
        """The one place where X enters, or, as a list, what is read from a file."""
        return check_texts(opened(X))

    def _proba(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities of scores, strictly inside (0, 1), written over the scores."""
        eps = np.finfo(np.float32).eps
        expit(self._log_odds(scores), out=scores)
        return np.clip(scores, np.finfo(np.float32).tiny, 1 - eps, out=scores)

    def _log_odds(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """The log-odds of a label, by its score; written over the scores."""
        slope, intercept = self._sigmoid
        scores *= np.float32(slope)
        scores += np.float32(intercept)
        return scores
