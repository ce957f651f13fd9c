"""What a loaded model's fitted attributes must be: checked before anything uses them."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from typing import Any, get_args

import numpy as np

from skxc._methods._attributes import (
    Check,
    Sizes,
    a_number,
    an_array,
    an_integer,
    one_a_label,
    one_of,
    sparse_rows,
    wrong_attribute,
)
from skxc._validation import TargetKind, check_choice, check_integer

from ._fitted import FittedModel

_PLAIN = {type(None), bool, int, float, str}  # what labels are


def _n_labels(name: str, value: Any, sizes: Sizes) -> None:
    an_integer(1)(name, value, sizes)
    sizes["n_labels"] = value


def _history(name: str, value: Any, sizes: Sizes) -> None:
    if not isinstance(value, list):
        raise wrong_attribute(name, value, "a list with an entry for each epoch")
    for entry in value:
        if not isinstance(entry, dict) or not {*map(type, entry.values())} <= {int, float}:
            raise wrong_attribute(name, entry, "a list of dicts of numbers")
    sizes["n_epochs"] = len(value)


def _n_epochs(name: str, value: Any, sizes: Sizes) -> None:
    check_integer(name, value, 0)
    if value != sizes["n_epochs"]:
        raise ValueError(f"{name}={value}, but history_ has {sizes['n_epochs']} entries.")


def _dtype(name: str, value: Any, sizes: Sizes) -> None:
    if not isinstance(value, np.dtype):
        raise wrong_attribute(name, value, "a dtype")


def _optimizer_state(name: str, value: Any, sizes: Sizes) -> None:
    """Dicts of arrays; whether these fit is seen when training goes on."""
    is_sound = isinstance(value, dict) and set(value) == {"optimizers", "step"}
    parts = [*value["optimizers"], value["step"]] if is_sound else [None]
    arrays = [a for part in parts if isinstance(part, dict) for a in part.values()]
    inner = [b for a in arrays for b in (a.values() if isinstance(a, dict) else [a])]
    if not all(isinstance(p, dict) for p in parts) or not all(
        isinstance(array, np.ndarray) for array in inner
    ):
        raise wrong_attribute(name, value, "what optimisers remember, as arrays")


def _output_config(name: str, value: Any, sizes: Sizes) -> None:
    """What scikit-learn's `set_output` was given."""
    if not isinstance(value, dict) or not set(value) <= {"transform"}:
        raise wrong_attribute(name, value, "a dict with one key, 'transform'")
    for container in value.values():
        check_choice(name, container, (None, "default", "pandas", "polars"))


_classifiers = sparse_rows(
    weights=an_array(np.float32, "n_pairs"),
    intercepts=an_array(np.float32, "n_labels"),
    idf=an_array(np.float32, "n_tokens"),
)


def _reranker(name: str, value: Any, sizes: Sizes) -> None:
    """Of the encoder's words or, where it has none, of the tokens that have weights."""
    idf = value.get("idf", ()) if isinstance(value, dict) else ()
    n_words = sizes["n_words"] or np.size(idf)
    _classifiers(name, value, sizes | {"n_words": n_words})


# in the order in which they are checked: sizes first
_OF_ALL: dict[str, Check] = {
    "n_labels_": _n_labels,
    "history_": _history,
    "n_iter_": _n_epochs,
    "n_samples_seen_": an_integer(0),
    "label_counts_": an_array(np.int64, "n_labels"),
    "is_seen_": an_array(np.bool_, "n_labels"),
    "classes_": one_a_label("OUSiufb", _PLAIN, is_unique=True),
    "label_names_": one_a_label("OUSiufb", _PLAIN),
    "_target_kind": one_of(*get_args(TargetKind)),
    "_target_dtype": _dtype,
    "_optimizer_state": _optimizer_state,
    "rerank_weight_": a_number(0, np.inf),
    "reranker_": _reranker,
}
_OTHERS: dict[str, Check] = {
    "threshold_": a_number(0, 1),
    "_sklearn_output_config": _output_config,
}


def check_fitted(
    cls: type[FittedModel], fitted: Mapping[str, Any], encoder_dim: int | None, n_words: int
) -> None:
    """Raise unless all attributes are there and as `fit` sets them.

    Others are the user's own: they may have any name that the class does not use.
    """
    of_mixins = [vars(c).get("_attributes", {}) for c in cls.__mro__]
    needed = {**_OF_ALL, **cls._method.attributes, **dict(ChainMap(*of_mixins))}
    if lacking := [name for name in needed if name not in fitted]:
        raise ValueError(f"{lacking[0]} is missing.")
    sizes = {"n_words": n_words}
    if encoder_dim is not None:
        sizes |= {"encoder_dim": encoder_dim, "dim": encoder_dim, "width": encoder_dim}
    for name, check in needed.items():
        check(name, fitted[name], sizes)
    if fitted["_target_kind"] != "classes":
        if fitted["_target_dtype"].kind not in "biuf":
            raise wrong_attribute("_target_dtype", fitted["_target_dtype"], "a dtype of numbers")
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
    an_array(np.float32, "n_labels", "width")(
        "label_embeddings_", fitted["label_embeddings_"], sizes
    )
    an_array(np.int64, "n_labels")("label_counts_", fitted["label_counts_"], sizes)
    if sizes["width"] == 0:
        raise ValueError("label_embeddings_ has no columns.")
