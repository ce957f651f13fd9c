"""Loops that no library has, compiled by numba. Modules that use it are imported when needed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F, *, sums_in_any_order: bool = False) -> F:
    """Compile a function for the types of its first call, and keep the code beside the module.

    It runs without the interpreter's lock. Where no folder can be written, every process compiles
    anew. Sums in any order, the same one in every call, are several times faster.
    """
    compile_ = partial(numba.njit, nogil=True, fastmath={"reassoc"} if sums_in_any_order else False)
    try:
        loop: F = compile_(cache=True)(function)
    except RuntimeError:  # no place for the code
        loop = compile_()(function)
    return loop
