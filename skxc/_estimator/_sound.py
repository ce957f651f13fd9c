"""What a loaded model's fitted attributes must be: checked before anything is computed with them.

A folder may come from anybody. An attribute of another kind would fail far from here, or, worse,
predict something.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, get_args

import numpy as np

from skxc._persistence import check_numbers
from skxc._validation import TargetKind, check_choice, check_integer, check_real, short

Sizes = dict[str, int]  # lengths by their names: what has been met first, others must equal
Check = Callable[[str, Any, Sizes], None]

_PLAIN = {type(None), bool, int, float, str}  # what labels are


def _integer(low: int) -> Check:
    def check(name: str, value: Any, sizes: Sizes) -> None:
        check_integer(name, value, low)
        if value >= 2**63:
            raise ValueError(f"{name}={value:.3g} is larger than any number of this kind.")

    return check


def _real(low: float, high: float) -> Check:
    return lambda name, value, sizes: check_real(name, value, low, high)


def _positive(name: str, value: Any, sizes: Sizes) -> None:
    """What training may have led far beyond what a parameter may be."""
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise _wrong(name, value, "a positive number")


def _choice(*accepted: Any) -> Check:
    return lambda name, value, sizes: check_choice(name, value, accepted)


def _array(dtype: Any, *lengths: str | int) -> Check:
    """An array of numbers, none of which is nan or too large to compute with."""

    def check(name: str, value: Any, sizes: Sizes) -> None:
        if not isinstance(value, np.ndarray) or value.dtype != dtype:
            raise _wrong(name, value, f"an array of {np.dtype(dtype)}")
        expected = [sizes.get(n) if isinstance(n, str) else n for n in lengths]
        is_other = any(n not in (None, m) for n, m in zip(expected, value.shape, strict=False))
        if value.ndim != len(lengths) or is_other:
            shape = tuple(sizes.get(str(n), n) for n in lengths)
            raise ValueError(f"{name} has the shape {value.shape}, and should have {shape}.")
        sizes |= {n: m for n, m in zip(lengths, value.shape, strict=True) if isinstance(n, str)}
        check_numbers(name, value)

    return check


def _labels(kinds: str, types: set[type], *, is_unique: bool = False) -> Check:
    """An array with an entry for each label."""

    def check(name: str, value: Any, sizes: Sizes) -> None:
        if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype.kind not in kinds:
            raise _wrong(name, value, "a 1-d array of labels")
        if len(value) != sizes["n_labels"]:
            raise ValueError(
                f"{name} has {len(value)} entries, and the model {sizes['n_labels']} labels."
            )
        items = value.tolist()
        if not set(map(type, items)) <= types:
            raise _wrong(name, value, "an array of " + " and ".join(t.__name__ for t in types))
        if is_unique and len(set(items)) < len(items):
            raise ValueError(f"{name} names a label twice.")

    return check


def _n_labels(name: str, value: Any, sizes: Sizes) -> None:
    _integer(1)(name, value, sizes)
    sizes["n_labels"] = value


def _history(name: str, value: Any, sizes: Sizes) -> None:
    if not isinstance(value, list):
        raise _wrong(name, value, "a list with an entry for each epoch")
    for entry in value:
        if not isinstance(entry, dict) or not {*map(type, entry.values())} <= {int, float}:
            raise _wrong(name, entry, "a list of dicts of numbers")
    sizes["n_epochs"] = len(value)


def _n_epochs(name: str, value: Any, sizes: Sizes) -> None:
    check_integer(name, value, 0)
    if value != sizes["n_epochs"]:
        raise ValueError(f"{name}={value}, but history_ has {sizes['n_epochs']} entries.")


def _dtype(name: str, value: Any, sizes: Sizes) -> None:
    if not isinstance(value, np.dtype):
        raise _wrong(name, value, "a dtype")


def _sigmoid(name: str, value: Any, sizes: Sizes) -> None:
    if not isinstance(value, tuple) or len(value) != 2:
        raise _wrong(name, value, "a slope and an intercept")
    _positive(f"{name}[0]", value[0], sizes)
    if type(value[1]) not in (int, float) or not math.isfinite(value[1]):
        raise _wrong(f"{name}[1]", value[1], "a finite number")


def _optimizer_state(name: str, value: Any, sizes: Sizes) -> None:
    """Dicts of arrays; whether these fit is seen when training goes on."""
    is_sound = isinstance(value, dict) and set(value) == {"optimizers", "step"}
    parts = [*value["optimizers"], value["step"]] if is_sound else [None]
    arrays = [a for part in parts if isinstance(part, dict) for a in part.values()]
    inner = [b for a in arrays for b in (a.values() if isinstance(a, dict) else [a])]
    if not all(isinstance(p, dict) for p in parts) or not all(
        isinstance(array, np.ndarray) for array in inner
    ):
        raise _wrong(name, value, "what optimisers remember, as arrays")


def _heads(name: str, value: Any, sizes: Sizes) -> None:
    """Of UniDEC: two linear layers, or none."""
    views = ("of_label_texts", "of_classifier")
    names = {f"{view}.{part}" for view in views for part in ("weight", "bias")}
    if not isinstance(value, dict) or set(value) not in (set(), names):
        raise _wrong(name, value, f"a dict of {', '.join(sorted(names))}, or empty")
    if not value:
        return
    sizes.pop("dim", None)  # the heads' own
    for view in views:
        _array(np.float32, "dim", "encoder_dim")(f"{name}.{view}", value[f"{view}.weight"], sizes)
        _array(np.float32, "dim")(f"{name}.{view}", value[f"{view}.bias"], sizes)
    sizes["width"] = 2 * sizes["dim"]


_WORD_ARRAYS: dict[str, Check] = {
    "words": _array(np.int32, "n_pairs"),
    "of_label_texts": _array(np.float32, "n_pairs"),
    "learnt": _array(np.float32, "n_pairs"),
    "n_words": _array(np.int64),
}


def _words(name: str, value: Any, sizes: Sizes) -> None:
    """Of UniDEC: a sparse matrix with two values at each place, or nothing."""
    names = {*_WORD_ARRAYS, "offsets"}
    if not isinstance(value, dict) or set(value) not in (set(), names):
        raise _wrong(name, value, f"a dict of {', '.join(sorted(names))}, or empty")
    if not value:
        return
    for part, check in _WORD_ARRAYS.items():
        check(f"{name}.{part}", value[part], sizes)
    offsets, words, n_words = value["offsets"], value["words"], value["n_words"]
    _array(np.int64, sizes["n_labels"] + 1)(f"{name}.offsets", offsets, sizes)
    is_ascending = offsets[0] == 0 and offsets[-1] == len(words) and (np.diff(offsets) >= 0).all()
    if not is_ascending:
        raise ValueError(
            f"{name}.offsets does not lead from 0 to {len(words)} without a step back."
        )
    if n_words != sizes["n_words"]:
        raise ValueError(f"{name} is of {n_words} words, and the encoder has {sizes['n_words']}.")
    if len(words) and (words.min() < 0 or words.max() >= n_words):
        raise ValueError(f"{name}.words names words that the encoder does not have.")


def _output_config(name: str, value: Any, sizes: Sizes) -> None:
    """What scikit-learn's `set_output` was given."""
    if not isinstance(value, dict) or not set(value) <= {"transform"}:
        raise _wrong(name, value, "a dict with one key, 'transform'")
    for container in value.values():
        check_choice(name, container, (None, "default", "pandas", "polars"))


# in the order in which they are checked: sizes first
_OF_ALL: dict[str, Check] = {
    "n_labels_": _n_labels,
    "history_": _history,
    "n_iter_": _n_epochs,
    "n_samples_seen_": _integer(0),
    "label_counts_": _array(np.int64, "n_labels"),
    "is_seen_": _array(np.bool_, "n_labels"),
    "classes_": _labels("OUSiufb", _PLAIN, is_unique=True),
    "label_names_": _labels("OUSiufb", _PLAIN),
    "_target_kind": _choice(*get_args(TargetKind)),
    "_target_dtype": _dtype,
    "_optimizer_state": _optimizer_state,
}
_TABLE: dict[str, Check] = {"label_embeddings_": _array(np.float32, "n_labels", "width")}
_OF_TEXTS: dict[str, Check] = {"label_texts_": _labels("O", {str}), "_sigmoid": _sigmoid}
_OF_CLASS: dict[str, dict[str, Check]] = {
    "ReneeClassifier": _TABLE,
    "DualEncoderXC": {
        **_TABLE,
        **_OF_TEXTS,
        "_is_normalized": _choice(True, False),
        "_temperature": _positive,
    },
    "UniDEC": {
        "head_weights_": _heads,
        **_TABLE,
        **_OF_TEXTS,
        "classifier_weights_": _array(np.float32, "n_labels", "dim"),
        "lexical_weights_": _words,
        "temperature_": _positive,
        "dual_score_weight_": _real(0, 1),
        "word_score_weights_": _array(np.float64, 2),
    },
}
_OTHERS: dict[str, Check] = {
    "threshold_": _real(0, 1),
    "_sklearn_output_config": _output_config,
}


def check_fitted(
    cls: type, fitted: Mapping[str, Any], encoder_dim: int | None, n_words: int
) -> None:
    """Raise unless all attributes are there and as `fit` sets them.

    Others are the user's own: they may have any name that the class does not use.
    """
    needed = {**_OF_ALL, **_OF_CLASS[cls.__name__]}
    if lacking := [name for name in needed if name not in fitted]:
        raise ValueError(f"{lacking[0]} is missing.")
    sizes = {"n_words": n_words}
    if encoder_dim is not None:  # a linear classifier's rows end with the intercept
        width = encoder_dim + (cls.__name__ == "ReneeClassifier")
        sizes |= {"encoder_dim": encoder_dim, "dim": encoder_dim, "width": width}
    for name, check in needed.items():
        check(name, fitted[name], sizes)
    if fitted["_target_kind"] != "classes":
        if fitted["_target_dtype"].kind not in "biuf":
            raise _wrong("_target_dtype", fitted["_target_dtype"], "a dtype of numbers")
        if "threshold_" not in fitted:
            raise ValueError("threshold_ is missing.")
    for name in set(fitted) - set(needed):
        if name in _OTHERS:
            _OTHERS[name](name, fitted[name], sizes)
        elif not name.isidentifier() or name.startswith("__") or hasattr(cls, name):
            raise ValueError(f"{name[:60]!r} is no name of a fitted attribute.")


def check_first_format(fitted: Mapping[str, Any]) -> None:
    """Raise unless what the upgrade of the format's first version computes with is sound."""
    sizes: Sizes = {}
    _array(np.float32, "n_labels", "width")("label_embeddings_", fitted["label_embeddings_"], sizes)
    _array(np.int64, "n_labels")("label_counts_", fitted["label_counts_"], sizes)
    if sizes["width"] == 0:
        raise ValueError("label_embeddings_ has no columns.")


def _wrong(name: str, value: Any, expected: str) -> ValueError:
    is_array = isinstance(value, np.ndarray)
    found = f"an array of {value.dtype}, {value.shape}," if is_array else short(value)
    return ValueError(f"{name} is {found} and should be {expected}.")
