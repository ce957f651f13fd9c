"""Decoders as embedders, adapters (LoRA), and gradients that are computed from blocks' inputs."""

from __future__ import annotations

import json
import warnings
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
import torch

import skxc
from skxc.encoders import TransformerEncoder
from skxc.encoders._base import trained_state

TEXTS = ["red guitar", "a blue piano", "steel knife and fork", "large keyboard"] * 8
NAMES = ["guitar", "piano", "knife", "keyboard"]
Y = sp.csr_matrix(np.eye(4, dtype=np.float32)[np.arange(32) % 4])
ESTIMATORS = (skxc.ReneeClassifier, skxc.DualEncoderXC, skxc.UniDEC)


@pytest.fixture(scope="session")
def tiny_qwen(tiny_bert: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A decoder with the files of Qwen3-Embedding: last token, left padding, an end token."""
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

    backend = Tokenizer.from_file(f"{tiny_bert}/tokenizer.json")
    backend.post_processor = processors.TemplateProcessing(
        single="$A [SEP]", special_tokens=[("[SEP]", backend.token_to_id("[SEP]"))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        padding_side="left",
        pad_token="[PAD]",
        unk_token="[UNK]",
        eos_token="[SEP]",
    )
    config = Qwen3Config(
        vocab_size=backend.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    folder: Path = tmp_path_factory.mktemp("tiny_qwen")
    with torch.random.fork_rng(devices=[]), redirect_stderr(StringIO()):
        torch.default_generator.manual_seed(0)
        Qwen3Model(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {
            "idx": 1,
            "name": "1",
            "path": "1_Pooling",
            "type": "sentence_transformers.models.Pooling",
        },
        {
            "idx": 2,
            "name": "2",
            "path": "2_Normalize",
            "type": "sentence_transformers.models.Normalize",
        },
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    pooling = {"pooling_mode_lasttoken": True, "include_prompt": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    prompts = {"query": "a red ", "document": ""}
    (folder / "config_sentence_transformers.json").write_text(
        json.dumps({"prompts": prompts, "default_prompt_name": None})
    )
    return str(folder)


def fitted(model: str, **parameters: object) -> TransformerEncoder:
    return TransformerEncoder(model, max_length=16, **parameters).fit([], seed=0)


def make(estimator: type, encoder: object, **parameters: object) -> object:
    given = {"label_texts": NAMES, "epochs": 2, "batch_size": 8, "random_state": 0}
    return estimator(encoder, **given | parameters)


# --- decoders -------------------------------------------------------------------------------


def test_a_decoder_embeds_as_with_left_padding(tiny_qwen: str) -> None:
    from transformers import AutoModel, AutoTokenizer

    encoder = fitted(tiny_qwen)
    assert (encoder.pooling_, encoder.prompt_) == ("last", "a red ")
    texts = ["guitar", "large wireless keyboard and history of music", ""]
    with torch.no_grad():
        found = encoder.build_module().eval()(encoder.tokenize(texts))
    tokenizer, model = (
        AutoTokenizer.from_pretrained(tiny_qwen),
        AutoModel.from_pretrained(tiny_qwen),
    )
    batch = tokenizer([f"a red {text}" for text in texts], padding=True, return_tensors="pt")
    assert (batch["attention_mask"][0] == 0)[0]  # padded on the left
    with torch.no_grad():
        states = model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).last_hidden_state
    torch.testing.assert_close(found, states[:, -1], rtol=1e-4, atol=1e-5)


def test_a_long_text_keeps_its_end_token(tiny_qwen: str) -> None:
    encoder = fitted(tiny_qwen)
    tokens = encoder.tokenize(["keyboard " * 50, "guitar"])
    ends = tokens.ids[tokens.offsets[1:] - 1]
    assert ends[0] == ends[1]
    assert tokens.lengths.tolist()[0] == 16


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_decoder_is_trained_and_saved(estimator: type, tiny_qwen: str, tmp_path: Path) -> None:
    encoder = TransformerEncoder(tiny_qwen, max_length=16)
    clf = make(estimator, encoder).fit(TEXTS, Y)
    clf.save(tmp_path / "model")
    again = skxc.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_top_k(TEXTS)[1], clf.predict_top_k(TEXTS)[1])


# --- gradient checkpointing -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["tiny_bert", "tiny_qwen"])
def test_gradient_checkpointing_gives_the_same_gradient(
    name: str, request: pytest.FixtureRequest
) -> None:
    folder, gradients = request.getfixturevalue(name), []
    for is_on in (False, True):
        encoder = fitted(folder, gradient_checkpointing=is_on)
        module = encoder.build_training_module()
        torch.manual_seed(0)  # the same dropout
        module(encoder.tokenize(TEXTS)).square().sum().backward()
        gradients.append({n: p.grad for n, p in module.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for key, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], gradient, rtol=1e-3, atol=1e-4)


def test_gradient_checkpointing_is_counted_and_gives_the_same_model(tiny_bert: str) -> None:
    lengths = np.full(8, 16)
    plain, saving = (
        fitted(tiny_bert, gradient_checkpointing=is_on).build_training_module()
        for is_on in (False, True)
    )
    args = lengths, 8, 32, torch.float32
    assert saving.activation_bytes(*args) < 0.7 * plain.activation_bytes(*args)
    models = [
        make(
            skxc.DualEncoderXC,
            TransformerEncoder(tiny_bert, max_length=16, gradient_checkpointing=is_on),
            encode_batch_size=batch,
        ).fit(TEXTS, Y)
        for is_on, batch in ((False, None), (True, None), (False, 5), (True, 5))
    ]
    for model, expected in zip(models[1::2], models[::2], strict=True):
        np.testing.assert_allclose(
            model.label_embeddings_, expected.label_embeddings_, rtol=1e-2, atol=1e-4
        )


# --- adapters -------------------------------------------------------------------------------


@pytest.fixture
def lora(tiny_qwen: str) -> TransformerEncoder:
    pytest.importorskip("peft")
    return TransformerEncoder(tiny_qwen, max_length=16, lora_rank=3, projection_dim=6)


def test_adapters_begin_at_nothing_and_alone_are_trained(
    lora: TransformerEncoder, tiny_qwen: str
) -> None:
    encoder = lora.fit([], seed=0)
    module = encoder.build_training_module()
    names = {name for name, p in module.named_parameters() if p.requires_grad}
    assert all(".lora_" in name or name == "projection.weight" for name in names)
    assert len(names) == 2 * 2 * 7 + 1  # of two layers, seven linear ones each
    assert {*trained_state(module)} == names
    tokens = encoder.tokenize(TEXTS)
    with torch.no_grad():
        expected = fitted(tiny_qwen, projection_dim=6).build_module().eval()(tokens)
        torch.testing.assert_close(module.eval()(tokens), expected)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_trained_model_is_saved_merged_and_apart(
    estimator: type, lora: TransformerEncoder, tiny_qwen: str, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModel

    clf = make(estimator, lora, learning_rate=1e-2).fit(TEXTS, Y)
    base = fitted(tiny_qwen).weights_
    for name, array in base.items():
        kept = clf.encoder_.weights_.get(name)
        if kept is None:
            layer, _, kind = name.rpartition(".")
            kept = clf.encoder_.weights_[f"{layer}.base_layer.{kind}"]
        np.testing.assert_array_equal(kept, array)
    expected = clf.predict_top_k(TEXTS)
    clf.save(tmp_path / "model")
    joblib.dump(clf, tmp_path / "model.joblib")
    loaded = skxc.load(tmp_path / "model")
    assert not any("lora" in name for name in loaded.encoder_.weights_)
    for again in (loaded, joblib.load(tmp_path / "model.joblib")):
        labels, scores = again.predict_top_k(TEXTS)
        np.testing.assert_array_equal(labels, expected[0])
        np.testing.assert_array_equal(scores, expected[1])
    loaded.save(tmp_path / "again")

    ids = torch.tensor([[5, 6, 7, 8]])
    for folder in ("model", "again"):
        encoder = tmp_path / folder / "encoder"
        merged = AutoModel.from_pretrained(encoder)
        with warnings.catch_warnings():  # of transformers, about peft
            warnings.simplefilter("ignore", FutureWarning)
            base = AutoModel.from_pretrained(tiny_qwen)
            apart = PeftModel.from_pretrained(base, encoder / "adapter")
        states = [m(input_ids=ids).last_hidden_state for m in (merged, apart)]
        torch.testing.assert_close(*states, rtol=1e-4, atol=1e-5)
        plain = AutoModel.from_pretrained(tiny_qwen)(input_ids=ids).last_hidden_state
        assert (states[0] - plain).abs().max() > 1e-3
    loaded.partial_fit(TEXTS, Y)  # new adapters beside the merged weights
    assert any("lora" in name for name in loaded.encoder_.weights_)
    loaded.save(tmp_path / "third")
    encoder = tmp_path / "third" / "encoder"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        base = AutoModel.from_pretrained(tiny_qwen)
        apart = PeftModel.from_pretrained(base, encoder / "adapter")
    states = [
        m(input_ids=ids).last_hidden_state for m in (AutoModel.from_pretrained(encoder), apart)
    ]
    torch.testing.assert_close(*states, rtol=1e-4, atol=1e-5)


def test_training_goes_on_with_the_same_adapters(lora: TransformerEncoder) -> None:
    clf = make(skxc.DualEncoderXC, lora, warm_start=True).fit(TEXTS, Y)
    before = {k: v.copy() for k, v in clf.encoder_.weights_.items() if "lora_B" in k}
    clf.fit(TEXTS, Y)
    moved = [np.abs(clf.encoder_.weights_[k] - v).max() for k, v in before.items()]
    assert 0 < max(moved) < 0.1


def test_a_checkpoint_holds_the_adapters_alone(
    lora: TransformerEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: object, *args: object) -> float:
        raise KeyboardInterrupt

    given = {"checkpoint_dir": tmp_path, "early_stopping": True, "epochs": 3}
    expected = make(skxc.UniDEC, lora, **given).fit(TEXTS, Y)
    broken = make(skxc.UniDEC, lora, **given, checkpoint_interval=1e-9)
    with monkeypatch.context() as patched:
        patched.setattr("skxc._search._ranker.Ranker.precision_at_1", stop)
        with pytest.raises(KeyboardInterrupt):
            broken.fit(TEXTS, Y)
    (checkpoint,) = tmp_path.glob("*.safetensors")
    content = checkpoint.read_bytes()
    assert b"lora_A" in content
    assert b"base_layer" not in content
    broken.fit(TEXTS, Y)
    np.testing.assert_array_equal(broken.label_embeddings_, expected.label_embeddings_)


def test_memory_has_no_moments_of_what_stays(lora: TransformerEncoder, tiny_qwen: str) -> None:
    plain, adapted = (
        make(skxc.DualEncoderXC, encoder).memory_estimate(TEXTS, Y)["cpu"]["optimizer"]
        for encoder in (TransformerEncoder(tiny_qwen, max_length=16), lora)
    )
    assert adapted < plain / 2


def test_without_peft_it_is_named(tiny_bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "peft", None)
    encoder = TransformerEncoder(tiny_bert, max_length=16, lora_rank=2)
    with pytest.raises(ImportError, match=r"lora_rank needs the package peft: pip install 'skxc"):
        make(skxc.DualEncoderXC, encoder).fit(TEXTS, Y)


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"lora_rank": 0}, "lora_rank"),
        ({"lora_rank": 2, "lora_alpha": 0}, "lora_alpha"),
        ({"gradient_checkpointing": "yes"}, "gradient_checkpointing"),
    ],
)
def test_parameters_that_are_not_accepted(tiny_bert: str, parameters: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        fitted(tiny_bert, **parameters)
