"""Vectors that a frozen encoder has made of texts, in a file that many fits and processes share."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skxc._data._tokens import TokenStore

if TYPE_CHECKING:
    import sqlite3

_KEYS_AT_ONCE = 500  # SQLite's own limit on variables was 999 once
_SECONDS_TO_WAIT = 60.0  # for another process that writes
_TABLES = "SELECT name FROM sqlite_master WHERE name = 'vectors'"
_CREATE = "CREATE TABLE IF NOT EXISTS vectors (text BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID"


class VectorCache:
    """One SQLite file for each encoder; a text is known by a digest of its tokens, prompt and all.

    What other processes write meanwhile is found, too; a kill leaves whole rows.
    """

    def __init__(self, folder: Path, fingerprint: str, dim: int) -> None:
        self.dim = dim
        self.path = folder / f"vectors-{fingerprint}.sqlite"

    def through(
        self, tokens: TokenStore, compute: Callable[[TokenStore], np.ndarray], kind: str
    ) -> np.ndarray:  # (len(tokens), dim) float32
        """The texts' vectors: those that are known, and the others computed and kept.

        Raises
        ------
        OSError
            If the file cannot be read or written.
        """
        keys = _digests(tokens, kind)
        with self._connected() as connection:
            known = {}
            for key, vector in _found(connection, sorted({*keys})):
                if isinstance(vector, bytes) and len(vector) == 4 * self.dim:
                    known[key] = vector
            missing = list({key: i for i, key in enumerate(keys) if key not in known}.items())
            if missing:
                rows = np.array([i for _, i in missing])
                made = compute(tokens.take(rows)).astype(np.float32, copy=False)
                new = [(key, row.tobytes()) for (key, _), row in zip(missing, made, strict=True)]
                known |= dict(new)
                self._keep(connection, new)
        vectors = np.frombuffer(b"".join(known[key] for key in keys), np.float32)
        return vectors.reshape(len(tokens), self.dim)

    def _keep(self, connection: sqlite3.Connection, new: list[tuple[bytes, bytes]]) -> None:
        """Write vectors that were computed; they are not lost to the caller where that fails."""
        import sqlite3

        try:
            with connection:
                connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", new)
        except sqlite3.Error as error:
            warnings.warn(
                f"cache_dir: {len(new)} vectors were not kept in {self.path} ({error}). Make it "
                f"writable, or pass cache_dir=None.",
                UserWarning,
                stacklevel=2,
            )

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        import sqlite3  # some builds of Python have none

        try:
            if not self.path.exists():
                self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=_SECONDS_TO_WAIT)) as connection:
                if not connection.execute(_TABLES).fetchall():
                    with connection:
                        connection.execute(_CREATE)
                yield connection
        except (OSError, sqlite3.Error) as error:
            raise OSError(
                f"cache_dir: {self.path} cannot be used ({error}). Delete it, or pass the folder "
                f"of a disk that has room, or cache_dir=None."
            ) from error


def _found(connection: sqlite3.Connection, keys: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        part = keys[start : start + _KEYS_AT_ONCE]
        marks = ",".join("?" * len(part))
        yield from connection.execute(f"SELECT * FROM vectors WHERE text IN ({marks})", part)


def _digests(tokens: TokenStore, kind: str) -> list[bytes]:
    ids, offsets, salt = tokens.ids.astype("<u4"), tokens.offsets, kind.encode()
    return [
        hashlib.blake2b(ids[a:b].tobytes(), digest_size=16, key=salt).digest()
        for a, b in pairwise(offsets)
    ]


def fingerprint_of(*parts: object) -> str:
    """Of arrays, dicts of them and plain values: the same for the same."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        items = sorted(part.items()) if isinstance(part, dict) else [("", part)]
        for name, value in items:
            digest.update(f"{name}:".encode())
            if isinstance(value, np.ndarray):
                digest.update(f"{value.dtype.str}{value.shape}".encode())
                digest.update(np.ascontiguousarray(value).data)
            else:
                digest.update(repr(value).encode())
    return digest.hexdigest()
