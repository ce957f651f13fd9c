"""Searches and cross-validation over every estimator, on real texts."""

from __future__ import annotations

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
from containers import FEW_MATRICES, FEW_TEXT_CONTAINERS
from contract import N_TEXTS, assert_equal_models
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import FitFailedWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.inspection import permutation_importance
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    KFold,
    RandomizedSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    learning_curve,
    validation_curve,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skxc.metrics import XMCScorer, precision_at_k

TWO_FOLDS = KFold(2, shuffle=True, random_state=0)


def lower(texts):
    return [text.lower() for text in texts]


def scores_by_hand(estimator, data, cv=TWO_FOLDS):
    """`score` of each fold's held-out texts, without scikit-learn's help."""
    scores = []
    for train, test in cv.split(data.texts):
        estimator.fit([data.texts[i] for i in train], data.Y[train])
        scores.append(estimator.score([data.texts[i] for i in test], data.Y[test]))
    return scores


def split_scores(search, candidate=0, metric="score"):
    """The search's scores of one candidate, fold by fold."""
    return [search.cv_results_[f"split{i}_test_{metric}"][candidate] for i in range(2)]


@pytest.fixture(scope="module")
def expected_scores(make, data):
    return scores_by_hand(make(epochs=1), data)


# ------------------------------------------------------------------------------------ what goes in
@pytest.mark.parametrize("container", FEW_TEXT_CONTAINERS)
def test_a_search_splits_containers_of_texts(make, data, expected_scores, container):
    X = FEW_TEXT_CONTAINERS[container](data.texts)
    search = GridSearchCV(
        make(), {"epochs": [1]}, cv=TWO_FOLDS, refit=False, error_score="raise"
    ).fit(X, data.Y)  # fmt: skip
    assert split_scores(search) == pytest.approx(expected_scores)


@pytest.mark.parametrize("container", FEW_MATRICES)
def test_a_search_splits_label_matrices(make, data, expected_scores, container):
    Y = FEW_MATRICES[container](data.Y.toarray())
    search = GridSearchCV(
        make(), {"epochs": [1]}, cv=TWO_FOLDS, refit=False, error_score="raise"
    ).fit(data.texts, Y)  # fmt: skip
    assert split_scores(search) == pytest.approx(expected_scores)


@pytest.mark.parametrize(
    ("n_labels", "container"),
    [(1, sp.csr_array), (1, sp.csr_matrix), (2, sp.csr_array), (2, sp.csr_matrix), (2, np.asarray)],
)
def test_a_search_takes_one_label_and_two(make, data, n_labels, container):
    # one dense column is read as classes, as scikit-learn reads it
    Y = container(data.Y.toarray()[:, :n_labels])
    search = GridSearchCV(
        make(n_labels), {"epochs": [1, 2]}, cv=TWO_FOLDS, error_score="raise",
        scoring={"own": own_score, "P@1": XMCScorer("P@1")}, refit="P@1",
    ).fit(data.texts, Y)  # fmt: skip
    assert search.predict_proba(data.texts).shape == (N_TEXTS, n_labels)
    train, test = next(TWO_FOLDS.split(data.texts))
    by_hand = make(n_labels, epochs=1).fit([data.texts[i] for i in train], Y[train])
    expected = by_hand.score([data.texts[i] for i in test], Y[test])
    for metric in ("own", "P@1"):
        assert split_scores(search, metric=metric)[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("n_classes", "metrics"),
    [(2, ("f1", "roc_auc", "average_precision", "neg_log_loss", "neg_brier_score")),
     (4, ("f1_macro", "roc_auc_ovr", "balanced_accuracy", "neg_log_loss"))],
)  # fmt: skip
def test_a_search_over_classes_is_stratified_and_takes_scikit_learns_metrics(
    make, data, n_classes, metrics
):
    y = np.unique(data.classes, return_inverse=True)[1] % n_classes
    search = GridSearchCV(
        make(n_classes), {"epochs": [1, 2]}, cv=2, scoring=metrics, refit=metrics[0],
        error_score="raise",
    ).fit(data.texts, y)  # fmt: skip
    assert search.classes_.tolist() == list(range(n_classes))
    train, test = next(StratifiedKFold(2).split(data.texts, y))
    by_hand = make(n_classes, epochs=2).fit([data.texts[i] for i in train], y[train])
    for metric in metrics:
        expected = sklearn.metrics.get_scorer(metric)(
            by_hand, [data.texts[i] for i in test], y[test]
        )
        assert split_scores(search, 1, metric)[0] == pytest.approx(expected)


# --------------------------------------------------------------------------------------- searching
def test_a_grid_search_over_the_encoder_runs_in_two_processes_on_sparse_labels(make, data):
    search = GridSearchCV(
        make(), {"encoder__dim": [4, 16], "epochs": [1, 8]}, cv=KFold(2), n_jobs=2,
        error_score="raise",
    )  # fmt: skip
    search.fit(data.texts, data.Y)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert search.best_score_ == max(scores) > min(scores)
    assert search.predict_proba(data.texts).shape == data.Y.shape
    train, test = next(KFold(2).split(data.texts))
    by_hand = make(**search.cv_results_["params"][3])
    by_hand.fit([data.texts[i] for i in train], data.Y[train])
    assert search.cv_results_["split0_test_score"][3] == pytest.approx(
        by_hand.score([data.texts[i] for i in test], data.Y[test])
    )


def test_halving_spends_epochs(make, data):
    search = HalvingGridSearchCV(
        make(), {"dropout": [0.0, 0.9]}, resource="epochs", min_resources=1, max_resources=4,
        factor=2, cv=KFold(2), random_state=0, error_score="raise",
    )  # fmt: skip
    search.fit(data.texts, data.Y)
    assert search.n_resources_ == [1, 2]
    assert search.best_estimator_.n_iter_ == search.best_params_["epochs"]


SEARCHES = {
    "grid": (GridSearchCV, {}),
    "randomized": (RandomizedSearchCV, {"n_iter": 3, "random_state": 0}),
    "halving grid": (HalvingGridSearchCV, {"resource": "clf__epochs", "max_resources": 4}),
    "halving random": (
        HalvingRandomSearchCV,
        {"resource": "clf__epochs", "max_resources": 4, "random_state": 0},
    ),
}


@pytest.mark.parametrize("kind", SEARCHES)
def test_every_search_runs_in_two_processes_over_a_pipeline_on_sparse_labels(make, data, kind):
    pipeline = Pipeline([("lower", FunctionTransformer(lower)), ("clf", make())])
    grid = {"clf__encoder__dim": [4, 8], "clf__dropout": [0.0, 0.5]}
    search_class, keywords = SEARCHES[kind]
    if "resource" in keywords:
        keywords = {**keywords, "min_resources": 1, "factor": 2}
    one, two = (
        search_class(pipeline, grid, cv=TWO_FOLDS, error_score="raise", n_jobs=n, **keywords)
        .fit(data.texts, data.Y)
        for n in (1, 2)
    )  # fmt: skip
    for name, values in one.cv_results_.items():
        if "time" not in name:
            np.testing.assert_array_equal(two.cv_results_[name], values)
    if "resource" in keywords:
        assert one.n_resources_ == [1, 2, 4][: one.n_iterations_]
        assert one.best_estimator_[-1].n_iter_ == one.best_params_["clf__epochs"]
    best = {name.removeprefix("clf__"): value for name, value in one.best_params_.items()}
    by_hand = make(**best).fit(lower(data.texts), data.Y)
    for search in (one, two):
        assert_equal_models(search.best_estimator_[-1], by_hand)
        assert (search.predict(data.texts) != by_hand.predict(lower(data.texts))).nnz == 0


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_every_backend_of_joblib_finds_the_same_scores(make, data, backend):
    search = GridSearchCV(
        make(), {"epochs": [1, 2], "dropout": [0.3, 0.6]}, cv=TWO_FOLDS, refit=False,
        error_score="raise",
    )  # fmt: skip
    expected = search.fit(data.texts, data.Y).cv_results_["mean_test_score"]
    with joblib.parallel_config(backend, n_jobs=2):
        search.fit(data.texts, data.Y)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], expected)


def test_a_search_reaches_through_a_pipeline_and_a_union(make, data):
    union = FeatureUnion([("embedding", make()), ("tfidf", TfidfVectorizer())])
    nest = Pipeline(
        [("lower", FunctionTransformer(lower)), ("union", union), ("knn", KNeighborsClassifier())]
    )
    grid = {"union__embedding__encoder__dim": [4, 8], "knn__n_neighbors": [1, 5]}
    Y = data.Y.toarray()
    search = GridSearchCV(nest, grid, cv=TWO_FOLDS, n_jobs=2, error_score="raise")
    search.fit(data.texts, Y)
    by_hand = make(encoder__dim=search.best_params_["union__embedding__encoder__dim"])
    by_hand.fit(lower(data.texts), data.Y)
    fitted = search.best_estimator_["union"].transformer_list[0][1]
    np.testing.assert_array_equal(fitted.transform(data.texts), by_hand.transform(data.texts))
    search = GridSearchCV(
        nest, {"union__embedding": ["drop", make(epochs=1)]}, cv=TWO_FOLDS, error_score="raise"
    ).fit(data.texts, Y)  # fmt: skip
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_a_step_of_a_pipeline_may_be_what_is_searched(make, data):
    pipeline = Pipeline([("lower", FunctionTransformer(lower)), ("clf", make())])
    grid = [
        {"clf": [make(epochs=1), make(epochs=2)], "lower": ["passthrough"]},
        {"clf__encoder": ["bag"], "clf__epochs": [1]},
    ]
    search = GridSearchCV(pipeline, grid, cv=TWO_FOLDS, refit=False, error_score="raise")
    search.fit(data.texts, data.Y)
    for candidate, epochs in enumerate((1, 2)):
        assert split_scores(search, candidate) == pytest.approx(
            scores_by_hand(make(epochs=epochs), data)
        )


def test_parameters_of_prediction_may_be_searched(make, data):
    search = GridSearchCV(
        make(), {"threshold": [0.05, 0.5], "top_k": [1, 3]}, scoring="f1_micro", cv=TWO_FOLDS,
        error_score="raise",
    ).fit(data.texts, data.Y)  # fmt: skip
    train, test = next(TWO_FOLDS.split(data.texts))
    by_hand = make().fit([data.texts[i] for i in train], data.Y[train])
    for candidate, parameters in enumerate(search.cv_results_["params"]):
        predicted = by_hand.set_params(**parameters).predict([data.texts[i] for i in test])
        expected = f1_score(data.Y[test], predicted, average="micro")
        assert split_scores(search, candidate, "score")[0] == pytest.approx(expected)


def own_score(estimator, X, Y):
    return estimator.score(X, Y)


def precision_at_3(estimator, X, Y):
    return precision_at_k(Y, estimator.predict_proba(X), k=3)


@pytest.mark.parametrize("how", ["callables", "a callable with several results", "XMCScorer"])
def test_a_search_takes_several_metrics_of_sparse_labels(make, data, how):
    scoring = {
        "callables": {
            "P@3": precision_at_3,
            "P@1": make_scorer(precision_at_k, response_method="predict_proba", k=1),
            "f1": "f1_micro",
        },
        "a callable with several results": _both_precisions,
        "XMCScorer": XMCScorer(("P@1", "P@3")),
    }[how]
    search = GridSearchCV(
        make(), {"epochs": [1, 8]}, scoring=scoring, refit="P@3", cv=TWO_FOLDS, n_jobs=2,
        error_score="raise",
    ).fit(data.texts, data.Y)  # fmt: skip
    assert search.best_score_ == max(search.cv_results_["mean_test_P@3"])
    train, test = next(TWO_FOLDS.split(data.texts))
    texts = [data.texts[i] for i in test]
    by_hand = make(epochs=8).fit([data.texts[i] for i in train], data.Y[train])
    expected = _both_precisions(by_hand, texts, data.Y[test])
    assert by_hand.score(texts, data.Y[test]) == pytest.approx(expected["P@1"])
    for metric, value in expected.items():
        assert split_scores(search, 1, metric)[0] == pytest.approx(value)


def _both_precisions(estimator, X, Y):
    proba = estimator.predict_proba(X)
    return {f"P@{k}": precision_at_k(Y, proba, k=k) for k in (1, 3)}


def test_a_candidate_that_fails_costs_only_its_own_score(make, data):
    search = GridSearchCV(make(), {"epochs": [-1, 2]}, cv=TWO_FOLDS)
    with pytest.warns() as caught:  # that fits failed, and that scores are not finite
        search.fit(data.texts, data.Y)
    assert any(w.category is FitFailedWarning and "epochs=-1" in str(w.message) for w in caught)
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [True, False]
    assert search.best_params_ == {"epochs": 2}


# -------------------------------------------------------------------------------- cross-validation
def test_cross_validated_predictions_are_those_of_the_folds(make, data):
    predicted = cross_val_predict(make(), data.texts, data.Y, cv=TWO_FOLDS)
    Y = data.Y.toarray()
    proba = cross_val_predict(make(), data.texts, Y, cv=TWO_FOLDS, method="predict_proba")
    assert sp.issparse(predicted)
    for train, test in TWO_FOLDS.split(data.texts):
        by_hand = make().fit([data.texts[i] for i in train], Y[train])
        texts = [data.texts[i] for i in test]
        np.testing.assert_allclose(proba[test], by_hand.predict_proba(texts), rtol=1e-5)
        np.testing.assert_array_equal(predicted[test].toarray(), by_hand.predict(texts))


def test_cross_validation_takes_sparse_labels_where_its_own_check_is_off(make, data):
    # scikit-learn's functions refuse a sparse y, whatever the estimator
    expected = scores_by_hand(make(), data)
    assert cross_val_score(make(), data.texts, data.Y.toarray(), cv=TWO_FOLDS) == pytest.approx(
        expected
    )
    with sklearn.config_context(skip_parameter_validation=True):
        scores = cross_val_score(make(), data.texts, data.Y, cv=TWO_FOLDS, n_jobs=2)
    assert scores == pytest.approx(expected)


@pytest.mark.parametrize("is_incremental", [False, True])
def test_a_learning_curve_of_classes_scores_every_size(make, data, is_incremental):
    names, y = np.unique(data.classes, return_inverse=True)
    _, _, scores = learning_curve(
        make(len(names)), data.texts, y, cv=2, train_sizes=[20, 40], shuffle=True,
        random_state=0, exploit_incremental_learning=is_incremental, error_score="raise",
    )  # fmt: skip
    assert scores.shape == (2, 2)
    assert ((scores > 0) & (scores <= 1)).all()


def test_a_validation_curve_of_classes_shows_what_epochs_do(make, data):
    names, y = np.unique(data.classes, return_inverse=True)
    scores, _ = validation_curve(
        make(len(names), rerank_weight=0),
        data.texts,
        y,
        param_name="epochs",
        param_range=[1, 10],
        cv=2,
    )
    assert scores[1].mean() > scores[0].mean()


@pytest.mark.parametrize("is_sparse", [True, False])
def test_permutation_importance_tells_the_column_that_is_read(make, data, is_sparse):
    frame = pd.DataFrame({"title": data.texts, "other": data.texts[::-1]})
    Y = data.Y if is_sparse else data.Y.toarray()
    pipeline = make_pipeline(ColumnTransformer([("t", "passthrough", ["title"])]), make(epochs=8))
    pipeline.fit(frame, Y)
    with sklearn.config_context(skip_parameter_validation=is_sparse):
        importances = permutation_importance(pipeline, frame, Y, n_repeats=2, random_state=0)
    title, other = importances.importances_mean
    assert title > 0.2
    assert other == 0
