"""Texts in, predictions out: line by line, in constant memory."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from ._errors import InputError, input_checked, one_line

TEXTS_AT_ONCE = 1024  # predicted at once; fewer if a pipe has no more yet


class _ClosedOutput(io.TextIOBase):
    """Standard output that the caller has closed."""

    @property
    def buffer(self) -> Any:
        return self

    def write(self, text: Any) -> NoReturn:
        raise OSError(errno.EBADF, "it is closed. Send it to a file or a pipe.", "stdout")


def prepare_output() -> None:
    """Have stdout and stderr, with escapes for the characters that their encoding lacks."""
    for descriptor in range(3):  # or the next file that is opened would get the number
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = _ClosedOutput()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def tell(text: str) -> None:
    """Write to stderr; where that fails, the work goes on."""
    with suppress(OSError):
        sys.stderr.write(text)


def tell_done(text: str) -> None:
    """Write what was done to stdout; that it cannot be written is no failure of the work."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        drop_unwritable(sys.stdout)
        tell(f"skxc: warning: all is done, but stdout cannot be written to ({one_line(error)})\n")


def drop_unwritable(*streams: Any) -> None:
    """Forget what cannot be written: the interpreter would try again when it ends, and fail."""
    for stream in streams:
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):  # a stream without a file
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def opened_input(path: str) -> Iterator[BinaryIO]:
    """A file, or standard input for "-"."""
    if path == "-":
        if sys.stdin is None:
            raise InputError("Standard input is closed. Pass a file of texts.")
        if sys.stdin.isatty():
            tell("skxc: reading texts from the terminal, one a line; Ctrl-D ends\n")
        yield sys.stdin.buffer
        return
    with ExitStack() as stack:
        with input_checked():
            file = stack.enter_context(open(path, "rb"))
        yield file


def batches(source: BinaryIO, path: str) -> Iterator[list[str]]:
    """Texts of the lines that have arrived; it waits for more only after these."""
    from skxc.datasets._lines import blocks_of_lines, line_text  # slow imports

    name, n_before = "standard input" if path == "-" else path, 0
    for lines in blocks_of_lines(source):
        for start in range(0, len(lines), TEXTS_AT_ONCE):
            texts = list[str]()
            for line in lines[start : start + TEXTS_AT_ONCE]:
                n_before += 1
                try:
                    texts.append(line_text(line, name, n_before))
                except ValueError as error:
                    if texts:
                        yield texts
                    raise InputError(str(error)) from error
            yield texts


def checked_target(out: str) -> Path:
    """The path of --out, if a file can have it.

    Raises
    ------
    InputError
        If it is a folder, or in none that exists.
    """
    target = Path(out)
    if target.is_dir() or not target.parent.is_dir():
        what = "is a folder" if target.is_dir() else "is in no folder that exists"
        raise InputError(f"--out {out} {what}. Pass the name of a file.")
    return target


def check_not_input(out: str | None, path: str) -> None:
    """Raise if --out is the file of texts, under this name or another: they would be lost."""
    if out is None or not Path(out).is_file():
        return
    source = 0 if path == "-" else path  # the file that standard input is, perhaps
    with suppress(OSError):  # there is none: told when it is opened
        if os.path.samefile(out, source):
            raise InputError(f"--out {out} is the file of texts. Pass another name.")


def is_special(path: str) -> bool:
    """Whether it is there, but neither a file nor a folder: a pipe, /dev/null."""
    return Path(path).exists() and not Path(path).is_file() and not Path(path).is_dir()


@contextmanager
def opened_output(path: str | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that gets its name when it is complete."""
    if path is None:
        yield sys.stdout.buffer
        return
    if is_special(path):
        with open(path, "wb") as file:
            yield file
        return
    with input_checked():
        target = checked_target(path)
        part = target.with_name(f"{target.name}.{os.getpid()}.part")
        file = part.open("wb")
    try:
        with file:
            yield file
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
