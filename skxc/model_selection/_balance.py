"""Rows swapped between two sides until every label has its share on both: pure arithmetic.

What a side wants of a label is a range of counts, `low` to `high`. Outside it, the squared
distance costs, and so does every fold that is left without the label. Iterative stratification
serves one label after another. Here all labels act at once: every round adds up what each row
would save by changing sides, and swaps the best rows of one side with the best ones of the other,
so that the sides keep their sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_LEAST_SAVING = 5e-4  # of what the first assignment costs, by a turn of all steps
_RARE = 20  # labels of fewer rows on a side: one row too many would matter


def balanced_folds(
    Y: sp.csr_array,  # (n_rows, n_labels), without stored zeros
    folds: Ints,  # (n_rows,) a first assignment
    n_folds: int,
) -> Ints:
    """Folds of the sizes given, over which the rows of each label are spread evenly.

    The folds are halved, and the halves halved again.
    """
    folds = folds.copy()
    groups = [(0, n_folds)]
    while groups:
        first, end = groups.pop()
        if end - first < 2:
            continue
        middle = (first + end) // 2
        rows = np.flatnonzero((folds >= first) & (folds < end))
        was_right = folds[rows] >= middle
        is_right = balanced_sides(Y[rows], was_right, (middle - first, end - middle))
        into, out_of = rows[is_right & ~was_right], rows[~is_right & was_right]
        folds[into], folds[out_of] = folds[out_of], folds[into]
        groups += [(first, middle), (middle, end)]
    return folds


def balanced_sides(
    Y: sp.csr_array,  # (n_rows, n_labels), without stored zeros
    is_right: Mask,  # (n_rows,) a first assignment
    n_folds: tuple[int, int] = (1, 1),  # of the left and the right side
) -> Mask:
    """As many rows on the right as before, with the share of each label that the rows have.

    Labels of two rows or more want at least one on either side.
    """
    Y = _with_a_label_for_rows_without(Y)
    wanted = _Wanted.of(Y, is_right, n_folds)
    state = _State.of(Y, is_right, wanted)
    least = _LEAST_SAVING * state.cost
    while True:
        cost = state.cost
        _swap_while_it_pays(state, least / 10)
        state.make(*state.paired_swaps())
        if cost - state.cost <= least:
            return state.is_right


def _swap_while_it_pays(state: _State, least: float) -> None:
    most = at_first = len(state.is_right) // 5 + 1  # swaps a round
    while True:
        cost, n_swaps = state.cost, state.make(*state.swaps(most))
        if cost - state.cost <= least:
            return
        most = min(max(8 * n_swaps, 100), at_first)


@dataclass(frozen=True)
class _Wanted:
    """How many rows of each label the right side wants; all (n_labels,)."""

    low: Ints
    high: Ints
    n_of_label: Ints  # on both sides
    weight: Floats  # of the squared distance: a row counts less where there are many
    is_rare: Mask
    n_folds: tuple[int, int]

    @staticmethod
    def of(Y: sp.csr_array, is_right: Mask, n_folds: tuple[int, int]) -> _Wanted:
        """The share of the right side in all rows, rounded down and up, but on both sides."""
        n_right = np.count_nonzero(is_right)
        n_of_label = np.bincount(Y.indices, minlength=Y.shape[1])
        low, rest = np.divmod(n_of_label * n_right, Y.shape[0])
        high = low + (rest > 0)
        low = np.where(n_of_label >= 2, np.clip(low, 1, n_of_label - 1), low)
        high = np.where(n_of_label >= 2, np.clip(high, 1, n_of_label - 1), high)
        share = n_of_label * (n_right / Y.shape[0])
        smaller = np.minimum(share, n_of_label - share)
        return _Wanted(low, high, n_of_label, 1 / np.maximum(smaller, 1), smaller < _RARE, n_folds)

    def costs(self, counts: Ints) -> Floats:
        """Of every label, with `counts` rows on the right."""
        distance = np.maximum(np.maximum(self.low - counts, counts - self.high), 0)
        n_without = np.maximum(self.n_folds[1] - counts, 0)
        n_without += np.maximum(self.n_folds[0] - (self.n_of_label - counts), 0)
        n_without -= np.maximum(sum(self.n_folds) - self.n_of_label, 0)  # however they are spread
        return np.asarray(self.weight * distance**2 + n_without)


def _with_a_label_for_rows_without(Y: sp.csr_array) -> sp.csr_array:
    """A copy of ones with one column more: rows without labels are spread like a label's."""
    is_empty = np.diff(Y.indptr) == 0
    copied = sp.hstack([Y, sp.csr_array(is_empty[:, None])], format="csr", dtype=np.float32)
    copied.data[:] = 1
    return copied


@dataclass
class _State:
    """The side of each row, and what swaps would save."""

    Y: sp.csr_array
    row_of_entry: Ints  # (n_entries,)
    wanted: _Wanted
    is_right: Mask  # (n_rows,)
    counts: Ints  # (n_labels,) rows on the right
    cost: float

    @staticmethod
    def of(Y: sp.csr_array, is_right: Mask, wanted: _Wanted) -> _State:
        """The state at the beginning."""
        row_of_entry = np.repeat(np.arange(Y.shape[0], dtype=np.int32), np.diff(Y.indptr))
        counts = np.bincount(Y.indices[is_right[row_of_entry]], minlength=Y.shape[1])
        cost = float(wanted.costs(counts).sum())
        return _State(Y, row_of_entry, wanted, is_right.copy(), counts, cost)

    def savings(self) -> tuple[Floats, Floats]:
        """What each row would save by changing sides alone; and labels, by a row for a row.

        A pair of rows that both have the label leaves its count alone, but each alone was charged.
        """
        now = self.wanted.costs(self.counts)
        coming = now - self.wanted.costs(self.counts + 1)
        leaving = now - self.wanted.costs(self.counts - 1)
        labels, is_right = self.Y.indices, self.is_right[self.row_of_entry]
        of_entries = np.where(is_right, leaving[labels], coming[labels])
        n_rows = len(self.is_right)
        of_rows = np.bincount(self.row_of_entry, weights=of_entries, minlength=n_rows)
        return of_rows.astype(np.float64, copy=False), np.asarray(-(coming + leaving))

    def swaps(self, most: int) -> tuple[Ints, Ints]:
        """Rows that come and rows that leave, as many, best first; each pair saves something."""
        savings, _ = self.savings()
        into = _best_first(np.flatnonzero(~self.is_right), savings, most)
        out_of = _best_first(np.flatnonzero(self.is_right), savings, most)
        n_pairs = _n_saving(into, out_of, savings)
        into, out_of = into[:n_pairs], out_of[:n_pairs]
        into, out_of = into[self.are_apart(into)], out_of[self.are_apart(out_of)]
        n_pairs = _n_saving(into, out_of, savings)
        return into[:n_pairs], out_of[:n_pairs]

    def paired_swaps(self) -> tuple[Ints, Ints]:
        """The same of pairs that save something because they have labels in common."""
        savings, bonus = self.savings()
        lacks = (self.wanted.costs(self.counts) > 0) & self.wanted.is_rare
        is_wrong = (self.Y @ lacks) > 0  # one of a pair must be
        Y = self.Y.multiply(np.where(self.wanted.is_rare, bonus, 0)).tocsr()
        Y.eliminate_zeros()
        sides = [np.flatnonzero(~self.is_right), np.flatnonzero(self.is_right)]
        pairs = []
        for into, out_of in ((sides[0][is_wrong[sides[0]]], sides[1]),
                             (sides[0], sides[1][is_wrong[sides[1]]])):  # fmt: skip
            found = sp.coo_array(Y[into] @ (self.Y[out_of].T))
            saved = found.data + savings[into[found.row]] + savings[out_of[found.col]]
            pairs.append((into[found.row], out_of[found.col], saved))
        into, out_of, saved = map(np.concatenate, zip(*pairs, strict=True))
        order = np.argsort(-saved, kind="stable")[: np.count_nonzero(saved > 1e-9)]
        into, out_of = into[order], out_of[order]
        for _ in range(2):  # each row once
            first = np.sort(np.unique(into, return_index=True)[1])
            into, out_of = out_of[first], into[first]
        is_apart = self.are_apart(into) & self.are_apart(out_of)
        return into[is_apart], out_of[is_apart]

    def are_apart(self, rows: Ints) -> Mask:
        """Rows of which no label has more than it wants, or one where it wants none; the first.

        Each row's saving was counted alone: two rows of a label that lacks one would both come.
        """
        part, wanted = self.Y[rows], self.wanted
        is_leaving = len(rows) > 0 and self.is_right[rows[0]]
        room = self.counts - wanted.low if is_leaving else wanted.high - self.counts
        order = np.argsort(part.indices, kind="stable")
        labels = part.indices[order]
        rank = np.arange(len(labels)) - np.searchsorted(labels, labels)
        is_too_much = wanted.is_rare[labels] & (rank >= np.maximum(room[labels], 1))
        row_of_entry = np.repeat(np.arange(len(rows)), np.diff(part.indptr))[order]
        return np.bincount(row_of_entry[is_too_much], minlength=len(rows)) == 0

    def make(self, into: Ints, out_of: Ints) -> int:
        """Make all of the swaps or the first half, quarter, ... of them, whatever is best."""
        best, n_swaps = (0, self.counts, self.cost), len(into)
        while n_swaps:
            coming = np.bincount(self.Y[into[:n_swaps]].indices, minlength=len(self.counts))
            leaving = np.bincount(self.Y[out_of[:n_swaps]].indices, minlength=len(self.counts))
            counts = self.counts + coming - leaving
            cost = float(self.wanted.costs(counts).sum())
            if cost < best[2]:
                best = (n_swaps, counts, cost)
            elif best[0]:
                break
            n_swaps //= 2
        n_swaps, self.counts, self.cost = best
        self.is_right[into[:n_swaps]] = True
        self.is_right[out_of[:n_swaps]] = False
        return n_swaps


def _best_first(rows: Ints, savings: Floats, most: int) -> Ints:
    if most < len(rows):
        rows = rows[np.argpartition(-savings[rows], most - 1)[:most]]
    return rows[np.argsort(-savings[rows], kind="stable")]


def _n_saving(into: Ints, out_of: Ints, savings: Floats) -> int:
    """How many of the pairs, best with best, save something."""
    n_pairs = min(len(into), len(out_of))
    return int(np.count_nonzero(savings[into[:n_pairs]] + savings[out_of[:n_pairs]] > 1e-9))
