"""The loops of a search in eight bits. Import it where it is used: numba takes a while."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skxc._kernels._compiled import compiled

_BLOCK = 32  # labels that are looked at together: few have a candidate
_GROUPS_A_RESULT = 8  # of the first labels, to begin with: few of the best then share a group


class Postings(NamedTuple):
    """Lists of labels, ascending, each with a weight; a text has some of the lists.

    How far each was read is kept: labels are asked for in their order.
    """

    offsets: NDArray[np.int64]  # (n_texts + 1,) of each text's lists
    places: NDArray[np.int64]  # (n_lists,) of what is read next; updated
    ends: NDArray[np.int64]  # (n_lists,)
    weights: NDArray[np.float32]  # (n_lists,)
    labels: NDArray[np.int32]
    values: NDArray[np.float32]  # of each label in a list

    def of(self, texts: slice) -> Postings:
        """Those of some texts."""
        return self._replace(offsets=self.offsets[texts.start : texts.stop + 1])


class Candidates(NamedTuple):
    """Labels of each text, ascending, that may be among its best; what their scores are."""

    labels: NDArray[np.int32]  # (n_texts, room)
    upper: NDArray[np.float32]  # (n_texts, room) at most
    lower: NDArray[np.float32]  # (n_texts, room) at least
    added: NDArray[np.float32]  # (n_texts, room) the part that is exact
    counts: NDArray[np.int64]  # (n_texts,)
    thresholds: NDArray[np.float32]  # (n_texts,) scores that later labels have to exceed
    is_full: NDArray[np.bool_]  # (1,) a text would have had more

    @classmethod
    def empty(cls, n_texts: int, room: int) -> Candidates:
        """None yet."""
        shape = n_texts, room
        upper, lower, added = (np.empty(shape, np.float32) for _ in range(3))
        thresholds = np.full(n_texts, -np.inf, np.float32)
        counts, is_full = np.zeros(n_texts, np.int64), np.zeros(1, np.bool_)
        labels = np.empty(shape, np.int32)
        return cls(labels, upper, lower, added, counts, thresholds, is_full)

    def of(self, texts: slice) -> Candidates:
        """Those of some texts."""
        parts: Any = {name: getattr(self, name)[texts] for name in self._fields[:-1]}
        return self._replace(**parts)


@partial(compiled, sums_in_any_order=True)
def quantize(
    rows: NDArray[np.float32],  # (n, dim)
    mean: NDArray[np.float64],  # (dim,) that is subtracted
    largest: int,  # of the integers
    values: NDArray[np.int8],  # (n, dim) written
    scales: NDArray[np.float32],  # (n,) written
    lengths: NDArray[np.float64],  # (n,) written: squares
    errors: NDArray[np.float64],  # (n,) written: squares
) -> None:
    """Round each row less the mean to integers, by a scale of its own."""
    for i in range(len(rows)):
        most = 0.0
        for j in range(rows.shape[1]):
            most = max(most, abs(rows[i, j] - mean[j]))
        scales[i] = np.float32(most / largest)
        scale = np.float64(scales[i])
        inverse = 1 / scale if scale > 0 else 0.0
        length = error = 0.0
        for j in range(rows.shape[1]):
            exact = rows[i, j] - mean[j]
            integer = min(max(np.rint(exact * inverse), -largest), largest)
            values[i, j] = np.int8(integer)
            length += (scale * integer) ** 2
            error += (exact - scale * integer) ** 2
        lengths[i], errors[i] = length, error


@compiled
def integer_products(
    rows: NDArray[np.int8],  # (n, dim)
    queries: NDArray[np.int16],  # (batch, dim) of eight bits
    products: NDArray[np.int32],  # (batch, n) written
) -> None:
    """All inner products; a row is read once for all queries."""
    for i in range(rows.shape[0]):
        for query in range(queries.shape[0]):
            total = np.int32(0)
            for j in range(rows.shape[1]):
                # numba widens to 64 bits, which its vectors have no products for
                product = np.int32(np.int32(rows[i, j]) * np.int32(queries[query, j]))
                total = np.int32(total + product)
            products[query, i] = total


@compiled
def _add_(postings: Postings, text: int, start: int, added: NDArray[np.float32]) -> None:
    """Add the lists' weights times values to the labels from `start` on, list after list."""
    for i in range(postings.offsets[text], postings.offsets[text + 1]):
        place, weight = postings.places[i], postings.weights[i]
        rest = postings.labels[place : postings.ends[i]]
        last = place + np.searchsorted(rest, start + len(added))
        for j in range(place, last):
            # an unsigned index is faster: it cannot count from the end
            added[np.uint32(postings.labels[j] - start)] += weight * postings.values[j]
        postings.places[i] = last


@compiled
def _has_above(values: NDArray[np.float32], first: int, threshold: float) -> bool:
    """Whether the block from `first` on has larger values; vectors need a loop of known length."""
    n_above = np.int32(0)
    if first + _BLOCK <= len(values):
        for i in range(_BLOCK):
            n_above = np.int32(n_above + np.int32(values[first + i] > threshold))
    else:
        for i in range(first, len(values)):
            n_above = np.int32(n_above + np.int32(values[i] > threshold))
    return bool(n_above > 0)


@compiled
def _kth_largest(values: NDArray[np.float32], k: int) -> float:
    """By quickselect; numba takes 7 seconds to compile np.partition."""
    values = values.copy()
    place, low, high = len(values) - k, 0, len(values) - 1
    while low < high:
        pivot, i, j = values[(low + high) // 2], low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i, j = i + 1, j - 1
        if j < place < i:
            break
        low, high = (low, j) if place <= j else (i, high)
    return values[place]


@compiled
def keep_best(found: Candidates, text: int, k: int) -> None:
    """Drop the candidates that k others are before; what later ones have to exceed.

    Of equal scores the first labels are the better ones.
    """
    count = found.counts[text]
    if count < k:
        return
    threshold = _kth_largest(found.lower[text, :count], k)
    n_kept, n_above = 0, 0
    for i in range(count):
        upper, lower = found.upper[text, i], found.lower[text, i]
        if upper > threshold or (upper == threshold and n_above < k):
            found.labels[text, n_kept] = found.labels[text, i]
            found.upper[text, n_kept], found.lower[text, n_kept] = upper, lower
            found.added[text, n_kept] = found.added[text, i]
            n_kept += 1
        n_above += lower >= threshold
    found.counts[text], found.thresholds[text] = n_kept, threshold


@compiled
def _append_(
    found: Candidates, text: int, k: int, label: int, upper: float, lower: float, added: float
) -> None:
    """Add a candidate; where there is no room, the text is given up."""
    room = found.labels.shape[1]
    if found.counts[text] == room:
        keep_best(found, text, k)
        if upper <= found.thresholds[text]:
            return
    place = found.counts[text]
    if place == room:
        found.thresholds[text], found.is_full[0] = np.inf, True
        return
    found.labels[text, place] = label
    found.upper[text, place], found.lower[text, place] = upper, lower
    found.added[text, place] = added
    found.counts[text] += 1


@compiled
def _exceeded_by_others(lower: NDArray[np.float32], k: int) -> float:
    """A little less than what k of the values are at least."""
    n_groups = _GROUPS_A_RESULT * k
    if len(lower) < n_groups:
        return -np.inf
    maxima = lower[:n_groups].copy()
    for start in range(n_groups, len(lower) - n_groups + 1, n_groups):
        for j in range(n_groups):
            maxima[j] = max(maxima[j], lower[start + j])
    return np.nextafter(_kth_largest(maxima, k), np.float32(-np.inf))


@compiled
def find_candidates(
    products: NDArray[np.int32],  # (n_texts, n) with the labels from `start` on
    start: int,
    scales: NDArray[np.float32],  # (n,)
    lengths: NDArray[np.float32],  # (n,)
    errors: NDArray[np.float32],  # (n,)
    bounds: NDArray[np.float64],  # (n_texts, 5) what `query_bounds` gives
    words: Postings,
    unseen: NDArray[np.int64],  # labels whose score is `unseen_score`
    unseen_score: float,
    excluded: Postings,  # of values -inf
    k: int,
    found: Candidates,  # of earlier labels; updated
) -> None:
    """Add the labels that may be among the k best of each text."""
    n = products.shape[1]
    added, upper, lower = np.empty((3, n), np.float32)
    for text in range(len(products)):
        scale, length, error, shift, slack = bounds[text]
        added[:] = 0
        _add_(words, text, start, added)
        for label in unseen:
            added[label - start] = unseen_score
        _add_(excluded, text, start, added)
        for i in range(n):
            middle = products[text, i] * (np.float64(scales[i]) * scale) + shift
            radius = errors[i] * length + lengths[i] * error + slack
            # float64's and float32's roundings keep the order of sums
            upper[i] = np.float32((middle + radius) + added[i])
            lower[i] = np.float32((middle - radius) + added[i])
        for label in unseen:
            upper[label - start] = lower[label - start] = added[label - start]
        if start == 0:
            found.thresholds[text] = _exceeded_by_others(lower, k)
        for first in range(0, n, _BLOCK):
            if _has_above(upper, first, found.thresholds[text]):
                for i in range(first, min(first + _BLOCK, n)):
                    if upper[i] > found.thresholds[text]:
                        _append_(found, text, k, start + i, upper[i], lower[i], added[i])
        if found.counts[text] > 2 * k:
            keep_best(found, text, k)


@partial(compiled, sums_in_any_order=True)
def exact_scores(
    rows: NDArray[np.float32],  # (n, dim)
    query: NDArray[np.float32],  # (dim,)
    added: NDArray[np.float32],  # (n,)
    is_known: NDArray[np.bool_],  # (n,) of other rows, only what is added counts
    scores: NDArray[np.float32],  # (n,) written
) -> None:
    """Inner products in float64, each in the same order: equal rows have equal scores."""
    for i in range(rows.shape[0]):
        total = 0.0
        for j in range(rows.shape[1]):
            total += np.float64(rows[i, j]) * np.float64(query[j])
        scores[i] = np.float32((total if is_known[i] else 0.0) + added[i])
