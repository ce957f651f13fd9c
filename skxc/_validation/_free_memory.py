"""Memory that the machine still has, asked before much of it is taken."""

from __future__ import annotations

import math
from pathlib import Path

import psutil


def check_free(needed: int, what: str, remedy: str) -> None:
    """Raise where `what` needs more bytes than there are."""
    free = free_host_bytes()
    if needed > free:
        raise ValueError(f"{what} needs {size(needed)}, but {size(free)} are free. {remedy}")


def free_host_bytes() -> int:
    """Bytes that can still be allocated on the host."""
    return int(min(psutil.virtual_memory().available, left_in_container()))


def left_in_container(folder: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes left of a container's own limit, which the machine's figures do not show."""
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        used -= int(stat.get("inactive_file", 0))  # files read: the kernel gives these up
        return math.inf if limit == "max" else int(limit) - used
    except (OSError, ValueError):  # no such limit here
        return math.inf


def size(n_bytes: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} GiB"
