"""Fits and predictions in forked processes: servers' workers, multiprocessing's "fork".

A child has one thread, the one that forked. A lock that another thread of its parent held at that
moment would stay locked in the child for ever, and it would wait for ever for OpenMP's threads.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from tqdm.auto import tqdm
from tqdm.std import TqdmDefaultWriteLock

from skxc import _distributed as processes

# torch's random state is the process's: fits in several threads take turns
_torch_random = threading.RLock()
_bar_lock: threading.RLock | None = None  # tqdm's, in a child
_ASKED_FOR_AFTER = 0.5  # seconds until a waiting thread asks for the interpreter's lock
_PAUSES = (0.02, 0.04, 0.08, 0.16, 0.32)  # seconds
_AT_ONCE = 1e-4  # seconds, too few for another thread to begin something
_intervals = list[float]()  # of before the fork


def torch_random() -> threading.RLock:
    """The lock of torch's random state in this process."""
    return _torch_random


@contextmanager
def isolated_torch_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch on the CPU and `device`; their random states are put back afterwards."""
    is_cuda = device.type == "cuda"
    with torch_random(), torch.random.fork_rng([device] if is_cuda else []):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every GPU, too
        if is_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def own_torch_seed(seed: int, device: torch.device) -> None:
    """From here on, each of several processes draws its own numbers: other texts, other masks."""
    if number := processes.rank():
        torch.default_generator.manual_seed(seed + number)
        if device.type == "cuda":
            index = torch.cuda.current_device() if device.index is None else device.index
            torch.cuda.default_generators[index].manual_seed(seed + number)


def _wait_for_generator() -> None:
    """Wait until no thread draws random numbers, and let none begin before the fork.

    torch's generator has a lock of its own, which nobody can renew. To take it, the thread that
    fits (they take turns) needs the interpreter's lock. Here it is held, unless it is asked for:
    in the pauses too, in which a thread that just let go of it ends what it was about to do.
    """
    _intervals.append(sys.getswitchinterval())
    if threading.active_count() == 1:
        return
    sys.setswitchinterval(_ASKED_FOR_AFTER)
    time.sleep(2 * _intervals[-1])  # by then, others wait for it by the new interval
    for pause in _PAUSES:
        ctypes.PyDLL(None).usleep(int(1e6 * pause))
        start = time.perf_counter()
        torch.default_generator.get_state()  # lets go of the interpreter's lock where it waits
        if time.perf_counter() - start < _AT_ONCE:
            break


def _go_on() -> None:
    if _intervals:  # none if these hooks were registered while the fork waited for an import
        sys.setswitchinterval(_intervals.pop())


def _renew() -> None:
    """Locks that are free, and one thread, in a new child."""
    global _torch_random, _bar_lock
    _go_on()
    _torch_random = threading.RLock()
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)
    # not a copy of tqdm's own: parent and child would share half of it
    lock = getattr(tqdm, "_lock", None)
    if isinstance(lock, TqdmDefaultWriteLock) or (lock is not None and lock is _bar_lock):
        _bar_lock = threading.RLock()
        tqdm.set_lock(_bar_lock)


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(before=_wait_for_generator, after_in_parent=_go_on, after_in_child=_renew)
