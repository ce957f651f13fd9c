r"""Losses of a text over a pool of labels, in closed form and block by block.

Losses: DEXML (Gupta et al., "Dual-Encoders for Extreme Multi-label Classification", ICLR 2024).
With weights :math:`w_{ip}` over a text's positives :math:`P_i` and scores :math:`s_{il}`, all are

.. math:: \sum_i \sum_{p \in P_i} w_{ip} \, \ell(s_{ip}; \text{statistics of row } i)

and their gradients are all one tug-of-war. A positive is pulled up by its error :math:`e_{ip}`; the
same force pushes the row down, spread by a distribution :math:`\pi_i` that sums to 1 over labels:

.. math:: \partial / \partial s_{il} = \pi_{il} \sum_{p \in P_i} w_{ip} e_{ip}
          - [l \in P_i] \, w_{il} e_{il}

So a loss is four things: whether positives compete, a row's statistics, :math:`(\ell, e)` and
:math:`\pi`. Given the statistics, each block of columns has its gradient by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import ClassVar, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ._pairs import Pairs, Positives
from ._soft_top_k import ScoreBlocks, soft_top_k_threshold

Places = tuple[Tensor, Tensor]  # (n,) rows and (n,) columns of a block of scores


class PoolLoss(Protocol):
    """A loss over the scores of a pool, float32 or wider; -inf: not in the row's pool."""

    positives_compete: ClassVar[bool]  # False: mask them before `row_statistics` and `push_`
    is_balanced: ClassVar[bool]  # all positives of a row weigh as one: lower each by log |P|
    is_iterative: ClassVar[bool]  # `row_statistics` goes through the blocks several times

    def row_statistics(self, blocks: ScoreBlocks) -> Tensor:  # (n_statistics, batch)
        """What the loss must know of a whole row."""

    def losses_and_errors(
        self,
        scores: Tensor,  # (n_pairs,) of positives
        statistics: Tensor,  # (n_statistics, n_pairs) of their rows
    ) -> tuple[Tensor, Tensor]:  # (n_pairs,) each
        """The loss of each positive, and the error that pulls its own score up."""

    def push_(
        self,
        scores: Tensor,  # (batch, block), overwritten
        statistics: Tensor,  # (n_statistics, batch)
        force: Tensor,  # (batch,)
    ) -> Tensor:  # (batch, block)
        """The force on every row, spread over its labels."""


@dataclass(frozen=True)
class Softmax:
    r"""Cross-entropy with the softmax over the whole pool.

    :math:`\ell = Z - s_p`, :math:`e = 1`, :math:`\pi_l = e^{s_l - Z}`, Z the log-sum-exp of the
    row. A positive whose probability exceeds its weight is pushed down: the paper's diagnosis.
    """

    positives_compete: ClassVar[bool] = True
    is_balanced: ClassVar[bool] = False
    is_iterative: ClassVar[bool] = False

    def row_statistics(self, blocks: ScoreBlocks) -> Tensor:
        """The log-sum-exp of every row."""
        return reduce(torch.logaddexp, (block.logsumexp(1) for block in blocks()))[None]

    def losses_and_errors(self, scores: Tensor, statistics: Tensor) -> tuple[Tensor, Tensor]:
        """Minus the log-probability of each positive; the error is 1."""
        return statistics[0] - scores, torch.ones_like(scores)

    def push_(self, scores: Tensor, statistics: Tensor, force: Tensor) -> Tensor:
        """In proportion to the softmax; the force joins the exponent, which saves a pass."""
        exponent = statistics[0] - force.log()
        # no force, or an empty row (-inf minus -inf): exp(-inf) rather than nan
        exponent = exponent.masked_fill(force == 0, torch.inf)
        return scores.sub_(exponent[:, None]).exp_()


@dataclass(frozen=True)
class DecoupledSoftmax(Softmax):
    r"""Softmax of each positive against the negatives alone: positives do not compete.

    :math:`\ell = \log(1 + e^{Z - s_p})`, :math:`e = \sigma(Z - s_p)`,
    :math:`\pi_l = e^{s_l - Z}`, Z the log-sum-exp of the row's negatives.
    """

    positives_compete: ClassVar[bool] = False

    def losses_and_errors(self, scores: Tensor, statistics: Tensor) -> tuple[Tensor, Tensor]:
        """Minus the log-probability of each positive, and the probability's distance from 1."""
        margins = scores - statistics[0]
        # not softplus, which is off by up to 2e-9 from 20 on
        return -F.logsigmoid(margins), torch.sigmoid(-margins)


@dataclass(frozen=True)
class BalancedSoftmax(Softmax):
    r"""Softmax in which a row's positives together weigh as much as one label.

    Of UniDEC (Kharbanda et al., WWW 2025), there balanced SupCon: Z is
    :math:`\log(\sum_n e^{s_n} + \frac{1}{|P|} \sum_p e^{s_p})`, so that the loss can reach 0
    however many positives there are. The caller lowers the positives by :math:`\log |P|`.
    """

    is_balanced: ClassVar[bool] = True


@dataclass(frozen=True)
class SoftTopK:
    r"""Log-loss of the soft top-k: probabilities that sum to k over the pool.

    :math:`p_l = \sigma(\alpha (s_l + t))`, t such that :math:`\sum_l p_l = k`;
    :math:`\ell = -\log p_p`, :math:`e = \alpha (1 - p_p)`,
    :math:`\pi_l \propto p_l (1 - p_l)` by the implicit function theorem. Where a row has k labels
    or fewer, all are in the top k: probabilities are 1, loss and gradient 0.
    """

    k: float = 5
    alpha: float = 2.0

    positives_compete: ClassVar[bool] = True
    is_balanced: ClassVar[bool] = False
    is_iterative: ClassVar[bool] = True

    def row_statistics(self, blocks: ScoreBlocks) -> Tensor:
        """The threshold of every row, and the slope of the probabilities' sum."""
        return torch.stack(soft_top_k_threshold(blocks, self.k, self.alpha))

    def losses_and_errors(self, scores: Tensor, statistics: Tensor) -> tuple[Tensor, Tensor]:
        """Minus the log-probability of each positive, and its derivative."""
        logits = self.alpha * (scores + statistics[0])
        return -F.logsigmoid(logits), self.alpha * torch.sigmoid(-logits)

    def push_(self, scores: Tensor, statistics: Tensor, force: Tensor) -> Tensor:
        """In proportion to the slope of each label's probability."""
        threshold, slope = statistics
        logits = scores.add_(threshold[:, None]).mul_(self.alpha)
        rest = logits.abs_().neg_().sigmoid_()  # min(p, 1 - p): 1 minus itself loses nothing
        # a slope of 0: every probability is 0 or 1, and nothing moves
        per_slope = (self.alpha * force / slope).nan_to_num(nan=0.0, posinf=0.0)
        return rest.mul_(1 - rest).mul_(per_slope[:, None])


class Pull(NamedTuple):
    """The forces of a batch."""

    loss: Tensor  # () weighted sum over the positives
    of_pairs: Tensor  # (n_pairs,) up, on each positive
    of_rows: Tensor  # (batch,) down, on the row


def positive_weights(
    values: Tensor,  # (n_pairs,) relevances of the positives
    rows: Tensor,  # (n_pairs,)
    batch_size: int,
    dtype: torch.dtype,
    sample_weight: Tensor | None = None,  # (batch,) not negative
) -> Tensor:  # (n_pairs,)
    """Weights of the positives in the mean loss over the texts that have one.

    Within a text they are the relevances over their sum: 1 / |P| each where relevances are 1, as in
    the paper; the paper's code multiplies by the relevance and divides by |P|, by which a text of
    low relevances would count less. `sample_weight` multiplies a text's share; the divisor stays
    the number of texts.
    """
    values = values.to(dtype)
    sums = row_sums(values, rows, batch_size)
    n_texts = (sums > 0).sum().clamp(min=1)
    # a sum of 0: all of a label's texts have weight 0
    weights = values / sums[rows].clamp(min=torch.finfo(dtype).tiny) / n_texts
    return weights if sample_weight is None else weights * sample_weight[rows].to(dtype)


def pull(
    loss: PoolLoss,
    statistics: Tensor,  # (n_statistics, batch)
    scores: Tensor,  # (n_pairs,) of the positives
    rows: Tensor,  # (n_pairs,)
    weights: Tensor,  # (n_pairs,)
) -> Pull:
    """The mean loss and the forces that its gradient is made of."""
    losses, errors = loss.losses_and_errors(scores, statistics[:, rows])
    of_pairs = weights * errors
    return Pull(weights @ losses, of_pairs, row_sums(of_pairs, rows, statistics.shape[1]))


def mask_(scores: Tensor, places: Places) -> Tensor:
    """Take the pairs out of their rows' pools, in place."""
    return scores.index_put_(places, scores.new_full((), -torch.inf))


def masked_pairs(
    positives: Positives[Tensor], ignored: Pairs[Tensor] | None, loss: PoolLoss
) -> Pairs[Tensor]:
    """The pairs outside their rows' pools: the ignored, and positives that do not compete."""
    parts = [] if loss.positives_compete else [(positives.labels, positives.rows)]
    parts += [] if ignored is None else [(ignored.labels, ignored.rows)]
    if not parts:
        return Pairs(positives.labels[:0], positives.rows[:0])
    return Pairs(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def handicaps(
    loss: PoolLoss, rows: Tensor, batch_size: int, dtype: torch.dtype
) -> Tensor | None:  # (n_pairs,)
    """What is taken off the positives' scores before they compete, if anything."""
    if not loss.is_balanced:
        return None
    ones = torch.ones(len(rows), dtype=dtype, device=rows.device)
    return row_sums(ones, rows, batch_size).log()[rows]


def lower_(scores: Tensor, places: Places, amounts: Tensor | None) -> Tensor:
    """Take the handicaps off the positives' scores, in place."""
    return scores if amounts is None else scores.index_put_(places, -amounts, accumulate=True)


def score_gradient_(
    loss: PoolLoss,
    scores: Tensor,  # (batch, block), masked; overwritten
    statistics: Tensor,  # (n_statistics, batch)
    force: Tensor,  # (batch,)
    places: Places,  # the block's positives
    pulls: Tensor,  # (n_pairs,) theirs
) -> Tensor:  # (batch, block)
    """The gradient of the mean loss by a block of scores, in the scores' memory."""
    return loss.push_(scores, statistics, force).index_put_(places, -pulls, accumulate=True)


def row_sums(values: Tensor, rows: Tensor, batch_size: int) -> Tensor:
    """Sums over each row's pairs; index_put_, since index_add_ is not deterministic on a GPU."""
    return values.new_zeros(batch_size).index_put_((rows,), values, accumulate=True)
