"""Readers of the folder layouts in which extreme classification data sets are shared."""

from __future__ import annotations

import codecs
import gzip
import json
import os
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils import Bunch

# What a folder must hold to have a layout; label texts (lbl.json.gz apart) and masks may be absent.
_REQUIRED = {
    "npz": ("raw/trn_X.txt", "Y.trn.npz", "raw/tst_X.txt", "Y.tst.npz"),
    "pairs": ("trn_X.txt", "trn_X_Y.txt", "tst_X.txt", "tst_X_Y.txt"),
    "json": ("trn.json.gz", "tst.json.gz", "lbl.json.gz"),
}
_MASKS = {
    "npz": ("filter_labels_train.txt", "filter_labels_test.txt"),
    "pairs": ("trn_filter_labels.txt", "tst_filter_labels.txt"),
    "json": ("filter_labels_train.txt", "filter_labels_test.txt"),
}


def load_xc_folder(folder: str | os.PathLike[str], *, layout: str = "auto") -> Bunch:
    r"""Read a data set in one of the three layouts that the field shares data in.

    The layout is recognised by the files that the folder holds:

    ``"npz"``, of DEXML [1]_
        ``raw/trn_X.txt``, ``raw/tst_X.txt`` (a text a line), ``Y.trn.npz``, ``Y.tst.npz``
        (sparse matrices as `scipy.sparse.save_npz` writes them); optional: ``raw/Y.txt`` (a label
        text a line), ``filter_labels_train.txt``, ``filter_labels_test.txt``.
    ``"pairs"``, of Renee [2]_
        ``trn_X.txt``, ``tst_X.txt``, ``trn_X_Y.txt``, ``tst_X_Y.txt`` (first line
        "n_rows n_labels", then a row of "label:value" pairs a line); optional: ``Y.txt``,
        ``trn_filter_labels.txt``, ``tst_filter_labels.txt``.
    ``"json"``, of the Extreme Classification Repository [3]_
        ``trn.json.gz``, ``tst.json.gz``, ``lbl.json.gz``: a JSON object a line, with ``title``,
        ``content``, and in the first two ``target_ind`` (labels) and ``target_rel`` (their
        relevances, 1 if absent); optional: ``filter_labels_train.txt``,
        ``filter_labels_test.txt``.

    Rows and labels are counted from 0 in all of them. A filter file has a pair "row label" a line.

    Parameters
    ----------
    folder : str or path-like
        The folder of the data set.
    layout : {"auto", "npz", "pairs", "json"}, default="auto"
        The layout to read. Needed only for a folder that holds several.

    Returns
    -------
    :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the attributes:

        texts : list of str, length n_samples
            The training texts. For JSON, title and content joined by a space.
        Y : csr_matrix of shape (n_samples, n_labels), float32
            Relevances in (0, 1]; indices sorted. Of duplicate pairs the largest value is kept,
            explicit zeros are dropped.
        exclude : csr_matrix of shape (n_samples, n_labels), bool, or None
            The pairs of the training filter, to be ignored in prediction and in every metric;
            None without a filter file.
        test_texts : list of str, length n_test
            The test texts.
        Y_test : csr_matrix of shape (n_test, n_labels), float32
            As `Y`, for the test texts.
        test_exclude : csr_matrix of shape (n_test, n_labels), bool, or None
            As `exclude`, for the test texts.
        label_texts : list of str, length n_labels, or None
            The label texts; None without a file of them.
        DESCR : str
            The folder's ``README.md``; empty if there is none.

    Raises
    ------
    FileNotFoundError
        If the folder, or a file that its layout needs, is missing.
    ValueError
        If a file contradicts its layout or another file. The message names the file and, counted
        from 1, the line (in a matrix, the row).

    Notes
    -----
    Only ``\n`` ends a line: a carriage return, U+0085 or U+2028 inside a line belongs to the text.
    The exception is a file in which every line ends with ``\r\n``: this is taken for Windows'
    line ending, and the ``\r`` is dropped, as is a byte-order mark at the file's beginning.

    References
    ----------
    .. [1] Gupta, N. et al. (2024). Dual-Encoders for Extreme Multi-Label Classification.
           ICLR 2024.
    .. [2] Jain, V. et al. (2023). Renee: End-to-end training of extreme classification models.
           MLSys 2023.
    .. [3] Bhatia, K. et al. (2016). The extreme classification repository: Multi-label datasets
           and code. http://manikvarma.org/downloads/XC/XMLRepository.html

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from skxc.datasets import load_xc_folder
    >>> files = {
    ...     "trn_X.txt": "a cat and a dog\na bird\n",
    ...     "trn_X_Y.txt": "2 3\n0:1 1:0.5\n2:1\n",
    ...     "tst_X.txt": "the dog\n",
    ...     "tst_X_Y.txt": "1 3\n1:1\n",
    ... }
    >>> with TemporaryDirectory() as folder:
    ...     for name, content in files.items():
    ...         _ = (Path(folder) / name).write_text(content)
    ...     data = load_xc_folder(folder)
    >>> data.texts
    ['a cat and a dog', 'a bird']
    >>> data.Y.toarray()
    array([[1. , 0.5, 0. ],
           [0. , 0. , 1. ]], dtype=float32)
    """
    folder = Path(folder)
    layout = _find_layout(folder, layout)
    texts, Y, test_texts, Y_test, label_texts = _READERS[layout](folder)
    train_mask, test_mask = _MASKS[layout]
    readme = folder / "README.md"
    return Bunch(
        texts=texts,
        Y=Y,
        exclude=_read_mask(folder / train_mask, Y.shape),
        test_texts=test_texts,
        Y_test=Y_test,
        test_exclude=_read_mask(folder / test_mask, Y_test.shape),
        label_texts=label_texts,
        DESCR=readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else "",
    )


def _find_layout(folder: Path, layout: str) -> str:
    """Name of the layout to read from `folder`; an error if there is none or no single one."""
    if layout != "auto" and layout not in _REQUIRED:
        raise ValueError(f"layout is {layout!r}; accepted are {['auto', *_REQUIRED]}.")
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder.")
    candidates = list(_REQUIRED) if layout == "auto" else [layout]
    missing = {
        name: [file for file in _REQUIRED[name] if not (folder / file).is_file()]
        for name in candidates
    }
    complete = [name for name in candidates if not missing[name]]
    if len(complete) == 1:
        return complete[0]
    if complete:
        raise ValueError(f"{folder} holds the layouts {complete}: pass one of them as layout.")
    begun = [name for name in candidates if len(missing[name]) < len(_REQUIRED[name])]
    if layout != "auto" or len(begun) == 1:
        [name] = begun or candidates
        raise FileNotFoundError(
            f"{folder} lacks {', '.join(missing[name])} of the layout {name!r}, "
            f"which needs {', '.join(_REQUIRED[name])}."
        )
    looked_for = "; ".join(f"{name!r}: {', '.join(_REQUIRED[name])}" for name in candidates)
    raise FileNotFoundError(f"{folder} has no complete layout. Looked for {looked_for}.")


# Each layout's reader: (texts, Y, test_texts, Y_test, label_texts).
_Parts = tuple[list[str], sp.csr_matrix, list[str], sp.csr_matrix, list[str] | None]


def _read_npz_layout(folder: Path) -> _Parts:
    """Read the layout of DEXML."""
    return _read_text_layout(folder / "raw", folder / "Y.trn.npz", folder / "Y.tst.npz", _read_npz)


def _read_pairs_layout(folder: Path) -> _Parts:
    """Read the layout of Renee."""
    return _read_text_layout(
        folder, folder / "trn_X_Y.txt", folder / "tst_X_Y.txt", _read_label_pairs
    )


def _read_text_layout(
    text_folder: Path, train: Path, test: Path, read_matrix: Callable[[Path], sp.csr_matrix]
) -> _Parts:
    """Read texts from {trn_X,tst_X,Y}.txt and labels with `read_matrix`; check that they agree."""
    Y, Y_test = read_matrix(train), read_matrix(test)
    if Y.shape[1] != Y_test.shape[1]:
        raise ValueError(
            f"{train} has {Y.shape[1]} labels, but {test} has {Y_test.shape[1]}. "
            "Training and test labels must be the same columns."
        )
    texts = _read_lines(text_folder / "trn_X.txt", Y.shape[0], f"rows in {train}")
    test_texts = _read_lines(text_folder / "tst_X.txt", Y_test.shape[0], f"rows in {test}")
    label_file = text_folder / "Y.txt"
    label_texts = None
    if label_file.is_file():
        label_texts = _read_lines(label_file, Y.shape[1], f"labels in {train}")
    return texts, Y, test_texts, Y_test, label_texts


def _read_json_layout(folder: Path) -> _Parts:
    """Read the layout of the Extreme Classification Repository."""
    label_texts: list[str] = []
    _read_json_lines(folder / "lbl.json.gz", lambda row: label_texts.append(_json_text(row)))
    texts, Y = _read_json_part(folder / "trn.json.gz", len(label_texts))
    test_texts, Y_test = _read_json_part(folder / "tst.json.gz", len(label_texts))
    return texts, Y, test_texts, Y_test, label_texts


_READERS: dict[str, Callable[[Path], _Parts]] = {
    "npz": _read_npz_layout,
    "pairs": _read_pairs_layout,
    "json": _read_json_layout,
}


def _read_bytes(path: Path) -> bytes:
    """Content of a file without the byte-order mark."""
    return path.read_bytes().removeprefix(codecs.BOM_UTF8)


def _read_lines(path: Path, n_expected: int, of_what: str) -> list[str]:
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
    if not lines[-1]:  # what stands after the last line's end
        lines.pop()
    if len(lines) != n_expected:
        raise ValueError(
            f"{path} has {len(lines)} lines, but there are {n_expected} {of_what}. "
            "It needs a line for each."
        )
    return lines


def _read_byte_lines(path: Path) -> list[bytes]:
    """Lines of a file of numbers."""
    lines = _read_bytes(path).split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


def _excerpt(line: bytes) -> str:
    """Beginning of a line, for an error's text."""
    return repr(line[:60].decode(errors="replace")) + ("..." if len(line) > 60 else "")


def _read_npz(path: Path) -> sp.csr_matrix:
    """Label matrix of a file that `scipy.sparse.save_npz` wrote."""
    try:
        with path.open("rb") as file:  # not the path: numpy leaves a damaged file open
            matrix = sp.load_npz(file)
        # scipy trusts a compressed matrix's indices, and its compiled code would follow them
        # out of the arrays.
        if hasattr(matrix, "check_format"):
            matrix.check_format(full_check=True)
    except (
        AttributeError,
        EOFError,
        KeyError,
        TypeError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(
            f"{path} is not a sparse matrix as scipy.sparse.save_npz writes it: {error}"
        ) from error
    if matrix.ndim != 2 or matrix.dtype.kind not in "biuf":
        raise ValueError(
            f"{path} holds an array of {matrix.ndim} dimensions and dtype {matrix.dtype}. "
            "Accepted is a matrix of real numbers, a row a text."
        )
    if matrix.format == "csr":
        indptr, labels, values = matrix.indptr, matrix.indices, matrix.data
    else:  # by hand: scipy's tocsr adds duplicates up
        pairs = matrix.tocoo()
        order = np.argsort(pairs.row, kind="stable")
        indptr = np.cumsum([0, *np.bincount(pairs.row, minlength=matrix.shape[0])])
        labels, values = pairs.col[order], pairs.data[order]
    return _label_matrix(indptr, labels, values, matrix.shape[1], f"{path}, row", 1)


def _read_label_pairs(path: Path) -> sp.csr_matrix:
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


def _parse_pairs(line: bytes) -> tuple[list[int], list[float]]:
    """Labels and values of a line of "label:value" pairs."""
    tokens = line.replace(b":", b" : ").split()
    n_pairs, rest = divmod(len(tokens), 3)
    if rest or tokens[1::3].count(b":") != n_pairs:
        raise ValueError("not pairs")
    return list(map(int, tokens[::3])), list(map(float, tokens[2::3]))


def _read_json_part(path: Path, n_labels: int) -> tuple[list[str], sp.csr_matrix]:
    """Texts and label matrix of trn.json.gz or tst.json.gz."""
    texts: list[str] = []
    indptr, labels, values = array("q", [0]), array("q"), array("d")

    def add(row: dict[str, Any]) -> None:
        texts.append(_json_text(row))
        row_labels, row_values = _json_pairs(row)
        labels.extend(row_labels)
        values.extend(row_values)
        indptr.append(len(labels))

    _read_json_lines(path, add)
    return texts, _label_matrix(indptr, labels, values, n_labels, f"{path}, line", 1)


def _read_json_lines(path: Path, add: Callable[[dict[str, Any]], None]) -> None:
    """Call `add` with each line's object; what is wrong in one is raised with file and line."""
    for number, line in enumerate(_gzip_lines(path), 1):
        try:
            row = json.loads(line.decode())
            if not isinstance(row, dict):
                raise ValueError(f"{_excerpt(line)} is not an object")
            add(row)
        except (ValueError, OverflowError) as error:
            raise ValueError(
                f"{path}, line {number}: {error}. Accepted is a JSON object a line, in UTF-8."
            ) from error


def _gzip_lines(path: Path) -> Iterator[bytes]:
    """Lines of a compressed file, one in memory at a time."""
    try:
        with gzip.open(path, "rb") as file:
            for line in file:
                yield line.removesuffix(b"\n")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a whole gzip file: {error}") from error


def _json_text(row: dict[str, Any]) -> str:
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


def _label_matrix(
    indptr: Any,  # (n_rows + 1,)
    labels: Any,  # (n_pairs,)
    values: Any,  # (n_pairs,)
    n_labels: int,
    place: str,  # "file, line" or "file, row": an error's text puts the number behind it
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
    return _merge_duplicates(matrix)


def _merge_duplicates(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Sort the indices and keep the largest value of each pair (scipy would add them up)."""
    matrix.sort_indices()
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    is_first = np.ones(matrix.nnz, dtype=bool)
    is_first[1:] = (np.diff(rows) != 0) | (np.diff(matrix.indices) != 0)
    if is_first.all():
        return matrix
    starts = np.flatnonzero(is_first)
    largest = np.maximum.reduceat(matrix.data, starts)
    return sp.csr_matrix((largest, (rows[starts], matrix.indices[starts])), shape=matrix.shape)


def _read_mask(path: Path, shape: tuple[int, int]) -> sp.csr_matrix | None:
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
