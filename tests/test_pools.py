"""Which labels a step looks at: draws against their probabilities, pools against sets."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from setups import make_setup
from torch import nn

from skxc._data._batches import TrainingRows
from skxc._data._tokens import TokenStore
from skxc._functional._pairs import Positives
from skxc._methods._dual_encoder import DualEncoderMethod, DualEncoderSettings
from skxc._methods._pools import draw_negatives, draw_positives, fill_pool, pairs_in_pool

N_DRAWS = 4000
# four standard errors of a share, where it is widest
NOISE = 4 * 0.5 / N_DRAWS**0.5


def by_label(matrix):
    """The pairs of a dense matrix and their values, sorted by label."""
    labels, rows = matrix.T.nonzero()
    return Positives(labels, rows, matrix[rows, labels].astype(np.float32))


# --------------------------------------------------------------------------------- draw_positives
@pytest.mark.parametrize("n_per_text", [1, 2, 3, 100])
def test_each_text_has_as_many_positives_drawn_as_it_has_or_is_asked_for(n_per_text):
    rng = np.random.default_rng(0)
    positives = by_label(rng.random((9, 7)) * (rng.random((9, 7)) < 0.4))
    drawn = draw_positives(positives, n_per_text, rng)
    n_positives = np.bincount(positives.rows, minlength=9)
    assert 0 in n_positives
    n_drawn = np.bincount(positives.rows[drawn], minlength=9)
    np.testing.assert_array_equal(n_drawn, np.minimum(n_positives, n_per_text))


def test_no_pair_gives_no_draw():
    positives = by_label(np.zeros((3, 2)))
    assert draw_positives(positives, 1, np.random.default_rng(0)).shape == (0,)


@pytest.mark.parametrize("n_per_text", [1, 2])
def test_positives_are_drawn_without_replacement_in_proportion_to_their_relevance(n_per_text):
    values = np.array([0.1, 0.3, 0.6], np.float32)
    positives = Positives(np.arange(3), np.zeros(3, np.int64), values)
    rng = np.random.default_rng(0)
    draws = [draw_positives(positives, n_per_text, rng) for _ in range(N_DRAWS)]
    first = values / values.sum()
    # drawn second: some other came first, and the rest was shared out anew
    second = [sum(first[j] * first[i] / (1 - first[j]) for j in {0, 1, 2} - {i}) for i in range(3)]
    want = first if n_per_text == 1 else first + second
    np.testing.assert_allclose(np.mean(draws, axis=0), want, atol=NOISE)


# --------------------------------------------------------------------------------- draw_negatives
@pytest.mark.parametrize("n_per_text", [1, 3, 5, 99])
def test_negatives_are_different_labels_of_each_text_s_own_list(n_per_text):
    lists = np.array([[0, 1, 2, 3, 4], [10, 11, 12, -1, -1], [-1] * 5], np.int32)
    drawn = draw_negatives(lists, n_per_text, np.random.default_rng(0))
    assert drawn.dtype == np.int64
    assert len(set(drawn.tolist())) == len(drawn)
    assert (drawn < 5).sum() == min(n_per_text, 5)
    assert (drawn >= 10).sum() == min(n_per_text, 3)  # a short list gives what it has


def test_negatives_are_drawn_evenly_from_the_list():
    lists = np.array([[3, 1, 4, 2]], np.int32)
    rng = np.random.default_rng(0)
    drawn = np.concatenate([draw_negatives(lists, 2, rng) for _ in range(N_DRAWS)])
    np.testing.assert_allclose(np.bincount(drawn)[1:] / N_DRAWS, 0.5, atol=NOISE)


# ------------------------------------------------------------------------------------- fill_pool
@pytest.mark.parametrize("pool_size", [0, 1, 4, 7, 19, 20, 1000])
def test_the_pool_holds_the_labels_and_random_candidates(pool_size):
    candidates = np.arange(0, 40, 2)
    labels = np.array([8, 2, 8, 30, 2])
    pool = fill_pool(labels, candidates, pool_size, np.random.default_rng(0))
    assert (np.diff(pool) > 0).all()
    assert {2, 8, 30} <= set(pool.tolist()) <= set(candidates.tolist())
    # a random candidate may be one of the labels
    assert max(3, min(pool_size, 20) - 3) <= len(pool) <= max(3, min(pool_size, 20))
    if pool_size >= 20:
        assert pool.tolist() == candidates.tolist()


def test_every_candidate_has_the_same_chance_to_fill_the_pool():
    candidates, rng = np.array([1, 3, 5, 7, 9]), np.random.default_rng(0)
    pools = [fill_pool(np.array([], np.int64), candidates, 2, rng) for _ in range(N_DRAWS)]
    shares = np.bincount(np.concatenate(pools), minlength=10)[candidates] / N_DRAWS
    np.testing.assert_allclose(shares, 2 / 5, atol=NOISE)


# ---------------------------------------------------------------------------------- pairs_in_pool
@pytest.mark.parametrize("pool", [[], [0], [6], [3, 4], [0, 2, 6], range(7)])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_pairs_are_found_where_the_pool_has_their_label(pool, share):
    rng, pool = np.random.default_rng(0), np.array(pool, np.int64)
    pairs = by_label((rng.random((5, 7)) < share).astype(float))
    kept, places = pairs_in_pool(pairs, pool)
    want = [i for i, label in enumerate(pairs.labels) if label in pool]
    assert kept.tolist() == want
    assert pool[places].tolist() == pairs.labels[want].tolist()


# ------------------------------------------------------------------- the dual encoder's own pools
Y = np.array([[1, 1, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0.5, 1, 0, 0, 0], [0] * 8], np.float32)
EXCLUDE = np.zeros_like(Y)
EXCLUDE[0, 7] = EXCLUDE[2, 5] = 1


def make_method(**settings):
    """Of three texts and eight labels."""
    tokens = TokenStore(np.zeros(3, np.uint16), np.arange(4))
    rows = TrainingRows(tokens, sp.csr_array(Y), exclude=sp.csr_array(EXCLUDE))
    label_tokens = TokenStore(np.zeros(8, np.uint16), np.arange(9))
    settings = {"pool_size": 0, "negatives_per_text": 2, "mining_interval": 2, **settings}
    module = nn.Linear(1, 1)
    return DualEncoderMethod(
        make_setup(DualEncoderSettings, module, rows, label_tokens=label_tokens, **settings)
    )


def pairs_of(labels, rows, values=None):
    return set(zip(rows.tolist(), labels.tolist(), strict=True))


ALL = pairs_of(*by_label(Y))
EXCLUDED = {(0, 7), (2, 5)}


@pytest.mark.parametrize("n", [1, 2])
def test_positives_that_are_not_drawn_are_neither_positive_nor_negative(n):
    method = make_method(positives_per_text=n, negatives="all")
    seen = set()
    for _ in range(30):
        labels = method._pick(method.rows.batch(np.arange(3)))
        positives = pairs_of(*labels.positives)
        assert np.bincount(labels.positives.rows, minlength=3).tolist() == [n, n, 0]
        assert positives | pairs_of(*labels.ignored) == ALL | EXCLUDED
        assert not positives & pairs_of(*labels.ignored)
        # relevance has had its say in the draw: equal shares of the text's
        shares = Y.sum(1)[labels.positives.rows] / n
        np.testing.assert_allclose(labels.positives.values, shares, rtol=1e-6)
        seen |= positives
    assert seen == ALL  # each in its turn


def test_without_draws_every_positive_is_in_the_pool():
    method = make_method()
    labels = method._pick(method.rows.batch(np.array([1, 2, 0])))
    assert labels.pool.tolist() == [0, 1, 2, 3, 4]
    row_of = {0: 2, 1: 0, 2: 1}
    assert pairs_of(*labels.positives) == {(row_of[i], label) for i, label in ALL}
    assert pairs_of(*labels.ignored) == {(row_of[i], label) for i, label in EXCLUDED}


def test_mined_negatives_join_the_pool_of_their_own_texts_batch():
    method = make_method(negatives="mined")
    method.shortlists = np.array([[3, 4], [5, 6], [0, -1]], np.int32)
    for rows, want in (([0], [0, 1, 2, 3, 4]), ([1], [3, 4, 5, 6]), ([2], [0]), ([1, 2], None)):
        pool = method._pick(method.rows.batch(np.array(rows))).pool
        assert pool.tolist() == (want or [0, 3, 4, 5, 6])


@pytest.mark.parametrize(
    ("parameters", "want"),
    [
        ({"negatives": "mined", "mining_interval": 2}, [2, 4, 6]),
        ({"negatives": "mined", "mining_interval": 1}, [1, 2, 3, 4, 5, 6]),
        ({"negatives": "mined", "mining_interval": 9}, []),
        ({"negatives": "mined", "pool_size": 8, "mining_interval": 1}, []),  # all are in it anyway
        ({"negatives": "in-batch", "mining_interval": 1}, []),
        ({"negatives": "all", "mining_interval": 1}, []),
    ],
)
def test_mining_is_due_every_interval_but_never_before_the_first_epoch(parameters, want):
    method, mined = make_method(**parameters), []
    for epoch in range(7):
        method._mine = lambda epoch=epoch: mined.append(epoch)
        method.begin_epoch(epoch)
    assert mined == want
