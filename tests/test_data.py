"""Token store and batches."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from skxc._data._batches import TrainingRows, epoch_batches, length_sorted_slices, padding_share
from skxc._data._tokens import TokenStore, id_dtype


def make_store(lengths, weighted=True, seed=0):
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    ids = rng.integers(0, 50, n).astype(np.uint16)
    weights = rng.random(n, dtype=np.float32) if weighted else None
    return TokenStore(ids, np.cumsum([0, *lengths]).astype(np.int64), weights)


def rows_of(store):
    parts = [(a, b) for a, b in zip(store.offsets, store.offsets[1:], strict=False)]
    weights = store.weights if store.weights is not None else store.ids * 0
    return [(store.ids[a:b].tolist(), weights[a:b].tolist()) for a, b in parts]


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("rows", [[0], [3, 1, 1], [4, 0, 2], [], [1]])
def test_take_gives_the_rows_in_the_order_asked(weighted, rows):
    store = make_store([2, 0, 5, 1, 3], weighted)
    taken = store.take(np.array(rows, dtype=np.int64))
    assert rows_of(taken) == [rows_of(store)[i] for i in rows]
    assert len(taken) == len(rows)
    assert (taken.weights is None) == (not weighted)


def test_concatenate_keeps_every_text():
    a, b = make_store([2, 0, 5]), make_store([0, 1], seed=1)
    assert rows_of(TokenStore.concatenate([a, b])) == rows_of(a) + rows_of(b)


@pytest.mark.parametrize(
    ("n_ids", "dtype"), [(1, np.uint16), (1 << 16, np.uint16), (65537, np.uint32)]
)
def test_ids_take_two_bytes_where_the_vocabulary_fits(n_ids, dtype):
    assert id_dtype(n_ids) is dtype
    assert np.iinfo(id_dtype(n_ids)).max >= n_ids - 1


@pytest.mark.parametrize("is_bucketed", [True, False])
@pytest.mark.parametrize(("n", "size"), [(1, 4), (4, 4), (9, 4), (1000, 7)])
def test_an_epoch_holds_every_row_once(is_bucketed, n, size):
    lengths = np.random.default_rng(0).integers(1, 100, n)
    batches = epoch_batches(lengths, size, np.random.default_rng(1), is_bucketed=is_bucketed)
    assert sorted(np.concatenate(batches).tolist()) == list(range(n))
    assert max(map(len, batches)) <= size
    assert len(batches) == -(-n // size)


def test_bucketing_by_length_saves_most_of_the_padding():
    lengths = np.random.default_rng(0).lognormal(3, 0.8, 20_000).astype(int).clip(1, 128)
    share = {
        is_bucketed: padding_share(
            lengths,
            epoch_batches(lengths, 64, np.random.default_rng(1), is_bucketed=is_bucketed),
        )
        for is_bucketed in (True, False)
    }
    assert share[False] > 0.5
    assert share[True] < 0.1


def test_bucketed_batches_differ_from_epoch_to_epoch():
    lengths, rng = np.full(100, 5), np.random.default_rng(0)
    first, second = (epoch_batches(lengths, 10, rng, is_bucketed=True) for _ in range(2))
    assert {frozenset(b.tolist()) for b in first} != {frozenset(b.tolist()) for b in second}


@pytest.mark.parametrize(
    ("max_tokens", "want"),
    [(100, [[1, 1], [4, 5], [9]]), (9, [[1, 1], [4], [5], [9]]), (1, [[1], [1], [4], [5], [9]])],
)
def test_length_sorted_slices_hold_every_row_once_within_the_budget(max_tokens, want):
    lengths = np.array([5, 1, 4, 1, 9])
    slices = list(length_sorted_slices(lengths, 2, max_tokens))
    assert [lengths[s].tolist() for s in slices] == want
    assert sorted(np.concatenate(slices).tolist()) == list(range(5))


@pytest.mark.parametrize(
    ("n_rows", "max_tokens", "want"),
    [(300, 9999, [256, 44]), (165, 155, [144, 21]), (160, 40, [32] * 4 + [32]), (0, 9, [])],
)
def test_slices_but_the_last_are_multiples_of_16(n_rows, max_tokens, want):
    lengths = np.ones(n_rows, int)
    assert [len(s) for s in length_sorted_slices(lengths, 256, max_tokens)] == want


def test_rows_that_fit_at_once_keep_their_order():
    [rows] = length_sorted_slices(np.array([5, 1, 4]), 3, 15)
    assert rows.tolist() == [0, 1, 2]


def test_a_batch_lists_its_positives_by_label():
    Y = sp.csr_array(np.array([[0, 0.5, 1], [1, 0, 0], [0, 0, 0], [0, 0, 1]], dtype=np.float32))
    rows = TrainingRows(make_store([1, 2, 3, 4]), Y, np.arange(4, dtype=np.float32))
    batch = rows.batch(np.array([3, 0, 2]))
    assert batch.positives.labels.tolist() == [1, 2, 2]
    assert batch.positives.rows.tolist() == [1, 0, 1]
    assert batch.positives.values.tolist() == [0.5, 1, 1]
    assert batch.sample_weight.tolist() == [3, 0, 2]
    assert batch.tokens.lengths.tolist() == [4, 1, 3]
