"""What the commands need of estimators beyond their public methods: the one place for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray


def check_parameters(clf: Any) -> None:
    """Raise where a parameter is not accepted, before the data are read."""
    clf._check_parameters()


def label_names(clf: Any) -> NDArray[Any]:
    """What `predict_labels` calls the labels, (n_labels,)."""
    names: NDArray[Any] = clf._label_names
    return names


def top_k_proba(clf: Any, texts: list[str], k: int) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """The best labels of each text, best first, and their probabilities, both (n_texts, k)."""
    if clf._target_kind != "classes":
        labels, proba = clf._top_k_proba(texts, None, k)
        return labels, proba
    every = clf.predict_proba(texts)  # these sum to 1 over all classes
    labels = (-every).argsort(1, kind="stable")[:, :k]
    return labels, np.take_along_axis(every, labels, axis=1)


def best_labels(clf: Any, texts: list[str], k: int) -> Iterator[tuple[list[Any], list[float]]]:
    """Names and probabilities of the best labels of each text, best first."""
    names = label_names(clf)
    for row, proba in zip(*top_k_proba(clf, texts, k), strict=True):
        # the shortest decimal number that gives the same float32
        yield names[row].tolist(), [float(str(value)) for value in proba]
