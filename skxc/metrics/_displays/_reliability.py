"""Whether probabilities say how often a label applies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from sklearn.calibration import calibration_curve

from skxc._docstrings import completed_by

from .._checks import Matrix, check_scores
from .._estimators import final_estimator, predict_probabilities, true_matrix
from .._pairs import contains, excluded_pairs, label_pairs
from ._axes import (
    PARAMETERS,
    PLOT,
    axes_or_new,
    companion,
    free_style,
    import_pyplot,
    line_kwargs,
    place_legend,
)


@dataclass(eq=False, repr=False)
class ReliabilityDisplay:
    """Plot of how often labels apply, over the probability that they were predicted with [1]_.

    Use `from_estimator` or `from_predictions` to make one. Each predicted (text, label) pair is one
    observation: a stored entry where predictions are sparse, so the `top_k` best labels of each
    text; every pair where they are dense. The lower axes show, on a logarithmic scale, how
    many pairs each point is the mean of: the first bin holds most of them, and the last ones often
    too few to judge. Pass the `ax_` of one display as `ax` to the next to compare estimators.

    Parameters
    ----------
    prob_true : array-like of shape (n_bins,)
        Share of true pairs in each bin.
    prob_pred : array-like of shape (n_bins,)
        Mean predicted probability of each bin.
    n_pairs : array-like of shape (n_bins,), int
        How many pairs each bin holds.
    name : str, default=None
        Whose probabilities they are, for the legend.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The reliability curve.
    count_line_ : matplotlib Line2D
        How many pairs each of its points is the mean of.
    ax_ : matplotlib Axes
        The axes that hold the curve.
    count_ax_ : matplotlib Axes
        The axes below it that hold the counts.
    figure_ : matplotlib Figure
        The figure that holds the axes.

    References
    ----------
    .. [1] Niculescu-Mizil, Caruana. Predicting Good Probabilities with Supervised Learning.
       ICML 2005.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skxc.metrics import ReliabilityDisplay
    >>> Y_true = csr_array([[1, 1, 0, 0], [0, 0, 1, 0]])
    >>> Y_proba = csr_array([[0.9, 0.2, 0.4, 0.0], [0.0, 0.4, 0.7, 0.2]])
    >>> display = ReliabilityDisplay.from_predictions(Y_true, Y_proba, n_bins=2)
    >>> display.prob_true, display.n_pairs
    (array([0.25, 1.  ]), array([4, 2]))
    """

    prob_true: ArrayLike
    prob_pred: ArrayLike
    n_pairs: ArrayLike
    name: str | None = field(default=None, kw_only=True)

    @completed_by(PLOT)
    def plot(self, *, ax: Any = None, name: str | None = None, **kwargs: Any) -> Self:
        """Draw the curve, the diagonal and the counts.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None: a new figure. Its lower quarter is given to the counts.
        """
        ax = axes_or_new(ax, type(self))
        counts = companion(ax, _count_axes)
        own = free_style(ax) | {"linestyle": "-"}
        own["label"] = (self.name if name is None else name) or "predicted"
        style = line_kwargs(own, kwargs)
        prob_pred = np.asarray(self.prob_pred)
        (self.line_,) = ax.plot(prob_pred, np.asarray(self.prob_true), **style)
        (self.count_line_,) = counts.plot(prob_pred, np.asarray(self.n_pairs), **style)
        _fit_decades(counts)
        ax.set_ylim(-0.02, -0.02 + 1.04 / (1 - place_legend(ax)))
        self.ax_, self.count_ax_, self.figure_ = ax, counts, ax.figure
        return self

    @classmethod
    @completed_by(PARAMETERS)
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        n_bins: int = 10,
        exclude: Matrix | None = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the reliability of a fitted estimator on texts whose labels are known.

        Parameters
        ----------
        estimator : object
            A fitted classifier with `predict_proba`; also one inside a Pipeline or a search.
        """
        import_pyplot(cls)
        Y_proba = predict_probabilities(estimator, X, exclude)
        return cls.from_predictions(
            true_matrix(estimator, y, Y_proba.shape[0]),
            Y_proba,
            n_bins=n_bins,
            exclude=exclude,
            name=type(final_estimator(estimator)).__name__ if name is None else name,
            ax=ax,
            **kwargs,
        )

    @classmethod
    @completed_by(PARAMETERS)
    def from_predictions(
        cls,
        Y_true: Matrix,
        Y_proba: Matrix,
        *,
        n_bins: int = 10,
        exclude: Matrix | None = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the reliability of predicted probabilities.

        Parameters
        ----------
        Y_proba : sparse matrix, sparse array or array-like of shape (n_samples, n_labels)
            Probabilities in [0, 1]. Sparse: only stored entries are looked at.
        """
        import_pyplot(cls)
        is_true, proba = _observations(Y_true, Y_proba, exclude)
        prob_true, prob_pred = calibration_curve(is_true, proba, pos_label=1, n_bins=n_bins)
        # as calibration_curve cuts; it does not tell how many pairs there are
        bins = np.searchsorted(np.linspace(0.0, 1.0, n_bins + 1)[1:-1], proba)
        n_pairs = np.bincount(bins)
        return cls(prob_true, prob_pred, n_pairs[n_pairs > 0], name=name).plot(ax=ax, **kwargs)


def _observations(
    Y_true: Matrix, Y_proba: Matrix, exclude: Matrix | None
) -> tuple[NDArray[np.int8], NDArray[Any]]:
    """Of each predicted pair that is not excluded, whether it is true, and its probability."""
    true_pairs, shape = label_pairs(Y_true, "Y_true")
    scores: Any = check_scores(Y_proba, shape, "Y_proba")
    if sp.issparse(scores):
        if not scores.has_canonical_format:
            scores = scores.copy()
            scores.sum_duplicates()
        rows = np.repeat(np.arange(shape[0]), np.diff(scores.indptr))
        pairs, proba = rows * shape[1] + scores.indices, scores.data
    else:
        pairs, proba = np.arange(scores.size), scores.ravel()
    is_used = ~contains(excluded_pairs(exclude, shape), pairs)
    pairs, proba = pairs[is_used], proba[is_used]
    is_bad = ~((proba >= 0) & (proba <= 1))
    if is_bad.any():
        raise ValueError(
            f"Y_proba holds {proba[is_bad][0]:g}. Pass probabilities between 0 and 1, such as "
            f"those of predict_proba."
        )
    if not len(proba):
        raise ValueError("Y_proba holds no prediction. Pass at least one that is not excluded.")
    return contains(true_pairs, pairs).astype(np.int8), proba


def _count_axes(ax: Any) -> Any:
    """Axes below `ax` that show how many pairs there are; `ax` gets its limits and labels."""
    counts = _strip_below(ax)
    counts.set(yscale="log", xlabel="Mean predicted probability", ylabel="Pairs")
    counts.minorticks_off()
    counts.grid(axis="y", alpha=0.3)
    ax.plot([0, 1], [0, 1], color="0.5", linestyle=":", label="ideal")
    ax.set(xlim=(-0.02, 1.02), ylabel="Share of true labels")
    ax.set_yticks([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    ax.tick_params(labelbottom=False)
    return counts


def _fit_decades(counts: Any) -> None:
    """Show whole decades: a part of one may have no tick."""
    decades = np.log10([y for line in counts.lines for y in line.get_ydata()])
    low, high = np.floor(decades.min() - 0.05), np.ceil(decades.max() + 0.05)
    counts.set_ylim(10.0**low, 10.0**high)


def _strip_below(ax: Any) -> Any:
    """New axes in the lower quarter of the place of `ax`, which keeps the rest."""
    place = ax.get_subplotspec()
    if place is not None:  # so that layout engines know of both
        upper, lower = place.subgridspec(2, 1, height_ratios=(3, 1))
        ax.set_subplotspec(upper)
        return ax.figure.add_subplot(lower, sharex=ax)
    x, y, width, height = ax.get_position().bounds
    ax.set_position((x, y + 0.3 * height, width, 0.7 * height))
    return ax.figure.add_axes((x, y, width, 0.23 * height), sharex=ax)
