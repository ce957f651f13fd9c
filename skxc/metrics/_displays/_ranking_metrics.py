"""Ranking metrics over k."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skxc._docstrings import completed_by

from .._checks import Matrix, check_ks
from .._estimators import final_estimator, top_k_predictions, training_propensities
from .._ranking import ranking_metrics
from ._axes import (
    PARAMETERS,
    PLOT,
    axes_or_new,
    fit_y,
    free_style,
    import_pyplot,
    line_kwargs,
    place_legend,
)

# the same line for a metric in every plot; colours tell estimators apart
_LINE_STYLES = {
    "P": "-",
    "PSP": "--",
    "nDCG": "-.",
    "PSnDCG": (0, (5, 1, 1, 1, 1, 1)),
    "R": ":",
    "MRR": (0, (8, 2)),
}
_PROPENSITY_SCORED = {"PSP", "PSnDCG"}


@dataclass(eq=False, repr=False)
class RankingMetricsDisplay:
    """Plot of ranking metrics over k: precision, recall, nDCG, MRR and propensity-scored ones.

    Use `from_estimator` or `from_predictions` to make one. Pass the `ax_` of one display as `ax`
    to the next to compare estimators: each has a colour and a marker, each metric its line style.

    Parameters
    ----------
    ks : sequence of int, length n_ks
        Where the rankings are cut.
    values : mapping of str to array-like of shape (n_ks,)
        Values of each metric, in [0, 1], under its name: "P", "R", "nDCG", "MRR", "PSP",
        "PSnDCG".
    name : str, default=None
        Whose values they are, for the legend.

    Attributes
    ----------
    lines_ : dict of str to matplotlib Line2D
        The line of each metric.
    ax_ : matplotlib Axes
        The axes that hold them.
    figure_ : matplotlib Figure
        The figure that holds the axes.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skxc.metrics import RankingMetricsDisplay
    >>> Y_true = csr_array([[1, 1, 0, 0], [0, 0, 1, 0]])
    >>> Y_score = csr_array([[0.9, 0.3, 0.6, 0.0], [0.0, 0.8, 0.7, 0.1]])
    >>> display = RankingMetricsDisplay.from_predictions(
    ...     Y_true, Y_score, metrics=("P", "R"), ks=(1, 2, 3), name="a ranking"
    ... )
    >>> display.lines_["R"].get_ydata()
    array([0.25, 0.75, 1.  ])
    """

    ks: Iterable[int]
    values: Mapping[str, ArrayLike]
    name: str | None = field(default=None, kw_only=True)

    @completed_by(PLOT)
    def plot(self, *, ax: Any = None, name: str | None = None, **kwargs: Any) -> Self:
        """Draw one line a metric."""
        ax = axes_or_new(ax, type(self))
        ks = list(self.ks)
        style, name = free_style(ax, len(ks)), self.name if name is None else name
        self.lines_ = {}
        for metric, values in self.values.items():
            label = f"{metric}@k" if name is None else f"{name}: {metric}@k"
            own = style | {"linestyle": _LINE_STYLES.get(metric, "-"), "label": label}
            (self.lines_[metric],) = ax.plot(ks, np.asarray(values), **line_kwargs(own, kwargs))
        _label_axes(ax, ks, list(self.values))
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
        metrics: str | Iterable[str] = "P",
        ks: Iterable[int] = range(1, 11),
        propensities: ArrayLike | None = None,
        exclude: Matrix | None = None,
        sample_weight: ArrayLike | None = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the metrics of a fitted estimator on texts whose labels are known.

        Parameters
        ----------
        propensities : array-like of shape (n_labels,), default=None
            Of the training labels, for PSP and PSnDCG. None: from the estimator's training counts
            by the default constants; other constants by
            :func:`skxc.metrics.propensities_from_counts`.
        """
        import_pyplot(cls)
        metrics, ks = _check_metrics(metrics), check_ks(ks)
        if propensities is None and _PROPENSITY_SCORED & set(metrics):
            propensities = training_propensities(estimator)
        Y_true, Y_score = top_k_predictions(estimator, X, y, max(ks), exclude)
        return cls.from_predictions(
            Y_true,
            Y_score,
            metrics=metrics,
            ks=ks,
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
        *,
        metrics: str | Iterable[str] = "P",
        ks: Iterable[int] = range(1, 11),
        propensities: ArrayLike | None = None,
        exclude: Matrix | None = None,
        sample_weight: ArrayLike | None = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the metrics of predictions.

        Parameters
        ----------
        Y_score : sparse matrix, sparse array or array-like of shape (n_samples, n_labels)
            Scores, higher is better. Sparse: only stored entries are predictions: beyond as many
            as a row holds, recall stands still and precision falls.
        propensities : array-like of shape (n_labels,), default=None
            Of the training labels, see :func:`skxc.metrics.propensities`. Needed for PSP, PSnDCG.
        """
        import_pyplot(cls)
        metrics, ks = _check_metrics(metrics), check_ks(ks)
        if propensities is None and (scored := _PROPENSITY_SCORED & set(metrics)):
            raise ValueError(
                f"{min(scored)} needs propensities, which are None. Pass those of the training "
                f"labels, such as skxc.metrics.propensities(Y_train)."
            )
        found = ranking_metrics(Y_true, Y_score, ks, propensities, exclude, sample_weight)
        values = {metric: _over_k(found, metric, ks) for metric in metrics}
        return cls(ks, values, name=name).plot(ax=ax, **kwargs)


def _check_metrics(metrics: str | Iterable[str]) -> tuple[str, ...]:
    """Names of metrics as a tuple."""
    names = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    unknown = [name for name in names if name not in _LINE_STYLES]
    if unknown or not names:
        raise ValueError(
            f"metrics={metrics!r} is not known. Pass one or more of "
            f"{', '.join(map(repr, _LINE_STYLES))}; where to cut is said by ks."
        )
    return names


def _over_k(found: dict[str, float], metric: str, ks: tuple[int, ...]) -> NDArray[np.float64]:
    return np.array([found[f"{metric}@{k}"] for k in ks])


def _label_axes(ax: Any, ks: list[int], metrics: list[str]) -> None:
    """Axes that name the one metric shown, or leave it to the legend."""
    from matplotlib.ticker import MaxNLocator

    one = f"{metrics[0]}@k" if len(metrics) == 1 else "metric@k"
    ax.set(xlabel="k", ylabel=one if ax.get_ylabel() in ("", one) else "metric@k")
    if len(ks) <= 12:
        ax.set_xticks(ks)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    fit_y(ax, 0.0, place_legend(ax))
