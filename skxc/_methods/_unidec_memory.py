"""Bytes that UniDEC's labels take."""

from __future__ import annotations

from collections.abc import Callable

from skxc import _distributed as processes
from skxc._training._memory import Memory
from skxc._training._setup import TrainingSetup

from ._clusters import cluster_bytes
from ._lexical_weights import words_memory
from ._unidec_score import texts_at_once
from ._unidec_start import UniDECSettings, classifier_device, projection_dim


def labels_memory(
    setup: TrainingSetup[UniDECSettings],
    settings: UniDECSettings,
    search_bytes: Callable[[int, int], int],  # (width of a row, words) -> bytes
) -> Memory:
    """The rows and Adam's moments, the pool's scores, the clusters, and the table."""
    n_labels, dim = processes.n_share(setup.n_labels), projection_dim(setup)
    rows = 4 * n_labels * (settings.dim if dim is None else dim)
    table = rows if dim is None else 2 * rows
    classifier = {
        "weights": rows,
        "optimizer": 2 * rows,
        "copies": 3 * rows * settings.early_stopping,
    }
    is_on_host = classifier_device(setup, rows).type == "cpu"
    has_words = bool(settings.lexical_learning_rate) and setup.encoder.has_words
    n_words = setup.word_pairs.nnz if has_words else 0
    n_held = 6 if settings.paper.one_vs_all_weight else 4  # scores, and what is computed of them
    scores = 4 * n_held * settings.batch_size * min(settings.pool_size, setup.n_labels)
    published = search_bytes(table // (4 * n_labels), n_words)
    if setup.device.type != "cpu":
        # both halves, and both joined where labels are searched in training; then the table, when
        # the classifier is gone
        is_searched = settings.early_stopping or settings.negatives == "mined"
        gone = 0 if is_on_host else 3 * rows
        published += max(2 * rows + table * is_searched, table - gone)
    memory = Memory({"activations": scores, "published": published})
    memory += Memory({}, classifier) if is_on_host else Memory(classifier)
    if has_words:
        memory += words_memory(n_words, is_copied=settings.early_stopping)
    host = {"published": 2 * rows + table}  # the two halves, and both joined
    if settings.batches == "clustered":
        width = settings.dim if dim is None else 2 * dim
        host["epoch"] = cluster_bytes(len(setup.rows), width)
    if setup.tuning_rows is not None:  # either half joined alone, and all scores of some texts
        n_texts = min(len(setup.tuning_rows), texts_at_once(n_labels))
        n_parts = 2 * len(setup.module.views) + 2  # of scores, each held twice
        host["published"] += 2 * table + 2 * 4 * n_parts * n_texts * n_labels
    return memory + Memory({}, host)
