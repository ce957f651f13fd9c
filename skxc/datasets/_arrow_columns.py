"""Parquet files, and files in Arrow's IPC formats, which pyarrow reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ._arrow import arrow
from ._line_columns import chosen_column

# Rows made Python values at once, and bytes of a Parquet column read at once.
_ROWS_AT_ONCE, _BYTES_AT_ONCE = 1024, 1 << 20
_MAGIC = b"ARROW1"  # begins an IPC file; a stream has no such mark


class ArrowTable(NamedTuple):
    """An IPC file or stream, mapped into memory."""

    path: Path

    def names(self) -> list[str]:
        return list(schema_of(self).names)

    def n_rows(self) -> int:
        with _batches(self.path) as batches:
            return sum(batch.num_rows for batch in batches)

    def rows(self, columns: list[str], start: int = 0) -> Iterator[tuple[int, Sequence[Any]]]:
        with _batches(self.path) as batches:
            yield from _rows(self, columns, batches, 0, start)

    def place(self, number: int) -> str:
        return _place(self.path, number)


class ParquetTable(NamedTuple):
    """A Parquet file."""

    path: Path

    def names(self) -> list[str]:
        return list(schema_of(self).names)

    def n_rows(self) -> int:
        with _parquet_file(self.path) as file:
            return int(file.metadata.num_rows)

    def rows(self, columns: list[str], start: int = 0) -> Iterator[tuple[int, Sequence[Any]]]:
        with _parquet_file(self.path) as file:
            n_before, groups = 0, list(range(file.metadata.num_row_groups))
            while groups:
                n_after = n_before + file.metadata.row_group(groups[0]).num_rows
                if n_after > start:
                    break
                n_before = n_after
                del groups[0]
            if not groups:
                return
            batches = file.iter_batches(
                _ROWS_AT_ONCE, row_groups=groups, columns=columns, use_threads=False
            )
            yield from _rows(self, columns, batches, n_before, start)

    def place(self, number: int) -> str:
        return _place(self.path, number)


def schema_of(table: ArrowTable | ParquetTable) -> Any:
    """The names and types of its columns."""
    if isinstance(table, ParquetTable):
        with _parquet_file(table.path) as file:
            return file.schema_arrow
    with _ipc_reader(table.path) as reader:
        return reader.schema


def checked_column(table: ArrowTable | ParquetTable, column: str | None) -> str:
    """The name of the column to read.

    Raises
    ------
    ValueError
        If the file cannot be read, or has no such column of texts or lists.
    """
    path, schema = table.path, schema_of(table)
    name = chosen_column(path, column, schema.names)
    if not _is_readable(schema.field(schema.names.index(name)).type):
        raise ValueError(
            f"{path}: column {name!r} holds {schema.field(name).type}. Pass one of texts, or of "
            f"lists of texts or of whole numbers. The file has "
            f"{', '.join(f'{field.name!r}: {field.type}' for field in schema)}."
        )
    return name


def _is_readable(kind: Any) -> bool:
    """Whether a column of this type holds texts, or lists of texts or whole numbers."""
    types = arrow("FileColumn").types
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _is_text(kind.value_type) or types.is_integer(kind.value_type)
    return _is_text(kind)


def _is_text(kind: Any) -> bool:
    types = arrow("FileColumn").types
    if types.is_dictionary(kind):
        kind = kind.value_type
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _rows(
    table: ArrowTable | ParquetTable,
    columns: list[str],
    batches: Any,
    n_before: int,  # rows of the file before these batches
    start: int,
) -> Iterator[tuple[int, Sequence[Any]]]:
    """The number and the Python values of each row from row `start` on."""
    for batch in batches:
        arrays = [batch.column(batch.schema.names.index(column)) for column in columns]
        for column, array in zip(columns, arrays, strict=True):
            _check_sound(table.path, column, array, n_before)
        first = min(max(start - n_before, 0), batch.num_rows)
        for i in range(first, batch.num_rows, _ROWS_AT_ONCE):
            values = [array[i : i + _ROWS_AT_ONCE].to_pylist() for array in arrays]
            yield from enumerate(zip(*values, strict=True), n_before + i)
        n_before += batch.num_rows


def _check_sound(path: Path, column: str, array: Any, n_before: int) -> None:
    """Raise for texts that are not UTF-8, and for offsets that would have Arrow read elsewhere."""
    invalid = arrow(f"Reading {path}").ArrowInvalid
    try:
        array.validate(full=True)
    except invalid:
        for i in range(len(array)):
            try:
                array[i : i + 1].validate(full=True)
            except invalid as error:
                raise ValueError(
                    f"{_place(path, n_before + i)}: {column!r} is damaged or no UTF-8 "
                    f"({error}). Write the file again."
                ) from error
        raise


def _place(path: Path, row: int) -> str:
    return f"{path}, row {row} (counted from 0)"


@contextmanager
def _parquet_file(path: Path) -> Iterator[Any]:
    parquet = arrow(f"Reading {path}").parquet
    with (
        _damage_told(path, "Parquet"),
        parquet.ParquetFile(path, buffer_size=_BYTES_AT_ONCE) as file,
    ):
        yield file


@contextmanager
def _batches(path: Path) -> Iterator[Iterator[Any]]:
    """The batches of an IPC file or stream, all columns: to choose one would have it copied."""
    with _ipc_reader(path) as reader:
        if hasattr(reader, "num_record_batches"):
            yield (reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            yield iter(reader)


@contextmanager
def _ipc_reader(path: Path) -> Iterator[Any]:
    pa = arrow(f"Reading {path}")
    with _damage_told(path, "Arrow IPC"), pa.memory_map(str(path)) as source:
        is_file = source.read(len(_MAGIC)) == _MAGIC
        source.seek(0)
        with pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source) as reader:
            yield reader


@contextmanager
def _damage_told(path: Path, kind: str) -> Iterator[None]:
    """Have pyarrow's errors name the file."""
    try:
        yield
    except (arrow(f"Reading {path}").ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(f"{path} is no whole {kind} file: {error}") from error
