"""Readers of the folder layouts in which extreme classification data sets are shared."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import scipy.sparse as sp
from sklearn.utils import Bunch

from skxc._validation import check_choice

from ._files import (
    json_text,
    read_json_lines,
    read_json_part,
    read_label_pairs,
    read_lines,
    read_mask,
    read_npz,
)

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
    r"""Read a data set in one of the three layouts that the field uses.

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
        exclude=read_mask(folder / train_mask, Y.shape),
        test_texts=test_texts,
        Y_test=Y_test,
        test_exclude=read_mask(folder / test_mask, Y_test.shape),
        label_texts=label_texts,
        DESCR=readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else "",
    )


def _find_layout(folder: Path, layout: str) -> str:
    """Name of the layout to read from `folder`; an error if there is none, or more than one."""
    check_choice("layout", layout, ("auto", *_REQUIRED))
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
    partial = [name for name in candidates if len(missing[name]) < len(_REQUIRED[name])]
    if layout != "auto" or len(partial) == 1:
        [name] = partial or candidates
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
    return _read_text_layout(folder / "raw", folder / "Y.trn.npz", folder / "Y.tst.npz", read_npz)


def _read_pairs_layout(folder: Path) -> _Parts:
    """Read the layout of Renee."""
    return _read_text_layout(
        folder, folder / "trn_X_Y.txt", folder / "tst_X_Y.txt", read_label_pairs
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
    texts = read_lines(text_folder / "trn_X.txt", Y.shape[0], f"rows in {train}")
    test_texts = read_lines(text_folder / "tst_X.txt", Y_test.shape[0], f"rows in {test}")
    label_file = text_folder / "Y.txt"
    label_texts = None
    if label_file.is_file():
        label_texts = read_lines(label_file, Y.shape[1], f"labels in {train}")
    return texts, Y, test_texts, Y_test, label_texts


def _read_json_layout(folder: Path) -> _Parts:
    """Read the layout of the Extreme Classification Repository."""
    label_texts: list[str] = []
    read_json_lines(folder / "lbl.json.gz", lambda row: label_texts.append(json_text(row)))
    texts, Y = read_json_part(folder / "trn.json.gz", len(label_texts))
    test_texts, Y_test = read_json_part(folder / "tst.json.gz", len(label_texts))
    return texts, Y, test_texts, Y_test, label_texts


_READERS: dict[str, Callable[[Path], _Parts]] = {
    "npz": _read_npz_layout,
    "pairs": _read_pairs_layout,
    "json": _read_json_layout,
}
