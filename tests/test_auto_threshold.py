"""The threshold that `fit` chooses by itself."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.metrics import f1_score

import skxc
from skxc import DualEncoderXC, ReneeClassifier, UniDEC
from skxc.datasets import load_library_subjects, make_extreme_classification
from skxc.model_selection import tune_threshold

ESTIMATORS = pytest.mark.parametrize("estimator", [ReneeClassifier, DualEncoderXC, UniDEC])


@pytest.fixture(scope="module")
def large():
    """Enough texts that some are held out."""
    return make_extreme_classification(1_300, 30, random_state=0)


def make(estimator, data, **parameters):
    settings = {"label_texts": data.label_texts, "random_state": 0, "epochs": 2} | parameters
    return estimator(**settings)


def chosen_by(model, data):
    """The rows that `_split` holds out."""
    seed = np.random.RandomState(0).randint(2**31 - 1, size=1)[0]
    order = np.random.default_rng(seed).permutation(len(data.texts))
    return order[: round(0.1 * len(order)) if model.early_stopping else len(order) // 20]


@ESTIMATORS
@pytest.mark.parametrize("early_stopping", [False, True])
def test_it_is_the_best_for_micro_f1_on_the_held_out_texts(estimator, early_stopping, large):
    model = make(estimator, large, early_stopping=early_stopping).fit(large.texts, large.Y)
    rows = chosen_by(model, large)
    texts, Y = [large.texts[i] for i in rows], large.Y[rows]
    assert model.threshold_ == tune_threshold(model, texts, Y)
    assert 0 < model.threshold_ < 1


@ESTIMATORS
def test_predict_uses_it_unless_told_otherwise(estimator, large):
    model = make(estimator, large).fit(large.texts, large.Y)
    proba = model.predict_proba(large.texts[:50])
    expected = proba.toarray() >= np.float32(model.threshold_)
    np.testing.assert_array_equal(model.predict(large.texts[:50]).toarray() > 0, expected)
    half = model.set_params(threshold=0.5).predict(large.texts[:50])
    np.testing.assert_array_equal(half.toarray() > 0, proba.toarray() >= 0.5)
    again = model.set_params(threshold="auto").predict(large.texts[:50])
    np.testing.assert_array_equal(again.toarray() > 0, expected)


@ESTIMATORS
def test_it_finds_labels_where_one_half_finds_few(estimator):
    data = load_library_subjects()
    model = make(estimator, data, epochs=3).fit(data.texts, data.Y)
    truth = data.Y_test > 0

    def f1(threshold):
        predicted = model.set_params(threshold=threshold).predict(data.test_texts)
        return f1_score(truth, predicted, average="micro", zero_division=0)

    assert f1("auto") > f1(0.5) + 0.02


@ESTIMATORS
def test_it_changes_nothing_else(estimator, data):
    model = make(estimator, data).fit(data.texts, data.Y)
    other = make(estimator, data, threshold=0.5).fit(data.texts, data.Y)
    np.testing.assert_array_equal(model.label_embeddings_, other.label_embeddings_)
    assert model.threshold_ == other.threshold_


@ESTIMATORS
def test_it_is_saved_and_loaded(estimator, data, tmp_path):
    model = make(estimator, data).fit(data.texts, data.Y)
    model.save(tmp_path / "model")
    loaded = skxc.load(tmp_path / "model")
    assert (loaded.threshold, loaded.threshold_) == ("auto", model.threshold_)
    assert (loaded.predict(data.texts) != model.predict(data.texts)).nnz == 0


@ESTIMATORS
def test_a_small_batch_of_a_stream_leaves_it(estimator, data):
    model = make(estimator, data).partial_fit(data.texts, data.Y)
    threshold = model.threshold_
    assert model.partial_fit(data.texts[:5], data.Y[:5]).threshold_ == threshold


@ESTIMATORS
def test_a_warm_start_chooses_anew(estimator, data):
    model = make(estimator, data, warm_start=True).fit(data.texts, data.Y)
    threshold = model.threshold_
    assert model.fit(data.texts, data.Y).threshold_ != threshold


@ESTIMATORS
def test_classes_have_none(estimator, data):
    y = np.array(["red", "green"] * (len(data.texts) // 2))
    model = make(estimator, data, label_texts="auto").fit(data.texts, y)
    assert not hasattr(model, "threshold_")
    assert set(model.predict(data.texts)) <= {"red", "green"}


@ESTIMATORS
def test_texts_without_a_label_leave_one_half(estimator, data):
    Y = sp.csr_array(data.Y.shape)
    with pytest.warns(UserWarning, match="texts has a label"):
        assert make(estimator, data).fit(data.texts, Y).threshold_ == 0.5


@ESTIMATORS
def test_texts_of_weight_0_have_no_say(estimator, data):
    weights = np.ones(len(data.texts))
    weights[::2] = 0
    model = make(estimator, data).fit(data.texts, data.Y, sample_weight=weights)
    kept = np.flatnonzero(weights)
    assert model.threshold_ == tune_threshold(model, [data.texts[i] for i in kept], data.Y[kept])


@pytest.mark.parametrize("threshold", ["best", "Auto", ["auto"] * 20])
def test_other_words_are_refused(threshold, data):
    with pytest.raises(TypeError, match="threshold"):
        make(ReneeClassifier, data, threshold=threshold).fit(data.texts, data.Y)
