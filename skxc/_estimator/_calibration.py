"""From scores to probabilities, by a sigmoid fitted on texts that were held out."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from skxc._functional._top_k import UNSEEN_SCORE
from skxc._methods._method import Ended
from skxc._training._setup import TrainingSetup

from ._fitted import FittedModel

_CANDIDATES = 100  # labels a text that the sigmoid is fitted on: the best ones
_TEXTS = 500


class CalibratedMixin(FittedModel):
    """Probabilities of an estimator whose scores mean nothing by themselves.

    Platt's: the log-odds are `slope * score + intercept`, of the best labels of the texts that
    `fit` holds out: a twentieth of them, at most 500. Where that is fewer than 50, training texts
    serve.
    """

    _is_tuned: ClassVar[bool] = True
    _sigmoid: tuple[float, float]  # slope, above 0, and intercept

    def _calibrate(self, setup: TrainingSetup[Any], ended: Ended) -> None:
        rows, held_out = setup.rows, setup.tuning_rows
        if held_out is None:
            if setup.fitted is not None:  # small steps of a stream: what was fitted stays
                return
            spaced = np.linspace(0, len(rows) - 1, min(len(rows), _TEXTS)).astype(np.int64)
            held_out = rows.take(spaced)
        k = min(_CANDIDATES, self.n_labels_)
        labels, scores = ended.ranker.top_k(held_out.tokens, k, held_out.exclude)
        is_given = labels >= 0
        hits = held_out.Y[np.arange(len(labels))[:, None], labels.clip(min=0)].toarray() > 0
        weights = np.ones(len(labels), np.float32)
        if held_out.sample_weight is not None:
            weights = held_out.sample_weight
        self._sigmoid = fit_sigmoid(
            scores[is_given], hits[is_given], weights.repeat(is_given.sum(1)), ended.score_scale
        )

    def _log_odds(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        slope, intercept = self._sigmoid
        scores *= np.float32(slope)
        scores += np.float32(intercept)
        return scores


def fit_sigmoid(
    scores: NDArray[np.float32],  # (n,)
    hits: NDArray[np.bool_],  # (n,)
    weights: NDArray[np.float32],  # (n,) not negative
    scale: float,
) -> tuple[float, float]:
    """Slope and intercept of the log-odds; the slope is `scale` where none above 0 fits."""
    used = (weights > 0) & (scores > UNSEEN_SCORE)  # unseen labels tell nothing
    scores, hits, weights = scores[used].astype(np.float64), hits[used], weights[used]
    if 0 < hits.sum() < len(hits):
        model = LogisticRegression().fit(scores[:, None] * scale, hits, sample_weight=weights)
        slope = float(model.coef_[0, 0]) * scale
        if slope > 0:
            return slope, float(model.intercept_[0])
    if not len(hits):
        return scale, 0.0
    share = (hits.sum() + 0.5) / (len(hits) + 1)
    return scale, float(np.log(share / (1 - share)) - scale * scores.mean())
