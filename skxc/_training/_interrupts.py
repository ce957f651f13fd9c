"""Signals that end a process wait for the end of a training's step."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
_GRACE = 10.0  # seconds that they wait


class Interrupts:
    """Notes the first signal; a second one, or too long a wait, has its effect at once."""

    def __init__(self, too_late: Callable[[], None]) -> None:
        self.number: int | None = None  # of the signal that came
        self._process = os.getpid()
        self._before = dict[int, Any]()
        self._too_late = too_late  # told in a thread of its own
        self._timer: threading.Timer | None = None

    def take_over(self) -> None:
        """Handle the signals, those apart that somebody wants ignored."""
        if threading.current_thread() is not threading.main_thread():
            return  # only there can they be handled
        for number in (getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)):
            handler = signal.getsignal(number)
            if handler not in (signal.SIG_IGN, None):
                self._before[number] = handler
                signal.signal(number, self._note)

    def give_back(self) -> None:
        """Have them handled as before."""
        self.stop_waiting()
        while self._before:
            signal.signal(*self._before.popitem())

    def stop_waiting(self) -> None:
        """The step is over: what follows may take its time."""
        if self._timer is not None:
            self._timer.cancel()

    def raise_noted(self) -> None:
        """Let the signal that came, if any, have the effect that it had before."""
        if self.number is not None:
            number, self.number = self.number, None
            self.give_back()
            signal.raise_signal(number)
            self.take_over()  # the process goes on: that handler only takes note, too

    def _note(self, number: int, _: FrameType | None) -> None:
        if os.getpid() != self._process:  # forked from it
            self.give_back()
            signal.raise_signal(number)
            return
        if self.number is not None:
            self.raise_noted()
            return
        self.number = number
        self._timer = threading.Timer(_GRACE, self._end)
        self._timer.daemon = True
        self._timer.start()

    def _end(self) -> None:
        if (number := self.number) is not None:
            self._too_late()
            if hasattr(signal, "pthread_kill"):  # wakes the main thread from a sleep, too
                main = threading.main_thread().ident
                assert main is not None
                signal.pthread_kill(main, number)
            else:
                signal.raise_signal(number)


@contextmanager
def interrupts_noted(too_late: Callable[[], None]) -> Iterator[Interrupts]:
    """Inside, signals are noted; `too_late` is called before one has its effect all the same."""
    interrupts = Interrupts(too_late)
    interrupts.take_over()
    try:
        yield interrupts
    finally:
        interrupts.give_back()
        if interrupts.number is not None:
            signal.raise_signal(interrupts.number)
