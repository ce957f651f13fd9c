"""From scores to probabilities, by a sigmoid fitted on texts that were held out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from skxc._functional._top_k import UNSEEN_SCORE
from skxc._methods._attributes import Check, Sizes, a_positive_number, wrong_attribute
from skxc._methods._method import Ended

from ._fitted import FittedModel


def _slope_and_intercept(name: str, value: Any, sizes: Sizes) -> None:
    if not isinstance(value, tuple) or len(value) != 2:
        raise wrong_attribute(name, value, "a slope and an intercept")
    a_positive_number(f"{name}[0]", value[0], sizes)
    if type(value[1]) not in (int, float) or not math.isfinite(value[1]):
        raise wrong_attribute(f"{name}[1]", value[1], "a finite number")


class CalibratedMixin(FittedModel):
    """Probabilities of scores that mean nothing by themselves.

    Platt's: the log-odds are `slope * score + intercept`, of the best labels of the texts that
    `fit` holds out: a twentieth of them, at most 500. Where that is fewer than 50, training texts
    serve. Scores that are log-odds themselves, and no second stage's, are left as they are.
    """

    _attributes: ClassVar[Mapping[str, Check]] = {"_sigmoid": _slope_and_intercept}

    def _fit_log_odds(
        self,
        scores: NDArray[np.float32],  # (n,)
        relevances: NDArray[np.float32],  # (n,) in [0, 1]
        weights: NDArray[np.float32],  # (n,)
        ended: Ended,
    ) -> None:
        """Fit what turns scores into log-odds."""
        if self._has_log_odds and ended.ranker.reranker is None:
            self._sigmoid = (1.0, 0.0)
        else:
            self._sigmoid = fit_sigmoid(scores, relevances, weights, ended.score_scale)


def fit_sigmoid(
    scores: NDArray[np.float32],  # (n,)
    relevances: NDArray[np.float32],  # (n,) in [0, 1]; of 0.3: a hit by a weight of 0.3
    weights: NDArray[np.float32],  # (n,) not negative
    scale: float,
) -> tuple[float, float]:
    """Slope and intercept of the log-odds; the slope is `scale` where none above 0 fits."""
    used = scores > UNSEEN_SCORE  # unseen labels tell nothing
    is_hit = np.repeat([True, False], used.sum())
    scores = np.tile(scores[used].astype(np.float64), 2)
    relevances = relevances[used].astype(np.float64)
    weights = np.tile(weights[used], 2) * np.concatenate([relevances, 1 - relevances])
    scores, is_hit, weights = (a[weights > 0] for a in (scores, is_hit, weights))
    if 0 < is_hit.sum() < len(is_hit):
        model = LogisticRegression().fit(scores[:, None] * scale, is_hit, sample_weight=weights)
        slope = float(model.coef_[0, 0]) * scale
        if slope > 0:
            return slope, float(model.intercept_[0])
    if not len(is_hit):
        return scale, 0.0
    share = (is_hit.sum() + 0.5) / (len(is_hit) + 1)
    return scale, float(np.log(share / (1 - share)) - scale * scores.mean())
