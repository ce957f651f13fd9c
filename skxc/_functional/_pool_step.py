"""Losses of a batch of texts over a pool of labels: closed-form gradients from one block of scores.

Scores are label-major, (pool, batch): the layout in which torch's embedding_bag returns the scores
from words that are added to them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ._losses import (
    OneVsAll,
    PoolLoss,
    Softmax,
    gradient_coefficients,
    mask_,
    masked_pairs,
    positive_offsets,
    positive_weights,
    row_sums,
    score_gradient_,
    subtract_offsets_,
)
from ._pairs import Pairs, Positives


class PoolGradients(NamedTuple):
    """The mean loss and its gradients, float32 or wider."""

    texts: Tensor  # (batch, dim) by the text embeddings
    labels: Tensor  # (pool, dim) by the label embeddings
    loss: Tensor  # ()
    scores: Tensor  # (pool, batch) by the scores


def dense_pool_step(
    text_embeddings: Tensor,  # (batch, dim); its dtype is the products'
    label_embeddings: Tensor,  # (pool, dim)
    positives: Positives[Tensor],  # `labels`: positions in the pool; in any order
    loss: PoolLoss,
    *,
    temperature: float | Tensor,
    ignored: Pairs[Tensor] | None = None,  # neither positive nor negative; none of the positives
    sample_weight: Tensor | None = None,  # (batch,)
    added: Tensor | None = None,  # (pool, batch) to the scores
) -> PoolGradients:
    """The mean loss over the texts and its gradients; scores: inner products / temperature."""
    if isinstance(loss, Softmax):
        return softmax_pool_step(
            text_embeddings, label_embeddings, positives, loss,
            temperature=temperature, ignored=ignored, sample_weight=sample_weight, added=added,
        )  # fmt: skip
    with torch.no_grad():
        texts, labels = _scaled(text_embeddings, label_embeddings, temperature)
        # text-major: the losses reduce over the scores of a text
        scores = _scores(texts, labels, added).T.contiguous()
        positions, rows, values = positives
        index = (rows, positions)
        positive_scores = scores[index]
        masked = masked_pairs(positives, ignored, loss)
        mask_(scores, (masked.rows, masked.labels))
        offsets = positive_offsets(loss, rows, len(scores), scores.dtype)
        subtract_offsets_(scores, index, offsets)
        weights, relevances = positive_weights(
            values, rows, len(scores), scores.dtype, sample_weight
        )
        statistics = loss.row_statistics(lambda: [scores], relevances)
        mean_loss, of_positives, of_rows = gradient_coefficients(
            loss, statistics, positive_scores, weights, rows
        )
        score_gradient_(loss, scores, statistics, of_rows, index, of_positives)
        return _pool_gradients(scores.T, texts, labels, temperature, mean_loss)


def softmax_pool_step(
    text_embeddings: Tensor,  # (batch, dim); its dtype is the products'
    label_embeddings: Tensor,  # (pool, dim)
    positives: Positives[Tensor],  # `labels`: positions in the pool; in any order
    loss: Softmax,
    *,
    temperature: float | Tensor,
    both_directions: bool = False,
    ignored: Pairs[Tensor] | None = None,  # neither positive nor negative; none of the positives
    sample_weight: Tensor | None = None,  # (batch,)
    added: Tensor | None = None,  # (pool, batch) to the scores
) -> PoolGradients:
    r"""As `dense_pool_step`, or the mean with the loss of the labels over the batch's texts.

    Both directions are softmaxes of one matrix, whose exponentials are computed once. Let
    :math:`m_i` be the largest score of the negatives (and positives, if these compete) of a text,
    and :math:`E_{li} = e^{s_{li} - m_i}`, 0 at the positives. The losses need the sums of its
    columns, and of its rows weighted by :math:`e^{m_i}`; the gradient is
    :math:`E_{li} (a_i + e^{m_i} b_l)`, except at the positives.

    In the labels' direction, scores more than 87 (float32) below the largest of the batch count as
    exactly that far below. A label whose scores are all so low still raises its own texts, but
    lowers none.
    """
    with torch.no_grad():
        texts, labels = _scaled(text_embeddings, label_embeddings, temperature)
        scores = _scores(texts, labels, added)
        positions, rows, values = positives
        index = (positions, rows)
        positive_scores = scores[index]
        masked = masked_pairs(positives, ignored, loss)
        mask_(scores, (masked.labels, masked.rows))
        largest = scores.amax(0).clamp(min=torch.finfo(scores.dtype).min)
        exponentials = scores.sub_(largest).exp_()
        if loss.positives_compete:  # `_one_way` adds them
            exponentials.index_put_(index, scores.new_zeros(()))
        sums = exponentials.sum(0)
        by_text = _one_way(loss, values, rows, positive_scores, sums, largest, sample_weight)
        if not both_directions:
            gradient = exponentials.mul_(by_text.factors).index_put_(index, by_text.positives)
            return _pool_gradients(gradient, texts, labels, temperature, by_text.loss)
        top = largest.max()
        shares = (largest - top).exp()
        values = values.to(scores.dtype)
        if sample_weight is not None:
            values = values * sample_weight[rows]
        sums = exponentials @ shares
        by_label = _one_way(loss, values, positions, positive_scores, sums, top.expand(len(sums)))
        factors = torch.addcmul(by_text.factors, by_label.factors[:, None], shares)
        at_positives = by_text.positives + by_label.positives
        gradient = exponentials.mul_(factors).index_put_(index, at_positives).mul_(0.5)
        mean_loss = (by_text.loss + by_label.loss) / 2
        return _pool_gradients(gradient, texts, labels, temperature, mean_loss)


class _OneWay(NamedTuple):
    """The loss of one direction, and the parts of its gradient by the scores."""

    loss: Tensor  # ()
    factors: Tensor  # (n_rows,) of the exponentials
    positives: Tensor  # (n_pairs,) the gradient at the positives


def _one_way(
    loss: Softmax,
    values: Tensor,  # (n_pairs,) relevances of the positives
    rows: Tensor,  # (n_pairs,) their texts, or their labels
    scores: Tensor,  # (n_pairs,) theirs
    sums: Tensor,  # (n_rows,) of the negatives' exp(score - largest)
    largest: Tensor,  # (n_rows,)
    sample_weight: Tensor | None = None,  # (n_rows,)
) -> _OneWay:
    n_rows, own = len(sums), None
    if loss.positives_compete:
        offsets = positive_offsets(loss, rows, n_rows, scores.dtype)
        own = ((scores if offsets is None else scores - offsets) - largest[rows]).exp()
        sums = sums + row_sums(own, rows, n_rows)
    sums = sums.clamp(min=torch.finfo(scores.dtype).tiny)
    weights, _ = positive_weights(values, rows, n_rows, scores.dtype, sample_weight)
    mean_loss, of_positives, of_rows = gradient_coefficients(
        loss, (sums.log() + largest)[None], scores, weights, rows
    )
    factors, by_positives = of_rows / sums, -of_positives
    if own is not None:
        by_positives += own * factors[rows]
    return _OneWay(mean_loss, factors, by_positives)


def one_vs_all_pool_step(
    text_embeddings: Tensor,  # (batch, dim); its dtype is the products'
    label_embeddings: Tensor,  # (pool, dim)
    positives: Positives[Tensor],  # `labels`: positions in the pool; in any order
    *,
    temperature: float | Tensor,
    ignored: Pairs[Tensor] | None = None,  # not in the loss; none of the positives
    sample_weight: Tensor | None = None,  # (batch,)
    added: Tensor | None = None,  # (pool, batch) to the scores
) -> PoolGradients:
    """As `dense_pool_step`, of binary cross-entropy: summed over the pool, mean over the texts.

    The logarithm of the pool's size is subtracted from all scores, which keeps their order. So the
    initial probabilities sum to 1; at 1/2 each, the negatives would outweigh the positives.
    """
    with torch.no_grad():
        texts, labels = _scaled(text_embeddings, label_embeddings, temperature)
        scores = _scores(texts, labels, added).sub_(math.log(len(labels)))
        index = (positives.labels, positives.rows)
        if ignored is not None:  # softplus and sigmoid of -inf are 0
            mask_(scores, (ignored.labels, ignored.rows))
        weights = scores.new_full((len(texts),), 1 / len(texts))
        if sample_weight is not None:
            weights *= sample_weight
        values = positives.values.to(scores.dtype)
        value = F.softplus(scores).sum(0) @ weights
        value -= (weights[positives.rows] * values) @ scores[index]
        errors = scores.sigmoid_().index_put_(index, -values, accumulate=True)
        return _pool_gradients(errors.mul_(weights), texts, labels, temperature, value)


def with_mean_one_vs_all(
    step: Callable[..., PoolGradients], weight: float
) -> Callable[..., PoolGradients]:
    """A step whose loss has one-vs-all beside it: the mean over the pool and the texts.

    UniDEC's code adds it to the classifier's loss on request, with the weight 1.
    """

    def both(
        texts: Tensor, labels: Tensor, positives: Positives[Tensor], **keywords: Any
    ) -> PoolGradients:
        of_step = step(texts, labels, positives, **keywords)
        others = dense_pool_step(texts, labels, positives, OneVsAll(), **keywords)
        return PoolGradients(*(a + weight * b for a, b in zip(of_step, others, strict=True)))

    return both


def _scaled(texts: Tensor, labels: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
    """Texts / temperature and labels, both in the texts' dtype: their products are the scores."""
    return texts.detach() / temperature, labels.detach().to(texts.dtype)


def _scores(texts: Tensor, labels: Tensor, added: Tensor | None) -> Tensor:
    """Label-major, (pool, batch), float32 or wider."""
    scores = (labels @ texts.T).to(torch.promote_types(texts.dtype, torch.float32))
    return scores if added is None else scores.add_(added)


def _pool_gradients(
    by_scores: Tensor,  # (pool, batch)
    texts: Tensor,  # over the temperature
    labels: Tensor,
    temperature: float | Tensor,
    loss: Tensor,
) -> PoolGradients:
    gradient, wide = by_scores.to(texts.dtype), by_scores.dtype
    by_texts = (gradient.T @ labels).to(wide) / temperature
    return PoolGradients(by_texts, (gradient @ texts).to(wide), loss, by_scores)
