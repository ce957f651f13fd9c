"""Single files of a data set: lines of texts, label matrices, pairs, JSON objects."""

from __future__ import annotations

import codecs
import gzip
import json
import re
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import scipy.sparse as sp

from skxc._validation import csr_with_duplicates, merge_duplicates, reason, sound_sparse

_MAX_COUNT = np.iinfo(np.int32).max  # of labels
# OAK's and X-Transformer's files of texts, which some versions of their code write with ids
_MAY_HAVE_IDS = ("train.raw.txt", "test.raw.txt", "label.raw.txt", "label_map.txt")
_WITH_ID = re.compile(r"\S+->|\d+\t")


def have_same_content(first: Path, second: Path) -> bool:
    """Whether two files are the same, decompressed."""
    if first == second:
        return True
    with opened(first) as a, opened(second) as b:
        while block := a.read(1 << 20):
            if block != b.read(1 << 20):
                return False
        return not b.read(1)


def read_lines(path: Path, n_expected: int | None = None, of_what: str = "") -> list[str]:
    r"""Lines of a UTF-8 file; only \n (in a Windows file, \r\n) ends one."""
    text = read_text(path)
    n_ends = text.count("\n")
    # Not str.splitlines: it also splits at \r, U+0085 and U+2028, which do occur inside texts.
    lines = text.split("\r\n" if n_ends and text.count("\r\n") == n_ends else "\n")
    if not lines[-1]:  # nothing follows the last line's end
        lines.pop()
    if n_expected is not None and len(lines) != n_expected:
        raise ValueError(
            f"{path} has {len(lines)} lines, but there are {n_expected} {of_what}. "
            "It needs a line for each."
        )
    if path.name.startswith(_MAY_HAVE_IDS) and lines and all(map(_WITH_ID.match, lines)):
        raise ValueError(
            f"{path}, line 1: {lines[0][:60]!r} is an id and a text, as all lines of the file are. "
            "Write the texts alone."
        )
    return lines


def read_text(path: Path) -> str:
    """Content of a UTF-8 file."""
    content = _read_bytes(path)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8 "
            f"({error.reason}). Convert the file to UTF-8."
        ) from error


def read_npz(path: Path) -> Any:
    """Sparse matrix of any format from a file that `scipy.sparse.save_npz` wrote."""
    with path.open("rb") as file:  # not the path: numpy leaves a damaged file open
        try:
            matrix = sound_sparse(sp.load_npz(file), "it")
        except Exception as error:  # numpy, scipy and zipfile raise a dozen kinds
            raise ValueError(
                f"{path} is not a sparse matrix as scipy.sparse.save_npz writes it: {error}"
            ) from error
    if matrix.ndim != 2 or matrix.dtype.kind not in "biuf":
        raise ValueError(
            f"{path} holds an array of {matrix.ndim} dimensions and dtype {matrix.dtype}. "
            "Pass a matrix of real numbers with one row per text."
        )
    if matrix.shape[1] > _MAX_COUNT:
        raise ValueError(
            f"{path} has the shape {matrix.shape}. At most {_MAX_COUNT} labels are possible."
        )
    return matrix


def as_label_matrix(matrix: Any, path: Path) -> sp.csr_matrix:
    """Label matrix of what `read_npz` read; memory grows with the rows that it announces."""
    matrix = csr_with_duplicates(matrix, None)
    return _label_matrix(
        matrix.indptr, matrix.indices, matrix.data, matrix.shape[1], f"{path}, row", 1
    )


def read_label_pairs(path: Path) -> sp.csr_matrix:
    """Label matrix of a file of "label:value" pairs under a header."""
    lines = _read_byte_lines(path)
    header = lines[0] if lines else b""
    try:
        n_rows, n_labels = _whole_numbers(header)
        if n_rows < 0 or n_labels < 0:
            raise ValueError("a negative count")
    except ValueError as error:
        raise ValueError(
            f"{path}, line 1: {_excerpt(header)} is not a header 'n_rows n_labels'."
        ) from error
    if n_labels > _MAX_COUNT:
        raise ValueError(
            f"{path}, line 1: the header announces {n_labels} labels. At most {_MAX_COUNT} are "
            "possible."
        )
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


def read_mask(path: Path | None, shape: tuple[int, int]) -> sp.csr_matrix | None:
    """Mask of a filter file's pairs; None without the file."""
    if path is None:
        return None
    pairs = array("q")
    for number, line in enumerate(_read_byte_lines(path), 1):
        try:
            row, label = _whole_numbers(line)
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


def read_json_part(
    path: Path, n_labels: int, fields: Sequence[str]
) -> tuple[list[str], sp.csr_matrix]:
    """Texts and label matrix of the file of training or test rows."""
    texts: list[str] = []
    indptr, labels, values = array("q", [0]), array("q"), array("d")

    def add(row: dict[str, Any]) -> None:
        texts.append(_json_text(row, fields))
        row_labels, row_values = _json_pairs(row)
        labels.extend(row_labels)
        values.extend(row_values)
        indptr.append(len(labels))

    _read_json_lines(path, add)
    return texts, _label_matrix(indptr, labels, values, n_labels, f"{path}, line", 1)


def read_json_texts(path: Path, fields: Sequence[str]) -> list[str]:
    """Texts of the file of labels."""
    texts: list[str] = []
    _read_json_lines(path, lambda row: texts.append(_json_text(row, fields)))
    return texts


def read_description(path: Path) -> str:
    """A file for people to read; empty if there is none."""
    return path.read_text(encoding="utf-8-sig", errors="replace") if path.is_file() else ""


def _read_json_lines(path: Path, add: Callable[[dict[str, Any]], None]) -> None:
    """Call `add` with each line's object; an error names the file and the line."""
    _check_has_bytes(path)
    with opened(path) as file:
        for number, line in enumerate(file, 1):
            line = line.removesuffix(b"\n").removeprefix(codecs.BOM_UTF8)
            try:
                row = json.loads(line.decode())
                if not isinstance(row, dict):
                    raise ValueError(f"{_excerpt(line)} is not an object")
                add(row)
            except (ValueError, OverflowError, RecursionError) as error:
                raise ValueError(
                    f"{path}, line {number}: {reason(error)}. Each line must be a JSON object in "
                    f"UTF-8."
                ) from error


def _json_text(row: dict[str, Any], fields: Sequence[str]) -> str:
    """The fields of an object that are there, joined; null counts as absent."""
    parts = [row[field] for field in fields if row.get(field) is not None]
    if not parts or not all(isinstance(part, str) for part in parts):
        values = [f"{f} is {json.dumps(row[f])[:60]}" for f in fields if f in row]
        raise ValueError(
            f"no string as {' or '.join(fields)} among the keys {list(row)}"
            + (f" ({', '.join(values)})" if values else "")
        )
    return " ".join(filter(None, parts))


def _json_pairs(row: dict[str, Any]) -> tuple[list[int], list[float]]:
    """Labels and relevances of an object."""
    labels = row.get("target_ind")
    if not isinstance(labels, list) or not set(map(type, labels)) <= {int}:
        raise ValueError(f"target_ind is {labels!r:.60}, not a list of whole numbers")
    values = row.get("target_rel")
    if values is None:  # absent, or null
        values = [1.0] * len(labels)
    if not isinstance(values, list) or not set(map(type, values)) <= {int, float}:
        raise ValueError(f"target_rel is {values!r:.60}, not a list of numbers")
    if len(values) != len(labels):
        raise ValueError(f"target_ind has {len(labels)} entries, target_rel has {len(values)}")
    return labels, values


def _parse_pairs(line: bytes) -> tuple[list[int], list[float]]:
    """Labels and values of a line of "label:value" pairs."""
    tokens = line.replace(b":", b" : ").split()
    n_pairs, rest = divmod(len(tokens), 3)
    if rest or b"_" in line or tokens[1::3].count(b":") != n_pairs:
        raise ValueError("not pairs")
    return list(map(int, tokens[::3])), list(map(float, tokens[2::3]))


def _whole_numbers(line: bytes) -> list[int]:
    """Numbers of a line; int would also read 1_000."""
    if b"_" in line:
        raise ValueError("an underscore")
    return list(map(int, line.split()))


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """A file to read, decompressed where its name ends with .gz."""
    if path.suffix.lower() != ".gz":
        with path.open("rb") as plain:
            yield plain
        return
    _check_has_bytes(path)
    try:
        with gzip.open(path, "rb") as file:
            yield file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a whole gzip file: {error}") from error


def _check_has_bytes(path: Path) -> None:
    """Refuse what a download that broke off leaves."""
    if not path.stat().st_size:
        raise ValueError(f"{path} has 0 bytes. Download or write it again.")


def _read_byte_lines(path: Path) -> list[bytes]:
    """Lines of a file of numbers."""
    lines = _read_bytes(path).split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


def _read_bytes(path: Path) -> bytes:
    """Content of a file without byte-order marks, which files that are joined leave inside."""
    with opened(path) as file:
        content = file.read().removeprefix(codecs.BOM_UTF8)
    return content.replace(b"\n" + codecs.BOM_UTF8, b"\n")


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
