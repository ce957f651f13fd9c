"""Why a text got its labels: what each word moved, as data, in a terminal and as HTML."""

from ._explanation import (
    Explanation,
    Explanations,
    LabelExplanation,
    Neighbour,
    UnknownLabelError,
    WordEffect,
)
from ._lines import one_line

__all__ = [
    "Explanation",
    "Explanations",
    "LabelExplanation",
    "Neighbour",
    "UnknownLabelError",
    "WordEffect",
    "one_line",
]
