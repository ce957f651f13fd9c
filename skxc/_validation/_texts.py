"""Texts of rows and of labels."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Real
from typing import Any

import numpy as np
import scipy.sparse as sp

from ._parameters import short


def check_texts(X: Any, name: str = "X") -> list[str]:
    """The texts of a list, tuple, 1-d or (n, 1) array, or Series of str."""
    if isinstance(X, str | bytes):
        raise ValueError(
            f"{name} is a single {type(X).__name__}, {short(X)}. "
            f"Pass a list of texts; for one text: [{name}]."
        )
    if isinstance(X, dict | set | frozenset) or sp.issparse(X):
        raise TypeError(
            f"{name} is a {type(X).__name__}. Pass a list, tuple, 1-d array or Series of str."
        )
    if not isinstance(X, list | tuple):
        X = _as_column(X, name)
    texts = list(X)
    if not texts:
        raise ValueError(f"{name} holds 0 texts. Pass at least one.")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise _not_a_text(name, position, text)
    return texts


def check_label_texts(label_texts: Any, n_labels: int) -> list[str] | None:
    """The texts of the labels, in the order of Y's columns."""
    if label_texts is None:
        return None
    texts = check_texts(label_texts, "label_texts")
    if len(texts) != n_labels:
        raise ValueError(
            f"label_texts has {len(texts)} entries, but Y has {n_labels} labels. "
            f"Pass one text per column of Y, in the columns' order."
        )
    return texts


def _as_column(X: Any, name: str) -> list[Any]:
    """The entries of an array-like with one column."""
    if not hasattr(X, "__array__") and not hasattr(X, "__iter__"):
        raise TypeError(
            f"{name} is {X!r}. Pass a list, tuple, 1-d array or Series of str, one text a row."
        )
    if isinstance(X, Iterator):
        raise TypeError(f"{name} is a {type(X).__name__}, read once only. Pass list({name}).")
    array = np.asarray(X, dtype=object)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(
            f"{name} has shape {array.shape}. Pass texts as a 1-d sequence of str, or one column."
        )
    return array.tolist()


def _not_a_text(name: str, position: int, text: Any) -> Exception:
    what = f"{name}[{position}] is {short(text)} of type {type(text).__name__}, not a str."
    if isinstance(text, bytes):
        return TypeError(f"{what} Decode the bytes first, such as with text.decode('utf-8').")
    if is_missing(text):
        return ValueError(f"{what} Fill missing texts, such as with '', or drop the rows.")
    return TypeError(f"{what} Pass one str a row.")


def is_missing(value: Any) -> bool:
    """Whether `value` is None, NaN or pandas' NA."""
    is_nan = isinstance(value, Real) and value != value
    return value is None or is_nan or type(value).__name__ == "NAType"
