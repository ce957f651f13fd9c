"""Signals that end a process, as an orderly end: what is half is removed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_NAMES = ("SIGTERM", "SIGHUP")


class Terminated(BaseException):
    """Somebody, or the closed terminal, asked the process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


@contextmanager
def orderly_end() -> Iterator[None]:
    """Have these signals raise `Terminated`, where nobody else has said what they do."""
    process, before = os.getpid(), dict[int, Any]()

    def terminate(number: int, _: FrameType | None) -> None:
        if os.getpid() != process:  # forked from it
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        for other in before:  # a second one would break off the end
            signal.signal(other, signal.SIG_IGN)
        raise Terminated(number)

    try:
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in _NAMES if hasattr(signal, name)):
                if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP
                    before[number] = signal.SIG_DFL
                    signal.signal(number, terminate)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
