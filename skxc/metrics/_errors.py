"""Which labels are taken for which, and which texts have the worst rankings.

A text's ranking is cut at the number of its true labels (`Rankings.cut`). Then as many labels are
given wrongly as true ones are missed, and each missed one shares its text's wrong ones evenly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from ._pairs import contains

DEPTH = 100  # of rankings: places beyond are not looked at
_BLOCK_PRODUCTS = 1 << 22  # pairs of a missed and a given label that are counted together


@dataclass(frozen=True)
class Rankings:
    """Rankings, and how they compare with the truth."""

    labels: NDArray[np.int64]  # (n_samples, <= DEPTH), best first; -1: no label
    scores: NDArray[np.float64]  # of these
    true_pairs: NDArray[np.int64]  # sorted row * n_labels + label, without excluded ones
    n_labels: int
    weights: NDArray[np.float64]  # (n_samples,)

    @cached_property
    def n_true(self) -> NDArray[np.int64]:
        """True labels of each row."""
        return np.bincount(self.true_pairs // max(self.n_labels, 1), minlength=len(self.labels))

    @cached_property
    def cut(self) -> NDArray[np.bool_]:
        """Whether a place is one of the first n_true, (n_samples, depth)."""
        return np.arange(self.labels.shape[1]) < self.n_true[:, None]

    @cached_property
    def is_hit(self) -> NDArray[np.bool_]:
        """Whether the label of a place is a true one, (n_samples, depth)."""
        pairs = np.arange(len(self.labels))[:, None] * self.n_labels + self.labels
        return (self.labels >= 0) & contains(self.true_pairs, pairs)


class Confusions(NamedTuple):
    """The labels most often taken for each other, and what the numbers are shares of."""

    missed: NDArray[np.int64]  # (n_pairs,) true label
    given: NDArray[np.int64]  # (n_pairs,) label in its place; n_labels: none
    n_errors: NDArray[np.float64]  # (n_pairs,)
    n_true: NDArray[np.float64]  # (n_labels,) weight of each label's texts
    n_found: NDArray[np.float64]  # (n_labels,) of these, where it is before the cut
    n_all: float  # errors of all pairs


def most_confused(rankings: Rankings, n_pairs: int) -> Confusions:
    """The pairs of a missed and a given label of most errors."""
    missed, given, found = _errors(rankings)
    shape, weights = (len(rankings.labels), rankings.n_labels), rankings.weights
    true = _as_csr(rankings.true_pairs, shape)
    n_missed = np.maximum(np.diff(missed.indptr), 1)
    missed.data = np.repeat(weights / n_missed, np.diff(missed.indptr))
    of_label = missed.T.tocsr()
    # blocks of labels that have about as many pairs each: not all counts are in memory at once
    n_products = of_label.astype(bool) @ np.diff(given.indptr).astype(np.float64)
    block_of = np.cumsum(n_products) // _BLOCK_PRODUCTS
    bounds = [0, *(np.flatnonzero(np.diff(block_of)) + 1), shape[1]]
    best = [np.zeros((3, 0))]
    for start, stop in pairwise(bounds):
        counts = (of_label[start:stop] @ given).tocoo()
        triples = np.stack([counts.row + start, counts.col, _rounded(counts.data)])
        triples = triples[:, triples[2] > 0]  # rows of weight 0 have no errors
        best = [_largest(np.concatenate([*best, triples], axis=1), n_pairs)]
    return Confusions(
        best[0][0].astype(np.int64),
        best[0][1].astype(np.int64),
        best[0][2],
        true.T @ weights,
        found.T @ weights,
        float(weights @ given.sum(axis=1)),
    )


def worst_rows(rankings: Rankings, n_rows: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The rows of least nDCG, and all rows' nDCG.

    Among equal ones those come first whose first wrong label has the highest score. Rows of weight
    0, without true labels, or without a fault are left out.
    """
    gains = 1.0 / np.log2(np.arange(rankings.labels.shape[1]) + 2.0)
    is_hit, n_true = rankings.is_hit, rankings.n_true
    ideal = np.concatenate([[0.0], np.cumsum(gains)])[np.minimum(n_true, len(gains))]
    ndcg = np.divide((is_hit * gains).sum(axis=1), ideal, out=np.ones(len(ideal)), where=ideal > 0)
    is_wrong = (rankings.labels >= 0) & ~is_hit
    most_sure = np.where(is_wrong, rankings.scores, -np.inf).max(axis=1, initial=-np.inf)
    order = np.lexsort((-most_sure, np.round(ndcg, 9)))
    is_faulty = (np.round(ndcg, 9) < 1) & (rankings.weights > 0)
    return order[is_faulty[order]][:n_rows], ndcg


def _errors(rankings: Rankings) -> tuple[sp.csr_array, sp.csr_array, sp.csr_array]:
    """Missed, wrongly given and found labels before the cut, (n_samples, n_labels) each.

    Those given have one more column, for places without a label.
    """
    n_samples, n_labels = len(rankings.labels), rankings.n_labels
    cut, is_hit = rankings.cut, rankings.is_hit
    rows, places = np.nonzero(cut & is_hit)
    found_pairs = np.sort(rows * n_labels + rankings.labels[rows, places])
    missed_pairs = rankings.true_pairs[~contains(found_pairs, rankings.true_pairs)]
    rows, places = np.nonzero(cut & ~is_hit)
    labels = rankings.labels[rows, places]
    columns = np.where(labels >= 0, labels, n_labels)
    # places that no ranking reaches: the arrays may be narrower than a row's number of labels
    n_beyond = np.minimum(rankings.n_true, DEPTH) - rankings.labels.shape[1]
    beyond = np.repeat(np.arange(n_samples), np.maximum(n_beyond, 0))
    rows = np.concatenate([rows, beyond])
    columns = np.concatenate([columns, np.full(len(beyond), n_labels)])
    given = sp.csr_array(
        (np.ones(len(rows)), (rows, columns)), shape=(n_samples, n_labels + 1)
    )  # several places without a label add up
    shape = (n_samples, n_labels)
    return _as_csr(missed_pairs, shape), given, _as_csr(found_pairs, shape)


def _as_csr(pairs: NDArray[np.int64], shape: tuple[int, int]) -> sp.csr_array:
    """Sorted pairs as a matrix of ones."""
    rows, labels = np.divmod(pairs, max(shape[1], 1))
    indptr = np.searchsorted(rows, np.arange(shape[0] + 1))
    return sp.csr_array((np.ones(len(pairs)), labels, indptr), shape=shape)


def _rounded(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Nine digits of each, so that equal sums of other order are equal."""
    mantissas, exponents = np.frexp(counts)
    return np.ldexp(np.round(mantissas, 9), exponents)


def _largest(triples: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Of (missed, given, count), (3, any), the n of highest count; equal ones by their labels."""
    counts = triples[2]
    if len(counts) > n:
        triples = triples[:, counts >= np.partition(counts, -n)[-n]]
    return triples[:, np.lexsort((triples[1], triples[0], -triples[2]))[:n]]
