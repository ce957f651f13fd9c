"""Tables of every kind, row by row: files, and DataFrames of pandas and polars."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from skxc._validation import is_frame, short

from ._arrow_columns import ArrowTable, ParquetTable
from ._delimited import DelimitedTable, check_encoding
from ._line_columns import JsonTable, is_value, wrong_value


class Table(Protocol):
    """Rows under names, read as often as they are asked for."""

    def names(self) -> list[Any]: ...
    def n_rows(self) -> int: ...
    def rows(self, columns: list[str], start: int = 0) -> Iterator[tuple[int, Sequence[Any]]]: ...
    def place(self, number: int) -> str: ...


class FrameTable(NamedTuple):
    """A DataFrame."""

    frame: Any
    source: str = "The DataFrame"

    def names(self) -> list[Any]:
        return list(self.frame.columns)

    def n_rows(self) -> int:
        return len(self.frame)

    def rows(self, columns: list[str], start: int = 0) -> Iterator[tuple[int, Sequence[Any]]]:
        values = [_listed(self.frame[column]) for column in columns]
        yield from islice(enumerate(zip(*values, strict=True)), start, None)

    def place(self, number: int) -> str:
        return f"{self.source}, row {number} (counted from 0)"


_BY_SUFFIX: dict[str, type] = {
    ".csv": DelimitedTable,
    ".tsv": DelimitedTable,
    ".jsonl": JsonTable,
    ".ndjson": JsonTable,
    ".parquet": ParquetTable,
    ".arrow": ArrowTable,
    ".feather": ArrowTable,
    ".ipc": ArrowTable,
}
TABLES = tuple(_BY_SUFFIX)


def suffix_of(path: Path) -> str:
    """What tells how a file is read, in lower case; ".gz" is left out."""
    path = Path(path.name.lower())
    return Path(path.stem).suffix if path.suffix == ".gz" else path.suffix


def file_table(path: Path, encoding: str = "utf-8") -> Table | None:
    """The table in a file; None where its name is not that of one."""
    kind = _BY_SUFFIX.get(suffix_of(path))
    if kind is DelimitedTable:
        check_encoding(encoding)
        return DelimitedTable(path, encoding)
    if encoding != "utf-8":
        raise ValueError(
            f"encoding is {encoding!r}, but only CSV and TSV files have one, and {path} is none "
            f"by its name. Leave it out."
        )
    table: Table | None = None if kind is None else kind(path)
    return table


def opened_table(source: Any, encoding: str) -> Table:
    """The table in a file, or in a DataFrame.

    Raises
    ------
    OSError
        If there is no such file.
    TypeError, ValueError
        If it is no table.
    """
    if is_frame(source):
        return FrameTable(source)
    if not isinstance(source, str | os.PathLike):
        raise TypeError(
            f"table is {short(source)} of type {type(source).__name__}. Pass the path of a file "
            f"({', '.join(TABLES)}), or a DataFrame of pandas or polars."
        )
    path = Path(source)
    path.stat()  # raise if there is none
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder. Pass a file of one of the kinds {', '.join(TABLES)}."
        )
    table = file_table(path, encoding)
    if table is None:
        is_sheet = suffix_of(path) in (".xlsx", ".xls", ".ods")
        remedy = "Save the sheet as CSV in UTF-8" if is_sheet else "Name the file as what it is"
        raise ValueError(f"{path} has no name of a table: {', '.join(TABLES)}. {remedy}.")
    return _without_pyarrow(path) if isinstance(table, ParquetTable) else table


def joined_texts(values: Sequence[Any]) -> str:
    """The texts of a row's columns, joined by a space; empty ones are left out."""
    return " ".join(value for value in values if value and not value.isspace())


class TableColumn(NamedTuple):
    """One column of a table."""

    table: Table
    column: str

    def n_rows(self) -> int:
        return self.table.n_rows()

    def values(self, start: int) -> Iterator[Any]:
        for number, (value,) in self.table.rows([self.column], start):
            if not is_value(value):
                raise wrong_value(self.table.place(number), self.column, value)
            yield value


class JoinedColumns(NamedTuple):
    """Several columns of texts as one; null is an empty text."""

    table: Table
    column: list[str]

    def n_rows(self) -> int:
        return self.table.n_rows()

    def values(self, start: int) -> Iterator[str]:
        for number, values in self.table.rows(self.column, start):
            for column, value in zip(self.column, values, strict=True):
                if value is not None and not isinstance(value, str):
                    raise wrong_text(self.table.place(number), column, value)
            yield joined_texts(values)


def wrong_text(place: str, column: Any, value: Any) -> ValueError:
    """The error of what is no text."""
    return ValueError(
        f"{place}: {column!r} is {short(value)} of type {type(value).__name__}, and no text. Pass "
        f"columns of texts as text."
    )


def _listed(column: Any) -> list[Any]:
    """A Series of pandas or polars as Python's values."""
    values: list[Any] = column.to_list()
    return values


def _without_pyarrow(path: Path) -> Table:
    """The table, read whole by polars or pandas where pyarrow is not installed."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        for package in ("polars", "pandas"):
            try:
                frame = import_module(package).read_parquet(path)
            except ImportError:  # pandas reads by others, too
                continue
            return FrameTable(frame, str(path))
    return ParquetTable(path)
