"""A prediction that goes on where a killed one ended.

Beside OUT lie, under fixed names, OUT.part with the answers so far and OUT.part.json, which says
what they are answers to and how many are whole. A block of answers is written to the first, then
counted in the second, which is replaced at once: what a kill leaves between the two is cut off.
For Parquet, which cannot be added to, the first holds messages of Arrow and becomes a table last.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import skxc
from skxc._persistence import CONFIG, read_config, try_lock, unreplaced

from ._answers import Answers, Task
from ._errors import InputError, input_checked
from ._streams import checked_target, is_special

_LAYOUT = 1  # of the two files; higher when another skxc could not go on with them


def fingerprint(task: Task, column: Any) -> dict[str, Any]:
    """All that the answers depend on, by what it is called in an error."""
    return {
        "layout": _LAYOUT,
        "version of skxc": skxc.__version__,
        "model (SHA-256 of its config.json)": _digest(task.model),
        **_of_texts(column),
        "--text": column.column,
        "--encoding": column.encoding,
        "--top_k": task.top_k,
        "--format": task.format,
        "--device": task.device,
    }


def _of_texts(column: Any) -> dict[str, Any]:
    from skxc.datasets._columns import size_and_time

    with input_checked():
        size, time = size_and_time(column.path)
    return {
        "file of texts": os.path.realpath(column.path),
        "size of the file of texts": size,
        "time of change of the file of texts": time,
    }


def check_unchanged(column: Any, begun_with: Mapping[str, Any]) -> None:
    """Raise if the texts are no longer those that the answers are to."""
    if not _of_texts(column).items() <= begun_with.items():
        raise InputError(f"{column.path} has changed while it was read. Start again.")


def _digest(model: str) -> str:
    """What tells this model from others, and from itself saved again."""

    def digest(folder: Path) -> str:
        read_config(folder)
        return hashlib.sha256((folder / CONFIG).read_bytes()).hexdigest()[:16]

    with input_checked():
        return unreplaced(model, digest)


class Part:
    """The answers so far, open for more of them."""

    def __init__(
        self, target: Path, file: BinaryIO, begun_with: Mapping[str, Any], header: bytes
    ) -> None:
        self.path, self._state = part_and_state(target)
        self._target, self._file, self._begun_with = target, file, begun_with
        self.n_rows, self._n_bytes = _counted(self.path, self._state, begun_with)
        file.truncate(self._n_bytes)
        file.seek(self._n_bytes)
        self._count()  # before the first byte: without a count, it would be a stranger's
        if not self.n_rows:
            self._n_bytes = file.write(header)
            file.flush()

    def write(self, answers: Answers) -> None:
        """Add a block of answers."""
        self._file.write(answers.content)
        self._file.flush()
        self._n_bytes += len(answers.content)
        self.n_rows += answers.n_rows
        self._count()

    def _count(self) -> None:
        state = {"begun with": self._begun_with, "rows": self.n_rows, "bytes": self._n_bytes}
        new = self._state.with_name(f"{self._state.name}.new")
        new.write_text(json.dumps(state))
        new.replace(self._state)

    def finish(self, convert: Callable[[Path, BinaryIO], None] | None) -> None:
        """Give it the name of the target: the file itself, or what `convert` writes of it."""
        if convert is None:
            os.fsync(self._file.fileno())
            self.path.replace(self._target)
            self._state.unlink(missing_ok=True)
            return
        converted = self.path.with_name(f"{self.path.name}.converted")
        try:
            with converted.open("wb") as file:
                convert(self.path, file)
                os.fsync(file.fileno())
            converted.replace(self._target)
        finally:
            converted.unlink(missing_ok=True)
        self.remove()

    def remove(self) -> None:
        """Delete both files: first the one that is locked, and without which the other is void."""
        self.path.unlink()
        self._state.unlink(missing_ok=True)


def part_and_state(target: Path) -> tuple[Path, Path]:
    """The two files of a target."""
    part = target.with_name(f"{target.name}.part")
    return part, part.with_name(f"{part.name}.json")


@contextmanager
def opened_part(out: str, begun_with: Mapping[str, Any], header: bytes) -> Iterator[Part]:
    """The answers that an earlier run left, or none.

    They stay if this run fails, unless there are none.

    Raises
    ------
    InputError
        If they are another run's: one with other inputs, or one that goes on.
    """
    if is_special(out):
        raise InputError(f"--resume: --out {out} is no regular file. Pass the name of one.")
    target = checked_target(out)
    with _held(part_and_state(target)[0]) as file:
        part = Part(target, file, begun_with, header)
        try:
            yield part
        except BaseException:
            if not part.n_rows:
                part.remove()
            raise


@contextmanager
def _held(path: Path) -> Iterator[BinaryIO]:
    """Open a file, or a new one, that no other process holds."""
    while True:
        with input_checked():
            file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        with file:
            if try_lock(file.fileno()) is False:
                raise InputError(
                    f"{path} is in use by another process. Wait for it, or pass another --out."
                )
            # the other may have finished between the two, and the file have its name no more
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                yield file
                return


def _counted(part: Path, state: Path, begun_with: Mapping[str, Any]) -> tuple[int, int]:
    """Whole rows, and the bytes of them."""
    remedy = f"Delete {part} to begin anew, or drop --resume."
    size = part.stat().st_size
    if not size:
        return 0, 0
    try:
        before = json.loads(state.read_text())
        n_rows, n_bytes, earlier = before["rows"], before["bytes"], before["begun with"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{part} is there, but {state} does not tell of it. {remedy}") from error
    if not n_rows:
        return 0, 0
    for name, now in begun_with.items():
        if earlier.get(name) != now:
            raise InputError(
                f"{part} was begun with another {name}: {earlier.get(name)!r}, now {now!r}. "
                f"{remedy}"
            )
    if n_bytes > size:
        raise InputError(f"{part} has {size:,} bytes, {state} tells of {n_bytes:,}. {remedy}")
    return n_rows, n_bytes
