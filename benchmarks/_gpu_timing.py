"""Timing on a GPU: rows of a table, floors, how often a step waits."""

from __future__ import annotations

import faulthandler
import signal
import statistics
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch

HAS_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if HAS_GPU else "cpu")


def show_where_it_stops() -> None:
    """Print the stack where `timeout` ends this process: what took so long is seen in the log."""
    faulthandler.register(signal.SIGTERM, chain=True)


@dataclass
class Row:
    """One line of the table."""

    part: str
    case: str
    labels: int | None = None
    batch: int | None = None
    ms: float | None = None
    floor_ms: float | None = None
    peak_gib: float | None = None  # on top of what lay there before, where no note says else
    note: str = ""
    has_failed: bool = False

    def cells(self) -> list[str]:
        ratio = None if self.ms is None or self.floor_ms is None else self.ms / self.floor_ms
        counts = [format(n, ",") if n else "" for n in (self.labels, self.batch)]
        numbers = [_number(x) for x in (self.ms, self.floor_ms, ratio, self.peak_gib)]
        return [self.part, self.case, *counts, *numbers, self.note]


HEADER = ["part", "case", "labels", "batch", "ms", "floor ms", "x floor", "extra GiB", "note"]


def _number(x: float | None) -> str:
    return "" if x is None else f"{x:.3g}" if x < 100 else f"{x:.0f}"


def as_markdown(title: str, rows: list[Row]) -> str:
    lines = [HEADER, ["---"] * len(HEADER), *(row.cells() for row in rows)]
    return f"{title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


@dataclass
class Machine:
    """What the GPU does in a second when it does nothing else."""

    bytes_a_second: float = 0.0
    operations_a_second: float = 0.0  # of a product in bfloat16
    float32_a_second: float = 0.0

    def measure(self, copy_bytes: int, product: int, repeats: int) -> None:
        source = torch.zeros(copy_bytes, dtype=torch.uint8, device=DEVICE)
        target = torch.empty_like(source)
        ms = milliseconds(lambda: target.copy_(source), repeats)
        self.bytes_a_second = 2e3 * copy_bytes / ms
        self.operations_a_second = _products_a_second(product, torch.bfloat16, repeats)
        self.float32_a_second = _products_a_second(product, torch.float32, repeats)

    def floor_ms(
        self, n_bytes: float, n_operations: float, dtype: torch.dtype = torch.bfloat16
    ) -> float:
        is_wide = dtype == torch.float32
        rate = self.float32_a_second if is_wide else self.operations_a_second
        return 1e3 * max(n_bytes / self.bytes_a_second, n_operations / rate)


def _products_a_second(size: int, dtype: torch.dtype, repeats: int) -> float:
    """Operations a second of a square product."""
    a, b = torch.randn(2, size, size, device=DEVICE).to(dtype)
    return 2e3 * size**3 / milliseconds(lambda: torch.mm(a, b), repeats)


def milliseconds(run: Callable[[], object], repeats: int, *, warm_up: int = 2) -> float:
    """Median time of a run; on a GPU by its own clock, launches that it waits for included."""
    for _ in range(warm_up):
        run()
    times = []
    if not HAS_GPU:
        for _ in range(repeats):
            began = time.perf_counter()
            run()
            times.append(1e3 * (time.perf_counter() - began))
        return statistics.median(times)
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    marks[0].record()
    for mark in marks[1:]:
        run()
        mark.record()
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) for a, b in pairwise(marks))


def begin_peak() -> int:
    """Bytes that are allocated before a peak is measured, the workspaces of cuBLAS among them."""
    if not HAS_GPU:
        return 0
    matrix = torch.ones(8, 8, device=DEVICE, requires_grad=True)
    (matrix @ matrix).sum().backward()  # a workspace for this thread, and for autograd's
    del matrix
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def attempt(row: Row, run: Callable[[], object], repeats: int, *, warm_up: int = 2) -> Row:
    """Fill in the row's time and memory, or what stood in the way."""
    before = begin_peak()
    try:
        row.ms = milliseconds(run, repeats, warm_up=warm_up)
    except torch.cuda.OutOfMemoryError:
        row.note = "does not fit"
    except Exception as error:  # other rows go on; the process ends with a failure
        traceback.print_exc()
        row.note = f"{type(error).__name__}: {error}".split("\n")[0].replace("|", "/")[:100]
        row.has_failed = True
    else:
        if HAS_GPU:
            row.peak_gib = (torch.cuda.max_memory_allocated() - before) / 2**30
    return row


def waits(run: Callable[[], object]) -> str:
    """How often a run makes the host wait for the GPU, and where."""
    if not HAS_GPU:
        return "no GPU to wait for"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the mode itself is announced as a prototype
        torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            run()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    places = [
        f"{Path(w.filename).name}:{w.lineno}" for w in caught if "synchroniz" in str(w.message)
    ]
    return f"waits {len(places)} times a step" + (f" ({', '.join(places)})" if places else "")
