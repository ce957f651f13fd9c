"""Rows of CSV and TSV files, read as a stream: quotation marks, and line feeds in cells."""

from __future__ import annotations

import codecs
import csv
import io
import re
import warnings
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from skxc._validation import callers_stack_level

from ._files import opened
from ._line_columns import listed

_DELIMITERS = ",;\t|"
_FIRST_LINES = 100  # in which the first row ends, also where its cells hold line feeds
_EXCELS = re.compile(r'"?sep=(.)"?[\r\n]*')  # a first line that tells Excel the delimiter
_LONE_RETURN = (
    "a carriage return stands alone. If all lines end in one, save the file with line feeds"
)
_ROWS_AT_ONCE = 1024
_LONGEST_CELL = 1 << 27  # characters; longer ones begin with a mark that nothing closes


class DelimitedTable(NamedTuple):
    """A file whose first row names the columns."""

    path: Path
    encoding: str | None = None  # None: UTF-8, and none can be passed

    def names(self) -> list[str]:
        return _names(self, self._delimiter())

    def n_rows(self) -> int:
        with closing(_records(self, self._delimiter())) as records:
            return sum(1 for _ in records) - 1

    def rows(self, columns: list[str], start: int = 0) -> Iterator[tuple[int, list[str]]]:
        """The line on which each row begins, and its cells; a blank line is no row."""
        delimiter = self._delimiter()
        names = _names(self, delimiter)
        n_cells, places = len(names), [names.index(column) for column in columns]
        told = set[bool]()  # a pass tells of the first odd row of each kind
        with closing(_records(self, delimiter)) as records:
            for line, cells in islice(records, start + 1, None):
                if len(cells) != n_cells or delimiter == "\t":
                    self._check(line, cells, n_cells, delimiter, told)
                yield line, [cells[place] for place in places]

    def _check(
        self, line: int, cells: list[str], n_cells: int, delimiter: str, told: set[bool]
    ) -> None:
        """Raise for too many cells; fill up too few, and tell of the first odd rows, in place."""
        if len(cells) > n_cells:
            raise ValueError(
                f"{self.place(line)}: the row has {len(cells)} cells, but the first row names "
                f"{n_cells} columns. Put cells that hold the delimiter {delimiter!r} between "
                f"quotation marks."
            )
        is_short = len(cells) < n_cells
        if is_short not in told and (odd := _oddness(cells, n_cells)):
            told.add(is_short)
            text = f"{self.place(line)}: {odd}"
            warnings.warn(text, UserWarning, stacklevel=callers_stack_level())
        cells += [""] * (n_cells - len(cells))

    def place(self, number: int) -> str:
        return f"{self.path}, line {number}"

    def _delimiter(self) -> str:
        """What Excel's first line names; tab in a TSV file; else what cuts the first row most."""
        with closing(_lines(self)) as lines:
            named = _EXCELS.fullmatch(next(lines, ""))
        if named:
            return named[1]
        if self.path.name.lower().endswith((".tsv", ".tsv.gz")):
            return "\t"
        _allow_long_cells()
        return max(_DELIMITERS, key=self._n_cells)

    def _n_cells(self, delimiter: str) -> int:
        """Cells of the first row, if this delimiter cuts it."""
        with closing(_lines(self)) as lines:
            # a carriage return alone is an error to csv
            first = (line.replace("\r", " ") for line in islice(lines, _FIRST_LINES))
            return next((len(row) for row in csv.reader(first, delimiter=delimiter) if row), 0)


def _oddness(cells: list[str], n_cells: int) -> str | None:
    """What is said of a row that is too short, or has a cell that may be rows between tabs."""
    if len(cells) < n_cells:
        return (
            f"the row has {len(cells)} cells, but the first row names {n_cells} columns. The last "
            f"ones are taken as empty, here and in other rows. If a cell holds a line feed, put it "
            f"between quotation marks."
        )
    for cell in cells:
        n_lines = cell.count("\n")
        if n_cells > 1 and n_lines and cell.count("\t") == n_lines * (n_cells - 1):
            return (
                f"a cell that begins with a quotation mark goes on to the next one, {n_lines} "
                f"lines below, and seems to hold whole rows. If the marks belong to the texts, "
                f'double each and put the cell between marks: "He said ""no"""'
            )
    return None


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
            return [cell.strip() for cell in cells]
    raise ValueError(f"{table.path} is empty. Pass a file whose first row names the columns.")


def _allow_long_cells() -> None:
    """Raise the csv module's limit: of the whole process, so that no thread may lower it again."""
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))


def _records(table: DelimitedTable, delimiter: str) -> Generator[tuple[int, list[str]]]:
    """All rows with the number of their first line; those before a wrong one, then its error."""
    with closing(_lines(table)) as lines:
        _allow_long_cells()
        text = next(lines, "")
        text = "\n" if _EXCELS.fullmatch(text) else text

        def remembered() -> Iterator[str]:
            nonlocal text  # the last line of the row that is read
            yield text
            for text in lines:
                yield text

        reader = csv.reader(remembered(), delimiter=delimiter, strict=True)
        line, is_over = 1, False
        while not is_over:
            n_read, block, problem = 0, list[tuple[int, list[str]]](), None
            try:
                for cells in islice(reader, _ROWS_AT_ONCE):
                    n_read += 1
                    if cells and not (len(cells) == 1 and text.isspace()):
                        block.append((line, cells))
                    line = reader.line_num + 1
            except (csv.Error, ValueError) as error:
                problem = error
            yield from block
            if isinstance(problem, csv.Error):
                what = _LONE_RETURN if "new-line character" in str(problem) else problem
                raise ValueError(
                    f"{table.place(line)}: {what}. A cell that holds the delimiter {delimiter!r}, "
                    f"a line feed or a quotation mark stands between quotation marks, and those in "
                    f"it are doubled."
                ) from problem
            if problem is not None:
                raise problem
            is_over = n_read < _ROWS_AT_ONCE


def _lines(table: DelimitedTable) -> Generator[str]:
    """Decoded one by one, so that an error can name the line."""
    path, encoding = table.path, table.encoding or "utf-8"
    with opened(path) as file:
        if "\n".encode(encoding) != b"\n":  # UTF-16: its lines do not end in that byte
            with io.TextIOWrapper(file, encoding, newline="") as text:
                lines = _decoded(path, encoding, text)
                yield next(lines, "").removeprefix("\ufeff")
                yield from lines
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
                raise _not_decoded(what, table.encoding, others, error) from error


def _decoded(path: Path, encoding: str, text: io.TextIOWrapper) -> Iterator[str]:
    try:
        yield from text
    except UnicodeError as error:
        raise _not_decoded(str(path), encoding, ["utf-8"], error) from error


def _not_decoded(
    place: str, encoding: str | None, others: list[str], error: UnicodeError
) -> ValueError:
    remedy = f", or pass its encoding, such as {listed(others)}" if encoding else " to UTF-8"
    return ValueError(
        f"{place} is not {encoding or 'UTF-8'} ({getattr(error, 'reason', error)}). Convert the "
        f"file{remedy}."
    )
