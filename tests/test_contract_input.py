"""What every estimator takes and what it refuses, on real texts."""

from __future__ import annotations

import logging
import re

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from containers import FEW_LABEL_LISTS, FEW_MATRICES, FEW_TEXT_CONTAINERS
from contract import N_LABELS, N_TEXTS, assert_equal_models, assert_unchanged, state_of
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from skxc.encoders import BagOfWordsEncoder


# ---------------------------------------------------------------------------------- what goes in
@pytest.mark.parametrize("container", FEW_TEXT_CONTAINERS)
def test_containers_of_texts_give_the_same_model_and_predictions(make, trained, data, container):
    X = FEW_TEXT_CONTAINERS[container](data.texts)
    fitted = make().fit(X, data.Y)
    assert_equal_models(fitted, trained)
    assert (fitted.predict_proba(X) != trained.predict_proba(data.texts)).nnz == 0


@pytest.mark.parametrize("container", FEW_MATRICES)
def test_label_matrices_give_the_same_model_and_are_mirrored(make, trained, data, container):
    Y = FEW_MATRICES[container](data.Y.toarray())
    fitted = make().fit(data.texts, Y)
    assert_equal_models(fitted, trained)
    assert sp.issparse(fitted.predict_proba(data.texts)) == sp.issparse(Y)
    assert sp.issparse(fitted.predict(data.texts)) == sp.issparse(Y)
    assert fitted.score(data.texts, Y) == trained.score(data.texts, data.Y)


@pytest.mark.parametrize("container", FEW_LABEL_LISTS)
def test_containers_of_label_lists_give_the_same_names(make, trained, data, container):
    lists = [[f"{j}" for j in row] for row in np.split(data.Y.indices, data.Y.indptr[1:-1])]
    lists = FEW_LABEL_LISTS[container](lists)
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
        pytest.param(  # no pair at all
            sp.csr_array((2, 3)),
            3,
            marks=pytest.mark.filterwarnings("ignore:None of the 2 texts has a label:UserWarning"),
        ),
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


def test_texts_without_any_word_are_legal_and_warned_of(make, data):
    message = f"finds no word that it knows in any of the {N_TEXTS} texts, such as X[0]=''"
    with pytest.warns(UserWarning, match=re.escape(message)) as caught:
        estimator = make().fit([""] * N_TEXTS, data.Y)
    assert [caught[0].filename] == [__file__]
    np.testing.assert_allclose(
        *estimator.predict_proba(["", "words never seen"]).toarray(), rtol=1e-6
    )


def test_emoji_are_no_words(make, data):
    with pytest.warns(UserWarning, match="finds no word that it knows in any of the"):
        make().fit(["\U0001f34e\ufe0f\U0001f967", "\U0001f350"] * (N_TEXTS // 2), data.Y)


def test_words_of_label_texts_alone_are_warned_of(make, data):
    with pytest.warns(UserWarning, match="finds no word that it knows in any of the"):
        make().fit(["?", "!"] * (N_TEXTS // 2), data.Y)


def test_a_stream_of_unknown_words_is_warned_of(make, data):
    estimator = make().partial_fit(data.texts, data.Y)
    with pytest.warns(UserWarning, match="finds no word that it knows in any of the 2 texts"):
        estimator.partial_fit(["xyzzy", "plugh"], data.Y[:2])


def test_texts_that_differ_in_unread_words_alone_are_warned_of(make, data):
    texts = [f"of {'?' * i}" for i in range(N_TEXTS)]
    with pytest.warns(UserWarning, match=f"reads the same tokens in all of the {N_TEXTS} texts"):
        make().fit(texts, data.Y)


def test_texts_of_which_none_has_a_label_are_warned_of(make, data):
    none = sp.csr_array(data.Y.shape)
    with pytest.warns(UserWarning, match=f"None of the {N_TEXTS} texts has a label: nothing can"):
        make().fit(data.texts, none)
    every = sp.csr_array(np.ones(data.Y.shape))
    with pytest.warns(UserWarning, match="has a label that exclude leaves: nothing can"):
        make().fit(data.texts, data.Y, exclude=every)


def test_a_batch_without_a_label_is_no_fault_of_a_stream(make, data):
    make().partial_fit(data.texts, data.Y).partial_fit(data.texts[:3], sp.csr_array((3, N_LABELS)))


def test_one_text_many_times_is_the_users_affair(make, data):
    make().fit(["of of"] * N_TEXTS, data.Y)


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
def test_score_is_the_weighted_share_of_right_first_labels(make, data, weights):
    trained = make(rerank_weight=0).fit(data.texts, data.Y)  # it is not right of all texts
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
    ({"epochs": -1}, ValueError, "epochs=-1 is too small. Pass an integer of at least"),
    ({"epochs": 1.5}, TypeError, "epochs must be an integer of at least"),
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
    (
        {"paper": "linear"},
        TypeError,
        "paper='linear' is no mapping. Pass None, or a dict of some of",
    ),
    (
        {"paper": {"shedule": "linear"}},
        ValueError,
        "paper has no 'shedule'. Pass a dict of some of schedule, adam_epsilon",
    ),
    (
        {"paper": {"schedule": "constant"}},
        ValueError,
        "paper['schedule']='constant' is unknown. Pass one of 'cosine', 'linear'.",
    ),
    (
        {"paper": {"adam_epsilon": 0}},
        ValueError,
        "paper['adam_epsilon']=0 is out of range. Pass a number in (0, inf)",
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
    monkeypatch.setattr("skxc._training._memory.free_bytes", lambda device: 1000)
    with (
        caplog.at_level(logging.INFO, "skxc"),
        pytest.raises(ValueError, match=re.escape("Training needs about")) as caught,
    ):
        fitted.fit(data.texts, data.Y)
    assert "for it. " in str(caught.value)
    assert [r.getMessage()[:20] for r in caplog.records] == ["training needs about"]
    assert_unchanged(fitted, state)


def test_a_dense_result_too_big_for_memory_is_refused(fitted_dense, monkeypatch):
    monkeypatch.setattr("skxc._estimator._predict.free_bytes", lambda device: 8 * N_LABELS * 1000)
    assert fitted_dense.predict_proba([""] * 1000).shape == (1000, N_LABELS)
    message = "A dense result of 1001 texts x 6 labels needs 0.0 GiB. Pass fewer texts, or set"
    with pytest.raises(ValueError, match=re.escape(message)):
        fitted_dense.predict_proba([""] * 1001)
