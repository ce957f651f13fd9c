"""One-vs-all training of a linear layer over all labels, in one pass over its weights.

Binary cross-entropy has no normaliser that couples the labels, so a chunk of labels can be scored,
turned into a gradient and updated before the next chunk is looked at: neither the (batch, n_labels)
scores nor the (n_labels, dim) gradient ever exist. Method: Renee (Jain et al., MLSys 2023,
section 4); updating chunk by chunk: ELMO (ICML 2025).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from skxc._kernels import fused_step_for, sgd_update_, to_device

from ._pairs import Pairs, Positives


@dataclass(frozen=True)
class SGD:
    """How the weights are stepped: torch.optim.SGD's parameters and their meaning."""

    learning_rate: float
    weight_decay: float = 0.0
    momentum: float = 0.0


def one_vs_all_step_(
    weights: Tensor,  # (n_labels, dim), updated in place
    embeddings: Tensor,  # (batch, dim), detached; its dtype is the products'
    positives: Positives[Tensor],  # labels on the CPU: their chunks are found without a wait
    sgd: SGD,
    *,
    chunk_size: int,  # labels at a time
    velocity: Tensor | None = None,  # (n_labels, dim), updated in place; needed for momentum
    sample_weight: Tensor | None = None,  # (batch,)
    ignored: Pairs[Tensor] | None = None,  # not in the loss; none of the positives; on the CPU
    with_loss: bool = False,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor | None]:
    r"""Step the weights on the binary cross-entropy over all labels; return the text gradient.

    .. math:: \sum_i w_i \sum_l \log(1 + e^{z_{il}}) - y_{il} z_{il}, \quad z = E W^\top

    is summed, not averaged, over batch and labels (Renee's learning rates mean the sum).

    Returns
    -------
    gradient : Tensor of shape (batch, dim)
        d loss / d embeddings, at the weights *before* the update, float32 or wider.
    loss : Tensor or None
        The sum above before the update, where `with_loss`.
    """
    fused_step_ = fused_step_for(weights, embeddings)
    if fused_step_ is not None and velocity is None:
        return fused_step_(
            weights,
            embeddings,
            *_pairs_with_targets(positives, ignored, weights.device),
            sgd.learning_rate,
            sgd.weight_decay,
            chunk_size=chunk_size,
            sample_weight=sample_weight,
            with_loss=with_loss,
            generator=generator,
        )
    device, wide = weights.device, torch.promote_types(embeddings.dtype, torch.float32)
    gradient = torch.zeros(embeddings.shape, dtype=wide, device=device)
    loss = gradient.new_zeros(()) if with_loss else None
    starts = range(0, len(weights), chunk_size)
    if ignored is None:
        ignored = Pairs(positives.labels[:0], positives.labels[:0])
    # the chunks' bounds are found here, on the host: within the loop nothing waits for a GPU
    bounds, masked_bounds = (_chunk_slices(p.labels, starts) for p in (positives, ignored))
    labels, *masked_pairs = (to_device(t, device) for t in (positives.labels, *ignored))
    buffer = embeddings.new_empty((min(chunk_size, len(weights)), len(embeddings)))
    for start, pair, masked in zip(starts, bounds, masked_bounds, strict=True):
        chunk = weights[start : start + chunk_size]
        pairs = (labels[pair] - start, positives.rows[pair])
        values = positives.values[pair].to(wide)
        products = chunk.to(embeddings.dtype)
        scores = torch.mm(products, embeddings.T, out=buffer[: len(chunk)]).to(wide)
        # softplus and sigmoid of -inf are 0: no loss, no gradient
        if masked.start < masked.stop:
            places = (masked_pairs[0][masked] - start, masked_pairs[1][masked])
            scores.index_put_(places, scores.new_full((), -torch.inf))
        if loss is not None:
            loss += _loss_sum(scores, pairs, values, sample_weight)
        # in float32: bfloat16 is spaced 2^-8 below 1 and would lose small errors of positives
        error = scores.sigmoid_()
        if pair.start < pair.stop:
            error.index_put_(pairs, error[pairs] - values)
        if sample_weight is not None:
            error *= sample_weight
        error = error.to(embeddings.dtype)
        if wide == embeddings.dtype:
            gradient.addmm_(error.T, products)
        else:
            gradient += error.T @ products
        sgd_update_(
            chunk,
            error,
            embeddings,
            sgd.learning_rate,
            sgd.weight_decay,
            sgd.momentum,
            None if velocity is None else velocity[start : start + chunk_size],
            generator,
        )
    return gradient, loss


def _pairs_with_targets(
    positives: Positives[Tensor], ignored: Pairs[Tensor] | None, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Labels (ascending), rows and targets of all pairs but plain negatives; nan: ignored."""
    labels, rows, values = positives
    if ignored is None:
        return to_device(labels, device), rows, values.float()
    labels, order = torch.cat([labels, ignored.labels]).sort()
    order = to_device(order, device)
    rows = torch.cat([rows, to_device(ignored.rows, device)])[order]
    nan = values.new_full((len(ignored.rows),), torch.nan, dtype=torch.float32)
    return to_device(labels, device), rows, torch.cat([values.float(), nan])[order]


def _chunk_slices(labels: Tensor, starts: range) -> list[slice]:
    """Where each chunk's pairs stand among the ascending `labels`."""
    bounds = torch.searchsorted(labels, torch.tensor([*starts])).tolist()
    return [slice(a, b) for a, b in pairwise([*bounds, len(labels)])]


def _loss_sum(
    scores: Tensor,  # (labels, batch)
    pairs: tuple[Tensor, Tensor],
    values: Tensor,
    sample_weight: Tensor | None,
) -> Tensor:
    """Binary cross-entropy of a chunk, summed."""
    if sample_weight is None:
        return F.softplus(scores).sum() - (values * scores[pairs]).sum()
    per_text = F.softplus(scores).sum(0).index_add_(0, pairs[1], -values * scores[pairs])
    return per_text @ sample_weight.to(scores.dtype)
