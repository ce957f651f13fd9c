"""The soft top-k operator: a threshold for each row, at which sigmoids of its scores sum to k.

Method: SoftTop-k of DEXML (Gupta et al., "Dual-Encoders for Extreme Multi-label Classification",
ICLR 2024), after Thomas Ahle (math.stackexchange.com, question 3280757).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from ._reduce import Reduce, as_it_is

# Every call iterates over the scores in blocks of columns, (batch, block) each, read only;
# -inf: not in the pool.
ScoreBlocks = Callable[[], Iterable[Tensor]]

_MAX_PASSES = 16
# In widths of the sigmoid, 1 / alpha: a wider bracket is halved; in a narrower one Newton's steps
# converge.
_NEWTON_WIDTH = 4.0


def soft_top_k_threshold(
    blocks: ScoreBlocks,
    k: float | Tensor,  # (batch,) of the scores' dtype, or one for all rows
    alpha: float,
    reduce_: Reduce = as_it_is,  # where the blocks are a part of the columns: over all parts
) -> tuple[Tensor, Tensor]:
    r"""The root t of :math:`\sum_l \sigma(\alpha (s_l + t)) = k` of every row, and the slope there.

    At most 16 passes over the blocks: one for the bracket ``[-max s + c, -min s + c]`` with ``c =
    logit(k / n) / alpha``, then halving, then Newton. (The paper's code takes -10 and 10 for
    alpha c, which misses the root of a long flat row.) For a row of n <= k labels every probability
    is 1 at the threshold.

    Returns
    -------
    threshold : Tensor of shape (batch,)
        t, finite.
    slope : Tensor of shape (batch,)
        :math:`\sum_l \alpha p_l (1 - p_l)`, the derivative of the sum at t.
    """
    low, high, n_labels = _bracket(blocks, k, alpha, reduce_)
    is_full = n_labels <= k
    threshold = torch.where(is_full, high, (low + high) / 2)
    precision = 2 * torch.finfo(low.dtype).eps
    for _ in range(_MAX_PASSES - 1):
        excess, size, slope = _excess_and_slope(blocks, threshold, k, alpha, reduce_)
        # the rounding of the scores changes the sum by as much
        is_root = (excess.abs() <= precision * (1 + alpha * threshold.abs()) * size) | is_full
        low = torch.where(excess < 0, threshold, low)
        high = torch.where(excess > 0, threshold, high)
        # Newton's step for the logarithm of the sum, which is linear if all probabilities are small
        newton = threshold - torch.log1p(excess / k) * (k + excess) / slope
        is_newton = (newton >= low) & (newton <= high) & ((high - low) * alpha <= _NEWTON_WIDTH)
        # a root found in a wide bracket is kept; other wide brackets are halved
        otherwise = torch.where(is_root, threshold, (low + high) / 2)
        threshold = torch.where(is_newton, newton, otherwise)
        if bool(is_root.all()):  # to wait for a GPU costs less than another pass
            break
    return threshold, slope


def _bracket(
    blocks: ScoreBlocks, k: float | Tensor, alpha: float, reduce_: Reduce
) -> tuple[Tensor, Tensor, Tensor]:
    """The lowest and highest threshold and the number of labels of every row; one pass."""
    lows, highs, counts = zip(*_extremes(blocks()), strict=True)
    n_labels = reduce_(torch.stack(counts).sum(0), "sum")
    smallest = reduce_(torch.stack(lows).amin(0), "min")
    largest = reduce_(torch.stack(highs).amax(0), "max")
    target = n_labels.clamp(max=k)
    others = (n_labels - target).clamp(min=torch.finfo(n_labels.dtype).tiny)  # none: p = 1
    shift = (target.log() - others.log()) / alpha
    return shift - largest, (shift - smallest).masked_fill(n_labels == 0, 0.0), n_labels


def _extremes(blocks: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The smallest and largest score and the number of labels of every row, block by block."""
    for block in blocks:
        is_absent = block == -torch.inf
        n_labels = (block.shape[1] - is_absent.sum(1)).to(block.dtype)
        yield block.masked_fill(is_absent, torch.inf).amin(1), block.amax(1), n_labels


def _excess_and_slope(
    blocks: ScoreBlocks, threshold: Tensor, k: float | Tensor, alpha: float, reduce_: Reduce
) -> tuple[Tensor, Tensor, Tensor]:
    """The sum of probabilities minus k, the size of its terms and its slope, by row; one pass.

    A probability above 1/2 is counted as 1 minus the rest. If k labels stand out, the sum is nearly
    k for a wide range of thresholds, and only the rests show where the root is.
    """
    sums = threshold.new_zeros((4, len(threshold)))
    rests, n_above, rests_above, slope = sums
    for block in blocks():
        logits = torch.add(block, threshold[:, None]).mul_(alpha)
        rest = logits.abs().neg_().sigmoid_()  # min(p, 1 - p)
        total = rest.sum(1)
        rests += total
        slope += total - torch.linalg.vecdot(rest, rest)
        is_above = logits.gt_(0)  # as numbers, in place: comparisons are slow on a CPU
        n_above += is_above.sum(1)
        rests_above += is_above.mul_(rest).sum(1)
    reduce_(sums, "sum")
    n_missing = k - n_above
    return rests - 2 * rests_above - n_missing, rests + n_missing.abs(), slope * alpha
