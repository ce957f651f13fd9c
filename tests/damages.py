"""Sparse matrices that are none: arrays of every format changed to point outside, or not to match.

SciPy reads and writes outside its arrays with some of them, and reads others as something else.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

SHAPE = (4, 5)
SOUND = np.eye(4, 5) + np.eye(4, 5, 1)


def _set(name, place, value):
    def change(matrix):
        array = getattr(matrix, name).copy()
        array[place] = value
        setattr(matrix, name, array)

    return change


def _made(name, make):
    return lambda matrix: setattr(matrix, name, make(getattr(matrix, name)))


def _coords(make):
    return lambda matrix: setattr(matrix, "coords", make(*matrix.coords))


def _last(array, value):
    return np.append(array[:-1], value)


def _row(columns, values):
    def change(matrix):
        matrix.rows[1], matrix.data[1] = columns, values

    return change


def _entry(place):
    return lambda matrix: matrix._dict.__setitem__(place, 1.0)


_COMPRESSED = {
    "an index too large": _set("indices", 1, 99),
    "the largest index": _set("indices", 1, 2**31 - 1),
    "an index below 0": _set("indices", 1, -1),
    "the least index": _set("indices", 1, -(2**31)),
    "an unsigned index beyond int64": _made("indices", lambda a: _last(a.astype("u8"), 2**64 - 1)),
    "indptr starts above 0": _set("indptr", 0, 1),
    "indptr starts below 0": _set("indptr", 0, -1),
    "indptr falls": _set("indptr", 2, 0),
    "indptr below 0": _set("indptr", 2, -5),
    "indptr ends so low that the difference overflows": _set("indptr", -1, -(2**31)),
    "indptr ends beyond": _set("indptr", -1, 99),
    "indptr beyond": _set("indptr", 2, 99),
    "indptr too long": _made("indptr", lambda a: np.append(a, a[-1])),
    "indptr too short": _made("indptr", lambda a: a[:-1]),
    "no indptr": _made("indptr", lambda a: a[:0]),
    "2-d indptr": _made("indptr", lambda a: a[:, None]),
    "indices too few": _made("indices", lambda a: a[:-1]),
    "no indices": _made("indices", lambda a: a[:0]),
    "2-d indices": _made("indices", lambda a: a[:, None]),
    "indices None": _made("indices", lambda a: None),
    "float indices": _made("indices", lambda a: a / 1),
    "bool indices": _made("indices", lambda a: a > 0),
    "masked indices": _made("indices", lambda a: np.ma.array(a, mask=a > 0)),
    "values too few": _made("data", lambda a: a[:-1]),
    "no values": _made("data", lambda a: a[:0]),
    "values None": _made("data", lambda a: None),
    "values of str": _made("data", lambda a: a.astype(str)),
    "values of objects": _made("data", lambda a: a.astype(object)),
    "values of dates": _made("data", lambda a: a.astype("M8[s]")),
    "masked values": _made("data", lambda a: np.ma.array(a, mask=a > 0)),
    "too narrow": lambda matrix: setattr(matrix, "_shape", (4, 2)),
    "too short": lambda matrix: setattr(matrix, "_shape", (2, 5)),
    "a shape of floats": lambda matrix: setattr(matrix, "_shape", (4.0, 5.0)),
}
_OF_FORMAT = {
    "csr": _COMPRESSED,
    "csc": _COMPRESSED,
    "bsr": _COMPRESSED,
    "coo": {
        "a row too large": _coords(lambda r, c: (_last(r, 99), c)),
        "a row below 0": _coords(lambda r, c: (_last(r, -1), c)),
        "a column too large": _coords(lambda r, c: (r, _last(c, 99))),
        "a column below 0": _coords(lambda r, c: (r, _last(c, -1))),
        "rows too few": _coords(lambda r, c: (r[:-1], c)),
        "columns too few": _coords(lambda r, c: (r, c[:-1])),
        "rows alone": _coords(lambda r, c: (r,)),
        "three coordinates": _coords(lambda r, c: (r, c, c)),
        "2-d coordinates": _coords(lambda r, c: (r[:, None], c[:, None])),
        "float rows": _coords(lambda r, c: (r / 1, c)),
        "masked rows": _coords(lambda r, c: (np.ma.array(r, mask=r > 0), c)),
        "an unsigned row beyond int64": _coords(lambda r, c: (_last(r.astype("u8"), 2**64 - 1), c)),
        "columns None": _coords(lambda r, c: (r, None)),
        "values too few": _made("data", lambda a: a[:-1]),
        "2-d values": _made("data", lambda a: a[:, None]),
        "values of objects": _made("data", lambda a: a.astype(object)),
        "masked values": _made("data", lambda a: np.ma.array(a, mask=a > 0)),
        "too narrow": lambda matrix: setattr(matrix, "_shape", (4, 2)),
    },
    "lil": {
        "a column too large": _row([0, 99], [1.0, 1.0]),
        "a column below 0": _row([-1, 2], [1.0, 1.0]),
        "a column beyond int32": _row([2**40, 2], [1.0, 1.0]),
        "a column beyond int64": _row([2**70, 2], [1.0, 1.0]),
        "a column of 1.5": _row([1.5, 2], [1.0, 1.0]),
        "a column of str": _row(["1", 2], [1.0, 1.0]),
        "more columns than values": _row([1, 2, 3], [1.0, 1.0]),
        "more values than columns": _row([1, 2], [1.0, 1.0, 1.0]),
        "columns None": _row(None, [1.0]),
        "values None": _row([1], None),
        "values of str": _row([1], ["x"]),
        "rows too few": _made("rows", lambda a: a[:-1]),
        "both too few": lambda matrix: (
            setattr(matrix, "rows", matrix.rows[:-1]),
            setattr(matrix, "data", matrix.data[:-1]),
        ),
        "both too many": lambda matrix: (
            setattr(matrix, "rows", np.append(matrix.rows, matrix.rows)),
            setattr(matrix, "data", np.append(matrix.data, matrix.data)),
        ),
        "too narrow": lambda matrix: setattr(matrix, "_shape", (4, 2)),
    },
    "dok": {
        "a column too large": _entry((1, 99)),
        "a column below 0": _entry((1, -1)),
        "a row too large": _entry((99, 1)),
        "a row below 0": _entry((-1, 1)),
        "a column beyond int32": _entry((0, 2**40)),
        "a column beyond int64": _entry((0, 2**70)),
        "three coordinates": _entry((1, 1, 1)),
        "one coordinate": _entry((1,)),
        "no coordinates": _entry(1),
        "float coordinates": _entry((0.5, 1.5)),
        "coordinates of str": _entry("ab"),
        "a value of str": lambda matrix: matrix._dict.__setitem__((0, 3), "x"),
        "no dict": lambda matrix: setattr(matrix, "_dict", None),
        "too narrow": lambda matrix: setattr(matrix, "_shape", (4, 2)),
    },
    "dia": {
        "an offset twice": _set("offsets", 0, 1),
        "offsets too many": _made("offsets", lambda a: np.append(a, [2, 3])),
        "offsets too few": _made("offsets", lambda a: a[:1]),
        "2-d offsets": _made("offsets", lambda a: a[:, None]),
        "float offsets": _made("offsets", lambda a: a + 0.5),
        "an offset beyond int64": _made("offsets", lambda a: _last(a.astype("u8"), 2**64 - 1)),
        "offsets None": _made("offsets", lambda a: None),
        "1-d values": _made("data", lambda a: a[0]),
        "3-d values": _made("data", lambda a: a[None]),
        "no values": _made("data", lambda a: a[:0]),
        "values None": _made("data", lambda a: None),
        "values of objects": _made("data", lambda a: a.astype(object)),
        "masked values": _made("data", lambda a: np.ma.array(a, mask=a > 0)),
    },
}  # fmt: skip
DAMAGES = {
    f"{format}_{kind.__name__[4:]}: {name}": (kind, format, change)
    for format, changes in _OF_FORMAT.items()
    for kind in (sp.csr_array, sp.csr_matrix)
    for name, change in changes.items()
}


def damaged(name):
    """The sound matrix, changed."""
    kind, format, change = DAMAGES[name]
    matrix = kind(SOUND).asformat(format)
    change(matrix)
    return matrix
