"""Why a text got its labels: the parts add up to the score, and words to what they add."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator

import skxc
from skxc._functional._top_k import UNSEEN_SCORE
from skxc.encoders import BagOfWordsEncoder, Encoder, JoinedEncoder, TransformerEncoder
from skxc.encoders._base import EncoderModule
from skxc.encoders._spans import overlaps, read_places, shown_words
from skxc.encoders._words import lowered, split_words, word_spans

TEXTS = ["red guitar", "a blue piano", "steel knife and fork", "large wireless keyboard"] * 15
TEXTS = [f"{text} {'abcdefghij'[i % 10]}, {text}" for i, text in enumerate(TEXTS)]
LABELS = [[["guitar"], ["piano", "blue"], ["knife"], ["keyboard"]][i % 4] for i in range(60)]
ASKED = ["A red piano, no guitar! Is it red?", "zzz", "", "knife"]
ESTIMATORS = (skxc.ReneeClassifier, skxc.DualEncoderXC, skxc.UniDEC)
MULTILINGUAL = [
    "Red apples, C++ and c#; İstanbul's ﬁx a\u0301b",
    "日本語のテスト text 日本",
    "ภาษาไทย ok",
    "so\u00adft hy\u200bphen",
    "",
    "+++ ?",
    "ΣΊΣΥΦΟΣ ½ x² Straße",
    "👩‍👩‍👧 family e\u0301\u0301 \u200d",
]


def make(estimator: type, encoder: Any = "bag", **parameters: Any) -> Any:
    given = {"epochs": 3, "batch_size": 16, "random_state": 0, "rerank_weight": 0.5}
    return estimator(encoder, **given | parameters).fit(TEXTS, LABELS)


@pytest.fixture(scope="module")
def encoders(tiny_bert: str) -> dict[str, Any]:
    frozen = TransformerEncoder(tiny_bert, trainable=False, max_length=16)
    return {
        "bag": BagOfWordsEncoder(dim=6),
        "bigrams": BagOfWordsEncoder(dim=6, ngram_range=(1, 2)),
        "pattern": BagOfWordsEncoder(dim=6, token_pattern=r"(\w)"),
        "transformer": TransformerEncoder(tiny_bert, max_length=16, prompt="red: "),
        "frozen": frozen,
        "joined": JoinedEncoder(frozen, words=BagOfWordsEncoder(dim=6)),
    }


def check_sums(clf: Any, texts: list[str], **asked: Any) -> Any:
    """All that `explain` says agrees with itself and with prediction."""
    found = clf.explain(texts, **asked)
    # one text at a time: in bfloat16, scores depend on the other texts
    alone = [clf.predict_top_k([text], clf.n_labels_) for text in texts]
    labels, scores = (np.concatenate(parts) for parts in zip(*alone, strict=True))
    proba = np.concatenate([clf.predict_top_k_proba([text], clf.n_labels_)[1] for text in texts])
    for i, explanation in enumerate(found):
        assert explanation.text == texts[i]
        for label in explanation.labels:
            [at] = np.flatnonzero(labels[i] == label.index)
            assert label.label == clf.label_names_[label.index]
            assert label.score == pytest.approx(scores[i, at], abs=1e-5)
            assert label.proba == pytest.approx(proba[i, at], abs=1e-5)
            assert sum(label.parts.values()) == pytest.approx(label.score, abs=1e-5)
            effects = sum(word.effect for word in label.words)
            assert effects + label.constant == pytest.approx(label.score, abs=1e-6)
            assert [texts[i][w.start : w.stop] for w in label.words] == [
                w.word for w in label.words
            ]
        order = [-label.score for label in explanation.labels]
        assert order == sorted(order)
    return found


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("name", ["bag", "bigrams", "pattern", "transformer", "frozen", "joined"])
@pytest.mark.parametrize("rerank_weight", [0.0, 0.7])
def test_parts_and_words_add_up_to_the_score(estimator, name, rerank_weight, encoders):
    clf = make(estimator, encoders[name], rerank_weight=rerank_weight)
    found = check_sums(clf, ASKED, k=3)
    is_summed = name in ("bag", "bigrams", "pattern")
    methods = {"exact"} if is_summed else {"occlusion", "mixed"}
    assert {explanation.method for explanation in found} <= methods
    check_sums(clf, ASKED, labels=["knife", "blue"])
    names = set(found[0].labels[0].parts)
    expected = {
        skxc.ReneeClassifier: {"classifier"},
        skxc.DualEncoderXC: {"label text"},
        skxc.UniDEC: {"label text", "classifier"},
    }[estimator]
    if rerank_weight:
        expected = expected | {"second stage"}
    if estimator is skxc.UniDEC and name not in ("transformer", "frozen"):
        expected = expected | {"word weights"}
    assert names == expected


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_an_exact_constant_is_that_of_no_word(estimator):
    """What is left for no word is the score of a text without one: the effects are whole."""
    clf = make(estimator, rerank_weight=0.7)
    of_empty = {label.label: label for label in clf.explain([""], k=5)[0].labels}
    for label in clf.explain(["a red guitar, a knife"], k=5)[0].labels:
        assert label.constant == pytest.approx(of_empty[label.label].score, abs=1e-5)
        assert label.words[0].word == "a"


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("name", ["bag", "joined", "transformer"])
def test_parts_without_the_second_stage_are_the_first_stages_score(estimator, name, encoders):
    """What the second stage adds is the rest, by definition: the others are checked alone."""
    clf = make(estimator, encoders[name], rerank_weight=0.7)
    with clf._predicting() as ranker:
        first = ranker.with_reranker(None).scores(clf.encoder_.tokenize(ASKED), None)
    for scores, explanation in zip(first, clf.explain(ASKED, k=4), strict=True):
        for label in explanation.labels:
            parts = sum(v for part, v in label.parts.items() if part != "second stage")
            assert parts == pytest.approx(scores[label.index], abs=1e-5)


def test_an_n_gram_gives_nothing_to_words_between_that_are_not_in_it():
    encoder = BagOfWordsEncoder(dim=6, ngram_range=(1, 2), token_pattern=r"(?u)\b\w\w+\b")
    clf = make(skxc.DualEncoderXC, encoder, rerank_weight=0.0)
    assert "red guitar" in clf.encoder_.vectorizer_.vocabulary_
    [explanation] = clf.explain(["red a b guitar"], labels=["guitar"])
    effects = {word.word: word.effect for word in explanation.labels[0].words}
    assert effects["a"] == effects["b"] == 0
    assert effects["red"] != 0


def test_effects_are_those_of_a_table_by_hand():
    clf = make(skxc.DualEncoderXC, BagOfWordsEncoder(dim=6), rerank_weight=0.0)
    text = "red guitar red piano"
    table, words = clf.encoder_.weights_["table"], clf.encoder_.vectorizer_.vocabulary_
    store = clf.encoder_.tokenize([text])
    addends = {int(i): w * table[i] for i, w in zip(store.ids, store.weights, strict=True)}
    length = np.linalg.norm(sum(addends.values()))
    [explanation] = clf.explain([text], labels=["piano"])
    row = clf.label_embeddings_[explanation.labels[0].index]
    expected = [addends[words[w]] @ row / length for w in text.split()]
    expected = [e / (2 if w == "red" else 1) for e, w in zip(expected, text.split(), strict=True)]
    effects = [word.effect for word in explanation.labels[0].words]
    np.testing.assert_allclose(effects, expected, atol=1e-6)


def test_an_occluded_word_has_the_difference_that_it_makes(encoders):
    clf = make(skxc.DualEncoderXC, encoders["transformer"], rerank_weight=0.0)
    clf.set_params(sparse_output=False)
    text = "red, black piano"
    [explanation] = clf.explain([text], labels=["piano"])
    label = explanation.labels[0]
    whole, *without = clf.decision_function(
        [text, ", black piano", "red black piano", "red,  piano", "red, black "]
    )[:, label.index]
    assert [word.word for word in label.words] == ["red", ",", "black", "piano"]
    np.testing.assert_allclose([w.effect for w in label.words], whole - without, atol=1e-5)
    assert explanation.method == "occlusion"


def test_a_joined_encoders_words_have_both_shares(encoders):
    """Exact shares of the bag's view; of the vectors' view, what is missing without a word."""
    clf = make(skxc.DualEncoderXC, encoders["joined"], rerank_weight=0.0)
    text = "red guitar"
    [explanation] = clf.explain([text], labels=["guitar"])
    label = explanation.labels[0]
    row, n = clf.label_embeddings_[label.index], 6
    whole, *without = clf.transform([text, " guitar", "red "])
    vectors = whole[n:] @ row[n:] - np.array([w[n:] @ row[n:] for w in without])
    words = np.array([word.effect for word in label.words]) - vectors
    assert words.sum() == pytest.approx(whole[:n] @ row[:n], abs=1e-5)
    assert explanation.method == "mixed"


def test_long_texts_leave_neighbours_out_together(encoders, monkeypatch):
    monkeypatch.setattr("skxc._estimator._explain._MOST_LEFT_OUT", 3)
    clf = make(skxc.DualEncoderXC, encoders["transformer"], rerank_weight=0.0)
    [explanation] = check_sums(clf, ["red guitar blue piano steel"], k=1)
    effects = [word.effect for word in explanation.labels[0].words]
    assert effects[0] == effects[1]
    assert effects[2] == effects[3]
    assert effects[3] != effects[4]


@dataclass(eq=False)
class Lengths(Encoder, BaseEstimator):
    """An encoder of somebody's own, which says nothing about where its tokens are."""

    dim_parameter: ClassVar[str] = "dim"
    dim: int = 3

    def fit(self, texts, *, label_texts=(), seed):
        rng = np.random.default_rng(seed)
        self.weights_ = {"table": rng.standard_normal((26, self.dim), dtype=np.float32)}
        return self

    def tokenize(self, texts):
        ids = [[ord(c) - 97 for c in text.lower() if "a" <= c <= "z"] for text in texts]
        flat = np.array([i for row in ids for i in row], np.uint16)
        return skxc.encoders.TokenStore(flat, np.cumsum([0, *map(len, ids)]))

    def build_module(self):
        return _LettersModule(torch.tensor(self.weights_["table"]))

    def reading_bytes(self, n_tokens):
        return 0, 0


class _LettersModule(EncoderModule):
    def __init__(self, table):
        super().__init__()
        self.dim, self.table = table.shape[1], torch.nn.Parameter(table)

    def forward(self, tokens):
        ids = torch.from_numpy(tokens.ids.astype(np.int64))
        offsets = torch.from_numpy(tokens.offsets)
        return torch.nn.functional.embedding_bag(
            ids, self.table, offsets, mode="sum", include_last_offset=True
        )

    def activation_bytes(self, lengths, n_texts, dim, dtype):
        return 0


@pytest.mark.parametrize("rerank_weight", [0.0, 0.7])
def test_an_encoder_without_places_is_explained_by_leaving_words_out(rerank_weight):
    clf = make(skxc.ReneeClassifier, Lengths(), rerank_weight=rerank_weight)
    [explanation] = check_sums(clf, ["red piano"], k=2)
    assert explanation.method == "occlusion"
    clf.set_params(sparse_output=False)
    index = explanation.labels[0].index
    scores = clf.decision_function(["red piano", " piano", "red "])[:, index]
    effects = [word.effect for word in explanation.labels[0].words]
    np.testing.assert_allclose(effects, scores[0] - scores[1:], atol=1e-5)


def test_an_unseen_label_without_known_words_has_no_words_effect():
    import scipy.sparse as sp

    Y = sp.csr_matrix(np.eye(3, dtype=np.float32)[np.arange(60) % 2])
    clf = skxc.ReneeClassifier(epochs=2, random_state=0).fit(TEXTS, Y)
    [explanation] = clf.explain(["red guitar"], labels=[2])
    label = explanation.labels[0]
    assert label.score == label.constant == UNSEEN_SCORE
    assert label.parts["never seen"] == UNSEEN_SCORE
    assert not any(word.effect for word in label.words)


def test_classes_have_the_probability_that_predict_proba_gives():
    y = ["guitar", "piano", "knife", "keyboard"] * 15
    clf = skxc.ReneeClassifier(epochs=3, random_state=0).fit(TEXTS, y)
    [explanation] = clf.explain(["red guitar"], k=2)
    proba = clf.predict_proba(["red guitar"])[0]
    assert [label.proba for label in explanation.labels] == pytest.approx(
        [proba[label.index] for label in explanation.labels]
    )
    assert explanation.labels[0].label == "guitar"


def test_the_most_similar_training_texts_are_named():
    clf = make(skxc.UniDEC)
    [explanation] = clf.explain(["blue piano"], training_texts=TEXTS, n_neighbours=2)
    assert [n.text for n in explanation.neighbours] == [
        TEXTS[n.row] for n in explanation.neighbours
    ]
    assert all("piano" in neighbour.text for neighbour in explanation.neighbours)
    similarities = [n.similarity for n in explanation.neighbours]
    assert similarities == sorted(similarities, reverse=True)
    [itself] = clf.explain([TEXTS[7]], training_texts=TEXTS)
    assert itself.neighbours[0].row == 7
    assert itself.neighbours[0].similarity == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"labels": "piano"}, "labels is 'piano'. Pass a list of labels' names, such as"),
        ({"labels": []}, "labels is []. Pass a list"),
        ({"labels": ["pianos"]}, "Did you mean 'piano'?"),
        ({"labels": np.array("piano")}, "labels is array('piano'"),
        ({"labels": [{"piano"}]}, "labels has {'piano'}, which is no label of this model"),
        ({"labels": [["piano"]]}, "labels has ['piano'], which is no label of this model"),
        ({"labels": [("piano", "blue")]}, "labels has ('piano', 'blue'), which is no label"),
        ({"labels": [1]}, "labels has 1, which is no label of this model"),
        ({"k": 0}, "k"),
        ({"training_texts": "a text"}, "a text"),
        ({"training_texts": []}, "training_texts"),
        ({"n_neighbours": 0}, "n_neighbours"),
    ],
)
def test_wrong_arguments_are_told(asked, problem):
    clf = make(skxc.ReneeClassifier)
    with pytest.raises((ValueError, TypeError)) as error:
        clf.explain(["red"], **asked)
    assert problem in str(error.value)


def test_all_labels_of_a_name_are_explained():
    import scipy.sparse as sp

    Y = sp.csr_matrix(np.eye(4, dtype=np.float32)[np.arange(60) % 4])
    names = ["guitar", "music", "music", "keyboard"]
    with pytest.warns(UserWarning, match="duplicates"):
        clf = skxc.DualEncoderXC(label_texts=names, epochs=2, random_state=0).fit(TEXTS, Y)
    [explanation] = clf.explain(["red"], labels=["music", "keyboard"])
    assert sorted(label.index for label in explanation.labels) == [1, 2, 3]


def test_a_hint_is_another_name_and_not_long_in_coming():
    clf = skxc.ReneeClassifier(epochs=1).fit(TEXTS, np.arange(60) % 4)
    with pytest.raises(ValueError, match=r"labels has '1'.*Did you mean 1\?"):
        clf.explain(["red"], labels=["1"])


def test_names_may_be_those_of_classes_too():
    import scipy.sparse as sp

    Y = sp.csr_matrix(np.eye(4, dtype=np.float32)[np.arange(60) % 4])
    names = ["guitar", "piano", "knife", "keyboard"]
    clf = skxc.UniDEC(label_texts=names, epochs=2, random_state=0).fit(TEXTS, Y)
    by_name, by_number = (clf.explain(["red"], labels=[name])[0] for name in ("piano", 1))
    assert by_name == by_number
    assert by_name.labels[0].label == "piano"


def test_a_label_that_is_named_twice_is_explained_once():
    clf = make(skxc.UniDEC)
    [once] = clf.explain(["red"], labels=["piano", "knife"])
    [twice] = clf.explain(["red"], labels=["piano", "knife", "piano"])
    assert once == twice


def test_dates_and_numbers_are_names():
    days = np.array(["2020-01-01", "2021-02-03"], "datetime64[D]")
    for y in (days, np.array([700, 800], np.uint64)):
        clf = skxc.ReneeClassifier(epochs=1, rerank_weight=0).fit(TEXTS, y[np.arange(60) % 2])
        for name in (y[1], y.tolist()[1]):
            [explanation] = clf.explain(["red"], labels=[name])
            assert [label.label for label in explanation.labels] == [y.tolist()[1]]
        with pytest.raises(ValueError, match="Did you mean"):
            clf.explain(["red"], labels=[f"{y.tolist()[1]}0"])


def test_names_are_found_without_a_dict_of_all_of_them():
    clf = make(skxc.UniDEC)
    expected = clf.explain(["red"], labels=["piano"])
    others = np.arange(200_000).astype(object)  # of which a dict takes 20 MB
    clf.label_names_ = np.concatenate([clf.label_names_, others])
    tracemalloc.start()
    found = clf.explain(["red"], labels=["piano"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert list(found) == list(expected)
    assert peak < 4e6


# -------------------------------------------------------------------------------------- displays
def test_html_escapes_and_colours_by_effect():
    labels = [["<b>up</b>"], ["down"]] * 30
    texts = ["<script>alert(1)</script> good", "bad & ugly"] * 30
    clf = skxc.ReneeClassifier(epochs=5, random_state=0).fit(texts, labels)
    found = clf.explain(["good <script> & bad"], k=2)
    for html in (found._repr_html_(), found[0]._repr_html_(), found.to_html(), found[0].to_html()):
        assert "<script>" not in html
        assert "<b>" not in html
        assert "&lt;b&gt;up&lt;/b&gt;" in html
        assert "rgba(33, 113, 181" in html  # up
        assert "rgba(217, 95, 2" in html  # down
        assert "http" not in html  # loads nothing
    assert found.to_html().startswith("<!DOCTYPE html>")


def test_printed_lines_have_the_largest_effects_first():
    clf = make(skxc.UniDEC)
    found = clf.explain(["a red\nguitar \x1b[31m", "piano"], k=1)
    assert repr(found) == "<Explanations of 2 texts; print() shows them>"
    lines = str(found)
    assert "\x1b" not in lines
    first = lines.splitlines()[4]
    assert first.split()[0] == "guitar"
    assert "█" in first
    assert len(found[:1]) == 1
    assert str(found[:1]) == str(found[0])


def test_a_dict_is_json_and_names_all():
    [explanation] = make(skxc.UniDEC).explain(["red guitar"], k=2, training_texts=TEXTS)
    read = json.loads(json.dumps(explanation.to_dict()))
    assert read["text"] == "red guitar"
    assert read["method"] == "exact"
    assert set(read["labels"][0]) == {
        *("label", "index", "score", "proba", "constant", "parts", "words")
    }
    assert set(read["labels"][0]["words"][0]) == {"word", "start", "stop", "effect"}
    assert set(read["neighbours"][0]) == {"row", "text", "similarity"}


# ----------------------------------------------------------------------------------------- places
@pytest.mark.parametrize("text", MULTILINGUAL)
def test_words_have_places_and_are_those_of_the_splitter(text):
    read = lowered(text)
    spans = word_spans(read)
    assert [word for word, *_ in spans] == split_words(read)
    places = read_places(text, read, lowered)
    assert len(places) == len(read) + 1
    assert places == sorted(places)
    encoder = BagOfWordsEncoder(dim=2, ngram_range=(1, 2)).fit([text, "x"], seed=0)
    found = encoder.token_spans(text)
    assert set(found.ids.tolist()) == set(encoder.tokenize([text]).ids.tolist())
    names = encoder.vectorizer_.get_feature_names_out()
    for token, start, stop in zip(*found, strict=True):
        word = names[token]
        if " " not in word:
            assert word in split_words(lowered(text[start:stop]))
    words = shown_words(text, found)
    assert all(any(c.isalnum() or c in "+_" for c in text[a:b]) for a, b in words)
    assert all(len(at) for at in overlaps(found, words))
    assert all(a <= b for (_, a), (b, _) in pairwise(words))


def test_a_prompt_and_special_tokens_are_no_part_of_the_text(encoders):
    encoder = encoders["transformer"].fit(["red"], seed=0)
    text = "blue   guitars"
    spans = encoder.token_spans(text)
    assert spans.ids.tolist() == encoder.tokenize([text]).ids.tolist()
    found = [text[a:b] for a, b in zip(spans.starts, spans.stops, strict=True)]
    assert [piece for piece in found if piece] == ["blue", "guitar", "s"]


@pytest.mark.parametrize(
    ("estimator", "parameters"),
    [
        (skxc.UniDEC, {"projection_dim": 5}),  # its label texts' space is no linear one
        (skxc.DualEncoderXC, {"normalize": False}),
        (skxc.ReneeClassifier, {"precision": "bfloat16"}),
        (skxc.UniDEC, {"dual_score_weight": 0.0}),
        (skxc.UniDEC, {"lexical_learning_rate": 0.0}),
    ],
)
@pytest.mark.parametrize("name", ["bag", "joined", "transformer"])
def test_parts_add_up_with_other_parameters_too(estimator, parameters, name, encoders):
    clf = make(estimator, encoders[name], **parameters)
    check_sums(clf, ASKED, k=3)


def test_added_labels_are_their_text_alone_and_a_loaded_model_explains_the_same(tmp_path):
    clf = make(skxc.UniDEC).add_labels(["red knife"])
    [explanation] = check_sums(clf, ["a red knife"], labels=["red knife"])
    parts = explanation.labels[0].parts
    assert parts["classifier"] == parts["word weights"] == 0
    assert parts["label text"] > 0
    clf.save(tmp_path / "model")
    assert list(skxc.load(tmp_path / "model").explain(ASKED)) == list(clf.explain(ASKED))
