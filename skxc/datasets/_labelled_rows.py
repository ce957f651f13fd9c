"""Texts and their labels, gathered row by row: a label matrix under names."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from skxc._validation import as_classes, is_collection, short
from skxc._validation._texts import is_missing

from ._written_lists import written_list

Place = Callable[[int], str]


class LabelledRows:
    """Rows that have a text, and what there is to tell of the others.

    Attributes
    ----------
    texts : list of str
    ids : dict of label to int
        Distinct labels, numbered as they come.
    lengths, labels : array of int
        How many labels each row has, and all their numbers.
    numbers : array of int
        The number of each row in its source, of which `place` tells where it is.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.texts = list[str]()
        self.ids = dict[Any, int]()
        self.lengths, self.labels, self.numbers = array("q"), array("q"), array("q")
        # numbers of rows that were left out
        self.textless, self.unlabelled = array("q"), array("q")

    def gather(
        self, rows: Iterable[tuple[int, str, list[Any]]], *, needs_label: bool = False
    ) -> LabelledRows:
        """Add rows: the number, the text and the labels of each."""
        ids = self.ids
        for number, text, labels in rows:
            if not text or text.isspace():
                self.textless.append(number)
                continue
            if needs_label and not labels:
                self.unlabelled.append(number)
                continue
            self.texts.append(text)
            self.numbers.append(number)
            self.lengths.append(len(labels))
            for label in labels:
                self.labels.append(ids.setdefault(label, len(ids)))
        return self

    def place_of_row(self, row: int) -> str:
        return self.place(self.numbers[row])

    def place_of_label(self, label: Any) -> str:
        """Where a label stands first."""
        pair = int(np.argmax(np.asarray(self.labels) == self.ids[label]))
        ends = np.cumsum(np.asarray(self.lengths))
        return self.place_of_row(int(np.searchsorted(ends, pair, side="right")))

    def columns(self) -> NDArray[Any]:
        """The labels, sorted.

        Raises
        ------
        ValueError
            If they are of two types.
        """
        kinds: dict[type, Any] = {}
        for label in self.ids:
            kinds.setdefault(type(label), label)
        if len(kinds) > 1:
            one, other = list(kinds.values())[:2]
            raise ValueError(
                f"{self.place_of_label(other)}: the label {other!r} is of type "
                f"{type(other).__name__}, but {one!r} ({self.place_of_label(one)}) of type "
                f"{type(one).__name__}. Write all labels as texts, or all as whole numbers."
            )
        return as_classes(sorted(self.ids))

    def matrix(self, column_of: dict[Any, int], n_columns: int) -> sp.csr_matrix:
        """1 where a row has a label; labels without a column are left out."""
        columns = np.fromiter((column_of.get(x, -1) for x in self.ids), np.int64, len(self.ids))
        rows = np.repeat(np.arange(len(self.texts)), np.asarray(self.lengths, dtype=np.int64))
        of_pairs = columns[np.asarray(self.labels, dtype=np.int64)]
        has_column = of_pairs >= 0
        pairs = (rows[has_column], of_pairs[has_column])
        matrix = sp.csr_matrix(
            (np.ones(len(pairs[0]), np.float32), pairs), shape=(len(self.texts), n_columns)
        )
        matrix.sum_duplicates()
        matrix.data[:] = 1
        return matrix


def labels_of(cell: Any, separator: str | None) -> list[Any]:
    """The labels in a cell: names without the spaces around them, or whole numbers.

    Raises
    ------
    ValueError
        If the cell holds anything else.
    """
    if isinstance(cell, str):
        name = cell.strip()
        is_closed = name.endswith((")", "]", "}"))
        if is_closed and (values := written_list(name)) is not None:
            return [label for value in values for label in _label(value)]
        if separator is not None:
            return [name for part in cell.split(separator) if (name := part.strip())]
        return [name] if name else []
    if is_missing(cell):
        return []
    if is_collection(cell):
        return [label for value in cell for label in _label(value)]
    return _label(cell)


def _label(value: Any) -> list[Any]:
    """A label as a list of one; of none where it is empty or missing."""
    if isinstance(value, str):
        return [name] if (name := value.strip()) else []
    if is_missing(value):
        return []
    # pandas makes floats of integers in a column with a gap
    if isinstance(value, Integral) or (isinstance(value, Real) and float(value).is_integer()):
        whole: Any = value
        return [int(whole)]
    raise ValueError(
        f"{short(value)} of type {type(value).__name__} is no label. Labels are texts, whole "
        f"numbers, or lists of them"
    )
