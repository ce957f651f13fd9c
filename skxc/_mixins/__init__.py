"""What the estimators share: fitting, predicting, and their manners in scikit-learn."""

from ._fit import FitMixin, TrainingSetup
from ._predict import TopKPredictMixin

__all__ = ["FitMixin", "TopKPredictMixin", "TrainingSetup"]
