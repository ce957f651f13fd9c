"""Labels ranked by an encoder that is only loaded."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

import skxc
from skxc.encoders import TransformerEncoder

TEXTS = ["red guitar", "a blue piano", "steel knife and fork", "large wireless keyboard"] * 5
NAMES = ["guitar", "piano", "knife", "keyboard", "novel"]
Y = sp.csr_matrix(np.eye(5, dtype=np.float32)[np.arange(20) % 4])


@pytest.fixture(params=[True, False], ids=["trainable", "frozen"])
def encoder(request: pytest.FixtureRequest, tiny_bert: str) -> TransformerEncoder:
    return TransformerEncoder(tiny_bert, trainable=request.param, max_length=16)


def make(encoder: object, **parameters: object) -> skxc.DualEncoderXC:
    given = {"label_texts": NAMES, "epochs": 0}
    return skxc.DualEncoderXC(encoder, **given | parameters)


def cosines(encoder: TransformerEncoder, texts: list[str]) -> np.ndarray:
    """Of texts and labels, by the encoder itself; of a frozen one less the mean of TEXTS."""
    fitted = TransformerEncoder(encoder.model, max_length=16).fit([], seed=0)
    module = fitted.build_module().eval()

    def embed(texts: list[str]) -> np.ndarray:
        vectors = module(fitted.tokenize(texts)).detach().double().numpy()
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    mean = 0 if encoder.trainable else embed(TEXTS).mean(0)
    rows, labels = embed(texts) - mean, embed(NAMES) - mean
    lengths = np.linalg.norm(rows, axis=1)[:, None] * np.linalg.norm(labels, axis=1)
    return rows @ labels.T / lengths


@pytest.mark.parametrize("y", [Y, None, sp.csr_matrix(Y.shape)], ids=["labels", "None", "empty"])
def test_labels_are_ranked_by_their_cosines(encoder: TransformerEncoder, y: object) -> None:
    clf = make(encoder, rerank_weight=0).fit(TEXTS, y)
    texts = [*TEXTS[:4], "a history of music"]
    labels, scores = clf.predict_top_k(texts, 5)
    expected = cosines(encoder, texts)
    np.testing.assert_allclose(
        scores, np.take_along_axis(expected, labels, 1), rtol=1e-4, atol=1e-5
    )
    assert (np.diff(scores) <= 0).all()
    assert (clf.n_iter_, clf.history_, clf.n_labels_) == (0, [], 5)
    assert clf.predict_labels(["piano"], 1) == [["piano"]]


def test_probabilities_are_calibrated_where_labels_are_known(tiny_bert: str) -> None:
    encoder = TransformerEncoder(tiny_bert, max_length=16)
    known, unknown = make(encoder, rerank_weight=0).fit(TEXTS, Y), make(encoder).fit(TEXTS, None)
    assert known._sigmoid != unknown._sigmoid
    assert unknown.rerank_weight_ == 0
    assert unknown.threshold_ == 0.5
    proba = known.predict_proba(TEXTS).toarray()
    assert abs(proba.sum(1).mean() - 1) < 0.2  # one label a text


def test_the_second_stage_learns_from_labelled_texts(tiny_bert: str) -> None:
    encoder = TransformerEncoder(tiny_bert, max_length=16)
    names = ["novel", "the", "music", "history", "and"]  # which say nothing of the labels
    texts, labels = TEXTS * 60, sp.vstack([Y] * 60).tocsr()
    given = {"label_texts": names}
    plain = make(encoder, rerank_weight=0, **given).fit(texts, labels).score(texts, labels)
    clf = make(encoder, **given).fit(texts, labels)
    assert clf.rerank_weight_ > 0
    assert clf.score(texts, labels) > plain + 0.2


def test_it_goes_on_to_training_and_labels_are_added(tiny_bert: str) -> None:
    clf = make(TransformerEncoder(tiny_bert, max_length=16)).fit(TEXTS, None)
    clf.add_labels(["history of music"])
    assert clf.predict_labels(["history of music"], 1) == [["history of music"]]
    with_new = sp.hstack([Y, sp.csr_matrix((20, 1), dtype=np.float32)], format="csr")
    clf.set_params(epochs=1, warm_start=True).fit(TEXTS, with_new)
    assert clf.n_iter_ == 1


def test_a_partial_fit_trains_nothing_either(tiny_bert: str) -> None:
    clf = make(TransformerEncoder(tiny_bert, max_length=16)).partial_fit(TEXTS, Y)
    expected = make(TransformerEncoder(tiny_bert, max_length=16)).fit(TEXTS, Y)
    assert clf.n_iter_ == 0
    np.testing.assert_array_equal(clf.label_embeddings_, expected.label_embeddings_)


def test_where_y_is_needed(tiny_bert: str) -> None:
    encoder = TransformerEncoder(tiny_bert, max_length=16)
    message = "requires y to be passed, but the target y is None"
    for clf in (
        make(encoder, epochs=1),
        make(encoder, label_texts="auto"),
        make(encoder, label_texts=dict.fromkeys(NAMES, "a")),
        skxc.UniDEC(encoder, label_texts=NAMES),
    ):
        with pytest.raises(ValueError, match=message):
            clf.fit(TEXTS, None)
    for estimator in (skxc.UniDEC, skxc.ReneeClassifier):
        with pytest.raises(ValueError, match="epochs=0"):
            estimator(encoder, label_texts=NAMES, epochs=0).fit(TEXTS, Y)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_bag_is_not_trained_either(early_stopping: bool) -> None:
    clf = make("bag", early_stopping=early_stopping, random_state=0).fit(TEXTS, Y)
    assert clf.predict_labels(["piano"], 1) == [["piano"]]
