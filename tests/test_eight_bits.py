"""The search in eight bits against all scores, and against the search in float32."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from skxc import UniDEC
from skxc._data._tokens import TokenStore
from skxc._functional._quantized import MOST_COLUMNS, quantized, query_bounds
from skxc._functional._quantized_loops import _kth_largest
from skxc._functional._top_k import UNSEEN_SCORE, top_k_inner_products
from skxc._kernels._int8 import has_int8_products, int8_products
from skxc._search import _eight_bits
from skxc._search._eight_bits import EightBitTable
from skxc._search._ranker import LabelTable, _pairs, is_fast_in_eight_bits

CPU = torch.device("cpu")
N_WORDS = 19


def _random(rng, n, dim):
    return rng.standard_normal((n, dim))


def _clustered(rng, n, dim):
    """Differences far below what eight bits tell apart."""
    return _random(rng, 3, dim)[rng.integers(0, 3, n)] + 1e-4 * _random(rng, n, dim)


def _duplicates(rng, n, dim):
    return _random(rng, 5, dim)[rng.integers(0, 5, n)]


def _zeros(rng, n, dim):
    return _random(rng, n, dim) * (rng.random((n, 1)) < 0.5)


def _scales(rng, n, dim):
    """From subnormal numbers to huge ones."""
    return _random(rng, n, dim) * 10.0 ** rng.integers(-44, 16, (n, 1))


def _one_column(rng, n, dim):
    """One number of a row leaves nothing of the others in eight bits."""
    rows = _random(rng, n, dim)
    rows[:, 0] *= 1e4
    return rows


def _with_mean(rng, n, dim):
    """What all rows share is far larger than what tells them apart, as with intercepts."""
    return _random(rng, n, dim) + 50 * _random(rng, 1, dim)


KINDS = [_with_mean, _random, _clustered, _duplicates, _zeros, _scales, _one_column]


def tokens_of(matrix):
    return TokenStore(matrix.indices.astype(np.uint16), matrix.indptr.astype(np.int64), matrix.data)


def sparse(rng, shape, density):
    dense = rng.standard_normal(shape) * (rng.random(shape) < density)
    return sp.csr_array(dense.astype(np.float32))


def all_scores(queries, rows, words=None, unseen=None, mask=None):
    """In float64, then rounded once."""
    scores = queries.double() @ rows.double().T
    if words is not None:
        scores += torch.from_numpy((words[0] @ words[1].T).toarray())
    if unseen is not None:
        scores[:, unseen] = UNSEEN_SCORE
    if mask is not None:
        scores[torch.from_numpy(mask.toarray())] = -torch.inf
    return scores.float()


def check(found, scores, k):
    """The k best of all scores, of equal ones the first labels."""
    found = [torch.from_numpy(array) for array in found]
    want = scores.sort(dim=1, descending=True, stable=True)
    k = min(k, scores.shape[1])
    torch.testing.assert_close(found[1], want.values[:, :k], rtol=1e-6, atol=0)
    labels = want.indices[:, :k].masked_fill(want.values[:, :k] == -torch.inf, -1)
    assert torch.equal(found[0], labels)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "dim"), [(1, 1), (70, 3), (1003, 37), (4099, 130)])
@pytest.mark.parametrize("k", [1, 7, 1024])
def test_the_best_labels_and_their_order_are_those_of_all_scores(kind, n, dim, k):
    rng = np.random.default_rng(n + k)
    rows = torch.from_numpy(kind(rng, n, dim).astype(np.float32))
    queries = torch.from_numpy(_random(rng, 3, dim).astype(np.float32))
    queries[2] = 0  # all labels tie
    found = EightBitTable.of(rows, None, None).top_k(queries, tokens_of(sparse(rng, (3, 1), 0)), k)
    check(found, all_scores(queries, rows), k)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.4, 0.99])
@pytest.mark.parametrize("has_unseen", [False, True])
@pytest.mark.parametrize("has_words", [False, True])
def test_words_unseen_labels_and_excluded_pairs_count(kind, share, has_unseen, has_words):
    rng = np.random.default_rng(int(100 * share))
    n, k = 901, 20
    rows = torch.from_numpy(kind(rng, n, 24).astype(np.float32))
    queries = torch.from_numpy(_random(rng, 4, 24).astype(np.float32))
    unseen = torch.from_numpy(np.sort(rng.permutation(n)[:300])) if has_unseen else None
    texts, words = sparse(rng, (4, N_WORDS), 0.5), sparse(rng, (n, N_WORDS), 0.2)
    mask = sp.csr_array(rng.random((4, n)) < share)
    small = EightBitTable.of(rows, unseen, words if has_words else None)
    found = small.top_k(queries, tokens_of(texts), k, mask)
    table = LabelTable(rows, unseen, words if has_words else None)
    as_before = top_k_inner_products(
        queries, rows, k, chunk_size=200, exclude=_pairs(mask, CPU), unseen=unseen,
        added=table.word_scores(tokens_of(texts)),
    )  # fmt: skip
    largest = as_before[1][as_before[1].isfinite()].abs().max()
    np.testing.assert_allclose(found[1], as_before[1], rtol=1e-5, atol=1e-5 * float(largest))
    if not has_words:  # whose sums are rounded on the way
        check(found, all_scores(queries, rows, None, unseen, mask), k)
    elif kind is _random:
        np.testing.assert_array_equal(found[0], as_before[0])


@pytest.mark.parametrize("by_torch", [False, True])
@pytest.mark.parametrize("at_once", [1, 10_000, 1 << 21])
def test_a_text_has_the_same_scores_in_every_batch(monkeypatch, by_torch, at_once):
    monkeypatch.setattr(_eight_bits, "PRODUCTS_AT_ONCE", at_once)
    if not by_torch:
        monkeypatch.setattr(_eight_bits, "has_int8_products", lambda: False)
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(_random(rng, 3001, 33).astype(np.float32))
    queries = torch.from_numpy(_random(rng, 7, 33).astype(np.float32))
    texts, words = sparse(rng, (7, N_WORDS), 0.5), sparse(rng, (3001, N_WORDS), 0.2)
    small = EightBitTable.of(rows, None, words)
    together = small.top_k(queries, tokens_of(texts), 10)
    for i in range(7):
        alone = small.top_k(queries[i : i + 1], tokens_of(texts[[i]]), 10)
        np.testing.assert_array_equal(alone[0][0], together[0][i])
        np.testing.assert_array_equal(alone[1][0], together[1][i])


@pytest.mark.parametrize("kind", [_with_mean, _random, _duplicates, _zeros, _scales])
@pytest.mark.parametrize("at_once", [5_000, 100_000])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_labels_in_parts_and_texts_in_threads_change_nothing(monkeypatch, kind, at_once, n_threads):
    monkeypatch.setattr(_eight_bits, "PRODUCTS_AT_ONCE", at_once)
    monkeypatch.setattr(torch, "get_num_threads", lambda: n_threads)
    rng = np.random.default_rng(0)
    n, k, n_texts = 2003, 5, 50  # parts of 100 and of 2,000 labels
    rows = torch.from_numpy(kind(rng, n, 16).astype(np.float32))
    queries = torch.from_numpy(_random(rng, n_texts, 16).astype(np.float32))
    queries[::7] = 0  # all labels tie
    unseen = torch.from_numpy(np.sort(rng.permutation(n)[:300]))
    mask = sp.csr_array(rng.random((n_texts, n)) < rng.choice([0, 0.5, 0.999, 1], (n_texts, 1)))
    tokens = tokens_of(sparse(rng, (n_texts, 1), 0))
    found = EightBitTable.of(rows, unseen, None).top_k(queries, tokens, k, mask)
    check(found, all_scores(queries, rows, None, unseen, mask), k)


def test_labels_that_eight_bits_cannot_tell_apart_are_left_to_the_other_search():
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(_clustered(rng, 20_000, 16).astype(np.float32))
    queries, tokens = torch.ones(2, 16), tokens_of(sparse(rng, (2, 1), 0))
    small = EightBitTable.of(rows, None, None)
    assert small.top_k(queries, tokens, 3) is None
    queries[0] = 0
    check(small.top_k(queries[:1], tokens_of(sparse(rng, (1, 1), 0)), 3), torch.zeros(1, 20_000), 3)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 101])
@pytest.mark.parametrize("n_values", [1, 2, 3, 1000])
def test_the_kth_largest_is_that_of_the_sorted_values(n, n_values):
    rng = np.random.default_rng(n)
    for _ in range(20):
        values = rng.integers(0, n_values, n).astype(np.float32)
        values[rng.random(n) < 0.1] = -np.inf
        found = [_kth_largest(values, k) for k in range(1, n + 1)]
        np.testing.assert_array_equal(found, np.sort(values)[::-1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_centred", [False, True])
def test_eight_bits_are_wrong_by_no_more_than_they_say(kind, is_centred):
    rng = np.random.default_rng(0)
    rows, queries = (torch.from_numpy(kind(rng, n, 50).astype(np.float32)) for n in (400, 9))
    mean = rows.double().mean(0).numpy() if is_centred else np.zeros(50)
    table, of_queries = quantized(rows, mean), quantized(queries)
    products = of_queries.values.astype(np.int64) @ table.values.astype(np.int64).T
    exact = (queries.double() @ rows.double().T).numpy()
    scales, lengths, errors = (a.astype(np.float64) for a in table[1:])
    bounds = query_bounds(queries, of_queries, mean)
    for i, (scale, length, error, shift, slack) in enumerate(bounds):
        middle = products[i] * (scales * scale) + shift
        radius = errors * length + lengths * error + slack
        assert (np.abs(exact[i] - middle) <= radius).all()


def test_rows_of_half_the_bits_are_scored_as_they_are():
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(_random(rng, 500, 40)).bfloat16()
    queries = torch.from_numpy(_random(rng, 2, 40).astype(np.float32))
    found = EightBitTable.of(rows, None, None).top_k(queries, tokens_of(sparse(rng, (2, 1), 0)), 9)
    check(found, all_scores(queries, rows), 9)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_what_has_no_finite_length_is_left_to_the_other_search(value):
    rows = torch.ones(30, 4)
    small = EightBitTable.of(rows, None, None)
    no_words = TokenStore(np.zeros(0, np.uint16), np.zeros(2, np.int64))
    assert small.top_k(torch.full((1, 4), value), no_words, 3) is None
    rows[7] = value
    assert EightBitTable.of(rows, None, None) is None


def test_sums_that_32_bits_may_not_hold_are_left_to_the_other_search():
    assert EightBitTable.of(torch.ones(2, MOST_COLUMNS + 1), None, None) is None
    ones = torch.ones(1, MOST_COLUMNS)
    small = EightBitTable.of(torch.cat([-ones, ones]), None, None)  # whose mean is 0
    assert (small.table.values[1] == 127).all()
    no_words = tokens_of(sparse(np.random.default_rng(0), (1, 1), 0))
    [[label]], [[score]] = small.top_k(ones, no_words, 1)
    assert (label, score) == (1, MOST_COLUMNS)


@pytest.mark.skipif(not has_int8_products(), reason="torch has none for this processor")
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1003, 37), (17, 300, 256)])
def test_torchs_products_of_eight_bits_are_exact(shape):
    batch, n, dim = shape
    rng = np.random.default_rng(dim)
    left, right = (rng.choice([-127, 127, 5], (m, dim)).astype(np.int8) for m in (batch, n))
    want = left.astype(np.int32) @ right.T.astype(np.int32)
    np.testing.assert_array_equal(int8_products(left, right), want)


@pytest.mark.parametrize("wrong", [None, RuntimeError("no such product"), "saturated"])
def test_torchs_products_are_used_only_where_they_are_exact(monkeypatch, wrong):
    def product(left, right):
        if isinstance(wrong, Exception):
            raise wrong
        exact = left.int() @ right.int()
        return exact if wrong is None else exact.clamp(max=1 << 15)

    monkeypatch.setattr(torch, "_int_mm", product, raising=False)
    monkeypatch.setattr("platform.machine", lambda: "AMD64")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert has_int8_products.__wrapped__() is (wrong is None)
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert not has_int8_products.__wrapped__()


@pytest.mark.parametrize("has_products", [True, False])
def test_small_tables_are_searched_in_float32_and_large_batches_if_they_must(
    monkeypatch, has_products
):
    monkeypatch.setattr("skxc._search._ranker.has_int8_products", lambda: has_products)
    n = 1 << 14
    assert is_fast_in_eight_bits(1, n, 64, 100, CPU)
    assert is_fast_in_eight_bits(32, n, 64, 100, CPU) == has_products
    assert not is_fast_in_eight_bits(33, n, 64, 100, CPU)
    assert is_fast_in_eight_bits(1000, n, 64, 64, CPU) == has_products
    assert not is_fast_in_eight_bits(1, n - 16, 65, 1024, CPU)
    assert is_fast_in_eight_bits(1, 10 * n, 64, 1024, CPU)
    assert not is_fast_in_eight_bits(1, 10 * n, 64, 1025, CPU)
    assert not is_fast_in_eight_bits(1, 1000, 64, 5, CPU)
    assert not is_fast_in_eight_bits(1, n, 64, 5, torch.device("cuda"))


@pytest.fixture(scope="module")
def fitted():
    texts = [f"apple {i} pear" if i % 2 else f"car {i} lorry" for i in range(60)]
    labels = np.eye(9, dtype=int)[np.arange(60) % 9]
    names = ["a car", "an apple", "a pear", "", "3", "a lorry of pears", "x", "apple", "7 cars"]
    return UniDEC(label_texts=names, random_state=0).fit(texts, labels), texts


@pytest.mark.parametrize("has_numba", [True, False])
def test_an_estimator_answers_alike_in_eight_bits_and_in_float32(fitted, monkeypatch, has_numba):
    clf, texts = fitted
    monkeypatch.setattr("skxc._search._ranker.is_fast_in_eight_bits", lambda *_: False)
    want = clf.predict_top_k(texts, 3)
    monkeypatch.setattr("skxc._search._ranker.is_fast_in_eight_bits", lambda *_: True)
    if not has_numba:
        monkeypatch.delitem(sys.modules, "skxc._search._eight_bits", raising=False)
        monkeypatch.setitem(sys.modules, "numba", None)
        for name in (
            "_kernels._compiled",
            "_functional._quantized_loops",
            "_functional._quantized",
        ):
            monkeypatch.delitem(sys.modules, f"skxc.{name}", raising=False)
    clf._ranker = None
    try:
        found = clf.predict_top_k(texts, 3)
        assert (clf._get_ranker()._eight_bits is not None) == has_numba
    finally:
        clf._ranker = None
    np.testing.assert_allclose(found[1], want[1], rtol=1e-5, atol=1e-6)
    scores = np.sort(clf.decision_function(texts), axis=1)[:, ::-1]
    is_clear = (np.diff(scores[:, :4]) < -1e-5).all(1)
    assert is_clear.sum() > 20
    np.testing.assert_array_equal(found[0][is_clear], want[0][is_clear])
