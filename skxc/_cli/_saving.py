"""A trained model reaches the disk: its place is tried before training, others after."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from skxc._persistence import CONFIG, check_replaceable, claimed, real_path, staging_folder

from ._errors import InputError, one_line


def check_is_free(out: str, *, overwrite: bool) -> Path:
    """The folder's absolute path; raise, before training, if it cannot be saved to."""
    if not out:  # which would mean the working directory
        raise InputError("--out is empty. Pass the path of a folder.")
    folder = real_path(out)
    if (folder / CONFIG).is_file() and not overwrite:
        raise InputError(f"--out {out} holds a model. Pass another folder, or --overwrite.")
    place = folder
    try:
        check_replaceable(folder)
        place = _existing(folder)
        with claimed(folder, place) as trial:  # named as a save's, which later ones delete
            try:
                (trial / CONFIG).write_bytes(b"{}")
            finally:
                shutil.rmtree(trial)
    except FileExistsError:
        raise
    except OSError as error:
        raise InputError(
            f"--out {out}: {place} cannot be written to ({error.strerror}). Pass another folder."
        ) from error
    return folder


def check_space(encoder: Any, n_labels: int, folder: Path) -> None:
    """Refuse, before training, a disk without space for the label embeddings.

    The model takes more: its size is known only once all texts are tokenised.
    """
    place = _existing(folder)
    try:
        usage = shutil.disk_usage(place)
    except OSError:  # some file systems cannot tell
        return
    n_bytes = 4 * n_labels * encoder.planned_dim()
    if usage.total and n_bytes > usage.free:
        raise InputError(
            f"--out {folder}: the model takes more than {n_bytes / 1e6:,.2f} MB, and {place} has "
            f"{usage.free / 1e6:,.2f} MB free. Make room, or pass another folder."
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
