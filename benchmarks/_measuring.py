"""What the scripts share: processes of their own, peak memory, seconds of parts, a table's rows."""

from __future__ import annotations

import ast
import multiprocessing
import resource
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np
import psutil
from numpy.typing import NDArray


def in_a_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function` returns in a fresh process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def resident_bytes() -> int:
    """What the process holds now; its peak counts from here, where the system can do that."""
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return int(psutil.Process().memory_info().rss)


def peak_bytes() -> int:
    """The peak since `resident_bytes` (Linux), or since the process began."""
    if sys.platform != "linux":
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


class OwnMemory:
    """The peak of what the process holds for itself, sampled: pages of files are the system's.

    Linux alone: RssAnon of /proc/self/status.
    """

    def __enter__(self) -> Self:
        self.before = self.peak = own_bytes()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._is_over.wait(0.005):
            self.peak = max(self.peak, own_bytes())

    def __exit__(self, *_: Any) -> None:
        self._is_over.set()
        self._thread.join()

    @property
    def added(self) -> int:
        """Bytes of the peak beyond what was held before."""
        return self.peak - self.before


def own_bytes() -> int:
    """Resident bytes that belong to no file."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


class Clock:
    """Wall and CPU seconds spent in named parts."""

    def __init__(self) -> None:
        self.seconds: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(2))

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time added to the part's."""

        def run(*args: Any, **keywords: Any) -> Any:
            began = time.perf_counter(), time.process_time()
            result = function(*args, **keywords)
            spent = time.perf_counter() - began[0], time.process_time() - began[1]
            self.seconds[name] = self.seconds[name] + spent
            return result

        return run


def print_row(row: Mapping[str, Any], *, is_first: bool) -> None:
    """A line of a Markdown table, below the heading where it is the first."""
    if is_first:
        print("| " + " | ".join(row) + " |\n|" + "---|" * len(row))
    print("| " + " | ".join(map(str, row.values())) + " |", flush=True)


def named_values(pairs: list[str]) -> dict[str, Any]:
    """Parameters from NAME=VALUE; a value that is no literal is a string."""
    values: dict[str, Any] = {}
    for name, _, text in (pair.partition("=") for pair in pairs):
        try:
            values[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            values[name] = text
    return values
