"""The pool of a batch: each rule by hand, all of them against a text-by-text reference."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skxc._functional._pairs import Pairs, Positives
from skxc._methods._pools import draw_positives, fill_pool, pairs_in_pool, pick_some_labels

NONE = np.empty(0, np.int64)


def pairs_of(texts):
    """Positives of each text's labels, and which are drawn: those that are said to be."""
    pairs = sorted((label, row) for row, labels in enumerate(texts) for label in labels)
    labels, rows = np.array(pairs, np.int64).reshape(-1, 2).T
    return Positives(labels, rows, np.ones(len(rows), np.float32))


def pick(texts, drawn, hard, pool_size):
    """Of lists of labels: a text's positives, those drawn of them, its mined negatives."""
    positives = pairs_of(texts)
    is_drawn = [label in drawn[row] for label, row, _ in zip(*positives, strict=True)]
    negatives = np.array([label for labels in hard for label in labels], np.int64)
    return pick_some_labels(positives, np.array(is_drawn, bool), negatives, pool_size).tolist()


def naive_pick(texts, drawn, hard, pool_size):
    """The rules, text by text and label by label."""
    pool = set()
    for kind in (drawn, hard, texts):
        asked = Counter(label for labels in kind for label in labels)
        for label in sorted(asked, key=lambda label: (-asked[label], label)):
            if label not in pool and len(pool) < pool_size:
                pool.add(label)
    return sorted(pool)


@st.composite
def batches(draw):
    label = st.integers(0, 20)
    texts = draw(st.lists(st.sets(label, max_size=6), min_size=1, max_size=8))
    drawn = [draw(st.sets(st.sampled_from(sorted(p)), max_size=3)) if p else p for p in texts]
    hard = [
        sorted(draw(st.sets(label, max_size=4)) - positives) if draw(st.booleans()) else []
        for positives in texts
    ]
    return texts, drawn, hard, draw(st.integers(0, 25))


@settings(max_examples=500, deadline=None)
@given(batches())
def test_pool_equals_the_rules_label_by_label(batch):
    assert pick(*batch) == naive_pick(*batch)


def test_a_batch_of_usual_size_equals_the_rules_label_by_label():
    rng = np.random.default_rng(0)
    texts = [set((rng.random(rng.integers(0, 12)) ** 3 * 2000).astype(int)) for _ in range(300)]
    positives = pairs_of(texts)
    is_drawn = draw_positives(positives, 3, rng)
    drawn = [set(positives.labels[is_drawn & (positives.rows == i)]) for i in range(300)]
    hard = [sorted(set((rng.random(6) ** 3 * 2000).astype(int)) - p) for p in texts]
    n_drawn = len(set().union(*drawn))
    n_asked = len(set().union(*drawn, *hard))
    n_all = len(set().union(*texts, *hard))
    # each kind of label is cut once, then none
    for pool_size in (n_drawn // 2, (n_drawn + n_asked) // 2, (n_asked + n_all) // 2, n_all + 9):
        pool = pick(texts, drawn, hard, pool_size)
        assert pool == naive_pick(texts, drawn, hard, pool_size)
        assert len(pool) == min(pool_size, n_all)
    assert 100 < n_drawn < n_asked - 100 < n_all - 200


def test_over_the_cap_the_most_drawn_positives_stay():
    drawn = [{1, 2, 3}, {2, 3}, {3}]
    assert pick(drawn, drawn, [[], [], []], 2) == [2, 3]
    assert pick(drawn, drawn, [[], [], []], 1) == [3]


def test_positives_that_are_not_drawn_do_not_count_as_requests():
    texts = [{1, 2}, {1, 2}, {1, 2}]
    assert pick(texts, [{1}, {2}, {2}], [[]] * 3, 1) == [2]


def test_sampled_positives_come_before_negatives_however_often_these_are_asked_for():
    assert pick([{5}, {6}], [{5}, {6}], [[1], [1]], 2) == [5, 6]


def test_the_negatives_that_most_texts_ask_for_come_first():
    texts = [{10}, {10}, {10}]
    assert pick(texts, texts, [[1, 2], [2, 3], [3, 2]], 2) == [2, 10]
    assert pick(texts, texts, [[1, 2], [2, 3], [3, 2]], 3) == [2, 3, 10]


def test_negatives_come_before_the_positives_that_were_not_drawn():
    texts = [{5, 7}, {5, 7}]
    assert pick(texts, [{5}, {5}], [[1], [2]], 3) == [1, 2, 5]


def test_the_other_positives_fill_up_by_how_many_texts_have_them():
    texts = [{5, 6, 7, 8}, {5, 7, 8}, {5, 8}]
    assert pick(texts, [{5}, {5}, {5}], [[], [], []], 3) == [5, 7, 8]


def test_with_room_to_spare_all_positives_and_negatives_are_in():
    assert pick([{5, 6}, {7}, set()], [{5}, {7}, set()], [[1], [2], [3]], 99) == [1, 2, 3, 5, 6, 7]


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_ties_go_to_the_lowest_labels(kind):
    texts = [{9, 4}, {8, 2}]
    drawn = texts if kind == 0 else [set(), set()]
    hard = [[9, 4], [8, 2]] if kind == 1 else [[], []]
    assert pick(texts, drawn, hard, 3) == [2, 4, 8]


def test_a_label_asked_for_in_two_ways_takes_one_place():
    assert pick([{5}, {6, 7}], [{5}, {6}], [[6], [5, 4]], 4) == [4, 5, 6, 7]


def test_one_texts_mined_negative_is_still_anothers_positive():
    positives = pairs_of([{5}, {6, 7}])
    pool = pick_some_labels(positives, positives.labels != 7, np.array([7]), 3)
    kept, places = pairs_in_pool(positives, pool)
    assert pool.tolist() == [5, 6, 7]
    assert places.tolist() == [0, 1, 2]
    assert positives.rows[kept].tolist() == [0, 1, 1]


@pytest.mark.parametrize("pool_size", [0, 3])
def test_a_batch_without_labels_has_an_empty_pool(pool_size):
    pool = pick_some_labels(Pairs(NONE, NONE), np.empty(0, bool), NONE, pool_size)
    assert pool.dtype == np.int64
    assert pool.tolist() == []


@settings(max_examples=200, deadline=None)
@given(
    pool=st.sets(st.integers(0, 30)),
    candidates=st.sets(st.integers(0, 30)),
    pool_size=st.integers(0, 40),
    seed=st.integers(0, 5),
)
def test_random_labels_fill_the_pool_exactly(pool, candidates, pool_size, seed):
    candidates |= pool
    old, others = np.array(sorted(pool), np.int64), np.array(sorted(candidates), np.int64)
    filled = fill_pool(old, others, pool_size, np.random.default_rng(seed)).tolist()
    assert filled == sorted(set(filled))
    assert pool <= set(filled) <= candidates
    assert len(filled) == max(len(pool), min(pool_size, len(candidates)))


def test_random_labels_are_uniform_over_those_not_in_the_pool():
    rng = np.random.default_rng(0)
    candidates = np.arange(10)
    fills = [fill_pool(np.array([0, 3, 4]), candidates, 5, rng) for _ in range(7000)]
    counts = np.bincount(np.concatenate(fills), minlength=10)
    assert (counts[[0, 3, 4]] == 7000).all()
    # 2 of 7 places: 2000 each, standard deviation 38
    assert (abs(counts[[1, 2, 5, 6, 7, 8, 9]] - 2000) < 4 * 38).all()
