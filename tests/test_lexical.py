"""Scores from words, what joins them to the others, and their gradients, against dense matrices."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_problem import SOFTMAXES, TEMPERATURE, Problem
from naive_losses import EXACT, LOSSES, naive_loss

from skxc import UniDEC
from skxc._data._batches import TrainingRows
from skxc._data._tokens import TokenStore
from skxc._functional._lexical import BatchWords, co_occurring_pairs, values_at
from skxc._functional._pairs import Pairs
from skxc._functional._pool_step import dense_pool_step, one_vs_all_pool_step, softmax_pool_step
from skxc._functional._top_k import UNSEEN_SCORE, top_k_inner_products
from skxc._methods._lexical_weights import LexicalWeights, with_values
from skxc._methods._unidec_score import ScoreWeights, joined_words
from skxc._search import _ranker
from skxc._search._score_weights import best_weights, candidates_of, ndcg_at_5
from skxc.metrics import ndcg_at_k


class Words:
    """Dense matrices: texts, their labels, the labels' texts, and what was learnt before."""

    def __init__(self, n_texts, n_labels, n_words, density, n_picked, seed):
        self.rng = rng = np.random.default_rng(seed)

        def matrix(*shape):  # values that cancel where they are added up
            return rng.choice([-1.0, 1.0, 0.5], shape) * (rng.random(shape) < density)

        self.texts, self.Y = matrix(n_texts, n_words), matrix(n_texts, n_labels)
        self.label_texts, self.earlier = matrix(n_labels, n_words), matrix(n_labels, n_words)
        self.dense = self.texts, self.Y, self.label_texts
        self.labels = rng.permutation(n_labels)[:n_picked]  # some, in any order
        joined = np.einsum("tl,tw->lw", self.Y != 0, self.texts != 0)
        self.is_pair = joined | (self.label_texts != 0)


sizes = st.integers(1, 7)
densities = st.sampled_from([0.0, 0.2, 0.5, 1.0])  # 0: nothing but empty texts
problems = st.builds(Words, sizes, sizes, sizes, densities, sizes, st.integers(0, 1 << 20))
every_problem = settings(max_examples=150, deadline=None)


def learnt_by(lexical):
    """What was learnt, as a matrix that shares its memory."""
    return with_values(lexical.of_label_texts, lexical.learnt.numpy())


def unsorted(dense):
    """CSR with the last column of a row first."""
    m = sp.csr_array(dense[:, ::-1])
    return sp.csr_array((m.data, m.shape[1] - 1 - m.indices, m.indptr), m.shape)


# --------------------------------------------------------------------------------------- BatchWords
@every_problem
@given(problems)
def test_word_scores_and_their_gradient_equal_the_dense_product(words):
    texts, table = sp.csr_array(words.texts), unsorted(words.label_texts)
    batch = BatchWords(texts)
    entries = batch.entries(table, words.labels)
    weights = torch.from_numpy(table.data).requires_grad_()
    scores = batch.scores(entries, weights[torch.from_numpy(entries.positions)])
    dense = torch.from_numpy(words.label_texts).requires_grad_()
    want = dense[torch.from_numpy(words.labels)] @ torch.from_numpy(words.texts).T
    torch.testing.assert_close(scores, want, **EXACT)
    upstream = torch.from_numpy(words.rng.normal(size=want.shape))
    by_pair, by_cell = (
        torch.autograd.grad(output, leaf, upstream)[0]
        for output, leaf in ((scores, weights), (want, dense))
    )
    torch.testing.assert_close(by_pair, by_cell[table.tocoo().coords], **EXACT)


def test_only_entries_of_the_batch_words_are_taken():
    table = sp.csr_array(np.array([[1, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]]))
    batch = BatchWords(sp.csr_array(np.array([[0, 2.0, 0, 0], [0, 0, 0, 0], [0, 3.0, 0, 4.0]])))
    assert batch.weights.tolist() == [[2, 0, 3], [0, 0, 4]]  # of words 1 and 3
    entries = batch.entries(table, np.array([0, 1, 2]))
    assert entries.positions.tolist() == [1, 2, 4]
    assert entries.words.tolist() == [0, 1, 1]
    assert entries.offsets.tolist() == [0, 2, 2, 3]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_labels", [1, 3])
@pytest.mark.parametrize("has_words", [False, True])
@pytest.mark.parametrize("has_pairs", [False, True])
def test_without_a_common_word_all_scores_are_0(dtype, n_labels, has_words, has_pairs):
    texts, table = np.zeros((2, 5), dtype), np.zeros((n_labels, 5), dtype)
    texts[:, 1], table[:, 4] = has_words, has_pairs
    batch, table = BatchWords(sp.csr_array(texts)), sp.csr_array(table)
    entries = batch.entries(table, np.arange(n_labels))
    weights = torch.from_numpy(table.data[entries.positions]).requires_grad_()
    scores = batch.scores(entries, weights)
    assert torch.equal(scores, torch.zeros(n_labels, 2, dtype=torch.from_numpy(texts).dtype))
    scores.sum().backward()
    assert weights.grad.shape == (0,)


# ---------------------------------------------------------------------- pairs of labels and words
@every_problem
@given(problems)
def test_entries_are_words_of_a_labels_texts_and_of_its_own(words):
    matrices = [unsorted(dense) for dense in words.dense]
    pairs = co_occurring_pairs(*matrices)
    labels, ids = words.is_pair.nonzero()
    assert np.array_equal(pairs.tocoo().coords, [labels, ids])
    assert np.array_equal(pairs.data, words.label_texts[labels, ids])
    for dense, matrix in zip(words.dense, matrices, strict=True):  # as they were
        assert np.array_equal(matrix.indices, unsorted(dense).indices)
        assert np.array_equal(matrix.data, unsorted(dense).data)


def test_values_are_found_where_labels_times_words_exceed_32_bits():
    places = np.array([0, 2, 2]), np.array([5, 0, 2**31 - 2])
    pattern = sp.csr_array(([0.25, 0.75, 0.5], places), (3, 2**31 - 1))
    assert values_at(pattern, pattern).tolist() == [0.25, 0.75, 0.5]
    assert values_at(pattern[[1, 1, 2]], pattern).tolist() == [0, 0.75, 0.5]


# ----------------------------------------------------------------------------------- LexicalWeights
@every_problem
@given(problems, st.booleans())
def test_lexical_weights_keep_what_was_learnt_and_have_all_pairs(words, has_earlier):
    pairs = co_occurring_pairs(*map(sp.csr_array, words.dense))
    words.earlier *= has_earlier
    lexical = LexicalWeights.of_training(
        pairs, 0.1, unsorted(words.earlier) if has_earlier else None
    )
    table, learnt = lexical.of_label_texts, learnt_by(lexical)
    ones = sp.csr_array((np.ones(table.nnz), table.indices, table.indptr), table.shape)
    assert np.array_equal(ones.toarray(), words.is_pair | (words.earlier != 0))
    assert np.array_equal(table.toarray(), words.label_texts)
    assert np.array_equal(learnt.toarray(), words.earlier)
    assert learnt.dtype == table.dtype == np.float32


@every_problem
@given(problems)
def test_steps_of_lexical_weights_are_sgd_on_their_pairs_alone(words):
    matrices = [sp.csr_array(dense.astype(np.float32)) for dense in words.dense]
    lexical = LexicalWeights.of_training(co_occurring_pairs(*matrices), 0.1)
    memory, is_pair = lexical.learnt.data_ptr(), torch.from_numpy(words.is_pair)
    dense = torch.zeros(is_pair.shape, dtype=torch.float64)
    features = torch.from_numpy(words.texts)
    for rate, labels in ((1.0, words.labels), (0.5, np.arange(len(dense)))):
        target = torch.from_numpy(words.rng.normal(size=(len(labels), len(features))))
        scores = lexical.scores(matrices[0], labels)
        torch.testing.assert_close(scores.double(), dense[labels] @ features.T, rtol=0, atol=1e-5)
        ((scores - target) ** 2).sum().backward()
        lexical.step_(rate)
        gradient = 2 * (dense[labels] @ features.T - target) @ features
        dense[labels] -= 0.1 * rate * gradient * is_pair[labels]
        np.testing.assert_allclose(learnt_by(lexical).toarray(), dense, rtol=0, atol=1e-5)
    assert lexical.learnt.data_ptr() == memory
    assert not is_pair.any() or learnt_by(lexical).data.ctypes.data == memory


@pytest.mark.parametrize("weights", [None, np.array([0.5, -2, 3], np.float32)])
def test_tokens_as_csr_hold_their_weights_or_ones(weights):
    store = TokenStore(np.array([4, 0, 4], np.uint16), np.array([0, 0, 2, 3, 3]), weights)
    got, (a, b, c) = store.as_csr(6), (1, 1, 1) if weights is None else weights
    want = np.array([[0] * 6, [b, 0, 0, 0, a, 0], [0, 0, 0, 0, c, 0], [0] * 6])
    assert np.array_equal(got.toarray(), want)
    assert got.dtype == np.float32


# --------------------------------------------------------------- added to the scores of other parts
@pytest.mark.parametrize("chunk_size", [1, 7, 20, 50])
@pytest.mark.parametrize("k", [1, 5, 20])
@pytest.mark.parametrize("limits", [False, True])
def test_added_scores_take_part_in_the_search_but_revive_no_label(chunk_size, k, limits):
    g = torch.Generator().manual_seed(0)
    queries, table = (torch.randn(n, 3, dtype=torch.float64, generator=g) for n in (4, 20))
    added = 3 * torch.randn(4, 20, dtype=torch.float64, generator=g)
    dense, options = queries @ table.T + added, {}
    if limits:
        mask, unseen = torch.rand(4, 20, generator=g) < 0.3, torch.tensor([6, 19])
        dense = dense.index_fill(1, unseen, UNSEEN_SCORE).masked_fill(mask, -torch.inf)
        options = {"exclude": Pairs(*mask.T.nonzero(as_tuple=True)), "unseen": unseen}
    want = dense.sort(dim=1, descending=True, stable=True)
    labels, scores = top_k_inner_products(
        queries, table, k, chunk_size=chunk_size, added=lambda a, b: added[:, a:b], **options
    )
    torch.testing.assert_close(scores, want.values[:, :k], **EXACT)
    assert torch.equal(labels, want.indices[:, :k].masked_fill(scores == -torch.inf, -1))


class PoolProblem(Problem):
    """Scores with a part that is added, as leaves of one graph."""

    def __init__(self, weighted, ignores):
        super().__init__(relevance=True)
        self.is_ignored &= ignores
        self.leaves = self.texts, self.normal(17, 4), 2 * self.normal(17, 5)
        self.weights = torch.linspace(0.5, 2, 5, dtype=torch.float64) if weighted else None
        self.options = {"temperature": TEMPERATURE, "sample_weight": self.weights}
        self.options |= {"ignored": self.ignored()} if ignores else {}

    def check(self, step, naive):
        """The step's loss and gradients, by scores too, are those of `naive`, of all scores."""
        leaves = [leaf.clone().requires_grad_() for leaf in self.leaves]
        value = naive(leaves[0] @ leaves[1].T / TEMPERATURE + leaves[2].T)
        want = [*torch.autograd.grad(value, leaves), value.detach()]
        *embeddings, added = (leaf.clone() for leaf in self.leaves)
        got = step(*embeddings, added=added, **self.options)
        parts = [got.texts, got.labels, got.scores, got.loss]
        torch.testing.assert_close(parts, want, **EXACT)
        assert torch.equal(added, self.leaves[2])
        of_0 = step(*embeddings, added=torch.zeros_like(added), **self.options)
        of_none = step(*embeddings, **self.options)
        torch.testing.assert_close(of_0, of_none, rtol=0, atol=0)
        assert (of_0.scores - got.scores).abs().max() > 1e-3


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignores", [False, True])
def test_a_dense_pools_gradient_by_what_is_added_equals_autograd(loss, weighted, ignores):
    problem = PoolProblem(weighted, ignores)
    rest = problem.targets, problem.is_ignored, problem.weights
    step = partial(dense_pool_step, positives=problem.positives(), loss=loss)
    problem.check(step, lambda scores: naive_loss(loss, scores, *rest))


@pytest.mark.parametrize("loss", SOFTMAXES, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignores", [False, True])
def test_a_two_way_pools_gradient_by_what_is_added_equals_autograd(loss, weighted, ignores):
    problem = PoolProblem(weighted, ignores)
    targets, weights, ignored = problem.targets, problem.weights, problem.is_ignored

    def naive(scores):
        value = naive_loss(loss, scores, targets, ignored, weights)
        swapped = targets if weights is None else targets * weights[:, None]
        return (value + naive_loss(loss, scores.T, swapped.T, ignored.T)) / 2

    problem.check(
        partial(softmax_pool_step, both_directions=True, positives=problem.positives(), loss=loss),
        naive,
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignores", [False, True])
def test_one_vs_alls_gradient_by_what_is_added_equals_autograd(weighted, ignores):
    problem = PoolProblem(weighted, ignores)

    def naive(scores):
        logits = scores - math.log(17)
        terms = F.binary_cross_entropy_with_logits(logits, problem.targets, reduction="none")
        by_text = terms.masked_fill(problem.is_ignored, 0).sum(1)
        return (by_text * problem.weights if weighted else by_text).mean()

    problem.check(partial(one_vs_all_pool_step, positives=problem.positives()), naive)


# --------------------------------------------------------------------------- weights of the parts
@pytest.mark.parametrize("weights", [(0.3, 2, 0.5), (0, 0, 1), (1, 3, 0), (0, 0, 0)])
def test_joined_words_are_the_weighted_sum_without_the_negligible(weights):
    words, weights = Words(1, 6, 9, 0.6, 1, 0), ScoreWeights(*weights)
    table = sp.csr_array(words.label_texts.astype(np.float32))
    learnt = words.rng.choice([-5, 0, 1e-5, 2], table.nnz).astype(np.float32)
    by_word = sp.csr_array((learnt, table.indices, table.indptr), table.shape).toarray()
    want = weights.label_words * table.toarray() + weights.lexical * 0.05 * by_word
    want[np.abs(want) <= 1e-4] = 0
    table.data.flags.writeable = learnt.flags.writeable = False
    got = joined_words(table, learnt, weights, 0.05)
    np.testing.assert_allclose(got.toarray(), want, rtol=1e-6)
    assert (got.nnz, got.dtype) == (np.count_nonzero(want), np.float32)


@pytest.mark.parametrize("k", [1, 4, 11, 50])
@pytest.mark.parametrize("excludes", [False, True])
def test_candidates_are_the_best_labels_of_every_view(k, excludes):
    rng = np.random.default_rng(k)
    scores = rng.normal(size=(3, 8, 11)).astype(np.float32)
    if excludes:
        scores[:, rng.random((8, 11)) < 0.3] = -np.inf
    views = np.array([[1, 0, 0], [0, 1, 0], [0.2, 0.3, 0.5]], np.float32)  # 0 * -inf: nan
    found = candidates_of(np.split(scores, [3, 7], axis=1), views, k, 11)
    for text, labels in enumerate(found.labels):
        parts = scores[:, text]
        free = np.flatnonzero(np.isfinite(parts[0]))
        want = {i for v in views for i in free[np.argsort(-(v @ parts[:, free]))[:k]].tolist()}
        kept = labels[labels >= 0]
        assert len(np.unique(kept)) == len(kept)
        assert set(kept.tolist()) & set(free.tolist()) == want
        assert np.array_equal(found.parts[:, text, labels >= 0], parts[:, kept])


def test_best_weights_go_around_twice_and_keep_what_has_no_grid():
    start, measured = {"a": 0, "b": 0, "c": 7}, {(0, 0): 0, (1, 0): -1, (0, 1): 1, (1, 1): 2}
    weights = best_weights(
        start,
        {"a": (0, 1), "b": (0, 1)},
        lambda w: np.full(9, float(measured[w["a"], w["b"]])),
        None,
    )  # `a` gains only once `b` has moved
    assert weights == {"a": 1, "b": 1, "c": 7}
    assert start == {"a": 0, "b": 0, "c": 7}


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_weight_changes_where_the_mean_gain_exceeds_its_standard_error(factor, is_weighted):
    rng = np.random.default_rng(0)
    gains = rng.normal(size=40)
    weights = rng.integers(0, 3, 40).astype(np.float32) if is_weighted else None
    shares = np.ones(40) / 40 if weights is None else weights / weights.sum()
    gains -= np.average(gains, weights=weights)
    error = np.sqrt((shares**2 * gains**2).sum())
    got = best_weights(
        {"a": 0.0}, {"a": (0.0, 1.0)}, lambda w: w["a"] * (gains + factor * error), weights
    )
    assert got == {"a": float(factor > 1)}


def test_the_best_value_is_taken_not_the_first_that_gains():
    measured = {0.0: 0.0, 1.0: 0.5, 2.0: 0.52, 3.0: 0.1}
    noise = np.random.default_rng(0).normal(size=40) * 0.5
    noise -= noise.mean()

    def measure(weights):
        return measured[weights["a"]] + noise * (weights["a"] == 2)

    assert best_weights({"a": 0.0}, {"a": tuple(measured)}, measure, None) == {"a": 2.0}


def test_ndcg_of_texts_is_the_metrics_own():
    rng = np.random.default_rng(0)
    Y = sp.csr_array((rng.random((30, 9)) < 0.3).astype(np.float32))
    exclude = sp.csr_array((rng.random((30, 9)) < 0.2) & (Y.toarray() == 0))
    labels = np.tile(np.arange(9), (30, 1))
    scores = rng.normal(size=(30, 9)).astype(np.float32)
    labels[:, 3], scores[:, 5], scores[exclude.nonzero()] = -1, np.nan, -np.inf
    tokens = TokenStore(np.empty(0, np.uint16), np.zeros(31, np.int64))
    rows = TrainingRows(tokens, Y, rng.random(30).astype(np.float32), exclude)
    ranked = np.where(np.isfinite(scores) & (labels >= 0), scores - scores[scores > -9].min(), 0)
    want = ndcg_at_k(Y, ranked, k=5, exclude=exclude, sample_weight=rows.sample_weight)
    got = np.average(ndcg_at_5(labels, scores, rows), weights=rows.sample_weight)
    assert got == pytest.approx(want)


def test_what_one_text_joins_counts_for_labels_of_few_texts_alone():
    n_texts = 12
    words = np.zeros((n_texts, 3))
    words[:, 0], words[0, 1], words[11, 2] = 1, 1, 1  # in all texts, in the first, in the last
    Y = np.zeros((n_texts, 2))
    Y[:11, 0], Y[1:, 1] = 1, 1
    Y[6:11, 1] = 0  # 11 texts, and 6
    none = sp.csr_array((2, 3))
    pairs = co_occurring_pairs(sp.csr_array(words), sp.csr_array(Y), none)
    assert sorted(zip(*pairs.tocoo().coords, strict=True)) == [(0, 0), (1, 0), (1, 2)]
    own_text = sp.csr_array(np.array([[0, 0.5, 0], [0, 0, 0]]))
    pairs = co_occurring_pairs(sp.csr_array(words), sp.csr_array(Y), own_text)
    assert pairs[0, 1] == 0.5
    assert pairs.nnz == 4


def test_dense_scores_take_words_batch_by_batch(monkeypatch):
    """A batch of words is dense: of all texts at once it would not fit."""
    texts = [f"apple {i} pear" if i % 2 else f"car {i} lorry" for i in range(60)]
    labels = np.eye(2, dtype=int)[np.arange(60) % 2]
    clf = UniDEC(label_texts=["a car", "an apple"], random_state=0).fit(texts, labels)
    want, sizes = clf.decision_function(texts), []
    whole = _ranker.BatchWords
    monkeypatch.setitem(_ranker._SIZES, "cpu", _ranker.SearchSizes(7, 1 << 14, 1 << 21))
    monkeypatch.setattr(
        _ranker, "BatchWords", lambda part: sizes.append(part.shape[0]) or whole(part)
    )
    np.testing.assert_allclose(clf.decision_function(texts), want, rtol=1e-5, atol=1e-6)
    assert max(sizes) <= 7
    assert sum(sizes) == 60
