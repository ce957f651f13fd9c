"""Cross-validation with sparse labels equals scikit-learn's with the same labels, dense."""

from __future__ import annotations

import inspect
import re

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
import sklearn.model_selection
from containers import with_index_dtypes
from joblib.externals.loky import get_reusable_executor
from sklearn.base import clone
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, ShuffleSplit
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

import skxc.model_selection
from skxc import ReneeClassifier
from skxc.datasets import make_extreme_classification
from skxc.encoders import BagOfWordsEncoder
from skxc.metrics import XMCScorer, ranking_metrics
from skxc.model_selection import (
    MultilabelStratifiedKFold,
    MultilabelStratifiedShuffleSplit,
    cross_val_predict_top_k,
    cross_val_score,
    cross_validate,
    learning_curve,
    train_test_split,
    tune_threshold,
    validation_curve,
)

N_TEXTS, N_LABELS = 80, 6
WRAPPED = ("cross_validate", "cross_val_score", "learning_curve", "validation_curve")


@pytest.fixture(scope="module")
def data():
    return make_extreme_classification(N_TEXTS, N_LABELS, labels_per_text=2.5, random_state=0)


@pytest.fixture
def renee():
    return ReneeClassifier(
        encoder=BagOfWordsEncoder(dim=8, min_df=1), epochs=2, top_k=2, random_state=0
    )


@pytest.fixture
def linear():
    return make_pipeline(TfidfVectorizer(), OneVsRestClassifier(LogisticRegression()))


# -------------------------------------------------------------------- as scikit-learn's own
@pytest.mark.parametrize("name", WRAPPED)
def test_parameters_are_those_of_scikit_learn(name):
    ours = inspect.signature(getattr(skxc.model_selection, name)).parameters
    theirs = inspect.signature(getattr(sklearn.model_selection, name)).parameters
    assert set(theirs) - {"fit_params"} == set(ours)  # deprecated in 1.6
    for parameter in ours:
        assert ours[parameter].kind == theirs[parameter].kind
        np.testing.assert_array_equal(ours[parameter].default, theirs[parameter].default)


@pytest.mark.parametrize("container", [sp.csr_matrix, sp.csr_array, sp.coo_array, sp.csc_matrix])
def test_sparse_labels_give_the_scores_of_dense_ones(linear, data, container):
    Y, dense = container(data.Y), data.Y.toarray()
    more = ("return_train_score", "return_indices", "return_estimator")
    arguments = dict.fromkeys(more, True) | {"cv": 3, "scoring": ["f1_micro", "accuracy"]}
    ours = cross_validate(linear, data.texts, Y, **arguments)
    theirs = sklearn.model_selection.cross_validate(linear, data.texts, dense, **arguments)
    assert set(ours) == set(theirs)
    for name in ("test_f1_micro", "train_f1_micro", "test_accuracy"):
        np.testing.assert_allclose(ours[name], theirs[name])
    np.testing.assert_array_equal(ours["indices"]["test"][1], theirs["indices"]["test"][1])
    assert len(ours["estimator"]) == 3


def test_scores_and_curves_of_sparse_labels_are_those_of_dense_ones(linear, data):
    sms, Y, dense = sklearn.model_selection, data.Y, data.Y.toarray()
    linear_C = "onevsrestclassifier__estimator__C"
    curve = {"train_sizes": [0.5, 1.0], "cv": 2, "scoring": "f1_micro"}
    values = {"param_name": linear_C, "param_range": [1, 10, 100], "cv": 2, "scoring": "f1_micro"}
    np.testing.assert_allclose(
        cross_val_score(linear, data.texts, Y, scoring="f1_micro"),
        sms.cross_val_score(linear, data.texts, dense, scoring="f1_micro"),
    )
    ours = learning_curve(linear, data.texts, Y, **curve, return_times=True)
    theirs = sms.learning_curve(linear, data.texts, dense, **curve, return_times=True)
    assert [part.shape for part in ours] == [part.shape for part in theirs]
    for our, their in zip(ours[:3], theirs[:3], strict=True):
        np.testing.assert_allclose(our, their)
    np.testing.assert_allclose(
        validation_curve(linear, data.texts, Y, **values),
        sms.validation_curve(linear, data.texts, dense, **values),
    )


def test_dense_labels_and_classes_pass_through(linear, data):
    y = np.arange(N_TEXTS) % 3
    ours = cross_val_score(linear, data.texts, y, cv=4)
    theirs = sklearn.model_selection.cross_val_score(linear, data.texts, y, cv=4)  # stratified
    np.testing.assert_array_equal(ours, theirs)
    frame = pd.DataFrame(data.Y.toarray())
    assert cross_val_score(linear, data.texts, frame, cv=2).shape == (2,)


# -------------------------------------------------------------------------- our estimators
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_ranking_metrics_of_each_fold(renee, data, n_jobs):
    metrics = ("P@1", "P@5", "PSP@3")
    cv = MultilabelStratifiedKFold(3)
    clf = Pipeline([("lower", FunctionTransformer(_lower)), ("clf", renee)])
    results = cross_validate(
        clf, data.texts, data.Y, scoring=XMCScorer(metrics), cv=cv, n_jobs=n_jobs
    )
    for i, (train, test) in enumerate(cv.split(data.texts, data.Y)):
        texts = np.array(data.texts, dtype=object)
        fold = renee.fit(texts[train], data.Y[train])
        expected = XMCScorer(metrics)(fold, texts[test], data.Y[test])
        assert {name: results[f"test_{name}"][i] for name in metrics} == expected


def _lower(texts):
    return [text.lower() for text in texts]


def _trained(texts, Y):
    return ReneeClassifier(BagOfWordsEncoder(dim=8), epochs=1, random_state=0).fit(texts, Y).n_iter_


def test_work_goes_on_where_joblib_takes_torch_s_import_for_a_leak(data):
    """With warnings as errors, as here, it waited for ever: the filters in pyproject.toml."""
    get_reusable_executor().shutdown(wait=True)  # workers that know torch already
    assert joblib.Parallel(2)(joblib.delayed(abs)(i) for i in range(4)) == [0, 1, 2, 3]
    work = joblib.Parallel(2, timeout=120)
    assert work(joblib.delayed(_trained)(data.texts, data.Y) for _ in range(3)) == [1] * 3


def test_one_metric_serves_scores_and_curves(renee, data):
    scoring = XMCScorer("PSP@3")
    assert cross_val_score(renee, data.texts, data.Y, scoring=scoring, cv=2).shape == (2,)
    sizes, _, test = learning_curve(
        renee, data.texts, data.Y, scoring=scoring, cv=2, train_sizes=[0.5, 1.0], shuffle=True,
        random_state=0,
    )  # fmt: skip
    assert sizes.tolist() == [20, 40]
    assert test.shape == (2, 2)
    train, test = validation_curve(
        renee, data.texts, data.Y, scoring=scoring, cv=2,
        param_name="encoder__dim", param_range=[4, 8],
    )  # fmt: skip
    assert train.shape == test.shape == (2, 2)


@pytest.mark.parametrize("cv", [None, 2, KFold(2), MultilabelStratifiedKFold(2)])
def test_one_sparse_label_is_split_too(renee, data, cv):
    scores = cross_val_score(renee, data.texts, data.Y[:, :1], cv=cv)
    assert scores.shape == (5 if cv is None else 2,)
    proba = cross_val_predict_top_k(renee, data.texts, data.Y[:, :1], cv=cv)
    assert proba.nnz == N_TEXTS


def test_weights_and_masks_are_cut_to_the_fold(renee, data):
    weights = np.arange(N_TEXTS) % 3 + 1.0
    exclude = sp.csr_array(np.random.default_rng(0).random(data.Y.shape) < 0.2)
    cv, texts = KFold(2), np.array(data.texts, dtype=object)
    params = {"sample_weight": weights, "exclude": exclude}
    scores = cross_val_score(renee, data.texts, data.Y, cv=cv, params=params)
    for score, (train, test) in zip(scores, cv.split(texts), strict=True):
        fold = {name: values[train] for name, values in params.items()}
        renee.fit(texts[train], data.Y[train], **fold)
        assert score == renee.score(texts[test], data.Y[test])


def test_weights_and_masks_are_routed(renee, data):
    weights = np.arange(N_TEXTS) % 3 + 1.0
    exclude = sp.csr_array(np.random.default_rng(0).random(data.Y.shape) < 0.2)
    cv, texts = KFold(2), np.array(data.texts, dtype=object)
    with sklearn.config_context(enable_metadata_routing=True):
        renee.set_fit_request(sample_weight=True, exclude=False)
        scorer = XMCScorer(("P@1",)).set_score_request(exclude=True, sample_weight=False)
        results = cross_validate(
            make_pipeline(renee), data.texts, data.Y, cv=cv, scoring=scorer,
            params={"sample_weight": weights, "exclude": exclude},
        )  # fmt: skip
        with pytest.raises(UnsetMetadataPassedError):
            cross_validate(
                renee, data.texts, data.Y, scoring=XMCScorer("P@1"), params={"exclude": exclude}
            )
    for score, (train, test) in zip(results["test_P@1"], cv.split(texts), strict=True):
        renee.fit(texts[train], data.Y[train], sample_weight=weights[train])
        assert score == renee.score(texts[test], data.Y[test], exclude=exclude[test])


@pytest.mark.parametrize("cv", [MultilabelStratifiedKFold(2, shuffle=True, random_state=0),
                                MultilabelStratifiedShuffleSplit(2, random_state=0)])  # fmt: skip
def test_stratified_splits_serve_searches(renee, data, cv):
    search = GridSearchCV(
        renee, {"epochs": [1, 2]}, cv=cv, scoring=XMCScorer(("P@1", "P@3")), refit="P@1"
    ).fit(data.texts, data.Y)
    assert search.n_splits_ == 2
    assert not np.isnan(search.cv_results_["mean_test_P@3"]).any()


# --------------------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"cv": "three"}, ValueError, "as an integer, "),
        ({"cv": 1}, ValueError, "n_splits=2 or more, got n_splits=1"),
        ({"cv": 100}, ValueError, "n_splits=100 greater than the number of samples"),
        ({"scoring": 3}, ValueError, "The 'scoring' parameter of check_scoring must be"),
        ({"scoring": "P@1"}, ValueError, "The 'scoring' parameter of check_scoring must be"),
        ({"error_score": "rise"}, ValueError, "error_score must be the string 'raise'"),
    ],
)
def test_wrong_arguments_are_still_refused(renee, data, arguments, error, message):
    with pytest.raises(error, match=re.escape(message)):
        cross_validate(renee, data.texts, data.Y, **arguments)


def test_the_checks_of_estimators_inside_stay_on(data):
    clf = make_pipeline(TfidfVectorizer(min_df=-1), OneVsRestClassifier(LogisticRegression()))
    with pytest.raises(ValueError, match="'min_df' parameter of TfidfVectorizer must be"):
        cross_validate(clf, data.texts, data.Y, error_score="raise")


def test_lengths_that_differ_are_refused(renee, data):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        cross_val_score(renee, data.texts[:-1], data.Y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        cross_val_predict_top_k(renee, data.texts[:-1], data.Y)


def test_several_metrics_where_one_is_wanted_are_refused(renee, data):
    scorer = XMCScorer(("P@1", "P@3"))
    message = "takes one metric, and scoring=XMCScorer(('P@1', 'P@3')) gives a dict. Pass one as a"
    for call in (
        lambda: cross_val_score(renee, data.texts, data.Y, scoring=scorer),
        lambda: learning_curve(renee, data.texts, data.Y, scoring=scorer),
        lambda: validation_curve(
            renee, data.texts, data.Y, scoring=scorer, param_name="epochs", param_range=[1]
        ),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            call()


def test_incremental_learning_of_sparse_labels_is_refused(renee, data):
    with pytest.raises(ValueError, match="exploit_incremental_learning=True is for 1-d y"):
        learning_curve(renee, data.texts, data.Y, exploit_incremental_learning=True)


# ----------------------------------------------------------------- out-of-fold predictions
@pytest.mark.parametrize(("container", "n_jobs"), [(list, 2), (pd.Series, 1), (np.array, 1)])
def test_rows_are_predicted_by_a_model_of_the_other_folds(renee, data, container, n_jobs):
    cv, texts = KFold(3, shuffle=True, random_state=0), np.array(data.texts, dtype=object)
    clf = make_pipeline(FunctionTransformer(_lower), renee)
    proba = cross_val_predict_top_k(clf, container(data.texts), data.Y, k=4, cv=cv, n_jobs=n_jobs)
    assert sp.issparse(proba)
    assert proba.format == "csr"
    assert (np.diff(proba.indptr) == 4).all()
    for train, test in cv.split(texts):
        fold = renee.set_params(top_k=4).fit(texts[train], data.Y[train])
        assert (proba[test] != fold.predict_proba(texts[test])).nnz == 0
    assert ranking_metrics(data.Y, proba, (1, 4))["P@4"] > 0


def test_dense_labels_give_a_sparse_result_too(renee, data):
    sparse = cross_val_predict_top_k(renee, data.texts, data.Y, k=3, cv=2)
    dense = cross_val_predict_top_k(renee, data.texts, data.Y.toarray(), k=3, cv=2)
    frame = cross_val_predict_top_k(renee, data.texts, pd.DataFrame(data.Y.toarray()), k=3, cv=2)
    assert (sparse != dense).nnz == (sparse != frame).nnz == 0


def test_excluded_pairs_leave_before_the_cut(renee, data):
    before = cross_val_predict_top_k(renee, data.texts, data.Y, k=2, cv=2)
    exclude = sp.csr_array(before > 0.9 * before.max(axis=1).toarray())
    after = cross_val_predict_top_k(renee, data.texts, data.Y, k=2, cv=2, exclude=exclude)
    assert after.multiply(exclude).nnz == 0
    assert (np.diff(after.indptr) == 2).all()


def test_more_labels_than_there_are_give_all(renee, data):
    assert cross_val_predict_top_k(renee, data.texts, data.Y, k=99, cv=2).nnz == (
        N_TEXTS * N_LABELS
    )


def test_nothing_of_the_users_changes(renee, data):
    trained = renee.fit(data.texts, data.Y)
    proba = trained.predict_proba(data.texts)
    frozen = make_pipeline(FrozenEstimator(trained))
    out = cross_val_predict_top_k(frozen, data.texts, data.Y, k=4, cv=2)
    assert out.nnz == 4 * N_TEXTS
    assert trained.top_k == 2
    assert (trained.predict_proba(data.texts) != proba).nnz == 0


def test_an_estimator_of_another_library_is_cut_to_its_best(linear, data):
    exclude = sp.csr_array(np.random.default_rng(0).random(data.Y.shape) < 0.2)
    proba = cross_val_predict_top_k(linear, data.texts, data.Y, k=2, cv=2, exclude=exclude)
    full = sklearn.model_selection.cross_val_predict(
        linear, data.texts, data.Y.toarray(), cv=KFold(2), method="predict_proba"
    ) * (exclude.toarray() == 0)
    second = np.sort(full, axis=1)[:, [-2]]
    np.testing.assert_allclose(proba.toarray(), full * (full >= second))


def test_a_search_inside_is_searched_in_every_fold(renee, data):
    search = GridSearchCV(renee, {"epochs": [1, 2]}, cv=2)
    assert cross_val_predict_top_k(search, data.texts, data.Y, k=3, cv=2).nnz == 3 * N_TEXTS


def test_weights_reach_the_fits_of_the_folds(renee, data):
    weights = np.arange(N_TEXTS) % 3 + 1.0
    texts, cv = np.array(data.texts, dtype=object), KFold(2)
    clf = Pipeline([("clf", renee)])
    params = {"clf__sample_weight": weights}
    proba = cross_val_predict_top_k(clf, data.texts, data.Y, k=2, cv=cv, params=params)
    for train, test in cv.split(texts):
        renee.fit(texts[train], data.Y[train], sample_weight=weights[train])
        assert (proba[test] != renee.predict_proba(texts[test])).nnz == 0
    with sklearn.config_context(enable_metadata_routing=True):
        renee.set_fit_request(sample_weight=True)
        routed = cross_val_predict_top_k(
            clf, data.texts, data.Y, k=2, cv=cv, params={"sample_weight": weights}
        )
        assert (routed != proba).nnz == 0


def test_out_of_fold_arguments_are_checked(renee, data):
    with pytest.raises(ValueError, match="k=0 is too small"):
        cross_val_predict_top_k(renee, data.texts, data.Y, k=0)
    for y in (["a", "b"] * 40, np.arange(N_TEXTS) % 3, [[0], [1]] * 40):
        with pytest.raises(ValueError, match=r"Y is no matrix: .* different labels. Pass a matrix"):
            cross_val_predict_top_k(renee, data.texts, y)
    with pytest.raises(ValueError, match="only works for partitions"):
        cross_val_predict_top_k(renee, data.texts, data.Y, cv=ShuffleSplit(2, random_state=0))
    with pytest.raises(ValueError, match="exclude has shape"):
        cross_val_predict_top_k(renee, data.texts, data.Y, exclude=sp.csr_array((2, 2)))


# ------------------------------------------------------------------ index arrays of two dtypes
@pytest.mark.parametrize("format", ["csr", "csc", "bsr", "coo"])
def test_dtypes_of_index_arrays_do_not_matter(format, renee, data):
    def results(Y, exclude):
        params = {"exclude": exclude}
        parts = train_test_split(data.texts, Y, exclude, stratify=Y, random_state=0)
        proba = cross_val_predict_top_k(renee, data.texts, Y, k=2, exclude=exclude, params=params)
        return (
            cross_validate(renee, data.texts, Y, cv=2, params=params)["test_score"].tolist(),
            proba.toarray().tolist(),
            [part.toarray().tolist() if sp.issparse(part) else part for part in parts],
            [rows.tolist() for split in MultilabelStratifiedKFold(2).split(data.texts, Y)
             for rows in split],
            next(MultilabelStratifiedShuffleSplit(random_state=0).split(data.texts, Y))[1].tolist(),
            tune_threshold(fitted, data.texts, Y, exclude=exclude),
        )  # fmt: skip

    fitted = clone(renee).fit(data.texts, data.Y)
    given = data.Y, sp.random(*data.Y.shape, 0.1, format="csr", random_state=0)
    mixed = [with_index_dtypes(matrix, format, np.int64, np.int32) for matrix in given]
    assert results(*mixed) == results(*given)


def test_a_matrix_whose_indices_point_outside_is_refused_by_name(renee, data):
    Y = data.Y.copy()
    Y.indices[3] = N_LABELS
    with pytest.raises(ValueError, match="y is a damaged csr matrix"):
        cross_val_score(renee, data.texts, Y)
    with pytest.raises(ValueError, match="exclude is a damaged csr matrix"):
        cross_val_score(renee, data.texts, data.Y, params={"exclude": Y})
    with pytest.raises(ValueError, match=re.escape("arrays[1] is a damaged csr matrix")):
        train_test_split(data.texts, Y)
    with pytest.raises(ValueError, match="stratify is a damaged csr matrix"):
        train_test_split(data.texts, stratify=Y)
