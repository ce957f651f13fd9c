"""What saves that were broken off, or are under way, leave beside a model's folder, or in it.

A save writes into a folder of its own, ".model.0a1b2c3d.new", which a lock marks as in use: the
system drops the lock when the process ends, however it ends.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from ._reading import CONFIG, read_config

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

INSIDE = ".skxc-"  # what the names begin with in a folder that stays itself
_SECONDS, _PAUSE = 60, 0.01  # of waiting for one's turn
SPARE = INSIDE + "spare"  # a file on its way into the folder, where there are no links


class Kind(NamedTuple):
    """What a folder holds as a whole."""

    name: str
    last: str  # the file that comes last and leaves first: without it, nothing is taken for one
    files: Callable[[Path], set[str]]  # of the one in a folder; raises if there is none
    parts: set[str]  # what may be in a folder while one is written to it


MODEL = Kind(
    "model",
    CONFIG,
    lambda folder: {CONFIG, *read_config(folder)["files"]},
    {CONFIG, "encoder", "labels.json", "model.safetensors", "search.safetensors"},
)


def stem(target: Path, place: Path) -> str:
    """What the names begin with that a save of `target` gives to its folders in `place`."""
    return INSIDE if place == target else f".{target.name}."


def is_leftover(name: str, stem: str) -> bool:
    """Whether a save names its folders so."""
    return re.fullmatch(rf"{re.escape(stem)}[0-9a-f]{{8}}\.(new|old)", name) is not None


@contextmanager
def claimed(target: Path, place: Path) -> Iterator[Path]:
    """A new empty folder in `place` that counts as in use until the end."""
    while True:
        new = place / f"{stem(target, place)}{secrets.token_hex(4)}.new"
        new.mkdir()
        with locked(new) as is_ours:
            # a collector may have taken it between the two
            if is_ours is None or (is_ours and new.exists()):
                yield new
                return


@contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Inside, no other save puts files into the folder; where there are no locks, nothing holds.

    Raises
    ------
    BlockingIOError
        If others do for too long.
    """
    end = time.monotonic() + _SECONDS
    while True:
        with locked(folder) as is_ours:
            if is_ours is not False or not folder.exists():
                yield
                return
        if time.monotonic() > end:
            raise BlockingIOError(
                f"{folder} is locked by another process. Try again, or pass another folder."
            )
        time.sleep(_PAUSE)


@contextmanager
def locked(folder: Path) -> Iterator[bool | None]:
    """Hold the folder's lock: True; where another process does: False; where none can: None."""
    if fcntl is None:
        yield None
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        yield False
        return
    except OSError:  # somebody else's, or no folder
        yield None
        return
    _open.add(descriptor)
    try:
        is_held = try_lock(descriptor)
        try:
            yield is_held
        finally:
            if is_held and descriptor in _open:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        if descriptor in _open:
            _open.discard(descriptor)
            os.close(descriptor)


_open = set[int]()  # descriptors of this process's locks


def _let_go() -> None:
    """In a forked child: a lock that it kept open would outlive its parent."""
    while _open:
        os.close(_open.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def try_lock(descriptor: int) -> bool | None:
    """Lock what is open: True; where another process holds the lock: False; where none can: None.

    The system drops the lock when the process ends or closes what is open.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


def leftovers(target: Path) -> list[Path]:
    """The folders of saves of `target`, dead or alive, beside it and in it."""
    found = []
    for place in (target.parent, target):
        with suppress(OSError):
            names = [n for n in sorted(os.listdir(place)) if is_leftover(n, stem(target, place))]
            found += [place / name for name in names]
    return [path for path in found if path.is_dir() and not path.is_symlink()]


def is_being_saved(target: Path) -> bool:
    """Whether a process is about to write `target`."""
    for path in leftovers(target):
        with locked(path) as is_free:
            if is_free is False:
                return True
    return False


def complete_leftovers(target: Path) -> list[Path]:
    """Those of dead saves that hold a complete model."""
    return [path for path in leftovers(target) if _is_dead(path) and whole_files(path, MODEL)]


def _is_dead(path: Path) -> bool:
    """Whether the save that made the folder is over, as far as a lock tells."""
    new = path.with_suffix(".new")
    with locked(new) as is_free:
        return is_free is not False or not new.exists()


def whole_files(folder: Path, kind: Kind) -> set[str] | None:
    """The files of a complete one; None where there is none."""
    try:
        files = kind.files(folder)
    except (KeyError, OSError, TypeError, ValueError):
        return None
    return files if all((folder / name).is_file() for name in files) else None


def collect(target: Path, kind: Kind) -> None:
    """Delete what dead saves of `target`, which stands, have left; what is foreign stays."""
    for path in leftovers(target):
        with suppress(OSError), locked(path.with_suffix(".new")) as is_free:
            is_dead = is_free or (is_free is False and not path.with_suffix(".new").exists())
            if is_dead and {*os.listdir(path)} <= {*kind.parts, SPARE}:
                shutil.rmtree(path)
