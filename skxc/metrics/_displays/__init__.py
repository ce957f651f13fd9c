"""Plots with the API of scikit-learn's displays; matplotlib is imported when one is drawn."""

from ._error_analysis import ErrorAnalysisDisplay
from ._label_frequency import LabelFrequencyDisplay
from ._ranking_metrics import RankingMetricsDisplay
from ._reliability import ReliabilityDisplay
from ._training_history import TrainingHistoryDisplay

__all__ = [
    "ErrorAnalysisDisplay",
    "LabelFrequencyDisplay",
    "RankingMetricsDisplay",
    "ReliabilityDisplay",
    "TrainingHistoryDisplay",
]
