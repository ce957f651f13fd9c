"""What every estimator promises, on real texts."""

from __future__ import annotations

import copy
import hashlib
import logging
import pickle
import random
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
import torch
from containers import LABEL_LISTS, MATRICES, TEXT_CONTAINERS
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, KFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import check_is_fitted

from skxc import DualEncoderXC, ReneeClassifier, UniDEC
from skxc._mixins._fit import FitMixin
from skxc._training._loop import _Loop
from skxc.datasets import load_library_subjects
from skxc.encoders import BagOfWordsEncoder

N_TEXTS, N_LABELS = 90, 6
TINY = {
    "encoder": BagOfWordsEncoder(dim=16, min_df=1),
    "epochs": 3,
    "batch_size": 16,
    "random_state": 0,
}


@dataclass(frozen=True)
class Case:
    """One estimator under test, and whether it must be told the labels' texts."""

    prototype: Any
    needs_label_texts: bool = False


CASES = [
    Case(ReneeClassifier(**TINY)),
    Case(DualEncoderXC(**TINY), needs_label_texts=True),
    Case(UniDEC(**TINY), needs_label_texts=True),
]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: type(case.prototype).__name__)
def make(request, data):
    """`make(**parameters)`: a tiny unfitted estimator for the first `n_labels` labels."""

    def make(n_labels=N_LABELS, **parameters):
        texts = data.label_texts[:n_labels] if request.param.needs_label_texts else None
        return clone(request.param.prototype).set_params(**{"label_texts": texts, **parameters})

    return make


@dataclass(frozen=True)
class Data:
    """Texts, labels in three forms, and the labels' texts."""

    texts: list[str]
    Y: sp.csr_matrix
    label_texts: list[str]

    @property
    def lists(self) -> list[list[str]]:
        """The label texts of each row."""
        return [[self.label_texts[j] for j in row] for row in np.split(
            self.Y.indices, self.Y.indptr[1:-1])]  # fmt: skip

    @property
    def classes(self) -> np.ndarray:
        """One label a text: its first."""
        return np.array([row[0] for row in self.lists])


@pytest.fixture(scope="module")
def data():
    """The first titles that speak of one of the six most frequent subjects."""
    library = load_library_subjects()
    counts = np.asarray(library.Y.sum(0)).ravel()
    labels = np.sort(np.argsort(-counts, kind="stable")[:N_LABELS])
    Y = library.Y[:, labels]
    rows = np.flatnonzero(np.diff(Y.indptr))[:N_TEXTS]
    texts, label_texts = [library.texts[i] for i in rows], [library.label_texts[j] for j in labels]
    return Data(texts, Y[rows].astype(np.int64), label_texts)


@pytest.fixture(scope="module")
def trained(make, data):
    return make().fit(data.texts, data.Y)


@pytest.fixture(scope="module")
def trained_dense(make, data):
    return make().fit(data.texts, data.Y.toarray())


@pytest.fixture
def fitted(trained):
    """Fitted on sparse Y; a test may change it."""
    return copy.deepcopy(trained)


@pytest.fixture
def fitted_dense(trained_dense):
    """Fitted on dense Y; a test may change it."""
    return copy.deepcopy(trained_dense)


def assert_equal_models(a, b):
    np.testing.assert_array_equal(a.label_embeddings_, b.label_embeddings_)
    assert a.encoder_.weights_.keys() == b.encoder_.weights_.keys()
    for name, weights in a.encoder_.weights_.items():
        np.testing.assert_array_equal(weights, b.encoder_.weights_[name])
    np.testing.assert_array_equal(a.classes_, b.classes_)


def state_of(estimator):
    """All that was learnt, to compare with later."""
    return copy.deepcopy({k: v for k, v in vars(estimator).items() if k != "_runtime"})


def assert_unchanged(estimator, state):
    assert pickle.dumps(state) == pickle.dumps(state_of(estimator))


# ---------------------------------------------------------------------------------- what goes in
@pytest.mark.parametrize("container", TEXT_CONTAINERS)
def test_every_container_of_texts_gives_the_same_model_and_predictions(
    make, trained, data, container
):
    if container == "Series with another index":
        X = pd.Series(data.texts, index=range(N_TEXTS, 0, -1))
    else:
        X = TEXT_CONTAINERS[container](data.texts)
    fitted = make().fit(X, data.Y)
    assert_equal_models(fitted, trained)
    assert (fitted.predict_proba(X) != trained.predict_proba(data.texts)).nnz == 0


@pytest.mark.parametrize("container", MATRICES)
def test_every_label_matrix_gives_the_same_model_and_is_mirrored(make, trained, data, container):
    Y = MATRICES[container](data.Y.toarray())
    fitted = make().fit(data.texts, Y)
    assert_equal_models(fitted, trained)
    assert sp.issparse(fitted.predict_proba(data.texts)) == sp.issparse(Y)
    assert sp.issparse(fitted.predict(data.texts)) == sp.issparse(Y)
    assert fitted.score(data.texts, Y) == trained.score(data.texts, data.Y)


@pytest.mark.parametrize("container", LABEL_LISTS)
def test_every_container_of_label_lists_gives_the_same_names(make, trained, data, container):
    lists = [[f"{j}" for j in row] for row in np.split(data.Y.indices, data.Y.indptr[1:-1])]
    lists = LABEL_LISTS[container](lists)
    fitted = make().fit(data.texts, lists)
    np.testing.assert_array_equal(fitted.label_embeddings_, trained.label_embeddings_)
    assert fitted.classes_.tolist() == list("012345")
    best = trained.predict_top_k(data.texts, k=2)[0]
    assert fitted.predict_labels(data.texts, k=2) == [[str(i) for i in row] for row in best]
    assert fitted.score(data.texts, lists) == trained.score(data.texts, data.Y)


def test_a_read_only_memory_map_of_labels_is_accepted(make, trained, data, tmp_path):
    joblib.dump(data.Y, tmp_path / "Y")
    Y = joblib.load(tmp_path / "Y", mmap_mode="r")
    assert isinstance(Y.data, np.memmap)
    assert not Y.data.flags.writeable
    assert_equal_models(make().fit(data.texts, Y), trained)


@pytest.mark.parametrize(
    ("Y", "n_labels"),
    [
        ([["x"], []], 1),  # a text without a label
        (sp.csr_array([[1, 0, 0], [0, 0, 0]]), 3),  # and labels without a text
        (sp.csr_array((2, 3)), 3),  # no pair at all
        (sp.csr_array([[1], [0]]), 1),
        (sp.csr_array([[1], [1]]), 1),
        (sp.csr_array([[1, 0], [1, 1]]), 2),
        (np.array([[1, 0], [1, 1]]), 2),
        (np.array([[1, 0, 1], [0, 0, 0]]), 3),
        (["a", "a"], 1),
        (["a", "b"], 2),
        (sp.csr_array(([1], ([1], [998])), shape=(2, 1000)), 1000),  # far more labels than texts
    ],
)
def test_corners_of_the_label_matrix_are_legal(make, Y, n_labels):
    texts = ["red apple", "a car"]
    estimator = make()
    if estimator.label_texts is not None:
        estimator.set_params(label_texts=[f"label {i}" for i in range(n_labels)])
    proba = estimator.fit(texts, Y).predict_proba(["red apple", "", "what else"])
    assert proba.shape == (3, n_labels)
    if sp.issparse(proba):
        assert (np.diff(proba.indptr) == min(n_labels, 100)).all()
        proba = proba.data
    assert np.isfinite(proba).all()
    assert 0 <= estimator.score(texts, Y) <= 1


def test_one_text_is_enough(make):
    estimator = make(n_labels=2).fit(["red apple"], sp.csr_array([[0, 1]]))
    assert estimator.predict_top_k(["red apple"])[0].tolist() == [[1, 0]]


def test_texts_without_any_word_are_legal(make, data):
    estimator = make().fit([""] * N_TEXTS, data.Y)
    np.testing.assert_allclose(
        *estimator.predict_proba(["", "words never seen"]).toarray(), rtol=1e-6
    )


def test_an_empty_text_gets_k_predictions(trained):
    proba = trained.predict_proba(["", "strategies for e-business success"])
    assert np.diff(proba.indptr).tolist() == [N_LABELS] * 2
    assert np.isfinite(proba.data).all()


def test_relevances_are_accepted(make, data):
    estimator = make().fit(data.texts, data.Y * 0.5)
    assert estimator.predict(data.texts).dtype == np.int64


def test_sample_weight_changes_the_model_and_weight_one_does_not(make, trained, data):
    assert_equal_models(make().fit(data.texts, data.Y, sample_weight=np.ones(N_TEXTS)), trained)
    weights = 1.0 + np.asarray(data.Y.toarray())[:, 0]
    other = make().fit(data.texts, data.Y, sample_weight=weights)
    assert not np.array_equal(other.label_embeddings_, trained.label_embeddings_)


@pytest.mark.parametrize("weights", [None, np.arange(N_TEXTS)], ids=["unweighted", "weighted"])
def test_score_is_the_weighted_share_of_right_first_labels(trained, data, weights):
    best = trained.predict_top_k(data.texts, k=1)[0][:, 0]
    hits = data.Y.toarray()[np.arange(N_TEXTS), best]
    assert 0 < hits.mean() < 1
    score = trained.score(data.texts, data.Y, sample_weight=weights)
    assert score == pytest.approx(np.average(hits, weights=weights))


# ------------------------------------------------------------------------------------- bad input
BAD_FITS = {
    "bare string": (lambda d: ("text", d.Y), ValueError, "X is a single str, 'text'. Pass a list"),
    "None inside": (
        lambda d: ([*d.texts[:-1], None], d.Y),
        ValueError,
        f"X[{N_TEXTS - 1}] is None of type NoneType, not a str. Fill missing texts",
    ),
    "NaN inside": (
        lambda d: (pd.Series([float("nan"), *d.texts[1:]]), d.Y),
        ValueError,
        "X[0] is nan of type float, not a str. Fill missing texts",
    ),
    "bytes": (
        lambda d: ([t.encode() for t in d.texts], d.Y),
        TypeError,
        "of type bytes, not a str. Decode the bytes first, such as with text.decode('utf-8').",
    ),
    "numbers": (
        lambda d: (np.zeros(N_TEXTS), d.Y),
        TypeError,
        "X[0] is 0.0 of type float, not a str. Pass one str a row.",
    ),
    "2-d": (
        lambda d: (np.array([d.texts, d.texts]).T, d.Y),
        ValueError,
        f"X has shape ({N_TEXTS}, 2). Pass texts as a 1-d sequence of str, or one column.",
    ),
    "empty": (lambda d: ([], d.Y[:0]), ValueError, "X holds 0 texts. Pass at least one."),
    "length differs": (
        lambda d: (d.texts[1:], d.Y),
        ValueError,
        f"Y has {N_TEXTS} rows, but X has {N_TEXTS - 1} texts. Pass one row per text.",
    ),
    "negative": (lambda d: (d.texts, -d.Y), ValueError, "Y holds -1. Pass 1 for a label that"),
    "above 1": (lambda d: (d.texts, d.Y * 2), ValueError, "Y holds 2. Pass 1 for a label that"),
    "NaN": (
        lambda d: (d.texts, d.Y * np.nan),
        ValueError,
        "Input y contains NaN. Pass finite values.",
    ),
    "no columns": (
        lambda d: (d.texts, d.Y[:, :0]),
        ValueError,
        f"Y has shape ({N_TEXTS}, 0). Pass a matrix of (n_samples, n_labels)",
    ),
    "not a matrix": (
        lambda d: (d.texts, "labels"),
        TypeError,
        "Y is 'labels' of type str. Pass a (n_samples, n_labels) sparse or 0/1 matrix",
    ),
    "no Y": (lambda d: (d.texts, None), ValueError, "requires y to be passed, but the target y"),
    "weights": (
        lambda d: (d.texts, d.Y, [1.0]),
        ValueError,
        f"sample_weight has 1 entries, but X has {N_TEXTS} texts. Pass one weight per text.",
    ),
}


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("case", BAD_FITS)
def test_bad_training_input_is_named_and_costs_no_model(fitted, make, data, case, method):
    arguments, error, message = BAD_FITS[case]
    X, y, *weights = arguments(data)
    keywords = {"sample_weight": weights[0]} if weights else {}
    state = state_of(fitted)
    with pytest.raises(error, match=re.escape(message)):
        getattr(fitted, method)(X, y, **keywords)
    assert_unchanged(fitted, state)
    unfitted = make()
    with pytest.raises(error, match=re.escape(message)):
        getattr(unfitted, method)(X, y, **keywords)
    with pytest.raises(NotFittedError):
        check_is_fitted(unfitted)


BAD_PARAMETERS = [
    ({"label_texts": ["a"] * 9}, ValueError, "label_texts has 9 entries, but Y has 6 labels. Pass"),
    ({"label_texts": ["a", "b", "c", 4, "e", "f"]}, TypeError, "label_texts[3] is 4 of type int"),
    ({"label_texts": "abcdef"}, ValueError, "label_texts is a single str, 'abcdef'."),
    ({"encoder": 3}, TypeError, "encoder=3 is not an encoder. Pass 'bag', a Hugging Face model"),
    ({"encoder": BagOfWordsEncoder}, TypeError, "is not an encoder. Pass 'bag', a Hugging Face"),
    ({"encoder__dim": 0}, ValueError, "dim=0 is too small. Pass an integer of at least 1."),
    ({"encoder__min_df": "two"}, TypeError, "min_df must be a number in [0, 1], got 'two'."),
    ({"encoder__token_pattern": "("}, ValueError, "token_pattern='(' is no regular expression"),
    ({"epochs": 0}, ValueError, "epochs=0 is too small. Pass an integer of at least 1."),
    ({"epochs": 1.5}, TypeError, "epochs must be an integer of at least 1, got 1.5."),
    ({"batch_size": -1}, ValueError, "batch_size=-1 is too small. Pass an integer of at least 1."),
    (
        {"learning_rate": 0},
        ValueError,
        "learning_rate=0 is out of range. Pass a number in (0, inf)",
    ),
    (
        {"learning_rate": "fast"},
        TypeError,
        "learning_rate must be a number in (0, inf), got 'fast'",
    ),
    (
        {"weight_decay": -1},
        ValueError,
        "weight_decay=-1 is out of range. Pass a number in [0, inf)",
    ),
    (
        {"warmup_fraction": 2},
        ValueError,
        "warmup_fraction=2 is out of range. Pass a number in [0, 1]",
    ),
    (
        {"max_grad_norm": 0},
        ValueError,
        "max_grad_norm=0 is out of range. Pass a number in (0, inf)",
    ),
    ({"dropout": 1}, ValueError, "dropout=1 is out of range. Pass a number in [0, 1)."),
    ({"top_k": 0}, ValueError, "top_k=0 is too small. Pass an integer of at least 1."),
    ({"top_k": "all"}, TypeError, "top_k must be an integer of at least 1, got 'all'."),
    ({"threshold": 1.5}, ValueError, "threshold=1.5 is out of range. Pass a number in [0, 1]."),
    (
        {"early_stopping": "yes"},
        ValueError,
        "early_stopping='yes' is unknown. Pass one of True, False",
    ),
    (
        {"validation_fraction": 1},
        ValueError,
        "validation_fraction=1 is out of range. Pass a number in (0, 1)",
    ),
    ({"n_iter_no_change": 0}, ValueError, "n_iter_no_change=0 is too small."),
    (
        {"sparse_output": "csr"},
        ValueError,
        "sparse_output='csr' is unknown. Pass one of 'auto', True, False",
    ),
    ({"device": "cuda:99"}, ValueError, "device='cuda:99' is not available here"),
    ({"device": "gpu"}, ValueError, "device='gpu' is not available here"),
    (
        {"precision": "float16"},
        ValueError,
        "precision='float16' is unknown. Pass one of 'auto', 'fl",
    ),
    ({"random_state": "seed"}, ValueError, "'seed' cannot be used to seed"),
    ({"warm_start": None}, ValueError, "warm_start=None is unknown. Pass one of True, False."),
    ({"verbose": "loud"}, TypeError, "verbose must be an integer of at least 0, got 'loud'."),
    (
        {"early_stopping": True, "validation_fraction": 0.001},
        ValueError,
        "validation_fraction=0.001 of 90 texts leaves 0 for validation and 90 for training. Pass "
        "more texts, another fraction, or early_stopping=False.",
    ),
]


@pytest.mark.parametrize(
    ("parameters", "error", "message"), BAD_PARAMETERS, ids=[str(p[0]) for p in BAD_PARAMETERS]
)
def test_a_bad_parameter_is_named_in_fit_and_costs_no_model(
    fitted, data, parameters, error, message
):
    fitted.set_params(**parameters)
    state = state_of(fitted)
    with pytest.raises(error, match=re.escape(message)):
        fitted.fit(data.texts, data.Y)
    assert_unchanged(fitted, state)


@pytest.mark.parametrize(
    "method",
    ["predict", "predict_proba", "predict_top_k", "predict_labels", "decision_function",
     "transform", "score"],
)  # fmt: skip
def test_prediction_before_fit_is_refused(make, data, method):
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        getattr(make(), method)(data.texts, *([data.Y] if method == "score" else []))


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_top_k", "transform"])
@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ("text", ValueError, "X is a single str, 'text'. Pass a list of texts; for one text: [X]."),
        (["a", None], ValueError, "X[1] is None of type NoneType, not a str."),
        ([b"a"], TypeError, "X[0] is b'a' of type bytes, not a str."),
        ([], ValueError, "X holds 0 texts. Pass at least one."),
    ],
)
def test_bad_texts_are_named_in_prediction_too(trained, trained_dense, method, X, error, message):
    for estimator in (trained, trained_dense):
        with pytest.raises(error, match=re.escape(message)):
            getattr(estimator, method)(X)


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
@pytest.mark.parametrize("is_sparse", [True, False])
@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"top_k": 0}, ValueError, "top_k=0 is too small. Pass an integer of at least 1."),
        ({"top_k": 2.0}, TypeError, "top_k must be an integer of at least 1, got 2.0."),
        ({"threshold": -1}, ValueError, "threshold=-1 is out of range. Pass a number in [0, 1]."),
        ({"sparse_output": "csr"}, ValueError, "sparse_output='csr' is unknown."),
        ({"sparse_output": 1}, ValueError, "sparse_output=1 is unknown. Pass one of 'auto'"),
        ({"device": "cuda:99"}, ValueError, "device='cuda:99' is not available here"),
    ],
)  # fmt: skip
def test_a_parameter_made_bad_after_fit_is_named_where_it_acts(
    fitted, fitted_dense, data, method, is_sparse, parameters, error, message
):
    estimator = fitted if is_sparse else fitted_dense
    is_unused = ("top_k" in parameters and not is_sparse) or (
        "threshold" in parameters and method != "predict"
    )
    estimator.set_params(**parameters)
    if is_unused:
        getattr(estimator, method)(data.texts)
        return
    with pytest.raises(error, match=re.escape(message)):
        getattr(estimator, method)(data.texts)


@pytest.mark.parametrize(
    ("k", "error", "message"),
    [
        (0, ValueError, "k=0 is too small. Pass an integer of at least 1."),
        (1.0, TypeError, "k must be an integer of at least 1, got 1.0."),
    ],
)
def test_k_below_one_is_refused(trained, data, k, error, message):
    for method in (trained.predict_top_k, trained.predict_labels):
        with pytest.raises(error, match=re.escape(message)):
            method(data.texts, k=k)


def test_a_bad_top_k_is_named_as_the_parameter_that_it_is(fitted, data):
    fitted.set_params(top_k=0)
    with pytest.raises(ValueError, match=re.escape("top_k=0 is too small.")):
        fitted.predict_top_k(data.texts)


def test_labels_of_another_set_are_refused_by_score_and_partial_fit(fitted, data):
    message = f"Y has {N_LABELS - 1} columns, but the model knows {N_LABELS} labels."
    with pytest.raises(ValueError, match=re.escape(message)):
        fitted.score(data.texts, data.Y[:, 1:])
    with pytest.raises(ValueError, match=re.escape(message)):
        fitted.partial_fit(data.texts, data.Y[:, 1:])


def test_a_training_set_too_big_for_memory_is_refused_before_training(
    fitted, data, monkeypatch, caplog
):
    state = state_of(fitted)
    monkeypatch.setattr("skxc._mixins._memory.free_bytes", lambda device: 1000)
    with (
        caplog.at_level(logging.INFO, "skxc"),
        pytest.raises(ValueError, match=re.escape("Training needs about")) as caught,
    ):
        fitted.fit(data.texts, data.Y)
    assert "for it. " in str(caught.value)
    assert [r.getMessage()[:20] for r in caplog.records] == ["training needs about"]
    assert_unchanged(fitted, state)


def test_a_dense_result_too_big_for_memory_is_refused(fitted_dense, monkeypatch):
    monkeypatch.setattr("skxc._mixins._predict.free_bytes", lambda device: 8 * N_LABELS * 1000)
    assert fitted_dense.predict_proba([""] * 1000).shape == (1000, N_LABELS)
    message = "A dense result of 1001 texts x 6 labels needs 0.0 GiB. Pass fewer texts, or set"
    with pytest.raises(ValueError, match=re.escape(message)):
        fitted_dense.predict_proba([""] * 1001)


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


def test_scores_are_inner_products_of_embeddings(trained_dense, data):
    scores = trained_dense.decision_function(data.texts)
    embeddings = trained_dense.transform(data.texts)
    assert (scores.dtype, embeddings.dtype) == (np.float32, np.float32)
    expected = embeddings.astype(np.float64) @ trained_dense.label_embeddings_.T.astype(np.float64)
    np.testing.assert_allclose(scores, expected, rtol=1e-6, atol=1e-6)


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


def test_results_do_not_depend_on_the_texts_company(trained, trained_dense, data):
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
    fitted_dense.set_params(threshold=1e-6)
    predicted = fitted_dense.predict(data.texts, exclude=exclude)
    np.testing.assert_array_equal(predicted, np.eye(N_TEXTS, N_LABELS))
    proba = fitted_dense.predict_proba(data.texts, exclude=exclude)
    assert (proba > 0).all()
    assert (proba < 1).all()


def test_excluded_classes_are_neither_predicted_nor_scored(make, data):
    names, columns = np.unique(data.classes, return_inverse=True)
    estimator = make(n_labels=len(names)).fit(data.texts, data.classes)
    everything_else = 1 - np.eye(len(names))[columns]
    exclude = sp.csr_array(everything_else)
    assert estimator.score(data.texts, data.classes) < 1
    np.testing.assert_array_equal(estimator.predict(data.texts, exclude=exclude), data.classes)
    assert estimator.score(data.texts, data.classes, exclude=exclude) == 1


def test_score_ignores_excluded_pairs(trained, data):
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


# ------------------------------------------------------------------------------------ scikit-learn
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


def test_embeddings_come_as_a_data_frame_where_asked(fitted, data):
    expected = fitted.transform(data.texts)
    frame = fitted.set_output(transform="pandas").transform(data.texts)
    prefix = type(fitted).__name__.lower()
    assert frame.columns.tolist() == [f"{prefix}{i}" for i in range(expected.shape[1])]
    np.testing.assert_array_equal(frame, expected)
    assert sp.issparse(fitted.predict_proba(data.texts))


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


def test_the_html_view_shows_the_estimator(trained, make):
    for estimator in (trained, make()):
        assert type(estimator).__name__ in estimator._repr_html_()


# ------------------------------------------------------------------------------------- persistence
COPIES = {
    "deepcopy": lambda model, path: copy.deepcopy(model),
    "pickle": lambda model, path: pickle.loads(pickle.dumps(model)),
    "joblib": lambda model, path: joblib.load(joblib.dump(model, path)[0]),
    "joblib, mapped": lambda model, path: joblib.load(joblib.dump(model, path)[0], mmap_mode="r"),
}


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_predicts_as_the_original_and_trains_on(trained, data, tmp_path, way):
    expected = trained.predict_proba(data.texts)
    model = COPIES[way](trained, tmp_path / "model")
    assert_equal_models(model, trained)
    assert (model.predict_proba(data.texts) != expected).nnz == 0
    model.partial_fit(data.texts, data.Y)
    assert (model.predict_proba(data.texts) != expected).nnz > 0
    assert (trained.predict_proba(data.texts) != expected).nnz == 0


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_training_a_memory_mapped_model_leaves_its_file_as_it_is(make, data, tmp_path, method):
    # after a partial_fit the optimisers' state is part of the model, too
    model = make(warm_start=True).partial_fit(data.texts, data.Y)
    path = joblib.dump(model, tmp_path / "model")[0]
    digest = hashlib.sha256((tmp_path / "model").read_bytes()).hexdigest()
    mapped = joblib.load(path, mmap_mode="r")
    assert isinstance(mapped.label_embeddings_, np.memmap)
    assert not mapped.label_embeddings_.flags.writeable
    expected = getattr(model, method)(data.texts, data.Y)
    assert_equal_models(getattr(mapped, method)(data.texts, data.Y), expected)
    assert hashlib.sha256((tmp_path / "model").read_bytes()).hexdigest() == digest


def test_skops_reads_a_model_whose_only_untrusted_types_are_ours(trained, data):
    skops = pytest.importorskip("skops.io")
    dumped = skops.dumps(trained)
    untrusted = skops.get_untrusted_types(data=dumped)
    assert {name for name in untrusted if not name.startswith("skxc.")} <= {"numpy.dtype"}
    model = skops.loads(dumped, trusted=untrusted)
    assert (model.predict_proba(data.texts) != trained.predict_proba(data.texts)).nnz == 0


def test_a_pickle_holds_no_torch_object(fitted, data):
    fitted.predict_proba(data.texts)
    assert b"torch" not in pickle.dumps(fitted)


# ------------------------------------------------------------------------------ fit leaves no trace
def test_the_same_seed_gives_the_same_model_and_another_another(make, trained, data):
    assert_equal_models(make().fit(data.texts, data.Y), trained)
    other = make(random_state=1).fit(data.texts, data.Y)
    assert not np.array_equal(other.label_embeddings_, trained.label_embeddings_)


def test_a_refit_forgets_the_first(make, trained, data):
    again = make().fit(data.texts[9:50], data.Y[9:50].toarray())
    assert_equal_models(again.fit(data.texts, data.Y), trained)
    assert again.n_iter_ == len(again.history_) == trained.n_iter_


def _global_state():
    return repr(
        (
            random.getstate(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002
            torch.get_rng_state().tolist(),
            torch.get_num_threads(),
            torch.get_default_dtype() == torch.float32,
            torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(),
            logging.getLogger().handlers,
            logging.getLogger("skxc").level,
        )
    )


@pytest.mark.parametrize("early_stopping", [False, True])
def test_training_and_prediction_leave_global_state_alone(make, data, early_stopping):
    before = _global_state()
    estimator = make(early_stopping=early_stopping).fit(data.texts, data.Y)
    estimator.partial_fit(data.texts, data.Y).predict_proba(data.texts)
    assert _global_state() == before


def test_global_state_survives_a_broken_off_fit(make, data, monkeypatch):
    _break_off_at_step(monkeypatch, 2)
    before = _global_state()
    with pytest.raises(KeyboardInterrupt):
        make().fit(data.texts, data.Y)
    assert _global_state() == before


def test_the_global_random_state_does_not_reach_a_seeded_fit(make, trained, data):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(123)
        assert_equal_models(make().fit(data.texts, data.Y), trained)


@pytest.mark.parametrize("as_sparse", [True, False])
def test_training_and_prediction_leave_their_input_alone(make, data, as_sparse):
    Y = MATRICES["duplicates in a csr_array" if as_sparse else "dense int"](data.Y.toarray())
    label_texts = np.array(data.label_texts, dtype=object)
    weights = np.linspace(0, 1, N_TEXTS)
    exclude = sp.csr_array(np.eye(N_TEXTS, N_LABELS))
    given = (list(data.texts), Y, label_texts, weights, exclude)
    before = _contents(given)
    estimator = make().set_params(label_texts=label_texts)
    estimator.fit(given[0], Y, sample_weight=weights).partial_fit(given[0], Y)
    estimator.predict(given[0], exclude=exclude)
    estimator.score(given[0], Y, weights, exclude)
    assert estimator.label_texts is label_texts
    assert _contents(given) == before


def _contents(given):
    """Everything stored in `given`, a sparse matrix's arrays included."""
    stored = [[g.data, g.indices, g.indptr] if sp.issparse(g) else [np.asarray(g)] for g in given]
    return [(array.dtype, array.tolist()) for arrays in stored for array in arrays]


def test_fit_changes_no_parameter(make, data):
    estimator = make()
    before = pickle.dumps(estimator.get_params())
    estimator.fit(data.texts, data.Y).partial_fit(data.texts, data.Y)
    assert pickle.dumps(estimator.get_params()) == before


@pytest.mark.parametrize("verbose", [0, 1])
def test_nothing_is_printed_where_stderr_is_no_terminal(make, data, capfd, verbose):
    make(verbose=verbose).fit(data.texts, data.Y).predict(data.texts)
    assert capfd.readouterr() == ("", "")


def test_importing_the_package_does_not_import_torch():
    code = "import sys, skxc, skxc.metrics, skxc.datasets; print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert (result.stdout, result.stderr) == ("False\n", "")


# --------------------------------------------------------------------------------------- broken off
def _break_off_at_step(monkeypatch, n):
    """Ctrl-C in the n-th step from now."""
    run_step, calls = _Loop.run_step, []

    def interrupted(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == n:
            raise KeyboardInterrupt
        return run_step(self, *args, **kwargs)

    monkeypatch.setattr(_Loop, "run_step", interrupted)


def _break_off_at_publication(monkeypatch, make):
    """Ctrl-C while the trained table is copied out."""

    def interrupted(self, *args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(make()), "_final_table", interrupted)


@pytest.mark.parametrize("when", ["first step", "later step", "publication"])
@pytest.mark.parametrize("method", ["fit", "warm_start fit", "partial_fit"])
def test_ctrl_c_leaves_a_fitted_estimator_as_it_was(make, data, monkeypatch, when, method):
    fitted = make(warm_start=method.startswith("warm")).partial_fit(data.texts, data.Y)
    state = state_of(fitted)
    proba = fitted.predict_proba(data.texts)
    if when == "publication":
        _break_off_at_publication(monkeypatch, make)
    else:
        _break_off_at_step(monkeypatch, 1 if when == "first step" else 4)
    with pytest.raises(KeyboardInterrupt):
        getattr(fitted, method.split()[-1])(data.texts[::-1], data.Y)
    assert_unchanged(fitted, state)
    assert (fitted.predict_proba(data.texts) != proba).nnz == 0


@pytest.mark.parametrize("when", ["step", "publication"])
def test_ctrl_c_leaves_an_unfitted_estimator_unfitted(make, data, monkeypatch, when):
    estimator = make()
    if when == "publication":
        _break_off_at_publication(monkeypatch, make)
    else:
        _break_off_at_step(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(data.texts, data.Y)
    assert set(vars(estimator)) == set(vars(make()))
    with pytest.raises(NotFittedError):
        estimator.predict(data.texts)


# ------------------------------------------------------------------------------------- going on
def test_history_tells_every_epoch(trained):
    assert trained.n_iter_ == len(trained.history_) == TINY["epochs"]
    assert all(entry["loss"] > 0 and entry["seconds"] > 0 for entry in trained.history_)


def test_training_learns(make, data):
    short, long = (make(epochs=n).fit(data.texts, data.Y) for n in (1, 20))
    assert long.score(data.texts, data.Y) > max(0.9, short.score(data.texts, data.Y))
    assert long.history_[-1]["loss"] < long.history_[0]["loss"] / 2


def test_partial_fits_learn_more_with_every_call(make, data):
    estimator = make(dropout=0.0)
    scores, first, second = [], slice(0, N_TEXTS // 2), slice(N_TEXTS // 2, N_TEXTS)
    for _ in range(15):
        estimator.partial_fit(data.texts[first], data.Y[first])
        estimator.partial_fit(data.texts[second], data.Y[second])
        scores.append(estimator.score(data.texts, data.Y))
    assert scores[-1] > max(scores[0], 0.6)
    assert estimator.n_iter_ == len(estimator.history_) == 30
    np.testing.assert_array_equal(estimator.label_counts_, 15 * np.asarray(data.Y.sum(0)).ravel())


def test_partial_fit_needs_all_classes_first_where_there_is_one_label_a_text(make, data):
    names = np.unique(data.classes)
    with pytest.raises(ValueError, match=re.escape("classes must be passed on the first call")):
        make().partial_fit(data.texts, data.classes)
    estimator = make(n_labels=len(names) + 1)
    estimator.partial_fit(data.texts, data.classes, classes=["zoology", *names[::-1]])
    assert estimator.classes_.tolist() == sorted(["zoology", *names])
    estimator.partial_fit(data.texts[:3], data.classes[:3])
    with pytest.raises(ValueError, match=re.escape("differs from the classes of the first call")):
        estimator.partial_fit(data.texts, data.classes, classes=names)


def test_classes_name_a_matrix_columns_in_their_own_order(make, data):
    names = list("qpsrut")
    estimator = make(epochs=20).partial_fit(data.texts, data.Y, classes=names)
    assert estimator.classes_.tolist() == names
    frame = pd.DataFrame(data.Y.toarray(), columns=names)
    estimator.partial_fit(data.texts, frame, classes=names)
    assert estimator.classes_.tolist() == names
    estimator.partial_fit(data.texts, frame[sorted(names)], classes=sorted(names))
    assert estimator.score(data.texts, frame) == estimator.score(data.texts, data.Y)


def test_every_call_that_goes_on_draws_its_own_randomness(make, data, monkeypatch):
    # the same dropout in every call of a stream would switch the same inputs off for ever
    run_step, batches = _Loop.run_step, []

    def recorded(self, batch, **keywords):
        batches.append((batch.tokens.ids.tolist(), torch.rand(3).tolist()))
        return run_step(self, batch, **keywords)

    monkeypatch.setattr(_Loop, "run_step", recorded)
    estimator = make(batch_size=N_TEXTS, epochs=1, warm_start=True)
    for method in (estimator.partial_fit, estimator.partial_fit, estimator.fit, estimator.fit):
        method(data.texts, data.Y)
    tokens, noise = zip(*batches, strict=True)
    assert len({tuple(ids) for ids in tokens}) == len({tuple(draw) for draw in noise}) == 4


def test_a_warm_start_never_validates_on_texts_that_it_was_trained_on(make, data, monkeypatch):
    validated = []
    validation_score = FitMixin._validation_score

    def recorded(self, module, step, rows):
        validated.append(rows.tokens.ids.tolist())
        return validation_score(self, module, step, rows)

    monkeypatch.setattr(FitMixin, "_validation_score", recorded)
    estimator = make(early_stopping=True, epochs=1, warm_start=True)
    estimator.fit(data.texts, data.Y).fit(data.texts, data.Y)
    assert validated[0] == validated[1]


def test_a_fit_between_partial_fits_starts_the_optimisers_anew(make, data):
    few = data.texts[:5]
    estimator = make().partial_fit(few, data.Y[:5])
    estimator.fit(data.texts, data.Y).partial_fit(data.texts, data.Y)
    expected = make().fit(data.texts, data.Y).partial_fit(data.texts, data.Y)
    assert_equal_models(estimator, expected)


def test_warm_start_goes_on_and_a_cold_start_does_not(make, data):
    warm = make(warm_start=True, dropout=0.0).fit(data.texts, data.Y)
    cold = copy.deepcopy(warm).set_params(warm_start=False)
    n_first = warm.n_iter_
    warm.fit(data.texts, data.Y)
    cold.fit(data.texts, data.Y)
    assert (warm.n_iter_, cold.n_iter_) == (2 * n_first, n_first)
    assert warm.history_[n_first]["loss"] < 0.9 * cold.history_[0]["loss"]


def test_warm_start_keeps_what_was_learnt_of_labels_that_no_longer_occur(make, data):
    estimator = make(warm_start=True, epochs=20).fit(data.texts, data.Y)
    label = int(data.Y.indices[0])
    has_label = data.Y[:, [label]].toarray().ravel() > 0
    before = estimator.predict_proba(data.texts[:1])[0, label]
    rest = np.flatnonzero(~has_label)
    estimator.set_params(epochs=1).fit([data.texts[i] for i in rest], data.Y[rest])
    assert estimator.predict_proba(data.texts[:1])[0, label] > before / 10


def test_early_stopping_keeps_the_epoch_that_scored_best(make, data, monkeypatch):
    tables, scores = [], []
    validation_score = FitMixin._validation_score

    def recorded(self, module, step, rows):
        tables.append(step.label_embeddings().clone().numpy())
        scores.append(validation_score(self, module, step, rows))
        return scores[-1]

    monkeypatch.setattr(FitMixin, "_validation_score", recorded)
    estimator = make(
        early_stopping=True, validation_fraction=0.3, n_iter_no_change=4, epochs=60,
    ).fit(data.texts, data.Y)  # fmt: skip
    best = int(np.argmax(scores))
    assert 0 < best < len(scores) - 1, "this run cannot tell the best epoch from others"
    np.testing.assert_array_equal(estimator.label_embeddings_, tables[best])
    assert not np.array_equal(estimator.label_embeddings_, tables[-1])
    assert [entry["validation_score"] for entry in estimator.history_] == scores
    assert estimator.n_iter_ == len(scores) == best + 1 + 4


def test_early_stopping_survives_validation_texts_of_no_weight(make, data):
    weights = np.zeros(N_TEXTS)
    weights[:2] = 1
    estimator = make(early_stopping=True).fit(data.texts, data.Y, sample_weight=weights)
    assert np.isfinite([entry["validation_score"] for entry in estimator.history_]).all()
