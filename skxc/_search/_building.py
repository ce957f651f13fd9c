"""Locks of what is built when first needed, by whichever thread comes first.

They are kept here, not in the models, which are copied and pickled.
"""

from __future__ import annotations

import os
import threading
from weakref import WeakKeyDictionary

_lock = threading.RLock()  # of the locks
_locks = WeakKeyDictionary[object, threading.RLock]()  # by owner


def building(owner: object) -> threading.RLock:
    """The owner's lock, in this process."""
    with _lock:
        return _locks.setdefault(owner, threading.RLock())


def _renew() -> None:
    """Locks that no other thread of the parent holds, in a new child."""
    global _lock, _locks
    _lock, _locks = threading.RLock(), WeakKeyDictionary()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_renew)
