"""One-vs-all training of a linear layer over all labels, in one pass over its weights.

Binary cross-entropy has no normaliser that couples the labels. So the scores, the gradient and the
update of one chunk of labels are done before the next chunk: neither the (batch, n_labels) scores
nor the (n_labels, dim) gradient are ever held. Method: Renee (Jain et al., MLSys 2023, section 4);
updates chunk by chunk: ELMO (ICML 2025).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from skxc._kernels import RowNoise, add_product_, fused_step_for, sgd_update_, to_device

from ._pairs import Pairs, Positives


class SGD(NamedTuple):
    """The parameters of the weights' update, as in torch.optim.SGD."""

    learning_rate: float
    weight_decay: float = 0.0
    momentum: float = 0.0


def one_vs_all_step_(
    weights: Tensor,  # (n_labels, dim), updated in place
    embeddings: Tensor,  # (batch, dim), detached; products are in its dtype
    positives: Positives[Tensor],  # `labels` on the CPU, to be split without a wait for a GPU
    sgd: SGD,
    *,
    chunk_size: int,  # labels at a time
    velocity: Tensor | None = None,  # (n_labels, dim), updated in place; needed for momentum
    batch_size: int | None = None,  # of the largest batch: kernels are compiled for as many rows
    sample_weight: Tensor | None = None,  # (batch,)
    ignored: Pairs[Tensor] | None = None,  # not in the loss; none of the positives; on the CPU
    with_loss: bool = False,
    generator: torch.Generator | None = None,
    first_label: int = 0,  # the number of the first one: what is drawn for a row depends on its own
) -> tuple[Tensor, Tensor | None]:
    r"""Step the weights on the binary cross-entropy over all labels; return the text gradient.

    .. math:: \sum_i w_i \sum_l \log(1 + e^{z_{il}}) - y_{il} z_{il}, \quad z = E W^\top

    is a sum over batch and labels, not a mean: Renee's learning rates are for the sum.

    Returns
    -------
    gradient : Tensor of shape (batch, dim)
        d loss / d embeddings, at the weights *before* the update, float32 or wider.
    loss : Tensor or None
        The sum above, before the update; None without `with_loss`.
    """
    sgd = SGD(*map(float, sgd))  # NumPy's numbers are no floats to Triton, and narrow products
    fused_step_ = fused_step_for(weights, embeddings, velocity)
    if fused_step_ is not None:
        return fused_step_(
            weights,
            embeddings,
            *_pairs_with_targets(positives, ignored, weights.device),
            *sgd,
            chunk_size=chunk_size,
            velocity=velocity,
            batch_size=batch_size,
            sample_weight=sample_weight,
            with_loss=with_loss,
            generator=generator,
            first_label=first_label,
        )
    device, wide = weights.device, torch.promote_types(embeddings.dtype, torch.float32)
    gradient = torch.zeros(embeddings.shape, dtype=wide, device=device)
    loss = gradient.new_zeros(()) if with_loss else None
    if ignored is None:
        ignored = Pairs(positives.labels[:0], positives.labels[:0])
    starts = range(0, len(weights), chunk_size)
    # before the loop, on the CPU: within it nothing waits for a GPU
    indices, ignored_indices = (
        index_by_chunk(pairs.labels, pairs.rows, chunk_size, len(starts), device)
        for pairs in (positives, ignored)
    )
    all_values = positives.values.to(wide).split([len(rows) for _, rows in indices])
    noise = row_noise(weights, velocity, generator, first_label)
    buffer = embeddings.new_empty((min(chunk_size, len(weights)), len(embeddings)))
    for start, index, values, ignored_index in zip(
        starts, indices, all_values, ignored_indices, strict=True
    ):
        chunk = weights[start : start + chunk_size]
        chunk_weights = chunk.to(embeddings.dtype)
        scores = torch.mm(chunk_weights, embeddings.T, out=buffer[: len(chunk)]).to(wide)
        if len(ignored_index[0]):  # softplus and sigmoid of -inf are 0: no loss, no gradient
            scores.index_put_(ignored_index, scores.new_full((), -torch.inf))
        if loss is not None:
            loss += _loss_sum(scores, index, values, sample_weight)
        # in float32: bfloat16 has a spacing of 2^-8 below 1 and loses small errors of positives
        error = scores.sigmoid_()
        if len(values):
            error.index_put_(index, error[index] - values)
        if sample_weight is not None:
            error *= sample_weight
        error = error.to(embeddings.dtype)
        add_product_(gradient, error.T, chunk_weights)
        chunk_velocity = None if velocity is None else velocity[start : start + chunk_size]
        of_chunk = noise and noise.from_row(start)
        sgd_update_(chunk, error, embeddings, *sgd, chunk_velocity, of_chunk)
    return gradient, loss


def row_noise(
    weights: Tensor, velocity: Tensor | None, generator: torch.Generator | None, first_label: int
) -> RowNoise | None:
    """What rounds the updates of a step at random, where something is kept in bfloat16."""
    if torch.bfloat16 not in (weights.dtype, None if velocity is None else velocity.dtype):
        return None
    drawn = torch.randint(1 << 62, (1,), device=weights.device, generator=generator)
    return RowNoise(int(drawn), first_label)


def _pairs_with_targets(
    positives: Positives[Tensor], ignored: Pairs[Tensor] | None, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Labels (ascending), rows and targets of positives and of ignored pairs (nan)."""
    labels, rows, values = positives
    if ignored is None:
        return to_device(labels, device), rows, values.float()
    labels, order = torch.cat([labels, ignored.labels]).sort()
    order = to_device(order, device)
    rows = torch.cat([rows, to_device(ignored.rows, device)])[order]
    nan = values.new_full((len(ignored.rows),), torch.nan, dtype=torch.float32)
    return to_device(labels, device), rows, torch.cat([values.float(), nan])[order]


def index_by_chunk(
    labels: Tensor,  # (n_pairs,) ascending, on the CPU
    rows: Tensor,  # (n_pairs,)
    chunk_size: int,
    n_chunks: int,
    device: torch.device,
) -> list[tuple[Tensor, Tensor]]:
    """The index of the pairs among the (label, row) scores of each chunk."""
    sizes = (labels // chunk_size).bincount(minlength=n_chunks).tolist()
    columns = to_device(labels, device) % chunk_size, to_device(rows, device)
    return list(zip(*(column.split(sizes) for column in columns), strict=True))


def _loss_sum(
    scores: Tensor,  # (labels, batch)
    index: tuple[Tensor, Tensor],  # of the positives
    values: Tensor,
    sample_weight: Tensor | None,
) -> Tensor:
    """Binary cross-entropy of a chunk, summed."""
    if sample_weight is None:
        return F.softplus(scores).sum() - (values * scores[index]).sum()
    per_text = F.softplus(scores).sum(0).index_add_(0, index[1], -values * scores[index])
    return per_text @ sample_weight.to(scores.dtype)
