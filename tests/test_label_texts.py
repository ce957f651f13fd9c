"""Where the texts of labels come from: y's own names, a list, a dict."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

import skxc
from skxc import DualEncoderXC, ReneeClassifier, UniDEC

TEXTS = ["plum cake with almonds", "quince and plum jam", "smoked eel", "eel with quince"] * 10
NAMED = [["baking", "fruit"], ["fruit", "jam"], ["fish"], ["fish", "fruit"]] * 10
NAMES = ["baking", "fish", "fruit", "jam"]
ESTIMATORS = pytest.mark.parametrize("estimator", [ReneeClassifier, DualEncoderXC, UniDEC])
TOWERS = pytest.mark.parametrize("estimator", [DualEncoderXC, UniDEC])
INDICATOR = np.array([[name in row for name in NAMES] for row in NAMED], dtype=int)


def make(estimator, **parameters):
    return estimator(**{"random_state": 0, "epochs": 2, **parameters})


def assert_equal(model, other):
    np.testing.assert_array_equal(model.label_embeddings_, other.label_embeddings_)
    assert model.predict_labels(TEXTS[:2]) == other.predict_labels(TEXTS[:2])


@ESTIMATORS
@pytest.mark.parametrize(
    "y", [NAMED, pd.DataFrame(INDICATOR, columns=NAMES), [row[0] for row in NAMED]]
)
def test_names_of_labels_are_their_texts(estimator, y):
    model = make(estimator).fit(TEXTS, y)
    assert_equal(model, make(estimator, label_texts=model.classes_.tolist()).fit(TEXTS, y))
    assert set(model.predict_labels(["plum"], k=1)[0]) <= set(NAMES)


@ESTIMATORS
def test_a_dict_gives_the_texts_of_names_or_columns(estimator):
    texts = {name: f"{name} of all kinds" for name in ["unused", *reversed(NAMES)]}
    expected = make(estimator, label_texts=[texts[name] for name in NAMES]).fit(TEXTS, NAMED)
    assert_equal(make(estimator, label_texts=texts).fit(TEXTS, NAMED), expected)
    by_column = dict(enumerate(texts[name] for name in NAMES))
    model = make(estimator, label_texts=by_column).fit(TEXTS, INDICATOR)
    np.testing.assert_array_equal(model.label_embeddings_, expected.label_embeddings_)


@ESTIMATORS
@pytest.mark.parametrize("keys", [NAMES, np.arange(4)])
def test_a_dict_is_cloned_pickled_saved_and_loaded(estimator, keys, tmp_path):
    texts = dict(zip(keys, ["to bake", "an eel", "plums", "jam"], strict=True))
    y = NAMED if isinstance(keys, list) else INDICATOR
    model = clone(make(estimator, label_texts=texts)).fit(TEXTS, y)
    model.save(tmp_path / "model")
    for other in (skxc.load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        assert other.label_texts == texts
        assert_equal(other, model)
    assert_equal(skxc.load(tmp_path / "model").fit(TEXTS, y), model)


@TOWERS
@pytest.mark.parametrize("label_texts", ["auto", dict(zip(NAMES, NAMES, strict=True)), NAMES])
def test_training_goes_on_with_labels_that_were_added(estimator, label_texts):
    model = make(estimator, label_texts=label_texts, warm_start=True).fit(TEXTS, NAMED)
    model.add_labels(["almonds"])
    model.fit(TEXTS, [[*row, "almonds"] for row in NAMED])
    assert model.label_texts_.tolist() == [*NAMES, "almonds"]


@ESTIMATORS
def test_partial_fit_takes_names_as_texts(estimator):
    model = make(estimator).partial_fit(TEXTS, NAMED).partial_fit(TEXTS[:2], NAMED[:2])
    assert model.classes_.tolist() == NAMES


@TOWERS
@pytest.mark.parametrize("y", [INDICATOR, [[0, 2], [2, 3], [1], [1, 2]] * 10, ["10", "20"] * 20])
def test_numbers_are_no_texts(estimator, y):
    message = (
        re.escape("such as ") + "('10'|0)" + re.escape(", which are no words. Pass one text per")
    )
    with pytest.raises(ValueError, match=message):
        make(estimator).fit(TEXTS, y)


def test_renee_needs_no_texts():
    assert make(ReneeClassifier).fit(TEXTS, INDICATOR).n_labels_ == 4
    by_id = make(ReneeClassifier).fit(TEXTS, INDICATOR)
    assert_equal(by_id, make(ReneeClassifier, label_texts=None).fit(TEXTS, INDICATOR))


def test_rows_that_begin_at_label_texts_need_some():
    model = make(ReneeClassifier, classifier_init="label_texts")
    with pytest.raises(ValueError, match="classifier_init='label_texts' needs label_texts"):
        model.fit(TEXTS, INDICATOR)
    assert model.fit(TEXTS, NAMED).n_labels_ == 4


def test_a_series_by_the_labels_names_is_read_by_them():
    texts = {name: f"{name} of all kinds" for name in NAMES}
    model = make(UniDEC, label_texts=pd.Series(texts)[NAMES[::-1]]).fit(TEXTS, NAMED)
    assert model.label_texts_.tolist() == list(texts.values())
