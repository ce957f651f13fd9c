"""Ranking metrics of extreme classification: sparse truth, sparse or dense scores."""

from ._propensity import PROPENSITY_CONSTANTS, propensities, propensities_from_counts
from ._ranking import (
    ndcg_at_k,
    precision_at_k,
    psndcg_at_k,
    psp_at_k,
    ranking_metrics,
    recall_at_k,
)

__all__ = [
    "PROPENSITY_CONSTANTS",
    "ndcg_at_k",
    "precision_at_k",
    "propensities",
    "propensities_from_counts",
    "psndcg_at_k",
    "psp_at_k",
    "ranking_metrics",
    "recall_at_k",
]
