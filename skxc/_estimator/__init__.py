"""What the estimators share: fitting, predicting, and their manners in scikit-learn."""

from ._calibration import CalibratedMixin
from ._fit import FitMixin, TrainingSetup
from ._label_texts import LabelTextsMixin, warn_of_empty
from ._predict import TopKPredictMixin, as_read_only_tensor

__all__ = [
    "CalibratedMixin",
    "FitMixin",
    "LabelTextsMixin",
    "TopKPredictMixin",
    "TrainingSetup",
    "as_read_only_tensor",
    "warn_of_empty",
]
