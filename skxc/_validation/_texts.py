"""Texts of rows and of labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from ._arrays import refuse_masked
from ._lazy import LazyColumn, is_lazy, unbatched
from ._parameters import short


def check_texts(X: Any, name: str = "X") -> list[str]:
    """The texts of a list, tuple, 1-d or (n, 1) array, or Series of str, or of what is lazy."""
    if isinstance(X, str | bytes):
        is_path = isinstance(X, str) and name == "X"
        raise ValueError(
            f"{name} is a single {type(X).__name__}, {short(X)}. "
            f"Pass a list of texts; for one text: [{name}]."
            f"{f' For a file of texts: pathlib.Path({short(X)}).' if is_path else ''}"
        )
    if isinstance(X, dict | set | frozenset) or sp.issparse(X):
        raise TypeError(
            f"{name} is a {type(X).__name__}. Pass a list, tuple, 1-d array or Series of str."
        )
    refuse_masked(X, name)
    if is_lazy(X):
        return list(lazy_texts(X, name))
    if not isinstance(X, list | tuple):
        X = _as_column(X, name)
    texts = list(X)
    if not texts:
        raise ValueError(f"{name} holds 0 texts. Pass at least one.")
    for position, text in enumerate(texts):
        _check_text(name, position, text)
    return texts


def lazy_texts(X: Any, name: str = "X") -> LazyColumn:
    """The texts of something lazy, read whenever they are asked for."""
    return LazyColumn(unbatched(X), name, _check_text)


def _check_text(name: str, position: int, text: Any) -> None:
    if not isinstance(text, str):
        raise _not_a_text(name, position, text)


def check_label_texts(label_texts: Any, classes: NDArray[Any] | range) -> list[str] | None:
    """One text per label, in the order of `classes`; None where there are none."""
    if isinstance(label_texts, str) and label_texts == "auto":
        return names_of(classes) if are_words(classes) else None
    if label_texts is None:
        return None
    is_series = hasattr(label_texts, "to_dict") and len(label_texts) == len(classes)
    if is_series and set(label_texts.index) == set(names_of(classes)):
        label_texts = label_texts.to_dict()  # a Series by the labels' names
    if isinstance(label_texts, Mapping):
        label_texts = _texts_of(label_texts, classes)
    texts = check_texts(label_texts, "label_texts")
    if len(texts) != len(classes):
        raise ValueError(
            f"label_texts has {len(texts)} entries, but Y has {len(classes)} labels. "
            f"Pass one text per column of Y, in the columns' order, or a dict of each label's text."
        )
    return texts


def _texts_of(label_texts: Mapping[Any, Any], classes: NDArray[Any] | range) -> list[Any]:
    """The values of a mapping from labels to their texts, in the order of `classes`."""
    names = names_of(classes)
    n_missing = sum(name not in label_texts for name in names)
    if n_missing:
        missing = next(name for name in names if name not in label_texts)
        raise ValueError(
            f"label_texts has no text for {n_missing} of {len(classes)} labels, such as "
            f"{missing!r}. Pass a text for each of them, by its name in y or its column's "
            f"number."
        )
    return [label_texts[name] for name in names]


def names_of(classes: NDArray[Any] | range) -> Any:
    """Labels as Python's own objects; the numbers of columns as the range that they are."""
    return classes if isinstance(classes, range) else classes.tolist()


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
        what = f"{name} has shape {array.shape}. Pass texts as a 1-d sequence of str, or one column"
        if array.ndim == 0:
            raise TypeError(f"{name} is a {type(X).__name__}. Pass list({name}).")
        raise ValueError(f"{what}{_joining(name, X) if array.ndim == 2 else '.'}")
    return array.tolist()


def _joining(name: str, X: Any) -> str:
    """The line that makes one text of several columns."""
    columns = [f"{name}[{column!r}]" for column in getattr(X, "columns", ())]
    line = " + ' ' + ".join(columns[:2]) if len(columns) > 1 else _joined_rows(name)
    return f". To join columns of text: {line}"


def _joined_rows(name: str) -> str:
    return f"[' '.join(row) for row in {name}]"


def _not_a_text(name: str, position: int, text: Any) -> Exception:
    what = f"{name}[{position}] is {short(text)} of type {type(text).__name__}, not a str."
    if isinstance(text, bytes):
        return TypeError(f"{what} Decode the bytes first, such as with text.decode('utf-8').")
    if is_missing(text):
        return ValueError(f"{what} Fill missing texts, such as with '', or drop the rows.")
    if isinstance(text, dict):
        keys = [key for key, value in text.items() if isinstance(value, str)]
        fields = ", ".join(f"row[{key!r}]" for key in keys) or "row[...]"
        return TypeError(f"{what} Pass one str a row: [' '.join([{fields}]) for row in {name}]")
    if isinstance(text, list | tuple | np.ndarray):
        return TypeError(f"{what} Pass one str a row: {_joined_rows(name)}")
    return TypeError(f"{what} Pass one str a row.")


def are_words(classes: NDArray[Any] | range) -> bool:
    """Whether labels' names can serve as their texts: str, most with a letter and no addresses."""
    names = names_of(classes)
    if not all(isinstance(name, str) for name in names):
        return False
    n_words = sum(any(map(str.isalpha, name)) and not is_address(name) for name in names)
    return 2 * n_words > len(names)


def is_address(name: str) -> bool:
    """Whether a name is a URI, which says nothing of what it stands for."""
    return "://" in name or name[:4].lower() == "urn:"


def is_missing(value: Any) -> bool:
    """Whether `value` is None, NaN or pandas' NA."""
    is_nan = isinstance(value, Real) and value != value
    return value is None or is_nan or type(value).__name__ in ("NAType", "NaTType")
