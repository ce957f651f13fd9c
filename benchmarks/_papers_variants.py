"""What `papers.py` fits: the variants, the learning rates among which is chosen, the encoders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Variant(NamedTuple):
    """An estimator, and what is not its default."""

    estimator: str
    parameters: Mapping[str, Any] = {}
    start: str | None = None  # the variant whose encoder training begins from
    n_sampled: int | None = None  # wrong labels in a text's loss, always the same; None: all


class Finding(NamedTuple):
    """What a paper says: one variant is better than another."""

    paper: str
    claim: str
    better: str
    worse: str
    measures: tuple[str, ...]
    margin: float = 0.0  # points that the difference is above


# no second stage, no words: as in the papers
ALWAYS: Mapping[str, Mapping[str, Any]] = {
    "DualEncoderXC": {"rerank_weight": 0},
    "ReneeClassifier": {"rerank_weight": 0},
    "UniDEC": {"rerank_weight": 0, "lexical_learning_rate": 0},
}
ALL = {"negatives": "all"}
IN_BATCH = {"negatives": "in-batch", "pool_size": 0}
MINED = {"negatives": "mined", "mining_interval": 1}
VARIANTS: Mapping[str, Variant] = {
    # DEXML: negatives, and losses over all labels
    "DEXML, in-batch": Variant("DualEncoderXC", IN_BATCH),
    "DEXML, mined": Variant("DualEncoderXC", {**IN_BATCH, **MINED}),
    "DEXML, all": Variant("DualEncoderXC", ALL),
    "DEXML, all, softmax": Variant("DualEncoderXC", {**ALL, "loss": "softmax"}),
    "DEXML, all, soft top-5": Variant("DualEncoderXC", {**ALL, "loss": "soft-top-k"}),
    "DEXML, all, soft top-5, alpha 2": Variant(
        "DualEncoderXC", {**ALL, "loss": "soft-top-k", "alpha": 2.0}
    ),
    "DEXML, all, soft top-100": Variant("DualEncoderXC", {**ALL, "loss": "soft-top-k", "k": 100}),
    "DEXML, all, one-vs-all": Variant("DualEncoderXC", {**ALL, "loss": "one-vs-all"}),
    # Renee: its table 12
    "Renee, neither": Variant("ReneeClassifier", {"augment": False}),
    "Renee, augmented": Variant("ReneeClassifier"),
    "Renee, warm": Variant("ReneeClassifier", {"augment": False}, "DEXML, in-batch"),
    "Renee, warm and augmented": Variant("ReneeClassifier", {}, "DEXML, in-batch"),
    "Renee, neither, 74 negatives a text": Variant(
        "ReneeClassifier", {"augment": False}, n_sampled=74
    ),
    # UniDEC: picked labels, both directions
    "UniDEC": Variant("UniDEC"),
    "UniDEC, mined": Variant("UniDEC", MINED),
    "UniDEC, one direction": Variant("UniDEC", {"both_directions": False}),
}

_RATE, _OF_ROWS = "learning_rate", "classifier_learning_rate"
# by encoder: what all fits have; and by the variant that stands for its estimator, the learning
# rates among which is chosen. The bag's are the defaults, which were chosen on held-out rows.
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "minilm": {"epochs": 4, "batch_size": 128, "precision": "bfloat16"},
    "bag": {},
}
RATES: Mapping[str, Mapping[str, list[dict[str, float]]]] = {
    "minilm": {
        "DEXML, in-batch": [{_RATE: 5e-5}, {_RATE: 1e-4}, {_RATE: 2e-4}],
        "Renee, augmented": [
            {_RATE: 1e-4, _OF_ROWS: 0.01},
            {_RATE: 1e-4, _OF_ROWS: 0.05},
            {_RATE: 2e-4, _OF_ROWS: 0.05},
        ],
        "UniDEC": [
            {_RATE: 1e-4, _OF_ROWS: 1e-3},
            {_RATE: 1e-4, _OF_ROWS: 5e-3},
            {_RATE: 2e-4, _OF_ROWS: 5e-3},
        ],
    },
    "bag": {"DEXML, in-batch": [{}], "Renee, augmented": [{}], "UniDEC": [{}]},
}

_D, _R, _U = "DEXML", "Renee", "UniDEC"
FINDINGS = [
    Finding(_D, "decoupled softmax is above softmax in P@1", "DEXML, all", "DEXML, all, softmax",
            ("P@1", "P@5")),
    Finding(_D, "soft top-5 is above decoupled softmax at its k", "DEXML, all, soft top-5",
            "DEXML, all", ("P@5", "R@5")),
    Finding(_D, "soft top-100 is above decoupled softmax at its k", "DEXML, all, soft top-100",
            "DEXML, all", ("R@100",)),
    Finding(_D, "soft top-5 as sharp as theirs is above decoupled softmax at its k",
            "DEXML, all, soft top-5, alpha 2", "DEXML, all", ("P@5", "R@5")),
    Finding(_D, "one-vs-all does not train a dual encoder", "DEXML, all", "DEXML, all, one-vs-all",
            ("P@1",)),
    Finding(_D, "all labels are above mined ones", "DEXML, all", "DEXML, mined", ("P@1", "P@5")),
    Finding(_D, "mined labels are above a batch's", "DEXML, mined", "DEXML, in-batch",
            ("P@1", "P@5")),
    Finding(_R, "a warm start helps", "Renee, warm", "Renee, neither", ("P@1", "P@5", "PSP@5")),
    Finding(_R, "label texts as documents help, PSP most", "Renee, augmented", "Renee, neither",
            ("P@1", "P@5", "PSP@5")),
    Finding(_R, "both help beside each other", "Renee, warm and augmented", "Renee, augmented",
            ("P@1", "P@5", "PSP@5")),
    Finding(_R, "all labels are above 74 others a text, the same throughout", "Renee, neither",
            "Renee, neither, 74 negatives a text", ("P@1", "P@5", "PSP@5")),
    Finding(_U, "at most a point below the dual encoder over all labels", "UniDEC, mined",
            "DEXML, all", ("P@1", "P@5", "PSP@5"), -1.0),
    Finding(_U, "at most a point below the classifier over all labels", "UniDEC, mined",
            "Renee, warm and augmented", ("P@1", "P@5", "PSP@5"), -1.0),
    Finding(_U, "mined labels are above random ones", "UniDEC, mined", "UniDEC", ("P@1", "P@5")),
    Finding(_U, "both directions are above one", "UniDEC", "UniDEC, one direction",
            ("P@1", "P@5")),
]  # fmt: skip
