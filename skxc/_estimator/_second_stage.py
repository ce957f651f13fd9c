"""The second stage of a fit: what ranks the best labels of a text anew, by its words."""

from __future__ import annotations

import logging
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from skxc._data._batches import TrainingRows
from skxc._methods._method import Ended
from skxc._search._reranker import Reranker
from skxc._search._reranker_training import (
    default_weight,
    n_texts_searched,
    trained_arrays,
    training_bytes,
    tuned_weight,
)
from skxc._training._memory import Memory
from skxc._training._setup import TrainingSetup
from skxc._validation import is_auto

from ._threshold import ThresholdMixin

logger = logging.getLogger("skxc")


class SecondStageMixin(ThresholdMixin):
    """Trains the second stage and weighs it, where `rerank_weight` is not 0."""

    @property
    def _is_tuned(self) -> bool:
        """Whether some texts are held out for what is chosen after training."""
        return not self._has_log_odds or self._has_second_stage

    @property
    def _has_second_stage(self) -> bool:
        return _has_numba() if is_auto(self.rerank_weight) else self.rerank_weight > 0

    def _with_second_stage(self, setup: TrainingSetup[Any], ended: Ended) -> Ended:
        """The trained model, the second stage behind it."""
        none: dict[str, Any] = {"reranker_": {}, "rerank_weight_": 0.0}
        earlier = {} if setup.fitted is None else setup.fitted["reranker_"]
        is_stream = setup.is_partial and setup.fitted is not None
        has_labels = bool(setup.rows.Y.nnz)  # else all that ranks high would be taken for wrong
        is_new = not earlier and (is_stream or not has_labels)
        if not self._has_second_stage or is_new:
            return ended._replace(arrays=ended.arrays | none)
        arrays = trained_arrays(
            ended.ranker,
            setup.rows,
            setup.label_tokens,
            n_words=setup.encoder.n_words,
            earlier=earlier,
            is_stream=is_stream,
            rng=np.random.default_rng(setup.generator.initial_seed()),
            n_threads=torch.get_num_threads(),
        )
        weight = self._weight_of_second_stage(setup, ended, arrays)
        if not weight:
            return ended._replace(arrays=ended.arrays | none)
        ranker = ended.ranker.with_reranker(Reranker.of_arrays(arrays, weight))
        own = {"reranker_": arrays, "rerank_weight_": weight}
        return ended._replace(ranker=ranker, arrays=ended.arrays | own)

    def _weight_of_second_stage(
        self, setup: TrainingSetup[Any], ended: Ended, arrays: dict[str, Any]
    ) -> float:
        if not is_auto(self.rerank_weight):
            return float(self.rerank_weight)
        if setup.is_partial and setup.fitted is not None:
            return float(setup.fitted["rerank_weight_"])
        weight = default_weight(ended.score_scale)
        if setup.tuning_rows is None:
            return weight
        reranker = Reranker.of_arrays(arrays, weight)
        assert reranker is not None
        return tuned_weight(reranker, ended.ranker, setup.tuning_rows, ended.score_scale)

    def _memory(self, setup: TrainingSetup[Any], settings: Any) -> Memory:
        """Bytes of labels and steps, and of the second stage."""
        memory = self._method.memory(setup, settings)
        if not self._has_second_stage:
            return memory
        return memory + Memory({}, {"published": training_bytes(setup.rows, setup.label_tokens)})

    def _n_searched(self, rows: TrainingRows) -> int:
        """Training texts whose candidates the second stage asks the first for."""
        return n_texts_searched(*rows.Y.shape) if self._has_second_stage else 0


@cache
def _has_numba() -> bool:
    """Whether the second stage can be trained: its solver is compiled by numba, a dependency."""
    is_there = find_spec("numba") is not None
    if not is_there:
        logger.warning("numba is not installed: rerank_weight='auto' gives no second stage.")
    return is_there
