"""What a list of lists means: rows of an indicator, or the labels of each text."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np

TargetKind = Literal["sparse", "dense", "lists", "classes"]


def is_label_lists(y: Any, kind: TargetKind | None, n_classes: int | None) -> bool:
    """Whether the rows of `y` are collections of labels.

    A fitted model reads them as it was fitted, by its `kind`: what a list means must not depend on
    the values of one batch. A first fit asks where only the user can know.
    """
    rows: Any = y if isinstance(y, list | tuple) else np.asarray(y)
    if isinstance(rows, np.ndarray) and (rows.ndim != 1 or rows.dtype != object):
        return False
    if any(isinstance(row, set | frozenset) for row in rows):
        return True
    if not any(map(is_collection, rows)):
        return False
    if kind == "lists":
        return True
    is_of_matrix = kind in ("sparse", "dense")
    if _is_binary_rectangle(rows):
        width = len(rows[0])
        if is_of_matrix and width == n_classes:
            return False
        if width > 1 and not _may_be_ids(rows):
            return False
        if width > 1 and not is_of_matrix:
            raise ValueError(
                "Y is a list of lists that hold 0 and 1 alone: a binary indicator of 2 labels, or "
                "the ids of labels? Pass np.asarray(y) for an indicator; for ids, pass "
                "MultiLabelBinarizer(sparse_output=True).fit_transform(y), or sets of them."
            )
    if is_of_matrix and n_classes in (1, 2) and _holds_number(rows):
        raise ValueError(
            f"Y is a list of lists of numbers, and the model was fitted on a matrix of {n_classes} "
            f"labels: rows of that matrix, or ids of labels? Pass np.asarray(y) for rows; for ids, "
            f"pass MultiLabelBinarizer(classes=clf.classes_, sparse_output=True).fit_transform(y)."
        )
    return True


def is_collection(row: Any) -> bool:
    """Whether it is a row or a collection of labels, and not one label."""
    if isinstance(row, str | bytes | dict):
        return False
    return hasattr(row, "__len__") and hasattr(row, "__iter__") and getattr(row, "ndim", 1) > 0


def _is_binary_rectangle(rows: Sequence[Any]) -> bool:
    """Whether all rows have one length and hold 0 and 1 alone."""
    lengths = {len(row) if hasattr(row, "__len__") else -1 for row in rows}
    if len(lengths) > 1 or lengths <= {-1, 0}:
        return False
    return all(
        isinstance(label, Real | np.bool_) and label in (0, 1) for row in rows for label in row
    )


def _may_be_ids(rows: Sequence[Any]) -> bool:
    """Whether rows of 0 and 1 may be ids: each at most once in a row, none a bool or a float."""
    if any(len(set(row)) < len(row) for row in rows):
        return False
    return all(isinstance(label, Integral) and not isinstance(label, bool | np.bool_)
               for row in rows for label in row)  # fmt: skip


def _holds_number(rows: Sequence[Any]) -> bool:
    return any(isinstance(label, Real) for row in rows for label in row)
