"""A trained model reaches the disk: its place is tried before training, others after."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from skxc._persistence import CONFIG, check_replaceable, real_path, staging_folder

from ._errors import InputError, one_line

_N_TEXTS = 1000  # to estimate by: the vocabulary of more is larger


def check_is_free(out: str, *, overwrite: bool) -> None:
    """Refuse, before training, a folder that cannot be saved to or must not be replaced."""
    folder = real_path(out)
    if (folder / CONFIG).is_file() and not overwrite:
        raise InputError(f"--out {out} holds a model. Pass another folder, or --overwrite.")
    check_replaceable(folder)
    place = _existing(folder)
    try:
        with tempfile.TemporaryDirectory(prefix=".skxc-", dir=place) as trial:
            (Path(trial) / CONFIG).write_bytes(b"{}")
    except OSError as error:
        raise InputError(
            f"--out {out}: {place} cannot be written to ({error.strerror}). Pass another folder."
        ) from error


def check_space(clf: Any, texts: list[str], Y: Any, out: str) -> None:
    """Refuse, before training, a disk without space for the least that the model will take."""
    from skxc._training._memory import size

    place = _existing(real_path(out))
    try:
        with warnings.catch_warnings(action="ignore"):  # `fit` says what is wrong with all of them
            parts = clf.memory_estimate(texts[:_N_TEXTS], Y[:_N_TEXTS])
    except (ValueError, TypeError):
        return
    n_bytes, n_free = sum(part["weights"] for part in parts.values()), shutil.disk_usage(place).free
    if n_bytes > n_free:
        raise InputError(
            f"--out {out}: the model takes {size(n_bytes)} at least, and {place} has "
            f"{size(n_free)} free. Make room, or pass another folder."
        )


def _existing(folder: Path) -> Path:
    """Where the model will be written first, or what of its path there is."""
    place = staging_folder(folder)
    return next(path for path in (place, *place.parents) if path.exists())


def save(clf: Any, out: str, *, overwrite: bool) -> None:
    """Save to `out`, or else to a place that the error names.

    Raises
    ------
    OSError
        If `out` cannot be written, or has meanwhile become what must not be replaced.
    """
    try:
        clf._save(out, may_replace=overwrite)
        return
    except OSError as error:
        problem = error
    for place in _other_places(out):
        try:
            clf.save(place)
        except OSError:
            continue
        raise OSError(
            f"--out {out}: {one_line(problem).rstrip('.')}. The model is trained, and saved to "
            f"{place}: move it from there."
        ) from problem
    raise problem


def _other_places(out: str) -> Iterator[Path]:
    folder = real_path(out)
    name = f"{folder.name or 'model'}-{secrets.token_hex(4)}"
    yield folder.parent / name
    for place in (tempfile.gettempdir(), os.curdir, Path.home()):
        yield Path(os.path.realpath(place)) / name
