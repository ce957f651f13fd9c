"""Exact maximum-inner-product search, streamed over labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from ._pairs import Pairs

# The score of an unseen label about which nothing is known: below every other, yet a number.
UNSEEN_SCORE = -1e4
# labels per maximum in the search for scores above a known one
_BLOCK = 32


def has_values(rows: Tensor) -> Tensor:  # (n, dim) -> (n,) bool
    """Which rows are not 0; ``rows.any(1)`` without a temporary of the table's size."""
    return (rows.amax(1) != 0) | (rows.amin(1) != 0)


def top_k_inner_products(
    queries: Tensor,  # (batch, dim)
    table: Tensor,  # (n_labels, dim)
    k: int,
    *,
    chunk_size: int,  # labels at a time
    exclude: Pairs[Tensor] | None = None,
    unseen: Tensor | None = None,  # ascending labels that score `UNSEEN_SCORE` for every query
    added: Callable[[int, int], Tensor] | None = None,  # to labels start:stop, (batch, n)
) -> tuple[Tensor, Tensor]:
    """The `k` labels of the largest inner product with each query, best first.

    Labels with equal scores are in ascending order, for every `k`. Excluded pairs are removed
    before the `k` best are taken. If fewer than `k` labels remain, the row ends in scores of -inf
    and labels of -1. Memory: (batch, chunk_size) scores, never (batch, n_labels).

    Returns
    -------
    labels : Tensor of shape (batch, k), int64
    scores : Tensor of shape (batch, k)
    """
    best_scores = queries.new_empty((len(queries), 0))
    best_labels = torch.empty((len(queries), 0), dtype=torch.int64, device=queries.device)
    starts = range(0, len(table), chunk_size)
    # before the loop: within it nothing waits for a GPU
    of_unseen = _slices_by_chunk(unseen, starts, len(table))
    of_excluded = _slices_by_chunk(None if exclude is None else exclude.labels, starts, len(table))
    for start, unseen_places, pairs in zip(starts, of_unseen, of_excluded, strict=True):
        chunk = table[start : start + chunk_size].to(queries.dtype)
        # (labels, batch), in the layout that the product leaves
        if added is None:
            scores = (queries @ chunk.T).T
        else:  # product and sum in one pass over the scores
            addend = added(start, start + len(chunk)).to(queries.dtype)
            scores = addend.T.addmm_(chunk, queries.T)
        if unseen is not None:
            scores[unseen[unseen_places] - start] = UNSEEN_SCORE
        if exclude is not None:
            scores[exclude.labels[pairs] - start, exclude.rows[pairs]] = -torch.inf
        better = None
        if best_scores.shape[1] == k and _is_on_host(scores):
            better = _above(scores, best_scores[:, -1], k)
        if better is None:
            better = top_k_of_rows(scores.T.contiguous(), min(k, len(chunk)))
        best_labels = torch.cat([best_labels, better[1] + start], 1)
        joined = torch.cat([best_scores, better[0]], 1)
        best_scores, order = _stable_top_k(joined, min(k, joined.shape[1]))
        best_labels = best_labels.gather(1, order)
        del chunk, scores  # before the next ones are made
    return best_labels.masked_fill_(best_scores == -torch.inf, -1), best_scores


def _slices_by_chunk(labels: Tensor | None, starts: range, n_labels: int) -> list[slice]:
    """The slices of the ascending `labels` that lie in each chunk."""
    if labels is None:
        return [slice(0)] * len(starts)
    edges = torch.tensor([*starts, n_labels], device=labels.device)
    return [slice(*ends) for ends in pairwise(torch.searchsorted(labels, edges).tolist())]


def _is_on_host(scores: Tensor) -> bool:
    """Whether looking at values is free; a GPU's queue of work would have to run empty first."""
    return scores.device.type == "cpu"


def _above(
    scores: Tensor,  # (n_labels, batch)
    least: Tensor,  # (batch,)
    k: int,
) -> tuple[Tensor, Tensor] | None:
    """Scores above each row's `least` and their labels, ascending; padded with -inf.

    Once k labels are known, few labels of a chunk are better. Maxima of blocks, one vectorised
    pass, show which blocks have them. None if these are many: a full search is as fast then.

    Returns
    -------
    scores : Tensor of shape (batch, n_most), the width of the row that has most
    labels : Tensor of shape (batch, n_most), int64
    """
    n_labels, batch = scores.shape
    whole = n_labels // _BLOCK * _BLOCK
    maxima = scores[:whole].unflatten(0, (-1, _BLOCK)).amax(1)
    if whole < n_labels:
        maxima = torch.cat([maxima, scores[whole:].amax(0, keepdim=True)])
    rows, blocks = (~(maxima <= least)).T.nonzero(as_tuple=True)  # nan is kept
    if len(rows) > 4 * k * batch:
        return None
    labels = blocks[:, None] * _BLOCK + torch.arange(_BLOCK, device=scores.device)
    values = scores[labels.clamp(max=n_labels - 1), rows[:, None]]
    is_above = ~(values <= least[rows, None]) & (labels < n_labels)
    kept = is_above.flatten().nonzero().squeeze(1)
    rows, labels, values = rows[kept // _BLOCK], labels.flatten()[kept], values.flatten()[kept]
    counts = rows.bincount(minlength=batch)
    places = torch.arange(len(rows), device=scores.device) - (counts.cumsum(0) - counts)[rows]
    shape = batch, int(counts.max())
    padded, columns = scores.new_full(shape, -torch.inf), labels.new_zeros(shape)
    padded[rows, places], columns[rows, places] = values, labels
    return padded, columns


def top_k_of_rows(
    scores: Tensor,  # (batch, n_columns)
    k: int,
) -> tuple[Tensor, Tensor]:
    """``scores.topk(k)``, fast for a small k; of equal scores the first columns.

    The k largest scores of a row lie in the k blocks of columns with the largest maxima. The maxima
    are one vectorised pass; torch.topk, the slow part, sees only these k blocks.
    """
    n_columns = scores.shape[1]
    block = 1 << round(math.log2(n_columns / k) / 2)
    n_blocks = n_columns // block
    if block < 8 or n_blocks <= k:
        return _stable_top_k(scores, k)
    blocks = scores[:, : n_blocks * block].unflatten(1, (n_blocks, block))
    winners = _stable_top_k(blocks.amax(2), k)[1].sort(1).values
    candidates = blocks.gather(1, winners[:, :, None].expand(-1, -1, block)).flatten(1)
    columns = winners[:, :, None] * block + torch.arange(block, device=scores.device)
    rest = torch.arange(n_blocks * block, n_columns, device=scores.device)
    candidates = torch.cat([candidates, scores[:, n_blocks * block :]], 1)
    columns = torch.cat([columns.flatten(1), rest.expand(len(scores), -1)], 1)
    values, order = _stable_top_k(candidates, k)
    return values, columns.gather(1, order)


def _stable_top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest scores of each row, largest first; of equal scores the first columns.

    torch.topk picks any of equal scores, and picks others for another k: rows with ties are sorted.
    """
    if not _is_on_host(scores):
        return _top_k_by_keys(scores, k)
    values, columns = scores.topk(min(k + 1, scores.shape[1]), dim=1)
    tied = (values[:, 1:] == values[:, :-1]).any(1).nonzero().squeeze(1)
    values, columns = values[:, :k], columns[:, :k]
    if len(tied):
        in_order = scores[tied].sort(dim=1, descending=True, stable=True)
        values[tied], columns[tied] = in_order.values[:, :k], in_order.indices[:, :k]
    return values, columns


def _top_k_by_keys(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Likewise, where it must not be looked for ties: no two keys of score and column are equal.

    The upper 32 bits of a key order as the scores do, float32 or narrower; the lower ones order
    columns from last to first.
    """
    bits = (scores.float() + 0.0).view(torch.int32)  # -0 becomes 0: they are equal
    bits = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)  # negative ones order the other way
    columns = torch.arange(scores.shape[1], device=scores.device)
    keys = (bits.long() << 32) | (0xFFFFFFFF - columns)
    best = 0xFFFFFFFF - (keys.topk(k, dim=1).values & 0xFFFFFFFF)
    return scores.gather(1, best), best
