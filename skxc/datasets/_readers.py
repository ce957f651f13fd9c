"""Readers of the folder layouts in which extreme classification data sets are shared."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import scipy.sparse as sp
from sklearn.utils import Bunch

from skxc._validation import check_choice

from ._files import (
    as_label_matrix,
    read_description,
    read_json_part,
    read_json_texts,
    read_label_pairs,
    read_lines,
    read_mask,
    read_npz,
)
from ._names import find_files, find_layout, warn_of_unread_files

FIELDS = ("title", "content")


def load_xc_folder(
    folder: str | os.PathLike[str],
    *,
    layout: str = "auto",
    fields: str | Sequence[str] = FIELDS,
) -> Bunch:
    r"""Read a data set in one of the three layouts that the field uses.

    The layout is recognised by the files that the folder holds:

    ``"npz"``, of DEXML [1]_
        ``raw/trn_X.txt``, ``raw/tst_X.txt`` (a text a line), ``Y.trn.npz``, ``Y.tst.npz``
        (sparse matrices as `scipy.sparse.save_npz` writes them).
    ``"pairs"``, of Renee [2]_
        ``trn_X.txt``, ``tst_X.txt``, ``trn_X_Y.txt``, ``tst_X_Y.txt`` (first line
        "n_rows n_labels", then a row of "label:value" pairs a line).
    ``"json"``, of the Extreme Classification Repository [3]_
        ``trn.json.gz``, ``tst.json.gz``, ``lbl.json.gz``: a JSON object a line, with ``title``,
        ``content``, and in the first two ``target_ind`` (labels) and ``target_rel`` (their
        relevances, 1 if absent). A field that is null counts as absent.

    Optional in each: ``Y.txt`` (a label text a line; in ``"json"`` only in place of
    ``lbl.json.gz``), ``filter_labels_train.txt`` and ``filter_labels_test.txt`` (a pair
    "row label" a line). Rows and labels are counted from 0 in all of them.

    Parameters
    ----------
    folder : str or path-like
        The folder of the data set.
    layout : {"auto", "npz", "pairs", "json"}, default="auto"
        The layout to read. Needed only for a folder that holds several.
    fields : list of {"title", "content"}, or one of them, default=("title", "content")
        The fields of the JSON objects that make up a text, of documents and labels alike, joined
        by a space in this order. The papers' titles sets (LF-AmazonTitles-131K and the like) are
        ``["title"]``. Each row needs at least one of them.

    Returns
    -------
    :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the attributes:

        texts : list of str, length n_samples
            The training texts.
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
        If a file contradicts its layout or another file, if two files that differ have the same
        role, or if `fields` is given for a layout without fields. The message names the file and,
        counted from 1, the line (in a matrix, the row).

    Warns
    -----
    UserWarning
        If the folder holds files that look like a filter, labels or a split, but have a name
        that is not read.

    Notes
    -----
    Files may have the other names under which the field's code writes them, with the same content;
    each may be in the folder itself, in ``raw``, ``raw_data`` or ``raw_text``, and all but
    ``.npz`` may be compressed (``.gz``):

    ===============================  ==========================================================
    ``trn_X.txt``                    ``X.trn.txt``, ``trn.raw.txt``, ``train.raw.txt``,
                                     ``train_raw_texts.txt``; likewise for test
    ``Y.txt``                        ``output-items.txt``, ``lbl.raw.txt``, ``label.raw.txt``,
                                     ``label_map.txt``, ``lbl_X.txt``; in ``"json"`` ``Yf.txt``
    ``Y.trn.npz``                    ``trn_X_Y.npz``; likewise for test
    ``trn_X_Y.txt``                  ``trn_lbl_mat.txt``; likewise for test
    ``trn.json.gz``                  ``trn.raw.json.gz``; likewise for test and ``lbl``
    ``filter_labels_train.txt``      ``trn_filter_labels.txt``
    ``filter_labels_test.txt``       ``tst_filter_labels.txt``, ``filter_labels_text.txt``
    ===============================  ==========================================================

    Only ``\n`` ends a line: a carriage return, U+0085 or U+2028 inside a line belongs to the text.
    The exception is a file in which every line ends with ``\r\n``: this is taken for Windows'
    line ending, and the ``\r`` is dropped, as is a byte-order mark at the beginning of a line
    (files that were joined have one inside).

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
    folder, is_given = Path(folder), layout != "auto"
    fields = checked_fields(fields)
    layout = find_layout(folder, layout)
    if layout != "json" and fields != FIELDS:
        raise ValueError(
            f"fields={list(fields)} is for the layout 'json', but {folder} has the layout "
            f"{layout!r}, whose lines of text have no fields. Leave fields out."
        )
    files = find_files(folder, layout)
    warn_of_unread_files(folder, layout, is_given=is_given)
    if layout == "json":
        texts, Y, test_texts, Y_test, label_texts = _read_json_layout(files, fields)
    else:
        texts, Y, test_texts, Y_test, label_texts = _read_text_layout(files, layout)
    return Bunch(
        texts=texts,
        Y=Y,
        exclude=read_mask(files.get("training filter"), Y.shape),
        test_texts=test_texts,
        Y_test=Y_test,
        test_exclude=read_mask(files.get("test filter"), Y_test.shape),
        label_texts=label_texts,
        DESCR=read_description(folder / "README.md"),
    )


def checked_fields(fields: str | Sequence[str]) -> tuple[str, ...]:
    """Names of the JSON objects' fields to read; one may be given as a string."""
    if isinstance(fields, str):
        fields = (fields,)
    if not isinstance(fields, list | tuple):
        raise TypeError(f"fields is {fields!r:.60}. Pass a list, such as ['title'].")
    for field in fields:
        check_choice("fields", field, FIELDS)
    if not fields or len(set(fields)) < len(fields):
        what = "names a field twice" if fields else "is empty"
        raise ValueError(f"fields={fields!r} {what}. Pass one or both of {FIELDS}.")
    return tuple(fields)


# (texts, Y, test_texts, Y_test, label_texts)
_Parts = tuple[list[str], sp.csr_matrix, list[str], sp.csr_matrix, list[str] | None]


def _read_text_layout(files: Mapping[str, Path], layout: str) -> _Parts:
    """Read texts, a line each, and label matrices; check that they agree."""
    train, test = files["training labels"], files["test labels"]
    read_matrix = read_npz if layout == "npz" else read_label_pairs
    Y, Y_test = read_matrix(train), read_matrix(test)
    _check_can_train(train, *Y.shape)
    if Y.shape[1] != Y_test.shape[1]:
        raise ValueError(
            f"{train} has {Y.shape[1]} labels, but {test} has {Y_test.shape[1]}. "
            "Training and test labels must be the same columns."
        )
    texts = read_lines(files["training texts"], Y.shape[0], f"rows in {train}")
    test_texts = read_lines(files["test texts"], Y_test.shape[0], f"rows in {test}")
    label_texts = None
    if "label texts" in files:
        label_texts = read_lines(files["label texts"], Y.shape[1], f"labels in {train}")
    if layout == "npz":  # now that the number of rows is known to be right
        Y, Y_test = as_label_matrix(Y, train), as_label_matrix(Y_test, test)
    return texts, Y, test_texts, Y_test, label_texts


def _read_json_layout(files: Mapping[str, Path], fields: Sequence[str]) -> _Parts:
    """Read files of JSON objects; the labels may be lines of text."""
    train, labels = files["training rows"], files["label rows"]
    is_json = ".json" in labels.name
    label_texts = read_json_texts(labels, fields) if is_json else read_lines(labels)
    if not label_texts:
        raise ValueError(f"{labels} has no rows. It needs one for each label.")
    texts, Y = read_json_part(train, len(label_texts), fields)
    _check_can_train(train, *Y.shape)
    test_texts, Y_test = read_json_part(files["test rows"], len(label_texts), fields)
    return texts, Y, test_texts, Y_test, label_texts


def _check_can_train(path: Path, n_rows: int, n_labels: int) -> None:
    """Refuse training data of nothing."""
    if not n_rows or not n_labels:
        raise ValueError(
            f"{path} has {n_rows} rows and {n_labels} labels. Training needs at least one of each."
        )
