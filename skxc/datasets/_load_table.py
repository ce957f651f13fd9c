"""A user's own table as a data set."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from skxc._validation import callers_stack_level, short
from skxc._validation._label_names import joined_names
from skxc._validation._texts import is_missing

from ._delimited import DelimitedTable
from ._held_out import data_set
from ._labelled_rows import LabelledRows, labels_of
from ._line_columns import checked_columns
from ._tables import Table, joined_texts, opened_table, wrong_text
from ._vocabulary import as_vocabulary
from ._written_lists import written_list

# cells, in lower case, that say whether the label of their column applies
_BITS: dict[Any, bool] = {"0": False, "1": True, "0.0": False, "1.0": True}
_BITS |= {"false": False, "true": True, 0: False, 1: True}
_UNKNOWN = {"-1", "-1.0", -1}  # beside these
_FLOAT = re.compile(r"-?\d+\.0")

_Rows = Iterator[tuple[int, str, list[Any]]]


def load_table(
    table: Any,
    *,
    text: str | Sequence[str],
    labels: str | Sequence[str],
    separator: str | None = None,
    vocabulary: Any = None,
    language: str | None = None,
    encoding: str = "utf-8",
    test_size: float = 0.1,
    random_state: Any = 0,
) -> Bunch:
    r"""Read texts and labels from columns of a table, and hold out a part of the rows.

    Parameters
    ----------
    table : str, path-like or DataFrame
        A DataFrame of pandas or polars, or a file, whose name tells how it is read: ``.csv``,
        ``.tsv``, ``.jsonl``, ``.ndjson`` (these also with ``.gz``), ``.parquet``, ``.arrow``,
        ``.feather`` or ``.ipc``, as :class:`FileColumn` reads them.
    text : str or list of str
        Columns of texts, joined by a space, without the empty ones.
    labels : str or list of str
        Columns of labels. A cell holds a label, or several: a list (in JSON, Parquet and
        DataFrames, or written out by JSON, Python or NumPy, as ``["a", "b"]``), or a text that
        `separator` cuts. Spaces around names are dropped, and so are empty and missing names. Where
        pandas wrote whole numbers with gaps to ``.csv`` (1.0, 3.0, an empty cell), they are 1 and
        3. The labels of several columns are put together; if these hold nothing but 0 and 1 (or
        0.0, false, TRUE, ...; an empty cell is 0), each is the indicator of one label, by the
        column's name.
    separator : str, default=None
        What stands between the labels in a cell. None: a cell is one label.
    vocabulary : mapping, str or path-like, default=None
        The text of each label, by its name: a dict, or a file as
        :func:`load_annif_corpus` reads it. Its labels, in its order, are the columns of `Y`,
        also those that no row has; labels of the table that it lacks are left out. A label may
        also stand in the table as its text, if no other has the same. None: the labels that there
        are, sorted.
    language : str, default=None
        Of the vocabulary's texts, where the file has several.
    encoding : str, default="utf-8"
        Of a `table` in ``.csv`` or ``.tsv``, such as "cp1252" or "utf-16"; all else is UTF-8, a
        vocabulary, too.
    test_size : float or int, default=0.1
        Share, or number, of the rows to hold out; 0 for none. They are drawn at random, but a
        label of two rows or more has at least one in the training part; where labels are rare,
        fewer rows can be held out.
    random_state : int, RandomState instance or None, default=0
        Source of randomness of this choice.

    Returns
    -------
    :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the attributes:

        texts : list of str, length n_samples
            The training texts, in the order of the table.
        Y : csr_matrix of shape (n_samples, n_labels), float32
            1 where a text has a label.
        test_texts : list of str, length n_test
            The held-out texts.
        Y_test : csr_matrix of shape (n_test, n_labels), float32
            As `Y`, for the held-out texts.
        label_names : ndarray of shape (n_labels,)
            What the columns of `Y` and `Y_test` are called in the table: str or int.
        label_texts : list of str, length n_labels, or None
            The vocabulary's texts, or else the names; None where most of these are numbers or
            addresses (URIs), which say nothing.
        exclude, test_exclude : None
            There is no pair to ignore.
        DESCR : str
            What was read, in one line.

    Raises
    ------
    OSError
        If there is no such file.
    ImportError
        If the file needs a package that is not installed.
    ValueError
        If a column is not there, a row has too many cells, a cell holds no text or no label, -1
        stands among indicators, a line is not in `encoding`, or no row has a text, or none a label.
        The message names the file, and the line (counted from 1) or the row (from 0).
    TypeError
        If `table` or `vocabulary` is of a wrong type.

    Warns
    -----
    UserWarning
        If rows have no text (they are left out), no label (they are kept), or too few cells (the
        last are taken as empty); a cell of a ``.tsv`` seems to hold whole rows; labels look like
        several in one cell, or like indicators; the vocabulary lacks labels, or has a text twice;
        fewer rows are held out than were asked for, or their texts are training texts, too.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from skxc.datasets import load_table
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "recipes.csv")
    ...     _ = path.write_text('title,body,subjects\n'
    ...                         'Apple pie,"Peel, cut, bake.",baking; fruit\n'
    ...                         'Trout,Grill it.,fish\n'
    ...                         'Pear tart,,baking; fruit\n')
    ...     data = load_table(path, text=["title", "body"], labels="subjects", separator=";",
    ...                       test_size=1)
    >>> data.texts, data.test_texts
    (['Apple pie Peel, cut, bake.', 'Trout Grill it.'], ['Pear tart'])
    >>> data.label_names.tolist(), data.Y.toarray().tolist()
    (['baking', 'fish', 'fruit'], [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    """
    opened = opened_table(table, encoding)
    name = str(table) if isinstance(table, str | os.PathLike) else "The DataFrame"
    names = opened.names()
    text_columns = checked_columns(_as_list("text", text), name, names)
    label_columns = checked_columns(_as_list("labels", labels), name, names)
    if separator is not None and (not isinstance(separator, str) or not separator):
        raise ValueError(f"separator is {separator!r}. Pass a text such as ';', or None.")
    known = as_vocabulary(vocabulary, language)
    rows = LabelledRows(opened.place)
    rows.gather(_rows(opened, text_columns, label_columns, separator))
    if floats := _floats(opened, rows, label_columns):
        rows = LabelledRows(opened.place)
        rows.gather(_rows(opened, text_columns, label_columns, separator, floats))
    if _are_indicators(rows, label_columns, has_vocabulary=known is not None):
        rows = LabelledRows(opened.place)
        rows.gather(_indicator_rows(opened, text_columns, label_columns, separator))
    elif known is None:
        _warn_of_joined(opened, rows, label_columns, separator)
    return data_set(rows, name, known, test_size, random_state)


def _as_list(name: str, columns: str | Sequence[str]) -> list[str]:
    given = [columns] if isinstance(columns, str) else columns
    if not isinstance(given, list | tuple) or not given:
        raise TypeError(f"{name} is {columns!r:.60}. Pass the name of a column, or a list of them.")
    return list(given)


def _rows(
    table: Table,
    text: list[str],
    labels: list[str],
    separator: str | None,
    floats: Collection[str] = (),
) -> _Rows:
    """The number, the text and the labels of each row."""
    n_texts = len(text)
    for number, cells in table.rows([*text, *labels]):
        found = list[Any]()
        for column, cell in zip(labels, cells[n_texts:], strict=True):
            if column in floats:
                cell = cell.strip().removesuffix(".0")
            try:
                found += labels_of(cell, separator)
            except ValueError as error:
                raise ValueError(f"{table.place(number)}: {column!r}: {error}.") from error
        yield number, _text(table, number, text, cells[:n_texts]), found


def _floats(table: Table, rows: LabelledRows, columns: list[str]) -> list[str]:
    """Columns of whole numbers with gaps, as pandas writes them to CSV: 1.0, and nothing."""
    names = (label for label in rows.ids if isinstance(label, str))
    if not isinstance(table, DelimitedTable) or not any(map(_FLOAT.fullmatch, names)):
        return []
    kinds = [set[str | bool]() for _ in columns]
    for _, cells in table.rows(columns):
        for kind, cell in zip(kinds, map(str.strip, cells), strict=True):
            kind.add(cell and _FLOAT.fullmatch(cell) is not None)
    return [column for column, kind in zip(columns, kinds, strict=True) if kind == {"", True}]


def _warn_of_joined(
    table: Table, rows: LabelledRows, columns: list[str], separator: str | None
) -> None:
    """Tell of cells that look like several labels: those of lists are not cut by any separator."""
    names = [label for label in rows.ids if isinstance(label, str)]
    if joined_names(names) is None:
        return
    cells = (cell for _, row in table.rows(columns) for cell in row if isinstance(cell, str))
    plain = (cell for cell in cells if written_list(cell.strip()) is None)
    found = {label for cell in plain for label in labels_of(cell, separator)}
    if joined := joined_names(sorted(found.intersection(names))):
        label, between = joined
        _warn(
            f"{rows.place_of_label(label)}: {short(label)} looks like several labels in one "
            f"cell, and is read as one. To cut them apart, pass {between!r} as separator."
        )


def _are_indicators(rows: LabelledRows, columns: list[str], *, has_vocabulary: bool) -> bool:
    """Whether each column tells if its own label applies: all hold nothing but 0 and 1.

    Raises
    ------
    ValueError
        If they hold -1, too.
    """
    others = [label for label in rows.ids if _bit(label) is None]
    if len(others) == len(rows.ids):
        return False
    n_cells = np.bincount(rows.labels)  # of each label
    n_others = sum(int(n_cells[rows.ids[label]]) for label in others)
    if len(columns) > 1:
        if not others:
            return True
        place = f"{rows.place_of_label(others[0])}: {others[0]!r} stands beside 0 and 1 in columns"
        if {*others} <= _UNKNOWN:
            raise ValueError(f"{place} of labels. Write 0, 1, or nothing for a label not applied.")
        if 2 * n_others < len(rows.labels) and not has_vocabulary:
            _warn(
                f"{place} of labels, which are therefore read as names of labels. For columns that "
                f"tell whether their label applies, write 0, 1 or nothing in each cell."
            )
    elif not others and max(rows.lengths) == 1 and not has_vocabulary:
        _warn(
            f"{columns[0]!r} holds nothing but {' and '.join(map(repr, rows.ids))}, and these are "
            f"read as names of labels. If it tells whether one label applies, write the label's "
            f"name for 1, and nothing for 0."
        )
    return False


def _bit(label: Any) -> bool | None:
    return _BITS.get(label.lower() if isinstance(label, str) else label)


def _warn(text: str) -> None:
    warnings.warn(text, UserWarning, stacklevel=callers_stack_level())


def _indicator_rows(
    table: Table, text: list[str], labels: list[str], separator: str | None
) -> _Rows:
    """The same, where each column of labels tells whether its own label applies."""
    n_texts = len(text)
    for number, cells in table.rows([*text, *labels]):
        found = [
            column
            for column, cell in zip(labels, cells[n_texts:], strict=True)
            if any(map(_bit, labels_of(cell, separator)))
        ]
        yield number, _text(table, number, text, cells[:n_texts]), found


def _text(table: Table, number: int, columns: list[str], values: Sequence[Any]) -> str:
    if all(type(value) is str for value in values):
        return values[0] if len(values) == 1 else joined_texts(values)
    texts = [None if is_missing(value) else value for value in values]
    for column, value in zip(columns, texts, strict=True):
        if value is not None and not isinstance(value, str):
            raise wrong_text(table.place(number), column, value)
    return joined_texts(texts)
