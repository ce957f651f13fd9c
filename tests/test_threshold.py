"""Thresholds: tuned against brute force, and one for each label in `predict`."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skxc import DualEncoderXC, ReneeClassifier, UniDEC
from skxc._validation import check_threshold
from skxc.datasets import make_extreme_classification
from skxc.encoders import BagOfWordsEncoder
from skxc.model_selection import tune_threshold

METRICS = ("f1_micro", "f1_macro", "f1_samples")


class Given(ClassifierMixin, BaseEstimator):
    """Its probabilities are given."""

    def __init__(self, proba=None):
        self.proba = proba

    def fit(self, X, y):
        return self

    def predict_proba(self, X):
        return self.proba


def problem(seed, n_rows=30, n_labels=6, k=3, decimals=2, dtype=np.float32):
    """True labels, and the k largest of each row's probabilities, many of them equal."""
    rng = np.random.default_rng(seed)
    Y = (rng.random((n_rows, n_labels)) < 0.3).astype(int)
    Y[:, -1] = 0
    proba = np.round(np.clip(0.3 * Y + rng.uniform(0.05, 0.65, Y.shape), 0, 1), decimals)
    kept = np.argsort(-proba, axis=1)[:, :k]
    top = np.zeros_like(proba)
    np.put_along_axis(top, kept, np.take_along_axis(proba, kept, 1), 1)
    return Y, sp.csr_array(top.astype(dtype))


def f1(Y, proba, threshold, metric):
    """By its definition."""
    dense = proba.toarray() if sp.issparse(proba) else proba
    predicted = (dense >= threshold) & (dense > 0)
    axis = {"f1_micro": None, "f1_macro": 0, "f1_samples": 1}[metric]
    n_hits, n_pairs = (Y * predicted).sum(axis), Y.sum(axis) + predicted.sum(axis)
    return np.mean(2 * n_hits / np.maximum(n_pairs, 1))


# ------------------------------------------------------------------------------- brute force
@pytest.mark.parametrize("decimals", [1, 2, 7])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("metric", METRICS)
def test_no_threshold_is_better(metric, dtype, decimals):
    for seed in range(10):
        Y, proba = problem(seed, decimals=decimals, dtype=dtype)
        threshold = tune_threshold(Given(proba), list(Y), sp.csr_array(Y), metric=metric)
        best = max(f1(Y, proba, t, metric) for t in np.unique(proba.data))
        assert f1(Y, proba, threshold, metric) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("decimals", [1, 2, 7])
def test_no_threshold_of_a_label_is_better_for_it(decimals):
    for seed in range(10):
        Y, proba = problem(seed, decimals=decimals)
        thresholds = tune_threshold(Given(proba), list(Y), Y, per_label=True)
        for label in range(Y.shape[1]):
            columns = Y[:, [label]], proba[:, [label]]
            values = proba[:, [label]].data
            best = max((f1(*columns, t, "f1_macro") for t in np.unique(values)), default=0)
            found = f1(*columns, thresholds[label], "f1_macro")
            assert found == pytest.approx(best, abs=1e-12)
        alone = tune_threshold(Given(proba), list(Y), Y, metric="f1_macro")
        assert f1(Y, proba, thresholds, "f1_macro") >= f1(Y, proba, alone, "f1_macro")


def test_the_threshold_lies_midway_and_is_the_highest_of_equally_good_ones():
    Y = np.array([[1, 0], [1, 0], [0, 1]])
    proba = np.array([[0.75, 0.25], [0.5, 0.125], [0.25, 0.5]])
    assert tune_threshold(Given(proba), "abc", Y) == 0.375
    np.testing.assert_array_equal(
        tune_threshold(Given(proba), "abc", Y, per_label=True), [0.375, 0.375]
    )
    proba = sp.csr_array([[0.9, 0.2], [0.8, 0.1]])  # nothing below the first label's, nor above
    one_each = tune_threshold(Given(proba), "ab", np.array([[1, 1], [1, 0]]), per_label=True)
    np.testing.assert_allclose(one_each, [0.8, 0.15])
    everything = np.array([[0.75, 0.5], [0.75, 0.5], [0.75, 0.5]])
    assert tune_threshold(Given(everything), "abc", np.ones((3, 2))) == 0.5


@pytest.mark.parametrize("gap", [1, 2, 3])
@pytest.mark.parametrize("last_bit", [0, 1])
def test_neighbouring_floats_are_told_apart(gap, last_bit):
    low = high = np.uint32(0x3E99999A | last_bit).view(np.float32)  # 0.3
    for _ in range(gap):
        high = np.nextafter(high, np.float32(1))
    Y, proba = np.array([[1], [0]]), sp.csr_array(np.array([[high], [low]], np.float32))
    Y, proba = (sp.csr_array(sp.hstack([sp.csr_array(m)] * 2)) for m in (Y, proba))
    threshold = tune_threshold(Given(proba), "ab", Y)
    assert isinstance(threshold, float)
    assert (proba.data >= threshold).tolist() == [True, True, False, False]


def test_a_label_never_found_takes_the_best_threshold_for_all():
    Y, proba = problem(0)
    thresholds = tune_threshold(Given(proba), list(Y), Y, per_label=True)
    assert thresholds[-1] == tune_threshold(Given(proba), list(Y), Y, metric="f1_macro")
    assert thresholds.dtype == np.float64


def test_sparse_and_dense_probabilities_give_the_same():
    Y, proba = problem(1, k=6)
    for arguments in ({"metric": metric} for metric in METRICS):
        assert tune_threshold(Given(proba), list(Y), Y, **arguments) == tune_threshold(
            Given(proba.toarray()), list(Y), sp.csc_array(Y), **arguments
        )


def test_excluded_pairs_count_neither_as_true_nor_as_predicted():
    Y, proba = problem(2)
    is_excluded = np.random.default_rng(0).random(Y.shape) < 0.3
    exclude = sp.csr_array(is_excluded)
    without = sp.csr_array(proba.toarray() * ~is_excluded)
    for arguments in (*({"metric": metric} for metric in METRICS), {"per_label": True}):
        np.testing.assert_array_equal(
            tune_threshold(Given(proba), list(Y), Y, exclude=exclude, **arguments),
            tune_threshold(Given(without), list(Y), Y * ~is_excluded, **arguments),
        )


def test_one_label_and_one_row_are_enough():
    proba = sp.csr_array(np.array([[0.25], [0.5], [0.75]]))
    assert tune_threshold(Given(proba), "abc", sp.csr_array([[0], [0], [1]])) == 0.625
    proba, Y = sp.csr_array([[0.25, 0.5]]), sp.csr_array([[1, 0]])
    assert tune_threshold(Given(proba), "a", Y, per_label=True).tolist() == [0.25, 0.25]


# ------------------------------------------------------------------------------------- errors
def test_nothing_to_tune_by_is_an_error():
    Y, proba = problem(0)
    nothing = sp.csr_array(Y.shape)
    with pytest.raises(ValueError, match="None of the 0 true labels is among the predictions"):
        tune_threshold(Given(proba), list(Y), nothing)
    with pytest.raises(ValueError, match=r"Check that Y belongs to X .* or raise top_k"):
        tune_threshold(Given(nothing), list(Y), Y)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metric": "f1"}, "metric='f1' is unknown. Pass one of None, 'f1_micro', 'f1_macro'"),
        ({"per_label": 1}, "per_label=1 is unknown"),
        ({"metric": "f1_micro", "per_label": True}, "Pass metric='f1_macro', or per_label=False"),
        ({"exclude": sp.csr_array((2, 2))}, "exclude has shape (2, 2)"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    Y, proba = problem(0)
    with pytest.raises(ValueError, match=re.escape(message)):
        tune_threshold(Given(proba), list(Y), Y, **arguments)


def test_labels_of_another_shape_are_refused():
    Y, proba = problem(0)
    with pytest.raises(ValueError, match=r"have shape \(30, 6\), but Y has shape \(30, 5\)"):
        tune_threshold(Given(proba), list(Y), Y[:, :5])
    with pytest.raises(ValueError, match="Y is 1-d: predict gives the most probable class"):
        tune_threshold(Given(proba), list(Y), Y[:, 0])


# ----------------------------------------------------------------------------- our estimators
@pytest.fixture(scope="module")
def data():
    return make_extreme_classification(120, 7, labels_per_text=2.5, random_state=0)


@pytest.fixture(scope="module", params=[ReneeClassifier, DualEncoderXC, UniDEC])
def trained(request, data):
    return request.param(
        encoder=BagOfWordsEncoder(dim=16, min_df=1),
        label_texts=data.label_texts,
        epochs=4,
        top_k=4,
        random_state=0,
    ).fit(data.texts[:80], data.Y[:80].astype(np.int64))


@pytest.fixture
def fitted(trained):
    """A test may change its parameters."""
    before = trained.get_params(deep=False)
    yield trained
    trained.set_params(**before)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("sparse_output", [True, False])
def test_predict_attains_the_best_of_all_thresholds(fitted, data, metric, sparse_output):
    texts, Y = data.texts[80:], data.Y[80:]
    fitted.set_params(sparse_output=sparse_output)
    threshold = tune_threshold(fitted, texts, Y, metric=metric)
    proba = fitted.predict_proba(texts)
    values = proba.data if sparse_output else proba.ravel()
    average = metric.removeprefix("f1_")
    scores = [
        f1_score(Y, fitted.set_params(threshold=t).predict(texts), average=average, zero_division=0)
        for t in [threshold, *np.unique(values)[::7]]
    ]
    assert scores[0] >= max(scores) - 1e-12
    best = max(f1(Y.toarray(), proba, t, metric) for t in np.unique(values))
    assert scores[0] == pytest.approx(best, abs=1e-12)  # scikit-learn's F1 and the definition


@pytest.mark.parametrize("sparse_output", [True, False])
@pytest.mark.parametrize("container", [np.asarray, list, pd.Series])
def test_each_label_has_its_own_threshold(fitted, data, sparse_output, container):
    texts, Y = data.texts[80:], data.Y[80:]
    fitted.set_params(sparse_output=sparse_output)
    thresholds = tune_threshold(fitted, texts, Y, per_label=True)
    assert thresholds.shape == (7,)
    predicted = fitted.set_params(threshold=container(thresholds)).predict(texts)
    proba = fitted.predict_proba(texts)
    if sparse_output:
        proba, predicted = proba.toarray(), predicted.toarray()
    np.testing.assert_array_equal(predicted, (proba >= thresholds) & (proba > 0))
    assert predicted.dtype == np.int64


def test_a_threshold_for_each_label_survives_clone_and_fit(fitted, data):
    thresholds = np.linspace(0.1, 0.7, 7)
    again = clone(fitted).set_params(threshold=thresholds).fit(data.texts[:80], data.Y[:80])
    np.testing.assert_array_equal(clone(again).threshold, thresholds)
    proba = again.predict_proba(data.texts).toarray()
    expected = (proba >= thresholds) & (proba > 0)
    np.testing.assert_array_equal(again.predict(data.texts).toarray(), expected)
    assert "threshold=array" in repr(again)


def test_wrapped_estimators_are_tuned_as_alone(fitted, data):
    upper = [text.upper() for text in data.texts]
    pipeline = make_pipeline(FunctionTransformer(_lower), fitted)
    alone = tune_threshold(fitted, data.texts, data.Y)
    assert tune_threshold(pipeline, upper, data.Y) == alone
    search = GridSearchCV(make_pipeline(clone(fitted)), {}, cv=2).fit(data.texts, data.Y)
    inner = search.best_estimator_[-1]
    assert tune_threshold(search, data.texts, data.Y) == tune_threshold(inner, data.texts, data.Y)


def _lower(texts):
    return [text.lower() for text in texts]


def test_estimators_of_other_libraries_are_tuned_too(data):
    clf = make_pipeline(TfidfVectorizer(), OneVsRestClassifier(LogisticRegression()))
    clf.fit(data.texts[:80], data.Y[:80])
    texts, Y = data.texts[80:], data.Y[80:].toarray()
    threshold = tune_threshold(clf, texts, Y)
    proba = clf.predict_proba(texts)
    best = max(f1(Y, proba, t, "f1_micro") for t in np.unique(proba))
    assert f1(Y, proba, threshold, "f1_micro") == pytest.approx(best)


def test_labels_added_later_need_thresholds_of_their_own(data):
    clf = DualEncoderXC(
        encoder=BagOfWordsEncoder(dim=16, min_df=1),
        label_texts=data.label_texts,
        epochs=1,
        threshold=np.full(7, 0.5),
        random_state=0,
    ).fit(data.texts, data.Y)
    assert clf.predict(data.texts).shape == (120, 7)
    clf.add_labels([data.label_texts[0] + " " + data.label_texts[1]])
    message = "threshold has 7 entries, but the model has 8 labels. Pass one number per label, in"
    with pytest.raises(ValueError, match=re.escape(message)):
        clf.predict(data.texts)
    assert clf.set_params(threshold=np.full(8, 0.5)).predict(data.texts).shape == (120, 8)


def test_a_class_is_predicted_whatever_the_threshold(data):
    y = np.array(["a", "b", "c"] * 40)
    clf = ReneeClassifier(
        encoder=BagOfWordsEncoder(dim=16, min_df=1), epochs=1, threshold=[1.0], random_state=0
    )
    assert clf.fit(data.texts, y).predict(data.texts).shape == (120,)


# ---------------------------------------------------------------------------------- the check
@pytest.mark.parametrize("threshold", [0, 1, 0.5, np.float32(0.3), np.float64(0.3)])
def test_a_number_is_a_threshold(threshold):
    found = check_threshold(threshold, 3)
    assert type(found) is float
    assert found == threshold


@pytest.mark.parametrize(
    ("threshold", "error", "message"),
    [
        (1j, TypeError, "Pass a number in"),
        (1.5, ValueError, "threshold=1.5 is out of range. Pass a number in [0, 1]."),
        (np.nan, ValueError, "threshold=nan is out of range"),
        ("0.5", TypeError, "threshold must be a number in [0, 1], got '0.5'."),
        (None, TypeError, "threshold must be a number in [0, 1], got None."),
        ([0.5, 1.5, 0.5], ValueError, "threshold[1]=1.5 is out of range. Pass numbers in [0, 1]."),
        ([0.5, 0.5, np.nan], ValueError, "threshold[2]=nan is out of range."),
        ([0.5, 0.5], ValueError, "threshold has 2 entries, but the model has 3 labels."),
        ([], TypeError, "threshold is []. Pass a number in [0, 1], or a 1-d array of one such"),
        ([[0.5] * 3], TypeError, "threshold is [[0.5, 0.5, 0.5]]. Pass a number"),
        ([0.5, "a", 0.5], TypeError, "threshold is [0.5, 'a', 0.5]. Pass a number"),
        ([".1", ".2", ".3"], TypeError, "threshold is ['.1', '.2', '.3']. Pass a number"),
        ([0.5, [0.5]], TypeError, "threshold is [0.5, [0.5]]. Pass a number"),
    ],
)
def test_what_is_no_threshold_is_named(threshold, error, message):
    with pytest.raises(error, match=re.escape(message)):
        check_threshold(threshold, 3)


def test_a_bad_array_is_refused_in_fit_already(data):
    clf = ReneeClassifier(threshold=[0.5, 2.0])
    with pytest.raises(ValueError, match=re.escape("threshold[1]=2.0 is out of range")):
        clf.fit(data.texts, data.Y)
