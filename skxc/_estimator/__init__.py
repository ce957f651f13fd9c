"""What the three estimators share towards their users."""

from __future__ import annotations

from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)

from ._explain import ExplainMixin
from ._fit import FitMixin
from ._init_encoder import InitEncoderMixin
from ._label_texts import LabelTextsMixin
from ._parameters import CommonParameters
from ._sharing import SharingMixin

__all__ = ["CommonParameters", "InitEncoderMixin", "LabelTextsMixin", "XCEstimator"]


class XCEstimator(
    FitMixin,
    ExplainMixin,
    SharingMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    ClassifierMixin,
    BaseEstimator,
):
    """An extreme classifier: parameters, `fit`, prediction, `save`. An algorithm is `_method`."""
