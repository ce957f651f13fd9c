"""TransformerEncoder(compile=True) against the same encoder uncompiled.

A compilation takes seconds: the tests share one architecture, whose graphs torch keeps.
"""

from __future__ import annotations

import copy
import logging
import pickle
import re
import shutil
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

import skxc
from skxc import DualEncoderXC
from skxc._functional._grad_cache import CachedEncoding, LabelChunk, two_pass_step
from skxc._functional._losses import Softmax
from skxc._functional._pairs import Positives
from skxc.encoders import TransformerEncoder
from skxc.encoders._base import EncoderModule
from skxc.encoders._compiled import _blocks

# torch raises and hides this one itself, while it compiles
pytestmark = [
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is:DeprecationWarning"),  # in DeBERTa
]
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")

WORDS = ["red", "green", "blue", "small", "large", "keyboard", "mouse", "guitar"]
# chunks with padding, without it, and of other sizes
CHUNKS = [[0, 1, 2], [3, 4], [5, 6, 7, 8]]
TEXTS = [" ".join(WORDS[:n]) for n in (1, 3, 2, 4, 4, 7, 5, 6, 7)]


def fitted(model: str, **parameters: object) -> TransformerEncoder:
    return TransformerEncoder(model, max_length=24, **parameters).fit([], seed=0)


def modules(model: str) -> list[EncoderModule]:
    """The module uncompiled, and compiled; both with dropout."""
    return [fitted(model, compile=value).build_module() for value in (False, True)]


def embed(module: EncoderModule, tokens: object, *, has_graph: bool) -> torch.Tensor:
    torch.manual_seed(0)
    with torch.set_grad_enabled(has_graph):
        return module(tokens)


def gradients(module: EncoderModule) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in module.named_parameters()}
    module.zero_grad()
    return found


def n_graphs() -> int:
    from torch._dynamo.utils import counters

    return counters["stats"]["unique_graphs"]


@pytest.fixture
def no_graphs() -> Iterator[None]:
    """Torch has compiled nothing, and forgets what the test lets it compile."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


# --- two passes -----------------------------------------------------------------------------


@needs_compiler
def test_dropout_is_the_same_with_and_without_a_graph_and_uncompiled(tiny_bert: str) -> None:
    tokens = fitted(tiny_bert).tokenize(TEXTS)
    plain, compiled = modules(tiny_bert)
    for rows in CHUNKS:
        chunk = tokens.take(np.array(rows))
        first, state = embed(compiled, chunk, has_graph=False), torch.get_rng_state()
        second = embed(compiled, chunk, has_graph=True)
        assert torch.equal(torch.get_rng_state(), state)
        assert not first.requires_grad
        assert second.requires_grad
        assert torch.equal(first, second)
        expected = embed(plain, chunk, has_graph=True)
        assert torch.equal(torch.get_rng_state(), state)
        torch.testing.assert_close(first, expected, rtol=1e-5, atol=1e-5)
        other = compiled(chunk)  # from another random state
        assert not torch.allclose(first, other, rtol=1e-2, atol=1e-2)


@needs_compiler
def test_gradient_of_several_chunks_is_that_of_one_pass_with_the_same_masks(tiny_bert: str) -> None:
    tokens = fitted(tiny_bert).tokenize(TEXTS)
    plain, compiled = modules(tiny_bert)
    chunks = [(tokens.take(np.array(rows)), torch.tensor(rows)) for rows in CHUNKS]
    output_gradient = torch.randn(len(TEXTS), plain.dim, generator=torch.Generator().manual_seed(1))
    found = []
    for module in (compiled, plain):  # one graph of all chunks
        torch.manual_seed(0)
        joint = torch.cat([module(inputs) for inputs, _ in chunks])
        joint.backward(output_gradient)
        found.append(gradients(module))
    torch.manual_seed(0)
    cached = CachedEncoding(compiled, chunks, torch.device("cpu"))
    torch.testing.assert_close(cached.embeddings, joint.detach(), rtol=1e-5, atol=1e-5)
    cached.backward(output_gradient)
    for name, gradient in gradients(compiled).items():
        for expected in found:
            torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-4)


@needs_compiler
def test_two_pass_step_has_the_gradient_of_the_uncompiled_encoder(tiny_bert: str) -> None:
    tokens = fitted(tiny_bert).tokenize(TEXTS)
    edges = [slice(0, 3), slice(3, 5), slice(5, 9)]
    chunks = [
        LabelChunk(tokens.take(np.array(rows)), edge)
        for rows, edge in zip(CHUNKS, edges, strict=True)
    ]
    rows = torch.arange(4)
    positives = Positives(torch.tensor([0, 2, 5, 8]), rows, torch.ones(4))
    texts = torch.randn(4, 32, generator=torch.Generator().manual_seed(1))
    results = []
    for module in modules(tiny_bert):
        torch.manual_seed(0)
        loss = Softmax()
        step = two_pass_step(module, chunks, texts, positives, loss, temperature=8.0)
        results.append((step, gradients(module)))
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-4)


# --- graphs ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_graphs")
def test_one_graph_serves_all_blocks_sizes_and_modules(
    tiny_bert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the graphs as torch traces them: compiling those of a single text takes as long as all others
    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", lambda graph, *_, **__: graph)
    tokens = fitted(tiny_bert).tokenize(TEXTS)
    before = n_graphs()

    def assert_right(modules: list[EncoderModule], rows: list[int]) -> None:
        for has_graph in (True, False):
            chunk = tokens.take(np.array(rows))
            expected, found = (embed(module, chunk, has_graph=has_graph) for module in modules)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)

    for _ in range(2):
        made = modules(tiny_bert)
        for rows in ([0, 1], [0, 1, 2], [5, 6, 7, 8], [2, 5, 3, 4, 8, 0]):  # with padding
            assert_right(made, rows)
        assert n_graphs() - before == 1
    assert_right(made, [3, 4])
    assert_right(made, [5, 8, 5])
    assert n_graphs() - before == 2  # without padding
    limit = torch._dynamo.config.cache_size_limit
    assert_right(made, [5])
    assert_right(made, [2])
    assert n_graphs() - before == 3  # a single text
    assert torch._dynamo.config.cache_size_limit == limit


@pytest.mark.usefixtures("no_graphs")
def test_without_a_compiler_it_runs_uncompiled_and_says_so(
    tiny_bert: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*args: object, **keywords: object) -> None:
        raise RuntimeError("no C++ compiler\nand more")

    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", fails)
    tokens = fitted(tiny_bert).tokenize(TEXTS)
    plain, compiled = modules(tiny_bert)
    with caplog.at_level(logging.WARNING, "skxc"):
        found = embed(compiled, tokens, has_graph=False)
    assert torch.equal(found, embed(plain, tokens, has_graph=False))
    message = "torch.compile fails here, the encoder runs uncompiled: RuntimeError: no C++ compiler"
    assert [record.getMessage() for record in caplog.records] == [message]


# --- blocks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parameters", "block"),
    [
        ("BertConfig", {}, "BertLayer"),
        ("RobertaConfig", {}, "RobertaLayer"),
        ("XLMRobertaConfig", {}, "XLMRobertaLayer"),
        (
            "DistilBertConfig",
            {"dim": 32, "n_layers": 3, "n_heads": 2, "hidden_dim": 64},
            "TransformerBlock",
        ),
        ("MPNetConfig", {}, "MPNetLayer"),
        ("ElectraConfig", {"embedding_size": 32}, "ElectraLayer"),
        ("DebertaV2Config", {}, "DebertaV2Layer"),
        ("ModernBertConfig", {"pad_token_id": 0}, "ModernBertEncoderLayer"),
        ("Qwen2Config", {"num_key_value_heads": 1}, "Qwen2DecoderLayer"),
        ("LlamaConfig", {"num_key_value_heads": 1}, "LlamaDecoderLayer"),
    ],
)
def test_blocks_of_architectures(name: str, parameters: dict, block: str) -> None:
    import transformers

    if not hasattr(transformers, name):
        pytest.skip(f"this version of transformers has no {name}")
    if "dim" not in parameters:
        sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
        parameters = {**sizes, "intermediate_size": 64, **parameters}
    config = getattr(transformers, name)(vocab_size=50, **parameters)
    found = _blocks(transformers.AutoModel.from_config(config))
    assert [type(module).__name__ for module in found] == [block] * 3


def test_a_model_without_blocks_is_refused() -> None:
    message = "has none in an nn.ModuleList. Pass compile=False for this model."
    with pytest.raises(ValueError, match=re.escape(f"and Linear {message}")):
        _blocks(nn.Linear(2, 2))


# --- the estimator --------------------------------------------------------------------------


def test_names_of_weights_and_copies_are_those_of_the_uncompiled_module(tiny_bert: str) -> None:
    plain, compiled = modules(tiny_bert)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    for copied in (copy.deepcopy(compiled), pickle.loads(pickle.dumps(compiled))):
        assert list(copied.state_dict()) == list(plain.state_dict())
    encoder = fitted(tiny_bert, compile=True)
    assert pickle.loads(pickle.dumps(encoder)).compile is True
    assert clone(encoder).compile is True
    assert DualEncoderXC(encoder).set_params(encoder__compile=False).encoder.compile is False


@pytest.mark.parametrize("value", [None, 1, "reduce-overhead"])
def test_wrong_values(tiny_bert: str, value: object) -> None:
    with pytest.raises(ValueError, match=re.escape(f"compile={value!r} is unknown. Pass one of")):
        fitted(tiny_bert, compile=value)


@needs_compiler
def test_an_estimator_learns_the_uncompiled_model(tiny_bert: str, tmp_path) -> None:
    names = [f"{a} {b}" for a in WORDS[:4] for b in WORDS[5:8]]
    texts, labels = [f"a {name}" for name in names] * 3, [[name] for name in names] * 3
    fits = []
    for value in (False, True, True):
        encoder = TransformerEncoder(tiny_bert, max_length=24, compile=value)
        clf = DualEncoderXC(
            encoder,
            label_texts=names,
            negatives="all",
            encode_batch_size=5,
            batch_size=12,
            epochs=2,
            learning_rate=1e-3,
            random_state=0,
        )
        fits.append(clf.fit(texts, labels))
    plain, compiled, again = fits
    np.testing.assert_array_equal(again.label_embeddings_, compiled.label_embeddings_)
    np.testing.assert_allclose(
        compiled.label_embeddings_, plain.label_embeddings_, rtol=1e-3, atol=1e-3
    )
    assert plain.history_[0]["loss"] != pytest.approx(plain.history_[1]["loss"], rel=1e-2)
    compiled.save(tmp_path / "model")
    loaded = skxc.load(tmp_path / "model")
    assert loaded.encoder_.compile is True
    expected = compiled.transform(texts[:7])
    for other in (loaded, copy.deepcopy(compiled)):
        np.testing.assert_allclose(other.transform(texts[:7]), expected, rtol=1e-5, atol=1e-5)


@needs_compiler
def test_prediction_in_bfloat16_is_close_to_float32(tiny_bert: str) -> None:
    tokens = fitted(tiny_bert).tokenize(TEXTS)
    plain, compiled = (module.eval() for module in modules(tiny_bert))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = embed(compiled, tokens, has_graph=False)
    assert found.dtype == torch.float32
    expected = embed(plain, tokens, has_graph=False)
    assert nn.functional.cosine_similarity(found, expected).min() > 0.99
