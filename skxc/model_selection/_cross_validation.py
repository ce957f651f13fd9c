"""scikit-learn's cross-validation for a sparse y, which only its argument checks refuse."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
import scipy.sparse as sp
import sklearn.model_selection as sms
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import check_scoring

from skxc._docstrings import completed_by
from skxc.metrics import XMCScorer

from ._rows import sound_params, sound_rows

# of all cross-validation functions
PARAMETERS = """
Parameters
----------
estimator : object
    A clone of it is fitted for every fold, and for every size or value of a curve.
X : array-like of shape (n_samples, ...)
    Texts, or what else `estimator` takes.
y : {sparse matrix, array-like} of shape (n_samples, n_labels) or (n_samples,)
    Labels.
groups : array-like of shape (n_samples,), default=None
    For splitters that keep groups together.
cv : int, splitter or iterable, default=None
    Where y is sparse, an int is that of :class:`~sklearn.model_selection.KFold`, which does not
    shuffle; None: 5.
scoring : str or callable, default=None
    None: the estimator's `score`. ``XMCScorer("P@5")`` for a ranking metric.
n_jobs : int, default=None
    Folds at a time.
verbose : int, default=0
    How much to print.
params : dict, default=None
    For `fit`, cut to the fold where there is one entry a row; routed where that is enabled.
pre_dispatch : int or str, default="2*n_jobs"
    Jobs dispatched beforehand.
error_score : "raise" or number, default=nan
    The score where a fit fails.
"""


@completed_by(PARAMETERS)
def cross_validate(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    groups: Any = None,
    scoring: Any = None,
    cv: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
    params: dict[str, Any] | None = None,
    pre_dispatch: int | str = "2*n_jobs",
    return_train_score: bool = False,
    return_estimator: bool = False,
    return_indices: bool = False,
    error_score: float | str = np.nan,
) -> dict[str, Any]:
    """Evaluate metrics by cross-validation, with a sparse y too.

    :func:`sklearn.model_selection.cross_validate`, which has more about every argument.

    Parameters
    ----------
    y : {sparse matrix, array-like} of shape (n_samples, n_labels) or (n_samples,), default=None
        Labels.
    scoring : str, callable, list, tuple or dict, default=None
        None: the estimator's `score`. :class:`~skxc.metrics.XMCScorer` for ranking metrics.
    return_train_score : bool, default=False
        Score the training parts, too.
    return_estimator : bool, default=False
        Return the fitted estimators.
    return_indices : bool, default=False
        Return the rows of all parts.

    Returns
    -------
    dict of str to ndarray of shape (n_splits,)
        "fit_time" and "score_time" in seconds, "test_score" or "test_<metric>", and what else was
        asked for.

    Examples
    --------
    >>> from skxc import ReneeClassifier
    >>> from skxc.datasets import make_extreme_classification
    >>> from skxc.metrics import XMCScorer
    >>> from skxc.model_selection import cross_validate
    >>> data = make_extreme_classification(200, 10, random_state=0)
    >>> clf = ReneeClassifier(epochs=2, random_state=0)
    >>> scoring = XMCScorer(("P@1", "PSP@3"))
    >>> sorted(cross_validate(clf, data.texts, data.Y, scoring=scoring, cv=2))
    ['fit_time', 'score_time', 'test_P@1', 'test_PSP@3']
    """
    arguments = locals()
    return _call(sms.cross_validate, **arguments)


@completed_by(PARAMETERS)
def cross_val_score(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    groups: Any = None,
    scoring: Any = None,
    cv: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
    params: dict[str, Any] | None = None,
    pre_dispatch: int | str = "2*n_jobs",
    error_score: float | str = np.nan,
) -> NDArray[np.float64]:
    """Evaluate one metric by cross-validation, with a sparse y too.

    :func:`sklearn.model_selection.cross_val_score`, which has more about every argument.

    Parameters
    ----------
    y : {sparse matrix, array-like} of shape (n_samples, n_labels) or (n_samples,), default=None
        Labels.

    Returns
    -------
    ndarray of shape (n_splits,), float64
        Scores of the test parts.

    Raises
    ------
    ValueError
        If `scoring` is a scorer of several metrics.

    Examples
    --------
    >>> from skxc import ReneeClassifier
    >>> from skxc.datasets import make_extreme_classification
    >>> from skxc.model_selection import cross_val_score
    >>> data = make_extreme_classification(200, 10, random_state=0)
    >>> clf = ReneeClassifier(epochs=2, random_state=0)
    >>> cross_val_score(clf, data.texts, data.Y, cv=2).shape
    (2,)
    """
    arguments = locals()
    _check_one_metric(scoring, "cross_val_score")
    scorer = {"score": check_scoring(estimator, scoring=scoring)}
    results = cross_validate(**arguments | {"scoring": scorer})
    return np.asarray(results["test_score"])


@completed_by(PARAMETERS)
def learning_curve(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    train_sizes: ArrayLike = (0.1, 0.325, 0.55, 0.775, 1.0),
    cv: Any = None,
    scoring: Any = None,
    exploit_incremental_learning: bool = False,
    n_jobs: int | None = None,
    pre_dispatch: int | str = "all",
    verbose: int = 0,
    shuffle: bool = False,
    random_state: Any = None,
    error_score: float | str = np.nan,
    return_times: bool = False,
    params: dict[str, Any] | None = None,
) -> tuple[NDArray[Any], ...]:
    """Scores by the number of training rows, with a sparse y too.

    :func:`sklearn.model_selection.learning_curve`, which has more about every argument.

    Parameters
    ----------
    train_sizes : array-like of shape (n_ticks,), default=(0.1, 0.325, 0.55, 0.775, 1.0)
        Shares (float) or numbers (int) of the training rows.
    exploit_incremental_learning : bool, default=False
        Where y is sparse, False only.
    pre_dispatch : int or str, default="all"
        Jobs dispatched beforehand.
    shuffle : bool, default=False
        Shuffle the training rows before they are cut; needed where their order has a meaning.
    random_state : int, RandomState instance or None, default=None
        Source of randomness of `shuffle`.
    return_times : bool, default=False
        Return the seconds, too.

    Returns
    -------
    tuple of ndarray
        The sizes (n_ticks,), training and test scores (n_ticks, n_splits), and with `return_times`
        seconds of fits and of scoring (n_ticks, n_splits).

    Raises
    ------
    ValueError
        If `scoring` is a scorer of several metrics, or `exploit_incremental_learning` is True and y
        sparse.

    Examples
    --------
    >>> from skxc import ReneeClassifier
    >>> from skxc.datasets import make_extreme_classification
    >>> from skxc.model_selection import learning_curve
    >>> data = make_extreme_classification(200, 10, random_state=0)
    >>> clf = ReneeClassifier(epochs=2, random_state=0)
    >>> sizes, train, test = learning_curve(clf, data.texts, data.Y, train_sizes=[0.5, 1.0], cv=2)
    >>> sizes, test.shape
    (array([ 50, 100]), (2, 2))
    """
    arguments = locals()
    _check_one_metric(scoring, "learning_curve")
    if sp.issparse(y) and exploit_incremental_learning:
        raise ValueError(
            "exploit_incremental_learning=True is for 1-d y: scikit-learn reads the classes from "
            "it. Pass False for a sparse y."
        )
    return _call(sms.learning_curve, **arguments | {"train_sizes": np.asarray(train_sizes)})


@completed_by(PARAMETERS)
def validation_curve(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    param_name: str,
    param_range: Any,
    groups: Any = None,
    cv: Any = None,
    scoring: Any = None,
    n_jobs: int | None = None,
    pre_dispatch: int | str = "all",
    verbose: int = 0,
    error_score: float | str = np.nan,
    params: dict[str, Any] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores by the values of one parameter, with a sparse y too.

    :func:`sklearn.model_selection.validation_curve`, which has more about every argument.

    Parameters
    ----------
    param_name : str
        The parameter, such as "epochs" or "encoder__dim".
    param_range : array-like of shape (n_values,)
        Its values.
    pre_dispatch : int or str, default="all"
        Jobs dispatched beforehand.

    Returns
    -------
    train_scores : ndarray of shape (n_values, n_splits), float64
        Scores of the training parts.
    test_scores : ndarray of shape (n_values, n_splits), float64
        Scores of the test parts.

    Raises
    ------
    ValueError
        If `scoring` is a scorer of several metrics.

    Examples
    --------
    >>> from skxc import ReneeClassifier
    >>> from skxc.datasets import make_extreme_classification
    >>> from skxc.model_selection import validation_curve
    >>> data = make_extreme_classification(200, 10, random_state=0)
    >>> clf = ReneeClassifier(random_state=0)
    >>> train_scores, test_scores = validation_curve(
    ...     clf, data.texts, data.Y, param_name="epochs", param_range=[1, 2, 3], cv=2
    ... )
    >>> test_scores.shape
    (3, 2)
    """
    arguments = locals()
    _check_one_metric(scoring, "validation_curve")
    return _call(sms.validation_curve, **arguments)


def _call(function: Callable[..., Any], y: Any, **arguments: Any) -> Any:
    """scikit-learn's function; where y is sparse, without its check of arguments.

    Not `config_context(skip_parameter_validation=True)`: that would switch off the checks of every
    estimator that is fitted inside, too.
    """
    y, arguments["params"] = sound_rows(y, "y"), sound_params(arguments["params"])
    arguments["X"] = sound_rows(arguments["X"], "X")
    if not sp.issparse(y):
        return function(y=y, **arguments)
    return inspect.unwrap(function)(y=y, **arguments | {"cv": splitter(arguments["cv"], y)})


def splitter(cv: Any, y: Any) -> Any:
    """`cv`; KFold for a number if y is sparse: one sparse column would be stratified."""
    if sp.issparse(y) and (cv is None or isinstance(cv, Integral)):
        return sms.KFold(5 if cv is None else cv)
    return cv


def _check_one_metric(scoring: Any, name: str) -> None:
    if isinstance(scoring, XMCScorer) and not isinstance(scoring.metrics, str):
        raise ValueError(
            f"{name} takes one metric, and scoring={scoring!r} gives a dict. Pass one as a string, "
            f"such as XMCScorer({scoring.metrics[0]!r}), or use cross_validate."
        )
