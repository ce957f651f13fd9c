"""What fitted attributes of a loaded model must be: kinds of checks, for methods to name.

A folder may come from anybody. An attribute of another kind would fail far from here, or, worse,
predict something.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from skxc._persistence import check_numbers
from skxc._validation import check_choice, check_integer, check_real, short

Sizes = dict[str, int]  # lengths by their names: what has been met first, others must equal
Check = Callable[[str, Any, Sizes], None]


def an_integer(low: int) -> Check:
    return lambda name, value, sizes: check_integer(name, value, low)


def a_number(low: float, high: float) -> Check:
    return lambda name, value, sizes: check_real(name, value, low, high)


def a_positive_number(name: str, value: Any, sizes: Sizes) -> None:
    """What training may have led far beyond what a parameter may be."""
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise wrong_attribute(name, value, "a positive number")


def one_of(*accepted: Any) -> Check:
    return lambda name, value, sizes: check_choice(name, value, accepted)


def an_array(dtype: Any, *lengths: str | int) -> Check:
    """An array of numbers, none of which is nan or too large to compute with."""

    def check(name: str, value: Any, sizes: Sizes) -> None:
        if not isinstance(value, np.ndarray) or value.dtype != dtype:
            raise wrong_attribute(name, value, f"an array of {np.dtype(dtype)}")
        expected = [sizes.get(n) if isinstance(n, str) else n for n in lengths]
        is_other = any(n not in (None, m) for n, m in zip(expected, value.shape, strict=False))
        if value.ndim != len(lengths) or is_other:
            shape = tuple(sizes.get(str(n), n) for n in lengths)
            raise ValueError(f"{name} has the shape {value.shape}, and should have {shape}.")
        sizes |= {n: m for n, m in zip(lengths, value.shape, strict=True) if isinstance(n, str)}
        check_numbers(name, value)

    return check


def one_a_label(kinds: str, types: set[type], *, is_unique: bool = False) -> Check:
    """An array with an entry for each label."""

    def check(name: str, value: Any, sizes: Sizes) -> None:
        if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype.kind not in kinds:
            raise wrong_attribute(name, value, "a 1-d array of labels")
        if len(value) != sizes["n_labels"]:
            raise ValueError(
                f"{name} has {len(value)} entries, and the model {sizes['n_labels']} labels."
            )
        items = value.tolist()
        if not set(map(type, items)) <= types:
            raise wrong_attribute(
                name, value, "an array of " + " and ".join(t.__name__ for t in types)
            )
        if is_unique and len(set(items)) < len(items):
            raise ValueError(f"{name} names a label twice.")

    return check


def sparse_rows(**values: Check) -> Check:
    """A sparse matrix with a row for each label, as a dict of CSR's arrays; or an empty dict.

    It may have several values at each place ("n_pairs" of them), and other arrays.
    """
    parts = {"words": an_array(np.int32, "n_pairs"), "n_words": an_array(np.int64), **values}

    def check(name: str, value: Any, sizes: Sizes) -> None:
        names = {*parts, "offsets"}
        if not isinstance(value, dict) or set(value) not in (set(), names):
            raise wrong_attribute(name, value, f"a dict of {', '.join(sorted(names))}, or empty")
        if not value:
            return
        inner = sizes.copy()  # other matrices have another number of pairs
        for part, check_part in parts.items():
            check_part(f"{name}.{part}", value[part], inner)
        an_array(np.int64, sizes["n_labels"] + 1)(f"{name}.offsets", value["offsets"], inner)
        n_words = sizes["n_words"]
        if value["n_words"] != n_words:
            raise ValueError(
                f"{name} is of {value['n_words']} words, and the encoder has {n_words}."
            )
        _check_csr(name, value["offsets"], value["words"], n_words)

    return check


def _check_csr(name: str, offsets: Any, words: Any, n_words: int) -> None:
    is_ascending = offsets[0] == 0 and offsets[-1] == len(words) and (np.diff(offsets) >= 0).all()
    if not is_ascending:
        raise ValueError(
            f"{name}.offsets does not lead from 0 to {len(words)} without a step back."
        )
    if len(words) and (words.min() < 0 or words.max() >= n_words):
        raise ValueError(f"{name}.words names words that the encoder does not have.")


def wrong_attribute(name: str, value: Any, expected: str) -> ValueError:
    is_array = isinstance(value, np.ndarray)
    found = f"an array of {value.dtype}, {value.shape}," if is_array else short(value)
    return ValueError(f"{name} is {found} and should be {expected}.")
