"""Texts in, predictions out: line by line, in constant memory."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from ._errors import InputError, input_checked

# Texts predicted at once, and bytes read at once; fewer if a pipe has no more yet.
_TEXTS_AT_ONCE = 1024
_BYTES_AT_ONCE = 1 << 16


@contextmanager
def opened_input(path: str) -> Iterator[BinaryIO]:
    """A file, or standard input for "-"."""
    if path == "-":
        if sys.stdin.isatty():
            sys.stderr.write("skxc: reading texts from the terminal, one a line; Ctrl-D ends\n")
        yield sys.stdin.buffer
        return
    with ExitStack() as stack:
        with input_checked():
            file = stack.enter_context(open(path, "rb"))
        yield file


def batches(source: BinaryIO, path: str) -> Iterator[list[str]]:
    """Texts of the lines that have arrived; it waits for more only after these."""
    n_before = 0
    for lines in _blocks_of_lines(source):
        for start in range(0, len(lines), _TEXTS_AT_ONCE):
            texts = list[str]()
            for line in lines[start : start + _TEXTS_AT_ONCE]:
                n_before += 1
                # each of several files that are joined may begin with a byte-order mark
                line = line.removeprefix(codecs.BOM_UTF8)
                try:
                    texts.append(line.removesuffix(b"\r").decode())
                except UnicodeDecodeError as error:
                    if texts:
                        yield texts
                    raise InputError(
                        f"{'standard input' if path == '-' else path}, line {n_before}: byte "
                        f"0x{line[error.start]:02x} is not UTF-8 ({error.reason}). Convert the "
                        f"text to UTF-8."
                    ) from error
            yield texts


def _blocks_of_lines(source: BinaryIO) -> Iterator[list[bytes]]:
    """Complete lines, as many as one read gives; the last one may lack its line feed."""
    incomplete = list[bytes]()
    while block := source.read1(_BYTES_AT_ONCE):  # type: ignore[attr-defined]
        first, *others = block.split(b"\n")
        incomplete.append(first)
        if others:
            yield [b"".join(incomplete), *others[:-1]]
            incomplete = [others[-1]]
    if any(incomplete):
        yield [b"".join(incomplete)]


@contextmanager
def opened_output(path: str | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that gets its name when it is complete."""
    if path is None:
        yield sys.stdout.buffer
        return
    target = Path(path)
    if target.exists() and not target.is_file() and not target.is_dir():  # a pipe, /dev/null
        with target.open("wb") as file:
            yield file
        return
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    with input_checked():
        if target.is_dir() or not target.parent.is_dir():
            what = "is a folder" if target.is_dir() else "is in no folder that exists"
            raise InputError(f"--out {path} {what}. Pass the name of a file.")
        file = part.open("wb")
    try:
        with file:
            yield file
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
