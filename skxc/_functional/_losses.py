r"""Losses of a text over a pool of labels, in closed form and block by block.

Losses: DEXML (Gupta et al., "Dual-Encoders for Extreme Multi-label Classification", ICLR 2024).
With weights :math:`w_{ip}` over a text's positives :math:`P_i` and scores :math:`s_{il}`, each is

.. math:: \sum_i \sum_{p \in P_i} w_{ip} \, \ell(s_{ip}; Z_i)

where :math:`Z_i` normalises the scores of row i, and :math:`\ell` depends on :math:`s_{ip} - Z_i`
alone. With the errors :math:`e_{ip} = -\partial \ell / \partial s_{ip}` and the gradient of the
normaliser :math:`\pi_{il} = \partial Z_i / \partial s_{il}`, which sums to 1 over the labels (but
for one-vs-all, in which labels do not compete),

.. math:: \partial / \partial s_{il} = \pi_{il} \sum_{p \in P_i} w_{ip} e_{ip}
          - [l \in P_i] \, w_{il} e_{il}

So a loss consists of four parts: which positives compete, the statistics of a row (the normaliser
and what its gradient needs), :math:`(\ell, e)` and :math:`\pi`. Once the statistics are known, the
gradient of each block of columns is computed by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import reduce
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ._pairs import Pairs, Positives
from ._reduce import Reduce, as_it_is, log_sum_exp
from ._soft_top_k import ScoreBlocks, soft_top_k_threshold

# Indices of n scores in a block: (n,) along its first dimension, (n,) along its second.
ScoreIndex = tuple[Tensor, Tensor]


class PoolLoss(Protocol):
    """A loss over the scores of a pool, float32 or wider; -inf: not in the row's pool."""

    positives_compete: ClassVar[bool] = True  # False: the caller takes them out of the pool
    undrawn_compete: ClassVar[bool] = False  # likewise: positives that the caller did not draw
    is_balanced: ClassVar[bool] = False  # True: the caller subtracts `positive_offsets` in the pool
    is_iterative: ClassVar[bool] = False  # True: `row_statistics` reads the blocks several times

    def row_statistics(
        self,
        blocks: ScoreBlocks,
        relevances: Tensor,  # (batch,) of all positives of the row: their sum
        reduce_: Reduce = as_it_is,
    ) -> Tensor:  # (n_statistics, batch)
        """The normaliser of every row, and what its gradient needs."""

    def losses_and_errors(
        self,
        scores: Tensor,  # (n_pairs,) of positives
        statistics: Tensor,  # (n_statistics, n_pairs) of their rows
    ) -> tuple[Tensor, Tensor]:  # (n_pairs,) each
        """The loss and the error of each positive."""

    def normalizer_gradient_(
        self,
        scores: Tensor,  # (batch, block), overwritten
        statistics: Tensor,  # (n_statistics, batch)
        coefficients: Tensor,  # (batch,)
    ) -> Tensor:  # (batch, block)
        """The gradient of the sum of the rows' normalisers, each times its coefficient."""


@dataclass(frozen=True)
class Softmax(PoolLoss):
    r"""Cross-entropy with the softmax over the whole pool.

    :math:`\ell = Z - s_p`, :math:`e = 1`, :math:`\pi_l = e^{s_l - Z}`, Z the log-sum-exp of the
    row. The gradient lowers a positive whose probability exceeds its weight: the paper's diagnosis.
    """

    undrawn_compete: ClassVar[bool] = True

    def row_statistics(
        self, blocks: ScoreBlocks, relevances: Tensor, reduce_: Reduce = as_it_is
    ) -> Tensor:
        """The log-sum-exp of every row."""
        own = reduce(torch.logaddexp, (block.logsumexp(1) for block in blocks()))
        return log_sum_exp(own, reduce_)[None]

    def losses_and_errors(self, scores: Tensor, statistics: Tensor) -> tuple[Tensor, Tensor]:
        """Minus the log-probability of each positive; the error is 1."""
        return statistics[0] - scores, torch.ones_like(scores)

    def normalizer_gradient_(
        self, scores: Tensor, statistics: Tensor, coefficients: Tensor
    ) -> Tensor:
        """The softmax times the coefficients; these join the exponent, which saves a pass."""
        exponent = statistics[0] - coefficients.log()
        # a coefficient of 0, or an empty row (-inf minus -inf): exp(-inf) instead of nan
        exponent = exponent.masked_fill(coefficients == 0, torch.inf)
        return scores.sub_(exponent[:, None]).exp_()


@dataclass(frozen=True)
class DecoupledSoftmax(Softmax):
    r"""Softmax of each positive over itself and the negatives: positives do not compete.

    :math:`\ell = \log(1 + e^{Z - s_p})`, :math:`e = \sigma(Z - s_p)`,
    :math:`\pi_l = e^{s_l - Z}`, Z the log-sum-exp of the row's negatives.
    """

    positives_compete: ClassVar[bool] = False
    undrawn_compete: ClassVar[bool] = False

    def losses_and_errors(self, scores: Tensor, statistics: Tensor) -> tuple[Tensor, Tensor]:
        """Minus the log-probability of each positive, and 1 minus its probability."""
        margins = scores - statistics[0]
        # not softplus, whose error is up to 2e-9 from 20 on
        return -F.logsigmoid(margins), torch.sigmoid(-margins)


@dataclass(frozen=True)
class BalancedSoftmax(Softmax):
    r"""Softmax in which all positives of a row together weigh as much as one label.

    Balanced SupCon of UniDEC (Kharbanda et al., WWW 2025):
    :math:`Z = \log(\sum_n e^{s_n} + \frac{1}{|P|} \sum_p e^{s_p})`, so that the loss can reach 0
    for any number of positives. The caller subtracts :math:`\log |P|` from the positives.
    """

    is_balanced: ClassVar[bool] = True


@dataclass(frozen=True)
class SoftTopK(PoolLoss):
    r"""Log-loss of the soft top-k: probabilities that sum to k over the pool.

    :math:`p_l = \sigma(\alpha (s_l + t))`, t such that :math:`\sum_l p_l = k`;
    :math:`\ell = -\log p_p`, :math:`e = \alpha (1 - p_p)`,
    :math:`Z = -t`; :math:`\pi_l \propto p_l (1 - p_l)` by the implicit function theorem. A row of k
    labels or fewer has all of them in its top k: probabilities are 1, loss and gradient 0.

    k of "n_positives" is each row's own, as in the paper's code: the sum of its positives'
    relevances, rounded up.
    """

    k: float | str = 5
    alpha: float = 1.0

    is_iterative: ClassVar[bool] = True

    def row_statistics(
        self, blocks: ScoreBlocks, relevances: Tensor, reduce_: Reduce = as_it_is
    ) -> Tensor:
        """The threshold of every row, and the slope of the probabilities' sum."""
        # ten times float32's 0.1 is a little more than 1; rows without a positive have no loss
        own = (relevances - 1e-4).ceil().clamp(min=1)
        k = own if isinstance(self.k, str) else self.k
        return torch.stack(soft_top_k_threshold(blocks, k, self.alpha, reduce_))

    def losses_and_errors(self, scores: Tensor, statistics: Tensor) -> tuple[Tensor, Tensor]:
        """Minus the log-probability of each positive, and its derivative."""
        logits = self.alpha * (scores + statistics[0])
        return -F.logsigmoid(logits), self.alpha * torch.sigmoid(-logits)

    def normalizer_gradient_(
        self, scores: Tensor, statistics: Tensor, coefficients: Tensor
    ) -> Tensor:
        """The slopes of the labels' probabilities over their sum, times the coefficients."""
        threshold, slope = statistics
        logits = scores.add_(threshold[:, None]).mul_(self.alpha)
        rest = logits.abs_().neg_().sigmoid_()  # min(p, 1 - p): 1 minus it is exact
        # a slope of 0: every probability is 0 or 1, and the gradient is 0
        per_slope = (self.alpha * coefficients / slope).nan_to_num(nan=0.0, posinf=0.0)
        return rest.mul_(1 - rest).mul_(per_slope[:, None])


@dataclass(frozen=True)
class OneVsAll(PoolLoss):
    r"""Binary cross-entropy, the mean over the labels of a row.

    :math:`Z = \frac{1}{y} \sum_l \log(1 + e^{s_l})`, :math:`\ell = \frac{y}{n} (Z - s_p)`,
    :math:`e = \frac{y}{n}`, :math:`\pi_l = \frac{1}{y} \sigma(s_l)`, where y is the sum of the
    positives' relevances, over which their weights are shares, and n the number of labels. So a
    row's loss is :math:`\frac{1}{n} \sum_l [\log(1 + e^{s_l}) - y_l s_l]`.
    """

    undrawn_compete: ClassVar[bool] = True

    def row_statistics(
        self, blocks: ScoreBlocks, relevances: Tensor, reduce_: Reduce = as_it_is
    ) -> Tensor:
        """The normaliser, relevances per label, and relevances of every row."""
        sums = relevances.new_zeros((2, len(relevances)))
        for block in blocks():
            # torch's own is linear from 20 on, where its error is 2e-9
            sums[0] += F.softplus(block, threshold=40.0).sum(1)
            sums[1] += (block > -torch.inf).sum(1)
        total, n_labels = reduce_(sums, "sum")
        relevances = relevances.clamp(min=torch.finfo(sums.dtype).tiny)
        return torch.stack([total / relevances, relevances / n_labels.clamp(min=1), relevances])

    def losses_and_errors(self, scores: Tensor, statistics: Tensor) -> tuple[Tensor, Tensor]:
        """The mean's part of each positive; the error is the relevances per label."""
        normalizer, errors, _ = statistics
        return errors * (normalizer - scores), errors

    def normalizer_gradient_(
        self, scores: Tensor, statistics: Tensor, coefficients: Tensor
    ) -> Tensor:
        """The probabilities times the coefficients over the row's relevances."""
        return scores.sigmoid_().mul_((coefficients / statistics[2])[:, None])


# by the names that estimators' parameters have for them
LOSSES: Mapping[str, type[PoolLoss]] = {
    "decoupled-softmax": DecoupledSoftmax,
    "softmax": Softmax,
    "balanced-softmax": BalancedSoftmax,
    "soft-top-k": SoftTopK,
    "one-vs-all": OneVsAll,
}


def make_loss(name: str, parameters: Any) -> PoolLoss:
    """The loss of this name; its fields are those of `parameters`."""
    cls: Any = LOSSES[name]
    loss: PoolLoss = cls(**{f.name: getattr(parameters, f.name) for f in fields(cls)})
    return loss


def check_top_k(loss: PoolLoss, n_labels: int, remedy: str) -> None:
    """Raise where a soft top-k would hold all labels."""
    if isinstance(loss, SoftTopK) and not isinstance(loss.k, str) and loss.k >= n_labels:
        raise ValueError(
            f"k={loss.k} of {n_labels} labels: all would be in the soft top k, and nothing would "
            f"be learnt. {remedy}"
        )


class GradientCoefficients(NamedTuple):
    """The mean loss of a batch, and the coefficients of its gradient."""

    loss: Tensor  # () weighted sum over the positives
    of_positives: Tensor  # (n_pairs,) w e: minus the gradient by each positive's own score
    of_rows: Tensor  # (batch,) their sum over a row: the gradient by its normaliser


def positive_weights(
    values: Tensor,  # (n_pairs,) relevances of the positives
    rows: Tensor,  # (n_pairs,)
    batch_size: int,
    dtype: torch.dtype,
    sample_weight: Tensor | None = None,  # (batch,) not negative
    reduce_: Reduce = as_it_is,  # over other parts of the pool, with other positives
) -> tuple[Tensor, Tensor]:  # (n_pairs,), (batch,)
    """The positives' weights in the mean loss over the texts that have one; relevances by row.

    The weights of a text are its relevances over their sum: 1 / |P| each if all are 1, as in the
    paper. (Its code multiplies by the relevance and divides by |P|: low relevances make a text
    count less.) `sample_weight` multiplies them; the mean is still over the number of texts.
    """
    values = values.to(dtype)
    sums = reduce_(row_sums(values, rows, batch_size), "sum")
    n_texts = (sums > 0).sum().clamp(min=1)
    # a sum of 0: all of a label's texts have weight 0
    weights = values / sums[rows].clamp(min=torch.finfo(dtype).tiny) / n_texts
    if sample_weight is not None:
        weights = weights * sample_weight[rows].to(dtype)
    return weights, sums


def gradient_coefficients(
    loss: PoolLoss,
    statistics: Tensor,  # (n_statistics, batch)
    scores: Tensor,  # (n_pairs,) of the positives
    weights: Tensor,  # (n_pairs,) theirs
    rows: Tensor,  # (n_pairs,)
    reduce_: Reduce = as_it_is,
) -> GradientCoefficients:
    """The mean loss and the coefficients of its gradient."""
    losses, errors = loss.losses_and_errors(scores, statistics[:, rows])
    of_positives = weights * errors
    of_rows = reduce_(row_sums(of_positives, rows, statistics.shape[1]), "sum")
    return GradientCoefficients(reduce_(weights @ losses, "sum"), of_positives, of_rows)


def mask_(scores: Tensor, index: ScoreIndex) -> Tensor:
    """Take scores out of their rows' pools, in place."""
    return scores.index_put_(index, scores.new_full((), -torch.inf))


def masked_pairs(
    positives: Positives[Tensor], ignored: Pairs[Tensor] | None, loss: PoolLoss
) -> Pairs[Tensor]:
    """The pairs outside of the pool: ignored ones, and positives that do not compete."""
    n_masked = 0 if loss.positives_compete else len(positives.rows)
    own = Pairs(positives.labels[:n_masked], positives.rows[:n_masked])
    if ignored is None:
        return own
    return Pairs(*(torch.cat(parts) for parts in zip(own, ignored, strict=True)))


def positive_offsets(
    loss: PoolLoss,
    rows: Tensor,
    batch_size: int,
    dtype: torch.dtype,
    reduce_: Reduce = as_it_is,
) -> Tensor | None:  # (n_pairs,)
    """What a balanced loss subtracts from the positives' scores in the pool: log |P|."""
    if not loss.is_balanced:
        return None
    ones = torch.ones(len(rows), dtype=dtype, device=rows.device)
    return reduce_(row_sums(ones, rows, batch_size), "sum").log()[rows]


def subtract_offsets_(scores: Tensor, index: ScoreIndex, offsets: Tensor | None) -> Tensor:
    """Subtract the offsets, if any, from the positives' scores, in place."""
    return scores if offsets is None else scores.index_put_(index, -offsets, accumulate=True)


def score_gradient_(
    loss: PoolLoss,
    scores: Tensor,  # (batch, block), masked, offsets subtracted; overwritten
    statistics: Tensor,  # (n_statistics, batch)
    of_rows: Tensor,  # (batch,) coefficients
    index: ScoreIndex,  # of the block's positives
    of_positives: Tensor,  # (n_pairs,) their coefficients
) -> Tensor:  # (batch, block)
    """The gradient of the mean loss by a block of scores, in the scores' memory."""
    gradient = loss.normalizer_gradient_(scores, statistics, of_rows)
    return gradient.index_put_(index, -of_positives, accumulate=True)


def row_sums(values: Tensor, rows: Tensor, batch_size: int) -> Tensor:
    """Sums over the pairs of each row; on a GPU index_add_ would not be deterministic."""
    return values.new_zeros(batch_size).index_put_((rows,), values, accumulate=True)
