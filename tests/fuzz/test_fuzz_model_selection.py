"""Random labels and probabilities: splits, thresholds and out-of-fold predictions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from inputs import matrices, reduced
from sklearn.base import BaseEstimator, ClassifierMixin
from tries import fuzzed, tried

from skxc.model_selection import (
    MultilabelStratifiedKFold,
    MultilabelStratifiedShuffleSplit,
    cross_val_predict_top_k,
    train_test_split,
    tune_threshold,
)

pytestmark = pytest.mark.filterwarnings("ignore")

TRUTH = st.sampled_from([0.0, 0.0, 1.0])
ANY_TRUTH = st.sampled_from([0.0, 1.0, 1.0, 0.5, 2.0, -1.0, math.nan])
PROBA = st.sampled_from([0.1, 0.25, 0.5, 0.5, 0.75, 0.9])
SHAPES = st.tuples(st.integers(2, 8), st.integers(1, 5))


class ByRow(ClassifierMixin, BaseEstimator):
    """Another library's classifier: X are numbers of the rows of its probabilities."""

    def __init__(self, proba=None):
        self.proba = proba

    def fit(self, X, y):
        return self

    def predict_proba(self, X):
        whole = len(X) == self.proba.shape[0] and (np.ravel(X) == np.arange(len(X))).all()
        return self.proba if whole else self.proba[np.ravel(X)]


def clean(entries, shape):
    """The labels as CSR, where they are relevances."""
    assert entries is not None, "nonsense was read"
    assert all(0 <= value <= 1 for *_, value in entries)
    return sp.csr_array(reduced(entries, shape, max))


@fuzzed(100)
@given(st.data())
def test_splits_are_those_of_the_clean_matrix(data):
    shape = data.draw(SHAPES)
    Y, entries = data.draw(matrices(shape, data.draw(st.sampled_from([TRUTH, TRUTH, ANY_TRUTH]))))
    seed, n_splits = data.draw(st.integers(0, 9)), data.draw(st.integers(2, 3))
    size = data.draw(st.integers(1, shape[0] - 1))
    rows = range(shape[0])
    splits = data.draw(st.sampled_from([
        lambda Y: list(MultilabelStratifiedKFold(n_splits).split(rows, Y)),
        lambda Y: list(MultilabelStratifiedKFold(n_splits, shuffle=True, random_state=seed)
                       .split(rows, Y)),
        lambda Y: list(MultilabelStratifiedShuffleSplit(2, test_size=size, random_state=seed)
                       .split(rows, Y)),
        lambda Y: [train_test_split(np.array(rows), stratify=Y, test_size=size, random_state=seed)],
    ]))  # fmt: skip
    with tried("model selection"):
        found = splits(Y)
        for train, test in found:
            assert sorted([*train, *test]) == list(rows)
            assert len(train)
            assert len(test)
        if entries is not None and hasattr(Y, "shape") and shape[1] > 1:
            expected = splits(clean(entries, shape))
            for ours, plain in zip(found, expected, strict=True):
                np.testing.assert_array_equal(ours[1], plain[1])


def f1_micro(truth, proba, threshold):
    given = proba >= threshold
    return 2 * (truth & given).sum() / max(truth.sum() + given.sum(), 1)


@fuzzed(100)
@given(st.data())
def test_no_threshold_is_better_than_the_tuned_one(data):
    shape = data.draw(SHAPES)
    Y, entries = data.draw(matrices(shape, TRUTH))
    proba, stored = data.draw(matrices(shape, PROBA))
    exclude, excluded = data.draw(
        st.one_of(
            *2 * [st.just((None, []))], matrices(shape, st.sampled_from([0.0, 0.0, 1.0, 128.0]))
        )
    )
    metric = data.draw(st.sampled_from(["f1_micro", "f1_samples", "f1_macro"]))
    if len(getattr(proba, "shape", ())) != 2 or proba.shape[0] != shape[0]:
        return  # no classifier gives that
    with tried("model selection"):
        threshold = tune_threshold(
            ByRow(proba), np.arange(shape[0])[:, None], Y, metric=metric, exclude=exclude
        )
        assert threshold >= 0
        if len({place[:2] for place in stored}) < len(stored):
            return  # probabilities stored twice have no meaning
        if not hasattr(Y, "shape"):
            return  # lists may be of labels
        truth = clean(entries, shape).toarray() > 0
        assert exclude is None or excluded is not None, "a nonsense mask was read"
        is_excluded = reduced(excluded or [], shape, any) > 0
        has_proba = (reduced([(r, c, 1.0) for r, c, _ in stored], shape, max) > 0) & ~is_excluded
        dense = np.where(has_proba, reduced(stored, shape, max), -1.0)
        truth &= ~is_excluded

        def mean_f1(at):
            if metric == "f1_micro":
                return f1_micro(truth, dense, at)
            pairs = (
                zip(truth, dense, strict=True)
                if metric == "f1_samples"
                else zip(truth.T, dense.T, strict=True)
            )
            return np.mean([f1_micro(*pair, at) for pair in pairs])

        best = max(mean_f1(at) for at in np.unique(dense[has_proba]))
        assert mean_f1(threshold) == pytest.approx(best, abs=1e-6)


@fuzzed(60)
@given(st.data())
def test_out_of_fold_predictions_are_the_best_of_each_row(data):
    shape, k = data.draw(SHAPES), data.draw(st.integers(1, 6))
    Y, _ = data.draw(matrices(shape, TRUTH))
    dense = np.array(data.draw(st.lists(PROBA, min_size=shape[0] * shape[1],
                                        max_size=shape[0] * shape[1]))).reshape(shape)  # fmt: skip
    exclude, excluded = data.draw(
        st.one_of(
            *2 * [st.just((None, []))], matrices(shape, st.sampled_from([0.0, 0.0, 1.0, 128.0]))
        )
    )
    cv = data.draw(st.integers(2, shape[0]))
    with tried("model selection"):
        found = cross_val_predict_top_k(
            ByRow(dense), np.arange(shape[0])[:, None], Y, k, cv=cv, exclude=exclude
        ).toarray()
        assert exclude is None or excluded is not None, "a nonsense mask was read"
        kept = np.where(reduced(excluded or [], shape, any) > 0, -1.0, dense)
        for ours, row in zip(found, kept, strict=True):
            best = [j for j in np.argsort(-row, kind="stable") if row[j] >= 0][:k]
            expected = np.zeros(shape[1])
            expected[best] = row[best]
            np.testing.assert_allclose(ours, expected, rtol=1e-6)


@fuzzed(60)
@given(st.data())
def test_parts_of_a_matrix_are_its_rows(data):
    shape = data.draw(SHAPES)
    matrix, entries = data.draw(matrices(shape, st.sampled_from([0.0, 0.0, 1.0, 100.0, -2.0])))
    size = data.draw(st.integers(1, shape[0] - 1))
    with tried("model selection"):
        rows = train_test_split(np.arange(shape[0]), matrix, test_size=size, random_state=0)
        if entries is None or not sp.issparse(matrix):
            assert [len(part) for part in rows[:2]] == [shape[0] - size, size]
            return
        for taken, part in zip(rows[:2], rows[2:], strict=True):
            coo = part.tocoo()
            ours = sorted(
                zip(coo.row.tolist(), coo.col.tolist(), coo.data.astype(float), strict=True)
            )
            place = {row: i for i, row in enumerate(taken.tolist())}
            assert ours == sorted((place[r], c, v) for r, c, v in entries if r in place)
