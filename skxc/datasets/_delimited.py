"""Rows of CSV and TSV files, read as a stream: quotation marks, and line feeds in cells."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ._files import opened
from ._line_columns import listed

_DELIMITERS = ",;\t|"
_ROWS_AT_ONCE = 1024
_LONGEST_CELL = 1 << 27  # characters; longer ones begin with a mark that nothing closes


class DelimitedTable(NamedTuple):
    """A file whose first row names the columns."""

    path: Path
    encoding: str = "utf-8"

    def names(self) -> list[str]:
        return _names(self, self._delimiter())

    def n_rows(self) -> int:
        with closing(_records(self, self._delimiter())) as records:
            return sum(1 for _, cells in records if cells) - 1

    def rows(self, columns: list[str], start: int = 0) -> Iterator[tuple[int, list[str]]]:
        """The line on which each row begins, and its cells; an empty line is no row."""
        delimiter = self._delimiter()
        names = _names(self, delimiter)
        places = [names.index(column) for column in columns]
        with closing(_records(self, delimiter)) as records:
            rows = ((line, cells) for line, cells in records if cells)
            for line, cells in islice(rows, start + 1, None):
                if len(cells) != len(names):
                    raise ValueError(
                        f"{self.place(line)}: the row has {len(cells)} cells, but the first row "
                        f"names {len(names)} columns. Put cells that hold the delimiter "
                        f"{delimiter!r} between quotation marks."
                    )
                yield line, [cells[place] for place in places]

    def place(self, number: int) -> str:
        return f"{self.path}, line {number}"

    def _delimiter(self) -> str:
        """Tab in a TSV file, else the one that cuts the first line into most cells."""
        if ".tsv" in self.path.suffixes[-2:]:
            return "\t"
        with closing(_lines(self)) as lines:
            first = next(lines, "").split("\r")[0]
        return max(_DELIMITERS, key=lambda d: len(next(csv.reader([first], delimiter=d), "")))


def check_encoding(encoding: str) -> None:
    """Raise for what Python does not know as an encoding of text."""
    try:
        "".encode(encoding)
    except (LookupError, TypeError) as error:
        raise ValueError(
            f"encoding is {encoding!r}, which is not known. Pass one such as 'utf-8', 'cp1252' "
            f"(Windows), 'latin-1' or 'utf-16'."
        ) from error


def _names(table: DelimitedTable, delimiter: str) -> list[str]:
    with closing(_records(table, delimiter)) as records:
        for _, cells in records:
            if cells:
                return [cell.strip() for cell in cells]
    raise ValueError(f"{table.path} is empty. Pass a file whose first row names the columns.")


def _records(table: DelimitedTable, delimiter: str) -> Generator[tuple[int, list[str]]]:
    """All rows with the number of their first line; those before a wrong one, then its error."""
    with closing(_lines(table)) as lines:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        line, is_over = 1, False
        while not is_over:
            block, problem = list[tuple[int, list[str]]](), None
            limit = csv.field_size_limit(_LONGEST_CELL)  # of the whole process
            try:
                for cells in islice(reader, _ROWS_AT_ONCE):
                    block.append((line, cells))
                    line = reader.line_num + 1
            except (csv.Error, ValueError) as error:
                problem = error
            finally:
                csv.field_size_limit(limit)
            yield from block
            if isinstance(problem, csv.Error):
                raise ValueError(
                    f"{table.place(line)}: {problem}. A cell that holds the delimiter "
                    f"{delimiter!r}, a line feed or a quotation mark stands between quotation "
                    f"marks, and those in it are doubled."
                ) from problem
            if problem is not None:
                raise problem
            is_over = len(block) < _ROWS_AT_ONCE


def _lines(table: DelimitedTable) -> Generator[str]:
    """Decoded one by one, so that an error can name the line."""
    path, encoding = table.path, table.encoding
    with opened(path) as file:
        if "\n".encode(encoding) != b"\n":  # UTF-16: its lines do not end in that byte
            with io.TextIOWrapper(file, encoding, newline="") as text:
                yield from _decoded(path, encoding, text)
            return
        for number, line in enumerate(file, 1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            try:
                yield line.decode(encoding)
            except UnicodeDecodeError as error:
                what = f"{path}, line {number}: byte 0x{line[error.start]:02x}"
                is_utf_16 = number == 1 and line.startswith(
                    (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
                )
                others = ["utf-16"] if is_utf_16 else ["cp1252", "latin-1"]
                raise _not_decoded(what, encoding, others, error) from error


def _decoded(path: Path, encoding: str, text: io.TextIOWrapper) -> Iterator[str]:
    try:
        yield from text
    except UnicodeError as error:
        raise _not_decoded(str(path), encoding, ["utf-8"], error) from error


def _not_decoded(place: str, encoding: str, others: list[str], error: UnicodeError) -> ValueError:
    reason = getattr(error, "reason", error)
    return ValueError(
        f"{place} is not {encoding} ({reason}). Convert the file, or pass its encoding, such as "
        f"{listed(others)}."
    )
