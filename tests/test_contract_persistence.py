"""Copies and files of every estimator."""

from __future__ import annotations

import copy
import hashlib
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from contract import assert_equal_models
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

COPIES = {
    "deepcopy": lambda model, path: copy.deepcopy(model),
    "pickle": lambda model, path: pickle.loads(pickle.dumps(model)),
    "joblib": lambda model, path: joblib.load(joblib.dump(model, path)[0]),
    "joblib, mapped": lambda model, path: joblib.load(joblib.dump(model, path)[0], mmap_mode="r"),
    "joblib, mapped to copy": lambda model, path: joblib.load(
        joblib.dump(model, path)[0], mmap_mode="c"
    ),
}
# every kind of labels, and what is fitted around the estimator
KINDS = {
    "dense": lambda make, data: make().fit(data.texts, data.Y.toarray()),
    "named columns": lambda make, data: make().fit(
        data.texts, pd.DataFrame(data.Y.toarray(), columns=list("pqrstu"))
    ),
    "label lists": lambda make, data: make().fit(data.texts, data.lists),
    "two classes": lambda make, data: make(2).fit(data.texts, data.classes == data.classes[0]),
    "partial fit": lambda make, data: make().partial_fit(data.texts, data.Y),
    "early stopping": lambda make, data: make(early_stopping=True).fit(data.texts, data.Y),
    "pipeline": lambda make, data: make_pipeline(FunctionTransformer(list), make()).fit(
        data.texts, data.Y
    ),
    "search": lambda make, data: GridSearchCV(make(), {"epochs": [1]}, cv=KFold(2)).fit(
        data.texts, data.Y
    ),
    "frozen": lambda make, data: FrozenEstimator(make().fit(data.texts, data.Y)),
}


def assert_equal_predictions(a, b, texts):
    for method in ("predict", "predict_proba"):
        expected, given = (getattr(model, method)(texts) for model in (a, b))
        assert type(given) is type(expected)
        assert given.dtype == expected.dtype
        if sp.issparse(given):
            given, expected = given.toarray(), expected.toarray()
        np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_predicts_as_the_original_and_trains_on(trained, data, tmp_path, way):
    expected = trained.predict_proba(data.texts)
    model = COPIES[way](trained, tmp_path / "model")
    assert_equal_models(model, trained)
    assert (model.predict_proba(data.texts) != expected).nnz == 0
    model.partial_fit(data.texts, data.Y)
    assert (model.predict_proba(data.texts) != expected).nnz > 0
    assert (trained.predict_proba(data.texts) != expected).nnz == 0


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def model(make, data, kind):
    return KINDS[kind](make, data)


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_of_every_kind_predicts_as_the_original(model, data, tmp_path, way):
    copied = COPIES[way](model, tmp_path / "model")
    assert_equal_predictions(copied, model, data.texts)
    if hasattr(type(model), "predict_labels"):
        assert copied.predict_labels(data.texts, k=2) == model.predict_labels(data.texts, k=2)
    assert repr(copied) == repr(model)


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_of_an_unfitted_estimator_trains_to_the_same_model(
    make, trained, data, tmp_path, way
):
    assert_equal_models(COPIES[way](make(), tmp_path / "model").fit(data.texts, data.Y), trained)


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


def test_skops_reads_a_model_of_every_kind(model, kind, data):
    skops = pytest.importorskip("skops.io")
    dumped = skops.dumps(model)
    untrusted = skops.get_untrusted_types(data=dumped)
    if kind not in ("pipeline", "search"):  # these name what scikit-learn has around it
        assert {name for name in untrusted if not name.startswith("skxc.")} <= {"numpy.dtype"}
    read = skops.loads(dumped, trusted=untrusted)
    assert_equal_predictions(read, model, data.texts)
    if kind == "partial fit":
        original = copy.deepcopy(model)
        assert_equal_models(*(m.partial_fit(data.texts, data.Y) for m in (read, original)))


def test_a_pickle_holds_no_torch_object(fitted, data):
    fitted.predict_proba(data.texts)
    assert b"torch" not in pickle.dumps(fitted)
