"""Loops that no library has, compiled by numba. Modules that use it are imported when needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a function for the types of its first call, and keep the code beside the module.

    It runs without the interpreter's lock. Where no folder can be written, every process compiles
    anew.
    """
    try:
        loop: F = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no place for the code
        loop = numba.njit(nogil=True)(function)
    return loop
