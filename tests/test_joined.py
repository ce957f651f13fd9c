"""Words and a frozen transformer's vectors in one embedding, and how much each of them counts."""

from __future__ import annotations

import logging
from pathlib import Path

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import skxc
from skxc._functional._unit_rows import unit_rows
from skxc._methods._unidec import UniDECMethod
from skxc._methods._unidec_score import ScoreWeights
from skxc._methods._unidec_views import View
from skxc.encoders import BagOfWordsEncoder, JoinedEncoder, TokenStore, TransformerEncoder
from skxc.encoders._frozen import FrozenTransformer
from skxc.encoders._joined import VECTORS_LENGTH

TEXTS = ["red guitar", "a blue piano", "steel knife and fork", "large wireless keyboard"] * 15
TEXTS = [f"{text} {'abcdefghij'[i % 10]}" for i, text in enumerate(TEXTS)]
Y = sp.csr_matrix(np.eye(5, dtype=np.float32)[np.arange(60) % 4])
NAMES = ["guitar", "piano", "knife", "keyboard", "novel"]
ESTIMATORS = (skxc.ReneeClassifier, skxc.DualEncoderXC, skxc.UniDEC)


@pytest.fixture
def encoder(tiny_bert: str) -> JoinedEncoder:
    vectors = TransformerEncoder(tiny_bert, trainable=False, max_length=16)
    return JoinedEncoder(vectors, words=BagOfWordsEncoder(dim=6))


def make(estimator: type, encoder: object, **parameters: object) -> object:
    given = {"label_texts": NAMES, "epochs": 3, "batch_size": 16, "random_state": 0}
    return estimator(encoder, **given | parameters)


def test_an_embedding_is_both_side_by_side(encoder: JoinedEncoder) -> None:
    fitted = clone(encoder).fit(TEXTS, label_texts=NAMES, seed=3)
    words = BagOfWordsEncoder(dim=6).fit(TEXTS, label_texts=NAMES, seed=3)
    vectors = clone(encoder.vectors).fit(TEXTS, seed=3)
    module = fitted.build_module()
    assert module.views == (6, 32)
    assert (module.dim, fitted._embedding_dim, fitted.n_words) == (38, 38, words.n_words)
    with torch.no_grad():
        joined = module(fitted.tokenize(TEXTS))
        expected = words.build_module()(words.tokenize(TEXTS))
        torch.testing.assert_close(joined[:, :6], expected)
        expected = unit_rows(vectors.build_module()(vectors.tokenize(TEXTS))) * VECTORS_LENGTH
        torch.testing.assert_close(joined[:, 6:], expected)
    trained = [n for n, p in module.named_parameters() if p.requires_grad]
    assert trained == ["words.table", "vectors.projection.weight", "vectors.projection.bias"]


def test_tokens_of_both_go_through_all_that_stores_do(encoder: JoinedEncoder) -> None:
    tokens = clone(encoder).fit(TEXTS, seed=0).tokenize(TEXTS)
    assert tokens.others is not None
    np.testing.assert_array_equal(
        tokens.lengths, np.diff(tokens.offsets) + np.diff(tokens.others.offsets)
    )
    rows = np.array([4, 0, 4])
    part = TokenStore.concatenate([tokens.take(rows), tokens.take(rows[:1])])
    for name in ("ids", "offsets"):
        expected = getattr(tokens.others.take(np.array([4, 0, 4, 4])), name)
        np.testing.assert_array_equal(getattr(part.others, name), expected)
    assert tokens.nbytes > tokens.others.nbytes


def test_a_label_that_is_added_scores_as_one_that_no_text_had(encoder: JoinedEncoder) -> None:
    """Rows of labels are not weighed: those of texts are."""
    clf = make(skxc.UniDEC, encoder, rerank_weight=0.0).fit(TEXTS, Y)
    clf.vector_score_weight_, clf._ranker = 3.0, None
    clf.add_labels([NAMES[4]], [5])
    scores = clf.set_params(sparse_output=False).decision_function(TEXTS)
    np.testing.assert_allclose(scores[:, 5], scores[:, 4], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_it_trains_predicts_and_is_saved(
    estimator: type, encoder: JoinedEncoder, tmp_path: Path
) -> None:
    clf = make(estimator, encoder).fit(TEXTS, Y)
    assert clf.score(TEXTS, Y) == 1
    expected = clf.predict_top_k(TEXTS)
    clf.save(tmp_path / "model")
    joblib.dump(clf, tmp_path / "model.joblib")
    for mmap in (False, True):
        for again in (
            skxc.load(tmp_path / "model", mmap=mmap),
            joblib.load(tmp_path / "model.joblib"),
        ):
            labels, scores = again.predict_top_k(TEXTS)
            np.testing.assert_array_equal(labels, expected[0])
            np.testing.assert_allclose(scores, expected[1], rtol=1e-5, atol=1e-6)
    loaded = skxc.load(tmp_path / "model")
    assert repr(loaded.encoder) == repr(encoder)
    loaded.save(tmp_path / "again")
    loaded.partial_fit(TEXTS[:8], Y[:8])
    files = {p.relative_to(tmp_path / "model") for p in (tmp_path / "model").rglob("*")}
    assert files == {p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*")}


def test_the_vectors_weight_is_that_of_their_part_of_the_score(encoder: JoinedEncoder) -> None:
    clf = make(skxc.UniDEC, encoder, rerank_weight=0).fit(TEXTS, Y)
    assert clf.vector_score_weight_ == 1.5  # no texts to choose by
    scores = {}
    for weight in (1.0, 0.0, 2.5):
        clf.vector_score_weight_, clf._ranker = weight, None
        labels, found = clf.predict_top_k(TEXTS, 5)
        scores[weight] = np.take_along_axis(found, np.argsort(labels, 1), 1).astype(np.float64)
    expected = scores[0.0] + 2.5 * (scores[1.0] - scores[0.0])
    np.testing.assert_allclose(scores[2.5], expected, rtol=1e-4, atol=1e-5)
    assert np.abs(scores[1.0] - scores[0.0]).max() > 0.1


def test_each_part_has_losses_of_its_own(
    encoder: JoinedEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four losses a step, of cosines; the words' weights are with the bag's rows."""
    seen, loss = [], UniDECMethod._loss

    def watched(self: UniDECMethod, view: View, step: object, picked: object, *rest: object):
        seen.append((view, picked.positives, loss(self, view, step, picked, *rest)))
        return seen[-1][2]

    monkeypatch.setattr(UniDECMethod, "_loss", watched)
    clf = make(skxc.UniDEC, encoder, epochs=1, batch_size=60, dropout=0, both_directions=False)
    clf.fit(TEXTS, Y)
    assert [view.texts.shape[1] for view, _, _ in seen] == [6, 6, 32, 32]
    assert [view.words is not None for view, _, _ in seen] == [False, True, False, False]
    for view, positives, found in seen:
        texts, labels = view.texts.detach().double(), view.labels.detach().double()
        for rows in (texts, labels):
            torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)).double())
        assert view.words is None or not view.words.of_pool.any()  # they begin at 0
        scale = 0.6 if texts.shape[1] == 32 else 1.0
        scores = texts @ labels.T / (0.09 * scale)
        own = scores[positives.rows, positives.labels]  # one a text: a plain softmax
        expected = (scores.logsumexp(1)[positives.rows] - own).mean()
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    total = sum(0.5 * float(found) for _, _, found in seen)
    assert clf.history_[0]["loss"] == pytest.approx(total, rel=1e-5)


def test_parts_add_up_to_the_scores(
    encoder: JoinedEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, end = [], UniDECMethod.end

    def watched(self: UniDECMethod, setup: object) -> object:
        parts, weights = (
            self._score_parts(torch.device("cpu")),
            ScoreWeights(0.3, 0.5, 0.25, 1.7, 0.8),
        )
        embed = self._ranker_of(lambda: None, weights._replace(vectors=1.0)).embed
        (block,) = parts._blocks(embed, self.rows.take(np.arange(20)))
        self.weights = weights
        exact = self.ranker().scores(self.rows.tokens.take(np.arange(20)), None)
        seen.append((np.tensordot(parts._part_weights(weights), block, 1), exact))
        return end(self, setup)

    monkeypatch.setattr(UniDECMethod, "end", watched)
    make(skxc.UniDEC, encoder).fit(TEXTS, Y)
    np.testing.assert_allclose(*seen[0], rtol=1e-4, atol=1e-5)


def test_the_weight_is_chosen_on_held_out_texts(
    encoder: JoinedEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors that point at other labels only harm: they are given less weight."""
    rng = np.random.default_rng(0)
    names = [f"{a}{b}" for a in "abcde" for b in "wxyz"]
    labels = rng.integers(0, 20, 1200)
    texts = [f"{names[i]} {' '.join(rng.choice(list('fghij'), 3))}" for i in labels]
    fitted = TransformerEncoder(encoder.vectors.model, max_length=16).fit([], seed=0)
    tokens, pointed = fitted.tokenize([*texts, *names]), np.arange(20)
    pointed = np.concatenate([(labels + rng.integers(1, 20, 1200)) % 20, pointed])
    known = {tokens.take(np.array([i])).ids.tobytes(): pointed[i] for i in range(len(tokens))}

    def misled(self: object, tokens: TokenStore) -> np.ndarray:
        each = [tokens.take(np.array([i])).ids.tobytes() for i in range(len(tokens))]
        return np.eye(32, dtype=np.float32)[[known[key] for key in each]]

    monkeypatch.setattr(FrozenTransformer, "_computed", misled)
    targets = sp.csr_matrix(np.eye(20, dtype=np.float32)[labels])
    rates = ("learning_rate", "classifier_learning_rate", "lexical_learning_rate")
    given = {"label_texts": names, "epochs": 1, "dual_score_weight": 0.5}
    clf = make(skxc.UniDEC, encoder, **given, **dict.fromkeys(rates, 1e-12))  # it learns nothing
    assert clf.fit(texts, targets).vector_score_weight_ < 1
    assert clf.score(texts, targets) > 0.9


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_texts_of_one_length_and_texts_without_known_words(
    estimator: type, encoder: JoinedEncoder
) -> None:
    texts = ["red guitar", "blue piano", "steel knife", "large keyboard"] * 5
    clf = make(estimator, encoder).fit(texts, Y[:20])
    clf.partial_fit(texts[:1], Y[:1])
    assert clf.predict_top_k(["zzz", "", "red guitar"], 2)[0].shape == (3, 2)
    with pytest.warns(UserWarning, match="reads the same tokens in all of the 4 texts"):
        make(estimator, encoder, epochs=1).fit(
            ["red red", "red  red", "red red ", "red red"], Y[:4]
        )


def test_a_label_without_known_words_is_no_text_for_the_second_stage(
    encoder: JoinedEncoder,
) -> None:
    clf = make(skxc.UniDEC, encoder).fit(TEXTS, Y)
    clf.add_labels(["zzqq"])
    assert clf.reranker_["intercepts"][-1] == 0


def test_labels_are_added_by_both(encoder: JoinedEncoder) -> None:
    for estimator in ESTIMATORS[1:]:
        clf = make(estimator, encoder).fit(TEXTS, Y)
        expected = clf.transform_labels(["history of music"])
        clf.add_labels(["history of music"])
        np.testing.assert_array_equal(clf.label_embeddings_[-1:], expected)
        assert clf.predict_labels(["history of music"], 1) == [["history of music"]]


def test_a_grid_search_reaches_both(encoder: JoinedEncoder, tmp_path: Path) -> None:
    encoder.vectors.cache_dir = tmp_path
    grid = {"encoder__words__dim": [4, 6], "encoder__vectors__projection_dim": [8]}
    search = GridSearchCV(make(skxc.DualEncoderXC, encoder, epochs=1), grid, cv=2)
    search.fit(TEXTS, Y.toarray())
    assert search.best_estimator_.encoder_.build_module().views[1] == 8
    assert len(list(tmp_path.iterdir())) == 1


def test_strings_stand_for_the_default_encoders(tiny_bert: str) -> None:
    assert " ".join(repr(JoinedEncoder(tiny_bert)._encoders()).split()) == (
        f"(BagOfWordsEncoder(), TransformerEncoder(model={tiny_bert!r}, trainable=False))"
    )


def test_less_memory_is_asked_for_in_words(
    encoder: JoinedEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert encoder.planned_dim() == 38
    assert encoder.narrowed(36).words.dim == 4
    assert encoder.narrowed(3).words.dim == 1
    monkeypatch.setattr("skxc._training._memory.free_host_bytes", lambda: 1)
    with pytest.raises(ValueError, match="Training needs about"):
        make(skxc.UniDEC, encoder).fit(TEXTS, Y)


def test_a_log_tells_of_long_embedding(
    encoder: JoinedEncoder, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skxc._estimator._vectors._LOGGED", 1)
    with caplog.at_level(logging.INFO, "skxc"):
        make(skxc.UniDEC, encoder, epochs=1).fit(TEXTS, Y)
    assert "the encoder embeds 60 texts, once" in caplog.text
    assert "the encoder embeds 5 labels, once" in caplog.text


@pytest.mark.parametrize(
    ("parameters", "error", "told"),
    [
        ({}, TypeError, "vectors must be a model's name, a folder or a TransformerEncoder, got N"),
        ({"vectors": "x", "words": 3}, TypeError, "words must be 'bag' or a BagOfWordsEncoder"),
        ({"vectors": TransformerEncoder("x")}, ValueError, "Pass trainable=False to the Transf"),
        ({"vectors": TransformerEncoder("x", max_length=0, trainable=False)}, ValueError, "max_le"),
        ({"vectors": "x", "words": BagOfWordsEncoder(dim=0)}, ValueError, "dim"),
    ],
)
def test_parameters_that_are_not_accepted(
    parameters: dict, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        make(skxc.UniDEC, JoinedEncoder(**parameters)).fit(TEXTS, Y)
