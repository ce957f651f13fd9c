"""Splits that keep the labels of a sparse y on both sides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
import sklearn.model_selection
from numpy.typing import NDArray
from sklearn.model_selection import KFold, ShuffleSplit
from sklearn.utils import indexable

from skxc._docstrings import completed_by
from skxc._validation import check_target, is_collection

from ._balance import balanced_folds, balanced_sides
from ._rows import sound_rows, take_rows

# of `split`
_SPLIT = """
Parameters
----------
X : array-like of shape (n_samples, ...)
    Only its length counts.
y : {sparse matrix, array-like} of shape (n_samples, n_labels) or (n_samples,)
    Labels, in any container that the estimators' `fit` takes.
groups : array-like of shape (n_samples,), default=None
    Ignored.

Yields
------
train : ndarray of shape (n_train,), int64
    Rows to train on.
test : ndarray of shape (n_test,), int64
    Rows to test on.
"""


class MultilabelStratifiedKFold(KFold):
    """K-fold cross-validator that spreads the rows of each label over the folds.

    A label of n rows has n / n_splits of them in a fold, rounded down or up, wherever other
    labels allow it: so every label of two rows or more is in every training part. Folds have
    exactly the sizes of :class:`~sklearn.model_selection.KFold`, and rows without labels are spread
    like one more label. The aim is that of iterative stratification [1]_; the way is another one
    (all labels at once, by swapping rows), which takes seconds for a million rows and labels.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    shuffle : bool, default=False
        Start from a random assignment. False: the same folds in every call.
    random_state : int, RandomState instance or None, default=None
        Source of randomness where `shuffle` is True. Pass an int for the same folds in every call.

    References
    ----------
    .. [1] K. Sechidis, G. Tsoumakas, I. Vlahavas. On the Stratification of Multi-label Data.
       ECML PKDD 2011.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skxc.model_selection import MultilabelStratifiedKFold
    >>> Y = csr_array([[1, 0, 0], [1, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1]])
    >>> for train, test in MultilabelStratifiedKFold(n_splits=2).split(range(6), Y):
    ...     print(train, test, Y[test].sum(axis=0))
    [1 3 5] [0 2 4] [2 1 1]
    [0 2 4] [1 3 5] [2 1 1]
    """

    @completed_by(_SPLIT)
    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Generate the rows of each training and test part, both ascending."""
        tests = [test for _, test in super().split(sound_rows(X, "X"), groups=groups)]
        folds = np.empty(sum(map(len, tests)), dtype=np.int64)
        for fold, test in enumerate(tests):
            folds[test] = fold
        if not self.shuffle:  # neighbours are often alike: deal them out
            folds = np.arange(len(folds)) % self.n_splits
        Y = _used_labels(check_target(y, len(folds)).Y)
        folds = balanced_folds(Y, folds, self.n_splits)
        for fold in range(self.n_splits):
            yield np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)


class MultilabelStratifiedShuffleSplit(ShuffleSplit):
    """Random splits that keep every label of two rows or more on both sides where possible.

    A label of n rows has its share of them in the test part, rounded down or up, but at least one
    row on either side. Where `test_size` times n is below one, that asks more of the test part than
    it would have by chance: it then holds more labels a row. Sizes are exactly those of
    :class:`~sklearn.model_selection.ShuffleSplit`, and rows without labels are spread like one more
    label. The aim is that of iterative stratification [1]_; the way is another one (all labels at
    once, by swapping rows), which takes seconds for a million rows and labels.

    Parameters
    ----------
    n_splits : int, default=10
        Number of splits.
    test_size : float or int, default=None
        Share or number of test rows. None: what `train_size` leaves, or 0.1 without that.
    train_size : float or int, default=None
        Share or number of training rows. None: what `test_size` leaves.
    random_state : int, RandomState instance or None, default=None
        Source of randomness. Pass an int for the same splits in every call.

    References
    ----------
    .. [1] K. Sechidis, G. Tsoumakas, I. Vlahavas. On the Stratification of Multi-label Data.
       ECML PKDD 2011.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skxc.model_selection import MultilabelStratifiedShuffleSplit
    >>> Y = csr_array([[1, 0, 0], [1, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1]])
    >>> cv = MultilabelStratifiedShuffleSplit(n_splits=3, test_size=2, random_state=0)
    >>> for train, test in cv.split(range(6), Y):
    ...     print(Y[train].sum(axis=0), Y[test].sum(axis=0))
    [3 1 1] [1 1 1]
    [3 1 1] [1 1 1]
    [3 1 1] [1 1 1]
    """

    @completed_by(_SPLIT)
    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Generate the rows of each training and test part, both in random order."""
        X, y = indexable(sound_rows(X, "X"), sound_rows(y, "y"))
        Y = _used_labels(check_target(y, X.shape[0] if hasattr(X, "shape") else len(X)).Y)
        for train, test in super().split(X, groups=groups):
            rows = np.concatenate([test, train])
            is_test = np.arange(len(rows)) < len(test)
            is_test = balanced_sides(Y[rows], is_test)
            yield rows[~is_test], rows[is_test]


def _has_rows(labels: Any) -> bool:
    """Whether they are a matrix, or a list of rows."""
    if isinstance(labels, list | tuple):
        return any(map(is_collection, labels))
    return len(getattr(labels, "shape", ())) == 2


def train_test_split(
    *arrays: Any,
    test_size: float | None = None,
    train_size: float | None = None,
    random_state: Any = None,
    shuffle: bool = True,
    stratify: Any = None,
) -> list[Any]:
    """Split arrays into training and test parts, stratified by a label matrix if one is given.

    scikit-learn's function, which takes no sparse `stratify`; a 2-d one, and lists of labels, are
    split here as by :class:`MultilabelStratifiedShuffleSplit`.

    Parameters
    ----------
    *arrays : array-like of shape (n_samples, ...)
        Lists, arrays, Series, DataFrames and sparse matrices of one length.
    test_size : float or int, default=None
        Share or number of test rows. None: what `train_size` leaves, or 0.25 without that.
    train_size : float or int, default=None
        Share or number of training rows. None: what `test_size` leaves.
    random_state : int, RandomState instance or None, default=None
        Source of randomness. Pass an int for the same split in every call.
    shuffle : bool, default=True
        False needs ``stratify=None``.
    stratify : {sparse matrix, array-like} of shape (n_samples, n_labels), default=None
        Labels of the rows, also as a list of label lists. A 1-d array, or None: scikit-learn's own
        function.

    Returns
    -------
    list
        Training and test part of each of `arrays`.

    Raises
    ------
    ValueError
        If lengths differ, a part would be empty, or sizes are out of range.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skxc.model_selection import train_test_split
    >>> texts = ["apple pie", "pear pie", "apple salad", "pear salad"]
    >>> Y = csr_array([[1, 0, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1], [0, 1, 0, 1]])
    >>> split = train_test_split(texts, Y, test_size=0.5, stratify=Y, random_state=0)
    >>> X_train, X_test, Y_train, Y_test = split
    >>> Y_train.sum(axis=0), Y_test.sum(axis=0)
    (array([1, 1, 1, 1]), array([1, 1, 1, 1]))
    """
    arrays = tuple(sound_rows(array, f"arrays[{place}]") for place, array in enumerate(arrays))
    stratify = sound_rows(stratify, "stratify")
    if not _has_rows(stratify):
        return sklearn.model_selection.train_test_split(
            *arrays,
            test_size=test_size,
            train_size=train_size,
            random_state=random_state,
            shuffle=shuffle,
            stratify=stratify,
        )
    if not arrays:
        raise ValueError("There is no array to split. Pass at least one.")
    if not shuffle:
        raise ValueError("Stratified splits are random. Pass shuffle=True, or stratify=None.")
    if test_size is None and train_size is None:
        test_size = 0.25
    *arrays, labels = indexable(*arrays, stratify)
    cv = MultilabelStratifiedShuffleSplit(
        1, test_size=test_size, train_size=train_size, random_state=random_state
    )
    parts = next(cv.split(arrays[0], labels))
    return [take_rows(array, rows) for array in arrays for rows in parts]


def _used_labels(Y: sp.csr_array) -> sp.csr_array:
    """Y without the columns of labels that no row has, where most are such: an array a label."""
    if Y.shape[1] <= Y.nnz:
        return Y
    labels, columns = np.unique(Y.indices, return_inverse=True)
    return sp.csr_array((Y.data, columns, Y.indptr), shape=(Y.shape[0], max(len(labels), 1)))
