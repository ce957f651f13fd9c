"""Values that are read from where they are whenever they are asked for, never all at once."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from itertools import islice
from typing import Any

from ._parameters import short

_AT_ONCE = 1 << 10
_CONTAINERS = (str, bytes, dict, set, frozenset, list, tuple, ItemsView, KeysView, ValuesView)
_BATCHES = (list, tuple)


class LazyColumn:
    """A column of values, in blocks; each pass reads and checks them anew."""

    def __init__(
        self,
        source: Any,
        name: str,  # the argument that it is
        check: Callable[[str, int, Any], None],  # of the value at a position: raises
    ) -> None:
        self.source, self.name, self.check = source, name, check
        self._n_values: int | None = None
        self._digest: int | None = None  # of the pass before

    def blocks(self) -> Iterator[list[Any]]:
        """The values, some at a time.

        Raises
        ------
        ValueError
            If there are none, or another number than in the pass before.
        """
        n_values = digest = 0
        for block in _blocks(self.source):
            for value in block:
                self.check(self.name, n_values, value)
                n_values += 1
            digest = hash((digest, repr(block)))
            yield block
        if not n_values:
            raise ValueError(f"{self.name} holds 0 rows. Pass at least one.")
        if self._n_values not in (None, n_values):
            raise ValueError(
                f"{self.name} held {self._n_values} values when it was first read, and now "
                f"{n_values}. Pass what can be read again and gives the same."
            )
        if self._digest not in (None, digest):
            raise ValueError(
                f"{self.name} holds other values, or in another order, than when it was first "
                f"read. Pass what gives the same again: no shuffled batches."
            )
        self._n_values, self._digest = n_values, digest

    def __iter__(self) -> Iterator[Any]:
        for block in self.blocks():
            yield from block

    def __len__(self) -> int:
        if self._n_values is None:
            for _ in self.blocks():
                pass
        assert self._n_values is not None
        return self._n_values


def is_lazy(X: Any) -> bool:
    """Whether `X` is read anew each time: a column of files or of `datasets`, or batches.

    Sequences, which are in memory, are not; nor what can be read only once.
    """
    if isinstance(X, (*_CONTAINERS, Iterator)) or hasattr(X, "__array__") or hasattr(X, "shape"):
        return False
    if not hasattr(X, "__iter__"):
        return False
    return _is_column_of_datasets(X) or not hasattr(X, "__getitem__")


def _is_column_of_datasets(X: Any) -> bool:
    """Of Hugging Face's library, which reads slices of it."""
    is_theirs = type(X).__module__.split(".")[0] == "datasets"
    return is_theirs and type(X).__name__ in ("Column", "IterableColumn")


def _blocks(source: Any) -> Iterator[list[Any]]:
    if _is_column_of_datasets(source) and hasattr(source, "__len__"):
        for start in range(0, len(source), _AT_ONCE):
            yield list(source[start : start + _AT_ONCE])
        return
    values = iter(source)
    while block := list(islice(values, _AT_ONCE)):
        yield block


def unbatched(source: Any) -> Any:
    """The values of batches, where `source` gives these; else the source itself."""
    refuse_read_once(source)
    return _Unbatched(source) if _is_batch(next(iter(source), None)) else source


def refuse_read_once(source: Any) -> None:
    """Raise for an object that gives the same iterator each time."""
    if iter(source) is iter(source):
        raise TypeError(f"A {type(source).__name__} is read once only. Pass a list of its values.")


def _is_batch(value: Any) -> bool:
    """Whether it is a list or a column of values; NumPy's str are none."""
    return isinstance(value, _BATCHES) or (
        hasattr(value, "__array__") and not isinstance(value, str)
    )


class _Unbatched:
    """Batches, one after the other."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches:
            if not _is_batch(batch) or getattr(batch, "ndim", 1) != 1:
                raise TypeError(
                    f"A batch is {short(batch)} of type {type(batch).__name__}, which is no list "
                    f"of texts. Pass batches that are each a list of str."
                )
            yield from batch
