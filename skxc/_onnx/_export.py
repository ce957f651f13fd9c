"""The whole model: its graph, and the files beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skxc._methods._method import Method
from skxc._persistence import real_path, replaced_file, write_json
from skxc._search._reranker import Reranker
from skxc.encoders._base import Encoder

from ._encoders import TOKEN_FILES, WORD_FILES, Encoded, encoded, plain, write_reading
from ._graph import DATA, Graph
from ._heads import head
from ._scores import Words, best_labels, scores_of_all, token_words

MODEL, LABELS = "model.onnx", "labels.json"
_FILES = {MODEL, DATA, LABELS, *WORD_FILES, *TOKEN_FILES}


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


def new_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder's path.

    Raises
    ------
    FileExistsError
        If it is a file, or holds anything but an earlier export.
    """
    target = real_path(folder)
    if target.exists() and not target.is_dir():
        raise FileExistsError(f"{target} is a file. Pass the path of a folder.")
    found = {path.name for path in target.iterdir()} if target.exists() else set[str]()
    if foreign := sorted(found - _FILES):
        raise FileExistsError(
            f"{target} holds {foreign[0]}, which is no part of an export. Pass a folder that does "
            f"not exist, is empty, or holds an export to be replaced."
        )
    return target


def write_export(
    target: Path,
    graph: Graph,
    encoder: Encoder,
    names: NDArray[Any],
    metadata: Mapping[str, str],
) -> None:
    """Write all files, the model last: without it, nothing is taken for an export."""
    target.mkdir(parents=True, exist_ok=True)
    for name in (MODEL, *sorted(_FILES - {MODEL})):
        (target / name).unlink(missing_ok=True)
    write_json(target / LABELS, names.tolist())
    write_reading(encoder, target)
    with replaced_file(target / MODEL) as path:
        graph.write(path, **metadata)
