"""From the encoder's embedding to what the table's rows are multiplied by: each method's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from skxc._functional._unit_rows import LEAST_LENGTH
from skxc._methods._dual_encoder import DualEncoderMethod
from skxc._methods._heads import Heads
from skxc._methods._method import Method
from skxc._methods._renee import INTERCEPT_INPUT, ReneeMethod
from skxc._methods._unidec import UniDECMethod

from ._graph import Graph, Value

Fitted = Mapping[str, Any]


def unit_rows(graph: Graph, vectors: Value) -> Value:
    """Rows scaled to length 1."""
    lengths = graph("ReduceL2", vectors, [1])
    return graph("Div", vectors, graph("Max", lengths, np.float32(LEAST_LENGTH)))


def linear(graph: Graph, vectors: Value, weight: Any, bias: Any = None) -> Value:
    """What torch's Linear computes."""
    product = graph("MatMul", vectors, weight.T)
    return product if bias is None else graph("Add", product, bias)


def head(
    graph: Graph,
    embeddings: Value,
    method: type[Method[Any]],
    fitted: Fitted,
    views: tuple[int, ...],  # of the encoder
) -> Value:
    """What is multiplied with the table's rows."""
    return _HEADS[method](graph, embeddings, fitted, views)


def _of_renee(graph: Graph, embeddings: Value, fitted: Fitted, views: tuple[int, ...]) -> Value:
    return graph("Pad", embeddings, [0, 0, 0, 1], np.float32(INTERCEPT_INPUT))


def _of_dual_encoder(
    graph: Graph, embeddings: Value, fitted: Fitted, views: tuple[int, ...]
) -> Value:
    return unit_rows(graph, embeddings) if fitted["_is_normalized"] else embeddings


def _of_unidec(graph: Graph, embeddings: Value, fitted: Fitted, views: tuple[int, ...]) -> Value:
    heads = Heads.of_arrays(fitted["head_weights_"], views)
    if heads.is_shared:
        weights = (1.0, float(fitted["vector_score_weight_"]))[: len(heads.views)]
        parts = [embeddings]
        if len(heads.views) > 1:
            sizes = np.array(heads.views)
            parts = graph.all("Split", len(heads.views), embeddings, sizes, axis=1)
        units = [unit_rows(graph, part) for part in parts]
        weighed = [
            unit if weight == 1 else graph("Mul", unit, np.float32(weight))
            for unit, weight in zip(units, weights, strict=True)
        ]
        return weighed[0] if len(weighed) == 1 else graph("Concat", *weighed, axis=1)
    has_words = graph("Greater", graph("ReduceL1", embeddings, [1]), np.float32(0))
    has_words, arrays = graph.cast(has_words, np.float32), heads.arrays()
    halves = []
    for name, activation in (("of_label_texts", "Tanh"), ("of_classifier", "Identity")):
        half = linear(graph, embeddings, arrays[f"{name}.weight"], arrays[f"{name}.bias"])
        halves.append(graph("Mul", unit_rows(graph, graph(activation, half)), has_words))
    return graph("Concat", *halves, axis=1)


_HEADS: Mapping[type[Method[Any]], Callable[[Graph, Value, Fitted, tuple[int, ...]], Value]] = {
    ReneeMethod: _of_renee,
    DualEncoderMethod: _of_dual_encoder,
    UniDECMethod: _of_unidec,
}
