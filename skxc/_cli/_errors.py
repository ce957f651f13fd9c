"""Errors as users of the command line see them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(Exception):
    """An error that the user can correct: exit code 2."""


def one_line(error: BaseException) -> str:
    """An error as one line, with its type if the text is not written for users."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = " ".join(str(error).split())
    if isinstance(error, InputError | ValueError | TypeError | OSError | MemoryError) and text:
        return text
    return f"{type(error).__name__}: {text} (SKXC_DEBUG=1 in the environment shows where.)"


@contextmanager
def input_checked() -> Iterator[None]:
    """Turn errors that the user can correct into InputError."""
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        raise InputError(one_line(error)) from error
