"""How much memory training will take, said before it starts."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch

logger = logging.getLogger("skxc")


@dataclass(frozen=True)
class Memory:
    """Bytes by what they hold.

    "weights", "optimizer" and "data" are there from the first step until the model is published.
    "activations" and "copies" (of the best epoch) are gone then, when "published" copies come.
    """

    device: Mapping[str, int]  # where the encoder is trained
    host: Mapping[str, int] = field(default_factory=dict)

    def by_place(self, device: torch.device) -> dict[str, dict[str, int]]:
        """The peak on host and device, which are one where `device` is the CPU."""
        if device.type == "cpu":
            return {"cpu": _at_peak(_sums(self.device, self.host))}
        return {str(device): _at_peak(self.device), "cpu": _at_peak(self.host)}

    def __add__(self, other: Memory) -> Memory:
        return Memory(_sums(self.device, other.device), _sums(self.host, other.host))


def _at_peak(parts: Mapping[str, int]) -> dict[str, int]:
    """While training or while publishing, whichever holds more."""
    part = {"weights": 0, "optimizer": 0, "copies": 0, "activations": 0, "published": 0, "data": 0}
    part |= parts
    in_a_step = part["copies"] + part["activations"]
    return {
        "weights": part["weights"] + max(part["published"] - in_a_step, 0),
        "optimizer": part["optimizer"] + part["copies"],
        "activations": part["activations"],
        "data": part["data"],
    }


def _sums(parts: Mapping[str, int], others: Mapping[str, int]) -> dict[str, int]:
    names = dict.fromkeys([*parts, *others])
    return {name: parts.get(name, 0) + others.get(name, 0) for name in names}


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
        used = int((folder / "memory.current").read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        used -= int(stat.get("inactive_file", 0))  # files read: the kernel gives these up
        return math.inf if limit == "max" else int(limit) - used
    except (OSError, ValueError):  # no such limit here
        return math.inf


def check_memory(
    estimate: Callable[[Mapping[str, Any]], Memory],
    settings: Mapping[str, Any],
    savers: Mapping[str, Callable[[int], str]],
    device: torch.device,
    held: Mapping[str, int],
) -> None:
    """Log the estimate; raise where it is more than there is, with what would fit.

    Parameters
    ----------
    estimate : callable
        From settings to what training with them takes.
    settings : mapping
        The parameters as they are.
    savers : mapping
        Numbers among them that save memory when lowered, and how users write them.
    device : torch.device
        Where the encoder is trained.
    held : mapping of str to int
        Bytes, by place, of what is estimated and allocated already.
    """
    for place, parts in estimate(settings).by_place(device).items():
        needed, free = sum(parts.values()), free_bytes(torch.device(place)) + held.get(place, 0)
        listed = ", ".join(f"{name} {size(n)}" for name, n in parts.items())
        logger.info("training needs about %s on %s (%s)", size(needed), place, listed)
        if needed > free:

            def fits(name: str, value: int, place: str = place, free: int = free) -> bool:
                changed = estimate({**settings, name: value}).by_place(device)[place]
                return sum(changed.values()) <= free

            values = {name: _largest(settings[name], partial(fits, name)) for name in savers}
            remedies = [savers[name](value) for name, value in values.items() if value]
            remedy = f"Pass {' or '.join(remedies)}, which would fit."
            if not remedies:
                lowered = " and ".join(savers[name](max(settings[name] // 2, 1)) for name in savers)
                remedy = f"Lower {lowered}, or pass fewer texts or labels: none alone would do."
            raise ValueError(
                f"Training needs about {size(needed)} ({listed}), but {place} has {size(free)} "
                f"for it. {remedy}"
            )


def _largest(value: int, fits: Callable[[int], bool]) -> int:
    """The largest number below `value` that fits; 0 where 1 does not."""
    low, high = 0, value
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


@contextmanager
def explained_out_of_memory(
    settings: Mapping[str, Any], savers: Mapping[str, Callable[[int], str]], device: torch.device
) -> Iterator[None]:
    """Turn an out-of-memory error, which the estimate did not foresee, into the same sentence."""
    try:
        yield
    except (torch.cuda.OutOfMemoryError, MemoryError) as error:
        halves = [savers[name](max(settings[name] // 2, 1)) for name in savers]
        raise ValueError(
            f"Training needs more memory than {device} has free ({str(error).splitlines()[0]}). "
            f"Pass {' or '.join(halves)}."
        ) from error


def size(n_bytes: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} GiB"
