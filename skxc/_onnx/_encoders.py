"""The encoders as operators of ONNX, and the files that tell how a text becomes their input."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from skxc._persistence import write_json
from skxc.encoders import BagOfWordsEncoder, JoinedEncoder, TransformerEncoder
from skxc.encoders._bag_module import LENGTH, BagModule
from skxc.encoders._base import Encoder, EncoderModule
from skxc.encoders._frozen import FrozenTransformer
from skxc.encoders._hub import silence
from skxc.encoders._joined import VECTORS_LENGTH, JoinedModule, joined_parts
from skxc.encoders._pooled import PooledTransformer, pool

from ._graph import OPSET, Graph, Value
from ._heads import linear, unit_rows
from ._scores import Words

WORD_FILES = ("words.json",)
TOKEN_FILES = ("tokens.json", "tokenizer.json")


class Tokens(NamedTuple):
    """The tokens of texts, padded."""

    ids: Value  # (n, m) int64
    mask: Value  # (n, m) int64: 1 at tokens, 0 at padding


class Encoded(NamedTuple):
    """A graph as far as the embedding."""

    graph: Graph
    embeddings: Value  # (n, dim)
    words: Words | None
    tokens: Tokens | None


def plain(encoder: Encoder) -> Encoder:
    """The fitted encoder, to build a module of that is neither compiled nor asks a cache.

    Raises
    ------
    TypeError
        If the encoder is somebody's own.
    """
    if type(encoder) not in (BagOfWordsEncoder, TransformerEncoder, JoinedEncoder):
        raise TypeError(
            f"export_onnx knows BagOfWordsEncoder, TransformerEncoder and JoinedEncoder, and the "
            f"encoder is a {type(encoder).__name__}. Fit the estimator with one of these."
        )
    encoder = copy.copy(encoder)
    if isinstance(encoder, JoinedEncoder):
        encoder.vectors_ = copy.copy(encoder.vectors_)
    transformer = encoder.vectors_ if isinstance(encoder, JoinedEncoder) else encoder
    if isinstance(transformer, TransformerEncoder):
        transformer.compile, transformer.cache_dir = False, None
    return encoder


def encoded(module: EncoderModule) -> Encoded:
    """The graph of an encoder's module."""
    if isinstance(module, PooledTransformer):
        return _transformer(module)
    if isinstance(module, BagModule):
        graph = Graph()
        embeddings, words = _bag(graph, module)
        return Encoded(graph, embeddings, words, None)
    assert isinstance(module, JoinedModule)
    assert isinstance(module.words, BagModule)
    graph, vectors, _, tokens = _transformer(module.vectors)
    vectors = graph("Mul", unit_rows(graph, vectors), np.float32(VECTORS_LENGTH))
    embeddings, words = _bag(graph, module.words)
    return Encoded(graph, graph("Concat", embeddings, vectors, axis=1), words, tokens)


def _bag(graph: Graph, module: BagModule) -> tuple[Value, Words]:
    """The weighted sum of the words' embeddings, at their length."""
    ids = graph.input("word_ids", np.int64, ("texts", "words"))
    weights = graph.input("word_weights", np.float32, ("texts", "words"))
    rows = graph("Gather", module.table.detach().numpy(), ids)  # (n, m, dim)
    bags = graph("Squeeze", graph("MatMul", graph("Unsqueeze", weights, [1]), rows), [1])
    return graph("Mul", unit_rows(graph, bags), np.float32(LENGTH)), Words(ids, weights)


class _Pooled(nn.Module):
    """What torch's exporter goes through: as far as the dense layers."""

    def __init__(self, module: PooledTransformer) -> None:
        super().__init__()
        self.module = module

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        module = self.module
        states = module.transformer(input_ids=input_ids, attention_mask=attention_mask)
        pooled = pool(states.last_hidden_state, attention_mask.bool(), module.pooling)
        return module.dense(pooled)


def _transformer(module: PooledTransformer) -> Encoded:
    """The transformer as torch exports it, and the layers after it."""
    graph = Graph(_exported(_Pooled(module)))
    embeddings = graph.ends[0]
    if isinstance(module, FrozenTransformer):
        embeddings = graph("Mul", unit_rows(graph, embeddings), np.float32(LENGTH))
    if isinstance(module.projection, nn.Linear):
        state = {k: v.detach().numpy() for k, v in module.projection.state_dict().items()}
        embeddings = linear(graph, embeddings, **state)
    tokens = Tokens(Value("input_ids"), Value("attention_mask"))
    return Encoded(graph, embeddings, None, tokens)


def _exported(module: nn.Module) -> Any:
    """An onnx.ModelProto from token ids and mask, of any number and length, to the output."""
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "export_onnx of a transformer needs the package onnxscript, which is not installed. "
            'Install it with pip install "skxc[onnx]".'
        ) from error
    names = ("input_ids", "attention_mask")
    ids, mask = torch.ones((3, 7), dtype=torch.int64), torch.ones((3, 7), dtype=torch.int64)
    mask[1, 4:] = 0
    axes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with _quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                module,
                (ids, mask),
                input_names=list(names),
                dynamic_shapes=dict.fromkeys(names, axes),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(
                f"torch {torch.__version__} cannot export this transformer to ONNX ({reason}). "
                f"Try a newer torch, or another encoder."
            ) from error
    assert program is not None
    return program.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """torch's exporter tells at length what it does, and what it could do with other packages."""
    logger = logging.getLogger("torch.onnx")
    level, is_propagated = logger.level, logger.propagate
    logger.setLevel(logging.ERROR)
    try:
        with silence():
            yield
    finally:
        logger.setLevel(level)
        logger.propagate = is_propagated


def write_reading(encoder: Encoder, folder: Path) -> None:
    """Write the files that tell how a text becomes the graph's inputs."""
    if isinstance(encoder, JoinedEncoder):
        for part in joined_parts(encoder):
            write_reading(part, folder)
    elif isinstance(encoder, BagOfWordsEncoder):
        fitted = encoder.vectorizer_
        rule = {
            "ngram_range": list(fitted.ngram_range),
            "token_pattern": fitted.token_pattern,
            "is_nfc": fitted.preprocessor is not None,
            "words": fitted.get_feature_names_out().tolist(),
            "idf": [float(str(value)) for value in fitted.idf_],
        }
        write_json(folder / WORD_FILES[0], rule)
    elif isinstance(encoder, TransformerEncoder):
        rule = {
            "prompt": encoder.prompt_,
            "max_length": json.loads(encoder.tokenizer_json_)["truncation"]["max_length"],
            "pad_token_id": encoder.pad_token_id_,
        }
        write_json(folder / TOKEN_FILES[0], rule)
        (folder / TOKEN_FILES[1]).write_bytes(encoder.tokenizer_json_.encode())
