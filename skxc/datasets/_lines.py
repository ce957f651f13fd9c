"""Lines of UTF-8 text, read in blocks: only a line feed ends one."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import Any

_BYTES_AT_ONCE = 1 << 16  # at most: a pipe gives what it has


def blocks_of_lines(source: Any, n_skipped: int = 0) -> Iterator[list[bytes]]:
    """Complete lines, as many as one read gives; the last one may lack its line feed."""
    incomplete = list[bytes]()
    while block := source.read1(_BYTES_AT_ONCE):
        if n_skipped:
            n_ends = block.count(b"\n")
            if n_ends < n_skipped:
                n_skipped -= n_ends
                continue
            block = block.split(b"\n", n_skipped)[-1]
            n_skipped = 0
        first, *others = block.split(b"\n")
        incomplete.append(first)
        if others:
            yield [b"".join(incomplete), *others[:-1]]
            incomplete = [others[-1]]
    if any(incomplete):
        yield [b"".join(incomplete)]


def count_lines(source: Any) -> int:
    """How many lines `blocks_of_lines` gives."""
    n_ends, last = 0, b"\n"
    while block := source.read1(_BYTES_AT_ONCE):
        n_ends += block.count(b"\n")
        last = block[-1:]
    return n_ends + (last != b"\n")


def line_text(line: bytes, source: str, number: int) -> str:
    """The text of a line, without a byte-order mark before it and a carriage return after it.

    Raises
    ------
    ValueError
        If it is not UTF-8. The message begins with the source and the line's number.
    """
    # each of several files that are joined may begin with a byte-order mark
    line = line.removeprefix(codecs.BOM_UTF8).removesuffix(b"\r")
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{source}, line {number}: byte 0x{line[error.start]:02x} is not UTF-8 "
            f"({error.reason}). Convert the text to UTF-8."
        ) from error
