"""How much memory training will take, said before it starts."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path

import psutil
import torch

logger = logging.getLogger("skxc")


def free_bytes(device: torch.device) -> int:
    """Bytes that can still be allocated on `device`."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + cached
    return int(min(psutil.virtual_memory().available, _left_in_container()))


def _left_in_container(folder: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes left of a container's own limit, which the machine's figures do not show."""
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = (folder / "memory.current").read_text()
        return math.inf if limit == "max" else int(limit) - int(used)
    except (OSError, ValueError):  # no such limit here
        return math.inf


def check_memory(parts: Mapping[str, int], device: torch.device, remedy: str) -> None:
    """Log the estimate; raise where it is more than `device` has free.

    Parameters
    ----------
    parts : mapping of str to int
        Bytes by what they hold.
    device : torch.device
        Where they will be allocated.
    remedy : str
        The sentence that says which parameter lowers them.
    """
    needed, free = sum(parts.values()), free_bytes(device)
    listed = ", ".join(f"{name} {_size(n)}" for name, n in parts.items())
    logger.info("training needs about %s on %s (%s)", _size(needed), device, listed)
    if needed > free:
        raise ValueError(
            f"Training needs about {_size(needed)} ({listed}), but {device} has {_size(free)} "
            f"free. {remedy}"
        )


def _size(n_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} GiB"
