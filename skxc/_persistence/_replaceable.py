"""Whether a folder may be replaced: nobody is to lose what is not ours."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

from ._leftovers import INSIDE, MODEL, SPARE, Kind, is_leftover, leftovers, whole_files
from ._reading import config_bytes


def check_replaceable(target: Path, *, may_replace: bool = True, kind: Kind = MODEL) -> None:
    """Raise unless a model, or another kind, may be written to `target` in place of what is there.

    Raises
    ------
    FileExistsError
        If `target` holds anything but one of ours, or a model that must not be replaced.
    """
    try:
        is_folder = stat.S_ISDIR(target.stat().st_mode)
    except FileNotFoundError:
        return
    if not is_folder:
        raise FileExistsError(
            f"{target} is a file. Pass the path of a folder, new or of a saved {kind.name}."
        )
    if not may_replace and config_bytes(target) is not None:
        raise FileExistsError(f"{target} holds a model, which must not be replaced.")
    cwd = _working_directory()
    if cwd is not None and target in cwd.parents:
        raise FileExistsError(
            f"{target} holds the working directory, {cwd}, which would be lost. Change to another "
            f"one, or pass another folder."
        )
    while True:
        before = config_bytes(target)
        found = set(own_paths(target))
        try:
            files = _expected_files(target, kind) if found else set()
            problem = None
        except (KeyError, OSError, TypeError, ValueError) as error:
            problem = error
        if config_bytes(target) == before:  # else another save has put its folder there
            break
    if problem is not None:
        raise FileExistsError(
            f"{target} is not empty and holds no intact {kind.name} of skxc ({problem}) Pass a "
            f"folder that does not exist, is empty, or holds one to be replaced."
        ) from problem
    folders = {path.as_posix() for name in files for path in PurePosixPath(name).parents}
    if foreign := sorted(found - files - folders):
        raise FileExistsError(
            f"{target} holds {foreign[0]}, which is no part of its {kind.name} and would be lost. "
            f"Move it elsewhere, or pass another folder."
        )


def _expected_files(target: Path, kind: Kind) -> set[str]:
    """The files of the model in `target`, or of those that a killed save has left in it."""
    try:
        return kind.files(target)
    except (FileNotFoundError, ValueError):
        complete = [files for path in leftovers(target) if (files := whole_files(path, kind))]
        if not complete:
            raise
        return set[str]().union(*complete)


def _working_directory() -> Path | None:
    try:
        return Path(os.path.realpath(os.curdir))
    except FileNotFoundError:  # somebody deleted it
        return None


def own_paths(target: Path) -> list[str]:
    """What is in a folder, but for what saves that are under way or dead have there."""
    paths = []
    for folder, folders, files in os.walk(target, onerror=_raise_unless_gone):
        inside = Path(folder).relative_to(target)
        if inside == Path():
            folders[:] = [name for name in folders if not is_leftover(name, INSIDE)]
        paths += [(inside / name).as_posix() for name in (*folders, *files) if name != SPARE]
    return paths


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # another save has replaced the folder
        raise error
