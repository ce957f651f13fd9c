"""From gathered rows to a data set: columns for the labels, and a part held out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.model_selection import ShuffleSplit
from sklearn.utils import Bunch

from skxc._validation import callers_stack_level, is_number, short
from skxc._validation._texts import are_words

from ._labelled_rows import LabelledRows
from ._vocabulary import Vocabulary

_FEW = 0.01  # share of held-out texts that may be training texts, too, without a word


def data_set(
    rows: LabelledRows,
    name: str,
    vocabulary: Vocabulary | None,
    test_size: float,
    random_state: Any,
) -> Bunch:
    """Both parts of the rows, under the names of the labels, as `load_table` describes them."""
    _check_has_rows(rows, name)
    label_names, Y = _columns(rows, name, vocabulary)
    _warn_of_unlabelled(rows, Y)
    label_texts = [vocabulary.texts[label] for label in label_names] if vocabulary else None
    if vocabulary is None and are_words(label_names):
        label_texts = label_names.tolist()
    train, test = _parts(Y, name, test_size, random_state)
    texts = [rows.texts[row] for row in train]
    test_texts = [rows.texts[row] for row in test]
    _warn_of_equal_texts(texts, test_texts)
    return Bunch(
        texts=texts,
        Y=Y[train],
        exclude=None,
        test_texts=test_texts,
        Y_test=Y[test],
        test_exclude=None,
        label_names=label_names,
        label_texts=label_texts,
        DESCR=_description(name, Y[train], Y[test], label_texts is not None),
    )


def _check_has_rows(rows: LabelledRows, name: str) -> None:
    """Tell of rows that were left out, which must not be all."""
    left_out = {"text": rows.textless, "label": rows.unlabelled}
    n_rows = len(rows.texts) + sum(map(len, left_out.values()))
    for what, numbers in left_out.items():
        if numbers and not rows.texts:
            raise ValueError(
                f"{name}: {len(numbers):,} of {n_rows:,} rows have no {what}, and none is left. "
                f"Pass the column or file that holds the {what}s."
            )
        if numbers:
            _warn(
                f"{name}: {len(numbers):,} of {n_rows:,} rows have no {what} and are left out. The "
                f"first: {rows.place(numbers[0])}."
            )
    if not rows.texts:
        raise ValueError(f"{name} has no rows. Pass a file of labelled texts.")


def _columns(
    rows: LabelledRows, name: str, vocabulary: Vocabulary | None
) -> tuple[NDArray[Any], sp.csr_matrix]:
    """The labels, each a column of the matrix: those of the vocabulary, or all that there are."""
    if not rows.ids:
        raise ValueError(
            f"{name} has no label in any of its {len(rows.texts):,} rows. Pass another column as "
            f"labels, or a file of labelled texts."
        )
    if vocabulary is None:
        names = rows.columns()
        return names, rows.matrix({x: i for i, x in enumerate(names.tolist())}, len(names))
    names, place_of = vocabulary.names(), vocabulary.places()
    column_of = {x: place for x in rows.ids if (place := place_of(x)) is not None}
    _check_known(rows, name, column_of, vocabulary)
    return names, rows.matrix(column_of, len(names))


def _check_known(
    rows: LabelledRows, name: str, column_of: Mapping[Any, int], vocabulary: Vocabulary
) -> None:
    """Tell of labels that the vocabulary lacks, or whose text several of its labels have."""
    unknown = [label for label in rows.ids if label not in column_of]
    if not unknown:
        return
    same_text = vocabulary.same_text()
    shown = next((label for label in unknown if label in same_text), unknown[0])
    first = f"{shown!r} ({rows.place_of_label(shown)})"
    if shown in same_text:
        first += f", the text of both {' and '.join(map(repr, same_text[shown][:2]))}: write names"
    if len(unknown) == len(rows.ids):
        raise ValueError(
            f"The vocabulary has none of the {len(unknown):,} labels of {name}, such as {first}. "
            f"Pass the vocabulary of these labels."
        )
    _warn(
        f"{name}: {len(unknown):,} of {len(rows.ids):,} labels are not in the vocabulary and are "
        f"left out, such as {first}."
    )


def _warn_of_unlabelled(rows: LabelledRows, Y: sp.csr_matrix) -> None:
    empty = np.flatnonzero(np.diff(Y.indptr) == 0)
    if len(empty):
        _warn(
            f"{len(empty):,} of {Y.shape[0]:,} rows have no label. They are kept, as texts to "
            f"which no label applies. The first: {rows.place_of_row(empty[0])}."
        )


def _parts(
    Y: sp.csr_matrix, name: str, test_size: float, random_state: Any
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of the training and of the held-out part, in the table's order.

    They are drawn at random and not stratified by label: of 2,000 rows with rare labels, a
    stratified tenth has 5.3 labels a row where the rows have 3.1, and metrics on it are too high.
    """
    n_rows, is_test = Y.shape[0], np.zeros(Y.shape[0], dtype=bool)
    if not is_number(test_size, Real) or test_size != 0:
        try:
            split = ShuffleSplit(1, test_size=test_size, random_state=random_state)
            train, test = next(split.split(is_test))
        except ValueError as error:
            raise ValueError(
                f"{name}: of {n_rows:,} rows with a text, test_size={short(test_size)} cannot be "
                f"held out. Pass a share in (0, 1), a number of rows, or 0 for none."
            ) from error
        held_out = _held_out(Y, np.concatenate([test, train]), len(test))
        is_test[held_out] = True
        if len(held_out) < len(test):
            _warn(
                f"{name}: {len(held_out):,} of {n_rows:,} rows are held out, not {len(test):,}: "
                f"each other one is the only training row of a label."
            )
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


def _held_out(
    Y: sp.csr_matrix,
    order: NDArray[np.int64],  # all rows, in random order
    n: int,
) -> list[int]:
    """The first n rows after which each label of two rows or more still has one to be trained on.

    They are fewer where there are not as many. A larger n gives the same rows and more.
    """
    n_trained = np.bincount(Y.indices, minlength=Y.shape[1])
    n_trained[n_trained == 1] = len(order) + 1  # of a single row, which may be held out
    left, rows = n_trained.tolist(), list[int]()
    for row in order.tolist():
        if len(rows) == n:
            break
        labels = Y.indices[Y.indptr[row] : Y.indptr[row + 1]].tolist()
        if all(left[label] > 1 for label in labels):
            rows.append(row)
            for label in labels:
                left[label] -= 1
    return rows


def _warn_of_equal_texts(texts: list[str], test_texts: list[str]) -> None:
    known = set(texts)
    n_equal = sum(text in known for text in test_texts)
    if n_equal > _FEW * len(test_texts):
        _warn(
            f"{n_equal:,} of {len(test_texts):,} held-out texts are also training texts: metrics "
            f"will be too high. Drop duplicate rows first."
        )


def _description(name: str, Y: sp.csr_matrix, Y_test: sp.csr_matrix, has_texts: bool) -> str:
    """What was read, in one line."""
    n_labels = Y.shape[1]
    text = (
        f"{name}: {Y.shape[0]:,} training rows, {n_labels:,} labels"
        f"{'' if has_texts else ' without texts'}, {Y.nnz / Y.shape[0]:.1f} labels a row"
    )
    if not Y_test.shape[0]:
        return f"{text}; no row held out"
    is_trained = np.bincount(Y.indices, minlength=n_labels) > 0
    n_unseen = np.count_nonzero(~is_trained[np.unique(Y_test.indices)])
    return (
        f"{text}; {Y_test.shape[0]:,} rows held out, {Y_test.nnz / Y_test.shape[0]:.1f} labels a "
        f"row, {n_unseen:,} labels in no training row"
    )


def _warn(text: str) -> None:
    warnings.warn(text, UserWarning, stacklevel=callers_stack_level())
