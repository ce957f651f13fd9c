"""Errors with the names of their labels and the texts of their rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import _safe_indexing

from skxc._validation import short

from ._errors import Rankings


class Confusion(NamedTuple):
    """Two labels of which one was given for the other; without any in its place, `instead` is None.

    The true label is found in `n_found` of the `n_true` texts that have it.
    """

    label: Any
    instead: Any
    n_errors: float
    n_found: float
    n_true: float


class WorstText(NamedTuple):
    """A text whose ranking is bad: true labels with their places, best labels with their scores.

    A label that is not ranked has the place None. `text` is None where no texts were given.
    """

    row: int
    text: str | None
    ndcg: float
    true_labels: list[tuple[Any, int | None]]
    best_labels: list[tuple[Any, float, bool]]


class Names:
    """Names of labels by their columns; the column behind the last one has none."""

    def __init__(self, names: ArrayLike | None, n_labels: int) -> None:
        self._names, self._n_labels = names, n_labels
        if names is None:
            return
        self._names = np.asarray(names, dtype=object)
        if self._names.shape != (n_labels,):
            raise ValueError(
                f"label_names has shape {self._names.shape}, but there are {n_labels} labels. Pass "
                f"one name per column, or None; got {short(names)}."
            )

    def __getitem__(self, label: int) -> Any:
        if label == self._n_labels:
            return None
        return label if self._names is None else self._names[label]  # type: ignore[index]


def worst_text(
    rankings: Rankings, row: int, ndcg: float, texts: Any, names: Names, k: int
) -> WorstText:
    """What is to be shown of a row."""
    labels, scores = rankings.labels[row], rankings.scores[row]
    bounds = np.searchsorted(
        rankings.true_pairs, [row * rankings.n_labels, (row + 1) * rankings.n_labels]
    )
    true = (rankings.true_pairs[slice(*bounds)] % rankings.n_labels).tolist()
    ranked = labels[labels >= 0].tolist()
    place_of = {label: place for place, label in enumerate(ranked, 1)}
    true.sort(key=lambda label: place_of.get(label, len(ranked) + 1))
    text = None
    if texts is not None:  # of several columns, all
        text = " ".join(map(str, np.ravel(np.asarray(_safe_indexing(texts, [row]), dtype=object))))
    return WorstText(
        row,
        text,
        ndcg,
        [(names[label], place_of.get(label)) for label in true],
        [
            (names[label], float(score), label in true)
            for label, score in zip(ranked[:k], scores, strict=False)
        ],
    )
