"""Reading a folder that another process may be replacing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ._leftovers import complete_leftovers, is_being_saved
from ._reading import config_bytes, real_path

T = TypeVar("T")

_TRIES, _PAUSE = 100, 0.01  # seconds


def unreplaced(folder: str | os.PathLike[str], read: Callable[[Path], T]) -> T:
    """What `read` makes of the folder, once it is one and the same all along.

    Raises
    ------
    FileNotFoundError, ValueError
        As `read`; the message names the complete models that a killed save left beside, if any.
    """
    for _ in range(_TRIES):
        root = real_path(folder)
        before = config_bytes(root)
        try:
            return read(root)
        except (OSError, ValueError):
            if config_bytes(real_path(folder)) == before and not is_being_saved(root):
                break
        time.sleep(_PAUSE)
    root = real_path(folder)
    try:
        return read(root)
    except (OSError, ValueError) as error:
        if is_being_saved(root):
            raise type(error)(f"{error} A process is saving it just now: try again.") from error
        if not (complete := complete_leftovers(root)):
            raise
        raise type(error)(
            f"{error} A save that was broken off left a complete model in "
            f"{' and in '.join(map(str, complete))}: move it to {os.fspath(folder)}."
        ) from error
