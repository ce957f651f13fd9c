"""The encoder protocol and the registry, by an encoder that skxc does not have."""

from __future__ import annotations

import json
import re
import zlib

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, clone

import skxc
from skxc._cli import main
from skxc.datasets import load_library_subjects
from skxc.encoders import (
    BagOfWordsEncoder,
    Encoder,
    EncoderModule,
    JoinedEncoder,
    TokenStore,
    TransformerEncoder,
    _registry,
)

TEXTS = ["red apples", "green pears", "a fast car", "cars and trucks", "a red car"] * 4
Y = [["fruit", "red"], ["fruit"], ["vehicle"], ["vehicle"], ["red", "vehicle"]] * 4
NAMES = ["fruit", "red", "vehicle"]


class HashingEncoder(Encoder, BaseEstimator):
    """Mean embeddings of hashed words.

    Parameters
    ----------
    dim : int, default=8
        Width.
    n_rows : int, default=100
        Rows of the table.
    """

    dim_parameter = "dim"

    def __init__(self, *, dim: int = 8, n_rows: int = 100) -> None:
        self.dim = dim
        self.n_rows = n_rows

    def fit(self, texts, *, label_texts=(), seed):
        shape = (self.n_rows, self.dim)
        self.weights_ = {"table": np.random.default_rng(seed).standard_normal(shape, np.float32)}
        return self

    def tokenize(self, texts):
        rows = [[zlib.crc32(w.encode()) % self.n_rows for w in text.split()] for text in texts]
        return TokenStore(np.uint16(np.concatenate([[], *rows])), np.cumsum([0, *map(len, rows)]))

    def build_module(self):
        return HashingModule(torch.tensor(self.weights_["table"]))

    def reading_bytes(self, n_tokens):
        return 0, 2 * n_tokens


class HashingModule(EncoderModule):
    def __init__(self, table):
        super().__init__()
        self.dim, self.table = table.shape[1], torch.nn.Parameter(table)

    def forward(self, tokens):
        ids, offsets = torch.tensor(tokens.ids.astype(int)), torch.tensor(tokens.offsets[:-1])
        return torch.nn.functional.embedding_bag(ids, self.table, offsets)

    def activation_bytes(self, lengths, n_texts, dim, dtype):
        return 4 * dim * n_texts


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setitem(_registry.ENCODERS, "hashing", HashingEncoder)


@pytest.mark.parametrize("name", ["ReneeClassifier", "DualEncoderXC"])
def test_an_encoder_of_the_users_own_trains_and_pickles(name, tmp_path):
    encoder = HashingEncoder(dim=6)
    clf = getattr(skxc, name)(encoder, label_texts=NAMES, epochs=2, random_state=0).fit(TEXTS, Y)
    assert not hasattr(encoder, "weights_")
    assert clf.encoder_.weights_["table"].shape == (100, 6)
    joblib.dump(clf, tmp_path / "model.joblib")
    again = joblib.load(tmp_path / "model.joblib")
    assert again.predict_labels(TEXTS) == clf.predict_labels(TEXTS)
    with pytest.raises(TypeError, match="makes only BagOfWordsEncoder, JoinedEncoder"):
        clf.save(tmp_path / "model")


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("name", ["ReneeClassifier", "DualEncoderXC"])
def test_a_registered_encoder_has_a_name_and_is_saved(name, tmp_path):
    clf = getattr(skxc, name)("hashing", label_texts=NAMES, epochs=2, random_state=0).fit(TEXTS, Y)
    assert isinstance(clf.encoder_, HashingEncoder)
    clf.save(tmp_path / "model")
    for mmap in (False, True):
        again = skxc.load(tmp_path / "model", mmap=mmap)
        assert (again.predict_proba(TEXTS) != clf.predict_proba(TEXTS)).nnz == 0


@pytest.mark.usefixtures("registered")
def test_the_command_line_takes_its_options_from_the_registry(tmp_path, capsys, monkeypatch):
    data = load_library_subjects()
    data.texts, data.Y = data.texts[:50], data.Y[:50]
    monkeypatch.setattr("skxc.datasets.load_library_subjects", lambda: data)
    out = str(tmp_path / "model")
    fit = ["fit", "renee", "library-subjects", "--out", out, "--epochs=1", "--verbose=0"]
    assert main([*fit, "--hashing.dim=4"]) == 2
    told = capsys.readouterr().err
    assert "--hashing.dim is no parameter of --encoder bag. Leave it out, or pass hashing" in told
    assert main([*fit, "--encoder=hashing", "--transformer.max-length=4"]) == 2
    told = capsys.readouterr().err
    assert "is no parameter of --encoder hashing. Leave it out, or pass a model as" in told
    assert main([*fit, "--encoder=hashing", "--hashing.dim=4"]) == 0
    assert repr(skxc.load(out).encoder) == "HashingEncoder(dim=4)"
    with pytest.raises(SystemExit):
        main(["fit", "renee", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert '"hashing": Mean embeddings of hashed words. Any other string: ' in told
    assert "parameters of HashingEncoder, with --encoder hashing: --hashing.dim DIM Width." in told


@pytest.mark.parametrize("missing", ["fit", "tokenize", "dim_parameter", "has_words", "read_files"])
def test_an_object_that_lacks_a_member_is_no_encoder(missing):
    members = {name: getattr(HashingEncoder, name) for name in _registry._MEMBERS}
    whole = type("Whole", (BaseEstimator,), members)()  # it need not derive from the protocol
    assert isinstance(_registry.resolve_encoder(whole), type(whole))
    del members[missing]
    with pytest.raises(TypeError, match=r"is not an encoder\. Pass 'bag', a Hugging Face model"):
        _registry.resolve_encoder(type("Part", (BaseEstimator,), members)())


def test_strings_stand_for_encoders():
    made = {name: _registry.resolve_encoder(name) for name in ("bag", "transformer", "some/model")}
    assert repr(made["bag"]) == "BagOfWordsEncoder()"
    assert made["transformer"].model == "transformer"  # only a model's identifier means this class
    assert repr(made["some/model"]) == "TransformerEncoder(model='some/model')"


def test_encoders_say_what_they_can_do(tiny_bert):
    names = ("is_padded", "is_pretrained", "is_frozen", "has_words", "dim_parameter")
    encoders = {
        "bag": BagOfWordsEncoder(),
        "joined": JoinedEncoder(tiny_bert),
        "trained": TransformerEncoder(tiny_bert),
        "frozen": TransformerEncoder(tiny_bert, trainable=False),
    }
    assert {name: [getattr(e, n) for n in names] for name, e in encoders.items()} == {
        "bag": [False, False, False, True, "dim"],
        "joined": [False, False, False, True, "words"],
        "trained": [True, True, False, False, "projection_dim"],
        "frozen": [False, True, True, False, "projection_dim"],
    }
    bag = BagOfWordsEncoder(min_df=1).fit(TEXTS, seed=0)
    assert bag.n_words == len(set(" ".join(TEXTS).split()))
    assert bag.tokenize(TEXTS).weights is not None
    transformer = TransformerEncoder(tiny_bert, max_length=9).fit([], seed=0)
    assert transformer.n_words == 0
    assert clone(transformer).n_words == 0


def test_loading_checks_an_encoders_parameters(tmp_path):
    clf = skxc.ReneeClassifier(BagOfWordsEncoder(dim=4), epochs=1).fit(TEXTS, Y)
    clf.encoder_.dim = 0
    clf.save(tmp_path / "model")
    assert json.loads((tmp_path / "model" / "config.json").read_text())["encoder"]["parameters"]
    with pytest.raises(ValueError, match=re.escape("dim=0 is too small")):
        skxc.load(tmp_path / "model")


@pytest.mark.parametrize("ngram_range", [(1, 1), (1, 2)])
def test_tokens_weigh_what_the_vectoriser_says(ngram_range):
    texts = ["red apple", "", "green apple, green pear, Green apple", "unknown words", "red Äpfel"]
    encoder = BagOfWordsEncoder(dim=4, min_df=1, ngram_range=ngram_range)
    encoder.fit([*texts[:3], "red äpfel"], seed=0)
    for part in (texts, *([text] for text in texts)):
        tokens, want = encoder.tokenize(part), encoder.vectorizer_.transform(part)
        np.testing.assert_array_equal(tokens.ids, want.indices)
        np.testing.assert_array_equal(tokens.offsets, want.indptr)
        np.testing.assert_array_equal(tokens.weights, want.data)
        assert tokens.weights.dtype == np.float32
