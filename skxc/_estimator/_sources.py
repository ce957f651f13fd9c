"""Data that users name by a file's path, and tokens of texts that are read in blocks."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from skxc import _distributed as processes
from skxc._data._token_files import TokenRows, find_tokens, write_tokens
from skxc._data._tokens import TokenStore
from skxc._validation import LazyColumn
from skxc.datasets import FileColumn
from skxc.datasets._files import as_label_matrix, read_npz
from skxc.encoders._base import Encoder


def opened(X: Any) -> Any:
    """The column of a file, where `X` is its path."""
    return FileColumn(X) if isinstance(X, os.PathLike) else X


def opened_labels(y: Any) -> Any:
    """Likewise; a file .npz is a sparse matrix."""
    if isinstance(y, os.PathLike) and Path(y).suffix == ".npz":
        return as_label_matrix(read_npz(Path(y)), Path(y))
    return opened(y)


@contextmanager
def token_folder(texts: Sequence[str] | LazyColumn, kept: Path | None) -> Iterator[Path | None]:
    """Where the tokens of lazy texts are written: `kept`, or a folder that is gone at the end."""
    if not isinstance(texts, LazyColumn) or kept is not None:
        yield kept if isinstance(texts, LazyColumn) else None
        return
    if not processes.is_first_on_host():
        yield Path(processes.of_host(None))
        return
    with tempfile.TemporaryDirectory(prefix="skxc-", ignore_cleanup_errors=True) as folder:
        yield Path(processes.of_host(folder))


def tokenized(
    encoder: Encoder,
    texts: Sequence[str] | LazyColumn,
    label_texts: Sequence[str] | None,
    folder: Path | None,  # for the tokens of lazy texts
    fingerprint: Mapping[str, str] | None,  # what they are of, and by what; None: this fit alone
) -> tuple[TokenStore, TokenStore | None]:
    """Tokens of the texts and of the label texts: in memory, or found or written in files."""
    if not isinstance(texts, LazyColumn):
        of_labels = None if label_texts is None else encoder.tokenize_labels(label_texts)
        return encoder.tokenize(texts), of_labels
    assert folder is not None
    fingerprint, base = fingerprint or {}, None
    # once a host; in a folder that is kept, and that all hosts see, once
    is_writer = processes.is_first_on_host() if not fingerprint else processes.rank() == 0
    if is_writer:
        base = find_tokens(folder, fingerprint) if fingerprint else None
        if base is None:
            parts = map(encoder.tokenize, texts.blocks())
            last = map(encoder.tokenize_labels, [label_texts] if label_texts else [])
            base = write_tokens(chain(parts, last), folder, fingerprint)
    processes.barrier()
    if not is_writer:
        base = find_tokens(folder, fingerprint)
    assert base is not None
    n_texts, rows = len(texts), np.arange(len(base))
    of_labels = TokenRows(base, rows[n_texts:]) if label_texts else None
    return TokenRows(base, rows[:n_texts]), of_labels
