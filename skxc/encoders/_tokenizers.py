"""The Rust tokenizers of transformer encoders: made, and checked where others wrote them."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from skxc._validation import check_integer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_MOST_GROWTH = 1000  # of a text, by a tokenizer's normaliser


@contextmanager
def panics_told() -> Iterator[None]:
    """Raise errors of the Rust tokenizer as ValueError; panics are no `Exception` by themselves."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise ValueError(
                f"The tokenizer failed ({' '.join(str(error).split())[:300]}). Use a "
                f"tokenizer.json that transformers loads."
            ) from error
        raise


def composed(text: str) -> str:
    """The text in Unicode's form NFC, with "?" for lone surrogates, which the tokenizer refuses."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", text).encode("utf8", "replace").decode("utf8")


def check_tokenizer(tokenizer_json: str, n_positions: int | None) -> None:
    """Raise where a tokenizer, somebody else's, would not cut texts as it should."""
    length = _kept_tokens(tokenizer_json, n_positions)
    tokenizer = tokenizer_from_json(tokenizer_json)
    with panics_told():
        n_special = tokenizer.num_special_tokens_to_add(False)
    if n_special >= length:
        raise ValueError(
            f"tokenizer.json keeps {length} tokens of a text, and adds {n_special} special tokens."
        )


@lru_cache(maxsize=2)  # parsing takes 0.1 to 2 s; kept here, since a fitted encoder is plain data
def tokenizer_from_json(tokenizer_json: str) -> Tokenizer:
    """The Rust tokenizer."""
    from tokenizers import Tokenizer

    with panics_told():
        return Tokenizer.from_str(tokenizer_json)


def _kept_tokens(tokenizer_json: str, n_positions: int | None) -> int:
    """The tokens that it keeps, if it cuts texts to the positions and makes none far longer."""
    try:
        tokenizer = json.loads(tokenizer_json)
        length, padding = tokenizer["truncation"]["max_length"], tokenizer["padding"]
        growth = _growth(tokenizer["normalizer"]) * _copies(tokenizer["post_processor"])
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"tokenizer.json is none that skxc wrote ({error!r}).") from error
    check_integer("max_length in tokenizer.json", length, 1)
    if n_positions is not None and length > n_positions:
        raise ValueError(
            f"tokenizer.json keeps {length} tokens of a text, and the model has {n_positions} "
            f"positions."
        )
    if padding is not None:
        raise ValueError("tokenizer.json pads texts, which skxc does itself.")
    if growth > _MOST_GROWTH:
        raise ValueError(f"tokenizer.json makes texts up to {growth:g} times as long.")
    kept: int = length
    return kept


def _growth(normalizer: Any) -> float:
    """How many times as long the normaliser's replacements can make a text."""
    if normalizer is None:
        return 1
    if normalizer["type"] == "Sequence":
        return math.prod(map(_growth, normalizer["normalizers"]))
    added = normalizer.get("content", normalizer.get("prepend", ""))
    return max(len(added), 1) + (normalizer["type"] == "Prepend")


def _copies(processor: Any) -> int:
    """How often a template holds the text, over `_MOST_GROWTH` where more than once.

    The tokenizer's time is exponential in that.
    """
    if processor is None:
        return 1
    if processor["type"] == "Sequence":
        return math.prod(map(_copies, processor["processors"]))
    n_copies = sum("Sequence" in piece for piece in processor.get("single", ()))
    return 1 if n_copies < 2 else n_copies * _MOST_GROWTH
