"""Parameters of estimators and functions, and what all error messages share."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np


def check_choice(name: str, value: object, accepted: Sequence[object]) -> None:
    """Raise unless `value` is one of `accepted`; grids of arrays hold NumPy scalars."""
    plain = value.item() if isinstance(value, np.bool_ | np.str_) else value
    if not any(type(plain) is type(a) and plain == a for a in accepted):
        options = ", ".join(map(repr, accepted))
        raise ValueError(f"{name}={value!r} is unknown. Pass one of {options}.")


def check_integer(name: str, value: object, low: int) -> None:
    """Raise unless `value` is an integer of at least `low`."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer of at least {low}, got {value!r}.")
    if value < low:
        raise ValueError(f"{name}={value} is too small. Pass an integer of at least {low}.")


def check_real(
    name: str, value: object, low: float = 0.0, high: float = math.inf, ends: str = "[]"
) -> None:
    """Raise unless `value` is a number between `low` and `high`; `ends` says which are included."""
    number: Any = value
    interval = f"{ends[0]}{low:g}, {high:g}{ends[1] if high < math.inf else ')'}"
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number in {interval}, got {value!r}.")
    above = number >= low if ends[0] == "[" else number > low
    below = number <= high if ends[1] == "]" else number < high
    if not (above and below and math.isfinite(number)):
        raise ValueError(f"{name}={value} is out of range. Pass a number in {interval}.")


def check_threshold(threshold: Any, n_labels: int | None = None) -> Any:
    """`threshold`, "auto", a number in [0, 1] or, as a float64 array, one for each label."""
    if isinstance(threshold, str) and threshold == "auto":
        return threshold
    try:
        thresholds = np.asarray(threshold)
        if thresholds.dtype.kind not in "biufO" and thresholds.ndim:
            raise TypeError
        thresholds = thresholds.astype(np.float64)
    except (OverflowError, TypeError, ValueError):
        thresholds = np.empty(0)
    if thresholds.ndim == 0 or isinstance(threshold, str):
        check_real("threshold", threshold, high=1)
        return threshold
    if thresholds.ndim != 1 or not len(thresholds):
        raise TypeError(
            f"threshold is {short(threshold)}. Pass a number in [0, 1], or a 1-d array of one "
            f"such number per label."
        )
    is_bad = ~((thresholds >= 0) & (thresholds <= 1))
    if is_bad.any():
        raise ValueError(
            f"threshold[{is_bad.argmax()}]={thresholds[is_bad][0]} is out of range. Pass numbers "
            f"in [0, 1]."
        )
    if n_labels is not None and len(thresholds) != n_labels:
        raise ValueError(
            f"threshold has {len(thresholds)} entries, but the model has {n_labels} labels. Pass "
            f"one number per label, in the order of classes_, or one for all."
        )
    return thresholds


def resolve_device(device: Any) -> Any:
    """The torch device that `device` names; "auto" is CUDA where there is one."""
    import torch

    if device == "auto":  # a child that was forked after its parent used a GPU has none
        has_gpu = torch.cuda.is_available() and not torch.cuda._is_in_bad_fork()
        return torch.device("cuda" if has_gpu else "cpu")
    try:
        resolved = torch.device(device)
        torch.zeros(1, device=resolved).item()  # refuses "meta", too
    except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device={device!r} is not available here ({str(error).splitlines()[0]}). "
            f"Pass 'auto', 'cpu' or a device that this torch build sees, such as 'cuda:0'."
        ) from error
    return resolved


def short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def callers_stack_level() -> int:
    """The `stacklevel` with which a warning points at the user's line that called skxc."""
    frame, level = sys._getframe(1), 1
    between = ("skxc.", "sklearn.callback.")  # sklearn.callback wraps `fit`
    while frame.f_back is not None and frame.f_globals["__name__"].startswith(between):
        frame, level = frame.f_back, level + 1
    return level
