"""Writing the folder of a saved model, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._reading import CONFIG, FORMAT_VERSION, declared, read_config, read_header, real_path

# what a killed process leaves in a folder that stays itself: a half-written model, or a replaced
# one; a folder of the suffix .old would be part of the only whole model
_LEFTOVER = re.compile(r"\.skxc-[0-9a-f]{8}\.(new|gone)")


def write_json(path: Path, value: Any) -> None:
    """Write JSON in UTF-8; lone surrogates, which a str may hold, as they are."""
    text = json.dumps(value, ensure_ascii=False)
    path.write_bytes(text.encode("utf8", "surrogatepass"))


def write_tensors(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write a safetensors file that PyTorch's tools read, too."""
    from safetensors.numpy import save_file

    # other arrays' memory is written as it lies, in the wrong order
    contiguous = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    path.touch()
    mode = path.stat().st_mode
    save_file(contiguous, path, metadata={"format": "pt"})
    path.chmod(mode)  # newer safetensors make files that only their owner can read


def seal(folder: Path, config: Mapping[str, Any]) -> None:
    """Write config.json: `config`, and what all the other files hold."""
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        entry: dict[str, Any] = {"size": path.stat().st_size}
        if path.suffix == ".safetensors":
            entry["tensors"] = declared(read_header(path)[0])
        else:
            entry["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        files[path.relative_to(folder).as_posix()] = entry
    first = {"format": "skxc", "format_version": FORMAT_VERSION}
    text = json.dumps({**first, **config, "files": files}, ensure_ascii=False, indent=1)
    body = text.encode("utf8", "surrogatepass").removesuffix(b"\n}")
    digest = hashlib.sha256(body).hexdigest()
    (folder / CONFIG).write_bytes(body + f',\n "sha256": "{digest}"\n}}\n'.encode())


@contextmanager
def replaced_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """A new folder to write into, which takes the place of `folder` once it is complete.

    Raises
    ------
    FileExistsError
        If `folder` holds anything but a model of ours.
    """
    target = real_path(folder)
    check_replaceable(target)
    if staging_folder(target) == target:
        with _refilled_folder(target) as new:
            yield new
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    unique = f".{target.name}.{secrets.token_hex(4)}"
    new, old = target.with_name(f"{unique}.new"), target.with_name(f"{unique}.old")
    try:
        new.mkdir()
        yield new
        _flush_to_disk(new)
        try:
            if target.exists():  # a folder that is not empty cannot be replaced in one go
                target.rename(old)
            new.rename(target)
        finally:
            if old.exists() and not target.exists():  # broken off between the two
                old.rename(target)
        _flush(target.parent)
    finally:
        for leftover in (new, old):
            if leftover.exists():
                shutil.rmtree(leftover)


def staging_folder(target: Path) -> Path:
    """Where the new model is written first: beside `target`, or in it where it cannot be renamed.

    A mount point cannot be, and with the working directory's name the process would lose it.
    """
    cwd = _working_directory()
    is_working = cwd is not None and target.exists() and target.samefile(cwd)
    return target if is_working or os.path.ismount(target) else target.parent


@contextmanager
def _refilled_folder(target: Path) -> Iterator[Path]:
    """As `replaced_folder`, but the folder itself stays: files are moved out of it, and into it.

    Broken off, all are moved back. config.json leaves first and comes last: without it, nothing is
    taken for a model.
    """
    unique = f".skxc-{secrets.token_hex(4)}"
    new, old, gone = (target / f"{unique}.{suffix}" for suffix in ("new", "old", "gone"))
    try:
        new.mkdir()
        yield new
        _flush_to_disk(new)
        names = [name for name in os.listdir(target) if not _LEFTOVER.fullmatch(name)]
        moves = [(target / name, old / name) for name in sorted(names, key=CONFIG.__ne__)]
        names = sorted(os.listdir(new), key=CONFIG.__eq__)
        moves += [(new / name, target / name) for name in names]
        old.mkdir()
        try:
            for source, destination in moves:
                source.rename(destination)
            _flush(target)
            old.rename(gone)
        except BaseException:
            if not gone.exists():
                _move_back(moves)
            raise
    finally:
        is_whole = not old.exists() or not any(old.iterdir())
        for leftover in (new, old, gone):
            if is_whole and leftover.exists():
                shutil.rmtree(leftover)


def _move_back(moves: Sequence[tuple[Path, Path]]) -> None:
    """Undo those of the moves that were made."""
    for source, destination in reversed(moves):
        if destination.exists() and not source.exists():
            destination.rename(source)


def check_replaceable(target: Path) -> None:
    """Raise unless a model may be written to `target`, in the place of what is there.

    Raises
    ------
    FileExistsError
        If `target` holds anything but a model of ours.
    """
    if not target.exists():
        return
    if not target.is_dir():
        raise FileExistsError(f"{target} is a file. Pass the path of a folder, new or a model's.")
    cwd = _working_directory()
    if cwd is not None and target in cwd.parents:
        raise FileExistsError(
            f"{target} holds the working directory, {cwd}, which would be lost. Change to another "
            f"one, or pass another folder."
        )
    names = [name for name in os.listdir(target) if not _LEFTOVER.fullmatch(name)]
    if not names:
        return
    try:
        files = {CONFIG, *read_config(target)["files"]}
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise FileExistsError(
            f"{target} is not empty and holds no intact model of skxc ({error}) Pass a folder "
            f"that does not exist, is empty, or holds a model to be replaced."
        ) from error
    folders = {path.as_posix() for name in files for path in PurePosixPath(name).parents}
    paths = [path.relative_to(target) for path in target.rglob("*")]
    found = {path.as_posix() for path in paths if path.parts[0] in names}
    if foreign := sorted(found - files - folders):
        raise FileExistsError(
            f"{target} holds {foreign[0]}, which is no part of its model and would be lost. "
            f"Move it elsewhere, or pass another folder."
        )


def _working_directory() -> Path | None:
    try:
        return Path(os.path.realpath(os.curdir))
    except FileNotFoundError:  # somebody deleted it
        return None


def _flush_to_disk(folder: Path) -> None:
    """Have every file on the disk before the folder gets its name."""
    for path in [*folder.rglob("*"), folder]:
        _flush(path)


def _flush(path: Path) -> None:
    if path.is_dir() and os.name != "posix":  # Windows opens no folders
        return
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
