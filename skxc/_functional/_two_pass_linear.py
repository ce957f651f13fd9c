"""Training of a linear layer over all labels by a loss that normalises the scores of a text.

A normaliser couples the labels, so each chunk of them is scored twice: first for the statistics of
every text's row, then for the gradient in closed form, with which the chunk is updated at once, as
in `one_vs_all_step_`. The losses are DEXML's (Gupta et al., "Dual-Encoders for Extreme Multi-label
Classification", ICLR 2024); on a linear layer they are its code's "dist-clf-net".
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from skxc._kernels import add_product_, sgd_update_, to_device

from ._fused_linear import SGD, index_by_chunk, row_noise
from ._losses import (
    PoolLoss,
    ScoreIndex,
    gradient_coefficients,
    mask_,
    masked_pairs,
    positive_weights,
    score_gradient_,
)
from ._pairs import Pairs, Positives
from ._reduce import Reduce, as_it_is


def two_pass_linear_step_(
    weights: Tensor,  # (n_labels, dim), updated in place
    embeddings: Tensor,  # (batch, dim), detached; products are of its dtype
    positives: Positives[Tensor],  # `labels` on the CPU, to be split without a wait for a GPU
    loss: PoolLoss,
    sgd: SGD,
    *,
    chunk_size: int,  # labels at a time
    velocity: Tensor | None = None,  # (n_labels, dim), updated in place; needed for momentum
    sample_weight: Tensor | None = None,  # (batch,)
    ignored: Pairs[Tensor] | None = None,  # not in the pool; none of the positives; on the CPU
    is_absent: Tensor | None = None,  # (n_labels,) labels that are in no text's pool
    generator: torch.Generator | None = None,
    first_label: int = 0,  # the number of the first one: what is drawn for a row depends on its own
    reduce_: Reduce = as_it_is,  # where the labels are a part of the pool: over all parts
) -> tuple[Tensor, Tensor]:
    """Step the weights on the loss over all labels, summed over the texts; see `one_vs_all_step_`.

    A sum, so that learning rates mean what they mean there. An iterative loss scores every chunk
    up to 16 times more. Memory: the scores of one chunk.

    Returns
    -------
    gradient : Tensor of shape (batch, dim)
        d loss / d embeddings, at the weights *before* the update, float32 or wider: the part of
        these labels.
    loss : Tensor of shape ()
        The sum over the texts, before the update.
    """
    sgd = SGD(*map(float, sgd))
    chunks = _Chunks(weights, embeddings, positives, ignored, loss, chunk_size, is_absent)
    _, rows, values = chunks.positives
    of_positives, relevances = positive_weights(
        values, rows, len(embeddings), chunks.wide, sample_weight, reduce_
    )
    of_positives *= (relevances > 0).sum()  # of the sum over the texts, not of their mean
    statistics = loss.row_statistics(chunks.score_blocks, relevances, reduce_)
    scores = torch.cat([statistics.new_empty(0), *chunks.positive_scores])  # no label: nothing
    coefficients = gradient_coefficients(loss, statistics, scores, of_positives, rows, reduce_)
    gradient = torch.zeros(embeddings.shape, dtype=chunks.wide, device=weights.device)
    noise = row_noise(weights, velocity, generator, first_label)
    of_chunks = coefficients.of_positives.split(chunks.sizes)
    for i, (start, of_positives) in enumerate(zip(chunks.starts, of_chunks, strict=True)):
        chunk = weights[start : start + chunk_size]
        scores, index = chunks.mask_(chunks.scores(i), i), chunks.indices[i]
        score_gradient_(loss, scores, statistics, coefficients.of_rows, index, of_positives)
        error = scores.to(embeddings.dtype)  # (batch, |chunk|)
        add_product_(gradient, error, chunk.to(embeddings.dtype))
        chunk_velocity = None if velocity is None else velocity[start : start + chunk_size]
        of_chunk = noise and noise.from_row(start)
        sgd_update_(chunk, error.T, embeddings, *sgd, chunk_velocity, of_chunk)
    return gradient, coefficients.loss


class _Chunks:
    """Scores of the labels, chunk by chunk."""

    def __init__(
        self,
        weights: Tensor,
        embeddings: Tensor,
        positives: Positives[Tensor],
        ignored: Pairs[Tensor] | None,
        loss: PoolLoss,
        chunk_size: int,
        is_absent: Tensor | None,
    ) -> None:
        self.weights, self.embeddings = weights, embeddings
        self.chunk_size, self.is_absent = chunk_size, is_absent
        self.wide = torch.promote_types(embeddings.dtype, torch.float32)
        self.starts = range(0, len(weights), chunk_size)
        labels, rows, values = positives
        rows, values = (to_device(part, weights.device) for part in (rows, values))
        self.positives = Positives(labels, rows, values.to(self.wide))
        self.indices = self._indices(labels, rows)
        self.sizes = [len(texts) for texts, _ in self.indices]
        if ignored is not None:
            ignored = ignored._replace(rows=to_device(ignored.rows, weights.device))
        masked = masked_pairs(self.positives, ignored, loss)
        labels, order = masked.labels.sort()
        self._masked = self._indices(labels, masked.rows[to_device(order, weights.device)])
        self.positive_scores: list[Tensor] = []  # chunk by chunk, once all blocks are read

    def _indices(self, labels: Tensor, rows: Tensor) -> list[ScoreIndex]:
        """Texts and labels of the pairs of each chunk; of labels in ascending order."""
        n_chunks, device = len(self.starts), self.weights.device
        by_chunk = index_by_chunk(labels, rows, self.chunk_size, n_chunks, device)
        return [(texts, columns) for columns, texts in by_chunk]

    def scores(self, i: int) -> Tensor:  # (batch, |chunk|), float32 or wider
        """Of one chunk."""
        chunk = self.weights[self.starts[i] :][: self.chunk_size].to(self.embeddings.dtype)
        scores = torch.zeros(len(self.embeddings), len(chunk), dtype=self.wide, device=chunk.device)
        add_product_(scores, self.embeddings, chunk.T)
        return scores

    def mask_(self, scores: Tensor, i: int) -> Tensor:
        """The same, -inf outside of the texts' pools, in place."""
        mask_(scores, self._masked[i])
        if self.is_absent is None:
            return scores
        return scores.masked_fill_(self.is_absent[self.starts[i] :][: self.chunk_size], -torch.inf)

    def score_blocks(self) -> Iterator[Tensor]:
        """Those of all chunks; one that is in no pool where there are no labels."""
        is_first = not self.positive_scores
        for i in range(len(self.starts)):
            scores = self.scores(i)
            if is_first:
                self.positive_scores.append(scores[self.indices[i]])
            yield self.mask_(scores, i)
        if not self.starts:
            yield self.embeddings.new_full((len(self.embeddings), 1), -torch.inf, dtype=self.wide)
