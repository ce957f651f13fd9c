"""Stratified against random splits of a large sparse label matrix: seconds and quality.

python benchmarks/stratified_split.py                       # a million rows and labels
python benchmarks/stratified_split.py --rows 20000 --labels 20000   # a quick run
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.model_selection import KFold, ShuffleSplit

from skxc.model_selection import MultilabelStratifiedKFold, MultilabelStratifiedShuffleSplit

FREQUENT = 50  # rows


def zipf_labels(n_rows: int, n_labels: int, labels_per_row: float) -> sp.csr_array:
    """Rows with one label and a Poisson number more; the r-th label's frequency is as 1 / r."""
    rng = np.random.default_rng(0)
    cumulated = np.cumsum(1 / np.arange(1, n_labels + 1))
    n_drawn = 1 + rng.poisson(labels_per_row - 1, n_rows)
    drawn = np.searchsorted(cumulated, cumulated[-1] * rng.random(n_drawn.sum()))
    pairs = (np.repeat(np.arange(n_rows), n_drawn), drawn)
    Y = sp.csr_array((np.ones(len(drawn), np.float32), pairs), shape=(n_rows, n_labels))
    Y.data[:] = 1
    return Y


def show(name: str, Y: sp.csr_array, splits: Iterable[tuple[NDArray, NDArray]]) -> None:
    """Print the means over all splits, and the processor's seconds for all of them."""
    began, n_of_label = time.process_time(), np.bincount(Y.indices, minlength=Y.shape[1])
    is_splittable, is_frequent = n_of_label >= 2, n_of_label >= FREQUENT
    parts, measures = list(splits), []
    seconds = time.process_time() - began
    for train, test in parts:
        n_in_test = np.bincount(Y[test].indices, minlength=Y.shape[1])
        n_in_train = np.bincount(Y[train].indices, minlength=Y.shape[1])
        share = len(test) / (len(train) + len(test))
        deviation = np.abs(n_in_test[is_frequent] / (share * n_of_label[is_frequent]) - 1)
        measures.append([
            np.count_nonzero(is_splittable & (n_in_train == 0)),
            np.count_nonzero(is_splittable & (n_in_test == 0)),
            100 * deviation.mean(),
            n_in_train.sum() / len(train),
            n_in_test.sum() / len(test),
        ])  # fmt: skip
    no_train, no_test, error, train_size, test_size = np.mean(measures, axis=0)
    print(f"| {name} | {seconds:.1f} | {no_train:,.0f} | {no_test:,.0f} | {error:.1f} "
          f"| {train_size:.2f} / {test_size:.2f} |", flush=True)  # fmt: skip


def main() -> None:
    """Split and show."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--labels", type=int, default=1_000_000)
    parser.add_argument("--labels-per-row", type=float, default=5.0)
    parser.add_argument("--test-sizes", type=float, nargs="*", default=[0.1, 0.2])
    parser.add_argument("--folds", type=int, nargs="*", default=[5])
    args = parser.parse_args()
    Y = zipf_labels(args.rows, args.labels, args.labels_per_row)
    rows = range(args.rows)
    n_splittable = np.count_nonzero(np.bincount(Y.indices) >= 2)
    print(f"{args.rows:,} rows, {args.labels:,} labels, {Y.nnz:,} pairs; {n_splittable:,} labels "
          f"have two rows or more\n")  # fmt: skip
    print("| split | CPU s | of these not in training | not in test "
          f"| error of the test share of labels with {FREQUENT} rows or more, % "
          "| labels a row, training / test |")  # fmt: skip
    print("|---|---|---|---|---|---|")
    for size in args.test_sizes:
        for cv in (ShuffleSplit, MultilabelStratifiedShuffleSplit):
            splits = cv(1, test_size=size, random_state=0).split(rows, Y)
            show(f"{cv.__name__}, test_size={size}", Y, splits)
    for n_splits in args.folds:
        for folds in (KFold, MultilabelStratifiedKFold):
            splits = folds(n_splits, shuffle=True, random_state=0).split(rows, Y)
            show(f"{folds.__name__}, {n_splits} folds", Y, splits)


if __name__ == "__main__":
    main()
