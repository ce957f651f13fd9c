"""Which labels are taken for which, and which texts are ranked worst."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from skxc._docstrings import completed_by
from skxc._validation import check_integer

from .._checks import Matrix, check_sample_weight, check_scores, refuse_integer_lists
from .._errors import DEPTH, Rankings, most_confused, worst_rows
from .._errors_named import Confusion, Names, WorstText, worst_text
from .._estimators import final_estimator, predict_top_k_proba, true_matrix
from .._pairs import contains, excluded_pairs, label_pairs
from .._top_k import top_k_scores
from . import _error_tables as tables
from ._axes import DATA, PLOT, free_style, import_pyplot

_NAME_WIDTH = 32  # characters of a label's name beside a bar
# of `from_estimator` and `from_predictions`
_SHARED = f"""
Parameters
----------
{DATA}n_confusions : int, default=20
    How many pairs of labels to keep.
n_texts : int, default=10
    How many texts to keep.
k : int, default=5
    How many of a text's best labels to keep.
sample_weight : array-like of shape (n_samples,), default=None
    Weight of each row in the counts. Rows of weight 0 are left out of the worst texts, too.
name : str, default=None
    Whose errors they are. None: the estimator's class; without an estimator no name.

Returns
-------
ErrorAnalysisDisplay
    The display, not drawn yet.

Raises
------
ValueError
    If shapes differ, or an argument is out of what is accepted.
TypeError
    If the estimator has none of the methods that are needed.
"""


@dataclass(eq=False, repr=False)
class ErrorAnalysisDisplay:
    """Labels that are taken for each other most often, and the texts that are ranked worst.

    Use `from_estimator` or `from_predictions` to make one. A notebook shows both as tables,
    ``print`` writes them as lines and `to_html` as a page; these need no matplotlib. `plot` draws
    the pairs of labels as bars.

    **Errors.** The ranking of a text is cut at the number of its true labels. (Only the 100 best
    are looked at; the cut is at most there.) Then as many wrong labels are given as true ones are
    missed. Of a text that misses m labels, each pair of a missed and a wrong one counts 1 / m, so
    that the counts of all pairs sum to the number of errors. Where a ranking is shorter, the missed
    labels are paired with none.

    **Worst texts** are those whose whole ranking (of up to 100 labels) has the least nDCG. Of
    equal ones, those come first whose best wrong label has the highest score: the ones that the
    estimator is most sure of. Texts without labels are left out of both.

    Parameters
    ----------
    confusions : sequence of Confusion
        Named tuples ``(label, instead, n_errors, n_found, n_true)``, the most frequent pair first:
        a true label, the one that was given instead (None: none), the number of such errors, and
        how many of the true label's texts it was found in.
    worst_texts : sequence of WorstText
        Named tuples ``(row, text, ndcg, true_labels, best_labels)``, the worst first. True labels
        are pairs of a name and its place in the ranking (None: not in it), best labels triples of
        a name, its score, and whether it is true.
    n_errors : float
        Wrong labels before the cut, of all texts, weighted.
    n_true : float
        True labels of all texts, weighted.
    name : str, default=None
        Whose errors they are.

    Attributes
    ----------
    bars_ : matplotlib BarContainer
        One bar a pair of labels.
    ax_ : matplotlib Axes
        The axes that hold them.
    figure_ : matplotlib Figure
        The figure that holds the axes.

    Examples
    --------
    >>> from skxc.metrics import ErrorAnalysisDisplay
    >>> Y_true = [[1, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]]
    >>> Y_score = [[0.9, 0.3, 0.6, 0.1], [0.1, 0.2, 0.7, 0.1], [0.3, 0.2, 0.8, 0.1]]
    >>> display = ErrorAnalysisDisplay.from_predictions(
    ...     Y_true, Y_score, label_names=["fruit", "baking", "fish", "soups"], k=2,
    ...     texts=["a pie", "trout", "fish and pears"],
    ... )
    >>> print(display)
    2 errors among 4 true labels (each text's ranking is cut at the number of its true labels).
    <BLANKLINE>
     errors  recall      true label → given instead
          1  1 of 2      fruit → fish
          1  0 of 1      baking → fish
    <BLANKLINE>
    row 2  nDCG 0.631  fish and pears
      true:  fruit (place 2)
      given: fish 0.8, fruit 0.3
    <BLANKLINE>
    row 0  nDCG 0.920  a pie
      true:  fruit (place 1), baking (place 3)
      given: fruit 0.9, fish 0.6
    """

    confusions: Sequence[Confusion]
    worst_texts: Sequence[WorstText]
    n_errors: float = field(kw_only=True)
    n_true: float = field(kw_only=True)
    name: str | None = field(default=None, kw_only=True)

    @completed_by(PLOT)
    def plot(self, *, ax: Any = None, name: str | None = None, **kwargs: Any) -> Self:
        """Draw one bar a pair of labels, as long as their number of errors.

        Parameters
        ----------
        name : str, default=None
            For the title; None: the display's own `name`.
        **kwargs : dict
            Passed to matplotlib's `barh`, such as ``color="black"``.
        """
        plt = import_pyplot(type(self))
        if ax is None:
            height = 1.2 + 0.24 * max(len(self.confusions), 3)
            _, ax = plt.subplots(figsize=(8, height), layout="constrained")
        if ax.has_data():
            raise ValueError("ax shows something already. Pass axes of its own to each display.")
        places, name = np.arange(len(self.confusions)), self.name if name is None else name
        own = {"color": free_style(ax)["color"]}
        counts = [confusion.n_errors for confusion in self.confusions]
        self.bars_ = ax.barh(places, counts, **own | kwargs)
        ax.set_yticks(places, [_of_both(confusion) for confusion in self.confusions])
        ax.set_ylim(max(len(places), 1) - 0.4, -0.6)  # the most frequent pair on top
        ax.set(xlabel=f"Errors ({tables.digits(self.n_errors)} in all)", title=name)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def to_html(self) -> str:
        """Both tables as a page of its own.

        Returns
        -------
        str
            HTML that loads nothing.
        """
        return tables.as_page(self._repr_html_())

    def _repr_html_(self) -> str:
        return tables.as_fragment(self._summary(), self.confusions, self.worst_texts)

    def __str__(self) -> str:
        return tables.as_lines(self._summary(), self.confusions, self.worst_texts)

    def _summary(self) -> str:
        return tables.summary(self.n_errors, self.n_true, self.name)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} of {self.n_errors:g} errors; print() shows them, plot() draws>"
        )

    @classmethod
    @completed_by(_SHARED)
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        n_confusions: int = 20,
        n_texts: int = 10,
        k: int = 5,
        label_names: ArrayLike | None = None,
        exclude: Matrix | None = None,
        sample_weight: ArrayLike | None = None,
        name: str | None = None,
    ) -> Self:
        """Analyse the errors of a fitted estimator on texts whose labels are known.

        Scores of the worst texts are probabilities where the estimator gives them.

        Parameters
        ----------
        label_names : array-like of shape (n_labels,), default=None
            Names to show. None: the estimator's `label_names_` or `classes_`.
        """
        _check_sizes(n_confusions, n_texts, k)
        labels, scores = predict_top_k_proba(estimator, X, DEPTH, exclude)
        true_pairs, shape = label_pairs(true_matrix(estimator, y, len(labels)), "y")
        if label_names is None:
            final = final_estimator(estimator)
            label_names = getattr(final, "label_names_", getattr(final, "classes_", None))
        return cls._from_rankings(
            _rankings(true_pairs, labels, scores, shape, exclude, sample_weight),
            _readable(X),
            label_names,
            (n_confusions, n_texts, k),
            type(final_estimator(estimator)).__name__ if name is None else name,
        )

    @classmethod
    @completed_by(_SHARED)
    def from_predictions(
        cls,
        Y_true: Matrix,
        Y_score: Matrix,
        *,
        n_confusions: int = 20,
        n_texts: int = 10,
        k: int = 5,
        texts: Any = None,
        label_names: ArrayLike | None = None,
        exclude: Matrix | None = None,
        sample_weight: ArrayLike | None = None,
        name: str | None = None,
    ) -> Self:
        """Analyse the errors of predictions.

        Parameters
        ----------
        texts : array-like of shape (n_samples,), default=None
            The texts of the rows, to be shown. None: rows have numbers alone.
        label_names : array-like of shape (n_labels,), default=None
            Names to show. None: the numbers of the columns.
        """
        _check_sizes(n_confusions, n_texts, k)
        true_pairs, shape = label_pairs(Y_true, "Y_true")
        checked = check_scores(Y_score, shape)
        if isinstance(checked, np.ndarray) and checked.dtype.kind in "iu":
            refuse_integer_lists(Y_true, "Y_true")  # both could be label ids
        labels, scores = top_k_scores(checked, DEPTH, exclude)
        return cls._from_rankings(
            _rankings(true_pairs, labels, scores, shape, exclude, sample_weight),
            texts,
            label_names,
            (n_confusions, n_texts, k),
            name,
        )

    @classmethod
    def _from_rankings(
        cls,
        rankings: Rankings,
        texts: Any,
        label_names: ArrayLike | None,
        sizes: tuple[int, int, int],
        name: str | None,
    ) -> Self:
        n_confusions, n_texts, k = sizes
        n_samples = len(rankings.labels)
        if texts is not None and len(texts) != n_samples:
            raise ValueError(
                f"texts has {len(texts)} entries, but Y_true has {n_samples} rows. Pass one text "
                f"per row, or None."
            )
        names = Names(label_names, rankings.n_labels)
        found = most_confused(rankings, n_confusions)
        confusions = [
            Confusion(
                names[label],
                names[given],
                n_errors,
                float(found.n_found[label]),
                float(found.n_true[label]),
            )
            for label, given, n_errors in zip(
                found.missed.tolist(), found.given.tolist(), found.n_errors.tolist(), strict=True
            )
        ]
        rows, ndcg = worst_rows(rankings, n_texts)
        worst = [worst_text(rankings, int(row), float(ndcg[row]), texts, names, k) for row in rows]
        n_true = float(found.n_true.sum())
        return cls(confusions, worst, n_errors=found.n_all, n_true=n_true, name=name)


def _readable(X: Any) -> Any:
    """Texts that can be indexed; None for a sparse matrix of features."""
    if sp.issparse(X):
        return None
    return X if hasattr(X, "__getitem__") else list(X)


def _check_sizes(n_confusions: int, n_texts: int, k: int) -> None:
    check_integer("n_confusions", n_confusions, 1)
    check_integer("n_texts", n_texts, 1)
    check_integer("k", k, 1)


def _rankings(
    true_pairs: NDArray[np.int64],
    labels: NDArray[np.int64],
    scores: NDArray[Any],
    shape: tuple[int, int],
    exclude: Matrix | None,
    sample_weight: ArrayLike | None,
) -> Rankings:
    true_pairs = true_pairs[~contains(excluded_pairs(exclude, shape), true_pairs)]
    weights = check_sample_weight(sample_weight, shape[0])
    return Rankings(labels, scores, true_pairs, shape[1], weights)


def _of_both(confusion: Confusion) -> str:
    """Both names, as short as a plot needs them; a dollar is no formula."""
    label, given = (
        tables.short(name, _NAME_WIDTH).replace("$", r"\$")
        for name in (confusion.label, tables.instead(confusion))
    )
    return f"{label} → {given}"
