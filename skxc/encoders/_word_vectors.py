"""Vectors of words that somebody else has trained, for a bag's embeddings to begin at."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.base import clone

from skxc._data._batches import length_sorted_slices
from skxc._persistence import LARGEST
from skxc._validation import short

from ._hub import fetched, is_out_of_reach
from ._transformer import TransformerEncoder
from ._words import lowered

_LEAST_LENGTH = 1e-6  # of a vector, less the mean, in units of the longest
# Length of a word without a vector: what is known of other words is to be heard first.
_SMALL = np.float32(0.1)
# where model2vec and sentence-transformers' StaticEmbedding keep a table, and its name in it
_FOLDERS = ("", "0_StaticEmbedding/")
_TABLES = ("embeddings", "embedding.weight")
# words that a transformer embeds at once, and their tokens
_WORDS_AT_ONCE, _TOKENS_AT_ONCE = 256, 1 << 14


def begun_at(
    init: Any,
    words: Sequence[str],
    table: np.ndarray,  # (n_words, dim) float32, random rows of about length 1
) -> np.ndarray:
    """The table with rows of length 1 where `init` has a vector, and short ones elsewhere.

    Vectors are taken less their mean, which tells nothing of a word, along their principal axes
    where they are wider than the table.
    """
    vectors = _vectors(init, words)
    if not np.isfinite(vectors).all() or np.abs(vectors).max(initial=0) > LARGEST:
        raise ValueError(
            f"init={short(init)} has vectors of numbers that are not finite, or beyond "
            f"{LARGEST:g}. Pass vectors that one can compute with."
        )
    is_known = vectors.any(1)
    if not is_known.any():
        raise ValueError(
            f"init={short(init)} has a vector for none of the {len(words)} words, such as "
            f"{words[len(words) // 2]!r}. Pass vectors of words in lower case, or init=None."
        )
    known = vectors[is_known].astype(np.float64)
    if len(known) > 1:
        known -= known.mean(0)
    dim, width = table.shape[1], known.shape[1]
    if width > dim:
        _, axes = np.linalg.eigh(known.T @ known)
        axes = axes[:, ::-1][:, :dim]
        # an axis may point either way: its largest number is to be positive, on any machine
        largest = np.abs(axes).argmax(0)
        known = known @ (axes * np.sign(axes[largest, np.arange(dim)]))
    lengths = np.linalg.norm(known, axis=1)
    longest = max(float(lengths.max()), float(np.finfo(np.float32).tiny))
    told = lengths > _LEAST_LENGTH * longest
    begun = table * _SMALL  # also where a vector is the mean: a row of 0 would never be trained
    rows = np.zeros((int(told.sum()), dim), np.float32)
    rows[:, : known.shape[1]] = known[told] / lengths[told, None]
    begun[np.flatnonzero(is_known)[told]] = rows
    return begun


def check_init(init: Any) -> None:
    """Raise where a bag's `init` is of no kind that `begun_at` reads.

    Raises
    ------
    TypeError, ValueError
        If it is not.
    """
    if isinstance(init, str | os.PathLike | None):
        return
    if isinstance(init, TransformerEncoder):
        init.check_parameters()
        return
    is_pair = isinstance(init, tuple) and len(init) == 2
    if not is_pair and not isinstance(init, Mapping):
        raise TypeError(
            f"init must be a folder of static embeddings, a dict of each word's vector, (words, "
            f"array) or a TransformerEncoder, got {short(init)}."
        )
    words, array = init if is_pair else (list(init), list(init.values()))
    shapes = {np.shape(vector) for vector in array} if hasattr(array, "__len__") else set()
    is_sized = hasattr(words, "__len__") and hasattr(array, "__len__")
    if not is_sized or len(words) != len(array) or not len(words):
        told = f"{len(words)} words and {len(array)} vectors" if is_sized else short(init)
        raise ValueError(f"init holds {told}. Pass one vector a word, and one word at least.")
    if len(shapes) > 1 or len(next(iter(shapes))) != 1 or np.asarray(array[0]).dtype.kind != "f":
        raise ValueError(
            f"init={short(init)} has vectors that are not all floats, and as many of them. Pass "
            f"arrays of floats of one length."
        )
    if not {*map(type, words)} <= {str, np.str_}:
        raise TypeError(f"init={short(init)} has words that are no str. Pass words as str.")


def _vectors(init: Any, words: Sequence[str]) -> np.ndarray:  # (n_words, any width)
    """A vector a word, 0 where there is none."""
    if isinstance(init, TransformerEncoder):
        return _of_transformer(init, words)
    if isinstance(init, str | os.PathLike):
        return _of_folder(os.fspath(init), words)
    known, array = init if isinstance(init, tuple) else (list(init), list(init.values()))
    array = np.asarray(array, np.float32)
    places: dict[str, int] = {}
    for i, word in enumerate(known):
        places.setdefault(lowered(word), i)  # of "The" and "the", the first
    vectors = np.zeros((len(words), array.shape[1]), np.float32)
    for row, word in enumerate(words):
        parts = [word] if word in places else word.split(" ")
        if all(part in places for part in parts):  # of an n-gram that has none, its words' mean
            vectors[row] = array[[places[part] for part in parts]].mean(0)
    return vectors


def _of_folder(model: str, words: Sequence[str]) -> np.ndarray:
    """Means of the vectors of each word's pieces, by the folder's own tokenizer."""
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    weights_file, tokenizer_file = _files(model)
    try:
        arrays, tokenizer = load_file(weights_file), Tokenizer.from_file(tokenizer_file)
    except Exception as error:
        raise OSError(f"init={model!r} cannot be read ({error!r:.200}).") from error
    table = next((arrays[name] for name in _TABLES if name in arrays), None)
    if table is None or table.ndim != 2:
        raise OSError(
            f"init={model!r}: model.safetensors has {', '.join(sorted(arrays)[:3])}, and no table "
            f"{' or '.join(_TABLES)}. Pass a folder of static embeddings; a transformer as "
            f"init=TransformerEncoder(...)."
        )
    table = table.astype(np.float32)
    rows = arrays.get("mapping", np.arange(len(table)))  # several tokens may have one vector
    weights = arrays.get("weights", np.ones(len(rows)))
    is_sound = rows.ndim == 1 and rows.dtype.kind in "iu" and weights.shape == rows.shape
    if not is_sound or (len(rows) and not 0 <= rows.min() <= rows.max() < len(table)):
        raise OSError(
            f"init={model!r} cannot be read: its mapping, {rows.dtype}, {rows.shape}, and weights, "
            f"{weights.shape}, are not one entry a token for {len(table)} vectors."
        )
    weights = weights.astype(np.float32)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    unknown = _unknown_token(tokenizer)
    pieces = [
        [piece for piece in encoding.ids if piece != unknown and piece < len(rows)]
        for encoding in tokenizer.encode_batch_fast(list(words), add_special_tokens=False)
    ]
    counts = np.array([len(ids) for ids in pieces])
    ids = np.fromiter(chain.from_iterable(pieces), np.int64, counts.sum())
    shares = weights[ids] / np.repeat(np.maximum(counts, 1), counts)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    of_words = sp.csr_array((shares, rows[ids], offsets), (len(words), len(table)))
    vectors: np.ndarray = of_words @ table
    return vectors


def _files(model: str) -> tuple[str, str]:
    """Weights and tokenizer of static embeddings, fetched where they are on the hub."""
    names, local = ("model.safetensors", "tokenizer.json"), is_out_of_reach(model)
    for folder in _FOLDERS:
        try:
            paths = [fetched(model, f"{folder}{name}", local_files_only=local) for name in names]
        except (OSError, ValueError) as error:
            reason = str(error).strip().split("\n")[0].rstrip(".: ")
            raise OSError(
                f"init={model!r} is neither a local folder nor a model that could be fetched "
                f"({reason}). Pass the path of a folder of static embeddings."
            ) from error
        if paths[0] and paths[1]:
            return paths[0], paths[1]
    raise OSError(
        f"init={model!r} holds no static embeddings: model.safetensors and tokenizer.json, as "
        f"model2vec and sentence-transformers' StaticEmbedding write them."
    )


def _unknown_token(tokenizer: Any) -> int | None:
    """The token of what it does not know."""
    name = getattr(tokenizer.model, "unk_token", None)
    unknown: int | None = None if name is None else tokenizer.token_to_id(name)
    return unknown


def _of_transformer(encoder: TransformerEncoder, words: Sequence[str]) -> np.ndarray:
    """Each word as a text of its own."""
    encoder = clone(encoder).set_params(trainable=False, lora_rank=None)
    encoder = encoder.set_params(gradient_checkpointing=False, compile=False)
    module = encoder.fit([], seed=0).build_module().eval()
    tokens = encoder.tokenize(words)
    vectors = np.empty((len(words), module.frozen_dim or 0), np.float32)
    with torch.inference_mode():
        for rows in length_sorted_slices(tokens.lengths, _WORDS_AT_ONCE, _TOKENS_AT_ONCE):
            vectors[rows] = module.frozen_vectors(tokens.take(rows))
    return vectors
