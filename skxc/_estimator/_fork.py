"""Fits and predictions in forked processes: servers' workers, multiprocessing's "fork".

A child has one thread, the one that forked. A lock that another thread of its parent held at that
moment would stay locked in the child for ever, and it would wait for ever for OpenMP's threads.
"""

from __future__ import annotations

import os
import threading

import torch
from tqdm.auto import tqdm
from tqdm.std import TqdmDefaultWriteLock

# torch's random state is the process's: fits in several threads take turns
_torch_random = threading.RLock()


def torch_random() -> threading.RLock:
    """The lock of torch's random state in this process."""
    return _torch_random


def _renew() -> None:
    """Locks that are free, and one thread, in a new child."""
    global _torch_random
    _torch_random = threading.RLock()
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)
    # not a copy of tqdm's own: parent and child would share half of it
    if isinstance(getattr(tqdm, "_lock", None), TqdmDefaultWriteLock):
        tqdm.set_lock(threading.RLock())


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    # the generator has a lock of its own, which nobody can renew: wait until it is free. No other
    # thread takes it soon after, since that needs the interpreter's lock, which is held here
    os.register_at_fork(before=torch.default_generator.get_state, after_in_child=_renew)
