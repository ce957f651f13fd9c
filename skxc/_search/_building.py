"""Locks of what is built when first needed, by whichever thread comes first.

They are kept here, not in the models, which are copied and pickled.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_lock = threading.RLock()  # of the locks
_locks = dict[int, threading.RLock]()  # by the owner's id: users' classes may have no hash


def building(owner: object) -> threading.RLock:
    """The owner's lock, in this process."""
    with _lock:
        if id(owner) not in _locks:
            _locks[id(owner)] = threading.RLock()
            weakref.finalize(owner, _locks.pop, id(owner), None).atexit = False
        return _locks[id(owner)]


def built_once(owner: object, name: str, make: Callable[[], T]) -> T:
    """The owner's attribute, made when first asked for.

    Not cached_property: its lock (before Python 3.12) survives no fork.
    """
    cache = vars(owner)
    if name not in cache:
        with building(owner):
            if name not in cache:
                cache[name] = make()
    built: T = cache[name]
    return built


def _renew() -> None:
    """Locks that no other thread of the parent holds, in a new child."""
    global _lock
    _lock = threading.RLock()
    _locks.update((owner, threading.RLock()) for owner in [*_locks])


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_renew)
