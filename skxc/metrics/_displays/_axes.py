"""What the displays share: parameters, matplotlib when it is needed, axes, colours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

# after Okabe and Ito: colour-blind readers tell them apart
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_MARKERS = ("o", "s", "D", "^", "v", "P")

# parameters of `from_estimator` and `from_predictions`, of every display
DATA = """\
estimator : object
    A fitted classifier; also one inside a Pipeline or a search. One that is not of skxc is
    ranked by its `predict_proba` or `decision_function`.
X : array-like of shape (n_samples,)
    Texts, or whatever the estimator takes.
y : {sparse matrix, array-like} of shape (n_samples, n_labels) or (n_samples,)
    True labels, in any form that `fit` takes.
Y_true : sparse matrix, sparse array or array-like of shape (n_samples, n_labels)
    True labels: entries greater than 0.
Y_score : sparse matrix, sparse array or array-like of shape (n_samples, n_labels)
    Scores, higher is better. Sparse: only stored entries are predictions.
exclude : sparse matrix of shape (n_samples, n_labels), default=None
    Pairs to ignore, neither true nor predicted.
"""
PARAMETERS = f"""
Parameters
----------
{DATA}metric : {{"P", "PSP", "recall"}}, default="P"
    "P" and "PSP": what each bin contributes, so that the bars sum to the metric. "recall":
    the share of the bin's true pairs that were found.
metrics : str or iterable of str, default="P"
    One or more of "P", "R", "nDCG", "MRR", "PSP", "PSnDCG", see
    :func:`skxc.metrics.ranking_metrics`.
k : int, default=5
    Where to cut the rankings.
ks : iterable of int, default=range(1, 11)
    Where to cut the rankings.
sample_weight : array-like of shape (n_samples,), default=None
    Weight of each row.
name : str, default=None
    For the legend. None: the estimator's class; without an estimator no name.
ax : matplotlib Axes, default=None
    Where to draw; None: a new figure.
n_bins : int, default=10
    Bins of equal width between 0 and 1; empty ones are left out.
**kwargs : dict
    Passed to matplotlib's `plot`.

Returns
-------
object
    The display, drawn.

Raises
------
ValueError
    If shapes differ, or an argument is out of what is accepted.
TypeError
    If the estimator has none of the methods that are needed.
ImportError
    If matplotlib is not installed.
"""
# of `plot`
PLOT = """
Parameters
----------
ax : matplotlib Axes, default=None
    Where to draw; None: a new figure.
name : str, default=None
    For the legend; None: the display's own `name`.
**kwargs : dict
    Passed to matplotlib's `plot`, such as ``color="black"``.

Returns
-------
object
    The display itself.

Raises
------
ValueError
    If `ax` shows something that does not compare.
ImportError
    If matplotlib is not installed.
"""


def import_pyplot(display: type) -> Any:
    """matplotlib.pyplot."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f'{display.__name__} needs matplotlib. Install it with: pip install "skxc[plot]"'
        ) from error
    return plt


def axes_or_new(ax: Any, display: type) -> Any:
    """`ax`, or the axes of a new figure."""
    plt = import_pyplot(display)
    if ax is None:
        _, ax = plt.subplots(layout="constrained")
    return ax


def free_style(ax: Any, n_points: int = 1) -> dict[str, Any]:
    """The first colour that `ax` does not show yet, and its marker, at a dozen points or fewer."""
    from matplotlib.colors import to_hex

    shown = {to_hex(line.get_color()).upper() for line in ax.lines}
    shown |= {to_hex(patch.get_facecolor()).upper() for patch in ax.patches}
    free = [i for i, colour in enumerate(_COLOURS) if colour not in shown]
    place = free[0] if free else (len(ax.lines) + len(ax.containers)) % len(_COLOURS)
    markers = {"marker": _MARKERS[place], "markevery": max(-(-n_points // 12), 1)}
    return {"color": _COLOURS[place]} | markers


def line_kwargs(defaults: dict[str, Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Defaults, replaced by what the user passes, also under an alias such as `lw`."""
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.lines import Line2D

    return defaults | normalize_kwargs(kwargs, Line2D)


def place_legend(ax: Any, handles: list[Any] | None = None) -> float:
    """Put a legend along the top of `ax`; the share of the height that it takes."""
    handles = handles or ax.get_legend_handles_labels()[0]
    if not handles:
        return 0.0
    ax.figure.canvas.figure.draw_without_rendering()  # layout first: only then is the width known
    for n_rows in range(1, len(handles) + 1):
        n_columns = -(-len(handles) // n_rows)
        legend = ax.legend(
            handles=handles, loc="upper center", ncols=n_columns, fontsize="small", frameon=False
        )
        extent = legend.get_window_extent()
        if extent.width <= ax.bbox.width:
            break
    return float(min(extent.height / ax.bbox.height + 0.02, 0.6))


def fit_y(ax: Any, bottom: float | None, headroom: float) -> None:
    """Let the y axis show all data from `bottom` (None: the least value), below the legend."""
    ax.relim()
    low, high = ax.dataLim.intervaly
    if not np.isfinite([low, high]).all():  # nothing but nan
        low, high = 0.0, 1.0
    margin = 0.05 * (high - (low if bottom is None else bottom) or 1.0)
    low = low - margin if bottom is None else bottom
    ax.set_ylim(low, low + (high + margin - low) / (1 - headroom))


def companion(ax: Any, make: Callable[[Any], Any] | None = None) -> Any:
    """The axes that go with `ax`: those of an earlier display, or made when there are none."""
    other = getattr(ax, "_skxc_companion", None)
    if other is None and make is not None:
        other = ax._skxc_companion = make(ax)
    return other
