"""A trained model reaches the disk: its place is tried before training, others after."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from skxc._persistence import CONFIG, check_replaceable, real_path, staging_folder
from skxc._persistence._leftovers import claimed

from ._errors import InputError, one_line

_N_TEXTS = 1000  # to estimate by: the vocabulary of more is larger


def check_is_free(out: str, *, overwrite: bool) -> Path:
    """The folder's absolute path; raise, before training, if it cannot be saved to."""
    if not out:  # which would mean the working directory
        raise InputError("--out is empty. Pass the path of a folder.")
    folder = real_path(out)
    if (folder / CONFIG).is_file() and not overwrite:
        raise InputError(f"--out {out} holds a model. Pass another folder, or --overwrite.")
    check_replaceable(folder)
    place = _existing(folder)
    try:
        with claimed(folder, place) as trial:  # named as a save's, which later ones delete
            try:
                (trial / CONFIG).write_bytes(b"{}")
            finally:
                shutil.rmtree(trial)
    except OSError as error:
        raise InputError(
            f"--out {out}: {place} cannot be written to ({error.strerror}). Pass another folder."
        ) from error
    return folder


def check_space(clf: Any, texts: list[str], Y: Any, folder: Path) -> None:
    """Refuse, before training, a disk without space for the least that the model will take."""
    from skxc._training._memory import size

    place = _existing(folder)
    try:
        usage = shutil.disk_usage(place)
    except OSError:  # some file systems cannot tell
        return
    try:
        with warnings.catch_warnings(action="ignore"):  # `fit` says what is wrong with all of them
            parts = clf.memory_estimate(texts[:_N_TEXTS], Y[:_N_TEXTS])
    except (ValueError, TypeError):
        return
    n_bytes, n_free = sum(part["weights"] for part in parts.values()), usage.free
    if usage.total and n_bytes > n_free:
        raise InputError(
            f"--out {folder}: the model takes {size(n_bytes)} at least, and {place} has "
            f"{size(n_free)} free. Make room, or pass another folder."
        )


def _existing(folder: Path) -> Path:
    """Where the model will be written first, or what of its path there is."""
    place = staging_folder(folder)
    return next(path for path in (place, *place.parents) if path.exists())


def save(clf: Any, out: str, folder: Path, *, overwrite: bool) -> None:
    """Save to `folder`, which the user calls `out`, or else to a place that the error names.

    Raises
    ------
    OSError
        If it cannot be written, or has meanwhile become what must not be replaced.
    """
    try:
        clf._save(folder, may_replace=overwrite)
        return
    except OSError as error:
        problem = error
    what = f"--out {out}: {one_line(problem).rstrip('.')}. The model is trained, "
    to = "a free name" if isinstance(problem, FileExistsError) else str(folder)
    for place in _other_places(folder):
        try:
            clf.save(place)
        except OSError:
            continue
        raise OSError(f"{what}and saved to {place}: move it to {to}.") from problem
    raise OSError(f"{what}but no other place could be written to: it is lost.") from problem


def _other_places(folder: Path) -> Iterator[Path]:
    """Beside the folder, and where there is often space."""
    name = f"{folder.name or 'model'}-{secrets.token_hex(4)}"
    yield folder.parent / name
    for place in (tempfile.gettempdir, os.getcwd, Path.home):
        with suppress(OSError, RuntimeError):  # there is none
            yield Path(os.path.realpath(place())) / name
