"""Writing the folder of a saved model, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._reading import CONFIG, FORMAT_VERSION, declared, read_config, read_header


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
    target = Path(os.path.realpath(folder))
    check_replaceable(target)
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
    if not any(target.iterdir()):
        return
    try:
        known = {CONFIG, *read_config(target)["files"]}
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise FileExistsError(
            f"{target} is not empty and holds no intact model of skxc ({error}) Pass a folder "
            f"that does not exist, is empty, or holds a model to be replaced."
        ) from error
    found = {p.relative_to(target).as_posix() for p in target.rglob("*") if not p.is_dir()}
    if foreign := sorted(found - known):
        raise FileExistsError(
            f"{target} holds {foreign[0]}, which is no part of its model and would be lost. "
            f"Move it elsewhere, or pass another folder."
        )


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
