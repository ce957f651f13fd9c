"""What is chosen after training: probabilities, and the threshold of `predict`."""

from __future__ import annotations

from typing import Any

import numpy as np

from skxc._methods._method import Ended
from skxc._training._setup import TrainingSetup
from skxc.metrics._top_k import top_k_matrix
from skxc.model_selection._threshold import Candidates

from ._calibration import CalibratedMixin

_CANDIDATES = 100  # labels a text to choose by: the best ones


class ThresholdMixin(CalibratedMixin):
    """The threshold of highest micro-F1, on texts that `fit` holds out.

    Where these are fewer than 50, or none, training texts serve.
    """

    def _calibrate(self, setup: TrainingSetup[Any], ended: Ended) -> None:
        """Fit what turns scores into probabilities, and choose the threshold."""
        has_threshold = self._target_kind != "classes"
        rows = setup.choosing_rows
        if rows is None:
            return
        k = min(_CANDIDATES, self.n_labels_)
        labels, scores = ended.ranker.top_k(rows.tokens, k, rows.exclude)
        weights = np.ones(len(rows), np.float32)
        if rows.sample_weight is not None:
            weights = rows.sample_weight
        is_given = labels >= 0
        relevances = rows.Y[np.arange(len(labels))[:, None], labels.clip(min=0)].toarray()
        self._fit_log_odds(
            scores[is_given], relevances[is_given], weights.repeat(is_given.sum(1)), ended
        )
        if has_threshold:
            proba = top_k_matrix(labels, self._proba(scores), self.n_labels_)
            counted = np.flatnonzero(weights)
            self.threshold_ = 0.5  # where no text has one of its labels among the best
            if relevances[counted].any():
                candidates = Candidates(proba[counted], rows.Y[counted], None)
                self.threshold_ = candidates.best_for_all("f1_micro")
