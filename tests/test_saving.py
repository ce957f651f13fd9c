"""A folder that `save` writes is the model, whole, and nothing else is taken for one."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import mmap
import os
import pickle
import re
import shutil
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
import torch
from safetensors.numpy import load_file, save_file
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError

import skxc
from skxc import DualEncoderXC, ReneeClassifier, UniDEC
from skxc._persistence import ModelFolder, Packed, replaced_folder, seal, write_tensors
from skxc.encoders import BagOfWordsEncoder, TransformerEncoder

TEXTS = [
    "a red glass lamp",
    "green garden chair",
    "wireless keyboard and mouse",
    "the history of music",
    "a novel of black and white",
    "piano",
    "guitar string and piano cable",
    "",
] * 3
LABEL_TEXTS = ["music", "red", "garden", "keyboard", "novel of the table"]
LABELS = [[1, 2], [2], [3], [0, 4], [4], [0], [0, 3], [1]] * 3
Y = sp.csr_array(
    (np.ones(33), np.concatenate(LABELS), np.cumsum([0, *map(len, LABELS)])), shape=(24, 5)
)
NEW_TEXTS = ["a small table of glass", "black piano", "nothing of it"]
ESTIMATORS = [ReneeClassifier, DualEncoderXC, UniDEC]


@pytest.fixture(scope="module", params=["bag", "bert"])
def encoder(request, tiny_bert):
    if request.param == "bag":
        return BagOfWordsEncoder(dim=6, min_df=1, ngram_range=(1, 2))
    return TransformerEncoder(tiny_bert, max_length=9, projection_dim=5)


@pytest.fixture(scope="module", params=ESTIMATORS, ids=lambda cls: cls.__name__)
def make(request, encoder):
    """`make(**parameters)`: an unfitted estimator."""

    def make(**parameters):
        given = {"label_texts": np.array(LABEL_TEXTS, object), "epochs": 2, "random_state": 0}
        return request.param(clone(encoder), **given | parameters)

    return make


@pytest.fixture(scope="module")
def trained(make):
    """With all that a stream of fits remembers."""
    return make(warm_start=True).fit(TEXTS, Y).partial_fit(TEXTS, Y)


@pytest.fixture
def fitted(trained):
    return copy.deepcopy(trained)


@pytest.fixture(scope="module")
def bag_model():
    """Any model, where it does not matter which."""
    encoder, texts = BagOfWordsEncoder(dim=6, min_df=1), np.array(LABEL_TEXTS, object)
    return ReneeClassifier(encoder, label_texts=texts, epochs=1).fit(TEXTS, Y)


@pytest.fixture(scope="module")
def bert_model(tiny_bert):
    encoder = TransformerEncoder(tiny_bert, max_length=9, projection_dim=5)
    return ReneeClassifier(encoder, epochs=1).fit(TEXTS, Y)


def saved(model, folder):
    """The model, by way of a folder."""
    model.save(folder)
    return skxc.load(folder)


def assert_same(a, b, name="model"):
    """All that two objects hold, but what is rebuilt when needed, is equal and of one type."""
    if isinstance(a, np.ndarray):
        assert isinstance(b, np.ndarray), name
        assert a.dtype == b.dtype, name
        np.testing.assert_array_equal(a, b, err_msg=name)
        if a.dtype == object:
            assert [type(x) for x in a] == [type(x) for x in b], name
        return
    assert type(a) is type(b), name
    if isinstance(a, np.random.RandomState):
        assert repr(a.get_state()) == repr(b.get_state()), name
    elif isinstance(a, BaseEstimator):
        # `_stop_words_id`: where scikit-learn saw an object in memory
        skipped = ("_ranker", "_stop_words_id")
        states = [{k: v for k, v in vars(e).items() if k not in skipped} for e in (a, b)]
        assert_same(*states, name)
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), name
        for key in a:
            assert_same(a[key], b[key], f"{name}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), name
        for i, pair in enumerate(zip(a, b, strict=True)):
            assert_same(*pair, f"{name}[{i}]")
    else:
        assert a == b, name


def assert_same_answers(a, b):
    assert (a.predict_proba(NEW_TEXTS) != b.predict_proba(NEW_TEXTS)).nnz == 0
    assert (a.predict(NEW_TEXTS) != b.predict(NEW_TEXTS)).nnz == 0
    assert_same(a.predict_top_k(NEW_TEXTS, 3), b.predict_top_k(NEW_TEXTS, 3))
    assert_same(a.predict_labels(NEW_TEXTS, 3), b.predict_labels(NEW_TEXTS, 3))
    np.testing.assert_array_equal(a.transform(NEW_TEXTS), b.transform(NEW_TEXTS))
    if hasattr(a, "transform_labels"):
        new = a.transform_labels(NEW_TEXTS)
        np.testing.assert_array_equal(new, b.transform_labels(NEW_TEXTS))


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# ------------------------------------------------------------------- what comes back is the model
@pytest.mark.parametrize("mmap", [True, False])
def test_a_loaded_model_holds_and_answers_what_the_saved_one_does(trained, tmp_path, mmap):
    trained.save(tmp_path / "model")
    model = skxc.load(tmp_path / "model", mmap=mmap)
    assert_same(trained, model)
    assert_same_answers(trained, model)


@pytest.mark.parametrize(
    "clf",
    [
        UniDEC(lexical_learning_rate=0),
        UniDEC(dual_score_weight=0.5),
        UniDEC(temperature=1),
        DualEncoderXC(temperature=2),
        ReneeClassifier(label_texts=None),
    ],
    ids=repr,
)
def test_a_model_of_other_settings_comes_back(clf, tmp_path):
    given = {"encoder": BagOfWordsEncoder(dim=4, min_df=1), "epochs": 1, "random_state": 0}
    names = [[LABEL_TEXTS[j] for j in row] for row in LABELS]
    model = clone(clf).set_params(**given).fit(TEXTS, names)
    again = saved(model, tmp_path / "model")
    assert_same(again, model)
    assert_same_answers(again, model)


def test_an_attribute_that_is_not_saved_would_be_noticed(trained, tmp_path):
    model = saved(trained, tmp_path / "model")
    for name in set(vars(trained)) - {"_ranker"}:
        lacking = copy.copy(model)
        delattr(lacking, name)
        with pytest.raises(AssertionError):
            assert_same(trained, lacking)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_loaded_model_trains_on_as_the_saved_one_and_leaves_the_files(fitted, tmp_path, method):
    model = saved(fitted, tmp_path / "model")
    before = digests(tmp_path)
    for _ in range(2):
        getattr(fitted, method)(TEXTS, Y)
        getattr(model, method)(TEXTS, Y)
    for m in (fitted, model):
        for entry in m.history_:
            entry.pop("seconds")
    assert_same(fitted, model)
    assert digests(tmp_path) == before


def test_labels_are_added_to_a_loaded_model(fitted, tmp_path):
    if not hasattr(fitted, "add_labels"):
        pytest.skip("labels of this estimator need training texts")
    model = saved(fitted, tmp_path / "model")
    assert_same(fitted.add_labels(["piano", "red lamp"]), model.add_labels(["piano", "red lamp"]))
    again = saved(model, tmp_path / "model")
    assert_same(again, fitted)
    assert_same_answers(again, fitted)
    wider = sp.csr_array((Y.data, Y.indices, Y.indptr), shape=(24, 7))
    for m in (fitted, again):
        m.partial_fit(TEXTS, wider).history_.clear()
    assert_same(again, fitted)


def test_a_mapped_model_is_saved_onto_its_own_folder(trained, tmp_path):
    model = saved(trained, tmp_path / "model")
    before = digests(tmp_path / "model")
    model.save(tmp_path / "model")
    assert digests(tmp_path / "model") == before
    assert os.listdir(tmp_path) == ["model"]
    assert_same_answers(model, trained)  # its maps outlive their file's name
    assert_same(skxc.load(tmp_path / "model"), trained)


def test_arrays_are_read_only_maps_or_the_caller_s_own(trained, tmp_path):
    mapped = saved(trained, tmp_path / "model")
    read = skxc.load(tmp_path / "model", mmap=False)
    for model, is_mapped in ((mapped, True), (read, False)):
        for array in (
            model.label_embeddings_,
            model.label_counts_,
            *model.encoder_.weights_.values(),
        ):
            assert array.flags.writeable is not is_mapped
            assert isinstance(_origin(array), mmap.mmap) is is_mapped


def _origin(array):
    """What an array is a view of."""
    while isinstance(array, np.ndarray | memoryview):
        array = array.base if isinstance(array, np.ndarray) else array.obj
    return array


def _answers(model):
    return model.transform(NEW_TEXTS), model.predict_top_k(NEW_TEXTS, 3)


def test_a_mapped_model_answers_the_same_in_other_processes(trained, tmp_path):
    model = saved(trained, tmp_path / "model")
    expected = _answers(trained)
    # what its maps' file is called is something else now
    other = copy.deepcopy(trained)
    other.aaa_ = np.arange(1000.0)
    other.save(tmp_path / "model")
    for found in joblib.Parallel(n_jobs=2)(joblib.delayed(_answers)(model) for _ in range(2)):
        assert_same(found, expected)


def test_a_loaded_model_is_copied_pickled_and_cloned(trained, tmp_path):
    model = saved(trained, tmp_path / "model")
    joblib.dump(model, tmp_path / "joblib")
    for again in (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        joblib.load(tmp_path / "joblib"),
        joblib.load(tmp_path / "joblib", mmap_mode="r"),
    ):
        assert_same(again, trained)
    assert_same(vars(clone(model)), vars(clone(trained)))


TARGETS = {
    "sparse": Y,
    "dense": Y.toarray().astype(int),
    "dense bool": Y.toarray().astype(bool),
    "dense float": Y.toarray(),
    "frame of names": pd.DataFrame(Y.toarray(), columns=LABEL_TEXTS),
    "frame of ids": pd.DataFrame(Y.toarray(), columns=[10, 20, 30, 40, 50]),
    "lists of names": [[LABEL_TEXTS[j] for j in row] for row in LABELS],
    "lists of ids": [[10 * j for j in row] for row in LABELS],
    "str classes": np.array([LABEL_TEXTS[row[0]] for row in LABELS]),
    "object classes": np.array([LABEL_TEXTS[row[0]] for row in LABELS], dtype=object),
    "int classes": np.array([row[0] - 2 for row in LABELS]),
    "int8 classes": np.array([row[0] for row in LABELS], dtype=np.int8),
    "float classes": np.array([float(row[0]) for row in LABELS]),
    "bool classes": np.array([row[0] > 1 for row in LABELS]),
    "list of classes": [LABEL_TEXTS[row[0]] for row in LABELS],
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("cls", ESTIMATORS)
def test_every_kind_of_label_comes_back(cls, target, tmp_path):
    y = TARGETS[target]
    n_labels = 2 if target == "bool classes" else 5
    texts = LABEL_TEXTS[:n_labels] if cls is not ReneeClassifier else None
    model = cls(
        BagOfWordsEncoder(dim=4, min_df=1),
        label_texts=None if texts is None else np.array(texts, object),
        epochs=1,
        random_state=0,
    ).fit(TEXTS, y)
    again = saved(model, tmp_path / "model")
    assert_same(again, model)
    expected, found = model.predict(NEW_TEXTS), again.predict(NEW_TEXTS)
    assert type(expected) is type(found)
    assert expected.dtype == found.dtype
    assert (expected != found).sum() == 0
    assert_same(again.predict_labels(NEW_TEXTS), model.predict_labels(NEW_TEXTS))


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_a_vocabulary_of_nothing_comes_back(cls, tmp_path):
    with warnings.catch_warnings(action="ignore"):  # of label texts without a known word
        model = cls(label_texts=["...", "!!"], epochs=1, random_state=0).fit(["", "?"], [[0], [1]])
    again = saved(model, tmp_path / "model")
    assert_same(again.encoder_, model.encoder_)
    np.testing.assert_array_equal(again.transform(["\0", "?"]), model.transform(["\0", "?"]))


def test_one_label_and_strange_texts_come_back(tmp_path):
    odd = ["\ud83d\ude00 \ud800 line\nbreak \u2028 \0", "é 漢字 😀 \udcff"]
    model = ReneeClassifier(
        BagOfWordsEncoder(dim=2, min_df=1, token_pattern=r"\S+"), label_texts=odd[:1], epochs=1
    )
    model.fit(odd, sp.csr_array(np.ones((2, 1))))
    again = saved(model, tmp_path / "model")
    assert again.label_texts.tolist() == odd[:1]
    assert again.encoder_.vectorizer_.vocabulary_ == model.encoder_.vectorizer_.vocabulary_
    assert (again.predict_proba(odd) != model.predict_proba(odd)).nnz == 0


# ------------------------------------------------------------------------------------- parameters
class _Unreadable:
    """A value that no file can hold."""


PARAMETERS = {
    "random_state": [None, 7, np.int64(7), np.random.RandomState(7)],
    "device": ["cpu", torch.device("cpu"), torch.device("cuda", 1)],
    "threshold": [0.25, np.float32(0.25), 1, np.linspace(0, 1, 5)],
    "dropout": [None, np.float64(0.1), float("inf")],
    "sparse_output": [True, "auto", np.bool_(False), np.str_("auto")],
    "encoder": [
        "bag",
        "some/model",
        BagOfWordsEncoder(dim=3, min_df=0.5, ngram_range=(1, 3)),
        TransformerEncoder("some/model", pooling="cls"),
    ],
}
CASES = [(name, value) for name, values in PARAMETERS.items() for value in values]


@pytest.mark.parametrize(("name", "value"), CASES, ids=lambda v: repr(v).split(" at ")[0][:30])
def test_a_parameter_comes_back(bag_model, tmp_path, name, value):
    model = copy.deepcopy(bag_model).set_params(**{name: value})
    again = saved(model, tmp_path / "model")
    assert_same(again.get_params(), model.get_params())
    assert_same(again.encoder_, bag_model.encoder_)


def test_a_random_state_goes_on_where_it_was(bag_model, tmp_path):
    random_state = np.random.RandomState(7)
    random_state.standard_normal(3)  # one of a pair of normal numbers is kept back
    again = saved(copy.deepcopy(bag_model).set_params(random_state=random_state), tmp_path / "m")
    expected = random_state.standard_normal(3)
    np.testing.assert_array_equal(again.random_state.standard_normal(3), expected)


def test_parameters_that_are_arrays_can_be_changed(bag_model, tmp_path):
    model = copy.deepcopy(bag_model).set_params(threshold=np.full(5, 0.5))
    again = saved(model, tmp_path / "model")
    again.threshold[2] = 0.25
    assert skxc.load(tmp_path / "model").threshold[2] == 0.5


@pytest.mark.parametrize(
    "container",
    [list, tuple, np.array, pd.Series, lambda t: np.array(t, object)[:, None]],
    ids=["list", "tuple", "U array", "Series", "(n, 1) array"],
)
@pytest.mark.parametrize("cls", ESTIMATORS)
def test_label_texts_come_back_as_an_array(cls, container, tmp_path):
    encoder = BagOfWordsEncoder(dim=4, min_df=1)
    model = cls(encoder, label_texts=container(LABEL_TEXTS), epochs=1, warm_start=True)
    again = saved(model.fit(TEXTS, Y), tmp_path / "model")
    assert_same(again.label_texts, np.array(LABEL_TEXTS, dtype=object))
    again.fit(TEXTS, Y)


def test_equal_label_texts_are_stored_once(trained, tmp_path):
    trained.save(tmp_path / "model")
    stored = json.loads((tmp_path / "model" / "labels.json").read_text("utf8"))
    assert list(stored.values()).count(LABEL_TEXTS) == 1


def test_requests_and_output_containers_come_back(bag_model, tmp_path):
    model = copy.deepcopy(bag_model)
    with sklearn.config_context(enable_metadata_routing=True):
        model.set_fit_request(sample_weight=True, exclude="mask").set_score_request(exclude=False)
    model.set_output(transform="pandas")
    again = saved(model, tmp_path / "model")
    assert again.get_metadata_routing()._serialize() == model.get_metadata_routing()._serialize()
    assert isinstance(again.transform(NEW_TEXTS), pd.DataFrame)


def test_callbacks_stay_behind(bag_model, tmp_path):
    callbacks = pytest.importorskip("sklearn.callback", reason="scikit-learn < 1.9 has none")
    model = copy.deepcopy(bag_model)
    if not hasattr(model, "set_callbacks"):
        pytest.skip("the estimators have no callbacks")
    model.set_callbacks(callbacks.ProgressBar())
    assert_same(saved(model, tmp_path / "model"), bag_model)


def test_load_s_device_takes_the_place_of_the_parameter(bag_model, tmp_path):
    copy.deepcopy(bag_model).set_params(device="cuda:99").save(tmp_path / "model")
    model = skxc.load(tmp_path / "model")
    assert model.device == "cuda:99"
    with pytest.raises(ValueError, match="device='cuda:99' is not available here"):
        model.predict_proba(NEW_TEXTS)
    model = skxc.load(tmp_path / "model", device="cpu")
    assert model.device == "cpu"
    assert_same_answers(model, bag_model)
    with pytest.raises(ValueError, match="device='cuda:98' is not available here"):
        skxc.load(tmp_path / "model", device="cuda:98")


@pytest.mark.gpu
def test_a_model_trained_on_a_gpu_answers_on_the_cpu(make, tmp_path):
    model = make(device="cuda").fit(TEXTS, Y)
    model.save(tmp_path / "model")
    again = skxc.load(tmp_path / "model", device="cpu")
    assert_same_answers(again, copy.deepcopy(model).set_params(device="cpu"))


# -------------------------------------------------------------------- refused before it is written
class _OwnEncoder(BagOfWordsEncoder):
    """Somebody's own."""


class _OwnEstimator(ReneeClassifier):
    """Somebody's own."""


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"momentum": _Unreadable()}, "momentum is <"),
        ({"random_state": np.random.default_rng(0)}, "random_state is Generator(PCG64)"),
        ({"random_state": np.random.RandomState(np.random.PCG64())}, "random_state is RandomState"),
        ({"encoder": _OwnEncoder()}, "encoder=_OwnEncoder() is a _OwnEncoder"),
        ({"encoder": torch.nn.Linear(2, 2)}, "is a Linear"),
        ({"encoder": None}, "is a NoneType"),
        ({"threshold": np.array([1 + 1j])}, "threshold is an array of dtype complex128"),
        ({"threshold": np.array([_Unreadable()])}, "threshold is an array of dtype object"),
        ({"dropout": {1: 2}}, "dropout is {1: 2} of type dict"),
        ({"dropout": [0.1, _Unreadable()]}, "dropout.1 is <"),
        ({"label_texts": ["one", None]}, "label_texts[1] is None"),
    ],
)
def test_a_parameter_that_cannot_be_saved_is_named(bag_model, tmp_path, parameters, message):
    model = copy.deepcopy(bag_model).set_params(**parameters)
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        model.save(tmp_path / "new" / "model")
    assert os.listdir(tmp_path) == []


def test_a_fitted_attribute_that_cannot_be_saved_is_named(bag_model, tmp_path):
    model = copy.deepcopy(bag_model)
    model.note_ = [_Unreadable()]
    with pytest.raises(TypeError, match=r"note_\.0 is <"):
        model.save(tmp_path / "model")
    assert os.listdir(tmp_path) == []


def test_a_subclass_is_refused(tmp_path):
    model = _OwnEstimator(epochs=1).fit(TEXTS, Y)
    with pytest.raises(TypeError, match="_OwnEstimator is no estimator of skxc itself"):
        model.save(tmp_path / "model")


def test_what_is_not_fitted_is_not_saved(make, tmp_path):
    with pytest.raises(NotFittedError):
        make().save(tmp_path / "model")
    assert os.listdir(tmp_path) == []


# ---------------------------------------------------------------------- the folder, whole or not
def test_save_makes_the_folders_above_and_takes_an_empty_one(bag_model, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "a" / "b" / "model", tmp_path / "empty", str(tmp_path / "text")):
        assert_same(saved(bag_model, folder), bag_model)


def test_every_file_is_as_readable_as_any_other(bag_model, bert_model, tmp_path):
    mask = os.umask(0o022)
    try:
        bag_model.save(tmp_path / "bag")
        bert_model.save(tmp_path / "bert")
    finally:
        os.umask(mask)
    modes = {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == {0o644}


@pytest.mark.parametrize("content", ["notes.txt", "config.json", ".hidden"])
def test_a_folder_with_other_things_is_refused(bag_model, tmp_path, content):
    (tmp_path / content).write_text("{}")
    with pytest.raises(FileExistsError, match="is not empty and holds no intact model of skxc"):
        bag_model.save(tmp_path)
    assert os.listdir(tmp_path) == [content]


def test_a_model_s_folder_with_something_added_is_refused(bag_model, tmp_path):
    bag_model.save(tmp_path / "model")
    (tmp_path / "model" / "encoder" / "notes.txt").write_text("keep me")
    with pytest.raises(FileExistsError, match=r"holds encoder/notes\.txt, which is no"):
        bag_model.save(tmp_path / "model")
    assert_same(skxc.load(tmp_path / "model"), bag_model)


def test_a_file_is_refused(bag_model, tmp_path):
    (tmp_path / "model").write_text("something")
    with pytest.raises(FileExistsError, match="model is a file"):
        bag_model.save(tmp_path / "model")
    assert (tmp_path / "model").read_text() == "something"


def test_a_link_to_a_model_is_followed(bag_model, tmp_path):
    bag_model.save(tmp_path / "first")
    (tmp_path / "link").symlink_to(tmp_path / "first")
    copy.deepcopy(bag_model).set_params(top_k=3).save(tmp_path / "link")
    assert skxc.load(tmp_path / "first").top_k == skxc.load(tmp_path / "link").top_k == 3
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("is_there", [False, True], ids=["new", "replacing"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("step", ["write_tensors", "write_json", "seal", "_flush_to_disk"])
def test_a_broken_off_save_leaves_what_was_there(
    bag_model, tmp_path, monkeypatch, step, error, is_there
):
    if is_there:
        bag_model.save(tmp_path / "model")
    before = digests(tmp_path)
    module = "skxc._persistence._writing" if step.startswith("_") else "skxc._estimator._saving"

    def fail(*args):
        raise error("broken off")

    monkeypatch.setattr(f"{module}.{step}", fail)
    with pytest.raises(error, match="broken off"):
        copy.deepcopy(bag_model).set_params(top_k=3).save(tmp_path / "model")
    assert digests(tmp_path) == before
    assert os.listdir(tmp_path) == (["model"] if is_there else [])


def fail_renames(monkeypatch, which):
    """Have the renames fail whose numbers `which` holds, as on a system without an exchange."""
    rename, n_done = Path.rename, itertools.count()

    def broken_off(path, target):
        if next(n_done) in which:
            raise OSError("broken off")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", broken_off)
    monkeypatch.setattr("skxc._persistence._writing.exchange", lambda *paths: False)


@pytest.mark.parametrize("which", [{0}, {1}])
def test_a_replacement_broken_off_between_its_renames_leaves_the_old_model(
    bag_model, tmp_path, monkeypatch, which
):
    bag_model.save(tmp_path / "model")
    before = digests(tmp_path)
    fail_renames(monkeypatch, which)
    with pytest.raises(OSError, match="broken off"):
        copy.deepcopy(bag_model).set_params(top_k=3).save(tmp_path / "model")
    assert os.listdir(tmp_path) == ["model"]
    assert digests(tmp_path) == before


def test_where_all_renames_fail_both_models_stay_and_are_named(bag_model, tmp_path, monkeypatch):
    bag_model.save(tmp_path / "model")
    fail_renames(monkeypatch, range(1, 99))
    other = copy.deepcopy(bag_model).set_params(top_k=3)
    with pytest.raises(
        OSError, match=r"could not be written \(broken off\)\. Complete are"
    ) as told:
        other.save(tmp_path / "model")
    monkeypatch.undo()
    new, old = sorted(tmp_path.iterdir())
    assert (new.suffix, old.suffix) == (".new", ".old")
    assert f"{new} and {old}: move one of them to {tmp_path / 'model'}" in str(told.value)
    assert_same(skxc.load(old), bag_model)
    assert_same(skxc.load(new), other)
    with pytest.raises(FileNotFoundError, match="A save that was broken off left a complete model"):
        skxc.load(tmp_path / "model")
    other.save(tmp_path / "model")
    assert os.listdir(tmp_path) == ["model"]


def test_a_first_save_whose_rename_fails_is_named(bag_model, tmp_path, monkeypatch):
    fail_renames(monkeypatch, range(99))
    with pytest.raises(OSError, match=r"Complete are .*\.new: move one of them to"):
        bag_model.save(tmp_path / "model")
    monkeypatch.undo()
    (new,) = tmp_path.iterdir()
    new.rename(tmp_path / "model")
    assert_same(skxc.load(tmp_path / "model"), bag_model)


def leftover(model, path, name="config.json"):
    """What a killed save leaves beside the folder: a model without one of its files."""
    model.save(path)
    (path / name).unlink()


def test_what_dead_saves_left_is_collected_and_nothing_else(bag_model, tmp_path):
    for suffix in ("new", "old"):
        leftover(bag_model, tmp_path / f".model.0123abcd.{suffix}")
        leftover(bag_model, tmp_path / f".model.4567abcd.{suffix}", "labels.json")
        (tmp_path / f".model.4567abcd.{suffix}" / "search.safetensors").touch()  # of a graph
    kept = [".model.0123.new", ".model2.0123abcd.new", ".model.0123abcd.new.d", "mine"]
    for name in kept:
        leftover(bag_model, tmp_path / name)
    leftover(bag_model, tmp_path / ".model.89abcdef.new")  # somebody has put something there
    (tmp_path / ".model.89abcdef.new" / "notes.txt").touch()
    (tmp_path / ".model.01234567.old").symlink_to(tmp_path / "mine")
    bag_model.save(tmp_path / "model")
    assert {*os.listdir(tmp_path)} == {*kept, "model", ".model.89abcdef.new", ".model.01234567.old"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no locks of folders")
def test_what_another_save_is_writing_stays(bag_model, tmp_path):
    with replaced_folder(tmp_path / "model") as folder:
        (folder / "labels.json").write_text("half")
        bag_model.save(tmp_path / "model")
        assert (folder / "labels.json").read_text() == "half"
        bag_model.save(folder / "whole")
        for path in (folder / "whole").iterdir():
            path.rename(folder / path.name)
        (folder / "whole").rmdir()
    assert os.listdir(tmp_path) == ["model"]
    assert_same(skxc.load(tmp_path / "model"), bag_model)


@pytest.mark.parametrize("is_late", [False, True])
def test_a_model_that_must_not_be_replaced_stays(bag_model, tmp_path, monkeypatch, is_late):
    other = copy.deepcopy(bag_model).set_params(top_k=3)
    check = "skxc._persistence._writing.check_replaceable"
    if is_late:  # it appears between the last look and the rename
        monkeypatch.setattr(check, lambda *args, **kwargs: None)

    def save_twice():
        with replaced_folder(tmp_path / "model", may_replace=False) as folder:
            (folder / "half").touch()
            bag_model.save(tmp_path / "model")

    with pytest.raises(OSError, match=r"must not be replaced|Directory not empty|File exists"):
        save_twice()
    assert_same(skxc.load(tmp_path / "model"), bag_model)
    assert os.listdir(tmp_path) == ["model"]
    other.save(tmp_path / "model")
    assert_same(skxc.load(tmp_path / "model"), other)


def test_nothing_is_under_the_name_until_all_is_written(tmp_path):
    with replaced_folder(tmp_path / "model") as folder:
        (folder / "half").write_text("a")
        assert not (tmp_path / "model").exists()
        assert folder.parent == tmp_path  # of one file system
    assert (tmp_path / "model" / "half").read_text() == "a"


# ------------------------------------------------- folders that stay: the working directory, mounts
@pytest.fixture(params=["cwd", "link", "up", "mount"])
def kept(request, tmp_path, monkeypatch):
    """A folder that must not be renamed, and a name for it."""
    folder = tmp_path / "here"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    if request.param == "mount":
        monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == folder)
        return folder, folder
    monkeypatch.chdir(folder)
    return folder, {"cwd": ".", "link": tmp_path / "link", "up": "../here"}[request.param]


def test_a_folder_that_must_stay_is_saved_to_again_and_again(bag_model, kept):
    folder, name = kept
    inode = folder.stat().st_ino
    for top_k in (2, 3):
        model = copy.deepcopy(bag_model).set_params(top_k=top_k)
        model.save(name)
        assert_same(skxc.load(name), model)
    mapped = skxc.load(name)
    mapped.save(name)
    assert_same(mapped, model)
    assert_same(skxc.load(name), model)
    assert folder.stat().st_ino == inode
    assert os.listdir(folder.parent) in (["here", "link"], ["link", "here"])
    assert {p.name for p in folder.iterdir()} == {
        "config.json", "encoder", "labels.json", "model.safetensors"
    }  # fmt: skip


def test_the_working_directory_s_parent_need_not_be_writable(bag_model, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    mkdir = Path.mkdir

    def inside(path, *args, **kwargs):
        assert path.parent != tmp_path
        mkdir(path, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", inside)
    assert_same(saved(bag_model, "."), bag_model)


def test_the_working_directory_is_refused_if_it_holds_other_things(
    bag_model, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(FileExistsError, match="is not empty and holds no intact model of skxc"):
        bag_model.save(".")
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_a_folder_around_the_working_directory_is_refused(bag_model, tmp_path, monkeypatch):
    bag_model.save(tmp_path / "model")
    before = digests(tmp_path)
    monkeypatch.chdir(tmp_path / "model" / "encoder")
    with pytest.raises(FileExistsError, match=r"model holds the working directory, .*encoder, wh"):
        bag_model.save("..")
    assert digests(tmp_path) == before


def test_a_model_s_folder_with_an_empty_folder_added_is_refused(bag_model, tmp_path):
    bag_model.save(tmp_path / "model")
    (tmp_path / "model" / "later" / "still").mkdir(parents=True)
    with pytest.raises(FileExistsError, match="holds later, which is no part of its model"):
        bag_model.save(tmp_path / "model")
    assert (tmp_path / "model" / "later" / "still").is_dir()


@pytest.fixture
def in_place(bag_model, tmp_path, monkeypatch):
    """A saved model's folder that is the working directory, and another model."""
    bag_model.save(tmp_path)
    monkeypatch.chdir(tmp_path)
    return copy.deepcopy(bag_model).set_params(top_k=3)


def fail_links(monkeypatch, which):
    """Have the links fail whose numbers `which` holds, and the copies in their place."""
    link, n_done = os.link, itertools.count()

    def broken_off(*args, **kwargs):
        if next(n_done) in which:
            raise OSError("no link")
        link(*args, **kwargs)

    def no_copy(*args):
        raise OSError("broken off")

    monkeypatch.setattr(os, "link", broken_off)
    monkeypatch.setattr(shutil, "copy2", no_copy)


N_FILES = 5


@pytest.mark.parametrize("which", range(2 * N_FILES))
def test_a_refill_that_breaks_off_leaves_the_old_model(in_place, tmp_path, monkeypatch, which):
    before = digests(tmp_path)
    fail_links(monkeypatch, {which})
    with pytest.raises(OSError, match="broken off"):
        in_place.save(".")
    assert digests(tmp_path) == before
    assert len(os.listdir(".")) == 4


def test_a_refill_that_cannot_be_undone_keeps_and_names_both_models(
    in_place, bag_model, tmp_path, monkeypatch
):
    fail_links(monkeypatch, range(N_FILES + 2, 99))
    with pytest.raises(OSError, match=r"\.new and .*\.old: move one of them to") as told:
        in_place.save(".")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    new, old = sorted(tmp_path.glob(".skxc-*"))
    assert f"{new} and {old}" in str(told.value)
    assert_same(skxc.load(old), bag_model)
    assert_same(skxc.load(new), in_place)
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing.*left a complete model"):
        skxc.load(".")
    assert_same(saved(in_place, "."), in_place)
    assert len(os.listdir(".")) == 4


def test_a_refill_without_links_copies(in_place, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *args, **kwargs: os.stat("/does/not/exist"))
    assert_same(saved(in_place, "."), in_place)
    assert len(os.listdir(".")) == 4


@pytest.mark.parametrize("suffix", ["new", "old"])
@pytest.mark.parametrize("is_empty", [True, False])
def test_what_a_killed_save_left_in_the_folder_is_in_nobody_s_way(
    bag_model, tmp_path, monkeypatch, suffix, is_empty
):
    monkeypatch.chdir(tmp_path)
    if not is_empty:
        bag_model.save(".")
    (tmp_path / f".skxc-0123abcd.{suffix}" / "encoder").mkdir(parents=True)
    (tmp_path / f".skxc-0123abcd.{suffix}" / "labels.json").touch()
    if not is_empty:
        assert_same(skxc.load("."), bag_model)
    assert_same(saved(bag_model, "."), bag_model)


def test_a_working_directory_that_was_deleted_is_told(bag_model, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here").rmdir()
    for name in (".", "model"):
        for call in (bag_model.save, skxc.load):
            with pytest.raises(FileNotFoundError, match="the working directory, which was deleted"):
                call(name)
    assert_same(saved(bag_model, tmp_path / "model"), bag_model)
    monkeypatch.chdir(tmp_path)


# ------------------------------------------------------------------------ what is not a good model
def reseal(folder, change=lambda config: None):
    """Write config.json anew, as someone would who means it."""
    config = json.loads((folder / "config.json").read_text("utf8"))
    (folder / "config.json").unlink()
    given = {k: v for k, v in config.items() if k not in ("files", "sha256")}
    seal(folder, given)
    config = json.loads((folder / "config.json").read_text("utf8"))
    change(config)
    config.pop("sha256")
    body = json.dumps(config, indent=1).encode().removesuffix(b"\n}")
    digest = hashlib.sha256(body).hexdigest()
    (folder / "config.json").write_bytes(body + f',\n "sha256": "{digest}"\n}}\n'.encode())


def changed_config(change):
    return lambda folder: reseal(folder, change)


def set_in(config, *path, value):
    for key in path[:-1]:
        config = config[key]
    config[path[-1]] = value


def flip(name, place):
    def damage(folder):
        content = bytearray((folder / name).read_bytes())
        content[place] ^= 1
        (folder / name).write_bytes(content)

    return damage


def cut(name, n_bytes):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-n_bytes])


def changed_tensors(change, is_resealed=False):
    def damage(folder):
        path = folder / "model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, metadata={"format": "pt"})
        config = json.loads((folder / "config.json").read_text())
        if is_resealed:
            reseal(folder)
        else:  # only the size is right
            declared = config["files"]["model.safetensors"]
            declared["size"] = path.stat().st_size
            reseal(folder, lambda new: new.update(files=config["files"]))

    return damage


class _Bomb:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def as_pickle(name, is_resealed):
    def damage(folder):
        size = (folder / name).stat().st_size
        content = pickle.dumps(_Bomb())
        (folder / name).write_bytes(content + b"\0" * (size - len(content)))

    return damage


def link_outside(folder):
    outside = folder.parent / "outside.json"
    (folder / "labels.json").rename(outside)
    (folder / "labels.json").symlink_to(outside)


def list_outside(name):
    def damage(folder):
        (folder.parent / "outside.json").write_text("{}")
        entry = {"size": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}
        reseal(folder, lambda config: config["files"].update({name(folder): entry}))

    return damage


BAD = {
    "a tensor file cut short": (cut("model.safetensors", 1), "model.safetensors is damaged: it"),
    "an encoder cut short": (cut("encoder/model.safetensors", 9), "encoder/model.safetensors is"),
    "a JSON file cut short": (cut("labels.json", 1), "labels.json is damaged: it has"),
    "config.json cut short": (cut("config.json", 2), "config.json is no JSON"),
    "an empty config.json": (lambda f: (f / "config.json").write_text(""), "json is no JSON"),
    "a deep config.json": (lambda f: (f / "config.json").write_text("[" * 10**6), "is no JSON"),
    "a byte changed in labels.json": (flip("labels.json", 20), "labels.json was changed"),
    "a byte changed in words.json": (flip("encoder/words.json", 20), "words.json was changed"),
    "a tensor missing": (
        changed_tensors(lambda t: t.pop("label_embeddings_")),
        "the tensor label_embeddings_ should be {'dtype': 'F32', 'shape': [5, 7]}, and is missing",
    ),
    "a tensor more": (
        changed_tensors(lambda t: t.update(more=np.ones(1))),
        "the tensor more should be absent, and is {'dtype': 'F64', 'shape': [1]}",
    ),
    "a tensor of another shape": (
        changed_tensors(lambda t: t.update(label_embeddings_=np.zeros((7, 5), np.float32))),
        "label_embeddings_ should be {'dtype': 'F32', 'shape': [5, 7]}, and is {'dtype': 'F32', 's",
    ),
    "a tensor of another dtype": (
        changed_tensors(lambda t: t.update(label_counts_=np.zeros(5, np.uint64))),
        "label_counts_ should be {'dtype': 'I64', 'shape': [5]}, and is {'dtype': 'U64'",
    ),
    "a tensor that the model needs": (
        changed_tensors(lambda t: t.pop("label_embeddings_"), is_resealed=True),
        "config.json does not describe a model that this skxc knows (KeyError('label_embeddings_'",
    ),
    "labels too few": (
        changed_tensors(lambda t: t.update(label_counts_=np.ones(4, int)), is_resealed=True),
        "model holds no sound model: label_counts_ has the shape (4,), and should have (5,)",
    ),
    "a format of the future": (
        changed_config(lambda c: c.update(format_version=5)),
        "config.json has format version 5; this skxc reads up to 4. Upgrade skxc",
    ),
    "another project's config.json": (
        lambda f: (f / "config.json").write_text('{"model_type": "bert"}'),
        "config.json was not written by skxc",
    ),
    "a list as config.json": (
        lambda f: (f / "config.json").write_text("[]"),
        "config.json was not written by skxc",
    ),
    "an unknown class": (
        changed_config(lambda c: c.update({"class": "os.system"})),
        "holds a 'os.system'. Known are DualEncoderXC, ReneeClassifier, UniDEC",
    ),
    "an unknown encoder": (
        changed_config(lambda c: set_in(c, "encoder", "class", value="Popen")),
        "KeyError('Popen')",
    ),
    "an unknown kind of value": (
        changed_config(lambda c: set_in(c, "parameters", "top_k", value={"$": "eval"})),
        "a value is of the unknown kind 'eval'",
    ),
    "an unknown parameter": (
        changed_config(lambda c: set_in(c, "parameters", "magic", value=1)),
        "unexpected keyword argument 'magic'",
    ),
    "an unknown dtype": (
        changed_config(
            lambda c: set_in(c, "fitted", "_target_dtype", value={"$": "dtype", "name": "V8"})
        ),
        "'V8' is no value that skxc writes",
    ),
    "nothing described": (
        changed_config(lambda c: c.pop("fitted")),
        "does not describe a model that this skxc knows (KeyError('fitted'))",
    ),
    "no list of files": (
        changed_config(lambda c: c.pop("files")),
        "config.json has no list of its files",
    ),
    "a file that is not listed": (
        changed_config(lambda c: c["files"].pop("labels.json")),
        "config.json does not list labels.json",
    ),
    "a path out of the folder": (
        list_outside(lambda folder: "../outside.json"),
        "config.json names '../outside.json', which is outside its folder",
    ),
    "an absolute path": (
        list_outside(lambda folder: str(folder.parent / "outside.json")),
        "outside.json', which is outside its folder",
    ),
    "a link out of the folder": (link_outside, "names 'labels.json', which is outside its folder"),
    "a pickle": (as_pickle("model.safetensors", False), "is no intact safetensors file"),
    "an encoder's pickle": (
        as_pickle("encoder/model.safetensors", False),
        "encoder/model.safetensors is no intact safetensors file",
    ),
    "words that are no JSON": (
        lambda f: ((f / "encoder" / "words.json").write_text("[a]"), reseal(f)),
        "words.json is no JSON",
    ),
    "a format that is True": (
        changed_config(lambda c: c.update(format_version=True)),
        "config.json has format version True",
    ),
    "a format of 0": (changed_config(lambda c: c.update(format_version=0)), "format version 0"),
    "a file in two cases": (
        changed_config(lambda c: c["files"].update({"LABELS.json": c["files"]["labels.json"]})),
        "names a file twice, in another case",
    ),
    "a file without a size": (
        changed_config(lambda c: set_in(c, "files", "labels.json", value=3)),
        "says of 'labels.json' neither size nor content",
    ),
    "nan": (
        changed_tensors(lambda t: t["label_embeddings_"].fill(np.nan), is_resealed=True),
        "label_embeddings_ holds nan. Models hold no nan and nothing beyond 1e+12",
    ),
    "a number too large": (
        changed_tensors(lambda t: t["label_embeddings_"].fill(1e30), is_resealed=True),
        "label_embeddings_ holds 1.",
    ),
    "float64": (
        changed_tensors(
            lambda t: t.update(label_embeddings_=t["label_embeddings_"].astype(float)),
            is_resealed=True,
        ),
        "label_embeddings_ is an array of float64, (5, 7), and should be an array of float32",
    ),
    "rows too short": (
        changed_tensors(
            lambda t: t.update(label_embeddings_=t["label_embeddings_"][:, 1:].copy()),
            is_resealed=True,
        ),
        "label_embeddings_ has the shape (5, 6), and should have (5, 7)",
    ),
    "a name that hides a method": (
        changed_config(lambda c: set_in(c, "fitted", "predict", value=1)),
        "'predict' is no name of a fitted attribute",
    ),
    "a name that hides the class": (
        changed_config(lambda c: set_in(c, "fitted", "__class__", value=1)),
        "'__class__' is no name of a fitted attribute",
    ),
    "epochs that were not run": (
        changed_config(lambda c: set_in(c, "fitted", "n_iter_", value=10**12)),
        "n_iter_=1000000000000, but history_ has 1 entries",
    ),
    "a threshold above 1": (
        changed_config(lambda c: set_in(c, "fitted", "threshold_", value=2.0)),
        "threshold_=2.0 is out of range",
    ),
    "a huge dtype": (
        changed_config(
            lambda c: set_in(c, "fitted", "_target_dtype", value={"$": "dtype", "name": "<U99999"})
        ),
        "and should be a dtype of numbers",
    ),
    "a RandomState that reads beyond its end": (
        lambda folder: (
            changed_tensors(lambda t: t.update(key=np.zeros(624, np.uint32)))(folder),
            reseal(
                folder,
                lambda c: set_in(
                    c,
                    "parameters",
                    "random_state",
                    value={
                        "$": "RandomState",
                        "key": {"$": "tensor", "name": "key"},
                        "rest": [10**6, 0, 0.0],
                    },
                ),
            ),
        ),
        "a RandomState is not as NumPy writes it",
    ),
    "labels that are lists": (
        lambda f: (
            (f / "labels.json").write_text(json.dumps({"label_texts": [["a"]] * 5})),
            reseal(f),
        ),
        "the labels label_texts are no list of plain values",
    ),
    "words too few": (
        lambda f: ((f / "encoder" / "words.json").write_text('["a"]'), reseal(f)),
        "encoder has 1 words and arrays of another length",
    ),
}
MISSING = ["config.json", "labels.json", "model.safetensors", "encoder/words.json"]


@pytest.mark.parametrize("what", BAD)
def test_a_bad_folder_is_refused_in_words(bag_model, tmp_path, what):
    damage, message = BAD[what]
    bag_model.save(tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(ValueError, match=re.escape(message)):
        skxc.load(tmp_path / "model")


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_file_is_named(bag_model, tmp_path, name):
    bag_model.save(tmp_path / "model")
    (tmp_path / "model" / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing: .* is no complete model"):
        skxc.load(tmp_path / "model")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none is no folder"):
        skxc.load(tmp_path / "none")


def test_a_byte_changed_anywhere_in_a_text_file_is_found(bert_model, tmp_path):
    bert_model.save(tmp_path / "model")
    names = [n for n in digests(tmp_path / "model") if not n.endswith(".safetensors")]
    assert len(names) > 6
    rng = np.random.default_rng(0)
    for name in names:
        path = tmp_path / "model" / name
        content = path.read_bytes()
        places = {0, len(content) - 1, *rng.integers(len(content), size=20).tolist()}
        for place in places:
            changed = bytearray(content)
            changed[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(changed)
            with pytest.raises(ValueError, match=re.escape(name.rpartition("/")[2])):
                skxc.load(tmp_path / "model")
        path.write_bytes(content)
    skxc.load(tmp_path / "model")


def test_a_cut_anywhere_in_a_file_is_found(bag_model, tmp_path):
    bag_model.save(tmp_path / "model")
    for name in digests(tmp_path / "model"):
        path = tmp_path / "model" / name
        content = path.read_bytes()
        for size in (0, 1, 7, 8, 9, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:size])
            with pytest.raises(ValueError, match=name):
                skxc.load(tmp_path / "model")
        path.write_bytes(content)


@pytest.mark.parametrize(
    "key", ["auto_map", "attribute_map", "attn_implementation", "_attn_implementation"]
)
def test_a_transformer_s_configuration_that_names_code_is_refused(bert_model, tmp_path, key):
    bert_model.save(tmp_path / "model")
    path = tmp_path / "model" / "encoder" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"nested": {key: "someone/code"}, key: "someone/code"}))
    reseal(tmp_path / "model")
    with pytest.raises(ValueError, match=f"encoder/config.json names code to run .{key}."):
        skxc.load(tmp_path / "model")


def test_a_configuration_that_came_to_name_a_kernel_builds_nothing(bert_model, monkeypatch):
    """By whatever entry it did: transformers would fetch it."""
    encoder = copy.copy(bert_model.encoder_)
    encoder.config_ = encoder.config_ | {
        "attribute_map": {"plain": "_attn_implementation_internal"},
        "plain": "someone/kernel",
    }
    with pytest.raises(ValueError, match="names code to fetch"):
        encoder.build_module()


def test_loading_and_predicting_execute_nothing_in_the_folder(bert_model, tmp_path):
    bert_model.save(tmp_path / "model")
    for folder in (tmp_path / "model", tmp_path / "model" / "encoder"):
        for name in ("pytorch_model.bin", "model.pkl"):
            (folder / name).write_bytes(pickle.dumps(_Bomb()))
        for name in ("modeling.py", "tokenization.py", "__init__.py"):
            (folder / name).write_text("raise SystemExit")
    assert_same_answers(skxc.load(tmp_path / "model"), bert_model)


# -------------------------------------------------------------------------------- arrays in files
ARRAYS = {
    "Fortran order": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "every other": np.arange(10, dtype=np.int16)[::2],
    "backwards": np.arange(5, dtype=np.uint8)[::-1],
    "a part of wider rows": np.arange(24, dtype=np.float32).reshape(3, 8)[:, :5],
    "0-d": np.array(3.5),
    "empty": np.empty((0, 4), np.float32),
    "bool": np.array([True, False, True]),
    "float16": np.arange(3, dtype=np.float16),
    "big-endian": np.arange(4, dtype=">i4"),
    "read-only": np.broadcast_to(np.float32(2), (2, 2)),
    "str": np.array(["a", "", "é"]),
    "object": np.array(["a", 1, None, 1.5, True], dtype=object),
    "float object": np.array([1.0, 0.1], dtype=object),
}


@pytest.mark.parametrize("mmap", [True, False])
def test_arrays_come_back_in_order(tmp_path, mmap):
    packed = Packed()
    description = json.loads(json.dumps(packed.pack(ARRAYS, "arrays")))
    write_tensors(tmp_path / "arrays.safetensors", packed.tensors)
    seal(tmp_path, {})
    tensors = ModelFolder(tmp_path).tensors("arrays.safetensors", is_mapped=mmap)
    found = Packed(tensors, json.loads(json.dumps(packed.labels))).unpack(description)
    for name, expected in ARRAYS.items():
        native = expected.astype(expected.dtype.newbyteorder("="))
        assert_same(found[name], native, name)


def test_tables_are_aligned_in_files(tmp_path):
    """As in the model that was fitted: some processors round products by it."""
    sizes = {"a": (3, 5), "table": (7, 16), "wide": (64, 257), "z": (1, 1)}
    write_tensors(
        tmp_path / "arrays.safetensors",
        {name: np.ones(shape, np.float32) for name, shape in sizes.items()}
        | {"bytes": np.ones(13, np.uint8), "offsets": np.ones(9, np.int64)},
    )
    seal(tmp_path, {})
    found = ModelFolder(tmp_path).tensors("arrays.safetensors", is_mapped=True)
    assert all(array.flags.aligned for array in found.values())
    assert [found[name].ctypes.data % 64 for name in ("table", "wide")] == [0, 0]


def test_numbers_that_lie_at_odd_places_are_copied(tmp_path):
    """safetensors' own writer aligns them; the format does not ask for it."""
    header = {
        "byte": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
        "numbers": {"dtype": "F32", "shape": [2], "data_offsets": [1, 9]},
    }
    text = json.dumps(header).encode()
    content = len(text).to_bytes(8, "little") + text + b"\7" + np.float32([1.5, 2]).tobytes()
    (tmp_path / "odd.safetensors").write_bytes(content)
    seal(tmp_path, {})
    found = ModelFolder(tmp_path).tensors("odd.safetensors", is_mapped=True)
    assert found["numbers"].tolist() == [1.5, 2]
    assert found["numbers"].flags.aligned
    assert found["byte"].tolist() == [7]


def test_labels_are_taken_for_the_same_only_if_they_are():
    packed = Packed()
    same = ["a", "b"]
    for name, items in {"one": same, "two": list(same), "1": [1, 0], "1.0": [1.0, 0.0]}.items():
        packed.pack(np.array(items, dtype=object), name)
    assert packed.labels.keys() == {"one", "1", "1.0"}


# ---------------------------------------------------------------------------- the encoder elsewhere
@pytest.fixture(params=["mean", "cls", "last"])
def pooling(request):
    return request.param


@pytest.mark.parametrize("projection_dim", [None, 5])
def test_transformers_opens_the_encoder(tiny_bert, tmp_path, pooling, projection_dim):
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    encoder = TransformerEncoder(
        tiny_bert, max_length=7, pooling=pooling, projection_dim=projection_dim
    )
    model = ReneeClassifier(encoder, epochs=1).fit(TEXTS, Y)
    model.save(tmp_path / "model")
    folder = tmp_path / "model" / "encoder"
    logging.set_verbosity_error()  # the pooler that we train without
    transformer = AutoModel.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    assert tokens.keys() == {"input_ids", "attention_mask"}  # what every model takes
    assert tokens["input_ids"].shape[1] == 7 == tokenizer.model_max_length
    with torch.inference_mode():
        states = transformer(**tokens).last_hidden_state
    mask = tokens["attention_mask"][:, :, None]
    pooled = {
        "mean": (states * mask).sum(1) / mask.sum(1),
        "cls": states[:, 0],
        "last": states[torch.arange(len(TEXTS)), mask[:, :, 0].sum(1) - 1],
    }[pooling]
    if projection_dim is not None:
        weight = load_file(folder / "2_Dense" / "model.safetensors")["linear.weight"]
        pooled = pooled @ torch.from_numpy(weight).T
    expected = model.transform(TEXTS)[:, :-1]
    np.testing.assert_allclose(pooled.numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("projection_dim", [None, 5])
@pytest.mark.parametrize("normalize", [True, False])
def test_sentence_transformers_opens_the_encoder(
    tiny_bert, tmp_path, pooling, projection_dim, normalize
):
    sentence_transformers = pytest.importorskip(
        "sentence_transformers", reason="sentence-transformers is not installed"
    )
    encoder = TransformerEncoder(
        tiny_bert, max_length=7, pooling=pooling, projection_dim=projection_dim
    )
    model = DualEncoderXC(encoder, label_texts=LABEL_TEXTS, normalize=normalize, epochs=1)
    model.fit(TEXTS, Y).save(tmp_path / "model")
    other = sentence_transformers.SentenceTransformer(str(tmp_path / "model" / "encoder"))
    assert other.max_seq_length == 7
    found = other.encode(TEXTS, show_progress_bar=False)
    np.testing.assert_allclose(found, model.transform(TEXTS), rtol=1e-4, atol=1e-5)


def test_a_saved_encoder_begins_another_model(tiny_bert, tmp_path, pooling):
    model = DualEncoderXC(
        TransformerEncoder(tiny_bert, max_length=7, pooling=pooling),
        label_texts=LABEL_TEXTS,
        epochs=1,
    )
    model.fit(TEXTS, Y).save(tmp_path / "model")
    encoder = TransformerEncoder(str(tmp_path / "model" / "encoder"), max_length=7).fit([], seed=0)
    assert_same(encoder.weights_, model.encoder_.weights_)
    assert encoder.pooling_ == pooling
    assert encoder.special_tokens_ == model.encoder_.special_tokens_
    assert encoder.tokenize(TEXTS).ids.tolist() == model.encoder_.tokenize(TEXTS).ids.tolist()


def test_a_loaded_model_needs_neither_the_folder_that_it_was_trained_from(tiny_bert, tmp_path):
    shutil.copytree(tiny_bert, tmp_path / "bert")
    encoder = TransformerEncoder(str(tmp_path / "bert"), max_length=9)
    model = ReneeClassifier(encoder, epochs=1, warm_start=True).fit(TEXTS, Y)
    model.save(tmp_path / "model")
    shutil.rmtree(tmp_path / "bert")
    again = skxc.load(tmp_path / "model")
    assert_same_answers(again, model)
    again.fit(TEXTS, Y)


# -------------------------------------------------------------------------------- pickles' version
def test_a_pickle_of_another_version_warns(bag_model, monkeypatch):
    dumped = pickle.dumps(bag_model)
    monkeypatch.setattr(skxc, "__version__", "9.9")
    message = "This ReneeClassifier was pickled by skxc 0.1.0.dev0, and this is skxc 9.9"
    with pytest.warns(UserWarning, match=re.escape(message)):
        model = pickle.loads(dumped)
    assert not hasattr(model, "_skxc_version")
    assert_same(model, bag_model)


def test_a_pickle_of_the_same_version_or_of_none_is_silent(bag_model):
    again = pickle.loads(pickle.dumps(bag_model))
    assert not hasattr(again, "_skxc_version")
    state = {k: v for k, v in bag_model.__getstate__().items() if k != "_skxc_version"}
    model = ReneeClassifier.__new__(ReneeClassifier)
    model.__setstate__(state)
    assert_same(model, bag_model)


def test_a_saved_folder_says_what_wrote_it(bag_model, tmp_path):
    bag_model.save(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["format"] == "skxc"
    assert config["format_version"] == 4
    assert config["skxc_version"] == skxc.__version__
    assert config["libraries"]["numpy"] == np.__version__
    files = digests(tmp_path / "model")
    assert config["files"].keys() == files.keys() - {"config.json"}
    for name, entry in config["files"].items():
        assert entry["size"] == (tmp_path / "model" / name).stat().st_size
        assert entry.get("sha256", files[name]) == files[name]


# ------------------------------------------------------------------------- encoders of strangers
BAD_BERTS = {
    "too many layers": ({"num_hidden_layers": 10**7}, "num_hidden_layers=1e+07 is more than"),
    "some layers too many": ({"num_hidden_layers": 99}, "is more than the 37 stored tensors hold"),
    "one layer too few": ({"num_hidden_layers": 1}, "encoder.layer.1.attention.output.LayerNorm"),
    "a huge vocabulary": ({"vocab_size": 10**10}, "is more than the 37 stored tensors hold"),
    "a huge width": ({"hidden_size": 10**6}, "describes no model of these weights"),
    "heads that do not fit": ({"num_attention_heads": 7}, "describes no model of these weights"),
    "less than no heads": ({"num_attention_heads": -2}, "num_attention_heads=-2 is negative"),
    "no known model": ({"model_type": "none"}, "describes no model of these weights"),
}


@pytest.mark.parametrize("case", BAD_BERTS)
def test_a_configuration_of_other_weights_is_refused_before_it_is_built(bert_model, tmp_path, case):
    change, message = BAD_BERTS[case]
    bert_model.save(tmp_path / "model")
    path = tmp_path / "model" / "encoder" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    reseal(tmp_path / "model")
    with pytest.raises(ValueError, match=re.escape(message)):
        skxc.load(tmp_path / "model")


BAD_TOKENIZERS = {
    "no truncation": ({"truncation": None}, "tokenizer.json is none that skxc wrote"),
    "no room for a text": (
        {
            "truncation": {
                "max_length": 2,
                "strategy": "LongestFirst",
                "stride": 0,
                "direction": "Right",
            }
        },
        "keeps 2 tokens of a text, and adds 2 special tokens",
    ),
    "beyond the positions": (
        {
            "truncation": {
                "max_length": 65,
                "strategy": "LongestFirst",
                "stride": 0,
                "direction": "Right",
            }
        },
        "keeps 65 tokens of a text, and the model has 64 positions",
    ),
    "texts that grow": (
        {"normalizer": {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1001}},
        "makes texts up to 1001 times as long",
    ),
    "a text many times": (
        {
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 20,
                "pair": [],
                "special_tokens": {},
            }
        },
        "makes texts up to 20000 times as long",
    ),
    "a panic when it is read": (
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "CAAAAP////8AAAAA"}},
        "The tokenizer failed",
    ),
    "a panic with a text": (
        {
            "pre_tokenizer": {
                "type": "Split",
                "pattern": {"Regex": "(a|aa)+b"},
                "behavior": "Isolated",
                "invert": False,
            }
        },
        "The tokenizer failed",
    ),
}


@pytest.mark.parametrize("case", BAD_TOKENIZERS)
def test_a_tokenizer_that_would_fail_is_refused(bert_model, tmp_path, case):
    change, message = BAD_TOKENIZERS[case]
    bert_model.save(tmp_path / "model")
    path = tmp_path / "model" / "encoder" / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    reseal(tmp_path / "model")
    with pytest.raises(ValueError, match=re.escape(message)):
        skxc.load(tmp_path / "model").predict_top_k(["a" * 300])


def test_a_pattern_that_takes_for_ever_is_stopped(bag_model, tmp_path, monkeypatch):
    monkeypatch.setattr("skxc.encoders._words._SECONDS_A_TEXT", 0.2)
    bag_model.save(tmp_path / "model")
    change = {"fitted": {"token_pattern": "(a|aa)+$"}}
    reseal(tmp_path / "model", lambda c: c["encoder"]["fitted"].update(change["fitted"]))
    model = skxc.load(tmp_path / "model")
    with pytest.raises(ValueError, match=r"token_pattern='\(a\|aa\)\+\$' takes more than 0.2 s"):
        model.transform(["a" * 3000 + "!"])


@pytest.mark.parametrize(
    "pattern", [r"\S+", r"\w+(?:'\w+)?", r"(?:\d+|[a-z]+)(?:-\w+)*", r"(\w+)s?"]
)
def test_a_loaded_model_finds_the_words_of_its_own_pattern(pattern, tmp_path):
    texts = ["the cat's well-known ² 3½ क\u093fत\u093eब\x1ce\u0301te 字 houses"] * 2 + TEXTS
    encoder = BagOfWordsEncoder(dim=4, min_df=1, token_pattern=pattern)
    model = ReneeClassifier(encoder, epochs=1).fit(texts, [[0], [1]] * 13)
    again = saved(model, tmp_path / "model")
    assert_same(*(vars(m.encoder_.tokenize(texts)) for m in (model, again)))
    assert (again.predict_proba(texts) != model.predict_proba(texts)).nnz == 0


def test_an_optimizer_s_state_of_another_model_is_told(trained, tmp_path):
    trained.save(tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    tensors = load_file(path)
    name = next(
        n for n in tensors if n.startswith("_optimizer_state.optimizers") and tensors[n].ndim
    )
    tensors[name] = np.ones(3, np.float32)
    save_file(tensors, path, metadata={"format": "pt"})
    reseal(tmp_path / "model")
    model = skxc.load(tmp_path / "model")
    with pytest.raises(ValueError, match="What the model remembers of its training does not fit"):
        model.partial_fit(TEXTS, Y)


def test_a_distilbert_comes_back(tiny_bert, tmp_path):
    from transformers import DistilBertConfig, DistilBertModel

    shutil.copytree(tiny_bert, tmp_path / "distilbert")
    (tmp_path / "distilbert" / "model.safetensors").unlink()
    config = DistilBertConfig(
        vocab_size=200, dim=8, n_layers=1, n_heads=2, hidden_dim=8, max_position_embeddings=16
    )
    DistilBertModel(config).save_pretrained(tmp_path / "distilbert")
    encoder = TransformerEncoder(str(tmp_path / "distilbert"), max_length=9)
    model = ReneeClassifier(encoder, epochs=1).fit(TEXTS, Y)
    assert_same_answers(saved(model, tmp_path / "model"), model)
