"""What a fit is given, checked and in one form."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from skxc._data._token_files import mapped_matrix
from skxc._data._tokens import TokenStore, are_equal
from skxc._validation import LazyColumn, Target, callers_stack_level, is_nameless, short
from skxc.encoders._base import Encoder


@dataclass(frozen=True)
class FitMode:
    """How a fit relates to an earlier one."""

    is_resumed: bool = False  # go on from the fitted weights
    is_partial: bool = False  # one pass, and keep the optimisers' state
    classes: NDArray[Any] | None = None


@dataclass(frozen=True)
class CheckedInputs:
    """What a fit is given, in one form."""

    texts: list[str] | LazyColumn
    target: Target
    weights: NDArray[np.float32] | None
    mask: sp.csr_array | None
    label_texts: list[str] | None
    mode: FitMode
    start: Encoder | None = None  # a fitted one that training begins from; its weights move on


def with_labels_in_files(inputs: CheckedInputs, folder: Path) -> CheckedInputs:
    """The inputs, their labels in files as their texts are."""
    target = replace(inputs.target, Y=mapped_matrix(inputs.target.Y, folder))
    return replace(inputs, target=target)


def warn_of_no_label(Y: sp.csr_array, mask: sp.csr_array | None) -> None:
    """Warn where no text has a label, such as since all its pairs are excluded."""
    if Y.nnz:
        return
    why = "" if mask is None else " that exclude leaves"
    warnings.warn(
        f"None of the {Y.shape[0]} texts has a label{why}: nothing can be learnt from them. Check "
        f"that y holds 1 where a label applies.",
        UserWarning,
        stacklevel=callers_stack_level(),
    )


def warn_of_equal_texts(tokens: TokenStore, texts: Iterable[str], encoder: Encoder) -> None:
    """Warn where the encoder reads nothing that tells one text from another."""
    first = next(iter(texts))
    example = f"such as X[0]={short(first)}"
    if not tokens.lengths.any():
        what = f"finds no word that it knows in any of the {len(tokens)} texts, {example}"
    elif are_equal(tokens) and any(text != first for text in texts):
        what = f"reads the same tokens in all of the {len(tokens)} texts, {example}"
    else:
        return
    warnings.warn(
        f"{encoder!r} {what}: nothing can be learnt from them, and all texts will get the same "
        f"scores. Pass texts with words, or an encoder that reads them (the bag's token_pattern "
        f"says what a word is).",
        UserWarning,
        stacklevel=callers_stack_level(),
    )


def without(Y: sp.csr_array, mask: sp.csr_array | None) -> sp.csr_array:
    """Y without the pairs of the mask."""
    if mask is None:
        return Y
    kept = Y - Y * (mask != 0)
    kept.eliminate_zeros()
    return sp.csr_array(kept, dtype=np.float32)


def label_names(target: Target, label_texts: list[str] | None) -> NDArray[Any]:
    """What `predict_labels` answers: label texts where Y's columns have no names of their own."""
    if is_nameless(target.classes) and label_texts is not None and target.kind != "classes":
        return np.array(label_texts, dtype=object)
    return target.classes


def given_metadata(sample_weight: Any, exclude: Any) -> dict[str, Any]:
    """The metadata of a fit that are not None."""
    metadata = {"sample_weight": sample_weight, "exclude": exclude}
    return {name: value for name, value in metadata.items() if value is not None}
