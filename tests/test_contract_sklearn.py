"""Every estimator inside scikit-learn, on real texts."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import sklearn
from contract import N_TEXTS, assert_equal_models, assert_unchanged, state_of
from scipy.special import logit
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted

from skxc.encoders import BagOfWordsEncoder

# until 1.8 a ColumnTransformer reads frames by a protocol that polars 2 no longer has
READS_POLARS = hasattr(pl.DataFrame, "__dataframe__") or "sparse_interface" in sklearn.get_config()


def test_a_clone_is_unfitted_and_trains_to_the_same_model(trained, data):
    fresh = clone(trained)
    with pytest.raises(NotFittedError):
        check_is_fitted(fresh)
    assert_equal_models(fresh.fit(data.texts, data.Y), trained)


def test_the_encoder_given_is_never_fitted(make, data):
    encoder = BagOfWordsEncoder(dim=16, min_df=1)
    make(encoder=encoder).fit(data.texts, data.Y)
    assert vars(encoder) == vars(BagOfWordsEncoder(dim=16, min_df=1))


def test_a_column_transformer_hands_over_one_text_column(make, trained, data):
    frame = pd.DataFrame({"id": np.arange(N_TEXTS), "title": data.texts})
    pipeline = make_pipeline(ColumnTransformer([("t", "passthrough", ["title"])]), make())
    pipeline.fit(frame, data.Y)
    assert_equal_models(pipeline[-1], trained)
    assert (pipeline.predict_proba(frame) != trained.predict_proba(data.texts)).nnz == 0


def test_embeddings_join_other_features_in_a_union(make, trained, data):
    union = FeatureUnion([("tfidf", TfidfVectorizer()), ("embedding", make())])
    features = union.fit_transform(data.texts, data.Y)
    dim = trained.transform(data.texts).shape[1]
    np.testing.assert_allclose(
        features[:, -dim:].toarray(), trained.transform(data.texts), rtol=1e-6
    )
    assert len(union.get_feature_names_out()) == features.shape[1]


def test_embeddings_feed_another_classifier(make, data):
    pipeline = make_pipeline(make(), KNeighborsClassifier(1))
    assert pipeline.fit(data.texts, data.Y.toarray()).score(data.texts, data.Y.toarray()) > 0.9


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_embeddings_come_as_a_data_frame_where_asked(fitted, data, library):
    expected = fitted.transform(data.texts)
    frame = fitted.set_output(transform=library).transform(data.texts)
    assert type(frame).__module__.startswith(library)
    prefix = type(fitted).__name__.lower()
    assert list(frame.columns) == [f"{prefix}{i}" for i in range(expected.shape[1])]
    np.testing.assert_array_equal(frame, expected)
    assert sp.issparse(fitted.predict_proba(data.texts))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_the_global_wish_for_data_frames_reaches_transform_alone(make, trained, data, library):
    with sklearn.config_context(transform_output=library):
        estimator = make().fit(data.texts, data.Y)
        assert type(estimator.transform(data.texts)).__module__.startswith(library)
        assert sp.issparse(estimator.predict_proba(data.texts))
    assert_equal_models(estimator, trained)


def test_a_frame_of_embeddings_keeps_the_texts_index(fitted, data):
    index = [f"row {i}" for i in range(N_TEXTS)]
    fitted.set_output(transform="pandas")
    frame = pd.DataFrame({"title": data.texts}, index=index)
    assert fitted.transform(frame).index.tolist() == index


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_unions_and_column_transformers_hand_on_data_frames(make, trained, data, library):
    if library == "polars" and not READS_POLARS:
        pytest.skip("this scikit-learn cannot read this polars")
    expected = trained.transform(data.texts)
    lengths = FunctionTransformer(_lengths, feature_names_out=_name_of_lengths)
    frame = pd.DataFrame({"id": np.arange(N_TEXTS), "title": data.texts})
    columns = ColumnTransformer([("e", make(), ["title"]), ("n", lengths, ["title"])])
    for nest, X in ((FeatureUnion([("e", make()), ("n", lengths)]), data.texts), (columns, frame)):
        features = nest.set_output(transform=library).fit_transform(X, data.Y)
        assert type(features).__module__.startswith(library)
        features = np.asarray(features)
        np.testing.assert_array_equal(features[:, :-1].astype(np.float32), expected)
        np.testing.assert_array_equal(features[:, -1], [len(text) for text in data.texts])


def _lengths(texts):
    return np.array([[len(text)] for text in np.ravel(texts)])


def _name_of_lengths(transformer, names):
    return np.array(["n_characters"])


@pytest.mark.parametrize("column", ["title", ["title"]])
@pytest.mark.parametrize("library", [pd, pl], ids=["pandas", "polars"])
def test_a_column_transformer_embeds_one_text_column(make, trained, data, library, column):
    if library is pl and not READS_POLARS:
        pytest.skip("this scikit-learn cannot read this polars")
    frame = library.DataFrame({"id": np.arange(N_TEXTS), "title": data.texts})
    columns = ColumnTransformer([("e", make(), column), ("id", "passthrough", ["id"])])
    features = columns.fit(frame, data.Y).transform(frame)
    np.testing.assert_array_equal(features[:, :-1], trained.transform(data.texts))
    np.testing.assert_array_equal(features[:, -1], np.arange(N_TEXTS))


def test_a_pipeline_caches_the_fitted_estimator(make, data, tmp_path):
    Y = data.Y.toarray()
    pipeline = make_pipeline(make(), KNeighborsClassifier(1), memory=str(tmp_path))
    expected = pipeline.fit(data.texts, Y).predict(data.texts)
    np.testing.assert_array_equal(pipeline.fit(data.texts, Y).predict(data.texts), expected)


def test_a_pipeline_offers_what_its_last_step_offers(make, trained, data):
    pipeline = make_pipeline(FunctionTransformer(list), make()).fit(data.texts, data.Y)
    assert pipeline.score(data.texts, data.Y) == trained.score(data.texts, data.Y)
    np.testing.assert_array_equal(pipeline.classes_, trained.classes_)
    assert not hasattr(pipeline, "decision_function")
    assert not hasattr(pipeline, "n_features_in_")
    pipeline[-1].set_params(sparse_output=False)
    assert pipeline.decision_function(data.texts).shape == data.Y.shape


# ------------------------------------------------------------------------- classifiers of classes
@pytest.fixture(scope="module", params=[2, 4])
def n_classes(request):
    return request.param


@pytest.fixture(scope="module")
def classes(data, n_classes):
    """One of `n_classes` classes a text."""
    return np.array(list("abcd"))[np.unique(data.classes, return_inverse=True)[1] % n_classes]


@pytest.fixture(scope="module")
def classifier(make, data, n_classes, classes):
    return make(n_classes).fit(data.texts, classes)


def test_a_frozen_estimator_is_never_fitted_again(trained, data):
    state = state_of(trained)
    frozen = FrozenEstimator(trained)
    frozen.fit(data.texts[:5], data.Y[:5])
    assert clone(frozen).estimator is trained
    assert_unchanged(trained, state)
    assert (frozen.predict_proba(data.texts) != trained.predict_proba(data.texts)).nnz == 0
    pipeline = make_pipeline(frozen, KNeighborsClassifier(1)).fit(data.texts, data.Y.toarray())
    assert pipeline.score(data.texts, data.Y.toarray()) > 0.9


def test_a_frozen_classifier_is_calibrated_by_a_sigmoid_of_its_scores(
    classifier, data, classes, n_classes
):
    calibrated = CalibratedClassifierCV(FrozenEstimator(classifier)).fit(data.texts, classes)
    proba = calibrated.predict_proba(data.texts)
    np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-6)
    assert calibrated.classes_.tolist() == classifier.classes_.tolist()
    if n_classes > 2:
        return
    scores = classifier.decision_function(data.texts)
    assert np.corrcoef(scores, logit(proba[:, 1]))[0, 1] > 0.99999


@pytest.mark.parametrize("is_ensemble", [True, False])
@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibration_refits_on_folds_with_weights(
    make, data, classes, n_classes, is_ensemble, method
):
    calibrated = CalibratedClassifierCV(make(n_classes), method=method, cv=2, ensemble=is_ensemble)
    # scikit-learn 1.6 takes weights of the scores' own dtype alone
    calibrated.fit(data.texts, classes, sample_weight=np.ones(N_TEXTS, np.float32))
    assert len(calibrated.calibrated_classifiers_) == (2 if is_ensemble else 1)
    np.testing.assert_allclose(calibrated.predict_proba(data.texts).sum(1), 1, rtol=1e-6)
    assert calibrated.score(data.texts, classes) > 1 / n_classes


def test_a_vote_of_one_is_its_own(make, classifier, data, classes, n_classes):
    for voting in ("hard", "soft"):
        vote = VotingClassifier([("only", make(n_classes))], voting=voting)
        vote.fit(data.texts, classes)
        np.testing.assert_array_equal(vote.predict(data.texts), classifier.predict(data.texts))
    np.testing.assert_allclose(
        vote.predict_proba(data.texts), classifier.predict_proba(data.texts), rtol=1e-6
    )


def test_a_stack_learns_from_held_out_predictions(make, data, classes, n_classes):
    others = make_pipeline(TfidfVectorizer(), LogisticRegression())
    stack = StackingClassifier([("ours", make(n_classes)), ("linear", others)], cv=2)
    stack.fit(data.texts, classes)
    assert stack.transform(data.texts).shape == (N_TEXTS, 2 if n_classes == 2 else 2 * n_classes)
    assert stack.score(data.texts, classes) > 1 / n_classes


def test_one_against_the_rest_is_one_fit_a_class(make, data, classes, n_classes):
    rest = OneVsRestClassifier(make(2)).fit(data.texts, classes)
    name = rest.classes_[-1]
    by_hand = make(2).fit(data.texts, (classes == name).astype(int))
    np.testing.assert_array_equal(
        rest.estimators_[-1].predict(data.texts), by_hand.predict(data.texts)
    )
    assert rest.score(data.texts, classes) > 1 / n_classes


def test_several_outputs_are_one_fit_a_column(make, data):
    Y = data.Y.toarray()[:, :2]
    several = MultiOutputClassifier(make(2)).fit(data.texts, Y)
    for j, proba in enumerate(several.predict_proba(data.texts)):
        by_hand = make(2).fit(data.texts, Y[:, j])
        np.testing.assert_allclose(proba, by_hand.predict_proba(data.texts), rtol=1e-6)


def test_bagging_takes_a_column_of_texts(make, data, classes, n_classes):
    X = np.array(data.texts, dtype=object)[:, None]  # bagging wants two dimensions
    bag = BaggingClassifier(make(n_classes), 2, random_state=0).fit(X, classes)
    assert bag.score(X, classes) > 1 / n_classes


def test_thresholds_of_a_binary_classifier_move_its_decision(make, data):
    y = (data.classes == data.classes[0]).astype(int)
    proba = make(2).fit(data.texts, y).predict_proba(data.texts)[:, 1]
    fixed = FixedThresholdClassifier(make(2), threshold=0.3, response_method="predict_proba")
    np.testing.assert_array_equal(fixed.fit(data.texts, y).predict(data.texts), proba >= 0.3)
    tuned = TunedThresholdClassifierCV(make(2), cv=2, random_state=0).fit(data.texts, y)
    assert set(tuned.predict(data.texts)) <= {0, 1}


def test_a_class_is_predicted_where_all_are_equal_as_its_probabilities_say(classifier):
    strange = ["", "words never seen", "zzz"]
    best = classifier.predict_proba(strange).argmax(1)
    np.testing.assert_array_equal(classifier.predict(strange), classifier.classes_[best])


# ------------------------------------------------------------------------------------ looking on
def test_an_estimator_with_honest_tags_passes_the_check_that_it_is_given(make):
    # scikit-learn has no texts: tests/test_sklearn_checks.py runs the others
    with pytest.warns(SkipTestWarning, match="Can't test estimator"):
        check_estimator(make())


def test_looking_at_an_estimator_changes_nothing(fitted, make, data):
    fitted.predict_proba(data.texts)
    for estimator in (fitted, make()):
        names, ranker = set(vars(estimator)), vars(estimator).get("_ranker")
        state = state_of(estimator)
        estimator._repr_html_()
        make_pipeline(FunctionTransformer(list), estimator)._repr_html_()
        estimator._repr_mimebundle_()
        repr(estimator)
        for name in dir(estimator):
            with suppress(AttributeError, NotFittedError):
                getattr(estimator, name)
        assert set(vars(estimator)) == names
        assert vars(estimator).get("_ranker") is ranker
        assert_unchanged(estimator, state)


def test_the_html_view_shows_the_estimator(trained, make):
    for estimator in (trained, make()):
        assert type(estimator).__name__ in estimator._repr_html_()
