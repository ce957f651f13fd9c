"""Ranks of the true labels: from them all measures follow, text by text, and intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.utils import Bunch

RANKED = 100  # labels of a text whose ranks are told: a byte holds one
_DRAWS = 2000


def true_pairs(Y: sp.csr_array, exclude: sp.csr_array | None) -> sp.csr_array:
    """Labels of test texts without excluded pairs, in ascending order."""
    if exclude is not None:
        Y = sp.csr_array(Y - Y.multiply(exclude > 0))
        Y.eliminate_zeros()
    Y.sort_indices()
    return Y


def true_ranks(clf: Any, data: Bunch) -> NDArray[np.uint8]:  # (n_pairs,) uint8
    """The rank of each true pair, from 1, in the order of CSR; 0: not among the best 100."""
    found, _ = clf.predict_top_k(data.test_texts, k=RANKED, exclude=data.test_exclude)
    Y = data.Y_test
    ranks = np.zeros(Y.nnz, np.uint8)
    for row, (start, stop) in enumerate(zip(Y.indptr, Y.indptr[1:], strict=False)):
        places = {label: rank for rank, label in enumerate(found[row].tolist(), 1)}
        ranks[start:stop] = [places.get(label, 0) for label in Y.indices[start:stop].tolist()]
    return ranks


def text_values(
    ranks: NDArray[np.uint8],  # of the true pairs in the order of CSR, from 1; 0: not found
    Y: sp.csr_array,
    weights: NDArray[np.float64],  # (n_labels,) inverse propensities
    measure: str,
) -> NDArray[np.float64]:  # (n_texts,) per cent; their mean is the measure
    """What each text adds to a measure."""
    name, _, k = measure.partition("@")
    is_found = (ranks > 0) & (ranks <= int(k))
    n_true, n_texts = np.diff(Y.indptr), Y.shape[0]
    rows = np.repeat(np.arange(n_texts), n_true)
    values = weights[Y.indices] if name == "PSP" else np.ones(Y.nnz)
    found = np.bincount(rows, is_found * values, n_texts)
    if name == "P":
        return 100 * found / int(k)
    if name == "R":
        return 100 * found / n_true.clip(1)
    # of the best ranking that there could be: the labels of the largest weights
    order = np.lexsort((-values, rows))
    places = np.arange(Y.nnz) - np.repeat(Y.indptr[:-1], n_true)
    best = np.bincount(rows, values[order] * (places < int(k)), n_texts)
    return 100 * found / best.mean()


class Difference(NamedTuple):
    """Of two variants, in points, with its interval of 95 per cent."""

    mean: float
    low: float
    high: float
    n_seeds: int
    margin: float = 0.0

    @classmethod
    def of(cls, better: Values, worse: Values, margin: float = 0.0) -> Difference:
        """By bootstrap over the seeds that both have, and over the test texts, at once."""
        seeds = sorted(better.keys() & worse.keys())
        gains = np.stack([better[seed] - worse[seed] for seed in seeds])  # (n_seeds, n_texts)
        rng, n_seeds, n_texts = np.random.default_rng(0), *gains.shape
        means = np.empty(_DRAWS)
        for i in range(_DRAWS):
            drawn = gains[rng.integers(n_seeds, size=n_seeds)].mean(0)
            means[i] = drawn[rng.integers(n_texts, size=n_texts)].mean()
        low, high = np.quantile(means, [0.025, 0.975])
        return cls(float(gains.mean()), float(low), float(high), n_seeds, margin)

    def __str__(self) -> str:
        return f"{self.mean:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"

    @property
    def verdict(self) -> str:
        """Whether the finding holds here."""
        if self.n_seeds == 1:
            return "one seed"
        if self.low > self.margin:
            return "holds"
        return "does not" if self.high < self.margin else "undecided"


Values = Mapping[int, NDArray[np.float64]]  # of each text, by seed
