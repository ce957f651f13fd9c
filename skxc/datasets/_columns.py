"""Columns of files that are larger than the memory."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ._arrow_columns import ArrowTable, ParquetTable, checked_column
from ._line_columns import (
    JsonLines,
    JsonTable,
    TextLines,
    checked_columns,
    chosen_column,
    json_names,
    listed,
)
from ._tables import TABLES, JoinedColumns, TableColumn, file_table


class FileColumn:
    r"""Values of a file, one a row, read in blocks whenever they are asked for.

    They are never in memory all at once. The file's name (in upper or lower case) tells
    how it is read:

    ``.parquet``
        A column of a Parquet file.
    ``.arrow``, ``.feather``, ``.ipc``
        A column of an Arrow IPC file or stream, as ``datasets`` of Hugging Face and polars write
        them.
    ``.jsonl``, ``.ndjson``, also with ``.gz``
        A field of JSON objects, one a line; a blank line is no row.
    ``.csv``, ``.tsv``, also with ``.gz``
        A column of a table whose first row names the columns. Cells between quotation marks may
        hold line feeds, and a blank line is no row. In ``.csv``, a comma, semicolon, tab or bar
        ends a cell: the one that a first line such as ``sep=;`` names, or else whichever cuts the
        first row into most cells.
    any other, also with ``.gz``
        Texts in UTF-8, one a line. Only a line feed ends a line; a carriage return before it and a
        byte-order mark at the line's beginning are left out.

    The first two need pyarrow: ``pip install "skxc[arrow]"``.

    Parameters
    ----------
    path : str or path-like
        The file.
    column : str or list of str, default=None
        The column, or field, of the values. A list: columns of texts, joined by a space, without
        the empty ones; a null, or a field that an object lacks, is an empty text. None: the only
        one that there is (of the first JSON object); in ``.csv`` and ``.tsv`` one has to be named.
        Lines of text have none.
    encoding : str, default="utf-8"
        Of ``.csv`` and ``.tsv``, such as "cp1252" or "utf-16"; all else is UTF-8.

    Attributes
    ----------
    path : Path
        The file.
    column : str, list of str or None
        What is read; None in lines of text.
    encoding : str
        As it was given.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If the file needs pyarrow, and it is not installed.
    ValueError
        If `path` is no regular file or cannot be read as what its name says, or if `column` is no
        column of texts, or of lists of texts or of whole numbers.

    Notes
    -----
    A value is a str, or a list of str or int. A null (of a single column) and anything else is a
    ValueError that names the row, when it is reached. So is a file of another size or time of
    change than at first, when a pass begins or `len` is called.

    An object can be pickled, as the file's name and not its content.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skxc.datasets import FileColumn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "rows.jsonl")
    ...     _ = path.write_text('{"text": "red apples", "labels": ["fruit"]}\n'
    ...                         '{"text": "a fast car", "labels": []}\n')
    ...     texts = FileColumn(path, "text")
    ...     len(texts), list(texts), list(texts.rows(1)), list(FileColumn(path, "labels"))
    (2, ['red apples', 'a fast car'], ['a fast car'], [['fruit'], []])
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        column: str | Sequence[str] | None = None,
        encoding: str = "utf-8",
    ) -> None:
        if not isinstance(os.fspath(path), str):
            raise TypeError(f"path is {path!r}. Pass a str or a path.")
        are_names = isinstance(column, list | tuple) and {*map(type, column)} == {str}
        if not (column is None or isinstance(column, str) or are_names):
            raise TypeError(f"column is {column!r}. Pass the name of a column, a list, or None.")
        self.path, self.encoding = Path(path), encoding
        self._size_and_time = size_and_time(self.path)
        self._reader = _reader(self.path, column, encoding)
        self.column: str | list[str] | None = getattr(self._reader, "column", None)
        self._n_rows: int | None = None

    def __len__(self) -> int:
        """The number of rows; lines are counted once, which takes a pass over the file."""
        self._check_unchanged()
        if self._n_rows is None:
            self._n_rows = self._reader.n_rows()
        return self._n_rows

    def __iter__(self) -> Iterator[Any]:
        """All values, in order."""
        return self.rows()

    def __repr__(self) -> str:
        column = "" if self.column is None else f", column={self.column!r}"
        return f"{type(self).__name__}({str(self.path)!r}{column})"

    def rows(self, start: int = 0) -> Iterator[Any]:
        """The values from a row on, in order.

        Rows before it are skipped unread where the format tells where they end: in row groups of
        Parquet files and batches of Arrow files. Lines are counted, not decoded; rows
        of ``.csv``, which may take several lines, are read.

        Parameters
        ----------
        start : int, default=0
            The first row, counted from 0. From the number of rows on, there are no values.

        Returns
        -------
        iterator of str or list
            What the file holds.

        Raises
        ------
        ValueError
            If `start` is negative, or the file has changed since this object was made.
        """
        if start < 0:
            raise ValueError(f"start is {start}. Pass at least 0.")
        self._check_unchanged()
        return iter(self._reader.values(start))

    def _check_unchanged(self) -> None:
        size, time = size_and_time(self.path)
        if (size, time) != self._size_and_time:
            raise ValueError(
                f"{self.path} has changed since FileColumn was made: it had "
                f"{self._size_and_time[0]:,} bytes, and has {size:,}, or was written again. Make a "
                f"new FileColumn."
            )


def size_and_time(path: Path) -> tuple[int, int]:
    """Bytes of a regular file, and when it was last changed (ns).

    Raises
    ------
    OSError
        If there is none.
    ValueError
        If it is something else, such as a folder or a pipe.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
        raise ValueError(f"{path} is {what}. Pass a file, which can be read again.")
    return status.st_size, status.st_mtime_ns


def _reader(path: Path, column: str | Sequence[str] | None, encoding: str) -> Any:
    """What reads these columns of this file."""
    table = file_table(path, encoding)
    if table is None:
        if column is not None:
            raise ValueError(
                f"column is {listed([column] if isinstance(column, str) else column)}, but {path} "
                f"is by its name a file of texts, one a line, which has no columns. Pass none, or "
                f"a file whose name ends in {', '.join(TABLES)}."
            )
        return TextLines(path)
    if column is not None and not isinstance(column, str):
        return JoinedColumns(table, checked_columns(column, path, table.names()))
    if isinstance(table, JsonTable):
        names = json_names(path)
        return JsonLines(path, column if names is None else chosen_column(path, column, names))
    if isinstance(table, ArrowTable | ParquetTable):
        return TableColumn(table, checked_column(table, column))
    if column is None:  # a file of one column may be texts without a header
        raise ValueError(
            f"{path} has the columns {listed(table.names())}, as its first line says. Choose one "
            f"as column (--text). The name of a file of texts, one a line, ends in .txt."
        )
    return TableColumn(table, chosen_column(path, column, table.names()))
