"""Propensities: how likely a true label is to have been annotated."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from skxc._docstrings import completed_by
from skxc._validation import as_numbers, check_free

from ._checks import Matrix, refuse_integer_lists
from ._pairs import label_pairs

#: The constants (A, B) that published results use for each family of data sets. Propensity-scored
#: numbers compare with a paper's only under its own constants.
PROPENSITY_CONSTANTS: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {"amazon": (0.6, 2.6), "wikipedia": (0.5, 0.4), "default": (0.55, 1.5)}
)

_BYTES_A_LABEL = 5 * 8  # counts, as floats, and what is computed of them


def propensities(Y: Matrix, A: float = 0.55, B: float = 1.5) -> np.ndarray:
    r"""Propensity of each label from a training matrix, after Jain et al. [1]_.

    The propensity of label :math:`l` models the probability that it was annotated where it is
    relevant; rare labels are the ones that annotators miss. With :math:`N_l` of the :math:`N` rows
    holding the label,

    .. math:: p_l = \frac{1}{1 + C (N_l + B)^{-A}}, \qquad C = (\log N - 1) (B + 1)^A.

    `C` would be negative below three rows, and "probabilities" above 1: it is clipped at 0 there,
    so that all propensities are 1.

    Parameters
    ----------
    Y : sparse matrix, sparse array or array-like of shape (n_samples, n_labels)
        The *training* labels; entries greater than 0 count. Pass the matrix as published: some
        methods (Renée) train on one with a row added for each label's text, which adds 1
        to every count and `n_labels` to :math:`N`. Propensities of that matrix flatter the
        results: by 0.7 to 0.8 points of PSP@1 in a simulation with 131,000 labels.
    A : float, default=0.55
        How fast the propensity falls with rarity, 0 or greater. `PROPENSITY_CONSTANTS` holds the
        published pairs (A, B).
    B : float, default=1.5
        Added to the counts, greater than 0.

    Returns
    -------
    ndarray of shape (n_labels,), float64
        Propensities in (0, 1]. Other XC tools exchange the inverse, ``1 / propensities(Y)``.

    Raises
    ------
    ValueError
        If `Y` is not a matrix of non-negative numbers, has no row, or is a list of lists of
        integers (they may be label ids), or a constant is out of range.

    References
    ----------
    .. [1] H. Jain, Y. Prabhu, M. Varma. Extreme Multi-label Loss Functions for Recommendation,
       Tagging, Ranking & Other Missing Label Applications. KDD 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from skxc.metrics import PROPENSITY_CONSTANTS, propensities
    >>> Y = np.tile([[1, 0], [1, 0], [1, 0], [1, 1]], (5, 1))
    >>> propensities(Y).round(3)
    array([0.621, 0.459])
    >>> propensities(Y, *PROPENSITY_CONSTANTS["amazon"]).round(3)
    array([0.601, 0.44 ])
    """
    refuse_integer_lists(Y, "Y")
    pairs, (n_samples, n_labels) = label_pairs(Y, "Y")
    what = f"An array of {n_labels} propensities"
    check_free(_BYTES_A_LABEL * n_labels, what, "Leave out the columns of labels that Y never has.")
    # n_labels = 0 leaves no pair to divide
    label_counts = np.bincount(pairs % max(n_labels, 1), minlength=n_labels)
    return propensities_from_counts(label_counts, n_samples, A, B)


@completed_by(propensities.__doc__)
def propensities_from_counts(
    label_counts: ArrayLike, n_samples: int, A: float = 0.55, B: float = 1.5
) -> np.ndarray:
    """Propensity of each label from its number of training rows, after Jain et al. [1]_.

    What `propensities` computes, for a fitted estimator's ``label_counts_``.

    Parameters
    ----------
    label_counts : array-like of shape (n_labels,)
        Training rows that hold each label, without any row made of a label's own text.
    n_samples : int
        Training rows.

    Raises
    ------
    ValueError
        If a count is not between 0 and `n_samples`, or a number is out of range.

    Examples
    --------
    >>> from skxc.metrics import propensities_from_counts
    >>> propensities_from_counts([20, 5], n_samples=20).round(3)
    array([0.621, 0.459])
    """
    accepted = "a list or 1-d array of one count per label"
    counts = as_numbers(label_counts, "label_counts", accepted)
    if counts.ndim != 1:
        raise ValueError(f"label_counts has shape {counts.shape}. Pass one count per label, 1-d.")
    if not n_samples >= 1:
        raise ValueError(f"n_samples is {n_samples}. Pass the number of training rows, at least 1.")
    if not (0 <= A < np.inf and 0 < B < np.inf):
        raise ValueError(
            f"A is {A} and B is {B}. Pass a finite A of at least 0 and a finite B greater than 0; "
            f"PROPENSITY_CONSTANTS holds the published pairs."
        )
    is_bad = ~((counts >= 0) & (counts <= n_samples))
    if is_bad.any():
        raise ValueError(
            f"label_counts holds {counts[is_bad][0]:g}, but n_samples is {n_samples}. Pass counts "
            f"between 0 and n_samples, both of the same training matrix."
        )
    C = max(np.log(n_samples) - 1.0, 0.0) * (B + 1.0) ** A
    return 1.0 / (1.0 + C * (counts + B) ** -A)
