"""Accuracy from head labels to tail labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skxc._docstrings import completed_by
from skxc._validation import as_numbers, check_choice, check_integer

from .._checks import Matrix, check_sample_weight
from .._estimators import (
    final_estimator,
    top_k_predictions,
    training_counts,
    training_propensities,
)
from .._pairs import contains, excluded_pairs, label_pairs
from .._ranking import ranking_metrics
from .._top_k import top_k_scores
from ._axes import PARAMETERS, PLOT, axes_or_new, fit_y, free_style, import_pyplot, place_legend

_GROUP_WIDTH = 0.8  # of the distance between two bins


@dataclass(eq=False, repr=False)
class LabelFrequencyDisplay:
    """Plot of accuracy by how often labels occur in training, from head to tail.

    Use `from_estimator` or `from_predictions` to make one. As in the field's figures [1]_, labels
    are put in order of frequency and cut into bins with about equal shares of the training (text,
    label) pairs, so that bins weigh alike where test texts are like training texts; a tail bin
    thus has many labels, a head bin few. Labels of the same frequency stay in one bin, and labels
    without a training text have a bin of their own. Pass the `ax_` of one display as `ax` to the
    next to compare estimators of one training set side by side.

    Parameters
    ----------
    values : array-like of shape (n_bins,)
        Height of each bar, head first.
    frequencies : array-like of shape (n_bins, 2), int
        The least and the greatest number of training texts of each bin's labels.
    n_labels : array-like of shape (n_bins,), int
        How many labels each bin holds.
    metric : str, default="P"
        "P" and "PSP": what each bin contributes, so that the bars sum to the metric. "recall": the
        share of the bin's true pairs that were found.
    k : int, default=5
        Where the rankings were cut.
    name : str, default=None
        Whose values they are, for the legend.

    Attributes
    ----------
    bars_ : matplotlib BarContainer
        One bar a bin.
    ax_ : matplotlib Axes
        The axes that hold them.
    figure_ : matplotlib Figure
        The figure that holds the axes.

    References
    ----------
    .. [1] Mittal et al. DECAF: Deep Extreme Classification with Label Features. WSDM 2021.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skxc.metrics import LabelFrequencyDisplay
    >>> Y_true = csr_array([[1, 1, 0, 0], [1, 0, 1, 0]])
    >>> Y_score = csr_array([[0.9, 0.3, 0.6, 0.0], [0.9, 0.7, 0.6, 0.1]])
    >>> display = LabelFrequencyDisplay.from_predictions(
    ...     Y_true, Y_score, [8, 3, 3, 2], k=2, n_bins=2
    ... )
    >>> display.frequencies
    array([[8, 8],
           [2, 3]])
    >>> display.values  # they sum to P@2
    array([0.5, 0. ])
    """

    values: ArrayLike
    frequencies: ArrayLike
    n_labels: ArrayLike
    metric: str = field(default="P", kw_only=True)
    k: int = field(default=5, kw_only=True)
    name: str | None = field(default=None, kw_only=True)

    @completed_by(PLOT)
    def plot(self, *, ax: Any = None, name: str | None = None, **kwargs: Any) -> Self:
        """Draw one bar a bin, beside those of earlier displays.

        Parameters
        ----------
        **kwargs : dict
            Passed to matplotlib's `bar`, such as ``color="black"``.
        """
        ax = axes_or_new(ax, type(self))
        name = self.name if name is None else name
        ylabel = f"Contribution to {self.metric}@{self.k}"
        if self.metric == "recall":
            ylabel = f"Share found among the {self.k} best"
        ticks = _tick_labels(np.asarray(self.frequencies), np.asarray(self.n_labels))
        _check_comparable(ax, ticks, ylabel)
        own = {"color": free_style(ax)["color"], "edgecolor": "white", "label": name}
        self.bars_ = ax.bar(np.arange(len(ticks)), np.asarray(self.values), **own | kwargs)
        _space_out(ax)
        _set_ticks(ax, ticks)
        xlabel = "Training texts per label, head to tail\n(number of labels)"
        ax.set(xlabel=xlabel, ylabel=ylabel)
        fit_y(ax, 0.0, place_legend(ax))
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @classmethod
    @completed_by(PARAMETERS)
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        metric: str = "P",
        k: int = 5,
        n_bins: int = 5,
        label_counts: ArrayLike | None = None,
        propensities: ArrayLike | None = None,
        exclude: Matrix | None = None,
        sample_weight: ArrayLike | None = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the accuracy of a fitted estimator on texts whose labels are known.

        Parameters
        ----------
        n_bins : int, default=5
            Bins to aim at, of equal shares of the training pairs.
        label_counts : array-like of shape (n_labels,), default=None
            Training texts of each label. None: the estimator's own.
        propensities : array-like of shape (n_labels,), default=None
            Of the training labels, for PSP. None: from the estimator's training counts by the
            default constants.
        **kwargs : dict
            Passed to matplotlib's `bar`.
        """
        import_pyplot(cls)
        check_integer("k", k, 1)
        if label_counts is None:
            remedy = "Pass label_counts, the training texts of each label."
            label_counts = training_counts(estimator, remedy)[0]
        if metric == "PSP" and propensities is None:
            propensities = training_propensities(estimator)
        Y_true, Y_score = top_k_predictions(estimator, X, y, k, exclude)
        return cls.from_predictions(
            Y_true,
            Y_score,
            label_counts,
            metric=metric,
            k=k,
            n_bins=n_bins,
            propensities=propensities,
            exclude=exclude,
            sample_weight=sample_weight,
            name=type(final_estimator(estimator)).__name__ if name is None else name,
            ax=ax,
            **kwargs,
        )

    @classmethod
    @completed_by(PARAMETERS)
    def from_predictions(
        cls,
        Y_true: Matrix,
        Y_score: Matrix,
        label_counts: ArrayLike,
        *,
        metric: str = "P",
        k: int = 5,
        n_bins: int = 5,
        propensities: ArrayLike | None = None,
        exclude: Matrix | None = None,
        sample_weight: ArrayLike | None = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the accuracy of predictions.

        Parameters
        ----------
        label_counts : array-like of shape (n_labels,)
            Training texts of each label, not test texts.
        n_bins : int, default=5
            Bins to aim at, of equal shares of the training pairs.
        propensities : array-like of shape (n_labels,), default=None
            Of the training labels, see :func:`skxc.metrics.propensities`. Needed for PSP.
        **kwargs : dict
            Passed to matplotlib's `bar`.
        """
        import_pyplot(cls)
        check_choice("metric", metric, ("P", "PSP", "recall"))
        if metric == "PSP" and propensities is None:
            raise ValueError(
                "PSP needs propensities, which are None. Pass those of the training labels, such "
                "as skxc.metrics.propensities(Y_train)."
            )
        # comes first because it also checks the arguments
        totals = ranking_metrics(Y_true, Y_score, (k,), propensities, exclude, sample_weight)
        true, found = _pairs_per_label(Y_true, Y_score, k, exclude, sample_weight)
        bin_of_label, frequencies = frequency_bins(label_counts, len(true), n_bins)
        if metric == "PSP":
            found = found / np.asarray(propensities)
        in_bin = np.bincount(bin_of_label, weights=found, minlength=len(frequencies))
        if metric == "recall":
            true_in_bin = np.bincount(bin_of_label, weights=true, minlength=len(frequencies))
            # nan, no bar: nothing to find
            values = np.divide(in_bin, true_in_bin, out=np.nan * in_bin, where=true_in_bin > 0)
        else:
            values = totals[f"{metric}@{k}"] * in_bin / (in_bin.sum() or 1.0)
        n_labels = np.bincount(bin_of_label, minlength=len(frequencies))
        display = cls(values, frequencies, n_labels, metric=metric, k=k, name=name)
        return display.plot(ax=ax, **kwargs)


def _pairs_per_label(
    Y_true: Matrix, Y_score: Matrix, k: int, exclude: Matrix | None, sample_weight: Any
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Weight of each label's true pairs, and of those found among the k best, (n_labels,) each."""
    true_pairs, (n_samples, n_labels) = label_pairs(Y_true, "Y_true")
    true_pairs = true_pairs[~contains(excluded_pairs(exclude, (n_samples, n_labels)), true_pairs)]
    labels, _ = top_k_scores(Y_score, k, exclude)
    rows, places = np.nonzero(labels >= 0)
    predicted = rows * n_labels + labels[rows, places]
    found_pairs = predicted[contains(true_pairs, predicted)]
    weights = check_sample_weight(sample_weight, n_samples)

    def per_label(pairs: NDArray[np.int64]) -> NDArray[Any]:
        return np.bincount(pairs % n_labels, weights[pairs // n_labels], n_labels)

    return per_label(true_pairs), per_label(found_pairs)


def frequency_bins(
    label_counts: ArrayLike, n_labels: int, n_bins: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bin of each label, 0 for the head; each bin's least and greatest count, (n_bins, 2)."""
    check_integer("n_bins", n_bins, 1)
    counts = as_numbers(label_counts, "label_counts", "the training texts of each label")
    if counts.shape != (n_labels,):
        raise ValueError(
            f"label_counts has shape {counts.shape}, but Y_true has {n_labels} columns. Pass the "
            f"training texts of each label, shape ({n_labels},)."
        )
    if not (np.isfinite(counts).all() and (counts >= 0).all() and (counts % 1 == 0).all()):
        raise ValueError("label_counts holds negative numbers or fractions. Pass whole counts.")
    distinct, of_label, n_labels_each = np.unique(
        counts.astype(np.int64), return_inverse=True, return_counts=True
    )
    n_pairs = distinct * n_labels_each
    middles = np.cumsum(n_pairs) - n_pairs / 2  # where the labels of a count lie among all pairs
    bins = np.floor(n_bins * middles / max(n_pairs.sum(), 1)).astype(np.int64)
    bins[distinct == 0] = -1
    _, bins = np.unique(-bins, return_inverse=True)  # head first, empty ones left out
    bounds = [(distinct[bins == b].min(), distinct[bins == b].max()) for b in range(bins.max() + 1)]
    return bins[of_label], np.array(bounds)


def _tick_labels(frequencies: NDArray[np.int64], n_labels: NDArray[np.int64]) -> list[str]:
    """The range of counts over the number of labels."""
    ranges = [f"{low}" if low == high else f"{low}–{high}" for low, high in frequencies]
    return [f"{counts}\n({n})" for counts, n in zip(ranges, n_labels, strict=True)]


def _set_ticks(ax: Any, ticks: list[str]) -> None:
    """Name the bins; on two lines where the ranges would overlap."""
    ax.set_xticks(np.arange(len(ticks)), ticks)
    widest = max(tick.get_window_extent().width for tick in ax.get_xticklabels())
    if widest > 0.9 * ax.bbox.width / len(ticks):
        ax.set_xticks(np.arange(len(ticks)), [tick.replace("–", "–\n") for tick in ticks])


def _check_comparable(ax: Any, ticks: list[str], ylabel: str) -> None:
    """Raise where `ax` shows bars of another metric or of other bins."""
    if not ax.containers:
        return
    shown = [tick.get_text().replace("–\n", "–") for tick in ax.get_xticklabels()]
    if (shown, ax.get_ylabel()) != (ticks, ylabel):
        flat = [", ".join(labels).replace("\n", " ") for labels in (shown, ticks)]
        raise ValueError(
            f"ax shows {ax.get_ylabel()!r} over the bins {flat[0]}, but this display has "
            f"{ylabel!r} over the bins {flat[1]}. Compare the same metric over the same training "
            f"set, or pass other axes."
        )


def _space_out(ax: Any) -> None:
    """Share each bin's place among the bars of all displays."""
    width = _GROUP_WIDTH / len(ax.containers)
    for place, bars in enumerate(ax.containers):
        for i, bar in enumerate(bars):
            bar.set(x=i - _GROUP_WIDTH / 2 + place * width, width=width)
