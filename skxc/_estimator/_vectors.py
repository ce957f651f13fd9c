"""What a frozen encoder makes of the texts: once, before training."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

from skxc import _distributed as processes
from skxc._data._batches import length_sorted_slices
from skxc._data._shares import even_sizes, part_of, text_share
from skxc._data._token_files import TokenRows, mapped_array
from skxc._data._tokens import TokenStore
from skxc._search._ranker import search_sizes
from skxc._training._loop import progress_bar
from skxc.encoders._base import EncoderModule, autocast

logger = logging.getLogger("skxc")

_LOGGED = 10_000  # more tokens than that take a while
_TEXTS_AT_ONCE = 1 << 14  # texts whose tokens are in memory at once


def embedded(
    module: EncoderModule,  # on the device that training is on
    tokens: TokenStore,
    dtype: torch.dtype,  # bfloat16: under autocast
    folder: Path | None,  # for vectors of tokens in files
    *,
    at_once: int | None,  # texts of the greatest length
    what: str,
    is_verbose: bool,
) -> TokenStore:
    """The tokens with the vectors that no training changes."""
    assert module.frozen_dim is not None
    in_files = isinstance(tokens, TokenRows)
    store = tokens.base if isinstance(tokens, TokenRows) else tokens
    if store.vectors is None:
        sizes = even_sizes(store.lengths, processes.size())
        own = text_share(store, part_of(sizes, processes.rank()))
        if own.n_tokens > _LOGGED:
            logger.info("the encoder embeds %d %s, once", len(own), what)
        sizes_at_once = _sizes(module, store, at_once)
        vectors = np.empty((len(own), module.frozen_dim), np.float32)
        if in_files:
            assert folder is not None
            vectors = mapped_array(vectors.shape, np.float32, folder)
        with progress_bar(len(own), is_verbose=is_verbose, desc=what) as bar:
            # in files, labels follow the texts: apart from them they are rounded as in memory
            n_first = len(tokens) if processes.size() == 1 else len(own)
            for first, end in ((0, n_first), (n_first, len(own))):
                for start in range(first, end, _TEXTS_AT_ONCE):
                    part = text_share(own, slice(start, min(start + _TEXTS_AT_ONCE, end)))
                    _fill(
                        vectors[start : start + len(part)], module, part, dtype, bar, *sizes_at_once
                    )
        store = store.with_vectors(processes.whole(vectors))
    return TokenRows(store, tokens.rows) if isinstance(tokens, TokenRows) else store


def _sizes(module: EncoderModule, tokens: TokenStore, at_once: int | None) -> tuple[int, int]:
    """Texts and padded tokens of a batch: as in prediction, or fewer."""
    sizes = search_sizes(next(module.parameters()).device)
    if at_once is None:
        return sizes.texts, sizes.tokens
    return sizes.texts, min(sizes.tokens, at_once * int(tokens.lengths.max(initial=1)))


def _fill(
    vectors: np.ndarray,  # written
    module: EncoderModule,
    tokens: TokenStore,
    dtype: torch.dtype,
    bar: Any,
    n_texts: int,
    n_tokens: int,
) -> None:
    device = next(module.parameters()).device
    for rows in length_sorted_slices(tokens.lengths, n_texts, n_tokens):
        with autocast(device, dtype):
            vectors[rows] = module.frozen_vectors(tokens.take(rows))
        bar.update(len(rows))
