"""The lock of what is built when first needed, by whichever thread comes first.

It is the process's, not a model's: models are copied and pickled.
"""

from __future__ import annotations

import os
import threading

_lock = threading.RLock()


def building() -> threading.RLock:
    """The lock, in this process."""
    return _lock


def _renew() -> None:
    """A lock that no other thread of the parent holds, in a new child."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_renew)
