"""Answers as a table: Arrow's messages, one a block of texts, and the Parquet file of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from ._errors import InputError

_GROUP_BYTES = 1 << 24  # of a row group, before it is compressed


def arrow() -> Any:
    """pyarrow.

    Raises
    ------
    InputError
        If it is not installed.
    """
    from skxc.datasets._arrow import arrow

    try:
        return arrow("--format parquet")
    except ImportError as error:
        raise InputError(str(error)) from error


def message(labels: list[list[Any]], proba: Any) -> bytes:
    """A record batch of the answers, as Arrow's IPC formats have it."""
    pa = arrow()
    names = [[_name(label) for label in row] for row in labels]
    columns = [pa.array(names, _schema().types[0]), pa.array(list(proba), _schema().types[1])]
    serialized: bytes = pa.record_batch(columns, _schema()).serialize().to_pybytes()
    return serialized


def _name(label: Any) -> str:
    # lone surrogates, from a label file, as JSON escapes them
    return str(label).encode(errors="backslashreplace").decode()


def _schema() -> Any:
    pa = arrow()
    return pa.schema({"labels": pa.list_(pa.string()), "proba": pa.list_(pa.float32())})


@contextmanager
def parquet_file(file: BinaryIO) -> Iterator[Callable[[Any], None]]:
    """What puts messages, or the bytes of them, into a Parquet file, in constant memory."""
    pa, schema, group = arrow(), _schema(), list[Any]()
    with pa.parquet.ParquetWriter(file, schema, compression="zstd") as writer:

        def end_group() -> None:
            writer.write_table(pa.Table.from_batches(group, schema))
            group.clear()

        def write(message: Any) -> None:
            content = pa.py_buffer(message) if isinstance(message, bytes) else message
            group.append(pa.ipc.read_record_batch(content, schema))
            if sum(batch.nbytes for batch in group) >= _GROUP_BYTES:
                end_group()

        yield write
        if group:
            end_group()


def write_parquet(messages: Path, file: BinaryIO) -> None:
    """The Parquet file of a file of messages."""
    pa = arrow()
    with parquet_file(file) as write, pa.OSFile(str(messages)) as source:
        while source.tell() < source.size():
            write(pa.ipc.read_message(source))
