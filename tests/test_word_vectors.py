"""A bag whose embeddings begin at vectors that somebody else has trained."""

from __future__ import annotations

import json
from pathlib import Path

import joblib
import numpy as np
import pytest
from safetensors.numpy import save_file
from sklearn.base import clone

import skxc
from skxc.encoders import BagOfWordsEncoder, TransformerEncoder

TEXTS = ["red guitar", "The blue piano", "steel knife", "red keyboard"] * 5
Y = [["guitar"], ["piano"], ["knife"], ["keyboard"]] * 5
WORDS = ["blue", "guitar", "keyboard", "knife", "piano", "red", "steel", "the"]


def rows_of(init: object, dim: int = 8, **parameters: object) -> dict[str, np.ndarray]:
    encoder = BagOfWordsEncoder(dim=dim, init=init, **parameters).fit(TEXTS, seed=0)
    words = encoder.vectorizer_.get_feature_names_out().tolist()
    return dict(zip(words, encoder.weights_["table"].astype(np.float64), strict=True))


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(0).normal(2, 1, (len(WORDS), 6))  # with a mean


def centred(vectors: np.ndarray) -> np.ndarray:
    less = vectors - vectors.mean(0)
    return less / np.linalg.norm(less, axis=1, keepdims=True)


@pytest.mark.parametrize("dim", [6, 9])
def test_rows_are_the_vectors_less_their_mean_at_length_1(vectors: np.ndarray, dim: int) -> None:
    rows = rows_of(dict(zip(WORDS, vectors, strict=True)), dim)
    np.testing.assert_allclose([rows[w][:6] for w in WORDS], centred(vectors), atol=1e-6)
    assert all(not row[6:].any() for row in rows.values())
    pair = rows_of((WORDS, vectors.astype(np.float32)), dim)
    np.testing.assert_allclose([pair[w] for w in WORDS], [rows[w] for w in WORDS], atol=1e-6)


def test_wider_vectors_are_reduced_to_their_principal_axes(vectors: np.ndarray) -> None:
    rows = rows_of((WORDS, vectors), 3)
    less = vectors - vectors.mean(0)
    left, singular, _ = np.linalg.svd(less)
    best = left[:, :3] * singular[:3]
    best /= np.linalg.norm(best, axis=1, keepdims=True)
    found = np.array([rows[w] for w in WORDS])
    np.testing.assert_allclose(found @ found.T, best @ best.T, atol=1e-6)


def test_words_without_a_vector_begin_small(vectors: np.ndarray) -> None:
    known = [w for w in WORDS if w != "red"]
    rows = rows_of((known, vectors[:7]))
    random = rows_of(None)
    np.testing.assert_allclose(rows["red"], 0.1 * random["red"], rtol=1e-6)
    assert {round(float(np.linalg.norm(rows[w])), 5) for w in known} == {1.0}


def test_words_are_matched_in_lower_case_and_n_grams_by_their_words(vectors: np.ndarray) -> None:
    upper = dict(zip((w.title() for w in WORDS), vectors, strict=True))
    plain = rows_of((WORDS, vectors), ngram_range=(1, 2))
    rows = rows_of(upper, ngram_range=(1, 2))
    assert "the blue" in rows
    np.testing.assert_allclose([rows[w] for w in plain], [*plain.values()], atol=1e-6)
    place = {w: i for i, w in enumerate(WORDS)}
    every = np.array([vectors[[place[part] for part in w.split()]].mean(0) for w in plain])
    np.testing.assert_allclose([row[:6] for row in plain.values()], centred(every), atol=1e-6)


def test_a_vector_that_is_the_mean_leaves_a_row_to_be_trained() -> None:
    random = rows_of(None)
    for init in ({"red": np.ones(4)}, {"red": np.ones(4), "blue": np.ones(4)}):
        rows = rows_of(init)
        assert all(row.any() for row in rows.values())
    np.testing.assert_allclose(rows["red"], 0.1 * random["red"], rtol=1e-6)
    np.testing.assert_allclose(rows_of({"red": np.ones(4)})["red"][:4], 0.5)


# --- folders --------------------------------------------------------------------------------


def write_tokenizer(path: Path, pieces: list[str]) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(path))


@pytest.mark.parametrize("kind", ["model2vec", "quantized model2vec", "sentence-transformers"])
def test_static_embeddings_are_read(kind: str, vectors: np.ndarray, tmp_path: Path) -> None:
    pieces = ["[UNK]", "blue", "gui", "##tar", "key", "##board", "red", "the"]
    table = vectors.astype(np.float16)
    weights, mapping = np.ones(8, np.float32), np.arange(8)
    if kind == "sentence-transformers":
        (tmp_path / "0_StaticEmbedding").mkdir()
        (tmp_path / "modules.json").write_text(json.dumps([]))
        save_file({"embedding.weight": table}, tmp_path / "0_StaticEmbedding" / "model.safetensors")
        write_tokenizer(tmp_path / "0_StaticEmbedding" / "tokenizer.json", pieces)
    else:
        arrays = {"embeddings": table}
        if kind == "quantized model2vec":  # pieces share rows, and have weights
            weights = np.array([1, 2, 0.5, 3, 1, 1, 1, 1], np.float32)
            mapping = np.array([0, 1, 2, 2, 3, 4, 5, 6])
            arrays |= {"weights": weights, "mapping": mapping}
        save_file(arrays, tmp_path / "model.safetensors")
        write_tokenizer(tmp_path / "tokenizer.json", pieces)
    of_pieces = table.astype(np.float64)[mapping] * weights[:, None]
    means = {
        "blue": of_pieces[1],
        "guitar": of_pieces[[2, 3]].mean(0),
        "keyboard": of_pieces[[4, 5]].mean(0),
        "red": of_pieces[6],
        "the": of_pieces[7],
    }
    for folder in (str(tmp_path), tmp_path):
        rows = rows_of(folder)
        expected = centred(np.array([*means.values()]))
        np.testing.assert_allclose([rows[w][:6] for w in means], expected, atol=1e-3)
        assert all(0 < np.linalg.norm(rows[w]) < 0.5 for w in ("knife", "piano", "steel"))


def test_a_transformer_embeds_each_word_once(tiny_bert: str, tmp_path: Path) -> None:
    encoder = TransformerEncoder(tiny_bert, max_length=16, prompt="a ")
    rows = rows_of(encoder, 32)
    fitted = clone(encoder).fit([], seed=0)
    states = fitted.build_module().eval()(fitted.tokenize(WORDS)).detach().double().numpy()
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    np.testing.assert_allclose([rows[w] for w in WORDS], centred(states), atol=1e-5)
    cached = TransformerEncoder(tiny_bert, max_length=16, prompt="a ", cache_dir=tmp_path)
    np.testing.assert_allclose([rows_of(cached, 32)[w] for w in WORDS], centred(states), atol=1e-5)
    assert len(list(tmp_path.iterdir())) == 1


# --- estimators -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "dict", "pair", "transformer"])
def test_a_saved_model_needs_nothing_of_it(
    kind: str, vectors: np.ndarray, tiny_bert: str, tmp_path: Path
) -> None:
    save_file({"embeddings": vectors.astype(np.float32)}, tmp_path / "model.safetensors")
    write_tokenizer(tmp_path / "tokenizer.json", ["[UNK]", *WORDS[1:]])
    init = {
        "folder": str(tmp_path),
        "dict": dict(zip(WORDS, vectors, strict=True)),
        "pair": (WORDS, vectors),
        "transformer": TransformerEncoder(tiny_bert, max_length=16),
    }[kind]
    encoder = BagOfWordsEncoder(dim=4, init=init)
    clf = skxc.UniDEC(encoder, label_texts="auto", epochs=2, random_state=0).fit(TEXTS, Y)
    assert clf.encoder_.init == (init if kind == "folder" else None)
    clf.save(tmp_path / "model")
    joblib.dump(clf, tmp_path / "model.joblib")
    loaded = skxc.load(tmp_path / "model")
    assert loaded.encoder.init == (init if kind == "folder" else None)
    for again in (loaded, joblib.load(tmp_path / "model.joblib")):
        np.testing.assert_array_equal(again.predict_top_k(TEXTS)[1], clf.predict_top_k(TEXTS)[1])
    again = clone(clf).fit(TEXTS, Y)
    np.testing.assert_array_equal(again.label_embeddings_, clf.label_embeddings_)
    clf.set_params(warm_start=True).fit(TEXTS, Y)
    loaded.partial_fit(TEXTS, Y)


# --- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("init", "error", "told"),
    [
        (3, TypeError, "init must be a folder of static embeddings, a dict .* got 3"),
        (("a", "b", "c"), TypeError, "init must be a folder"),
        ({}, ValueError, "init holds 0 words and 0 vectors"),
        ((["a"], np.ones((2, 3))), ValueError, "init holds 1 words and 2 vectors"),
        ((["a"], np.ones((1, 3), int)), ValueError, "has vectors that are not all floats"),
        ({"red": 1.0}, ValueError, "has vectors that are not all floats"),
        ({"red": "abc"}, ValueError, "has vectors that are not all floats"),
        ((None, np.ones((2, 3))), ValueError, "init holds"),
        ({3: np.ones(3)}, TypeError, "has words that are no str"),
        (
            {"zebra": np.ones(3)},
            ValueError,
            "has a vector for none of the 8 words, such as 'piano'",
        ),
        ({"red": np.full(3, np.nan)}, ValueError, "has vectors of numbers that are not finite"),
        (
            {"red": np.ones(3), "blue": np.ones(2)},
            ValueError,
            "has vectors that are not all floats",
        ),
        ("no/such folder", OSError, "init='no/such folder' is neither a local"),
        (TransformerEncoder("x", max_length=0), ValueError, "max_length"),
    ],
    ids=str,
)
def test_what_is_not_accepted(init: object, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        rows_of(init)


@pytest.mark.parametrize(
    "more",
    [
        {"mapping": np.array([0, 9])},
        {"mapping": np.array([0, -1])},
        {"mapping": np.array([0.0, 1.0])},
        {"weights": np.ones(1)},
        {"weights": np.ones((2, 2))},
    ],
    ids=str,
)
def test_entries_that_belong_to_no_table_are_refused(more: dict, tmp_path: Path) -> None:
    save_file({"embeddings": np.ones((2, 3))} | more, tmp_path / "model.safetensors")
    write_tokenizer(tmp_path / "tokenizer.json", ["[UNK]", "red"])
    with pytest.raises(OSError, match="are not one entry a token for 2 vectors"):
        rows_of(str(tmp_path))


def test_a_checkpoint_of_other_vectors_is_another_fit(tmp_path: Path) -> None:
    words = [f"word{i}" for i in range(2000)] + WORDS
    rng = np.random.default_rng(0)
    first = rng.normal(size=(len(words), 4))
    second = first.copy()
    second[1000:-4] += rng.normal(size=second[1000:-4].shape)  # not where repr would show it

    def fit(array: np.ndarray) -> None:
        encoder = BagOfWordsEncoder(dim=4, init=(words, array))
        given = {"label_texts": "auto", "epochs": 1, "random_state": 0, "keep_checkpoint": True}
        skxc.UniDEC(encoder, checkpoint_dir=tmp_path, **given).fit(TEXTS, Y)

    fit(first)
    fit(first.copy())  # over at once
    with pytest.raises(ValueError, match="encoder"):
        fit(second)


def test_folders_without_a_table_are_named(tiny_bert: str, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"holds no static embeddings: model\.safetensors and"):
        rows_of(str(tmp_path))
    with pytest.raises(
        OSError, match=r"and no table embeddings or embedding.weight.*TransformerEncoder"
    ):
        rows_of(tiny_bert)
    (tmp_path / "model.safetensors").write_bytes(b"none")
    write_tokenizer(tmp_path / "tokenizer.json", ["[UNK]"])
    with pytest.raises(OSError, match="cannot be read"):
        rows_of(str(tmp_path))
