"""Single files of a data set: lines of texts, label matrices, pairs, JSON objects."""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import scipy.sparse as sp

from skxc._validation import csr_with_duplicates, merge_duplicates, sound_sparse

# what numpy and scipy raise for a damaged file
_DAMAGED = (AttributeError, EOFError, KeyError, TypeError, ValueError, BadZipFile, zlib.error)


def read_lines(path: Path, n_expected: int, of_what: str) -> list[str]:
    r"""Lines of a UTF-8 file; only \n (in a Windows file, \r\n) ends one."""
    content = _read_bytes(path)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8 "
            f"({error.reason}). Convert the file to UTF-8."
        ) from error
    n_ends = text.count("\n")
    # Not str.splitlines: it also splits at \r, U+0085 and U+2028, which do occur inside texts.
    lines = text.split("\r\n" if n_ends and text.count("\r\n") == n_ends else "\n")
    if not lines[-1]:  # nothing follows the last line's end
        lines.pop()
    if len(lines) != n_expected:
        raise ValueError(
            f"{path} has {len(lines)} lines, but there are {n_expected} {of_what}. "
            "It needs a line for each."
        )
    return lines


def read_npz(path: Path) -> sp.csr_matrix:
    """Label matrix of a file that `scipy.sparse.save_npz` wrote."""
    try:
        with path.open("rb") as file:  # not the path: numpy leaves a damaged file open
            matrix = sound_sparse(sp.load_npz(file), "it")
    except _DAMAGED as error:
        raise ValueError(
            f"{path} is not a sparse matrix as scipy.sparse.save_npz writes it: {error}"
        ) from error
    if matrix.ndim != 2 or matrix.dtype.kind not in "biuf":
        raise ValueError(
            f"{path} holds an array of {matrix.ndim} dimensions and dtype {matrix.dtype}. "
            "Pass a matrix of real numbers with one row per text."
        )
    matrix = csr_with_duplicates(matrix, None)
    return _label_matrix(
        matrix.indptr, matrix.indices, matrix.data, matrix.shape[1], f"{path}, row", 1
    )


def read_label_pairs(path: Path) -> sp.csr_matrix:
    """Label matrix of a file of "label:value" pairs under a header."""
    lines = _read_byte_lines(path)
    header = lines[0] if lines else b""
    try:
        n_rows, n_labels = map(int, header.split())
        if n_rows < 0 or n_labels < 0:
            raise ValueError("a negative count")
    except ValueError as error:
        raise ValueError(
            f"{path}, line 1: {_excerpt(header)} is not a header 'n_rows n_labels'."
        ) from error
    if len(lines) - 1 != n_rows:
        raise ValueError(
            f"{path}, line 1: the header announces {n_rows} rows, but {len(lines) - 1} lines "
            "follow. A row without a label is an empty line."
        )
    indptr, labels, values = array("q", [0]), array("q"), array("d")
    for number, line in enumerate(lines[1:], 2):
        try:
            row_labels, row_values = _parse_pairs(line)
            labels.extend(row_labels)
            values.extend(row_values)
        except (ValueError, OverflowError) as error:
            raise ValueError(
                f"{path}, line {number}: {_excerpt(line)} is not a row of pairs 'label:value' "
                "between spaces, with a whole number as label."
            ) from error
        indptr.append(len(labels))
    return _label_matrix(indptr, labels, values, n_labels, f"{path}, line", 2)


def read_mask(path: Path, shape: tuple[int, int]) -> sp.csr_matrix | None:
    """Mask of a filter file's pairs; None without the file."""
    if not path.is_file():
        return None
    pairs = array("q")
    for number, line in enumerate(_read_byte_lines(path), 1):
        try:
            row, label = map(int, line.split())
            pairs.extend((row, label))
        except (ValueError, OverflowError) as error:
            raise ValueError(
                f"{path}, line {number}: {_excerpt(line)} is not a pair 'row label'."
            ) from error
    rows, labels = np.asarray(pairs).reshape(-1, 2).T
    is_wrong = (rows < 0) | (rows >= shape[0]) | (labels < 0) | (labels >= shape[1])
    if is_wrong.any():
        pair = is_wrong.argmax()
        raise ValueError(
            f"{path}, line {pair + 1}: row {rows[pair]}, label {labels[pair]} is out of range. "
            f"There are {shape[0]} rows and {shape[1]} labels, both counted from 0."
        )
    return sp.csr_matrix((np.ones(len(rows), dtype=bool), (rows, labels)), shape=shape)


def read_json_part(path: Path, n_labels: int) -> tuple[list[str], sp.csr_matrix]:
    """Texts and label matrix of trn.json.gz or tst.json.gz."""
    texts: list[str] = []
    indptr, labels, values = array("q", [0]), array("q"), array("d")

    def add(row: dict[str, Any]) -> None:
        texts.append(json_text(row))
        row_labels, row_values = _json_pairs(row)
        labels.extend(row_labels)
        values.extend(row_values)
        indptr.append(len(labels))

    read_json_lines(path, add)
    return texts, _label_matrix(indptr, labels, values, n_labels, f"{path}, line", 1)


def read_json_lines(path: Path, add: Callable[[dict[str, Any]], None]) -> None:
    """Call `add` with each line's object; an error names the file and the line."""
    for number, line in enumerate(_gzip_lines(path), 1):
        try:
            row = json.loads(line.decode())
            if not isinstance(row, dict):
                raise ValueError(f"{_excerpt(line)} is not an object")
            add(row)
        except (ValueError, OverflowError) as error:
            raise ValueError(
                f"{path}, line {number}: {error}. Each line must be a JSON object in UTF-8."
            ) from error


def json_text(row: dict[str, Any]) -> str:
    """Title and content of an object."""
    parts = [row[key] for key in ("title", "content") if key in row]
    if not parts or not all(isinstance(part, str) for part in parts):
        raise ValueError(f"no string as title or content among the keys {list(row)}")
    return " ".join(filter(None, parts))


def _json_pairs(row: dict[str, Any]) -> tuple[list[int], list[float]]:
    """Labels and relevances of an object."""
    labels = row.get("target_ind")
    if not isinstance(labels, list) or not set(map(type, labels)) <= {int}:
        raise ValueError(f"target_ind is {labels!r:.60}, not a list of whole numbers")
    values = row.get("target_rel", [1.0] * len(labels))
    if not isinstance(values, list) or not set(map(type, values)) <= {int, float}:
        raise ValueError(f"target_rel is {values!r:.60}, not a list of numbers")
    if len(values) != len(labels):
        raise ValueError(f"target_ind has {len(labels)} entries, target_rel has {len(values)}")
    return labels, values


def _parse_pairs(line: bytes) -> tuple[list[int], list[float]]:
    """Labels and values of a line of "label:value" pairs."""
    tokens = line.replace(b":", b" : ").split()
    n_pairs, rest = divmod(len(tokens), 3)
    if rest or tokens[1::3].count(b":") != n_pairs:
        raise ValueError("not pairs")
    return list(map(int, tokens[::3])), list(map(float, tokens[2::3]))


def _gzip_lines(path: Path) -> Iterator[bytes]:
    """Lines of a compressed file, one in memory at a time."""
    try:
        with gzip.open(path, "rb") as file:
            for line in file:
                yield line.removesuffix(b"\n")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a whole gzip file: {error}") from error


def _read_byte_lines(path: Path) -> list[bytes]:
    """Lines of a file of numbers."""
    lines = _read_bytes(path).split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


def _read_bytes(path: Path) -> bytes:
    """Content of a file without the byte-order mark."""
    return path.read_bytes().removeprefix(codecs.BOM_UTF8)


def _excerpt(line: bytes) -> str:
    """Beginning of a line, for an error's text."""
    return repr(line[:60].decode(errors="replace")) + ("..." if len(line) > 60 else "")


def _label_matrix(
    indptr: Any,  # (n_rows + 1,)
    labels: Any,  # (n_pairs,)
    values: Any,  # (n_pairs,)
    n_labels: int,
    place: str,  # "file, line" or "file, row": error messages add the number
    first: int,  # the number of row 0
) -> sp.csr_matrix:
    """Checked relevances: float32, indices sorted, duplicates merged, zeros dropped."""
    indptr, labels, values = np.asarray(indptr), np.asarray(labels), np.asarray(values)
    rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    is_wrong = (labels < 0) | (labels >= n_labels)
    if is_wrong.any():
        pair = is_wrong.argmax()
        raise ValueError(
            f"{place} {first + rows[pair]}: label {labels[pair]} is out of range. "
            f"There are {n_labels} labels, counted from 0."
        )
    is_wrong = ~((values >= 0) & (values <= 1))  # so that nan is wrong
    if is_wrong.any():
        pair = is_wrong.argmax()
        raise ValueError(
            f"{place} {first + rows[pair]}: label {labels[pair]} has the value {values[pair]}. "
            "A relevance is in (0, 1]; pairs with 0 are dropped."
        )
    shape = (len(indptr) - 1, n_labels)
    matrix = sp.csr_matrix((values.astype(np.float32), labels, indptr), shape=shape)
    matrix.eliminate_zeros()
    merge_duplicates(matrix)
    return matrix
