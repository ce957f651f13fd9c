"""What a sentence-transformers folder says beside the weights: dense layers and prompts."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from safetensors.numpy import save_file
from torch import nn

import skxc
from skxc.encoders import TransformerEncoder
from skxc.encoders._pooled import pool

TEXTS = ["red guitar", "a blue piano", "steel knife", "large keyboard"] * 5
NAMES = ["guitar", "piano", "knife", "keyboard"]
Y = sp.csr_matrix(np.eye(4, dtype=np.float32)[np.arange(20) % 4])
POOLING = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}


@pytest.fixture
def folder(tiny_bert: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bert, tmp_path / "published"))


def write_modules(folder: Path, *modules: tuple[str, dict]) -> None:
    """Modules after the transformer, with their settings."""
    first = "sentence_transformers.models.Transformer"
    listed = [{"idx": 0, "name": "0", "path": "", "type": first}]
    for i, (kind, settings) in enumerate(modules, 1):
        path = folder / f"{i}_{kind}"
        path.mkdir()
        (path / "config.json").write_text(json.dumps(settings))
        kind = f"sentence_transformers.models.{kind}"
        listed.append({"idx": i, "name": str(i), "path": path.name, "type": kind})
    (folder / "modules.json").write_text(json.dumps(listed))


def dense(n_in: int, n_out: int, activation: str, *, bias: bool = True) -> dict:
    return {
        "in_features": n_in,
        "out_features": n_out,
        "bias": bias,
        "activation_function": f"torch.nn.modules.activation.{activation}",
    }


def fitted(model: object, **parameters: object) -> TransformerEncoder:
    return TransformerEncoder(str(model), max_length=16, **parameters).fit(TEXTS, seed=0)


def embed(encoder: TransformerEncoder) -> np.ndarray:
    with torch.no_grad():
        return encoder.build_module().eval()(encoder.tokenize(TEXTS)).double().numpy()


# --- pooling --------------------------------------------------------------------------------


def test_weighted_mean_goes_by_places() -> None:
    states = torch.randn(3, 5, 4, dtype=torch.float64)
    mask = torch.arange(5) < torch.tensor([[5], [3], [1]])
    expected = [
        (states[i, :n] * torch.arange(1, n + 1)[:, None]).sum(0) / (n * (n + 1) / 2)
        for i, n in enumerate((5, 3, 1))
    ]
    torch.testing.assert_close(pool(states, mask, "weightedmean"), torch.stack(expected))
    states[1, 3:] = torch.nan  # what is no text has no say
    assert pool(states, mask, "weightedmean").isfinite().all()


# --- dense layers ---------------------------------------------------------------------------


@pytest.mark.parametrize("is_pickled", [False, True], ids=["safetensors", "bin"])
def test_dense_layers_follow_the_pooling(folder: Path, is_pickled: bool, tmp_path: Path) -> None:
    write_modules(
        folder,
        ("Pooling", POOLING),
        ("Dense", dense(32, 6, "Tanh")),
        ("Dense", dense(6, 9, "Identity", bias=False)),
        ("Normalize", {}),
    )
    rng, layers = np.random.default_rng(0), []
    for i, (n_in, n_out, has_bias) in enumerate(((32, 6, True), (6, 9, False)), 2):
        arrays = {"linear.weight": rng.normal(size=(n_out, n_in)).astype(np.float32)}
        if has_bias:
            arrays["linear.bias"] = rng.normal(size=n_out).astype(np.float32)
        layers.append(arrays)
        path = folder / f"{i}_Dense"
        if is_pickled:
            state = {name: torch.from_numpy(array) for name, array in arrays.items()}
            torch.save(state, path / "pytorch_model.bin")
        else:
            save_file(arrays, path / "model.safetensors")
    encoder = fitted(folder)
    pooled = embed(fitted(folder, pooling="mean"))
    hidden = np.tanh(pooled @ layers[0]["linear.weight"].T + layers[0]["linear.bias"])
    expected = hidden @ layers[1]["linear.weight"].T
    np.testing.assert_allclose(embed(encoder), expected, rtol=1e-4, atol=1e-5)
    assert (encoder.dense_, encoder._embedding_dim) == (["Tanh", "Identity"], 9)
    assert fitted(folder, pooling="mean").dense_ == []  # without what follows

    for parameters in ({"projection_dim": 5}, {"trainable": False}, {}):
        made = TransformerEncoder(str(folder), max_length=16, **parameters)
        clf = skxc.DualEncoderXC(made, label_texts=NAMES, epochs=1, random_state=0).fit(TEXTS, Y)
        clf.save(tmp_path / "model")
        again = skxc.load(tmp_path / "model")
        np.testing.assert_array_equal(again.predict_top_k(TEXTS)[1], clf.predict_top_k(TEXTS)[1])
        if "trainable" not in parameters:
            other = fitted(tmp_path / "model" / "encoder", prompt="", label_prompt="")
            last = ["Identity"] * bool(parameters)  # our own layer is one more of theirs
            assert other.dense_ == ["Tanh", "Identity", *last]
    changed = clf.encoder_.weights_["dense.0.weight"] != layers[0]["linear.weight"]
    assert changed.any()  # all are trained


@pytest.mark.parametrize(
    ("modules", "told"),
    [
        ([("Pooling", POOLING), ("LayerNorm", {})], "name the module 'LayerNorm' (modules.json)"),
        (
            [("Dense", dense(32, 4, "Tanh")), ("Pooling", POOLING)],
            "a Dense layer after Transformer",
        ),
        (
            [("Pooling", POOLING), ("Normalize", {}), ("Dense", dense(32, 4, "Tanh"))],
            "a Dense layer after Transformer, Pooling, Normalize",
        ),
        (
            [("Pooling", POOLING), ("Dense", dense(32, 4, "Softplus"))],
            "a Dense layer with the activation 'Softplus'",
        ),
        (
            [("Pooling", POOLING), ("Dense", dense(32, 4, "Tanh") | {"module_input_name": "x"})],
            "a Dense layer with module_input_name='x'",
        ),
        ([("Pooling", POOLING), ("Dense", dense(32, 4, "Tanh"))], "a Dense layer without weights"),
    ],
)
def test_what_is_not_plain_is_refused(folder: Path, modules: list, told: str) -> None:
    write_modules(folder, *modules)
    with pytest.raises(ValueError, match=re.escape(told)) as caught:
        fitted(folder)
    assert "Pass pooling='mean', 'cls' or 'last' to use the transformer without" in str(
        caught.value
    )
    fitted(folder, pooling="mean")


def test_weights_that_do_not_fit_are_named(folder: Path) -> None:
    write_modules(folder, ("Pooling", POOLING), ("Dense", dense(32, 4, "Tanh")))
    path = folder / "2_Dense" / "model.safetensors"
    for content, told in (
        (b"none", "whose weights cannot be read"),
        ({"linear.weight": np.ones(4, np.float32)}, "of other weights"),
        ({"linear.weight": np.ones((4, 9), np.float32), "more": np.ones(1)}, "of other weights"),
    ):
        path.write_bytes(content) if isinstance(content, bytes) else save_file(content, path)
        with pytest.raises(ValueError, match=told):
            fitted(folder)
    save_file({"linear.weight": np.ones((4, 9), np.float32)}, path)
    with pytest.raises(ValueError, match=r"dense.0.weight is an array of float32, \(4, 9\), and"):
        fitted(folder)


# --- prompts --------------------------------------------------------------------------------


def write_prompts(folder: Path, prompts: object, default: str | None = None) -> None:
    settings = {"prompts": prompts, "default_prompt_name": default}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))


def test_prompts_stand_before_texts_and_labels(tiny_bert: str) -> None:
    plain, encoder = fitted(tiny_bert), fitted(tiny_bert, prompt="a red ", label_prompt="the ")
    for cut, prompt in ((encoder.tokenize, "a red "), (encoder.tokenize_labels, "the ")):
        expected = plain.tokenize([prompt + text for text in TEXTS])
        np.testing.assert_array_equal(cut(TEXTS).ids, expected.ids)
    np.testing.assert_array_equal(
        fitted(tiny_bert).tokenize_labels(TEXTS).ids, plain.tokenize(TEXTS).ids
    )


@pytest.mark.parametrize(
    ("prompts", "default", "expected"),
    [
        ({"query": "a ", "passage": "the "}, None, "a "),
        ({"query": "a ", "document": ""}, None, "a "),
        ({"query": "a ", "other": "the "}, "other", "the "),
        ({"other": "the "}, None, ""),
        ({}, None, ""),
        (None, None, ""),
    ],
)
def test_auto_reads_them(folder: Path, prompts: object, default: object, expected: str) -> None:
    write_prompts(folder, prompts, default)
    encoder = fitted(folder)
    assert (encoder.prompt_, encoder.label_prompt_) == (expected, expected)
    encoder = fitted(folder, label_prompt="of ")
    assert (encoder.prompt_, encoder.label_prompt_) == (expected, "of ")
    encoder = fitted(folder, prompt="", label_prompt="")
    assert (encoder.prompt_, encoder.label_prompt_) == ("", "")


def test_they_are_saved_and_used_in_prediction(folder: Path, tmp_path: Path) -> None:
    write_prompts(folder, {"query": "a red "})
    encoder = TransformerEncoder(str(folder), max_length=16, label_prompt="the ")
    clf = skxc.DualEncoderXC(encoder, label_texts=NAMES, epochs=0).fit(TEXTS, None)
    plain = TransformerEncoder(str(folder), max_length=16, prompt="", label_prompt="")
    names = [f"the {name}" for name in NAMES]
    other = skxc.DualEncoderXC(plain, label_texts=names, epochs=0)
    other.fit([f"a red {text}" for text in TEXTS], None)
    expected = other.predict_top_k([f"a red {text}" for text in TEXTS])
    clf.save(tmp_path / "model")
    joblib.dump(clf, tmp_path / "model.joblib")
    for again in (clf, skxc.load(tmp_path / "model"), joblib.load(tmp_path / "model.joblib")):
        labels, scores = again.predict_top_k(TEXTS)
        np.testing.assert_array_equal(labels, expected[0])
        np.testing.assert_allclose(scores, expected[1], rtol=1e-5)
        np.testing.assert_allclose(
            again.transform_labels(["novel"]), other.transform_labels(["the novel"]), rtol=1e-4
        )
    again.add_labels(["novel"])
    np.testing.assert_allclose(
        again.label_embeddings_[-1:], other.transform_labels(["the novel"]), rtol=1e-4
    )
    name = "config_sentence_transformers.json"
    saved = json.loads((tmp_path / "model" / "encoder" / name).read_text())
    assert saved["prompts"] == {"query": "a red ", "label": "the "}
    again = fitted(tmp_path / "model" / "encoder")
    assert (again.prompt_, again.label_prompt_) == ("a red ", "the ")


def test_a_pooling_without_the_prompt_is_refused_where_there_is_one(folder: Path) -> None:
    write_modules(folder, ("Pooling", POOLING | {"include_prompt": False}))
    fitted(folder)
    write_prompts(folder, {"query": "a "})
    with pytest.raises(ValueError, match=r"leave the prompt's tokens out of the pooling"):
        fitted(folder)
    fitted(folder, prompt="", label_prompt="")
    fitted(folder, pooling="mean")


def test_the_planned_width_is_that_of_the_last_dense_layer(folder: Path) -> None:
    write_modules(folder, ("Pooling", POOLING), ("Dense", dense(32, 4, "Tanh")))
    arrays = {"linear.weight": np.ones((4, 32), np.float32)}
    save_file(arrays, folder / "2_Dense" / "model.safetensors")
    assert TransformerEncoder(str(folder)).planned_dim() == 4
    assert TransformerEncoder(str(folder), pooling="mean").planned_dim() == 32


def test_a_pooling_that_is_no_name_is_named(folder: Path) -> None:
    write_modules(folder, ("Pooling", {"pooling_mode": 5}))
    with pytest.raises(ValueError, match="name the pooling '5'"):
        fitted(folder)


@pytest.mark.parametrize("prompts", [["a"], {"query": 3}, "a"])
def test_prompts_that_are_none_are_named(folder: Path, prompts: object) -> None:
    write_prompts(folder, prompts)
    with pytest.raises(ValueError, match=r"holds no prompts by their names\. Pass prompt and"):
        fitted(folder)
    fitted(folder, prompt="", label_prompt="a")


@pytest.mark.parametrize("name", ["prompt", "label_prompt"])
def test_a_prompt_leaves_room_for_a_text(tiny_bert: str, name: str) -> None:
    with pytest.raises(
        ValueError, match=f"max_length=4 leaves no room for a text behind {name}='a"
    ):
        TransformerEncoder(tiny_bert, max_length=4, **{name: "a red "}).fit([], seed=0)
    TransformerEncoder(tiny_bert, max_length=5, **{name: "a red "}).fit([], seed=0)


@pytest.mark.parametrize("name", ["prompt", "label_prompt"])
def test_parameters_that_are_no_prompts(tiny_bert: str, name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} must be a str, got None. Pass what is to stand"):
        fitted(tiny_bert, **{name: None})


# --- sentence-transformers itself -----------------------------------------------------------


def test_embeddings_are_those_of_sentence_transformers(folder: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    write_modules(folder, ("Pooling", POOLING), ("Dense", dense(32, 6, "Tanh")))
    layer = nn.Linear(32, 6)
    state = {f"linear.{k}": v.detach().numpy() for k, v in layer.state_dict().items()}
    save_file(state, folder / "2_Dense" / "model.safetensors")
    write_prompts(folder, {"query": "a "})
    expected = library.SentenceTransformer(str(folder)).encode(TEXTS, prompt_name="query")
    np.testing.assert_allclose(embed(fitted(folder)), expected, rtol=1e-4, atol=1e-5)
