"""Cross-validation, splits and thresholds for labels in a sparse matrix."""

from ._cross_validation import (
    cross_val_score,
    cross_validate,
    learning_curve,
    validation_curve,
)
from ._out_of_fold import cross_val_predict_top_k
from ._stratified import (
    MultilabelStratifiedKFold,
    MultilabelStratifiedShuffleSplit,
    train_test_split,
)
from ._threshold import tune_threshold

__all__ = [
    "MultilabelStratifiedKFold",
    "MultilabelStratifiedShuffleSplit",
    "cross_val_predict_top_k",
    "cross_val_score",
    "cross_validate",
    "learning_curve",
    "train_test_split",
    "tune_threshold",
    "validation_curve",
]
