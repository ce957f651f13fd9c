"""Names and ids of labels: kept as they are, told apart, and looked up."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._arrays import refuse_masked
from ._free_memory import check_free
from ._label_lists import TargetKind, is_label_lists
from ._parameters import callers_stack_level, short
from ._texts import is_missing

_BYTES_A_NAME = 100  # of a Python object in a list and in a dict
_INT64, _UINT64 = np.iinfo(np.int64), np.iinfo(np.uint64)


def is_nameless(classes: NDArray[Any]) -> bool:
    """Whether labels are only the numbers of Y's columns."""
    return np.array_equal(classes, np.arange(len(classes)))


def as_classes(labels: Sequence[Any]) -> NDArray[Any]:
    """Labels as an array that gives back each of them as it is.

    `np.array` makes floats of some integers, cuts zeros from the ends of str, and more.
    """
    if all(map(_is_whole, labels)):
        return _integers([int(label) for label in labels])
    if all(isinstance(label, Real) for label in labels):
        return np.array(labels)
    classes = np.empty(len(labels), dtype=object)
    # names as objects: a str array gives every name the width of the longest one
    classes[:] = [str(label) if isinstance(label, np.str_) else label for label in labels]
    return classes


def _is_whole(label: Any) -> bool:
    if isinstance(label, Integral):
        return True
    return isinstance(label, Real) and float(label).is_integer()


def _integers(ids: list[int]) -> NDArray[Any]:
    low, high = min(ids, default=0), max(ids, default=0)
    if low >= _INT64.min and high <= _INT64.max:
        return np.array(ids, dtype=np.int64)
    if low >= 0 and high <= _UINT64.max:
        return np.array(ids, dtype=np.uint64)
    raise ValueError(
        f"Y's labels are integers from {low} to {high}, which no type of 64 bits holds. Pass them "
        f"as str."
    )


def exact_array(labels: Any) -> NDArray[Any]:
    """An array-like as an array; 1-d lists of one label a text are kept as they are."""
    array = np.asarray(labels)
    if array.dtype.kind in "mM":
        return _dates(array)
    if array.ndim != 1 or not len(array) or array.dtype.kind not in "fUO":
        return array
    given = list(labels) if isinstance(labels, list | tuple) else array.tolist()
    if array.dtype != object and not all(isinstance(label, Integral) for label in given):
        kept = zip(array.tolist(), given, strict=True)  # by Python, which compares exactly
        if all(a == b or a != a for a, b in kept):
            return array
    if all(isinstance(label, str) for label in given) or any(map(is_missing, given)):
        return np.asarray(given, dtype=object)
    return as_classes(given)


def _dates(labels: NDArray[Any]) -> NDArray[Any]:
    """Dates or times that Python has a type for: `tolist` makes integers of nanoseconds."""
    if np.isnat(labels).any():
        position = int(np.isnat(labels).argmax())
        raise ValueError(f"y[{position}] is NaT. Pass a class for every text.")
    if np.datetime_data(labels.dtype)[0] not in ("ns", "ps", "fs", "as"):
        return labels
    rounded = labels.astype(f"{labels.dtype.kind}8[us]")
    if (is_finer := rounded != labels).any():
        raise ValueError(
            f"Y holds the label {labels[is_finer][0]}, finer than a microsecond. Pass such labels "
            f"as str."
        )
    return rounded


def check_labels(labels: Iterable[Any], place: Callable[[Any], str]) -> None:
    """Raise where a label is no name or id; `place` tells where a label is."""
    kinds = set(map(type, labels))
    refused = bytes | Collection | Iterator | complex | np.complexfloating
    bad = [k for k in kinds if issubclass(k, refused) and not issubclass(k, str)]
    if not bad:
        return
    label = next(label for label in labels if type(label) is bad[0])
    remedy = "Decode them first, such as by label.decode()."
    if isinstance(label, complex | np.complexfloating):
        remedy = "Pass labels as str or int, such as str(label)."
    elif not isinstance(label, bytes):
        remedy = "Pass labels as str or int, such as ':'.join(map(str, label))."
    raise TypeError(
        f"{place(label)} the label {short(label)} of type {type(label).__name__}. {remedy}"
    )


def check_distinct(names: NDArray[Any], what: str) -> None:
    """Raise where two labels have one name."""
    check_labels(names.tolist(), lambda label: f"{what} hold")
    twice = [name for name, n in Counter(names.tolist()).items() if n > 1]
    if twice:
        raise ValueError(
            f"{what} hold {twice[0]!r} more than once: predictions could not tell these labels "
            f"apart. Pass distinct names, or add the columns up if they mean one label."
        )


def check_classes(classes: Any, y: Any) -> NDArray[Any] | None:
    """What `classes_` will be: in the columns' order where y is a matrix, else sorted."""
    if classes is None:
        return None
    if hasattr(classes, "__len__"):
        what = f"A list of {len(classes)} classes"
        check_free(_BYTES_A_NAME * len(classes), what, "Pass fewer classes.")
    refuse_masked(classes, "classes")
    if isinstance(classes, Iterator):
        raise TypeError(f"classes is a {type(classes).__name__}. Pass a list or an array.")
    is_unordered = isinstance(classes, set | frozenset)
    names = exact_array(list(classes) if is_unordered else classes)
    check_distinct(names, "classes")
    return names if _is_matrix(y, None, None) else as_sorted(names)


def check_same_classes(
    classes: list[Any], known: NDArray[Any], y: Any, kind: TargetKind | None
) -> None:
    """Raise where a later partial_fit names other classes, or a matrix's in another order."""
    names = known.tolist()
    if set(classes) != set(names):
        raise ValueError(
            f"classes={short(classes)} differs from the classes of the first call to partial_fit. "
            f"Pass the same, or leave it out."
        )
    has_names = hasattr(y, "columns")
    if classes != names and not has_names and _is_matrix(y, kind, len(names)):
        raise ValueError(
            f"classes={short(classes)} has another order than in the first call to partial_fit. "
            f"Pass y with the columns in the order of classes_, and leave classes out."
        )


def _is_matrix(y: Any, kind: TargetKind | None, n_classes: int | None) -> bool:
    """Whether y has a column a label."""
    if isinstance(y, list | tuple) and len(y):
        is_row = hasattr(y[0], "__len__") and not isinstance(y[0], str | bytes)
        is_row = is_row and getattr(y[0], "ndim", 1) == 1
        return is_row and not is_label_lists(y, kind, n_classes)
    return getattr(y, "ndim", 1) == 2


def as_sorted(labels: NDArray[Any]) -> NDArray[Any]:
    """The distinct labels of an array, sorted."""
    if labels.dtype != object:
        return np.unique(labels)
    return as_classes(sorted_labels(set(labels.tolist())))


def sorted_labels(labels: set[Any]) -> list[Any]:
    try:
        return sorted(labels)
    except TypeError as error:
        raise TypeError(
            f"Y's labels cannot be sorted ({error}). Pass labels of one type."
        ) from None


def columns_of(labels: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.int64]:
    """Each label's place among `classes`, which need not be sorted."""
    if labels.dtype != classes.dtype or labels.dtype == object:
        # by Python's own comparison: NumPy's makes floats of large ids
        place = {name: column for column, name in enumerate(classes.tolist())}
        try:
            return np.fromiter(map(place.__getitem__, labels.tolist()), np.int64, len(labels))
        except KeyError as error:
            raise unknown_label(error.args[0], len(classes)) from None
    order = np.argsort(classes, kind="stable")
    place_of = np.searchsorted(classes, labels, sorter=order).clip(max=len(classes) - 1)
    columns = order[place_of]
    if len(labels) and (unknown := classes[columns] != labels).any():
        raise unknown_label(labels[unknown].tolist()[0], len(classes))
    return columns


def unknown_label(label: Any, n_classes: int) -> ValueError:
    return ValueError(
        f"Y holds the label {label!r}, which is not among the model's {n_classes} classes. Name "
        f"every label in the first fit, or leave this one out, such as by "
        f"MultiLabelBinarizer(classes=clf.classes_, sparse_output=True)."
    )


def warn_of_joined_names(classes: NDArray[Any]) -> None:
    """Warn where names look like several labels in one str, as tables hold them."""
    names = classes.tolist()
    if not all(isinstance(name, str) for name in names):
        return
    remedy = _split_of(names)
    if remedy:
        what, line = remedy
        warnings.warn(
            f"Y holds the label {short(what)}, which looks like several labels in one str, and "
            f"each such combination becomes a label of its own. Split them first: y = {line}",
            UserWarning,
            stacklevel=callers_stack_level(),
        )


def _split_of(names: list[str]) -> tuple[str, str] | None:
    """One that looks like several labels, and the line that splits them; None if there is none."""
    written = [name for name in names if name.startswith("[") and name.endswith("]")]
    if 2 * len(written) > len(names):
        return written[0], "[ast.literal_eval(row) for row in y]"
    joined = joined_names(names)
    return joined and (joined[0], f"[row.split({joined[1]!r}) for row in y]")


def joined_names(names: list[str]) -> tuple[str, str] | None:
    """One that looks like several labels, and what stands between them; None if there is none."""
    for separator in (";", "|", ","):
        joined = [name for name in names if separator in name]
        if separator == ",":  # is in names, too: all parts must be in others
            parts = {name: {part.strip() for part in name.split(",")} for name in names}
            n_holding = Counter(part for name in names for part in parts[name])
            joined = [name for name in joined if all(n_holding[part] > 1 for part in parts[name])]
        if 10 * len(joined) > len(names):
            return joined[0], separator
    return None
