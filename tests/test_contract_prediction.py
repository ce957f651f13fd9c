"""What every estimator's predictions are, on real texts."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
import torch
from contract import N_LABELS, N_TEXTS
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer


# --------------------------------------------------------------------------------- what comes out
@pytest.mark.parametrize("interface", ["spmatrix", "sparray"])
def test_sparse_results_come_as_scikit_learns_configured_interface(trained, data, interface):
    if "sparse_interface" not in sklearn.get_config():
        pytest.skip("this scikit-learn has no sparse_interface")
    container = {"spmatrix": sp.csr_matrix, "sparray": sp.csr_array}[interface]
    with sklearn.config_context(sparse_interface=interface):
        assert type(trained.predict_proba(data.texts)) is container
        assert type(trained.predict(data.texts)) is container


@pytest.mark.parametrize("top_k", [1, 4, 100])
def test_sparse_probabilities_hold_exactly_k_labels_a_row(fitted, data, top_k):
    proba = fitted.set_params(top_k=top_k).predict_proba(data.texts)
    assert proba.dtype == np.float32
    assert proba.shape == (N_TEXTS, N_LABELS)
    assert (np.diff(proba.indptr) == min(top_k, N_LABELS)).all()
    assert (proba.data > 0).all()
    assert (proba.data < 1).all()
    assert proba.has_canonical_format


def test_dense_probabilities_are_the_full_matrix_inside_zero_and_one(trained, trained_dense, data):
    proba = trained_dense.predict_proba(data.texts)
    assert (type(proba), proba.dtype, proba.shape) == (np.ndarray, np.float32, data.Y.shape)
    assert (proba > 0).all()
    assert (proba < 1).all()
    np.testing.assert_allclose(proba, trained.predict_proba(data.texts).toarray(), rtol=1e-5)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.float64])
def test_predictions_are_zero_and_one_in_the_dtype_of_y(make, data, dtype):
    for Y in (data.Y.astype(dtype), data.Y.toarray().astype(dtype)):
        predicted = make().fit(data.texts, Y).predict(data.texts)
        assert predicted.dtype == (np.int64 if dtype is np.float64 else dtype)
        values = predicted.toarray() if sp.issparse(predicted) else predicted
        assert set(np.unique(values)) <= {0, 1}


def test_predict_holds_what_reaches_the_threshold(fitted, fitted_dense, data):
    for estimator in (fitted, fitted_dense):
        proba = estimator.predict_proba(data.texts)
        proba = proba.toarray() if sp.issparse(proba) else proba
        for threshold in (0, float(np.median(proba)), 1):
            predicted = estimator.set_params(threshold=threshold).predict(data.texts)
            dense = predicted.toarray() if sp.issparse(predicted) else predicted
            np.testing.assert_array_equal(dense, proba >= threshold)
            assert not sp.issparse(predicted) or predicted.nnz == dense.sum()


def test_scores_are_inner_products_of_embeddings_and_weighted_margins(trained_dense, data):
    scores = trained_dense.decision_function(data.texts)
    embeddings = trained_dense.transform(data.texts)
    assert (scores.dtype, embeddings.dtype) == (np.float32, np.float32)
    expected = embeddings.astype(np.float64) @ trained_dense.label_embeddings_.T.astype(np.float64)
    ranker = trained_dense._get_ranker()
    tokens, words = trained_dense.encoder_.tokenize(data.texts), ranker.table.words
    if words is not None:
        expected += (tokens.as_csr(words.shape[1]) @ words.T).toarray()
    weights, intercepts = ranker.reranker.classifiers
    margins = (tokens.as_csr(weights.shape[1]) @ weights.T).toarray() + intercepts
    assert trained_dense.rerank_weight_ > 0
    expected += trained_dense.rerank_weight_ * margins
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


def test_the_best_labels_are_the_largest_scores_best_first(trained_dense, data):
    scores = trained_dense.decision_function(data.texts)
    labels, values = trained_dense.predict_top_k(data.texts, k=4)
    assert (labels.dtype, values.dtype) == (np.int64, np.float32)
    assert labels.shape == values.shape == (N_TEXTS, 4)
    np.testing.assert_allclose(values, -np.sort(-scores, axis=1)[:, :4], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(values, np.take_along_axis(scores, labels, 1), rtol=1e-5, atol=1e-6)
    assert all(len(set(row)) == 4 for row in labels)


def test_more_labels_than_there_are_cannot_be_asked_for(trained, data):
    labels, _ = trained.predict_top_k(data.texts, k=1000)
    assert (np.sort(labels, axis=1) == np.arange(N_LABELS)).all()


def test_results_do_not_depend_on_the_rest_of_the_batch(trained, trained_dense, data):
    alone = sp.vstack([trained.predict_proba([text]) for text in data.texts[:20]])
    together = trained.predict_proba(data.texts[:20])
    np.testing.assert_allclose(alone.toarray(), together.toarray(), rtol=1e-5)
    alone = np.vstack([trained_dense.predict_proba([text]) for text in data.texts[:20]])
    np.testing.assert_allclose(alone, trained_dense.predict_proba(data.texts[:20]), rtol=1e-6)


def test_scores_are_offered_only_where_results_are_dense(fitted, data):
    assert not hasattr(fitted, "decision_function")
    assert (
        fitted.set_params(sparse_output=False).decision_function(data.texts).shape == data.Y.shape
    )


def test_label_names_are_classes_or_the_label_texts_of_nameless_columns(make, data):
    named = make(label_texts=data.label_texts).fit(data.texts, data.Y)
    ids = named.predict_top_k(data.texts, k=2)[0]
    texts = np.array(data.label_texts, dtype=object)
    assert named.predict_labels(data.texts, k=2) == texts[ids].tolist()
    frame = pd.DataFrame(data.Y.toarray(), columns=list("pqrstu"))
    framed = make().fit(data.texts, frame)
    ids = framed.predict_top_k(data.texts, k=2)[0]
    assert framed.classes_.tolist() == list("pqrstu")
    assert framed.predict_labels(data.texts, k=2) == np.array(list("pqrstu"))[ids].tolist()


def test_a_data_frame_of_labels_is_scored_by_column_name(make, data):
    frame = pd.DataFrame(data.Y.toarray(), columns=list("pqrstu"))
    estimator = make().fit(data.texts, frame)
    assert estimator.score(data.texts, frame[list("utsrqp")]) == estimator.score(data.texts, frame)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_one_label_a_text_is_classification(make, data, n_classes):
    names = np.array(["a", "b", "c", "d"])
    labels = names[np.unique(data.classes, return_inverse=True)[1] % n_classes]
    estimator = make(n_labels=n_classes).fit(data.texts, labels)
    proba = estimator.predict_proba(data.texts)
    predicted = estimator.predict(data.texts)
    scores = estimator.decision_function(data.texts)
    assert estimator.classes_.tolist() == names[:n_classes].tolist()
    assert proba.dtype == np.float32
    np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(predicted, names[proba.argmax(1)])
    assert scores.shape == ((N_TEXTS,) if n_classes == 2 else (N_TEXTS, n_classes))
    by_score = (scores > 0).astype(int) if n_classes == 2 else scores.argmax(1)
    np.testing.assert_array_equal(predicted, names[by_score])
    assert estimator.score(data.texts, labels) == np.mean(predicted == labels)


@pytest.mark.parametrize("k", [1, 3, N_LABELS])
def test_excluded_pairs_leave_before_the_cut(fitted, data, k):
    ranked, scores = fitted.predict_top_k(data.texts, k=N_LABELS)
    best = (np.arange(N_TEXTS), ranked[:, 0])  # take away what would come first
    exclude = sp.csr_array((np.ones(N_TEXTS), best), shape=data.Y.shape)
    labels, values = fitted.predict_top_k(data.texts, k=k, exclude=exclude)
    n_left = min(k, N_LABELS - 1)
    np.testing.assert_array_equal(labels[:, :n_left], ranked[:, 1 : n_left + 1])
    np.testing.assert_allclose(values[:, :n_left], scores[:, 1 : n_left + 1], rtol=1e-6)
    assert (labels[:, n_left:] == -1).all()
    assert (values[:, n_left:] == -np.inf).all()
    proba = fitted.set_params(top_k=k).predict_proba(data.texts, exclude=exclude)
    assert (np.diff(proba.indptr) == n_left).all()
    assert proba.multiply(exclude).nnz == 0
    names = fitted.predict_labels(data.texts, k=k, exclude=exclude)
    assert {len(row) for row in names} == {n_left}


def test_excluded_pairs_are_not_predicted_in_dense_results(fitted_dense, data):
    exclude = sp.csr_array(np.ones(data.Y.shape) - np.eye(N_TEXTS, N_LABELS))
    fitted_dense.set_params(threshold=1e-12)
    predicted = fitted_dense.predict(data.texts, exclude=exclude)
    np.testing.assert_array_equal(predicted, np.eye(N_TEXTS, N_LABELS))
    proba = fitted_dense.predict_proba(data.texts, exclude=exclude)
    assert (proba > 0).all()
    assert (proba < 1).all()


def test_excluded_classes_are_neither_predicted_nor_scored(make, data):
    names, columns = np.unique(data.classes, return_inverse=True)
    estimator = make(n_labels=len(names), rerank_weight=0).fit(data.texts, data.classes)
    everything_else = 1 - np.eye(len(names))[columns]
    exclude = sp.csr_array(everything_else)
    assert estimator.score(data.texts, data.classes) < 1
    np.testing.assert_array_equal(estimator.predict(data.texts, exclude=exclude), data.classes)
    assert estimator.score(data.texts, data.classes, exclude=exclude) == 1


def test_score_ignores_excluded_pairs(make, data):
    trained = make(rerank_weight=0).fit(data.texts, data.Y)  # it is not right of all texts
    best = trained.predict_top_k(data.texts, k=1)[0][:, 0]
    hits = data.Y.toarray()[np.arange(N_TEXTS), best]
    wrong = np.flatnonzero(hits == 0)
    exclude = sp.csr_array((np.ones(len(wrong)), (wrong, best[wrong])), shape=data.Y.shape)
    assert trained.score(data.texts, data.Y, exclude=exclude) > trained.score(data.texts, data.Y)


def test_label_counts_are_the_training_texts_of_each_label(trained, data):
    assert trained.label_counts_.dtype == np.int64
    np.testing.assert_array_equal(trained.label_counts_, np.asarray(data.Y.sum(0)).ravel())


# ------------------------------------------------------------ parameters that act in prediction
def test_container_and_k_change_after_fit_without_a_refit(fitted, data):
    full = fitted.predict_proba(data.texts).toarray()
    fitted.set_params(sparse_output=False)
    np.testing.assert_allclose(fitted.predict_proba(data.texts), full, rtol=1e-5)
    fitted.set_params(sparse_output=True, top_k=2)
    proba = fitted.predict_proba(data.texts)
    assert proba.nnz == 2 * N_TEXTS
    np.testing.assert_array_equal(proba.toarray(), full * (proba.toarray() > 0))


def test_the_device_changes_after_fit_and_a_missing_one_loses_nothing(fitted, data):
    expected = fitted.predict_proba(data.texts)
    with pytest.raises(ValueError, match=re.escape("device='cuda:99' is not available here")):
        fitted.set_params(device="cuda:99").predict_proba(data.texts)
    fitted.set_params(device=torch.device("cpu"))
    assert (fitted.predict_proba(data.texts) != expected).nnz == 0


def test_parameters_act_in_prediction_through_a_pipeline(make, data):
    pipeline = Pipeline([("clean", FunctionTransformer(_lower)), ("clf", make())])
    pipeline.fit(data.texts, data.Y)
    assert pipeline.predict_proba(data.texts).nnz == N_TEXTS * N_LABELS
    assert pipeline.set_params(clf__top_k=2).predict_proba(data.texts).nnz == N_TEXTS * 2
    assert pipeline.set_params(clf__threshold=1).predict(data.texts).nnz == 0
    assert isinstance(pipeline.set_params(clf__sparse_output=False).predict(data.texts), np.ndarray)


def _lower(texts):
    return [text.lower() for text in texts]
