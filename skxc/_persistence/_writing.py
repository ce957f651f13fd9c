"""Writing the folder of a saved model, whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._exchange import exchange
from ._leftovers import MODEL, SPARE, Kind, claimed, collect, in_turn, whole_files
from ._reading import (
    CONFIG,
    DIGEST,
    FORMAT_VERSION,
    parts_in_c_order,
    real_path,
    tensor_entry,
    tensors_digest,
)
from ._replaceable import check_replaceable, own_paths
from ._values import dtype_name

# another save puts its folder at the same place at the same time
_TRIES, _MET = 10, {errno.EEXIST, errno.ENOENT, errno.ENOTEMPTY}
# a folder that cannot be renamed: of an overlay's lower layer, or mounted
_FIXED = {errno.EXDEV, errno.EBUSY}
# bytes; some processors round products by where in memory their factors begin
_ALIGNMENT = 64
# of a folder that cannot be flushed to the disk by itself
_NO_FLUSH = {errno.EINVAL, errno.ENOTSUP, errno.EACCES}


def write_json(path: Path, value: Any) -> None:
    """Write JSON in UTF-8; lone surrogates, which a str may hold, as they are."""
    text = json.dumps(value, ensure_ascii=False)
    path.write_bytes(text.encode("utf8", "surrogatepass"))


def write_tensors(
    path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file that PyTorch's tools read, too, with the digest of its tensors.

    The library's own writer copies all of them first, and orders the metadata at random.
    """

    def order(name: str) -> tuple[bool, int, str]:  # every number is aligned, most arrays are, too
        array = tensors[name]
        return array.nbytes % _ALIGNMENT > 0, -array.dtype.itemsize, name

    arrays = {name: np.asarray(tensors[name]) for name in sorted(tensors, key=order)}
    about = {**(metadata or {}), "format": "pt", DIGEST: tensors_digest(arrays)}
    header: dict[str, Any] = {"__metadata__": about}
    start = 0
    for name, array in arrays.items():
        end = start + array.nbytes
        shape = list(array.shape)
        header[name] = {"dtype": dtype_name(array), "shape": shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            for part in parts_in_c_order(array):
                file.write(part)


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """A path to write to; what is there takes the place of the file `path` once it is complete."""
    new = new_path(path)
    try:
        yield new
        _flush(new)
        new.replace(path)
        _flush(path.parent)
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)


def new_path(path: Path) -> Path:
    """Where `replaced_file` writes: a killed one leaves it."""
    return path.with_name(f"{path.name}.new")


def seal(folder: Path, config: Mapping[str, Any]) -> None:
    """Write config.json: `config`, and what all the other files hold."""
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        entry: dict[str, Any] = {"size": path.stat().st_size}
        if path.suffix == ".safetensors":
            entry |= tensor_entry(path)
        else:
            entry["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        files[path.relative_to(folder).as_posix()] = entry
    first = {"format": "skxc", "format_version": FORMAT_VERSION}
    text = json.dumps({**first, **config, "files": files}, ensure_ascii=False, indent=1)
    body = text.encode("utf8", "surrogatepass").removesuffix(b"\n}")
    digest = hashlib.sha256(body).hexdigest()
    (folder / CONFIG).write_bytes(body + f',\n "sha256": "{digest}"\n}}\n'.encode())


@contextmanager
def replaced_folder(
    folder: str | os.PathLike[str], *, may_replace: bool = True, kind: Kind = MODEL
) -> Iterator[Path]:
    """A new folder to write into, which takes the place of `folder` once it is complete.

    The old one is not deleted unless the new one stands, nor a model unless `may_replace`.

    Raises
    ------
    FileExistsError
        If `folder` holds anything but one of this kind.
    OSError
        If a file cannot be written. Where neither the new one nor the old one could be put under
        the name, the message tells where they are.
    """
    target = real_path(folder)
    check_replaceable(target, may_replace=may_replace, kind=kind)
    place = staging_folder(target)
    lacking = [path for path in (place, *place.parents) if not path.exists()]
    if lacking:
        place.mkdir(parents=True, exist_ok=True)
    with claimed(target, place) as new:
        old = new.with_suffix(".old")
        is_complete = False
        try:
            _take_over_permissions(target, new)
            yield new
            _flush_to_disk(new)
            is_complete = True
            # writing may have taken long
            check_replaceable(target, may_replace=may_replace, kind=kind)
            if place == target or not _took_place(target, new, old, kind, may_replace=may_replace):
                _refill(target, new, old, kind, may_replace=may_replace)
            _flush(place)
        except OSError as error:
            kept = [path for path in (new, old) if whole_files(path, kind) is not None]
            if is_complete and kept and not _stands(target, kind):
                raise OSError(
                    f"{target} could not be written ({error}). Complete are "
                    f"{' and '.join(map(str, kept))}: move one of them to {target}."
                ) from error
            raise
        finally:
            if not is_complete or _stands(target, kind):
                for leftover in (new, old):
                    shutil.rmtree(leftover, ignore_errors=True)
                for parent in lacking:
                    with suppress(OSError):  # where something is in it
                        parent.rmdir()
    collect(target, kind)


def _stands(target: Path, kind: Kind) -> bool:
    return whole_files(target, kind) is not None


def _take_over_permissions(target: Path, new: Path) -> None:
    """Have `new` be as private as the folder that it replaces, as far as we may say."""
    with suppress(OSError):  # there is none, or a file system knows no such permissions
        before = target.stat()
        with suppress(AttributeError, OSError):  # Windows, or a group of others
            os.chown(new, -1, before.st_gid)
        new.chmod(stat.S_IMODE(before.st_mode) | stat.S_IRWXU)


def staging_folder(target: Path) -> Path:
    """Where the new model is written first: beside `target`, or in it where it cannot be renamed.

    A mount point cannot be, and with the working directory's name the process would lose it.
    """
    try:
        is_working = target.samefile(os.curdir)
    except FileNotFoundError:  # one of them is not there
        is_working = False
    return target if is_working or os.path.ismount(target) else target.parent


def _took_place(target: Path, new: Path, old: Path, kind: Kind, *, may_replace: bool) -> bool:
    """Have `new` stand where `target` does; False where that folder cannot be renamed."""
    try:
        if may_replace:
            _take_place(target, new, old, kind)
        else:
            new.rename(target)  # which fails if another save has put its folder there
    except OSError as error:
        if error.errno not in _FIXED:
            raise
        return False
    return True


def _take_place(target: Path, new: Path, old: Path, kind: Kind) -> None:
    """Have `new` stand where `target` does, which becomes `new` or `old`."""
    for attempt in range(_TRIES):
        try:
            if not (target.exists() and exchange(new, target)):
                _rename_both(target, new, old)
            return
        except OSError as error:
            if error.errno not in _MET or attempt == _TRIES - 1:
                raise
        if _stands(target, kind):
            shutil.rmtree(old, ignore_errors=True)


def _rename_both(target: Path, new: Path, old: Path) -> None:
    """Have `new` stand where `target` does, in two steps."""
    try:
        if target.exists():
            target.rename(old)
        new.rename(target)
    finally:
        if old.exists() and not target.exists():  # broken off between the two
            old.rename(target)


def _refill(target: Path, new: Path, old: Path, kind: Kind, *, may_replace: bool) -> None:
    """Put the files of `new` into `target` in the place of its own; `old` gets links to those.

    Both stay complete beside.
    """
    with in_turn(target):
        check_replaceable(target, may_replace=may_replace, kind=kind)
        old.mkdir()
        before = _own_files(target)
        for name in before:
            _link(target / name, old / name, old / SPARE)
        try:
            _put_files(target, new, before, kind)
        except BaseException:
            _put_files(target, old, _own_files(target), kind)
            raise
        finally:
            with suppress(OSError):
                (target / SPARE).unlink(missing_ok=True)


def _own_files(target: Path) -> list[str]:
    """The files of a folder, but for those of saves."""
    return [name for name in own_paths(target) if not (target / name).is_dir()]


def _put_files(target: Path, source: Path, before: Sequence[str], kind: Kind) -> None:
    """Links to the files of `source` in the place of those of before."""
    (target / kind.last).unlink(missing_ok=True)
    files = [p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file()]
    for name in {*before} - {*files}:
        (target / name).unlink(missing_ok=True)
    for name in sorted(files, key=kind.last.__eq__):
        if name == kind.last:  # the others are to be on the disk before it
            for folder in {(target / name).parent for name in files}:
                _flush(folder)
        _link(source / name, target / name, target / SPARE)
    for folder in {(target / name).parent for name in before} - {target}:
        with suppress(OSError):  # of files that are left
            folder.rmdir()
    _flush(target)


def _link(source: Path, target: Path, spare: Path) -> None:
    """A second name of a file, or a copy, by way of `spare`, where the file system gives none."""
    if target.exists() and target.samefile(source):
        return
    if not target.parent.exists():
        target.parent.mkdir(parents=True)
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except (OSError, NotImplementedError):
        shutil.copy2(source, spare)
        _flush(spare)
        spare.replace(target)


def _flush_to_disk(folder: Path) -> None:
    """Have every file on the disk before the folder gets its name."""
    for path in [*folder.rglob("*"), folder]:
        _flush(path)


def _flush(path: Path) -> None:
    if path.is_dir() and os.name != "posix":  # Windows opens no folders
        return
    try:
        descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_FLUSH or not path.is_dir():
            raise
