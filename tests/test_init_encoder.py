"""Training that begins from the encoder of another fitted estimator (`init_encoder`)."""

from __future__ import annotations

import copy
import pickle
import re

import numpy as np
import pytest
from contract import assert_equal_models, assert_unchanged, state_of
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, KFold

import skxc
from skxc import DualEncoderXC, ReneeClassifier, UniDEC
from skxc._cli import main
from skxc._estimator import _init_encoder
from skxc.datasets import make_extreme_classification
from skxc.encoders import BagOfWordsEncoder, JoinedEncoder, TransformerEncoder
from skxc.model_selection import cross_validate

BAG = BagOfWordsEncoder(dim=16)
N_TEXTS = 120
# training that moves next to nothing shows where it began
STILL = {"epochs": 1, "learning_rate": 1e-12, "classifier_learning_rate": 1e-12, "dropout": 0.0}


@pytest.fixture(scope="module")
def data():
    return make_extreme_classification(N_TEXTS, 20, n_background_words=50, random_state=0)


def make_start(data, cls=DualEncoderXC, encoder=BAG, **parameters):
    settings = {"epochs": 2, "batch_size": 16, "rerank_weight": 0, "random_state": 1}
    clf = cls(encoder, label_texts=data.label_texts, **settings | parameters)
    return clf.fit(data.texts, data.Y)


@pytest.fixture(scope="module")
def dual(data):
    return make_start(data)


def make_clf(start, **parameters):
    settings = {"epochs": 2, "rerank_weight": 0, "random_state": 0, "init_encoder": start}
    return ReneeClassifier(**settings | parameters)


def assert_begins_at(clf, start, atol=1e-6):
    """The fitted one has moved by next to nothing."""
    found, wanted = clf.encoder_, start.encoder_
    assert repr(found) == repr(wanted)
    assert found.weights_.keys() == wanted.weights_.keys()
    for name, weights in wanted.weights_.items():
        np.testing.assert_allclose(found.weights_[name], weights, atol=atol)


@pytest.mark.parametrize("cls", [DualEncoderXC, ReneeClassifier, UniDEC])
def test_training_begins_at_the_weights_and_the_words_of_the_start(data, cls):
    start = make_start(data, cls)
    before = state_of(start)
    # other texts: the vocabulary is the start's
    texts = [f"{text} word{i}" for i, text in enumerate(data.texts[:60])]
    clf = make_clf(start, **STILL).fit(texts, data.Y[:60])
    assert_begins_at(clf, start)
    words = start.encoder_.vectorizer_.vocabulary_
    assert clf.encoder_.vectorizer_.vocabulary_ == words
    trained = make_clf(start).fit(texts, data.Y[:60])
    with pytest.raises(AssertionError):
        assert_begins_at(trained, start)
    assert_unchanged(start, before)


@pytest.mark.parametrize("kind", ["transformer", "frozen", "joined", "LoRA"])
def test_encoders_of_every_kind_go_on_from_the_start(data, kind, tiny_bert):
    frozen = TransformerEncoder(tiny_bert, max_length=16, trainable=False, projection_dim=6)
    if kind == "LoRA":
        pytest.importorskip("peft")
    encoder = {
        "transformer": TransformerEncoder(tiny_bert, max_length=16),
        "frozen": frozen,
        "joined": JoinedEncoder(frozen, words=BAG),
        "LoRA": TransformerEncoder(tiny_bert, max_length=16, lora_rank=2),
    }[kind]
    start = make_start(data, encoder=encoder, epochs=1)
    before = state_of(start)
    clf = make_clf(start, **STILL).fit(data.texts, data.Y)
    assert_begins_at(clf, start)
    fresh = make_clf(None, encoder=encoder, **STILL).fit(data.texts, data.Y)
    with pytest.raises(AssertionError):
        assert_begins_at(fresh, start)
    assert_unchanged(start, before)


def test_a_folder_gives_the_very_model_of_the_estimator(data, dual, tmp_path):
    dual.save(tmp_path / "dual")
    from_estimator = make_clf(dual).fit(data.texts, data.Y)
    for folder in (tmp_path / "dual", str(tmp_path / "dual")):
        assert_equal_models(make_clf(folder).fit(data.texts, data.Y), from_estimator)


def test_what_begins_from_label_texts_learns_faster(data):
    """One epoch of few steps: what the encoder knows of the labels' words is most of it."""
    start = make_start(data, epochs=30)
    settings = {"label_texts": data.label_texts, "classifier_init": "label_texts", "epochs": 1}
    scores = [
        make_clf(init, encoder=BAG, **settings).fit(data.texts, data.Y).score(data.texts, data.Y)
        for init in (start, None)
    ]
    assert scores[0] > scores[1] + 0.1


def test_the_encoder_is_the_starts_or_left_alone(data, dual):
    make_clf(dual, encoder=BAG, **STILL).fit(data.texts, data.Y)
    message = "encoder=BagOfWordsEncoder(dim=8) differs from that of init_encoder, BagOfWordsEncod"
    with pytest.raises(ValueError, match=re.escape(message)):
        make_clf(dual, encoder=BagOfWordsEncoder(dim=8)).fit(data.texts, data.Y)


@pytest.mark.parametrize(
    ("start", "kind", "message"),
    [
        (DualEncoderXC(epochs=3), NotFittedError, "init_encoder=DualEncoderXC(epochs=3) is not fi"),
        (FrozenEstimator(DualEncoderXC()), NotFittedError, "is not fitted, and training begins"),
        (BAG, TypeError, "init_encoder=BagOfWordsEncoder(dim=16) is no estimator of skxc."),
        (3, TypeError, "init_encoder=3 is no estimator of skxc. Pass one that is fitted,"),
        ("no/such/folder", FileNotFoundError, "no/such/folder"),
        (
            "no/such",
            FileNotFoundError,
            "An encoder alone, in a folder or on a hub, is",
        ),
    ],
)
def test_what_cannot_be_begun_from_is_refused(data, start, kind, message):
    clf = make_clf(start)
    with pytest.raises(kind, match=re.escape(message)):
        clf.fit(data.texts, data.Y)
    assert not hasattr(clf, "classes_")


def test_a_folder_without_a_model_is_named(data, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=re.escape(str(tmp_path))):
        make_clf(tmp_path).fit(data.texts, data.Y)


def test_clones_and_searches_keep_the_start_fitted(data, dual):
    clf = make_clf(dual, **STILL)
    cloned = clone(clf)
    assert cloned.init_encoder is dual
    assert cloned.get_params(deep=False) == clf.get_params(deep=False)
    assert cloned.get_params()["init_encoder__batch_size"] == 16
    assert repr(cloned) == repr(clf)
    assert "DualEncoderXC" in repr(clf)
    assert "DualEncoderXC" in clf._repr_html_()
    search = GridSearchCV(clf, {"dropout": [0.0, 0.1]}, cv=KFold(2), error_score="raise")
    search.fit(data.texts, data.Y.toarray().argmax(1))
    assert_begins_at(search.best_estimator_, dual)
    found = cross_validate(clf, data.texts, data.Y, cv=2, return_estimator=True)
    for estimator in found["estimator"]:
        assert_begins_at(estimator, dual)
    # several starts: of each, the search itself makes a clone
    starts = [FrozenEstimator(dual), None]
    search = GridSearchCV(clf, {"init_encoder": starts}, cv=KFold(2), error_score="raise")
    search.fit(data.texts, data.Y.toarray().argmax(1))


def test_a_metadata_request_and_an_output_survive_the_clone(dual):
    clf = make_clf(dual).set_output(transform="pandas")
    assert clone(clf)._sklearn_output_config == {"transform": "pandas"}
    assert clone(clone(clf)).init_encoder is dual


def test_pickles_hold_the_start(data, dual):
    restored = pickle.loads(pickle.dumps(make_clf(dual)))
    assert_equal_models(restored.fit(data.texts, data.Y), make_clf(dual).fit(data.texts, data.Y))
    copied = copy.deepcopy(restored)
    assert copied.init_encoder is not restored.init_encoder


def test_a_saved_model_needs_no_start_and_goes_on(data, dual, tmp_path):
    clf = make_clf(dual, warm_start=True).fit(data.texts, data.Y)
    clf.save(tmp_path / "model")
    loaded = skxc.load(tmp_path / "model")
    assert loaded.init_encoder is None
    assert repr(loaded.encoder) == repr(dual.encoder_)
    assert clf.init_encoder is dual
    np.testing.assert_array_equal(
        loaded.predict_top_k(data.texts)[1], clf.predict_top_k(data.texts)[1]
    )
    for model in (loaded, clf):
        model.fit(data.texts, data.Y)
    assert_equal_models(loaded, clf)
    for model in (loaded, clf):
        model.partial_fit(data.texts[:50], data.Y[:50])
    assert_equal_models(loaded, clf)


def test_a_warm_start_and_a_stream_go_on_from_their_own(data, dual, tmp_path):
    dual.save(tmp_path / "dual")
    clf = make_clf(tmp_path / "dual", warm_start=True, epochs=20).fit(data.texts, data.Y)
    own = copy.deepcopy(clf)
    (tmp_path / "dual").rename(tmp_path / "gone")
    assert_begins_at(clf.set_params(**STILL).fit(data.texts, data.Y), own)
    stream = make_clf(dual, **STILL).partial_fit(data.texts, data.Y)
    assert_begins_at(stream, dual)
    stream.set_params(learning_rate=0.05).partial_fit(data.texts, data.Y)
    moved = copy.deepcopy(stream)
    with pytest.raises(AssertionError):
        assert_begins_at(moved, dual)
    assert_begins_at(stream.set_params(**STILL).partial_fit(data.texts, data.Y), moved)


def test_a_checkpoint_is_of_one_start(data, dual, tmp_path):
    settings = {"checkpoint_dir": tmp_path / "checkpoint", "keep_checkpoint": True}
    clf = make_clf(dual, **settings).fit(data.texts, data.Y)
    assert_equal_models(make_clf(dual, **settings).fit(data.texts, data.Y), clf)
    dual.save(tmp_path / "dual")  # the same start, elsewhere
    assert_equal_models(make_clf(tmp_path / "dual", **settings).fit(data.texts, data.Y), clf)
    for other in (make_start(data, epochs=1), None):
        with pytest.raises(ValueError, match="init_encoder"):
            make_clf(other, encoder=BAG, **settings).fit(data.texts, data.Y)


@pytest.mark.parametrize("checkpoint", [None, "checkpoint"])
def test_a_folder_is_read_once_a_fit(data, dual, tmp_path, monkeypatch, checkpoint):
    dual.save(tmp_path / "dual")
    read, folders = _init_encoder.read_encoder, []
    monkeypatch.setattr(
        _init_encoder, "read_encoder", lambda folder: folders.append(folder) or read(folder)
    )
    folder = checkpoint and tmp_path / checkpoint
    make_clf(tmp_path / "dual", checkpoint_dir=folder).fit(data.texts, data.Y)
    assert folders == [tmp_path / "dual"]


def test_starts_whose_words_differ_are_told_apart(data, tmp_path):
    """Untrained ones of as many words have the same weights."""
    settings = {"checkpoint_dir": tmp_path / "checkpoint", "keep_checkpoint": True}
    texts, others = ["red apple", "green pear"], ["red pear", "blue plum"]
    starts = [
        DualEncoderXC(BAG, label_texts=words, epochs=0, random_state=0).fit(words, ["x", "y"])
        for words in (texts, others)
    ]
    for name, weights in starts[0].encoder_.weights_.items():
        np.testing.assert_array_equal(starts[1].encoder_.weights_[name], weights)
    make_clf(starts[0], **settings).fit(texts, ["x", "y"])
    with pytest.raises(ValueError, match="init_encoder"):
        make_clf(starts[1], **settings).fit(texts, ["x", "y"])


def test_memory_is_the_starts_and_no_width_is_proposed(data, dual, monkeypatch):
    of_start, of_none = (
        make_clf(init, encoder=BAG, label_texts=data.label_texts).memory_estimate(
            data.texts, data.Y
        )
        for init in (dual, None)
    )
    assert of_start == of_none
    monkeypatch.setattr("skxc._training._memory.free_bytes", lambda device: 1000)
    with pytest.raises(ValueError, match="Training needs about") as raised:
        make_clf(dual).fit(data.texts, data.Y)
    assert "encoder=" not in str(raised.value)
    assert "batch_size" in str(raised.value)


def test_the_command_line_takes_the_folder_of_a_saved_model(data, tmp_path, capsys):
    start = DualEncoderXC(BAG, epochs=1, random_state=0)
    start.fit(["red round apple", "blue square box"] * 30, [["fruit"], ["thing"]] * 30)
    start.save(tmp_path / "dual")
    table = tmp_path / "table.tsv"
    rows = [f"red round apple {i}\tfruit\nblue square box {i}\tthing\n" for i in range(30)]
    table.write_text("text\tlabels\n" + "".join(rows))
    options = ["--text", "text", "--labels", "labels", "--epochs", "1", "--random_state", "0"]
    fit = ["fit", "renee", str(table), *options, "--out", str(tmp_path / "model")]
    assert main([*fit, "--init_encoder", str(tmp_path / "dual")]) == 0
    loaded = skxc.load(tmp_path / "model")
    assert repr(loaded.encoder_) == repr(BAG)
    assert loaded.init_encoder is None
    capsys.readouterr()
    assert main([*fit, "--overwrite", "--init_encoder", str(tmp_path / "none")]) != 0
    told = capsys.readouterr().err
    assert str(tmp_path / "none") in told
    assert "Traceback" not in told
