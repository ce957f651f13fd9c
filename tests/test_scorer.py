"""XMCScorer against the metric functions, inside scikit-learn's searches and cross-validation."""

from __future__ import annotations

import copy
import pickle
import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
from containers import FEW_LABEL_CONTAINERS, labels_in, with_index_dtypes
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    RandomizedSearchCV,
    cross_val_score,
    cross_validate,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skxc import ReneeClassifier
from skxc.datasets import make_extreme_classification
from skxc.encoders import BagOfWordsEncoder
from skxc.metrics import (
    PROPENSITY_CONSTANTS,
    XMCScorer,
    propensities,
    propensities_from_counts,
    ranking_metrics,
)

ALL = ("P@1", "P@5", "R@3", "nDCG@3", "nDCG@5", "MRR@5", "PSP@1", "PSP@3", "PSnDCG@5")
N_TEXTS, N_LABELS = 90, 8


class Table(ClassifierMixin, BaseEstimator):
    """Looks up the scores of a text that is a row's number; counts its predictions."""

    def __init__(self, scores=None, top_k=2, fail=False):
        self.scores = scores
        self.top_k = top_k
        self.fail = fail

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def fit(self, X, y, sample_weight=None, exclude=None):
        Y = sp.csr_array(y)
        self.classes_ = np.arange(Y.shape[1])
        self.label_counts_ = np.bincount(Y.indices, minlength=Y.shape[1])
        self.n_samples_seen_ = Y.shape[0]
        self.calls_ = []
        return self

    def predict_top_k(self, X, k=None, exclude=None):
        self.calls_.append((len(X), k))
        scores = np.array(self.scores[[int(x) for x in X]])
        if exclude is not None:
            scores[exclude.nonzero()] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, : min(k, scores.shape[1])]
        best = np.take_along_axis(scores, order, 1)
        return np.where(best > -np.inf, order, -1), best


@pytest.fixture(scope="module")
def data():
    return make_extreme_classification(N_TEXTS, N_LABELS, labels_per_text=2.5, random_state=0)


@pytest.fixture
def table(data):
    scores = np.random.default_rng(0).normal(size=(N_TEXTS, N_LABELS)) + data.Y.toarray()
    return Table(scores)


@pytest.fixture(scope="module")
def rows():
    return [str(i) for i in range(N_TEXTS)]


@pytest.fixture(scope="module")
def renee(data):
    tiny = ReneeClassifier(
        encoder=BagOfWordsEncoder(dim=16, min_df=1), epochs=2, top_k=2, random_state=0
    )
    return tiny.fit(data.texts, data.Y)


def expected(scores, Y, Y_train, metrics=ALL, constants=(0.55, 1.5), **arguments):
    values = ranking_metrics(Y, scores, (1, 3, 5), propensities(Y_train, *constants), **arguments)
    return {name: values[name] for name in metrics}


# ------------------------------------------------------------------------------------ the values
def test_all_metrics_come_from_one_prediction_of_the_largest_k(table, data, rows):
    table.fit(rows[:60], data.Y[:60])
    scores = XMCScorer(ALL)(table, rows[60:], data.Y[60:])
    assert scores == pytest.approx(expected(table.scores[60:], data.Y[60:], data.Y[:60]))
    assert list(scores) == list(ALL)
    assert table.calls_ == [(30, 5)]
    assert table.top_k == 2


def test_one_metric_as_a_string_gives_a_number(table, data, rows):
    table.fit(rows, data.Y)
    assert XMCScorer("P@3")(table, rows, data.Y) == XMCScorer(["P@3"])(table, rows, data.Y)["P@3"]


def test_propensities_take_the_constants_given(table, data, rows):
    table.fit(rows[:60], data.Y[:60])
    A, B = PROPENSITY_CONSTANTS["amazon"]
    scores = XMCScorer(ALL, A=A, B=B)(table, rows[60:], data.Y[60:])
    args = (table.scores[60:], data.Y[60:], data.Y[:60])
    assert scores == pytest.approx(expected(*args, constants=(A, B)))
    assert scores["PSP@3"] != pytest.approx(expected(*args)["PSP@3"])


@pytest.mark.parametrize("format", ["csr", "csc", "bsr", "coo"])
def test_dtypes_of_index_arrays_do_not_matter(table, data, rows, format):
    table.fit(rows, data.Y)
    scorer, exclude = XMCScorer(ALL), sp.csr_array(np.eye(*data.Y.shape))
    Y, mask = (with_index_dtypes(m, format, np.int64, np.int32) for m in (data.Y, exclude))
    assert scorer(table, rows, Y, exclude=mask) == scorer(table, rows, data.Y, exclude=exclude)


def test_weights_and_excluded_pairs_count_as_in_the_metrics(table, data, rows):
    table.fit(rows, data.Y)
    weights = np.arange(N_TEXTS) % 3
    best = table.scores.argmax(1)
    exclude = sp.csr_array((np.ones(N_TEXTS), (np.arange(N_TEXTS), best)), shape=data.Y.shape)
    arguments = {"sample_weight": weights, "exclude": exclude}
    scores = XMCScorer(ALL)(table, rows, data.Y, **arguments)
    assert scores == pytest.approx(expected(table.scores, data.Y, data.Y, **arguments))
    assert scores["P@1"] != XMCScorer("P@1")(table, rows, data.Y)


@pytest.mark.parametrize("n_labels", [1, 2])
def test_one_and_two_labels_are_columns_not_classes(table, data, rows, n_labels):
    Y, scores = data.Y[:, :n_labels], table.scores[:, :n_labels]
    fitted = Table(scores).fit(rows, Y)
    assert XMCScorer(ALL)(fitted, rows, Y) == pytest.approx(expected(scores, Y, Y))


@pytest.mark.parametrize("container", FEW_LABEL_CONTAINERS)
def test_truth_comes_in_the_containers_of_fit(table, data, rows, container):
    table.fit(rows, data.Y)
    scores = XMCScorer(ALL)(table, rows, labels_in(container, data.Y.toarray()))
    assert scores == pytest.approx(expected(table.scores, data.Y, data.Y))


def test_named_columns_are_matched_by_name(table, data, rows):
    names = np.array(list("abcdefgh"))
    table.fit(rows, data.Y).classes_ = names
    frame = pd.DataFrame(data.Y.toarray(), columns=names)[list("hgfedcba")]
    assert XMCScorer(ALL)(table, rows, frame) == XMCScorer(ALL)(table, rows, data.Y)


def test_classes_that_the_estimator_never_saw_are_missed(table, rows):
    y_train, y = np.arange(60) % 4, np.arange(30) % 5
    table = Table(table.scores[:, :4])
    table.fit(rows[:60], np.eye(4)[y_train])
    counts = [15] * 4 + [0]
    values = ranking_metrics(
        np.eye(5)[y],
        sp.csr_array(np.pad(np.exp(table.scores[60:]), ((0, 0), (0, 1)))),
        (1, 3, 5),
        propensities_from_counts(counts, 60),
    )
    exclude = sp.csr_array((30, 4))
    assert XMCScorer(ALL)(table, rows[60:], y, exclude=exclude) == pytest.approx(
        {name: values[name] for name in ALL}
    )
    assert values["R@5"] == 0.8


# --------------------------------------------------------------------------- our own estimators
def test_p_at_1_is_the_estimators_own_score(renee, data):
    assert XMCScorer("P@1")(renee, data.texts, data.Y) == renee.score(data.texts, data.Y)


def test_more_labels_than_top_k_are_asked_for_and_the_estimator_stays_as_it_is(renee, data):
    state = pickle.dumps(renee)
    scores = XMCScorer(("P@5",))(renee, data.texts, data.Y)
    full = clone(renee).set_params(top_k=5).fit(data.texts, data.Y).predict_proba(data.texts)
    assert scores["P@5"] == pytest.approx(ranking_metrics(data.Y, full, (5,))["P@5"])
    assert pickle.dumps(renee) == state


def test_wrapped_estimators_score_as_they_do_alone(renee, data):
    from sklearn.frozen import FrozenEstimator

    scorer = XMCScorer(ALL)
    alone = scorer(renee, [text.lower() for text in data.texts], data.Y)
    texts = [text.upper() for text in data.texts]
    lower = FunctionTransformer(_lower)
    search = GridSearchCV(Pipeline([("clf", clone(renee))]), {"clf__dropout": [None]}, cv=2)
    nested = make_pipeline("passthrough", lower, search).fit(texts, data.Y)
    for wrapped in (make_pipeline(lower, renee), make_pipeline(lower, FrozenEstimator(renee)),
                    nested):  # fmt: skip
        assert scorer(wrapped, texts, data.Y) == alone
    assert scorer(Pipeline([("clf", renee)]), data.texts, data.Y) == alone


def _lower(texts):
    return [text.lower() for text in texts]


# ------------------------------------------------------------------- estimators of other libraries
@pytest.mark.parametrize("n_labels", [2, N_LABELS])
@pytest.mark.parametrize("is_sparse", [True, False])
def test_a_foreign_estimator_is_ranked_by_its_probabilities(data, n_labels, is_sparse):
    clf = make_pipeline(TfidfVectorizer(), OneVsRestClassifier(LogisticRegression()))
    Y = data.Y[:, :n_labels] if is_sparse else data.Y[:, :n_labels].toarray()
    clf.fit(data.texts, Y)
    values = ranking_metrics(Y, clf.predict_proba(data.texts), (1, 5))
    names = ("P@1", "R@5", "nDCG@5")
    assert XMCScorer(names)(clf, data.texts, Y) == pytest.approx({n: values[n] for n in names})


def test_psp_of_an_estimator_without_counts_is_refused_before_it_predicts(data):
    clf = make_pipeline(TfidfVectorizer(), OneVsRestClassifier(LogisticRegression()))
    with pytest.raises(ValueError, match=r"has no label_counts_.* Leave out PSP and PSnDCG"):
        XMCScorer(("P@1", "PSP@5"))(clf, data.texts, data.Y)  # not even fitted


def test_an_estimator_that_ranks_nothing_is_refused(data):
    with pytest.raises(TypeError, match="FunctionTransformer has no predict_proba"):
        XMCScorer("P@1")(FunctionTransformer(), data.texts, data.Y)


# ---------------------------------------------------------------------------------- construction
@pytest.mark.parametrize(
    "metrics",
    ["P@0", "P@", "P5", "p@5", "P@05", "P@-1", "P@1.5", "F1@5", "PSR@5", "", ("P@1", "map"),
     ("P@1", 5), ["P@1 "], 5, None],
)  # fmt: skip
def test_an_unknown_metric_is_refused_at_once(metrics):
    bad = metrics[-1] if isinstance(metrics, list | tuple) else metrics
    with pytest.raises(
        ValueError, match=re.escape(f"metrics holds {bad!r}. Pass P, R, nDCG, MRR, PSP")
    ):
        XMCScorer(metrics)


def test_no_metric_and_constants_out_of_range_are_refused_at_once():
    with pytest.raises(ValueError, match="metrics is empty"):
        XMCScorer(())
    with pytest.raises(ValueError, match=r"A is -1 and B is 1.5"):
        XMCScorer("PSP@1", A=-1)


def test_copies_are_equal_scorers(table, data, rows):
    scorer = XMCScorer(["P@1", "PSP@3"], A=0.6, B=2.6)
    assert repr(scorer) == "XMCScorer(('P@1', 'PSP@3'), A=0.6, B=2.6)"
    table.fit(rows, data.Y)
    for twin in (pickle.loads(pickle.dumps(scorer)), copy.deepcopy(scorer),
                 clone(scorer, safe=False)):  # fmt: skip
        assert repr(twin) == repr(scorer)
        assert twin(table, rows, data.Y) == scorer(table, rows, data.Y)
    assert eval(repr(scorer), {"XMCScorer": XMCScorer})(table, rows, data.Y) == scorer(
        table, rows, data.Y
    )


# ---------------------------------------------------------------------------------- scikit-learn
def fold_by_fold(table, Y, cv, rows):
    return [expected(table.scores[test], Y[test], Y[train]) for train, test in cv.split(rows)]


@pytest.mark.parametrize(
    ("make_search", "n_jobs"), [(GridSearchCV, 1), (GridSearchCV, 2), (RandomizedSearchCV, 1)]
)
def test_each_fold_of_a_search_uses_its_own_propensities(table, data, rows, make_search, n_jobs):
    cv = KFold(3, shuffle=True, random_state=0)
    grid, extra = {"top_k": [1, 2]}, {} if make_search is GridSearchCV else {"n_iter": 2}
    search = make_search(
        table, grid, scoring=XMCScorer(ALL), refit="P@1", cv=cv, n_jobs=n_jobs, **extra
    )
    results = search.fit(rows, data.Y).cv_results_
    for i, fold in enumerate(fold_by_fold(table, data.Y, cv, rows)):
        for name in ALL:
            np.testing.assert_allclose(results[f"split{i}_test_{name}"], fold[name])
    assert search.score(rows, data.Y) == XMCScorer("P@1")(search, rows, data.Y)


def test_a_halving_search_takes_one_metric(table, data, rows):
    cv = KFold(2, shuffle=True, random_state=0)
    search = HalvingGridSearchCV(
        table,
        {"top_k": [1, 2, 3]},
        scoring=XMCScorer("P@1"),
        cv=cv,
        random_state=0,
        min_resources=20,
    ).fit(rows, data.Y)
    assert 0 < search.best_score_ < 1


def test_cross_validation_of_a_dense_truth(table, data, rows):
    Y, cv = data.Y.toarray(), KFold(3)
    folds = fold_by_fold(table, data.Y, cv, rows)
    results = cross_validate(table, rows, Y, scoring=XMCScorer(ALL), cv=cv)
    for name in ALL:
        np.testing.assert_allclose(results[f"test_{name}"], [fold[name] for fold in folds])
    scores = cross_val_score(table, rows, Y, scoring=XMCScorer("PSP@3"), cv=cv)
    np.testing.assert_allclose(scores, [fold["PSP@3"] for fold in folds])


def test_weights_given_to_a_search_weigh_its_scores_without_routing_from_1_7(table, data, rows):
    weights = np.arange(N_TEXTS) % 3 + 1.0
    search = GridSearchCV(table, {"top_k": [1]}, scoring={"P@1": XMCScorer("P@1")}, refit="P@1",
                          cv=KFold(2))  # fmt: skip
    results = search.fit(rows, data.Y, sample_weight=weights).cv_results_
    has_weights = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 7)
    for i, (train, test) in enumerate(KFold(2).split(rows)):
        fold = expected(table.scores[test], data.Y[test], data.Y[train],
                        sample_weight=weights[test] if has_weights else None)  # fmt: skip
        np.testing.assert_allclose(results[f"split{i}_test_P@1"], fold["P@1"])


@pytest.mark.filterwarnings("ignore:Scoring failed")
def test_a_fold_that_fails_is_nan_as_with_other_scorers(data):
    clf = make_pipeline(TfidfVectorizer(), FunctionTransformer())
    results = cross_validate(clf, data.texts, data.Y.toarray(), scoring=XMCScorer("P@1"), cv=2)
    assert np.isnan(results["test_score"]).all()


# ------------------------------------------------------------------------------- metadata routing
@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.mark.usefixtures("routing")
def test_weights_and_excluded_pairs_are_routed_to_the_scorer_alone(table, data, rows):
    weights = np.arange(N_TEXTS) % 3 + 1.0
    exclude = sp.csr_array(np.random.default_rng(0).random(data.Y.shape) < 0.2)
    scorer = (
        XMCScorer(ALL).set_score_request(sample_weight="weights").set_score_request(exclude=True)
    )
    table.set_fit_request(sample_weight=False, exclude=False)
    search = GridSearchCV(table, {"top_k": [1]}, scoring=scorer, refit="P@1", cv=KFold(3))
    search.fit(rows, data.Y, weights=weights, exclude=exclude)
    for i, (train, test) in enumerate(KFold(3).split(rows)):
        fold = expected(table.scores[test], data.Y[test], data.Y[train],
                        sample_weight=weights[test], exclude=exclude[test])  # fmt: skip
        for name in ALL:
            np.testing.assert_allclose(search.cv_results_[f"split{i}_test_{name}"], fold[name])


@pytest.mark.usefixtures("routing")
def test_metadata_that_nobody_spoke_of_is_an_error(table, data, rows):
    table.set_fit_request(sample_weight=True)
    search = GridSearchCV(table, {"top_k": [1]}, scoring=XMCScorer("P@1"), cv=KFold(3))
    with pytest.raises(UnsetMetadataPassedError, match=r"XMCScorer.*set_score_request"):
        search.fit(rows, data.Y, sample_weight=np.ones(N_TEXTS))
    search.set_params(scoring=XMCScorer("P@1").set_score_request(sample_weight=False))
    search.fit(rows, data.Y, sample_weight=np.ones(N_TEXTS))
    with pytest.raises(ValueError, match="valid identifier"):
        XMCScorer("P@1").set_score_request(exclude="not a name")


@pytest.mark.usefixtures("routing")
def test_requests_are_copied_along(table, data, rows):
    scorer = XMCScorer("P@1").set_score_request(exclude=True)
    for twin in (pickle.loads(pickle.dumps(scorer)), clone(scorer, safe=False)):
        assert twin.get_metadata_routing().score.requests == {
            "exclude": True, "sample_weight": None}  # fmt: skip


def test_requests_without_routing_are_refused():
    with pytest.raises(RuntimeError, match="only available when metadata routing is enabled"):
        XMCScorer("P@1").set_score_request(exclude=True)


# ------------------------------------------------------------------------------------- callbacks
def test_a_scoring_monitor_logs_every_epoch(data):
    callback = pytest.importorskip("sklearn.callback")
    monitor = callback.ScoringMonitor(scoring=XMCScorer(("P@1", "PSP@3")))
    clf = ReneeClassifier(
        encoder=BagOfWordsEncoder(dim=16, min_df=1), epochs=3, random_state=0
    ).set_callbacks(monitor)
    clf.fit(data.texts, data.Y)
    log = monitor.get_logs().data
    assert [row["task_name"] for row in log].count("epoch") == 3
    last = XMCScorer(("P@1", "PSP@3"))(clf, data.texts, data.Y)
    assert {name: log[-1][name] for name in last} == last


class Shouting(TransformerMixin, BaseEstimator):
    """A transformer without any fitted attribute."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return [text.lower() for text in X]


def test_steps_without_fitted_attributes_pass(renee, data):
    clf = make_pipeline(Shouting(), renee)
    assert XMCScorer("P@1")(clf, data.texts, data.Y) == renee.score(data.texts, data.Y)
