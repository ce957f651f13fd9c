"""Arrays of all processes, once a host."""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ._processes import (
    barrier,
    broadcast_,
    gather,
    is_first_on_host,
    n_on_host,
    of_host,
    rank,
    size,
)

_BYTES_AT_ONCE = 1 << 22  # written, or sent to another host


def whole(part: NDArray[Any]) -> NDArray[Any]:
    """The rows of all processes, in memory that the processes of a host share.

    It lies in a file without a name, in the folder for temporary files: no process holds it all,
    and where it is larger than the memory, the system keeps on the disk what is not looked at.
    """
    if size() == 1:
        return part
    described = gather((len(part), part.dtype))
    lengths = [n for n, _ in described]
    # SciPy chooses the width of integers by how many there are
    dtype = np.result_type(*(of_part for _, of_part in described))
    part = part.astype(dtype, copy=False)
    shape = (sum(lengths), *part.shape[1:])
    n_bytes = int(np.prod(shape)) * dtype.itemsize
    if not n_bytes:
        return np.empty(shape, dtype)
    path = None
    try:
        if is_first_on_host():
            handle, path = tempfile.mkstemp(prefix="skxc-")
            os.close(handle)
            os.truncate(path, n_bytes)
        path = of_host(path)
        with open(path, "r+b") as file:
            _write_rows(file, part, lengths)
            file.flush()
            barrier()
            shared = mmap.mmap(file.fileno(), n_bytes, **_map_options())
        barrier()
    except OSError as error:
        what = f"{error.strerror}: no room for the model's tables. Make some, or set TMPDIR"
        raise OSError(error.errno, what, error.filename or path) from error
    finally:
        if path is not None and is_first_on_host():
            with suppress(OSError):  # Windows deletes no file that is mapped
                os.unlink(path)
    return np.frombuffer(shared, dtype).reshape(shape)


def _map_options() -> dict[str, int]:
    """Pages that are written to would be copied; Linux is asked to keep no room for all of them."""
    if sys.platform != "linux":
        return {"access": mmap.ACCESS_COPY}
    no_reserve = getattr(mmap, "MAP_NORESERVE", 0x4000)
    return {
        "flags": mmap.MAP_PRIVATE | no_reserve,
        "prot": mmap.PROT_READ | mmap.PROT_WRITE,
    }


def whole_offsets(offsets: NDArray[Any]) -> NDArray[np.int64]:
    """Where the rows of all processes begin, of sparse matrices by rows."""
    if size() == 1:
        return offsets.astype(np.int64)
    return np.concatenate([[0], np.cumsum(whole(np.diff(offsets)), dtype=np.int64)])


def _write_rows(file: Any, part: NDArray[Any], lengths: Sequence[int]) -> None:
    """Write this process's rows, and, where another host is, those of others for its own."""
    n_bytes = part[:1].nbytes if len(part) else int(np.prod(part.shape[1:])) * part.itemsize
    n_at_once = max(_BYTES_AT_ONCE // n_bytes, 1)
    is_one_host, is_first = n_on_host() == size(), is_first_on_host()
    first = 0
    for r, length in enumerate(lengths):
        for start in range(0, length, n_at_once):
            stop = min(start + n_at_once, length)
            place = (first + start) * n_bytes
            block = np.ascontiguousarray(part[start:stop]) if r == rank() else None
            if is_one_host:
                if block is not None:
                    _write(file, block, place)
                continue
            told = torch.empty((stop - start) * n_bytes, dtype=torch.uint8)
            if block is not None:
                told.numpy()[:] = block.reshape(-1).view(np.uint8)
            broadcast_(told, r)
            if is_first:
                _write(file, told.numpy(), place)
        first += length


def _write(file: Any, block: NDArray[Any], place: int) -> None:
    file.seek(place)
    file.write(block.data)
