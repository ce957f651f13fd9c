"""The fitted model: one ranker, and the labels that training has seen."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from dataclasses import fields

import numpy as np
import pytest
import scipy.sparse as sp

import skxc
from skxc import DualEncoderXC, ReneeClassifier, UniDEC
from skxc._estimator import _fit
from skxc.encoders import BagOfWordsEncoder

TEXTS = ["red apple", "green apple", "fast car", "old car", "sour apple", "red car"] * 5
NAMES = ["apple", "car", "red", "old apple"]  # no text has the last
Y = np.array(
    [[1, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0]] * 5
)
NEW = np.array([[1, 0, 0, 1], [0, 1, 0, 0]])


@pytest.fixture(params=[ReneeClassifier, DualEncoderXC, UniDEC])
def make(request):
    def make(**parameters):
        own = {} if request.param is ReneeClassifier else {"label_texts": NAMES}
        encoder = BagOfWordsEncoder(dim=8, min_df=1)
        settings = {"epochs": 3, "random_state": 0, "sparse_output": True}
        return request.param(encoder, **settings | own | parameters)

    return make


def test_the_labels_that_a_training_text_has_are_seen(make):
    clf = make().fit(TEXTS, Y)
    assert clf.is_seen_.dtype == bool
    assert clf.is_seen_.tolist() == [True, True, True, False]
    clf.partial_fit(["old apple", "a car"], NEW)
    assert clf.is_seen_.tolist() == [True] * 4
    clf.set_params(warm_start=True).fit(TEXTS, Y)  # seen before is seen
    assert clf.is_seen_.tolist() == [True] * 4


def test_excluded_pairs_are_not_seen(make):
    exclude = np.zeros_like(Y)
    exclude[:, 2] = 1
    clf = make().fit(TEXTS, Y, exclude=sp.csr_array(exclude))
    assert clf.is_seen_.tolist() == [True, True, False, False]


def test_what_was_seen_is_saved(make, tmp_path):
    clf = make().fit(TEXTS, Y)
    clf.save(tmp_path / "model")
    for other in (skxc.load(tmp_path / "model"), pickle.loads(pickle.dumps(clf))):
        np.testing.assert_array_equal(other.is_seen_, clf.is_seen_)
        np.testing.assert_array_equal(other.predict_top_k(TEXTS)[1], clf.predict_top_k(TEXTS)[1])


@pytest.mark.parametrize("cls", [DualEncoderXC, UniDEC])
def test_added_labels_are_unseen_and_ranked_by_their_texts(cls):
    clf = cls(BagOfWordsEncoder(dim=8, min_df=1), label_texts=NAMES, random_state=0).fit(TEXTS, Y)
    with pytest.warns(UserWarning, match="these labels rank last"):
        clf.add_labels(["sour", "unknown words"])
    assert clf.is_seen_.tolist() == [True, True, True, False, False, False]
    labels, scores = clf.predict_top_k(["sour"])
    assert labels[0, 0] == 4
    assert (labels[0, -1], scores[0, -1]) == (5, -1e4)


@pytest.mark.parametrize("sparse_output", [True, False])
def test_an_unseen_label_of_which_nothing_is_known_scores_below_all_others(sparse_output):
    clf = ReneeClassifier(epochs=2, random_state=0, sparse_output=sparse_output).fit(TEXTS, Y)
    labels, scores = clf.predict_top_k(["apple", "nothing known", ""])
    assert (labels[:, -1] == 3).all()
    assert (scores[:, -1] == -1e4).all()
    assert (scores[:, :-1] > -100).all()
    if not sparse_output:
        assert (clf.decision_function(["apple"])[:, 3] == -1e4).all()


def test_an_encoder_without_words_gets_no_lexical_weights_by_default():
    class NoWords(BagOfWordsEncoder):
        has_words = False

    clf = UniDEC(NoWords(dim=8, min_df=1), label_texts=NAMES, random_state=0).fit(TEXTS, Y)
    assert clf.lexical_weights_ == {}
    with pytest.raises(ValueError, match="has no words to weigh"):
        clf.set_params(lexical_learning_rate=1.0).fit(TEXTS, Y)
    with_words = UniDEC(BagOfWordsEncoder(dim=8, min_df=1), label_texts=NAMES).fit(TEXTS, Y)
    assert with_words.lexical_weights_["learnt"].any()


def test_the_trained_module_predicts_and_is_built_again_after_pickling(make, monkeypatch):
    built = []
    build_module = BagOfWordsEncoder.build_module
    monkeypatch.setattr(
        BagOfWordsEncoder, "build_module", lambda self: built.append(1) or build_module(self)
    )
    clf = make().fit(TEXTS, Y)
    scores = clf.predict_top_k(TEXTS)[1]
    clf.transform(TEXTS)
    assert len(built) == 1  # for the training
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict_top_k(TEXTS)[1], scores)
    again.predict_top_k(TEXTS)
    assert len(built) == 2


def test_a_fitted_estimator_holds_nothing_of_the_training(make, monkeypatch):
    """Adam's moments are twice as large as the model."""
    methods, train = [], _fit.train

    def recorded(method, *args):
        methods.append(weakref.ref(method))
        return train(method, *args)

    monkeypatch.setattr(_fit, "train", recorded)
    clf = make().fit(TEXTS, Y)
    clf.predict_top_k(TEXTS)
    gc.collect()
    assert methods[0]() is None


def test_nothing_of_the_training_is_held_while_scores_are_calibrated(make, monkeypatch):
    methods, alive, train = [], [], _fit.train

    def recorded(method, *args):
        methods.append(weakref.ref(method))
        return train(method, *args)

    def calibrate(self, setup, ended):
        gc.collect()
        alive.append(methods[0]() is not None)

    monkeypatch.setattr(_fit, "train", recorded)
    clf = make()
    monkeypatch.setattr(type(clf), "_calibrate", calibrate)
    clf.fit(TEXTS, Y)
    assert alive == [False]


def test_every_setting_is_a_parameter(make):
    clf = make()
    names = {field.name for field in fields(clf._method.Settings)} - {"dim"}
    assert names <= set(clf.get_params(deep=False))
    encoder = BagOfWordsEncoder(dim=8)
    settings = clf._settings(encoder, 8, sp.csr_array(Y), is_partial=False)
    told = clf.get_params(deep=False)
    for name in names:
        if told[name] is not None:
            assert getattr(settings, name) == told[name]
    for name, value in clf._default_values(encoder).items():
        if name not in ("batch_size", "epochs"):
            assert getattr(settings, name) == value
    parameters = copy.deepcopy(told)
    assert clf.get_params(deep=False).keys() == parameters.keys()


def test_numbers_of_numpy_are_settings_of_python(make):
    settings = make(learning_rate=np.float32(0.5), batch_size=np.int64(4))._settings(
        BagOfWordsEncoder(dim=8), 8, sp.csr_array(Y), is_partial=False
    )
    assert type(settings.learning_rate) is float
    assert type(settings.batch_size) is int
