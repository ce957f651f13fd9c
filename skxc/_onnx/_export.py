"""The whole model: its graph, and the files beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skxc._methods._method import Method
from skxc._persistence import real_path, replaced_file, write_json
from skxc._search._ranker import Ranker
from skxc.encoders._base import Encoder

from ._encoders import TOKEN_FILES, WORD_FILES, Encoded, encoded, write_reading
from ._graph import DATA, Graph
from ._heads import head
from ._scores import Words, best_labels, scores_of_all, token_words

MODEL, LABELS = "model.onnx", "labels.json"
_FILES = {MODEL, DATA, LABELS, *WORD_FILES, *TOKEN_FILES}


def model_graph(
    encoder: Encoder,
    ranker: Ranker,
    method: type[Method[Any]],
    fitted: Mapping[str, Any],
    k: int,
    *,
    is_classes: bool,
) -> Graph:
    """The graph of a fitted estimator: inputs of the encoder, `labels`, `scores`, `proba`."""
    parts = encoded(encoder)
    graph, table = parts.graph, ranker.table
    n_labels = len(table.rows)
    k = min(k, n_labels)
    rows = head(graph, parts.embeddings, method, fitted, ranker.module.views)
    best = best_labels(
        graph,
        scores_of_all(graph, rows, table, parts.words),
        k,
        n_labels,
        ranker.reranker,
        _words(ranker, parts),
        fitted["_sigmoid"],
        is_classes=is_classes,
    )
    for name, value in best._asdict().items():
        dtype = np.int64 if name == "labels" else np.float32
        graph.output(name, value, dtype, ("texts", k))
    return graph


def _words(ranker: Ranker, parts: Encoded) -> Words | None:
    """What the second stage reads."""
    if ranker.reranker is None or parts.words is not None:
        return parts.words
    assert parts.tokens is not None
    return token_words(parts.graph, *parts.tokens, ranker.reranker.idf)


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
