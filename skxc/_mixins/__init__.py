"""What the estimators share: fitting, predicting, and their manners in scikit-learn."""

from ._fit import FitMixin, TrainingSetup
from ._predict import TopKPredictMixin, as_read_only_tensor

__all__ = ["FitMixin", "TopKPredictMixin", "TrainingSetup", "as_read_only_tensor"]
