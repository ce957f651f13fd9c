"""Where scikit-learn carries weights and masks to, for every estimator."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
from contract import N_LABELS, N_TEXTS, assert_equal_models
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    RandomizedSearchCV,
    cross_validate,
)
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skxc.metrics import XMCScorer

WEIGHTS = np.arange(N_TEXTS) % 3
EXCLUDE = sp.csr_array(np.random.default_rng(0).random((N_TEXTS, N_LABELS)) < 0.3)
SEARCHES = {
    "grid": (GridSearchCV, {"param_grid": {"clf__epochs": [2]}}),
    "randomized": (
        RandomizedSearchCV,
        {"param_distributions": {"clf__epochs": [2]}, "n_iter": 1, "random_state": 0},
    ),
    "halving": (
        HalvingGridSearchCV,
        {"param_grid": {"clf__dropout": [None]}, "resource": "clf__epochs", "min_resources": 2,
         "max_resources": 2},
    ),
}  # fmt: skip


def fold_by_hand(estimator, data, fold=0):
    """Fitted on the fold's own rows of everything; its held-out texts, labels, weights, mask."""
    train, test = list(KFold(2).split(data.texts))[fold]
    estimator.fit([data.texts[i] for i in train], data.Y[train], WEIGHTS[train], EXCLUDE[train])
    return estimator, [data.texts[i] for i in test], data.Y[test], WEIGHTS[test], EXCLUDE[test]


def asking(estimator):
    """The estimator, asking for whatever it can use."""
    return (
        estimator.set_fit_request(sample_weight=True, exclude=True)
        .set_partial_fit_request(sample_weight=True, exclude=True, classes=True)
        .set_predict_request(exclude=True)
        .set_predict_proba_request(exclude=True)
        .set_score_request(sample_weight=True, exclude=True)
    )


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


# -------------------------------------------------------------------------------------- routing on
def test_a_search_splits_and_routes_weights_and_masks(make, data):
    weights = np.arange(N_TEXTS) % 3
    exclude = sp.csr_array(np.random.default_rng(0).random(data.Y.shape) < 0.3)
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = (
            make()
            .set_fit_request(sample_weight=True, exclude=True)
            .set_score_request(sample_weight=True, exclude=True)
        )
        search = GridSearchCV(estimator, {"epochs": [2]}, cv=KFold(2), error_score="raise")
        search.fit(data.texts, data.Y, sample_weight=weights, exclude=exclude)
    for i, (train, test) in enumerate(KFold(2).split(data.texts)):
        by_hand = make(epochs=2).fit(
            [data.texts[j] for j in train], data.Y[train], weights[train], exclude[train]
        )
        score = by_hand.score(
            [data.texts[j] for j in test], data.Y[test], weights[test], exclude[test]
        )
        assert search.cv_results_[f"split{i}_test_score"][0] == pytest.approx(score)


def test_a_pipeline_routes_the_mask_to_prediction(make, trained, data):
    exclude = sp.csr_array(np.eye(N_TEXTS, N_LABELS))
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = make().set_predict_proba_request(exclude=True)
        pipeline = make_pipeline(FunctionTransformer(list), estimator).fit(data.texts, data.Y)
        proba = pipeline.predict_proba(data.texts, exclude=exclude)
    assert (proba != trained.predict_proba(data.texts, exclude=exclude)).nnz == 0
    assert proba.multiply(exclude).nnz == 0


@pytest.mark.parametrize("kind", SEARCHES)
def test_every_search_over_a_pipeline_routes_weights_and_masks(make, data, routing, kind):
    pipeline = Pipeline([("list", FunctionTransformer(list)), ("clf", asking(make(epochs=2)))])
    scorer = XMCScorer("P@1").set_score_request(sample_weight=True, exclude=True)
    search_class, keywords = SEARCHES[kind]
    search = search_class(
        pipeline, cv=KFold(2), scoring=scorer, n_jobs=2,
        error_score="raise", **keywords,
    )  # fmt: skip
    search.fit(data.texts, data.Y, sample_weight=WEIGHTS, exclude=EXCLUDE)
    by_hand, texts, Y, weights, exclude = fold_by_hand(make(epochs=2), data)
    score = by_hand.score(texts, Y, weights, exclude)
    assert search.cv_results_["split0_test_score"][0] == pytest.approx(score)
    expected = make(epochs=2).fit(data.texts, data.Y, WEIGHTS, EXCLUDE)
    assert_equal_models(search.best_estimator_[-1], expected)


@pytest.mark.parametrize("name", ["sample_weight", "exclude"])
def test_what_nobody_asked_for_is_an_error_that_says_what_to_do(make, data, routing, name):
    given = {"sample_weight": WEIGHTS, "exclude": EXCLUDE}[name]
    message = re.escape(f"[{name}] are passed but are not explicitly set as requested")
    nests = [
        GridSearchCV(make(), {"epochs": [1]}, cv=KFold(2)),
        make_pipeline(FunctionTransformer(list), make()),
        FeatureUnion([("embedding", make())]),
    ]
    for nest in nests:
        with pytest.raises(UnsetMetadataPassedError, match=message):
            nest.fit(data.texts, data.Y, **{name: given})


def test_what_is_refused_is_not_handed_on_and_an_alias_is(make, data, routing):
    pipeline = make_pipeline(
        FunctionTransformer(list), make().set_fit_request(sample_weight=False, exclude="mask")
    )
    pipeline.fit(data.texts, data.Y, mask=EXCLUDE)
    assert_equal_models(pipeline[-1], make().fit(data.texts, data.Y, exclude=EXCLUDE))
    with pytest.raises(TypeError, match="sample_weight"):
        pipeline.fit(data.texts, data.Y, sample_weight=WEIGHTS)


def test_a_clone_asks_for_the_same(make, routing):
    estimator = asking(make())
    asked = {
        method: getattr(estimator.get_metadata_routing(), method).requests
        for method in ("fit", "partial_fit", "predict", "predict_proba", "score")
    }
    assert asked == {
        "fit": {"sample_weight": True, "exclude": True},
        "partial_fit": {"sample_weight": True, "exclude": True, "classes": True},
        "predict": {"exclude": True},
        "predict_proba": {"exclude": True},
        "score": {"sample_weight": True, "exclude": True},
    }
    again = clone(estimator).get_metadata_routing()
    assert {method: getattr(again, method).requests for method in asked} == asked


def test_unions_and_columns_route_weights_and_masks_to_fit(make, data, routing):
    expected = make().fit(data.texts, data.Y, WEIGHTS, EXCLUDE).transform(data.texts)
    union = FeatureUnion([("embedding", asking(make())), ("tfidf", TfidfVectorizer())])
    union.fit(data.texts, data.Y, sample_weight=WEIGHTS, exclude=EXCLUDE)
    features = union.transform(data.texts)[:, : expected.shape[1]].toarray()
    np.testing.assert_array_equal(features, expected)
    columns = ColumnTransformer([("embedding", asking(make()), "title")])
    features = columns.fit_transform(
        pd.DataFrame({"title": data.texts}), data.Y, sample_weight=WEIGHTS, exclude=EXCLUDE
    )
    np.testing.assert_array_equal(features, expected)


def test_a_frozen_estimator_hands_the_mask_to_prediction(make, data, routing):
    fitted = asking(make()).fit(data.texts, data.Y)
    pipeline = make_pipeline(FunctionTransformer(list), FrozenEstimator(fitted))
    pipeline.fit(data.texts, data.Y)
    for predicted in (
        pipeline.predict_proba(data.texts, exclude=EXCLUDE),
        pipeline.predict(data.texts, exclude=EXCLUDE),
    ):
        assert predicted.nnz > 0
        assert predicted.multiply(EXCLUDE).nnz == 0


def test_cross_validation_routes_weights_and_masks(make, data, routing):
    scores = cross_validate(
        asking(make()), data.texts, data.Y.toarray(), cv=KFold(2), error_score="raise",
        params={"sample_weight": WEIGHTS, "exclude": EXCLUDE},
    )["test_score"]  # fmt: skip
    by_hand, texts, Y, weights, exclude = fold_by_hand(make(), data)
    assert scores[0] == pytest.approx(by_hand.score(texts, Y, weights, exclude))


# ------------------------------------------------------------------------------------- routing off
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_without_routing_a_search_splits_what_fit_is_given(make, data, n_jobs):
    search = GridSearchCV(make(), {"epochs": [2]}, cv=KFold(2), n_jobs=n_jobs, error_score="raise")
    search.fit(data.texts, data.Y, sample_weight=WEIGHTS, exclude=EXCLUDE)
    for fold in range(2):
        by_hand, texts, Y, weights, _ = fold_by_hand(make(epochs=2), data, fold)
        if sklearn.__version__.startswith("1.6."):
            weights = None  # that one hands them to `fit` alone
        score = by_hand.score(texts, Y, weights)
        assert search.cv_results_[f"split{fold}_test_score"][0] == pytest.approx(score)
    expected = make(epochs=2).fit(data.texts, data.Y, WEIGHTS, EXCLUDE)
    assert_equal_models(search.best_estimator_, expected)


def test_without_routing_a_pipeline_hands_on_what_its_steps_are_given(make, data):
    pipeline = Pipeline([("list", FunctionTransformer(list)), ("clf", make())])
    pipeline.fit(data.texts, data.Y, clf__sample_weight=WEIGHTS, clf__exclude=EXCLUDE)
    expected = make().fit(data.texts, data.Y, WEIGHTS, EXCLUDE)
    assert_equal_models(pipeline[-1], expected)
    assert pipeline.predict_proba(data.texts, exclude=EXCLUDE).multiply(EXCLUDE).nnz == 0
    assert pipeline.score(data.texts, data.Y, sample_weight=WEIGHTS) == pytest.approx(
        expected.score(data.texts, data.Y, sample_weight=WEIGHTS)
    )
    search = GridSearchCV(pipeline, {"clf__epochs": [3]}, cv=KFold(2), error_score="raise")
    search.fit(data.texts, data.Y, clf__sample_weight=WEIGHTS, clf__exclude=EXCLUDE)
    assert_equal_models(search.best_estimator_[-1], expected)


def test_fit_transform_takes_weights_and_masks(make, data):
    features = make().fit_transform(data.texts, data.Y, sample_weight=WEIGHTS, exclude=EXCLUDE)
    expected = make().fit(data.texts, data.Y, WEIGHTS, EXCLUDE).transform(data.texts)
    np.testing.assert_array_equal(features, expected)
