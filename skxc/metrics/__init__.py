"""Ranking metrics of extreme classification: sparse truth, sparse or dense scores."""

from ._at_k import mrr_at_k, ndcg_at_k, precision_at_k, psndcg_at_k, psp_at_k, recall_at_k
from ._displays import (
    ErrorAnalysisDisplay,
    LabelFrequencyDisplay,
    RankingMetricsDisplay,
    ReliabilityDisplay,
    TrainingHistoryDisplay,
)
from ._propensity import PROPENSITY_CONSTANTS, propensities, propensities_from_counts
from ._ranking import ranking_metrics
from ._scorer import XMCScorer

__all__ = [
    "PROPENSITY_CONSTANTS",
    "ErrorAnalysisDisplay",
    "LabelFrequencyDisplay",
    "RankingMetricsDisplay",
    "ReliabilityDisplay",
    "TrainingHistoryDisplay",
    "XMCScorer",
    "mrr_at_k",
    "ndcg_at_k",
    "precision_at_k",
    "propensities",
    "propensities_from_counts",
    "psndcg_at_k",
    "psp_at_k",
    "ranking_metrics",
    "recall_at_k",
]
