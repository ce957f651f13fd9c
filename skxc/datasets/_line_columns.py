"""Columns of files that hold a row a line: texts, and JSON objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from skxc._validation import short

from ._files import opened
from ._lines import blocks_of_lines, count_lines, line_text


class TextLines(NamedTuple):
    """Texts, one a line."""

    path: Path

    def n_rows(self) -> int:
        return _n_lines(self.path)

    def values(self, start: int) -> Iterator[str]:
        source = str(self.path)
        for number, line in _numbered_lines(self.path, start):
            yield line_text(line, source, number)


class JsonLines(NamedTuple):
    """One field of JSON objects, one a line."""

    path: Path
    column: str | None  # None: there are no rows

    def n_rows(self) -> int:
        return _n_lines(self.path)

    def values(self, start: int) -> Iterator[Any]:
        for number, line in _numbered_lines(self.path, start):
            row = _json_object(self.path, number, line)
            if self.column not in row:
                raise ValueError(
                    f"{self.path}, line {number}: there is no field {self.column!r}. The fields "
                    f"are {listed(row)}."
                )
            if not is_value(value := row[self.column]):
                raise wrong_value(f"{self.path}, line {number}", self.column, value)
            yield value


def json_names(path: Path) -> list[str] | None:
    """The fields of a file's first object; None in a file without rows."""
    for number, line in _numbered_lines(path, 0):
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


def _json_object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    text = line_text(line, str(path), number)
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}, line {number}: {error}. Each line must be a JSON object."
        ) from error
    if not isinstance(row, dict):
        raise ValueError(
            f"{path}, line {number}: {short(row)} is no JSON object. Each line must be one."
        )
    return row


def _numbered_lines(path: Path, start: int) -> Iterator[tuple[int, bytes]]:
    """Each line from this row on, and its number, counted from 1."""
    with opened(path) as file:
        for lines in blocks_of_lines(file, start):
            yield from enumerate(lines, start + 1)
            start += len(lines)


def _n_lines(path: Path) -> int:
    with opened(path) as file:
        return count_lines(file)
