"""The methods of `against_peers.py` and the one setting of each that its table shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from _peers import Estimator, NapkinXC, NearestNeighbours, Omikuji, OneVsRest, XRLinear


class Entry(NamedTuple):
    """A method of the table."""

    make: Any  # the class: a `Method`
    short: str  # its name in the plot
    parameters: Mapping[str, Any]
    grid: Mapping[str, Sequence[Any]] = {}  # what --choose tries
    is_ours: bool = False
    needs_label_texts: bool = False
    max_labels: int | None = None  # beyond it a run takes hours or the coefficients do not fit


_WORDS_GRID = {"min_df": (1, 2)}
_TFIDF_GRID = {**_WORDS_GRID, "ngrams": (1, 2)}
_PLT_GRID = {**_WORDS_GRID, "liblinear_c": (1, 10)}
_VOTES_GRID = {"neighbours": (10, 30, 100), "power": (1, 2)}

# The peers' parameters are what --choose found on held-out training rows of the packaged set,
# Cooking-736, LF-Finna-3K, LF-Tate-16K, LF-Tibkat-79K and LF-WordNet-106K (XR-Linear and PLT
# without LF-Finna-3K and LF-WordNet-106K; one-vs-rest on the first two), by the mean of P@1, P@3,
# P@5 and PSP@5 over the sets. All else is the library's default. Means: Bonsai 33.7, with min_df=2
# 33.6, with bigrams 32.5; Bonsai with label texts 35.3, with min_df=2 35.1; Parabel 32.6 with both.
# omikuji's own linear_c of 1 is better than 0.5 and 0.3 (tried for Bonsai on three of the sets).
METHODS: Mapping[str, Entry] = {
    "UniDEC": Entry(Estimator, "UniDEC", {"name": "UniDEC"}, is_ours=True, needs_label_texts=True),
    "DualEncoderXC": Entry(
        Estimator, "DualEncoder", {"name": "DualEncoderXC"}, is_ours=True, needs_label_texts=True
    ),
    "ReneeClassifier": Entry(Estimator, "Renee", {"name": "ReneeClassifier"}, is_ours=True),
    "omikuji Bonsai": Entry(Omikuji, "Bonsai", {"variant": "bonsai"}, _TFIDF_GRID),
    "omikuji Bonsai, label texts": Entry(
        Omikuji,
        "Bonsai + labels",
        {"variant": "bonsai", "label_documents": True},
        _WORDS_GRID,
        needs_label_texts=True,
    ),
    "omikuji Parabel": Entry(Omikuji, "Parabel", {"variant": "parabel"}, _WORDS_GRID),
    "PECOS XR-Linear": Entry(XRLinear, "XR-Linear", {}, _TFIDF_GRID),
    "napkinXC PLT": Entry(NapkinXC, "PLT", {"variant": "PLT"}, _PLT_GRID),
    "napkinXC BR": Entry(NapkinXC, "BR", {"variant": "BR"}, max_labels=2_000),
    "scikit-learn one-vs-rest": Entry(
        OneVsRest, "OvR", {"C": 0.3}, {"C": (0.3, 1)}, max_labels=2_000
    ),
    "TF-IDF nearest neighbours": Entry(
        NearestNeighbours, "kNN", {"neighbours": 100, "power": 2}, _VOTES_GRID
    ),
    "TF-IDF nearest neighbours, label texts": Entry(
        NearestNeighbours,
        "kNN + labels",
        {"neighbours": 30, "power": 2, "label_weight": 1},
        {**_VOTES_GRID, "label_weight": (1, 3, 10)},
        needs_label_texts=True,
    ),
}


def entry_names(names: Iterable[str] | None) -> list[str]:
    """`names` where they are methods, None for all; an error for any other name."""
    names = list(METHODS) if names is None else list(names)
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise SystemExit(f"{unknown} are no methods. Pass some of {list(METHODS)}.")
    return names
