"""Losses over a pool of labels: closed forms against autograd and finite differences."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from naive_losses import COMPETITIVE, EXACT, LOSSES, naive_loss

from skxc._functional._losses import (
    DecoupledSoftmax,
    OneVsAll,
    Softmax,
    SoftTopK,
    gradient_coefficients,
    mask_,
    positive_offsets,
    positive_weights,
    score_gradient_,
    subtract_offsets_,
)


def closed_form(loss, scores, targets, ignored=None, sample_weight=None, block_size=None):
    """Loss and gradient by the blocks of columns that the library works in."""
    rows, labels = targets.nonzero(as_tuple=True)
    is_masked = torch.zeros_like(scores, dtype=torch.bool) if ignored is None else ignored
    if not loss.positives_compete:
        is_masked = is_masked | (targets > 0)
    starts = range(0, scores.shape[1], block_size or scores.shape[1])
    offsets = positive_offsets(loss, rows, len(scores), scores.dtype)

    def masked(start):
        stop = start + (block_size or scores.shape[1])
        block = mask_(
            scores[:, start:stop].clone(), is_masked[:, start:stop].nonzero(as_tuple=True)
        )
        is_here = (labels >= start) & (labels < stop)
        return subtract_offsets_(
            block,
            (rows[is_here], labels[is_here] - start),
            None if offsets is None else offsets[is_here],
        )

    weights, relevances = positive_weights(
        targets[rows, labels], rows, len(scores), scores.dtype, sample_weight
    )
    statistics = loss.row_statistics(lambda: map(masked, starts), relevances)
    coefficients = gradient_coefficients(loss, statistics, scores[rows, labels], weights, rows)
    gradient = []
    for start in starts:
        block = masked(start)
        is_here = (labels >= start) & (labels < start + block.shape[1])
        index = (rows[is_here], labels[is_here] - start)
        of_positives = coefficients.of_positives[is_here]
        gradient.append(
            score_gradient_(loss, block, statistics, coefficients.of_rows, index, of_positives)
        )
    return coefficients.loss, torch.cat(gradient, 1)


def make_batch(batch=7, n_labels=13, seed=0, *, relevance=False, ignores=False, scale=1.0):
    """Scores, relevances and ignored pairs; the third text has no positive."""
    g = torch.Generator().manual_seed(seed)
    scores = scale * torch.randn(batch, n_labels, dtype=torch.float64, generator=g)
    targets = (torch.rand(batch, n_labels, generator=g) < 0.3).double()
    targets[2:3] = 0
    if relevance:
        targets *= torch.rand(batch, n_labels, dtype=torch.float64, generator=g).clamp(min=0.01)
    ignored = (torch.rand(batch, n_labels, generator=g) < 0.2) & (targets == 0)
    return scores, targets, ignored if ignores else None


def gradient_of(loss, scores, *args):
    scores = scores.clone().requires_grad_()
    value = naive_loss(loss, scores, *args)
    return value.detach(), torch.autograd.grad(value, scores)[0]


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("block_size", [1, 5, 13])
@pytest.mark.parametrize("relevance", [False, True])
@pytest.mark.parametrize("ignores", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_and_gradient_equal_autograd(loss, block_size, relevance, ignores, weighted):
    batch = make_batch(relevance=relevance, ignores=ignores)
    sample_weight = torch.linspace(0, 2, 7, dtype=torch.float64) if weighted else None
    got = closed_form(loss, *batch, sample_weight, block_size)
    want = gradient_of(loss, *batch, sample_weight)
    assert want[0] > 0.1
    torch.testing.assert_close(got, want, **EXACT)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_gradient_passes_gradcheck(loss):
    scores, targets, ignored = make_batch(5, 9, relevance=True, ignores=True)

    class ClosedForm(torch.autograd.Function):
        @staticmethod
        def forward(ctx, scores):
            value, gradient = closed_form(loss, scores, targets, ignored)
            ctx.save_for_backward(gradient)
            return value

        @staticmethod
        def backward(ctx, factor):
            return factor * ctx.saved_tensors[0]

    assert torch.autograd.gradcheck(ClosedForm.apply, scores.requires_grad_(), atol=1e-7)


@pytest.mark.parametrize("loss", COMPETITIVE, ids=str)
def test_the_gradient_of_a_text_sums_to_0_if_labels_compete(loss):
    _, gradient = closed_form(loss, *make_batch(ignores=True))
    assert gradient.abs().sum() > 0.5
    torch.testing.assert_close(gradient.sum(1), torch.zeros(7, dtype=torch.float64), **EXACT)


def test_only_plain_softmax_lowers_an_easy_positive():
    scores = torch.tensor([[6.0, 0.0, -1.0, 0.5, 0.2]], dtype=torch.float64)
    targets = torch.tensor([[1.0, 1.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    _, coupled = closed_form(Softmax(), scores, targets)
    _, decoupled = closed_form(DecoupledSoftmax(), scores, targets)
    assert coupled[0, 0] > 0.5
    assert (decoupled[0, :3] <= 0).all()
    assert (decoupled[0, 1:3] < -0.1).all()


def test_the_score_of_a_decoupled_positive_does_not_change_other_gradients():
    scores, targets, _ = make_batch()
    targets[0, 0] = 1
    loss, gradient = closed_form(DecoupledSoftmax(), scores, targets)
    moved = scores.clone()
    moved[0, 0] += 50
    lower_loss, moved_gradient = closed_form(DecoupledSoftmax(), moved, targets)
    others = targets > 0
    others[0, 0] = False
    assert lower_loss < loss
    assert torch.equal(moved_gradient[others], gradient[others])


def test_decoupled_equals_softmax_where_texts_have_one_positive():
    scores, _, ignored = make_batch(ignores=True)
    targets = torch.zeros_like(scores)
    targets[torch.arange(7), (~ignored).double().argmax(1)] = 1
    got = closed_form(DecoupledSoftmax(), scores, targets, ignored)
    torch.testing.assert_close(got, closed_form(Softmax(), scores, targets, ignored), **EXACT)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("score", [-1e30, 0.0, 1e30])
def test_the_scores_of_ignored_pairs_do_not_matter(loss, score):
    scores, targets, ignored = make_batch(ignores=True)
    value, gradient = closed_form(loss, scores, targets, ignored)
    moved = closed_form(loss, scores.masked_fill(ignored, score), targets, ignored)
    assert torch.equal(moved[0], value)
    assert torch.equal(moved[1], gradient)
    assert (gradient[ignored] == 0).all()


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_an_ignored_label_might_as_well_not_exist(loss):
    scores, targets, _ = make_batch()
    targets[:, 4] = targets[:, 12] = 0
    ignored = torch.zeros_like(scores, dtype=torch.bool)
    ignored[:, [4, 12]] = True
    kept = [i for i in range(13) if i not in (4, 12)]
    value, gradient = closed_form(loss, scores, targets, ignored)
    want = closed_form(loss, scores[:, kept], targets[:, kept])
    torch.testing.assert_close((value, gradient[:, kept]), want, **EXACT)


def test_weights_are_shares_of_a_text_and_sample_weight_scales_it():
    values, rows = torch.tensor([0.5, 0.25, 0.1, 0.25]), torch.tensor([3, 3, 0, 3])
    weights, relevances = positive_weights(values, rows, 4, torch.float32)
    torch.testing.assert_close(weights, torch.tensor([0.25, 0.125, 0.5, 0.125]))
    torch.testing.assert_close(relevances, torch.tensor([0.1, 0.0, 0.0, 1.0]))
    sample_weight = torch.tensor([3.0, 100.0, 100.0, 1.0])
    weights, _ = positive_weights(values, rows, 4, torch.float32, sample_weight)
    torch.testing.assert_close(weights, torch.tensor([0.25, 0.125, 1.5, 0.125]))


def test_one_vs_all_is_the_mean_over_batch_and_labels_as_in_the_papers_code():
    scores, targets, _ = make_batch(relevance=True)
    targets[2, 3] = 1.0
    want = F.binary_cross_entropy_with_logits(scores.requires_grad_(), targets)
    want.backward()
    got = closed_form(OneVsAll(), scores.detach(), targets)
    torch.testing.assert_close(got, (want.detach(), scores.grad), **EXACT)


def test_k_of_n_positives_is_the_sum_of_a_rows_relevances_rounded_up():
    scores, _, _ = make_batch(batch=4, n_labels=40)
    targets = torch.zeros(4, 40)
    targets[0, :3] = 1
    targets[1, 5:9] = 0.6
    targets[2, 20:30] = 0.1  # in float32, their sum is more than 1
    targets[3, 39] = 1e-5
    targets = targets.double()
    got = closed_form(SoftTopK(k="n_positives"), scores, targets)
    for i, k in enumerate([3, 3, 1, 1]):
        _, want = closed_form(SoftTopK(k=k), scores[[i]], targets[[i]])
        torch.testing.assert_close(got[1][[i]], want / 4, **EXACT)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_texts_without_a_positive_or_of_no_weight_have_no_gradient(loss):
    scores, targets, _ = make_batch()
    sample_weight = torch.ones(7, dtype=torch.float64)
    sample_weight[5] = 0
    value, gradient = closed_form(loss, scores, targets, None, sample_weight)
    assert (gradient[[2, 5]] == 0).all()
    kept = [0, 1, 3, 4, 6]
    want_value, want = closed_form(loss, scores[kept], targets[kept])
    torch.testing.assert_close(value, want_value * 5 / 6, **EXACT)
    torch.testing.assert_close(gradient[kept], want * 5 / 6, **EXACT)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_a_batch_without_any_positive_has_no_loss_and_no_gradient(loss):
    scores, targets, _ = make_batch()
    value, gradient = closed_form(loss, scores, torch.zeros_like(targets))
    assert value == 0
    assert (gradient == 0).all()


@pytest.mark.parametrize("loss", COMPETITIVE, ids=str)
@pytest.mark.parametrize("has_ignored", [False, True])
def test_a_text_whose_only_label_is_its_positive_has_no_loss_and_no_gradient(loss, has_ignored):
    scores = torch.tensor([[0.7, 3.0], [0.1, 1.0]], dtype=torch.float64)
    targets = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    ignored = torch.tensor([[False, True], [True, True]])
    if not has_ignored:
        scores, targets, ignored = scores[:, :1], targets[:, :1], None
    value, gradient = closed_form(loss, scores, targets, ignored)
    torch.testing.assert_close(value, torch.zeros_like(value), **EXACT)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), **EXACT)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_a_text_with_every_label_positive_equals_autograd(loss):
    scores, targets, _ = make_batch(batch=1)
    targets[:] = 1
    torch.testing.assert_close(
        closed_form(loss, scores, targets), gradient_of(loss, scores, targets), **EXACT
    )


@pytest.mark.parametrize("margin", [0.5, 21.0, 40.0])
def test_a_hard_positive_has_its_loss_to_the_last_digits(margin):
    scores = torch.tensor([[0.0, margin]], dtype=torch.float64)
    value, _ = closed_form(DecoupledSoftmax(), scores, torch.tensor([[1.0, 0.0]]).double())
    assert math.isclose(value.item(), margin + math.log1p(math.exp(-margin)), rel_tol=1e-14)


@pytest.mark.parametrize("score", [0.5, 21.0, 41.0])
def test_a_hard_negative_has_its_one_vs_all_loss_to_the_last_digits(score):
    scores, targets = torch.tensor([[score, 0.0]]).double(), torch.tensor([[0.0, 1.0]]).double()
    value, _ = closed_form(OneVsAll(), scores, targets)
    want = (score + math.log1p(math.exp(-score)) + math.log(2)) / 2
    assert math.isclose(value.item(), want, rel_tol=1e-14)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("scale", [30.0, 1e3])
def test_float32_survives_large_scores(loss, scale):
    scores, targets, ignored = make_batch(scale=scale, ignores=True)
    scores = scores.float()
    value, gradient = closed_form(loss, scores, targets.float(), ignored)
    want = closed_form(loss, scores.double(), targets, ignored)
    assert value.dtype == gradient.dtype == torch.float32
    assert gradient.isfinite().all()
    if scale < 100 or not loss.is_iterative:
        torch.testing.assert_close(value.double(), want[0], rtol=1e-4, atol=0)
        # the scores' own rounding, times alpha
        torch.testing.assert_close(gradient.double(), want[1], rtol=0, atol=1e-6 * scale)
    else:  # between labels further apart than float32's smallest exponent the threshold is free
        torch.testing.assert_close(value.double(), want[0], rtol=0.1, atol=0)
