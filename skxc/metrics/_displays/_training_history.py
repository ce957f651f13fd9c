"""Loss and validation score of each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from skxc._docstrings import completed_by

from .._estimators import final_estimator
from ._axes import (
    PARAMETERS,
    PLOT,
    axes_or_new,
    companion,
    fit_y,
    free_style,
    import_pyplot,
    line_kwargs,
    place_legend,
)


@dataclass(eq=False, repr=False)
class TrainingHistoryDisplay:
    """Plot of the loss of each epoch, and of its validation score where there is one.

    Use `from_estimator` to make one. Pass the `ax_` of one display as `ax` to the next to compare
    trainings; losses compare only where they are the same estimator's.

    Parameters
    ----------
    history : sequence of dict, length n_epochs
        An entry an epoch, with "loss" and, where `early_stopping` was on, "validation_score": an
        estimator's `history_`.
    name : str, default=None
        Whose history it is, for the legend.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The loss of each epoch.
    validation_line_ : matplotlib Line2D or None
        The validation score of each epoch.
    ax_ : matplotlib Axes
        The axes of the loss.
    validation_ax_ : matplotlib Axes or None
        The axes of the validation score: over the same epochs, its scale on the right.
    figure_ : matplotlib Figure
        The figure that holds the axes.

    Examples
    --------
    >>> from skxc.metrics import TrainingHistoryDisplay
    >>> history = [
    ...     {"loss": 2.0, "validation_score": 0.3},
    ...     {"loss": 1.1, "validation_score": 0.5},
    ...     {"loss": 0.7, "validation_score": 0.4},
    ... ]
    >>> display = TrainingHistoryDisplay(history, name="a model").plot()
    >>> display.validation_line_.get_ydata()
    array([0.3, 0.5, 0.4])
    """

    history: Sequence[dict[str, float]]
    name: str | None = field(default=None, kw_only=True)

    @completed_by(PLOT)
    def plot(self, *, ax: Any = None, name: str | None = None, **kwargs: Any) -> Self:
        """Draw the loss, and the validation score on a second scale."""
        ax = axes_or_new(ax, type(self))
        style, name = free_style(ax, len(self.history)), self.name if name is None else name
        epochs = np.arange(1, len(self.history) + 1)
        # the axes' labels tell solid from dashed: a name is in the legend once
        own = style | {"linestyle": "-"} | ({} if name is None else {"label": name})
        (self.line_,) = ax.plot(epochs, self._over_epochs("loss"), **line_kwargs(own, kwargs))
        self.validation_line_ = self.validation_ax_ = None
        if any("validation_score" in epoch for epoch in self.history):
            self.validation_ax_ = companion(ax, _validation_axes)
            own |= {"linestyle": "--", "markerfacecolor": "white"}
            (self.validation_line_,) = self.validation_ax_.plot(
                epochs, self._over_epochs("validation_score"), **line_kwargs(own, kwargs)
            )
        _label_axes(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @classmethod
    @completed_by(PARAMETERS)
    def from_estimator(
        cls, estimator: Any, *, name: str | None = None, ax: Any = None, **kwargs: Any
    ) -> Self:
        """Plot the history of a fitted estimator.

        Parameters
        ----------
        estimator : object
            A fitted estimator of skxc; also one inside a Pipeline or a search (its best one).
        """
        import_pyplot(cls)
        classifier = final_estimator(estimator)
        if not hasattr(classifier, "history_"):
            raise ValueError(
                f"{type(classifier).__name__} has no history_. Pass a fitted estimator of skxc; a "
                f"search needs refit."
            )
        name = type(classifier).__name__ if name is None else name
        return cls(classifier.history_, name=name).plot(ax=ax, **kwargs)

    def _over_epochs(self, key: str) -> NDArray[np.float64]:
        """The epochs' values; nan where an epoch has none, as after a warm start."""
        return np.array([epoch.get(key, np.nan) for epoch in self.history], dtype=np.float64)


def _validation_axes(ax: Any) -> Any:
    """Axes over the same epochs, with their scale on the right."""
    twin = ax.twinx()
    twin.set_ylabel("Validation score (dashed)")
    return twin


def _label_axes(ax: Any) -> None:
    """One legend for both scales, under whole epochs."""
    from matplotlib.ticker import MaxNLocator

    twin = companion(ax)
    ax.set(xlabel="Epoch", ylabel="Training loss" if twin is None else "Training loss (solid)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    upper = ax if twin is None else twin  # lines would cover a legend on the other axes
    named = [line for line in ax.get_lines() if not line.get_label().startswith("_")]
    headroom = place_legend(upper, named)
    fit_y(ax, 0.0, headroom)
    if twin is not None:
        fit_y(twin, None, headroom)
