"""The whole model: its graph, and the files beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skxc._methods._method import Method
from skxc._persistence import Kind, write_json
from skxc._search._reranker import Reranker
from skxc.encoders._base import Encoder

from ._encoders import TOKEN_FILES, WORD_FILES, Encoded, encoded, plain, write_reading
from ._graph import DATA, Graph, onnx
from ._heads import head
from ._scores import Words, best_labels, scores_of_all, token_words

MODEL, LABELS = "model.onnx", "labels.json"


def model_graph(
    encoder: Encoder,
    method: type[Method[Any]],
    fitted: Mapping[str, Any],
    k: int,
    *,
    is_classes: bool,
) -> Graph:
    """The graph of a fitted estimator: inputs of the encoder, `labels`, `scores`, `proba`."""
    module = plain(encoder).build_module().eval()
    reranker = Reranker.of_arrays(fitted["reranker_"], fitted["rerank_weight_"])
    ranker = method.restored(fitted, module, torch.float32)
    table = ranker.table
    parts = encoded(module)
    graph = parts.graph
    n_labels = len(table.rows)
    k = min(k, n_labels)
    rows = head(graph, parts.embeddings, ranker.head)
    best = best_labels(
        graph,
        scores_of_all(graph, rows, table, parts.words),
        k,
        n_labels,
        reranker,
        _words(reranker, parts),
        fitted["_sigmoid"],
        is_classes=is_classes,
    )
    for name, value in best._asdict().items():
        dtype = np.int64 if name == "labels" else np.float32
        graph.output(name, value, dtype, ("texts", k))
    return graph


def _words(reranker: Reranker | None, parts: Encoded) -> Words | None:
    """What the second stage reads."""
    if reranker is None or parts.words is not None:
        return parts.words
    assert parts.tokens is not None
    return token_words(parts.graph, *parts.tokens, reranker.idf)


def write_export(
    folder: Path,
    graph: Graph,
    encoder: Encoder,
    names: NDArray[Any],
    metadata: Mapping[str, str],
) -> None:
    """Write all files of an export."""
    write_json(folder / LABELS, names.tolist())
    write_reading(encoder, folder)
    graph.write(folder / MODEL, **metadata)


def _files(folder: Path) -> set[str]:
    """The files of the export in a folder.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is none.
    """
    path = folder / MODEL
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing.")
    try:
        model = onnx().load(path, load_external_data=False)
    except (ImportError, OSError):
        raise
    except Exception as error:  # of protobuf, which only onnx knows
        raise ValueError(f"{path} is no ONNX model: {error}.") from error
    if "skxc_version" not in {entry.key for entry in model.metadata_props}:
        raise ValueError(f"{path} was not written by export_onnx.")
    inputs = {value.name for value in model.graph.input}
    return {
        *(MODEL, LABELS),
        *(DATA for tensor in model.graph.initializer if tensor.data_location),
        *(WORD_FILES if "word_ids" in inputs else ()),
        *(TOKEN_FILES if "input_ids" in inputs else ()),
    }


EXPORT = Kind("ONNX export", MODEL, _files, {MODEL, DATA, LABELS, *WORD_FILES, *TOKEN_FILES})
