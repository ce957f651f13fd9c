"""A transformer that is not trained: embedded once, cached, and what is trained after it."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import traceback
from collections import Counter
from pathlib import Path

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

import skxc
from skxc._data._token_files import TokenRows, mapped_array
from skxc.encoders import JoinedEncoder, TokenStore, TransformerEncoder
from skxc.encoders._frozen import LENGTH, FrozenTransformer

TEXTS = ["red guitar", "a blue piano", "steel knife and fork", "large wireless keyboard"] * 15
TEXTS = [f"{text} {'abcdefghij'[i % 10]}" for i, text in enumerate(TEXTS)]
Y = sp.csr_matrix(np.eye(4, dtype=np.float32)[np.arange(60) % 4])
NAMES = ["guitar", "piano", "knife", "keyboard"]
ESTIMATORS = (skxc.ReneeClassifier, skxc.DualEncoderXC, skxc.UniDEC)


def frozen(folder: str, **parameters: object) -> TransformerEncoder:
    return TransformerEncoder(folder, trainable=False, max_length=16, **parameters)


def make(estimator: type, encoder: object, **parameters: object) -> object:
    given = {"label_texts": NAMES, "epochs": 3, "batch_size": 16, "random_state": 0}
    return estimator(encoder, **given | parameters)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """How often each text went through the transformer, by its tokens."""
    seen, computed = Counter(), FrozenTransformer._computed

    def count(self: FrozenTransformer, tokens: TokenStore) -> np.ndarray:
        seen.update(tokens.take(np.array([i])).ids.tobytes() for i in range(len(tokens)))
        return computed(self, tokens)

    monkeypatch.setattr(FrozenTransformer, "_computed", count)
    return seen


# --- the module -----------------------------------------------------------------------------


def test_it_begins_as_the_transformer_scaled_to_one_length(tiny_bert: str) -> None:
    encoder = frozen(tiny_bert).fit(TEXTS, seed=0)
    trained = TransformerEncoder(tiny_bert, max_length=16).fit(TEXTS, seed=0)
    tokens = encoder.tokenize(TEXTS)
    with torch.no_grad():
        plain = trained.build_module().eval()(tokens).double()
        embedded = encoder.build_module().train()(tokens).double()  # no dropout within
    expected = LENGTH * plain / plain.norm(dim=1, keepdim=True)
    torch.testing.assert_close(embedded, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dim", [32, 5, 40])
def test_the_layer_begins_at_the_texts_mean_and_principal_axes(tiny_bert: str, dim: int) -> None:
    encoder = frozen(tiny_bert, projection_dim=dim).fit(TEXTS, seed=0)
    module, tokens = encoder.build_module(), encoder.tokenize(TEXTS)
    vectors = module.frozen_vectors(tokens)
    module.begin_at_(vectors)
    with torch.no_grad():
        embedded = module(tokens.with_vectors(vectors)).double().numpy()
    centred = LENGTH * (vectors.astype(np.float64) - vectors.mean(0, dtype=np.float64))
    np.testing.assert_allclose(embedded.mean(0), 0, atol=1e-5)
    if dim == 32:
        np.testing.assert_allclose(embedded, centred, atol=1e-5)
        return
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    kept = min(dim, 32)
    products, expected = embedded @ embedded.T, centred @ axes[:kept].T
    np.testing.assert_allclose(products, expected @ expected.T, atol=1e-3)
    variances = (embedded**2).sum(0)[:kept]
    np.testing.assert_allclose(variances, singular[:kept] ** 2, rtol=1e-3, atol=1e-3)


def test_vectors_stand_for_the_transformer(tiny_bert: str) -> None:
    encoder = frozen(tiny_bert).fit(TEXTS, seed=0)
    module, tokens = encoder.build_module(), encoder.tokenize(TEXTS)
    given = tokens.with_vectors(module.frozen_vectors(tokens))
    with torch.no_grad():
        torch.testing.assert_close(module(given), module(tokens))
    part = given.take(np.array([3, 1]))
    np.testing.assert_array_equal(part.vectors, given.vectors[[3, 1]])
    both = TokenStore.concatenate([part, given])
    np.testing.assert_array_equal(both.vectors[2:], given.vectors)
    np.testing.assert_array_equal(both.lengths, np.diff(both.offsets) + 1)


def test_only_the_layer_has_a_gradient(tiny_bert: str) -> None:
    module = frozen(tiny_bert).fit(TEXTS, seed=0).build_training_module()
    trained = {name for name, p in module.named_parameters() if p.requires_grad}
    assert trained == {"projection.weight", "projection.bias"}


# --- estimators -----------------------------------------------------------------------------


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_each_text_goes_through_the_transformer_once(
    estimator: type, joined: bool, tiny_bert: str, counted: Counter
) -> None:
    encoder = JoinedEncoder(frozen(tiny_bert)) if joined else frozen(tiny_bert)
    clf = make(estimator, encoder).fit(TEXTS, Y)
    tokens = (clf.encoder_.vectors_ if joined else clf.encoder_).tokenize([*TEXTS, *NAMES])
    every = Counter(tokens.take(np.array([i])).ids.tobytes() for i in range(len(tokens)))
    assert counted == every
    assert clf.history_[-1]["loss"] < clf.history_[0]["loss"]
    assert clf.score(TEXTS, Y) == 1


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_its_weights_stay_and_it_is_saved(estimator: type, tiny_bert: str, tmp_path: Path) -> None:
    encoder = frozen(tiny_bert, cache_dir=tmp_path / "cache")
    clf = make(estimator, encoder).fit(TEXTS, Y)
    start = frozen(tiny_bert).fit(TEXTS, seed=0).weights_
    for name, array in clf.encoder_.weights_.items():
        if name.startswith("transformer."):
            np.testing.assert_array_equal(array, start[name])
    expected = clf.predict_top_k(TEXTS)
    clf.save(tmp_path / "model")
    loaded = skxc.load(tmp_path / "model")
    assert loaded.encoder.cache_dir is None
    assert loaded.encoder_.cache_dir is None
    joblib.dump(clf, tmp_path / "model.joblib")
    for again in (loaded, joblib.load(tmp_path / "model.joblib")):
        labels, scores = again.predict_top_k(TEXTS)
        np.testing.assert_array_equal(labels, expected[0])
        np.testing.assert_allclose(scores, expected[1], rtol=1e-5, atol=1e-6)
    loaded.partial_fit(TEXTS[:8], Y[:8])
    assert loaded.n_samples_seen_ == len(TEXTS) + 8


def test_other_tools_open_the_saved_encoder(tiny_bert: str, tmp_path: Path) -> None:
    from transformers import AutoModel

    clf = make(skxc.DualEncoderXC, frozen(tiny_bert)).fit(TEXTS, Y)
    clf.save(tmp_path / "model")
    folder = tmp_path / "model" / "encoder"
    AutoModel.from_pretrained(folder)
    modules = [m["type"].split(".")[-1] for m in json.loads((folder / "modules.json").read_text())]
    assert modules == ["Transformer", "Pooling", "Normalize", "Dense", "Normalize"]
    with pytest.raises(ValueError, match="a Dense layer after Transformer, Pooling, Normalize"):
        TransformerEncoder(str(folder), max_length=16).fit([], seed=0)  # we have none there
    library = pytest.importorskip("sentence_transformers")
    found = library.SentenceTransformer(str(folder)).encode(TEXTS)
    np.testing.assert_allclose(found, clf.transform(TEXTS), rtol=1e-3, atol=1e-4)


def test_training_goes_on(tiny_bert: str) -> None:
    clf = make(skxc.UniDEC, frozen(tiny_bert), epochs=2, warm_start=True)
    clf.fit(TEXTS, Y)
    before = clf.encoder_.weights_["projection.weight"].copy()
    clf.fit(TEXTS, Y)
    assert clf.n_iter_ == 4
    assert (clf.encoder_.weights_["projection.weight"] != before).any()
    clf.add_labels(["novel"])
    assert clf.predict_top_k(["a novel"], 5)[0].shape == (1, 5)


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_texts_in_files_give_the_same_model(
    estimator: type, joined: bool, tiny_bert: str, tmp_path: Path
) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS))
    encoder = JoinedEncoder(frozen(tiny_bert)) if joined else frozen(tiny_bert)
    in_memory = make(estimator, encoder).fit(TEXTS, Y)
    in_files = make(estimator, encoder).fit(path, Y)
    np.testing.assert_array_equal(in_files.label_embeddings_, in_memory.label_embeddings_)
    for name, array in in_memory.encoder_.weights_.items():
        np.testing.assert_array_equal(in_files.encoder_.weights_[name], array)


def test_a_checkpoint_holds_what_is_trained(
    tiny_bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: object, *args: object) -> float:
        raise KeyboardInterrupt

    given = {"checkpoint_dir": tmp_path, "early_stopping": True, "epochs": 3}
    expected = make(skxc.UniDEC, frozen(tiny_bert), **given).fit(TEXTS, Y)
    broken = make(skxc.UniDEC, frozen(tiny_bert), **given, checkpoint_interval=1e-9)
    with monkeypatch.context() as patched:
        patched.setattr("skxc._search._ranker.Ranker.precision_at_1", stop)
        with pytest.raises(KeyboardInterrupt):
            broken.fit(TEXTS, Y)
    (checkpoint,) = tmp_path.glob("*.safetensors")
    assert b"transformer.encoder" not in checkpoint.read_bytes()
    broken.fit(TEXTS, Y)
    np.testing.assert_array_equal(broken.label_embeddings_, expected.label_embeddings_)


def test_lack_of_memory_is_told_before_anything_is_embedded(
    tiny_bert: str, counted: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skxc._training._memory.free_host_bytes", lambda: 1)
    with pytest.raises(ValueError, match="Training needs about"):
        make(skxc.UniDEC, frozen(tiny_bert)).fit(TEXTS, Y)
    assert not counted


def test_vectors_in_files_are_not_read_to_see_that_they_are_there(
    tiny_bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TokenRows, "vectors", property(lambda self: pytest.fail("read")))
    monkeypatch.setattr("skxc._estimator._setup._some_vectors", lambda tokens: np.ones((1, 32)))
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS))
    make(skxc.UniDEC, frozen(tiny_bert), epochs=1).fit(path, Y)


def test_vectors_need_room_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match="there is no room for"):
        mapped_array((3, 4), np.float32, tmp_path)


def test_an_estimate_of_memory_embeds_nothing_and_counts_the_vectors(
    tiny_bert: str, counted: Counter
) -> None:
    for encoder in (frozen(tiny_bert), JoinedEncoder(frozen(tiny_bert))):
        estimate = make(skxc.UniDEC, encoder).memory_estimate(TEXTS, Y)["cpu"]
        assert not counted
        assert estimate["data"] > 4 * 32 * 64


def test_memory_is_estimated_without_moments_of_the_frozen_weights(tiny_bert: str) -> None:
    estimates = [
        make(skxc.DualEncoderXC, encoder).memory_estimate(TEXTS, Y)["cpu"]
        for encoder in (TransformerEncoder(tiny_bert, max_length=16), frozen(tiny_bert))
    ]
    assert estimates[1]["optimizer"] < estimates[0]["optimizer"] / 5


# --- the cache ------------------------------------------------------------------------------


def test_other_fits_and_folds_find_the_vectors(
    tiny_bert: str, tmp_path: Path, counted: Counter
) -> None:
    encoder = frozen(tiny_bert, cache_dir=tmp_path)
    clf = make(skxc.DualEncoderXC, encoder).fit(TEXTS, Y)
    n_texts = sum(counted.values())
    assert n_texts == len({*TEXTS, *NAMES})  # equal ones once
    again = make(skxc.DualEncoderXC, clone(encoder)).fit(TEXTS, Y)
    np.testing.assert_array_equal(again.label_embeddings_, clf.label_embeddings_)
    cross_val_score(make(skxc.DualEncoderXC, encoder, epochs=1), TEXTS, Y.toarray(), cv=2)
    again.predict(TEXTS)
    assert sum(counted.values()) == n_texts
    again.predict(["a new text"])
    assert sum(counted.values()) == n_texts + 1
    assert len(list(tmp_path.glob("vectors-*.sqlite"))) == 1


def test_another_model_pooling_or_prompt_has_other_vectors(
    tiny_bert: str, tmp_path: Path, counted: Counter
) -> None:
    for parameters in ({}, {"pooling": "cls"}, {"prompt": "a "}, {"label_prompt": "a "}):
        clf = make(skxc.DualEncoderXC, frozen(tiny_bert, cache_dir=tmp_path, **parameters))
        plain = make(skxc.DualEncoderXC, frozen(tiny_bert, **parameters))
        expected = plain.fit(TEXTS, Y).label_embeddings_
        counted.clear()
        np.testing.assert_allclose(
            clf.fit(TEXTS, Y).label_embeddings_, expected, rtol=1e-3, atol=1e-4
        )
        n_new = {"prompt": len({*TEXTS}), "label_prompt": len(NAMES)}
        (name,) = parameters or ("",)
        assert sum(counted.values()) == n_new.get(name, len({*TEXTS, *NAMES}))
    assert len(list(tmp_path.glob("vectors-*.sqlite"))) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_processes_write_one_cache_at_once(tiny_bert: str, tmp_path: Path) -> None:
    texts = ["red guitar " + "abcdefghij"[i % 10] * (i // 10) for i in range(200)]

    def write(told: Path) -> None:
        encoder = TransformerEncoder(tiny_bert, trainable=False, max_length=32, cache_dir=tmp_path)
        module = encoder.fit([], seed=0).build_module()
        for start in range(0, 200, 20):
            module.frozen_vectors(encoder.tokenize(texts[start : start + 20]))
        told.write_text(str(float(module.frozen_vectors(encoder.tokenize(texts)).sum())))

    children = dict[int, Path]()
    for name in "ab":
        child = os.fork()
        if not child:
            try:
                write(tmp_path / name)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        children[child] = tmp_path / name
    for child in children:
        os.waitpid(child, 0)
    sums = [float(path.read_text()) for path in children.values()]
    np.testing.assert_allclose(*sums, rtol=1e-5)
    (path,) = tmp_path.glob("*.sqlite")
    with sqlite3.connect(path) as connection:
        (n_rows,) = connection.execute("SELECT COUNT(*) FROM vectors").fetchone()
    connection.close()
    assert n_rows == 191  # ten texts are one


def test_what_is_damaged_is_computed_again_and_a_read_only_cache_warns(
    tiny_bert: str, tmp_path: Path, counted: Counter
) -> None:
    encoder = frozen(tiny_bert, cache_dir=tmp_path)
    clf = make(skxc.DualEncoderXC, encoder, epochs=1).fit(TEXTS, Y)
    (path,) = tmp_path.glob("*.sqlite")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE vectors SET vector = substr(vector, 1, 7)")
    connection.close()
    counted.clear()
    again = make(skxc.DualEncoderXC, encoder, epochs=1).fit(TEXTS, Y)
    assert sum(counted.values()) == len({*TEXTS, *NAMES})
    np.testing.assert_array_equal(again.label_embeddings_, clf.label_embeddings_)
    with sqlite3.connect(path) as connection:  # what a read-only file gives
        connection.execute(
            "CREATE TRIGGER no BEFORE INSERT ON vectors BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    connection.close()
    with pytest.warns(UserWarning, match=r"cache_dir: 1 vectors were not kept in .* \(no\)"):
        assert again.predict_labels(["a new text"])
    assert again.predict_labels(TEXTS[:1])


@pytest.mark.parametrize("is_file", [True, False])
def test_a_folder_that_cannot_be_made_is_named(
    tiny_bert: str, tmp_path: Path, is_file: bool
) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" if is_file else tmp_path / "file" / "below"
    with pytest.raises(OSError, match=r"cache_dir: .* cannot be used"):
        make(skxc.DualEncoderXC, frozen(tiny_bert, cache_dir=folder)).fit(TEXTS, Y)


def test_a_cache_that_cannot_be_used_is_named(tiny_bert: str, tmp_path: Path) -> None:
    encoder = frozen(tiny_bert, cache_dir=tmp_path)
    make(skxc.DualEncoderXC, encoder).fit(TEXTS, Y)
    (path,) = tmp_path.glob("*.sqlite")
    path.write_bytes(b"no database" * 1000)
    clf = make(skxc.DualEncoderXC, encoder)
    with pytest.raises(OSError, match=r"cache_dir: .*sqlite cannot be used .* Delete it, or"):
        clf.fit(TEXTS, Y)
    path.unlink()
    with sqlite3.connect(path) as connection:  # of a size that no vector of this model has
        connection.execute("CREATE TABLE vectors (text BLOB PRIMARY KEY, vector BLOB)")
    connection.close()
    clf.fit(TEXTS, Y)


# --- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "error", "told"),
    [
        ({"trainable": None}, ValueError, "trainable=None"),
        ({"cache_dir": 3}, TypeError, "cache_dir must be the path of a folder or None, got 3"),
        ({"lora_rank": 2}, ValueError, "trainable=False and lora_rank=2: a frozen transformer"),
        (
            {"gradient_checkpointing": True},
            ValueError,
            "trainable=False and gradient_checkpointing=True",
        ),
    ],
)
def test_parameters_that_are_not_accepted(
    tiny_bert: str, parameters: dict, error: type[Exception], told: str
) -> None:
    encoder = TransformerEncoder(tiny_bert, **{"trainable": False} | parameters)
    with pytest.raises(error, match=told):
        make(skxc.DualEncoderXC, encoder).fit(TEXTS, Y)
