"""Parameters of estimators and functions, and what all error messages share."""

from __future__ import annotations

import math
import multiprocessing
import os
import sys
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

# Numbers whose products float32 still holds; and what torch can count.
_LARGEST = 1e15
_MOST = 2**63 - 1


def check_choice(name: str, value: object, accepted: Sequence[object]) -> None:
    """Raise unless `value` is one of `accepted`; grids of arrays hold NumPy scalars."""
    plain = value.item() if isinstance(value, np.bool_ | np.str_) else value
    if not any(type(plain) is type(a) and plain == a for a in accepted):
        options = ", ".join(map(repr, accepted))
        raise ValueError(f"{name}={short(value)} is unknown. Pass one of {options}.")


def check_integer(name: str, value: object, low: int) -> None:
    """Raise unless `value` is an integer of at least `low`."""
    if not is_number(value, Integral):
        raise TypeError(f"{name} must be an integer of at least {low}, got {short(value)}.")
    number: Any = value
    if number < low:
        raise ValueError(f"{name}={short(value)} is too small. Pass an integer of at least {low}.")
    if number > _MOST:
        raise ValueError(f"{name}={short(value)} is too large. Pass at most {_MOST}, or 2**63 - 1.")


def check_real(
    name: str, value: object, low: float = 0.0, high: float = math.inf, ends: str = "[]"
) -> None:
    """Raise unless `value` is a number between `low` and `high`; `ends` says which are included."""
    number: Any = value.item() if isinstance(value, np.generic) else value
    interval = f"{ends[0]}{low:g}, {high:g}{ends[1] if high < math.inf else ')'}"
    if not is_number(value, Real):
        raise TypeError(f"{name} must be a number in {interval}, got {short(value)}.")
    above = number >= low if ends[0] == "[" else number > low
    below = number <= high if ends[1] == "]" else number < high
    if not (above and below and number < math.inf):
        raise ValueError(f"{name}={short(value)} is out of range. Pass a number in {interval}.")
    if number > _LARGEST:
        raise ValueError(
            f"{name}={short(value)} is more than float32 can compute with. Pass at most {_LARGEST}."
        )
    if ends[0] == "(" and number < low + 1 / _LARGEST:
        raise ValueError(
            f"{name}={short(value)} is so close to {low:g} that float32 cannot compute with it. "
            f"Pass at least {low + 1 / _LARGEST}."
        )


def check_seed(name: str, value: Any) -> None:
    """Raise unless NumPy's RandomState can be seeded with `value`, or it is one."""
    if isinstance(value, bool) or is_number(value, Integral):  # scikit-learn takes True for 1
        if not 0 <= value < 2**32:
            raise ValueError(
                f"{name}={short(value)} is no seed. Pass an integer from 0 to 2**32 - 1."
            )
    elif not (value is None or value is np.random or isinstance(value, np.random.RandomState)):
        raise ValueError(
            f"{name}={short(value)} cannot be used to seed a numpy.random.RandomState instance. "
            f"Pass an integer from 0 to 2**32 - 1, a RandomState or None."
        )


def is_auto(value: object) -> bool:
    """Whether a parameter is "auto"; comparing an array with it would give an array."""
    return isinstance(value, str) and value == "auto"


def is_number(value: object, kind: type) -> bool:
    """Whether it is a number of this kind; NumPy counts spans of time as integers."""
    return isinstance(value, kind) and not isinstance(value, bool | np.timedelta64)


def resolve_device(device: Any) -> Any:
    """The torch device that `device` names; "auto" is CUDA where there is one.

    Of several processes on one host, "auto" and "cuda" are a GPU for each.
    """
    import torch

    if is_auto(device):  # a child that was forked after its parent used a GPU has none
        has_gpu = torch.cuda.is_available() and not torch.cuda._is_in_bad_fork()
        return torch.device(_own_gpu() if has_gpu else "cpu")
    try:
        if str(device) == "cuda":
            device = _own_gpu()
        resolved = torch.device(device)
        torch.zeros(1, device=resolved).item()  # refuses "meta", too
    except (
        RuntimeError,
        TypeError,
        ValueError,
        OverflowError,
        AssertionError,
        NotImplementedError,
    ) as error:
        is_name = not isinstance(error, TypeError)
        reason = str(error).splitlines()[0] if is_name else "no str and no torch.device"
        raise ValueError(
            f"device={short(device)} is not available here ({reason}). "
            f"Pass 'auto', 'cpu' or a device that this torch build sees, such as 'cuda:0'."
        ) from error
    return resolved


def _own_gpu() -> str:
    """This process's, of several on one host; else the current one."""
    import torch

    number = _local_rank()
    if number is None:
        return "cuda"
    n_gpus = torch.cuda.device_count()
    if n_gpus == 1:  # perhaps each process sees its own alone; `fit` refuses one that is shared
        return "cuda:0"
    if number >= n_gpus:
        raise ValueError(
            f"torchrun started process {number} on a host with {n_gpus} GPUs, one a process: pass "
            f"it --nproc-per-node {n_gpus}, or device='cpu' here"
        )
    return f"cuda:{number}"


def _local_rank() -> int | None:
    """This process's number on its host, where torchrun started it and others."""
    is_main = multiprocessing.current_process().name == "MainProcess"
    is_launched = "TORCHELASTIC_RUN_ID" in os.environ and is_main
    return int(os.environ["LOCAL_RANK"]) if is_launched else None


def reason(error: Exception) -> str:
    """What an error says, but not Python's advice to its programmers on very long integers."""
    text = str(error)
    return "a number has thousands of digits" if "set_int_max_str_digits" in text else text


def short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # an object's own, or an integer of more digits than Python writes
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def callers_stack_level() -> int:
    """The `stacklevel` with which a warning points at the user's line that called skxc."""
    frame, level = sys._getframe(1), 1
    between = ("skxc.", "sklearn.callback.")  # sklearn.callback wraps `fit`
    # code that `exec` runs may have no __name__
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(between):
        frame, level = frame.f_back, level + 1
    return level
