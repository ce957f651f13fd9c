"""Stratified splits against iterative stratification, brute force and what they promise."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from containers import FEW_LABEL_CONTAINERS, labels_in
from sklearn.model_selection import KFold, ShuffleSplit
from sklearn.model_selection import train_test_split as sklearns_train_test_split
from sklearn.preprocessing import MultiLabelBinarizer

from skxc.model_selection import (
    MultilabelStratifiedKFold,
    MultilabelStratifiedShuffleSplit,
    train_test_split,
)


def zipf_labels(n_rows, n_labels, labels_per_row=3.0, seed=0):
    """Rows with about as many labels, some with none; the r-th label's frequency is as 1 / r."""
    rng = np.random.default_rng(seed)
    proba = 1 / np.arange(1, n_labels + 1)
    n_drawn = rng.poisson(labels_per_row, n_rows)
    pairs = (
        np.repeat(np.arange(n_rows), n_drawn),
        rng.choice(n_labels, n_drawn.sum(), p=proba / proba.sum()),
    )
    Y = sp.csr_array((np.ones(n_drawn.sum(), np.int8), pairs), shape=(n_rows, n_labels))
    Y.data[:] = 1
    return Y


def iterative_stratification(Y, shares, rng):
    """Sechidis et al. 2011, algorithm 1, as it stands; Y dense. The rows' folds."""
    n_rows = len(Y)
    shares = np.array(shares)
    wanted_rows = shares * n_rows
    wanted = np.outer(Y.sum(0), shares)
    folds, is_left = np.full(n_rows, -1), np.ones(n_rows, bool)
    while is_left.any():
        n_left = Y[is_left].sum(0)
        if n_left.any():
            label = np.where(n_left > 0, n_left, n_rows + 1).argmin()
            rows = np.flatnonzero(is_left & (Y[:, label] > 0))
        else:
            label, rows = None, np.flatnonzero(is_left)
        for row in rows:
            wish = wanted_rows if label is None else wanted[label]
            best = np.flatnonzero(wish == wish.max())
            best = best[wanted_rows[best] == wanted_rows[best].max()]
            folds[row] = fold = rng.choice(best)
            is_left[row] = False
            wanted[Y[row] > 0, fold] -= 1
            wanted_rows[fold] -= 1
    return folds


def label_distribution_error(Y, folds, shares):
    """LD of Sechidis et al. 2011: how far odds of the labels in the folds are from those in all."""
    errors = []
    for label in np.flatnonzero(Y.sum(0) > 0):
        n_all = Y[:, label].sum()
        odds = [Y[folds == f, label].mean() for f in range(len(shares))]
        odds = [share / max(1 - share, 1e-9) for share in odds]
        errors.append(np.mean(np.abs(np.array(odds) - n_all / max(len(Y) - n_all, 1e-9))))
    return np.mean(errors)


def absent(Y, is_test):
    """How many labels of two rows or more lack on a side."""
    n_of_label, n_in_test = Y.sum(0), Y[is_test].sum(0)
    return ((n_of_label >= 2) & ((n_in_test == 0) | (n_in_test == n_of_label))).sum()


def mask(rows, n_rows):
    return np.isin(np.arange(n_rows), rows)


# ------------------------------------------------------------------------------------ quality
@pytest.mark.parametrize("n_splits", [2, 5])
@pytest.mark.parametrize(("n_rows", "n_labels"), [(103, 20), (200, 150)])
def test_folds_are_as_good_as_iterative_stratification(n_rows, n_labels, n_splits):
    errors, missing = [], []
    for seed in range(5):
        Y = zipf_labels(n_rows, n_labels, seed=seed)
        dense, shares = Y.toarray(), np.full(n_splits, 1 / n_splits)
        ours = np.empty(n_rows, int)
        cv = MultilabelStratifiedKFold(n_splits, shuffle=True, random_state=seed)
        for fold, (_, test) in enumerate(cv.split(dense, Y)):
            ours[test] = fold
        naive = iterative_stratification(dense, shares, np.random.default_rng(seed))
        chance = np.random.default_rng(seed).permutation(np.arange(n_rows) % n_splits)
        each = (ours, naive, chance)
        errors.append([label_distribution_error(dense, folds, shares) for folds in each])
        n_of_label = dense.sum(0)
        fewest = np.maximum(n_splits - n_of_label[n_of_label >= 2], 0).sum()
        lacks = [sum(absent(dense, folds == f) for f in range(n_splits)) for folds in each]
        missing.append(np.array(lacks) - fewest)
    errors, missing = np.mean(errors, axis=0), np.sum(missing, axis=0)
    assert errors[0] <= 1.2 * errors[1]  # with 2 folds, both err by rounding only
    assert errors[1] < errors[2]
    assert missing[0] <= max(missing[1], 0.15 * missing[2])


@pytest.mark.parametrize("test_size", [0.1, 0.25, 0.5])
def test_more_labels_are_on_both_sides_than_by_iterative_stratification(test_size):
    missing = []
    for seed in range(5):
        Y = zipf_labels(200, 150, seed=seed)
        dense = Y.toarray()
        cv = MultilabelStratifiedShuffleSplit(1, test_size=test_size, random_state=seed)
        _, test = next(cv.split(dense, Y))
        rng = np.random.default_rng(seed)
        naive = iterative_stratification(dense, [1 - test_size, test_size], rng) == 1
        missing.append([absent(dense, mask(test, 200)), absent(dense, naive)])
    ours, naive = np.sum(missing, axis=0)
    assert ours < naive or ours == 0


def test_few_labels_lack_more_than_in_the_best_of_all_splits():
    rng = np.random.default_rng(0)
    best, ours, chance = 0, 0, 0
    for trial in range(40):
        n_rows, n_labels = rng.integers(6, 13), rng.integers(3, 16)
        n_test = int(rng.integers(2, n_rows // 2 + 1))
        Y = (rng.random((n_rows, n_labels)) < rng.uniform(0.1, 0.4)).astype(int)
        best += min(absent(Y, mask(test, n_rows)) for test in combinations(range(n_rows), n_test))
        splits = (MultilabelStratifiedShuffleSplit, ShuffleSplit)
        tests = [
            next(split(1, test_size=n_test, random_state=trial).split(Y, Y))[1] for split in splits
        ]
        ours += absent(Y, mask(tests[0], n_rows))
        chance += absent(Y, mask(tests[1], n_rows))
    assert ours - best <= 0.15 * (chance - best)


@pytest.mark.parametrize("test_size", [0.2, 0.5])
def test_every_label_is_on_both_sides_where_nothing_stands_against_it(test_size):
    sizes = np.arange(2, 12).repeat(3)  # one label a row: only the sizes of the sides count
    labels = np.arange(len(sizes)).repeat(sizes)
    Y = sp.csr_array((np.ones(len(labels)), labels, np.arange(len(labels) + 1)))
    cv = MultilabelStratifiedShuffleSplit(3, test_size=test_size, random_state=0)
    for _, test in cv.split(labels, Y):
        n_in_test = np.bincount(labels[test], minlength=len(sizes))
        assert (n_in_test >= 1).all()
        assert (n_in_test < sizes).all()
        assert (np.abs(n_in_test - sizes * test_size) <= 1).all()


def test_pairs_that_only_change_places_together_do():
    Y = np.array([[1, 0, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1], [0, 1, 0, 1]])
    cv = MultilabelStratifiedShuffleSplit(20, test_size=2, random_state=0)
    assert all(absent(Y, mask(test, 4)) == 0 for _, test in cv.split(Y, Y))


@pytest.mark.parametrize("test_size", [0.2, 0.5])
def test_frequent_labels_keep_their_share(test_size):
    Y = zipf_labels(2000, 300)
    n_of_label = Y.sum(axis=0)
    cv = MultilabelStratifiedShuffleSplit(1, test_size=test_size, random_state=0)
    _, test = next(cv.split(range(2000), Y))
    frequent = n_of_label >= 20
    shares = Y[test].sum(axis=0)[frequent] / n_of_label[frequent]
    by_chance = Y[:400].sum(axis=0)[frequent] / n_of_label[frequent]
    assert np.abs(shares - test_size).max() < 0.06
    assert np.abs(shares - test_size).mean() < 0.25 * np.abs(by_chance - 0.2).mean()


@pytest.mark.parametrize("n_splits", [2, 3, 10])
def test_a_labels_rows_are_spread_over_the_folds(n_splits):
    sizes = np.array([1, 2, 3, 4, 5, 9, 10, 11, 20, 35])
    labels = np.arange(len(sizes)).repeat(sizes)
    Y = sp.csr_array((np.ones(len(labels)), labels, np.arange(len(labels) + 1)))
    for _, test in MultilabelStratifiedKFold(n_splits).split(labels, Y):
        n_in_fold = np.bincount(labels[test], minlength=len(sizes))
        assert (n_in_fold >= sizes // n_splits).all()
        assert (n_in_fold <= -(-sizes // n_splits)).all()


def test_rows_without_labels_are_spread_evenly():
    Y = sp.csr_array(sp.vstack([zipf_labels(130, 40, seed=1), sp.csr_array((70, 40))]))
    n_empty = (np.diff(Y.indptr) == 0).sum()
    for _, test in MultilabelStratifiedKFold(5).split(range(200), Y):
        assert abs((np.diff(Y[test].indptr) == 0).sum() - n_empty / 5) <= 2
    cv = MultilabelStratifiedShuffleSplit(3, test_size=0.2, random_state=0)
    for _, test in cv.split(range(200), Y):
        assert abs((np.diff(Y[test].indptr) == 0).sum() - n_empty / 5) <= 3


# ------------------------------------------------------------------------------ sizes and rows
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("n_rows", "n_splits"), [(2, 2), (7, 3), (7, 7), (103, 5)])
def test_folds_are_a_partition_of_the_sizes_of_kfold(n_rows, n_splits, shuffle):
    Y = zipf_labels(n_rows, 9)
    cv = MultilabelStratifiedKFold(n_splits, shuffle=shuffle)
    assert cv.get_n_splits(Y, Y) == n_splits
    folds = list(cv.split(range(n_rows), Y))
    sizes = [len(test) for _, test in KFold(n_splits).split(range(n_rows))]
    assert [len(test) for _, test in folds] == sizes
    np.testing.assert_array_equal(np.sort(np.concatenate([f[1] for f in folds])), range(n_rows))
    for train, test in folds:
        np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), range(n_rows))


@pytest.mark.parametrize(
    "sizes",
    [{}, {"test_size": 0.3}, {"test_size": 1}, {"train_size": 7}, {"test_size": 3, "train_size": 5},
     {"test_size": 0.1, "train_size": 0.5}],
)  # fmt: skip
def test_sides_have_the_sizes_of_shuffle_split(sizes):
    Y = zipf_labels(53, 20)
    ours = list(MultilabelStratifiedShuffleSplit(4, **sizes, random_state=0).split(Y, Y))
    theirs = list(ShuffleSplit(4, **sizes, random_state=0).split(Y))
    assert len(ours) == 4
    for our, their in zip(ours, theirs, strict=True):
        assert [len(part) for part in our] == [len(part) for part in their]
        rows = np.concatenate(our)
        assert len(np.unique(rows)) == len(rows)


def test_splits_repeat_for_a_seed_and_leave_the_global_state_alone():
    Y = zipf_labels(60, 30)
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002

    def splits(**arguments):
        first = MultilabelStratifiedKFold(3, shuffle=True, **arguments).split(Y, Y)
        second = MultilabelStratifiedShuffleSplit(3, **arguments).split(Y, Y)
        return [test.tolist() for cv in (first, second) for _, test in cv]

    assert splits(random_state=1) == splits(random_state=1) != splits(random_state=2)
    state = np.random.RandomState(1)
    assert splits(random_state=state) != splits(random_state=state)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    first, second = (
        [test.tolist() for _, test in MultilabelStratifiedKFold(3).split(Y, Y)] for _ in range(2)
    )
    assert first == second
    *splits, last = MultilabelStratifiedShuffleSplit(2, random_state=0).split(Y, Y)
    assert splits[0][1].tolist() != last[1].tolist()


@pytest.mark.parametrize("container", FEW_LABEL_CONTAINERS)
def test_labels_come_in_the_containers_of_fit(container):
    Y = zipf_labels(40, 6).toarray()
    y = labels_in(container, Y)
    expected = list(MultilabelStratifiedKFold(4).split(Y, Y))
    for ours, theirs in zip(MultilabelStratifiedKFold(4).split(Y, y), expected, strict=True):
        np.testing.assert_array_equal(ours[1], theirs[1])


def test_relevances_count_fully():
    Y = zipf_labels(200, 150)
    graded = Y.astype(np.float32)
    graded.data = np.random.default_rng(0).uniform(0.01, 0.1, Y.nnz)
    for cv in (MultilabelStratifiedShuffleSplit(3, random_state=0), MultilabelStratifiedKFold(3)):
        for ours, theirs in zip(cv.split(Y, graded), cv.split(Y, Y), strict=True):
            np.testing.assert_array_equal(ours[1], theirs[1])


def test_classes_are_stratified_too():
    y = np.array(list("aaabbbccc" * 4))
    for _, test in MultilabelStratifiedKFold(4).split(y, y):
        assert np.unique(y[test], return_counts=True)[1].tolist() == [3, 3, 3]


def test_read_only_labels_stay_as_they_are():
    Y = zipf_labels(40, 6)
    for array in (Y.data, Y.indices, Y.indptr):
        array.flags.writeable = False
    assert len(list(MultilabelStratifiedKFold(3).split(Y, Y))) == 3
    assert len(train_test_split(Y, stratify=Y)) == 2


@pytest.mark.parametrize("Y", [np.zeros((10, 3)), np.ones((10, 3)), np.eye(10), np.ones((10, 2))])
def test_labels_of_all_rows_of_none_and_of_one_are_fine(Y):
    Y = sp.csr_array(Y)
    assert [len(test) for _, test in MultilabelStratifiedKFold(3).split(Y, Y)] == [4, 3, 3]
    assert [len(part) for part in next(MultilabelStratifiedShuffleSplit().split(Y, Y))] == [9, 1]


# ------------------------------------------------------------------------------------- errors
def test_wrong_arguments_are_named():
    Y = zipf_labels(5, 4)
    with pytest.raises(ValueError, match=r"n_splits=6 greater than the number of samples"):
        list(MultilabelStratifiedKFold(6).split(Y, Y))
    with pytest.raises(ValueError, match=r"n_splits=2 or more, got n_splits=1"):
        MultilabelStratifiedKFold(1)
    with pytest.raises(ValueError, match="no effect since shuffle is False"):
        MultilabelStratifiedKFold(2, random_state=0)
    for cv in (MultilabelStratifiedKFold(2), MultilabelStratifiedShuffleSplit(2)):
        with pytest.raises(ValueError, match="y is None"):
            list(cv.split(Y))
        with pytest.raises(ValueError, match=r"rows, but X has|inconsistent numbers of samples"):
            list(cv.split(range(4), Y))
    with pytest.raises(ValueError, match="test_size=5 should be either positive and smaller"):
        list(MultilabelStratifiedShuffleSplit(2, test_size=5).split(Y, Y))


def test_splitters_show_their_parameters():
    assert repr(MultilabelStratifiedKFold(3)) == (
        "MultilabelStratifiedKFold(n_splits=3, random_state=None, shuffle=False)"
    )
    assert "n_splits=10" in repr(MultilabelStratifiedShuffleSplit())


# --------------------------------------------------------------------------- train_test_split
def test_all_arrays_are_split_alike_each_in_its_container():
    Y = zipf_labels(50, 20)
    texts = [f"text {i}" for i in range(50)]
    arrays = [texts, np.arange(50), pd.Series(texts, index=range(50, 0, -1)),
              pd.DataFrame({"t": texts}), Y, sp.coo_matrix(Y), tuple(texts)]  # fmt: skip
    parts = train_test_split(*arrays, test_size=0.2, stratify=Y, random_state=0)
    numbers = parts[2:4]
    assert [len(part) for part in numbers] == [40, 10]
    for rows, part in zip(numbers, (0, 1), strict=True):
        chosen = [texts[row] for row in rows]
        assert parts[part] == chosen
        assert list(parts[4 + part]) == list(parts[6 + part]["t"]) == chosen
        assert (parts[8 + part] != Y[rows]).nnz == (parts[10 + part] != Y[rows]).nnz == 0
        assert list(parts[12 + part]) == chosen
    expected = MultilabelStratifiedShuffleSplit(1, test_size=0.2, random_state=0).split(Y, Y)
    np.testing.assert_array_equal(numbers[1], next(expected)[1])


def test_a_quarter_is_held_out_unless_said_otherwise():
    Y = zipf_labels(50, 20)
    assert [part.shape[0] for part in train_test_split(Y, stratify=Y)] == [37, 13]
    assert [part.shape[0] for part in train_test_split(Y, stratify=Y, train_size=7)] == [7, 43]


def test_without_labels_it_is_scikit_learns_own():
    y = np.array([0, 1] * 20)
    for arguments in ({}, {"stratify": y}, {"shuffle": False, "test_size": 3}):
        seed = {} if "shuffle" in arguments else {"random_state": 0}
        ours = train_test_split(y, range(40), **arguments, **seed)
        theirs = sklearns_train_test_split(y, range(40), **arguments, **seed)
        assert [list(part) for part in ours] == [list(part) for part in theirs]


def test_wrong_arguments_of_train_test_split_are_named():
    Y = zipf_labels(10, 4)
    with pytest.raises(ValueError, match="There is no array to split"):
        train_test_split(stratify=Y)
    with pytest.raises(ValueError, match=r"Stratified splits are random. Pass shuffle=True"):
        train_test_split(Y, stratify=Y, shuffle=False)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        train_test_split(Y[:5], stratify=Y)


def test_lists_of_labels_stratify_as_their_matrix_does():
    lists = [["a"], ["b", "c"], ["a", "b"], []] * 5
    Y = MultiLabelBinarizer().fit_transform(lists)
    rows = np.arange(len(lists))
    found, expected = (
        train_test_split(rows, stratify=labels, test_size=0.4, random_state=0)
        for labels in (lists, Y)
    )
    np.testing.assert_array_equal(np.concatenate(found), np.concatenate(expected))
    with pytest.raises(ValueError, match="holds nan"):
        train_test_split(rows, stratify=[[0, 1], [1, np.nan]] * 10)
