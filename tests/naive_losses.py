"""The losses by the papers' formulas, slow and independent of the library's closed forms."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from scipy.optimize import brentq

from skxc._functional._losses import (
    BalancedSoftmax,
    DecoupledSoftmax,
    OneVsAll,
    Softmax,
    SoftTopK,
)

# of one distribution over a row's labels: its gradient sums to 0
COMPETITIVE = [
    DecoupledSoftmax(),
    Softmax(),
    BalancedSoftmax(),
    SoftTopK(k=3, alpha=2.0),
    SoftTopK(k=1, alpha=1.0),
    SoftTopK(k=4.5, alpha=5.0),
    SoftTopK(k="n_positives", alpha=1.5),
]
LOSSES = [*COMPETITIVE, OneVsAll()]
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def naive_loss(loss, scores, targets, ignored=None, sample_weight=None):
    """The paper's formulas, text by text and positive by positive, for autograd."""
    losses = []
    for i, row in enumerate(scores):
        if not targets[i].any():
            continue
        is_pooled = torch.ones_like(row, dtype=torch.bool) if ignored is None else ~ignored[i]
        weight = 1.0 if sample_weight is None else sample_weight[i]
        losses.append(weight * naive_text_loss(loss, row, targets[i], is_pooled))
    return sum(losses) / max(len(losses), 1) + 0 * scores.sum()


def naive_text_loss(loss, row, targets, is_pooled):
    if isinstance(loss, OneVsAll):
        terms = F.binary_cross_entropy_with_logits(row, targets.to(row), reduction="none")
        return terms[is_pooled].mean()
    log_proba, shares = naive_log_proba(loss, row, targets, is_pooled), targets / targets.sum()
    return sum(-shares[p] * log_proba(p) for p in targets.nonzero().squeeze(1).tolist())


def naive_log_proba(loss, row, targets, is_pooled):
    is_positive = targets > 0
    if isinstance(loss, SoftTopK):
        own = math.ceil(round(targets.sum().item(), 5))
        k = own if loss.k == "n_positives" else loss.k
        threshold = naive_threshold(row[is_pooled], k, loss.alpha)
        return lambda p: torch.nn.functional.logsigmoid(loss.alpha * (row[p] + threshold))
    if isinstance(loss, BalancedSoftmax):  # all positives together weigh as one label
        shares = torch.where(is_positive, 1 / is_positive.sum().to(row.dtype), 1.0)
        rest = torch.logsumexp((row + shares.log())[is_pooled], 0)
        return lambda p: row[p] - rest
    rivals = is_pooled & ~is_positive if isinstance(loss, DecoupledSoftmax) else is_pooled

    def log_softmax(p):
        is_in = rivals.clone()
        is_in[p] = True
        return row[p] - torch.logsumexp(row[is_in], 0)

    return log_softmax


def naive_threshold(scores, k, alpha):
    """The root by another method; one Newton step from it carries the gradient."""
    if len(scores) <= k:
        return torch.tensor(torch.inf, dtype=scores.dtype)

    def excess(x, t):
        z = alpha * (x + t)  # written so that it is exact where k labels stand out
        rest = torch.sigmoid(z[z <= 0]).sum() - torch.sigmoid(-z[z > 0]).sum()
        return rest + ((z > 0).double().sum() - k)

    x = scores.detach()
    lowest, highest = -x.max().item() - 100, -x.min().item() + 100
    root = brentq(lambda t: excess(x, t).item(), lowest, highest, xtol=1e-15, rtol=1e-15)
    proba = torch.sigmoid(alpha * (x + root))
    slope = (alpha * proba * torch.sigmoid(-alpha * (x + root))).sum()
    return root - excess(scores, root) / slope
