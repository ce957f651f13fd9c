"""The two-pass step and the dense pool against autograd through one graph."""

from __future__ import annotations

import math
import weakref
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from loss_problem import SOFTMAXES, TEMPERATURE, Problem
from naive_losses import COMPETITIVE, EXACT, LOSSES, naive_loss
from torch import nn

from skxc._functional._grad_cache import (
    CachedEncoding,
    LabelChunk,
    two_pass_step,
)
from skxc._functional._losses import DecoupledSoftmax, OneVsAll, Softmax, SoftTopK
from skxc._functional._pairs import Pairs, Positives
from skxc._functional._pool_step import dense_pool_step, one_vs_all_pool_step, softmax_pool_step

two_way = partial(softmax_pool_step, both_directions=True)


@pytest.mark.parametrize("loss", SOFTMAXES, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignores", [False, True])
def test_the_two_way_loss_is_the_mean_over_both_directions(loss, weighted, ignores):
    problem = Problem(relevance=True)
    sample_weight = torch.linspace(0.5, 2, 5, dtype=torch.float64) if weighted else None
    texts = problem.texts.clone().requires_grad_()
    labels = problem.normal(problem.n_labels, 4).requires_grad_()
    scores = texts @ labels.T / TEMPERATURE
    is_ignored = problem.is_ignored if ignores else None
    # within a label, a text counts by its relevance and its weight
    targets = problem.targets if sample_weight is None else problem.targets * sample_weight[:, None]
    want = naive_loss(loss, scores, problem.targets, is_ignored, sample_weight) / 2
    want = want + naive_loss(loss, scores.T, targets.T, None if not ignores else is_ignored.T) / 2
    want.backward()
    text_gradient, label_gradient, value, _ = two_way(
        texts, labels, problem.positives(), loss,
        temperature=TEMPERATURE, ignored=problem.ignored() if ignores else None,
        sample_weight=sample_weight,
    )  # fmt: skip
    torch.testing.assert_close(value, want.detach(), **EXACT)
    torch.testing.assert_close(text_gradient, texts.grad, **EXACT)
    torch.testing.assert_close(label_gradient, labels.grad, **EXACT)


@pytest.mark.parametrize("loss", SOFTMAXES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gap", [1, 30, 200, 2000])
def test_scores_that_are_far_apart_give_finite_two_way_gradients(loss, dtype, gap):
    """One matrix of exponentials serves all texts: those of a label's scores may underflow."""
    texts = torch.tensor([[gap, 0.0], [0.0, 1.0], [-1.0, -gap]], dtype=dtype)
    labels = torch.tensor([[1.0, 0.0], [0.5, 0.1], [0.0, 1.0], [-1.0, 0.0]], dtype=dtype)
    positives = Positives(torch.tensor([1, 2, 0]), torch.tensor([0, 1, 2]), torch.ones(3))
    got = two_way(texts, labels, positives, loss, temperature=1.0)
    targets = torch.zeros(3, 4).index_put_((positives.rows, positives.labels), torch.ones(3))

    def gradient(weight_of_labels):
        scores = (texts.double() @ labels.double().T).requires_grad_()
        value = naive_loss(loss, scores, targets)
        value = value + weight_of_labels * naive_loss(loss, scores.T, targets.T)
        return torch.autograd.grad(value / 2, scores)[0].T

    assert all(part.isfinite().all() for part in got)
    if 2 * gap < -math.log(torch.finfo(dtype).tiny):
        torch.testing.assert_close(got.scores.double(), gradient(1.0), rtol=1e-5, atol=1e-7)
    else:  # the texts' own loss is still exact; the gradient of a label stays within its share
        by_label = got.scores.double() - gradient(0.0)
        assert by_label.clamp(max=0).sum(1).min() >= -1 / 6 - 1e-6
        assert by_label.clamp(min=0).sum(1).max() <= 1 / 6 + 1e-6


@pytest.mark.parametrize("loss", SOFTMAXES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("top", [20, 100, 1000])
def test_a_positive_far_above_all_leaves_the_texts_loss_exact(loss, dtype, top):
    """In the decoupled softmax it does not compete: it must not scale the exponentials."""
    texts = torch.tensor([[1.0], [0.5]], dtype=dtype)
    labels = torch.tensor([[float(top)], [0.0], [-1.0], [0.5]], dtype=dtype)
    positives = Positives(torch.tensor([0, 1, 3]), torch.tensor([0, 0, 1]), torch.ones(3))
    weights = torch.tensor([2.0, 1.0], dtype=torch.float64)
    got = softmax_pool_step(
        texts, labels, positives, loss, temperature=1.0, sample_weight=weights.to(dtype)
    )
    scores = (texts.double() @ labels.double().T).requires_grad_()
    targets = torch.zeros(2, 4).index_put_((positives.rows, positives.labels), torch.ones(3))
    want = naive_loss(loss, scores, targets, None, weights)
    want.backward()
    torch.testing.assert_close(got.loss.double(), want.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(got.scores.double(), scores.grad.T, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("top", [10.0, 100.0, 1000.0])
def test_a_text_without_a_negative_has_no_two_way_gradient(top):
    positives = Positives(torch.tensor([0, 1, 0]), torch.tensor([0, 0, 1]), torch.ones(3))
    ignored = Pairs(torch.tensor([1]), torch.tensor([1]))
    texts, labels = torch.eye(2), torch.eye(2)
    got = two_way(
        texts, labels, positives, DecoupledSoftmax(), temperature=1 / top, ignored=ignored
    )
    for part in got:
        torch.testing.assert_close(part, torch.zeros_like(part), rtol=0, atol=1e-30)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("size", [1, 3, 8, 17])
@pytest.mark.parametrize("relevance", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignores", [False, True])
def test_two_passes_equal_one_graph_with_dropout_on(loss, size, relevance, weighted, ignores):
    problem = Problem(relevance=relevance)
    chunks = problem.chunks(size)
    sample_weight = torch.linspace(0.5, 2, 5, dtype=torch.float64) if weighted else None
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        want = problem.by_autograd(loss, chunks, sample_weight, ignores)
        torch.manual_seed(3)
        got = problem.by_two_passes(loss, chunks, sample_weight, ignores)
        torch.manual_seed(4)
        other = problem.by_two_passes(loss, chunks, sample_weight, ignores)
    torch.testing.assert_close(got, want, **EXACT)
    assert (other[0] - got[0]).abs().max() > 1e-3  # dropout is on


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("size", [1, 5, 17])
def test_chunks_of_any_labels_in_any_order_with_dropout_on(loss, size):
    problem = Problem()
    chunks = problem.chunks(size, torch.randperm(17, generator=problem.g))
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        want = problem.by_autograd(loss, chunks)
        torch.manual_seed(3)
        torch.testing.assert_close(problem.by_two_passes(loss, chunks), want, **EXACT)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_neither_chunk_size_nor_order_matter_without_dropout(loss):
    problem = Problem(dropout=0.0)
    want = problem.by_two_passes(loss, problem.chunks(17))
    for size in (1, 2, 7):
        order = torch.randperm(17, generator=problem.g)
        got = problem.by_two_passes(loss, problem.chunks(size, order))
        torch.testing.assert_close(got, want, **EXACT)


@pytest.mark.parametrize("label", [2, 3, 5, 6, 8])
def test_a_positive_at_either_end_of_a_chunk_counts(label):
    problem = Problem(n_labels=9, batch=2, dropout=0.0)
    problem.targets.zero_()
    problem.targets[1, label] = 1
    problem.is_ignored.zero_()
    chunks = problem.chunks(3)
    got = problem.by_two_passes(DecoupledSoftmax(), chunks)
    torch.testing.assert_close(got, problem.by_autograd(DecoupledSoftmax(), chunks), **EXACT)
    assert got[0][1].abs().max() > 1e-3


@pytest.mark.parametrize("loss", COMPETITIVE, ids=str)
@pytest.mark.parametrize("batch", [1, 4])
def test_one_label_has_none_to_compete_with(loss, batch):
    problem = Problem(n_labels=1, batch=batch, dropout=0.0)
    got = problem.by_two_passes(loss, problem.chunks(3))
    zeros = [torch.zeros_like(g) for g in got[2]]
    want = torch.zeros_like(problem.texts), torch.zeros_like(got[1]), zeros
    torch.testing.assert_close(got, want, **EXACT)


@pytest.mark.parametrize("batch", [1, 4])
def test_one_label_alone_is_learnt_one_vs_all(batch):
    problem = Problem(n_labels=1, batch=batch, dropout=0.0)
    chunks = problem.chunks(3)
    want = problem.by_autograd(OneVsAll(), chunks)
    torch.testing.assert_close(problem.by_two_passes(OneVsAll(), chunks), want, **EXACT)
    assert want[1] > 0.01


def test_a_batch_without_positives_has_no_gradient():
    problem = Problem()
    problem.targets.zero_()
    gradient, value, gradients = problem.by_two_passes(DecoupledSoftmax(), problem.chunks(4))
    assert value == 0
    assert all((g == 0).all() for g in [gradient, *gradients])


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_labels_outside_of_the_chunks_are_not_in_the_pool(loss):
    problem = Problem(dropout=0.0)
    pool = torch.tensor([11, 3, 16, 0, 8, 2, 14, 5])
    got = problem.by_two_passes(loss, problem.chunks(3, pool))
    problem.features, problem.n_labels = problem.features[pool], len(pool)
    problem.targets, problem.is_ignored = problem.targets[:, pool], problem.is_ignored[:, pool]
    torch.testing.assert_close(got, problem.by_two_passes(loss, problem.chunks(8)), **EXACT)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_dense_pool_of_all_labels_equals_two_passes(loss, weighted):
    problem = Problem(dropout=0.0, relevance=True)
    sample_weight = torch.linspace(0, 2, 5, dtype=torch.float64) if weighted else None
    want = problem.by_two_passes(loss, problem.chunks(4), sample_weight)
    problem.net.zero_grad()
    labels = problem.encode(problem.features)
    gradient, label_gradient, value, _ = dense_pool_step(
        problem.texts, labels, problem.positives(), loss,
        temperature=TEMPERATURE, ignored=problem.ignored(), sample_weight=sample_weight,
    )  # fmt: skip
    labels.backward(label_gradient)
    torch.testing.assert_close((gradient, value, problem.gradients()), want, **EXACT)


def test_pairs_of_a_dense_pool_come_in_any_order():
    problem = Problem()
    labels, positives, ignored = problem.normal(17, 4), problem.positives(), problem.ignored()
    order = torch.randperm(len(positives.rows), generator=problem.g)
    shuffled = Positives(*(part[order] for part in positives))
    flipped = Pairs(ignored.labels.flip(0), ignored.rows.flip(0))
    want, got = (
        dense_pool_step(
            problem.texts, labels, pairs, Softmax(), temperature=TEMPERATURE, ignored=without
        )
        for pairs, without in ((positives, ignored), (shuffled, flipped))
    )
    torch.testing.assert_close(got, want, **EXACT)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_every_chunk_is_encoded_once_without_and_once_with_a_graph(loss):
    problem = Problem()
    problem.by_two_passes(loss, problem.chunks(7))
    sizes = [7, 7, 3]
    assert problem.n_encoded == [(n, False) for n in sizes] + [(n, True) for n in sizes]


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_no_graph_or_score_outlives_its_chunk(loss):
    problem = Problem()
    n_alive = []
    alive = weakref.WeakSet()

    def encode(features):
        n_alive.append(len(alive))
        embeddings = problem.encode(features)
        if embeddings.requires_grad:
            alive.add(embeddings)
        return embeddings

    two_pass_step(
        encode, problem.chunks(2), problem.texts, problem.positives(), loss,
        temperature=TEMPERATURE,
    )  # fmt: skip
    assert n_alive == [0] * 18


def test_the_random_state_afterwards_is_what_one_pass_leaves():
    problem = Problem()
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        problem.encode_dense(problem.chunks(5))
        want = torch.get_rng_state()
        torch.manual_seed(3)
        problem.by_two_passes(DecoupledSoftmax(), problem.chunks(5))
        assert torch.equal(torch.get_rng_state(), want)
        problem.encode_dense(problem.chunks(5))
        assert not torch.equal(torch.get_rng_state(), want)


def test_gradients_add_to_those_that_are_there():
    problem = Problem(dropout=0.0)
    _, _, want = problem.by_two_passes(Softmax(), problem.chunks(5))
    two_pass_step(
        problem.encode, problem.chunks(5), problem.texts, problem.positives(), Softmax(),
        temperature=TEMPERATURE, ignored=problem.ignored(),
    )  # fmt: skip
    torch.testing.assert_close(problem.gradients(), [2 * g for g in want], **EXACT)


def test_a_frozen_encoder_still_gives_the_texts_their_gradient():
    problem = Problem(dropout=0.0)
    want, *_ = problem.by_two_passes(DecoupledSoftmax(), problem.chunks(5))
    problem.net.zero_grad()
    problem.net.requires_grad_(False)
    got, _ = two_pass_step(
        problem.encode, problem.chunks(5), problem.texts, problem.positives(),
        DecoupledSoftmax(), temperature=TEMPERATURE, ignored=problem.ignored(),
    )  # fmt: skip
    torch.testing.assert_close(got, want, **EXACT)
    assert all(p.grad is None for p in problem.net.parameters())


def test_row_sparse_gradients_add_up_over_the_chunks():
    problem = Problem(dropout=0.0)
    words = torch.randint(9, (17, 3), generator=problem.g)
    chunks = [LabelChunk(words[i : i + 4], slice(i, min(i + 4, 17))) for i in range(0, 17, 4)]
    table, gradients = problem.normal(9, 4), []
    for is_sparse in (False, True):
        bag = nn.EmbeddingBag(9, 4, mode="sum", sparse=is_sparse, _weight=table.clone())
        two_pass_step(
            bag, chunks, problem.texts, problem.positives(), DecoupledSoftmax(),
            temperature=TEMPERATURE,
        )  # fmt: skip
        gradients.append(bag.weight.grad)
    assert gradients[1].is_sparse
    torch.testing.assert_close(gradients[1].to_dense(), gradients[0], **EXACT)


@pytest.mark.parametrize(
    "loss", [DecoupledSoftmax(), Softmax(), SoftTopK(k=3), OneVsAll()], ids=str
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precisions_follow_float64_and_return_float32(loss, dtype):
    problem = Problem(dropout=0.0)
    want = problem.by_two_passes(loss, problem.chunks(5))
    problem.net.to(dtype)
    problem.features, problem.texts = problem.features.to(dtype), problem.texts.to(dtype)
    gradient, value, gradients = problem.by_two_passes(loss, problem.chunks(5))
    assert gradient.dtype == value.dtype == torch.float32
    tolerance = 50 * torch.finfo(dtype).eps
    for got, exact in zip([gradient, *gradients], [want[0], *want[2]], strict=True):
        assert (got.double() - exact).abs().max() < tolerance * exact.abs().max()


def test_an_encoder_under_autocast_is_multiplied_in_the_texts_precision():
    problem = Problem(dropout=0.0)
    want = problem.by_two_passes(DecoupledSoftmax(), problem.chunks(5))
    problem.net.float()
    problem.features, problem.texts = problem.features.float(), problem.texts.float()
    exact_encode = problem.encode

    def encode(features):
        with torch.autocast("cpu", torch.bfloat16):
            return exact_encode(features).bfloat16()

    problem.encode = encode
    gradient, value, gradients = problem.by_two_passes(DecoupledSoftmax(), problem.chunks(5))
    assert gradient.dtype == torch.float32
    for got, exact in zip([gradient, *gradients], [want[0], *want[2]], strict=True):
        assert (got.double() - exact).abs().max() < 0.1 * exact.abs().max()
    assert abs(value.item() - want[1].item()) < 0.05


# ----------------------------------------------------------------------------------- CachedEncoding
def cached(problem, sizes):
    """The labels encoded in chunks of these sizes, of labels in any order."""
    rows = torch.randperm(problem.n_labels, generator=problem.g).split(sizes)
    chunks = [(problem.features[part], part) for part in rows]
    return CachedEncoding(problem.encode, chunks, torch.device("cpu")), chunks


@pytest.mark.parametrize("sizes", [[17], [5, 11, 1], [1] * 17])
def test_a_cached_encoding_equals_one_graph_with_dropout_on(sizes):
    problem = Problem()
    upstream = problem.normal(17, 4)
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        encoding, chunks = cached(problem, sizes)
        torch.rand(5)  # what is drawn in between changes nothing
        state = torch.get_rng_state()
        encoding.backward(upstream)
        assert torch.equal(torch.get_rng_state(), state)
        got = problem.gradients()
        problem.net.zero_grad()
        torch.manual_seed(3)
        want = problem.encode_dense([LabelChunk(*chunk) for chunk in chunks])
        torch.rand(5)
        assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(encoding.embeddings, want.detach(), **EXACT)
    assert not encoding.embeddings.requires_grad
    (want * upstream).sum().backward()
    torch.testing.assert_close(got, problem.gradients(), **EXACT)


@pytest.mark.parametrize("sizes", [[17], [9, 8]])
def test_backward_adds_to_the_gradients_that_are_there(sizes):
    problem = Problem()
    encoding, _ = cached(problem, sizes)
    for parameter in problem.net.parameters():
        parameter.grad = torch.ones_like(parameter)
    encoding.backward(torch.zeros(17, 4, dtype=torch.float64))
    assert all((g == 1).all() for g in problem.gradients())


@pytest.mark.parametrize(
    ("sizes", "want"),
    [([17], [(17, True)]), ([9, 8], [(9, False), (8, False), (9, True), (8, True)])],
)
def test_one_chunk_keeps_its_graph_and_several_are_encoded_again(sizes, want):
    problem = Problem()
    encoding, _ = cached(problem, sizes)
    encoding.backward(torch.ones(17, 4, dtype=torch.float64))
    assert problem.n_encoded == want


@pytest.mark.parametrize("sizes", [[17], [9, 8]])
def test_backward_through_a_frozen_encoder_does_nothing(sizes):
    problem = Problem()
    problem.net.requires_grad_(False)
    encoding, _ = cached(problem, sizes)
    encoding.backward(torch.ones(17, 4, dtype=torch.float64))
    assert all(p.grad is None for p in problem.net.parameters())


# --------------------------------------------------------------------------------------- one-vs-all
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignores", [False, True])
@pytest.mark.parametrize("n_labels", [1, 17])
def test_one_vs_all_over_a_pool_equals_autograd_of_binary_cross_entropy(
    weighted, ignores, n_labels
):
    problem = Problem(n_labels=n_labels, relevance=True)
    weights = torch.linspace(0, 2, 5, dtype=torch.float64) if weighted else None
    texts = problem.texts.clone().requires_grad_()
    labels = problem.normal(n_labels, 4).requires_grad_()
    scores = texts @ labels.T / TEMPERATURE - math.log(n_labels)
    terms = F.binary_cross_entropy_with_logits(scores, problem.targets, reduction="none")
    by_text = torch.where(problem.is_ignored, 0.0, terms).sum(1) if ignores else terms.sum(1)
    want = (by_text if weights is None else by_text * weights).mean()
    want.backward()
    got = one_vs_all_pool_step(
        texts, labels, problem.positives(), temperature=TEMPERATURE,
        ignored=problem.ignored() if ignores else None, sample_weight=weights,
    )  # fmt: skip
    torch.testing.assert_close(got[:3], (texts.grad, labels.grad, want.detach()), **EXACT)
