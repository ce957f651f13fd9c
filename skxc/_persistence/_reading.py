"""Checking and reading the folder of a saved model."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import mmap
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._values import DTYPES

FORMAT_VERSION = 4  # higher when older versions of skxc could no longer read what is written
CONFIG, ENCODER = "config.json", "encoder"  # a file and a folder of the model's
DIGEST = "tensors_sha256"  # in config.json and in the file itself: they are of one save
# the end of config.json: the digest of all that stands before it
_SEAL = re.compile(rb',\n "sha256": "([0-9a-f]{64})"\n}\n\Z')
_BYTES_AT_ONCE = 1 << 24
LARGEST_CONFIG, _LARGEST_HEADER = 1 << 26, 100_000_000  # bytes; the second is safetensors' own
_AGAIN = "Copy the folder anew from where it came, or save the model again."


def real_path(folder: str | os.PathLike[str]) -> Path:
    """The folder's absolute path, links followed."""
    try:
        return Path(os.path.realpath(folder))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{os.fspath(folder)!r} is a path in the working directory, which was deleted. Change "
            f"to a folder that exists, or pass an absolute path."
        ) from error


class ModelFolder:
    """A saved model, whose files are those that its config.json tells of.

    Each file is opened once, here, and found to be the one that config.json means: a save that
    replaces the folder meanwhile leaves the files as they were, or is noticed.

    Raises
    ------
    FileNotFoundError
        If the folder, its config.json or another file is missing.
    ValueError
        If a file differs from what config.json says, or is of a newer format.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.root = real_path(folder)
        self.config = read_config(self.root)
        self._moved = "", ""  # what names begin with, and what the files' begin with
        self._texts: dict[str, bytes] = {}
        self._tensors: dict[str, _TensorFile] = {}
        for name, entry in self.config["files"].items():
            self._open(name, entry)

    def _open(self, name: str, entry: Mapping[str, Any]) -> None:
        path = _path_inside(self.root, name)
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != entry["size"]:
                raise ValueError(
                    f"{path} is damaged: it has {size} bytes, not {entry['size']}. {_AGAIN}"
                )
            if path.suffix == ".safetensors":
                self._tensors[name] = _TensorFile.opened(path, file)
                self._tensors[name].check(path, entry)
                return
            self._texts[name] = file.read()
        if hashlib.sha256(self._texts[name]).hexdigest() != entry["sha256"]:
            raise ValueError(f"{path} was changed: its SHA-256 is another. {_AGAIN}")

    def below(self, folder: str, part: str) -> ModelFolder:
        """The same model, where `folder` holds what `folder`/`part` does."""
        inner = f"{folder}/{part}/"

        def moved(entries: Mapping[str, Any]) -> dict[str, Any]:
            names = [name for name in entries if name.startswith(inner)]
            return {f"{folder}/{name.removeprefix(inner)}": entries[name] for name in names}

        view: ModelFolder = copy.copy(self)
        view.config = self.config | {"files": moved(self.config["files"])}
        view._texts, view._tensors = moved(self._texts), moved(self._tensors)
        view._moved = f"{folder}/", inner
        return view

    def path(self, name: str) -> Path:
        """Where a file lies that `config.json` tells of."""
        if name not in self.config["files"]:
            raise ValueError(f"{self.root / CONFIG} does not list {name}. {_AGAIN}")
        return self.root / name.replace(*self._moved, 1)

    def text(self, name: str) -> bytes:
        """The content of a file that holds no tensors."""
        self.path(name)
        return self._texts[name]

    def json(self, name: str) -> Any:
        """The content of a JSON file."""
        return _parsed(self.path(name), self._texts[name])

    def tensors(self, name: str, *, is_mapped: bool) -> dict[str, NDArray[Any]]:
        """The arrays of a safetensors file: read-only maps, or copies in memory."""
        self.path(name)
        return self._tensors[name].arrays(is_mapped=is_mapped)


class _TensorFile(NamedTuple):
    """A safetensors file, open."""

    header: dict[str, Any]  # by tensor
    metadata: dict[str, str]  # the tensors' digest, when they were written; older files have none
    content: NDArray[np.uint8]  # from where the numbers begin

    @classmethod
    def opened(cls, path: Path, file: BinaryIO) -> _TensorFile:
        """The file, which lies at `path`, where safetensors' own reader would open it once more.

        It is mapped, and by no np.memmap: joblib sends these to its workers as a file's name and a
        place in it, which are another array's when the folder has been saved again; and joblib 1.3
        takes 2-d parts of a 1-d map for Fortran-ordered.
        """
        size = os.fstat(file.fileno()).st_size
        start = 8 + int.from_bytes(file.read(8), "little")
        if not 8 < start <= min(size, 8 + _LARGEST_HEADER):
            raise ValueError(f"{path} is no intact safetensors file: its header is cut. {_AGAIN}")
        header = _parsed(path, file.read(start - 8), object_pairs_hook=_unique)
        content = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
        try:
            metadata = header.pop("__metadata__", {})
            _check_places(header, size - start)
            return cls(header, dict(metadata), content[start:])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is no intact safetensors file ({error!r}). {_AGAIN}"
            ) from error

    @property
    def digest(self) -> str | None:
        """Of the tensors, when they were written."""
        return self.metadata.get(DIGEST)

    def entry(self) -> dict[str, Any]:
        """What config.json tells of the file."""
        tensors = {
            name: {"dtype": entry["dtype"], "shape": entry["shape"]}
            for name, entry in self.header.items()
        }
        return {"tensors": tensors} | ({DIGEST: self.digest} if self.digest else {})

    def check(self, path: Path, entry: Mapping[str, Any]) -> None:
        """Raise unless this is what config.json tells of."""
        found, expected = self.entry()["tensors"], entry["tensors"]
        for name in sorted({*found, *expected}):
            has, needs = found.get(name), expected.get(name)
            if has is None or has != needs or has["dtype"] not in DTYPES:
                raise ValueError(
                    f"{path} is damaged: the tensor {name} should be {needs or 'absent'}, and is "
                    f"{has or 'missing'}. {_AGAIN}"
                )
        if self.digest != entry.get(DIGEST):
            raise ValueError(f"{path} is of another save than {CONFIG}. {_AGAIN}")

    def arrays(self, *, is_mapped: bool) -> dict[str, NDArray[Any]]:
        """The tensors: read-only maps, or copies in memory."""
        arrays = {}
        for name, entry in self.header.items():
            first, last = entry["data_offsets"]
            array = self.content[first:last].view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
            # others than safetensors' own writer may place numbers anywhere
            arrays[name] = array if is_mapped and array.flags.aligned else np.array(array)
        return arrays


def tensor_entry(path: Path) -> dict[str, Any]:
    """What config.json is to tell of a safetensors file."""
    with path.open("rb") as file:
        return _TensorFile.opened(path, file).entry()


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    """The metadata and the tensors, as read-only maps, of a file that `write_tensors` wrote.

    Raises
    ------
    ValueError
        If it is another file, or not as it was written.
    """
    with path.open("rb") as file:
        found = _TensorFile.opened(path, file)
    arrays = found.arrays(is_mapped=True)
    if found.digest != tensors_digest(arrays):
        raise ValueError(f"{path} is damaged: its tensors are not those that were written.")
    return found.metadata, arrays


def tensors_digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 of names, dtypes, shapes and numbers."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name}: {array.dtype.str}{array.shape}\n".encode())
        for part in parts_in_c_order(array):
            digest.update(part)
    return digest.hexdigest()


def parts_in_c_order(array: NDArray[Any]) -> Iterator[memoryview]:
    """The bytes of an array, whatever its strides, without a copy of all of it."""
    if array.flags.c_contiguous:
        yield array.reshape(-1).view(np.uint8).data
        return
    n_rows = max(_BYTES_AT_ONCE // max(array[:1].nbytes, 1), 1)
    for start in range(0, len(array), n_rows):
        yield np.ascontiguousarray(array[start : start + n_rows]).reshape(-1).view(np.uint8).data


def config_bytes(root: Path) -> bytes | None:
    """What tells one save from another; None where there is no model."""
    try:
        return _read_config(root)
    except (OSError, ValueError):
        return None


def _read_config(root: Path) -> bytes:
    path = _path_inside(root, CONFIG)
    with path.open("rb") as file:
        content = file.read(LARGEST_CONFIG + 1)
    if len(content) > LARGEST_CONFIG:
        raise ValueError(f"{path} has more than {LARGEST_CONFIG >> 20} MiB. {_AGAIN}")
    return content


def read_config(root: Path) -> dict[str, Any]:
    """The content of `config.json`, whole and of a format that we know."""
    path, raw = root / CONFIG, _read_config(root)
    config = _parsed(path, raw, object_pairs_hook=_unique)
    if not isinstance(config, dict) or config.get("format") != "skxc":
        raise ValueError(
            f"{path} was not written by skxc. Pass a folder that an estimator's save wrote."
        )
    version = config.get("format_version")
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {version!r}; this skxc reads up to {FORMAT_VERSION}. "
            f"Upgrade skxc (the model was saved by {config.get('skxc_version')})."
        )
    seal = _SEAL.search(raw)
    if seal is None or hashlib.sha256(raw[: seal.start()]).hexdigest() != seal[1].decode():
        raise ValueError(f"{path} was changed: its SHA-256 is another. {_AGAIN}")
    _check_files(path, config.get("files"))
    return config


def _check_files(path: Path, files: Any) -> None:
    """Raise unless `files` describes files of the folder, each once."""
    if not isinstance(files, dict):
        raise ValueError(f"{path} has no list of its files. {_AGAIN}")
    for name, entry in files.items():
        parts = name.split("/")
        is_plain = name.isascii() and name.isprintable() and "\\" not in name and len(name) < 200
        if not is_plain or {"", ".", ".."} & {*parts}:
            raise ValueError(f"{path} names {name!r:.200}, which is outside its folder. {_AGAIN}")
        what = "tensors" if name.endswith(".safetensors") else "sha256"
        size, content = (entry.get(k) if isinstance(entry, dict) else None for k in ("size", what))
        kind = dict if what == "tensors" else str
        if type(size) is not int or size < 0 or not isinstance(content, kind):
            raise ValueError(f"{path} says of {name!r:.200} neither size nor content. {_AGAIN}")
    if len({name.casefold() for name in files}) < len(files):
        raise ValueError(f"{path} names a file twice, in another case. {_AGAIN}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, whose keys differ."""
    if len(content := dict(pairs)) < len(pairs):
        raise ValueError("a key is there twice")
    return content


def _parsed(path: Path, content: bytes, **kwargs: Any) -> Any:
    try:
        return json.loads(content, **kwargs)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON ({error}). {_AGAIN}") from error


def _path_inside(root: Path, name: str) -> Path:
    """The file's path, which neither its name nor a link may lead out of the folder.

    In the hub's cache, the files of a revision are links to the repository's "blobs".
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is no folder. Pass the folder that save wrote.")
    path, place = root / name, Path(os.path.realpath(root / name))
    is_cached = root.parent.name == "snapshots" and place.parent == root.parents[1] / "blobs"
    if not (place.is_relative_to(root) or is_cached):
        raise ValueError(f"{root / CONFIG} names {name!r}, which is outside its folder. {_AGAIN}")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {root} is no complete model. {_AGAIN}")
    return path


def _check_places(header: Mapping[str, Any], n_bytes: int) -> None:
    """Raise unless the tensors of a safetensors file lie one behind the other, and end with it."""
    end = 0
    for entry in sorted(header.values(), key=lambda entry: entry["data_offsets"]):
        (first, last), shape = entry["data_offsets"], entry["shape"]
        if not all(type(number) is int and number >= 0 for number in (first, last, *shape)):
            raise ValueError("a place or a length is no whole number")
        if entry["dtype"] in DTYPES:  # others are refused by name
            size = math.prod(shape) * np.dtype(DTYPES[entry["dtype"]]).itemsize
            if first != end or last - first != size:
                raise ValueError("tensors overlap, or leave a gap")
        end = last
    if end != n_bytes:
        raise ValueError(f"its tensors take {end} bytes, and it has {n_bytes}")
