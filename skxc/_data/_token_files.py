"""Tokens and labels of more texts than memory holds: in files, read where they are asked for."""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from ._tokens import TokenStore

_ARRAYS = ("ids", "offsets", "weights", "other_ids", "other_offsets")
_FORMAT = 2  # higher when the same fingerprint could mean other tokens
_ABOUT = "tokens.json"  # written last: there is a whole store
_LABELS = "tokens.labels-"  # what the names of their files begin with
_ROWS_AT_ONCE = 1 << 14
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class TokenRows(TokenStore):
    """Some texts of a store in files; `ids`, `offsets` and `weights` read all of them."""

    def __init__(self, base: TokenStore, rows: NDArray[np.int64]) -> None:
        object.__setattr__(self, "base", base)
        object.__setattr__(self, "rows", rows)

    base: TokenStore
    rows: NDArray[np.int64]  # (n_texts,) of the base

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ids(self) -> NDArray[Any]:
        """Ids of the tokens, in memory."""
        return self._words.take(self.rows).ids

    @property
    def _words(self) -> TokenStore:
        """The base without what else there is of each text."""
        return TokenStore(self.base.ids, self.base.offsets, self.base.weights)

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Where each text begins, in memory."""
        return np.concatenate([[0], np.cumsum(self._n_tokens)])

    @property
    def _n_tokens(self) -> NDArray[np.int64]:
        return self.base.offsets[self.rows + 1] - self.base.offsets[self.rows]

    @property
    def weights(self) -> NDArray[np.float32] | None:
        """Weights of the tokens, in memory."""
        return self._words.take(self.rows).weights

    @property
    def others(self) -> TokenStore | None:
        """Tokens of another vocabulary, in the files."""
        return None if self.base.others is None else TokenRows(self.base.others, self.rows)

    @property
    def vectors(self) -> NDArray[np.float32] | None:
        """What is not trained made of each text, in memory."""
        return None if self.base.vectors is None else self.base.vectors[self.rows]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """What there is to read of each text."""
        others, has_vectors = self.base.others, self.base.vectors is not None
        lengths = self._n_tokens + has_vectors
        return lengths if others is None else lengths + TokenRows(others, self.rows).lengths

    @property
    def has_vectors(self) -> bool:
        """Whether there are vectors in the files."""
        return self.base.vectors is not None

    @property
    def n_tokens(self) -> int:
        """Tokens of all texts."""
        return int(self._n_tokens.sum())

    @property
    def nbytes(self) -> int:
        """Bytes held in memory."""
        return self.rows.nbytes

    def take(self, rows: NDArray[np.int64]) -> TokenStore:
        """The texts at `rows`, in memory."""
        return self.base.take(self.rows[rows])

    def view(self, rows: NDArray[np.int64]) -> TokenStore:
        """The texts at `rows`, in the files."""
        return TokenRows(self.base, self.rows[rows])

    def parts(self) -> Iterator[TokenStore]:
        """The texts in order, some at a time in memory."""
        for start in range(0, len(self), _ROWS_AT_ONCE):
            yield self.base.take(self.rows[start : start + _ROWS_AT_ONCE])

    def followed_by(self, others: TokenStore) -> TokenStore:
        """These texts, and others of the same files."""
        assert isinstance(others, TokenRows)
        assert others.base is self.base
        return TokenRows(self.base, np.concatenate([self.rows, others.rows]))

    def as_csr(self, n_ids: int) -> sp.csr_array:
        """The weights as a sparse matrix, in memory."""
        return self._words.take(self.rows).as_csr(n_ids)

    def placed_csr(self, n_ids: int) -> tuple[sp.csr_array, NDArray[np.int64]]:
        """A matrix in the files, and which of its rows these texts are."""
        return self.base.as_csr(n_ids), self.rows


def write_tokens(
    parts: Iterable[TokenStore], folder: Path, fingerprint: Mapping[str, str]
) -> TokenStore:
    """Write stores one behind the other, and map the files; the fingerprint is what they are of."""
    delete_tokens(folder)
    n_tokens = n_others = 0
    with ExitStack() as stack:
        stack.enter_context(_room_asked_for(folder))
        files = {n: stack.enter_context(_path(folder, n).open("wb")) for n in _ARRAYS}
        for name in ("offsets", "other_offsets"):
            files[name].write(np.zeros(1, np.int64).data)
        for part in parts:
            files["ids"].write(np.ascontiguousarray(part.ids, np.uint32).data)
            files["offsets"].write(np.ascontiguousarray(part.offsets[1:] + n_tokens, np.int64).data)
            if part.weights is not None:
                files["weights"].write(np.ascontiguousarray(part.weights, np.float32).data)
            n_tokens += part.n_tokens
            if (others := part.others) is not None:
                files["other_ids"].write(np.ascontiguousarray(others.ids, np.uint32).data)
                ends = np.ascontiguousarray(others.offsets[1:] + n_others, np.int64)
                files["other_offsets"].write(ends.data)
                n_others += others.n_tokens
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
        about = {"format": _FORMAT, "of": dict(fingerprint), "sizes": _sizes(folder)}
        (folder / _ABOUT).write_text(json.dumps(about), encoding="utf8")
    return _mapped(folder)


@contextmanager
def _room_asked_for(folder: Path) -> Iterator[None]:
    """Have a full disk named, and leave it as it was; other errors are of what is read."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        delete_tokens(folder)
        what = (
            f"{error.strerror}: there is no room for the tokens of the texts. Make some, or set "
            f"TMPDIR (or checkpoint_dir) to a folder on a larger disk"
        )
        raise OSError(error.errno, what, str(folder)) from error


def find_tokens(folder: Path, fingerprint: Mapping[str, str]) -> TokenStore | None:
    """What `write_tokens` wrote there with this fingerprint, if it is whole."""
    try:
        found = json.loads((folder / _ABOUT).read_text(encoding="utf8"))
        expected = {"format": _FORMAT, "of": dict(fingerprint), "sizes": _sizes(folder)}
    except (OSError, ValueError):
        return None
    return _mapped(folder) if found == expected else None


def _sizes(folder: Path) -> dict[str, int]:
    return {name: _path(folder, name).stat().st_size for name in _ARRAYS}


def delete_tokens(folder: Path) -> None:
    """Delete what `write_tokens` and a killed `mapped_matrix` wrote."""
    ours = (folder / _ABOUT, *(_path(folder, name) for name in _ARRAYS))
    for path in (*ours, *folder.glob(f"{_LABELS}*")):
        with suppress(PermissionError):  # Windows: of a file that is mapped
            path.unlink(missing_ok=True)


def mapped_matrix(matrix: sp.csr_array, folder: Path) -> sp.csr_array:
    """The matrix, its arrays in files that have no name any more, where the system allows that."""
    arrays = []
    for part in (matrix.data, matrix.indices, matrix.indptr):
        path = folder / f"{_LABELS}{secrets.token_hex(4)}"
        with _room_asked_for(folder), path.open("wb") as file:
            file.write(np.ascontiguousarray(part).data)
        arrays.append(_map(path, part.dtype))
        with suppress(OSError):
            path.unlink()
    mapped = sp.csr_array(tuple(arrays), matrix.shape)
    mapped.has_canonical_format = matrix.has_canonical_format
    return mapped


def mapped_array(shape: tuple[int, ...], dtype: Any, folder: Path) -> NDArray[Any]:
    """Numbers to be written, in a file that has no name any more, where the system allows that."""
    path = folder / f"{_LABELS}{secrets.token_hex(4)}"
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    with _room_asked_for(folder), path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):  # else a full disk kills who writes to the map
            os.posix_fallocate(file.fileno(), 0, n_bytes)
        file.truncate(n_bytes)
    array = np.asarray(np.memmap(path, dtype, mode="r+", shape=shape))
    with suppress(OSError):
        path.unlink()
    return array


def _path(folder: Path, name: str) -> Path:
    return folder / f"tokens.{name}"


def _mapped(folder: Path) -> TokenStore:
    ids = _map(_path(folder, "ids"), np.uint32)
    weights = _map(_path(folder, "weights"), np.float32)
    offsets, other_offsets = (
        _map(_path(folder, name), np.int64) for name in ("offsets", "other_offsets")
    )
    others = None
    if len(other_offsets) == len(offsets) > 1:
        others = TokenStore(_map(_path(folder, "other_ids"), np.uint32), other_offsets)
    return TokenStore(ids, offsets, weights if len(weights) == len(ids) else None, others)


def _map(path: Path, dtype: Any) -> NDArray[Any]:
    """The numbers of a file; written to, they would be copied: compiled loops want that."""
    if not path.stat().st_size:
        return np.empty(0, dtype)
    return np.asarray(np.memmap(path, dtype, mode="c"))
