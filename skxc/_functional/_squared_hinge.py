"""Linear classifiers with the squared hinge loss, one a label, each from a few texts of its own.

numba is imported with this module: import it where it is needed.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from joblib import Parallel, delayed
from numpy.typing import NDArray

from skxc._kernels._compiled import compiled

# passes over a label's texts, at most
_MOST_PASSES = 100
# weights that labels solved at once may have, at most (64 MiB), where one alone has not more
_WEIGHTS_AT_ONCE = 1 << 23
# whose lengths are computed, and whose tokens are counted
_TEXTS_AT_ONCE, _PAIRS_AT_ONCE = 1 << 16, 1 << 20
# labels that have so many times a text's words are not read from end to end for it
_LONG = 32


class LinearClassifiers(NamedTuple):
    """One a label: its margin for a text is the inner product of words and the intercept."""

    weights: sp.csr_array  # (n_labels, n_words) float32, sorted
    intercepts: NDArray[np.float32]  # (n_labels,)

    def margins(
        self,
        texts: sp.csr_array,  # (n_texts, n_words) sorted
        labels: NDArray[np.int64],  # (n_texts, n) some labels of each text; -1: none
    ) -> NDArray[np.float32]:  # (n_texts, n) 0 where there is no label
        """What the labels' classifiers say of the texts."""
        margins = np.empty(labels.shape, np.float32)
        _margins(*_parts(texts), *_parts(self.weights), self.intercepts, labels, margins)
        return margins


def squared_hinge_classifiers(
    texts: sp.csr_array,  # (n_texts, n_words) float32, sorted
    pairs: sp.csc_array,  # (n_texts, n_labels) above 0: the text has the label; below: it has not
    *,
    C: float,  # of a pair of value 1 or -1; others cost more or less in proportion
    intercept_scaling: float,  # the intercept is the weight of a feature of this value
    tol: float,  # on the spread of the projected gradients, as LinearSVC's
    least_weight: float,  # smaller ones are left out
    earlier: LinearClassifiers | None = None,  # the solution stays near them, instead of near 0
    n_threads: int = 1,
) -> LinearClassifiers:
    r"""Minimise, for every label by itself,

    .. math:: \tfrac12 \|w - w_0\|^2 + C \sum_i |v_i| \max(0, 1 - \mathrm{sign}(v_i) w^T x_i)^2

    by dual coordinate descent [1]_: exact steps on one text's dual variable after another, in an
    order that is drawn anew for each pass; texts that are far from the margin wait. All labels draw
    the same numbers: no label's solution depends on the others or on its own place among them.

    References
    ----------
    .. [1] Hsieh et al., "A dual coordinate descent method for large-scale linear SVM", ICML 2008.
    """
    n_labels, shape = pairs.shape[1], (pairs.shape[1], texts.shape[1])
    starts, words, values = _parts(texts)
    if earlier is None:
        empty = sp.csr_array(shape, dtype=np.float32)
        earlier = LinearClassifiers(empty, np.zeros(n_labels, np.float32))
    norms = _squared_norms(starts, values)
    norms += intercept_scaling**2

    def solved(labels: slice, capacity: int) -> tuple[NDArray[np.generic], ...]:
        found, kept = np.empty(capacity, np.int32), np.empty(capacity, np.float32)
        counts = np.zeros(labels.stop - labels.start, np.int64)
        intercepts = np.empty(len(counts), np.float32)
        offsets = pairs.indptr[labels.start : labels.stop + 1].astype(np.int64)
        own = slice(offsets[0], offsets[-1])
        amounts = pairs.data[own]
        _solve(
            starts, words, values, norms,
            offsets - offsets[0], pairs.indices[own], amounts > 0, _inverse_costs(amounts, C),
            *_parts(earlier.weights[labels]), earlier.intercepts[labels],
            shape[1], intercept_scaling, tol, least_weight, found, kept, counts, intercepts,
        )  # fmt: skip
        n = counts.sum()
        return found[:n].copy(), kept[:n].copy(), counts, intercepts

    blocks, capacities = _blocks(pairs, earlier.weights, np.diff(starts), shape[1])
    jobs = map(delayed(solved), blocks, capacities)
    parts = Parallel(min(n_threads, len(blocks)), require="sharedmem")(jobs)
    indices, data, counts, intercepts = (np.concatenate(part) for part in zip(*parts, strict=True))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return LinearClassifiers(sp.csr_array((data, indices, offsets), shape), intercepts)


def _squared_norms(
    starts: NDArray[np.integer], values: NDArray[np.float32]
) -> NDArray[np.float64]:  # (n_texts,)
    """Some at a time: the values may be in a file."""
    norms = np.zeros(len(starts) - 1)
    for first in range(0, len(norms), _TEXTS_AT_ONCE):
        bounds = starts[first : first + _TEXTS_AT_ONCE + 1]
        part = np.append(values[bounds[0] : bounds[-1]], 0).astype(np.float64)
        sums = np.add.reduceat(part**2, bounds[:-1] - bounds[0])
        norms[first : first + len(sums)] = np.where(np.diff(bounds) > 0, sums, 0)
    return norms


def _inverse_costs(amounts: NDArray[np.float32], C: float) -> NDArray[np.float64]:
    """What the dual has on its diagonal: 1 / (2 C)."""
    return 0.5 / (C * np.abs(amounts.astype(np.float64)))


def with_narrow_indices(matrix: sp.csr_array) -> sp.csr_array:
    """The same matrix with 32-bit indices, where these are enough: the loops take it as it is."""
    if matrix.nnz >= 1 << 31:
        return matrix
    indptr, indices = (a.astype(np.int32, copy=False) for a in (matrix.indptr, matrix.indices))
    return sp.csr_array((matrix.data, indices, indptr), matrix.shape)


def _parts(
    matrix: sp.csr_array,
) -> tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.float32]]:
    """Offsets, columns and values, of the types that the loops are compiled for."""
    matrix = with_narrow_indices(matrix)
    return matrix.indptr, matrix.indices, matrix.data.astype(np.float32, copy=False)


def _blocks(
    pairs: sp.csc_array, earlier: sp.csr_array, lengths: NDArray[np.int64], n_words: int
) -> tuple[list[slice], list[int]]:
    """Slices of labels that are solved at once, and how many weights each may have."""
    most = np.minimum(_n_tokens(pairs, lengths) + np.diff(earlier.indptr), n_words)
    block = (np.cumsum(most) - most) // _WEIGHTS_AT_ONCE
    edges = np.concatenate([[0], np.flatnonzero(np.diff(block)) + 1, [len(most)]])
    slices = [slice(int(a), int(b)) for a, b in pairwise(edges)]
    return slices, [int(most[part].sum()) for part in slices]


def _n_tokens(pairs: sp.csc_array, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tokens of the texts of each label, (n_labels,); of some pairs at a time."""
    indptr, sums = pairs.indptr.astype(np.int64), np.zeros(pairs.shape[1], np.int64)
    steps = np.arange(0, indptr[-1] + _PAIRS_AT_ONCE, _PAIRS_AT_ONCE)
    edges = np.unique(np.searchsorted(indptr, steps).clip(max=len(sums)))
    for first, last in pairwise(edges):
        start = indptr[first]
        totals = np.cumsum(lengths[pairs.indices[start : indptr[last]]], dtype=np.int64)
        bounds = np.concatenate([[0], totals])[indptr[first : last + 1] - start]
        sums[first:last] = np.diff(bounds)
    return sums


@compiled
def _margins(  # type: ignore[no-untyped-def]
    starts, words, values, of_labels, label_words, weights, intercepts, labels, margins
):
    """Write the margins. All ways to find a label's words in a text add up in the same order."""
    n_words = 1
    for word in words:
        n_words = max(n_words, word + 1)
    dense = np.zeros(n_words, np.float32)  # the weights of one text's words
    for i in range(labels.shape[0]):
        first, last = starts[i], starts[i + 1]
        for p in range(first, last):
            dense[words[p]] = values[p]
        for j in range(labels.shape[1]):
            label, total = labels[i, j], np.float64(0)
            if label >= 0:
                a, b = of_labels[label], of_labels[label + 1]
                if b - a > _LONG * (last - first):
                    for p in range(first, last):  # each word of the text, by bisection
                        a += np.searchsorted(label_words[a:b], words[p])
                        if a < b and label_words[a] == words[p]:
                            total += np.float64(values[p]) * weights[a]
                else:
                    for p in range(a, b):
                        if label_words[p] < n_words:
                            total += np.float64(dense[label_words[p]]) * weights[p]
                total += intercepts[label]
            margins[i, j] = total
        for p in range(first, last):
            dense[words[p]] = 0


@compiled
def _solve(  # type: ignore[no-untyped-def]
    starts, words, values, norms,
    label_starts, rows, is_positive, inverse_costs,
    earlier_starts, earlier_words, earlier_weights, earlier_intercepts,
    n_words, intercept_scaling, tol, least_weight, out_words, out_weights, counts, intercepts,
):  # fmt: skip
    """Solve some labels, one after the other; `w` is dense and cleared after each."""
    w = np.zeros(n_words, np.float64)
    last_user = np.full(n_words, -1, np.int32)
    longest = 0
    for label in range(len(counts)):
        longest = max(longest, label_starts[label + 1] - label_starts[label])
    duals, order = np.empty(longest), np.empty(longest, np.int64)
    touched = np.empty(n_words, np.int32)
    n_written = 0
    for label in range(len(counts)):
        n_touched = 0
        for p in range(earlier_starts[label], earlier_starts[label + 1]):
            word = earlier_words[p]
            w[word] = earlier_weights[p]
            last_user[word] = label
            touched[n_touched] = word
            n_touched += 1
        first, last = label_starts[label], label_starts[label + 1]
        for pair in range(first, last):
            for p in range(starts[rows[pair]], starts[rows[pair] + 1]):
                word = words[p]
                if last_user[word] != label:
                    last_user[word] = label
                    touched[n_touched] = word
                    n_touched += 1
        intercept = _descend_(
            w, earlier_intercepts[label] / intercept_scaling,
            starts, words, values, norms,
            rows[first:last], is_positive[first:last], inverse_costs[first:last],
            duals, order, intercept_scaling, tol,
        )  # fmt: skip
        intercepts[label] = intercept * intercept_scaling
        found = np.sort(touched[:n_touched])
        for word in found:
            if abs(w[word]) >= least_weight and w[word] != 0:
                out_words[n_written] = word
                out_weights[n_written] = w[word]
                n_written += 1
                counts[label] += 1
            w[word] = 0


@compiled
def _descend_(  # type: ignore[no-untyped-def]
    w, intercept, starts, words, values, norms,
    rows, is_positive, inverse_costs, duals, order, intercept_scaling, tol,
):  # fmt: skip
    """Move `w` to one label's optimum; the weight of the intercept's feature is returned."""
    n = n_active = len(rows)
    duals[:n] = 0
    for i in range(n):
        order[i] = i
    state = np.uint64(88172645463325252)
    most_old = np.inf
    for _ in range(_MOST_PASSES):
        most, least = -np.inf, np.inf
        for i in range(n_active - 1):  # xorshift: the numbers are the same for all labels
            state ^= state << np.uint64(13)
            state ^= state >> np.uint64(7)
            state ^= state << np.uint64(17)
            j = i + np.int64((state >> np.uint64(33)) % np.uint64(n_active - i))
            order[i], order[j] = order[j], order[i]
        place = 0
        while place < n_active:
            i = order[place]
            row, sign = rows[i], 1.0 if is_positive[i] else -1.0
            score = intercept * intercept_scaling
            for p in range(starts[row], starts[row + 1]):
                score += w[words[p]] * values[p]
            gradient = sign * score - 1 + inverse_costs[i] * duals[i]
            projected = gradient
            if duals[i] == 0:
                if gradient > most_old:  # far from the margin: not looked at again for now
                    n_active -= 1
                    order[place], order[n_active] = order[n_active], order[place]
                    continue
                projected = min(gradient, 0.0)
            most, least = max(most, projected), min(least, projected)
            if abs(projected) > 1e-12:
                dual = max(duals[i] - gradient / (norms[row] + inverse_costs[i]), 0.0)
                step = (dual - duals[i]) * sign
                duals[i] = dual
                for p in range(starts[row], starts[row + 1]):
                    w[words[p]] += step * values[p]
                intercept += step * intercept_scaling
            place += 1
        if most - least <= tol:
            if n_active == n:
                break
            n_active, most_old = n, np.inf  # all once more
            continue
        most_old = most if most > 0 else np.inf
    return intercept
