"""Columns of files that hold a row a line: texts, and JSON objects."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from skxc._validation import reason, short

from ._files import opened
from ._lines import blocks_of_lines, count_lines, line_text

_FIRST = 100  # objects whose fields are a file's


class TextLines(NamedTuple):
    """Texts, one a line."""

    path: Path

    def n_rows(self) -> int:
        with opened(self.path) as file:
            return count_lines(file)

    def values(self, start: int) -> Iterator[str]:
        source = str(self.path)
        for number, line in numbered_lines(self.path, start):
            yield line_text(line, source, number)


class JsonLines(NamedTuple):
    """One field of JSON objects, one a line."""

    path: Path
    column: str | None  # None: there are no rows

    def n_rows(self) -> int:
        return sum(1 for _ in _json_lines(self.path))

    def values(self, start: int) -> Iterator[Any]:
        for number, line in _json_lines(self.path, start):
            row = _json_object(self.path, number, line)
            if self.column not in row:
                raise ValueError(
                    f"{self.path}, line {number}: there is no field {self.column!r}. The fields "
                    f"are {listed(row)}."
                )
            if not is_value(value := row[self.column]):
                raise wrong_value(f"{self.path}, line {number}", self.column, value)
            yield value


class JsonTable(NamedTuple):
    """JSON objects, one a line; a field that one of them lacks is None."""

    path: Path

    def names(self) -> list[str]:
        """The fields of the first objects, each of which may lack some."""
        rows = islice(_json_lines(self.path), _FIRST)
        objects = [_json_object(self.path, number, line) for number, line in rows]
        return list(dict.fromkeys(name for row in objects for name in row))

    def n_rows(self) -> int:
        return sum(1 for _ in _json_lines(self.path))

    def rows(self, columns: list[str], start: int = 0) -> Iterator[tuple[int, Sequence[Any]]]:
        for number, line in _json_lines(self.path, start):
            row = _json_object(self.path, number, line)
            yield number, [row.get(column) for column in columns]

    def place(self, number: int) -> str:
        return f"{self.path}, line {number}"


def json_names(path: Path) -> list[str] | None:
    """The fields of a file's first object; None in a file without rows."""
    for number, line in _json_lines(path):
        return list(_json_object(path, number, line))
    return None


def is_value(value: Any) -> bool:
    """Whether it is a text, or a list of texts or of whole numbers."""
    if not isinstance(value, list):
        return isinstance(value, str)
    kinds = set(map(type, value))
    return kinds <= {str} or kinds <= {int}


def wrong_value(place: str, column: str | None, value: Any) -> ValueError:
    """The error of what `is_value` denies."""
    return ValueError(
        f"{place}: {column!r} is {'null' if value is None else short(value)}. Each row needs a "
        f"text, or a list of texts or of whole numbers."
    )


def listed(names: Any) -> str:
    """Names of columns, for an error's text."""
    return ", ".join(map(repr, names)) or "none"


def nearest(name: object, names: Iterable[object]) -> str:
    """A question after the name that resembles this one most, with a space before it."""
    found = get_close_matches(str(name), list(map(str, names)), 1)
    return f" Did you mean {found[0]!r}?" if found else ""


def chosen_column(path: Path, column: str | None, names: Sequence[str]) -> str:
    """The column, or the only one there is.

    Raises
    ------
    ValueError
        If there is no such column, or none is chosen among several.
    """
    if column is None and len(names) == 1:
        return names[0]
    if column is None:
        raise ValueError(f"{path} has the columns {listed(names)}. Choose one as column (--text).")
    return checked_columns([column], path, names)[0]


def checked_columns(columns: Sequence[str], source: object, names: Sequence[object]) -> list[str]:
    """The columns, each of which the table has once; `source` is its name.

    Raises
    ------
    ValueError
        If it has not.
    """
    for column in columns:
        n_found = names.count(column)
        if n_found != 1:
            raise ValueError(
                f"{source} has {n_found or 'no'} column{'s' * (n_found > 1)} {column!r}. Its "
                f"columns are {listed(names)}.{'' if n_found else nearest(column, names)}"
            )
    return list(columns)


def _json_lines(path: Path, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """The lines from a row on; a blank one is no row."""
    rows = (numbered for numbered in numbered_lines(path, 0) if numbered[1].strip())
    return islice(rows, start, None)


def _json_object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    return json_object(f"{path}, line {number}", line_text(line, str(path), number))


def json_object(place: str, text: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place}: {reason(error)}. Each line must be a JSON object.") from error
    if not isinstance(row, dict):
        raise ValueError(f"{place}: {short(row)} is no JSON object. Each line must be one.")
    return row


def numbered_lines(path: Path, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Each line from this row on, and its number, counted from 1."""
    with opened(path) as file:
        for lines in blocks_of_lines(file, start):
            yield from enumerate(lines, start + 1)
            start += len(lines)
