"""Losses of a batch of texts over a pool of labels, in one block of scores: closed-form gradients.

Scores are label-major, (pool, batch): so what words add to them is in the layout that torch's
embedding_bag gives it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ._losses import (
    PoolLoss,
    Softmax,
    handicaps,
    lower_,
    mask_,
    masked_pairs,
    positive_weights,
    pull,
    row_sums,
    score_gradient_,
)
from ._pairs import Pairs, Positives


class PoolGradients(NamedTuple):
    """Of the mean loss, float32 or wider."""

    texts: Tensor  # (batch, dim)
    labels: Tensor  # (pool, dim)
    loss: Tensor  # ()
    scores: Tensor  # (pool, batch)


def dense_pool_step(
    text_embeddings: Tensor,  # (batch, dim); its dtype is the products'
    label_embeddings: Tensor,  # (pool, dim)
    positives: Positives[Tensor],  # `labels`: places in the pool, in any order
    loss: PoolLoss,
    *,
    temperature: float,
    ignored: Pairs[Tensor] | None = None,  # neither positive nor negative; none of the positives
    sample_weight: Tensor | None = None,  # (batch,)
    added: Tensor | None = None,  # (pool, batch) to the scores over the temperature
) -> PoolGradients:
    """Gradients of the mean loss by both sides' embeddings and by the scores; the loss."""
    if isinstance(loss, Softmax):
        return softmax_pool_step(
            text_embeddings, label_embeddings, positives, loss,
            temperature=temperature, ignored=ignored, sample_weight=sample_weight, added=added,
        )  # fmt: skip
    with torch.no_grad():
        texts, labels = _scaled(text_embeddings, label_embeddings, temperature)
        # the losses go through a text's scores
        scores = _scores(texts, labels, added).T.contiguous()
        places = (positives.rows, positives.labels)
        positive_scores = scores[places]
        masked = masked_pairs(positives, ignored, loss)
        mask_(scores, (masked.rows, masked.labels))
        lower_(scores, places, handicaps(loss, positives.rows, len(scores), scores.dtype))
        statistics = loss.row_statistics(lambda: [scores])
        weights = positive_weights(
            positives.values, positives.rows, len(scores), scores.dtype, sample_weight
        )
        forces = pull(loss, statistics, positive_scores, positives.rows, weights)
        score_gradient_(loss, scores, statistics, forces.of_rows, places, forces.of_pairs)
        return _pool_gradients(scores.T, texts, labels, temperature, forces.loss)


def softmax_pool_step(
    text_embeddings: Tensor,  # (batch, dim); its dtype is the products'
    label_embeddings: Tensor,  # (pool, dim)
    positives: Positives[Tensor],  # `labels`: places in the pool, in any order
    loss: Softmax,
    *,
    temperature: float,
    both_directions: bool = False,
    ignored: Pairs[Tensor] | None = None,  # neither positive nor negative; none of the positives
    sample_weight: Tensor | None = None,  # (batch,)
    added: Tensor | None = None,  # (pool, batch) to the scores over the temperature
) -> PoolGradients:
    r"""As `dense_pool_step`, or the mean with the loss of the labels over the batch's texts.

    Both are softmaxes of one matrix, so its exponentials are taken once. With the greatest score
    :math:`m_i` that competes for a text and :math:`E_{li} = e^{s_{li} - m_i}`, 0 at the positives,
    the sums of its columns, and of its rows weighted by :math:`e^{m_i}`, are all that the losses
    need to know, and the gradient is :math:`E_{li} (a_i + e^{m_i} b_l)`, but for the positives.

    In the labels' direction, scores more than 87 (float32) below the batch's greatest count as so
    far below: a label that has no others pulls its own texts, and pushes none.
    """
    with torch.no_grad():
        texts, labels = _scaled(text_embeddings, label_embeddings, temperature)
        scores = _scores(texts, labels, added)
        places, values = (positives.labels, positives.rows), positives.values
        of_pairs = scores[places]
        masked = masked_pairs(positives, ignored, loss)
        mask_(scores, (masked.labels, masked.rows))
        tops = scores.amax(0).clamp(min=torch.finfo(scores.dtype).min)
        exponentials = scores.sub_(tops).exp_()
        if loss.positives_compete:  # by sums of their own
            exponentials.index_put_(places, scores.new_zeros(()))
        by_text = _one_way(
            loss, positives.rows, values, of_pairs, exponentials.sum(0), tops, sample_weight
        )
        if not both_directions:
            gradient = exponentials.mul_(by_text.spread).index_put_(places, by_text.pairs)
            return _pool_gradients(gradient, texts, labels, temperature, by_text.loss)
        top = tops.max()
        shares = (tops - top).exp()
        values = values.to(scores.dtype)
        if sample_weight is not None:
            values = values * sample_weight[positives.rows]
        sums = exponentials @ shares
        by_label = _one_way(loss, positives.labels, values, of_pairs, sums, top.expand(len(sums)))
        spread = torch.addcmul(by_text.spread, by_label.spread[:, None], shares)
        gradient = exponentials.mul_(spread).index_put_(places, by_text.pairs + by_label.pairs)
        return _pool_gradients(
            gradient.mul_(0.5), texts, labels, temperature, (by_text.loss + by_label.loss) / 2
        )


class _OneWay(NamedTuple):
    """The loss of one direction, and what its gradient is made of."""

    loss: Tensor  # ()
    spread: Tensor  # (n_rows,) what the exponentials are multiplied by
    pairs: Tensor  # (n_pairs,) the gradient by the positives' scores


def _one_way(
    loss: Softmax,
    rows: Tensor,  # (n_pairs,) texts of the positives, or their labels
    values: Tensor,  # (n_pairs,) relevances
    scores: Tensor,  # (n_pairs,) of the positives
    sums: Tensor,  # (n_rows,) of the negatives' exponentials, each divided by that of the top
    tops: Tensor,  # (n_rows,)
    sample_weight: Tensor | None = None,  # (n_rows,)
) -> _OneWay:
    n_rows, own = len(sums), None
    if loss.positives_compete:
        amounts = handicaps(loss, rows, n_rows, scores.dtype)
        own = ((scores if amounts is None else scores - amounts) - tops[rows]).exp()
        sums = sums + row_sums(own, rows, n_rows)
    sums = sums.clamp(min=torch.finfo(scores.dtype).tiny)
    weights = positive_weights(values, rows, n_rows, scores.dtype, sample_weight)
    forces = pull(loss, (sums.log() + tops)[None], scores, rows, weights)
    spread, pairs = forces.of_rows / sums, -forces.of_pairs
    if own is not None:
        pairs += own * spread[rows]
    return _OneWay(forces.loss, spread, pairs)


def one_vs_all_pool_step(
    text_embeddings: Tensor,  # (batch, dim); its dtype is the products'
    label_embeddings: Tensor,  # (pool, dim)
    positives: Positives[Tensor],  # `labels`: places in the pool, in any order
    *,
    temperature: float,
    ignored: Pairs[Tensor] | None = None,  # without a part in the loss; none of the positives
    sample_weight: Tensor | None = None,  # (batch,)
    added: Tensor | None = None,  # (pool, batch) to the scores over the temperature
) -> PoolGradients:
    """As `dense_pool_step`: binary cross-entropy, summed over the pool, its mean over the texts.

    All scores are lowered by the logarithm of the pool's size, which ranks nothing anew: so they
    begin at probabilities that sum to 1, not at a half each, which would drown the positives.
    """
    with torch.no_grad():
        texts, labels = _scaled(text_embeddings, label_embeddings, temperature)
        scores = _scores(texts, labels, added).sub_(math.log(len(labels)))
        places = (positives.labels, positives.rows)
        if ignored is not None:  # softplus and sigmoid of -inf are 0
            mask_(scores, (ignored.labels, ignored.rows))
        weights = scores.new_full((len(texts),), 1 / len(texts))
        if sample_weight is not None:
            weights *= sample_weight
        values = positives.values.to(scores.dtype)
        value = F.softplus(scores).sum(0) @ weights
        value -= (weights[positives.rows] * values) @ scores[places]
        errors = scores.sigmoid_().index_put_(places, -values, accumulate=True)
        return _pool_gradients(errors.mul_(weights), texts, labels, temperature, value)


def _scaled(texts: Tensor, labels: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Both in the texts' dtype; their products are the scores."""
    return texts.detach() / temperature, labels.detach().to(texts.dtype)


def _scores(texts: Tensor, labels: Tensor, added: Tensor | None) -> Tensor:
    """Label-major, (pool, batch), float32 or wider."""
    scores = (labels @ texts.T).to(torch.promote_types(texts.dtype, torch.float32))
    return scores if added is None else scores.add_(added)


def _pool_gradients(
    by_scores: Tensor,  # (pool, batch)
    texts: Tensor,  # over the temperature
    labels: Tensor,
    temperature: float,
    loss: Tensor,
) -> PoolGradients:
    gradient, wide = by_scores.to(texts.dtype), by_scores.dtype
    by_texts = (gradient.T @ labels).to(wide) / temperature
    return PoolGradients(by_texts, (gradient @ texts).to(wide), loss, by_scores)
