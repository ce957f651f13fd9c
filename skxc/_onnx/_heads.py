"""From the encoder's embedding to what the table's rows are multiplied by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from skxc._functional._unit_rows import LEAST_LENGTH
from skxc._methods._heads import Heads
from skxc._search._head import LinearHead

from ._graph import Graph, Value


def unit_rows(graph: Graph, vectors: Value) -> Value:
    """Rows scaled to length 1."""
    lengths = graph("ReduceL2", vectors, [1])
    return graph("Div", vectors, graph("Max", lengths, np.float32(LEAST_LENGTH)))


def linear(graph: Graph, vectors: Value, weight: Any, bias: Any = None) -> Value:
    """What torch's Linear computes."""
    product = graph("MatMul", vectors, weight.T)
    return product if bias is None else graph("Add", product, bias)


def head(graph: Graph, embeddings: Value, of_model: Callable[[Tensor], Tensor]) -> Value:
    """What is multiplied with the table's rows."""
    if isinstance(of_model, LinearHead):
        return _scaled(graph, embeddings, of_model)
    assert isinstance(of_model, Heads)
    return _projected(graph, embeddings, of_model)


def _scaled(graph: Graph, embeddings: Value, head: LinearHead) -> Value:
    """What `LinearHead` computes."""
    if head.views:
        parts = [embeddings]
        if len(head.views) > 1:
            sizes = np.array(head.views)
            parts = graph.all("Split", len(head.views), embeddings, sizes, axis=1)
        weights = head.weights or (1.0,) * len(head.views)
        units = [
            graph("Mul", unit_rows(graph, part), np.float32(weight))
            for part, weight in zip(parts, weights, strict=True)
        ]
        embeddings = units[0] if len(units) == 1 else graph("Concat", *units, axis=1)
    if head.constant is None:
        return embeddings
    return graph("Pad", embeddings, [0, 0, 0, 1], np.float32(head.constant))


def _projected(graph: Graph, embeddings: Value, heads: Heads) -> Value:
    """What `Heads` compute whose spaces are two."""
    has_words = graph("Greater", graph("ReduceL1", embeddings, [1]), np.float32(0))
    has_words, arrays = graph.cast(has_words, np.float32), heads.arrays()
    halves = []
    for name, activation in (("of_label_texts", "Tanh"), ("of_classifier", "Identity")):
        half = linear(graph, embeddings, arrays[f"{name}.weight"], arrays[f"{name}.bias"])
        halves.append(graph("Mul", unit_rows(graph, graph(activation, half)), has_words))
    return graph("Concat", *halves, axis=1)
