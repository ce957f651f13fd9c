"""Label matrices that may store a pair twice. SciPy would add the two values up."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp


def csr_with_duplicates(matrix: Any, dtype: Any, *, copy: bool = True) -> sp.csr_array:
    """A sound sparse matrix or an array as CSR, with every entry that it stores."""
    if getattr(matrix, "format", None) not in ("coo", "bsr"):
        return sp.csr_array(matrix, dtype=dtype, copy=copy)
    matrix = matrix.tocoo()
    order = np.argsort(matrix.row, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(matrix.row, minlength=matrix.shape[0]))])
    values = matrix.data[order].astype(dtype)
    return sp.csr_array((values, matrix.col[order], indptr), shape=matrix.shape)


def merge_duplicates(Y: sp.csr_array | sp.csr_matrix) -> None:
    """Keep the largest of the values stored for a pair, and sort the indices; in place."""
    Y.sort_indices()
    rows = np.repeat(np.arange(Y.shape[0]), np.diff(Y.indptr))
    is_first = np.ones(Y.nnz, bool)
    is_first[1:] = (rows[1:] != rows[:-1]) | (Y.indices[1:] != Y.indices[:-1])
    if is_first.all():
        return
    starts = np.flatnonzero(is_first)
    Y.data = np.maximum.reduceat(Y.data, starts)
    Y.indices = Y.indices[starts]
    Y.indptr = np.searchsorted(starts, Y.indptr).astype(Y.indptr.dtype)
    Y.has_canonical_format = True
