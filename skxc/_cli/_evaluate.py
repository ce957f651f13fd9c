"""`skxc evaluate`: ranking metrics of a saved model."""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from json import dumps
from typing import TYPE_CHECKING, Any

from ._answers import loaded
from ._data import Source, read
from ._errors import InputError, input_checked

if TYPE_CHECKING:
    from sklearn.utils import Bunch

KS = [1, 3, 5]
_KINDS = ("P", "nDCG", "R", "MRR", "PSP", "PSnDCG")


def evaluate(
    *,
    model: str,
    ks: list[int],
    propensity: str,
    json: bool,
    device: str | None,
    **source: Any,
) -> None:
    """Ranking metrics on a data set's test texts, or on a table's rows."""
    if not ks or min(ks) < 1:
        raise InputError(f"--ks is {ks}. Pass cuts of at least 1, such as [1,3,5].")
    ks = sorted(set(ks))
    clf = loaded(model, device)
    with input_checked():
        dataset = read(Source(**source), None, default=0)
        if "label_names" in dataset:
            dataset = _with_labels_of(clf, dataset, source["data"])
        else:
            _check_labels(clf, dataset, source["data"])
    metrics = metrics_of(clf, dataset, ks, propensity)
    sys.stdout.write(_as_json(metrics) if json else table(metrics, ks))


def metrics_of(
    clf: Any, dataset: Bunch, ks: list[int], propensity: str = "default"
) -> dict[str, float]:
    """Of the test texts; labels after the model's are right ones that it cannot give."""
    import numpy as np

    from skxc.metrics import PROPENSITY_CONSTANTS, propensities_from_counts, ranking_metrics

    clf.set_params(top_k=max(ks), sparse_output=True)
    proba = clf.predict_proba(dataset.test_texts, exclude=dataset.test_exclude)
    n_labels = dataset.Y_test.shape[1]
    proba.resize(len(dataset.test_texts), n_labels)
    counts = np.pad(clf.label_counts_, (0, n_labels - clf.n_labels_))
    constants = PROPENSITY_CONSTANTS[propensity]
    return ranking_metrics(
        dataset.Y_test,
        proba,
        ks,
        propensities_from_counts(counts, clf.n_samples_seen_, *constants),
        dataset.test_exclude,
    )


def _with_labels_of(clf: Any, dataset: Bunch, data: str) -> Bunch:
    """All rows of a table as test rows: the model's labels by name, then those it does not know."""
    import numpy as np
    import scipy.sparse as sp
    from sklearn.utils import Bunch

    names = list(map(str, clf.label_names_.tolist()))
    column_of = {name: column for column, name in enumerate(names)}
    if len(column_of) < len(names):
        raise InputError("Two labels of the model have one name: a table cannot tell them apart.")
    column_of = _by_text(clf) | column_of
    of_table, n_columns = list[int](), len(names)
    for name in map(str, dataset.label_names.tolist()):
        of_table.append(column_of.get(name, n_columns))
        n_columns += name not in column_of
    Y = dataset.Y.tocoo()
    columns = np.array(of_table)[Y.col]
    is_unknown = columns >= len(names)
    if is_unknown.all():
        raise InputError(
            f"None of the {len(of_table):,} labels of {data} is the model's: "
            f"{dataset.label_names.tolist()[0]!r} here, {names[0]!r} there. Pass a table with the "
            f"model's labels."
        )
    if is_unknown.any():
        warnings.warn(
            f"{data} has labels that the model does not know "
            f"({len(set(columns[is_unknown])):,}, such as "
            f"{dataset.label_names.tolist()[Y.col[is_unknown][0]]!r}). They count as right ones "
            f"that were not found, in {len(set(Y.row[is_unknown])):,} of {Y.shape[0]:,} rows.",
            stacklevel=1,
        )
    Y_test = sp.csr_matrix((Y.data, (Y.row, columns)), shape=(Y.shape[0], n_columns))
    Y_test.data[:] = 1  # of a label that a row has by its name and by its text
    return Bunch(test_texts=dataset.texts, Y_test=Y_test, test_exclude=None)


def _by_text(clf: Any) -> dict[str, int]:
    """Columns of labels by their texts, by which a vocabulary finds labels, too."""
    texts = getattr(clf, "label_texts_", None)
    texts = [] if texts is None else list(texts)
    n_same = Counter(texts)
    return {text: column for column, text in enumerate(texts) if n_same[text] == 1}


def _check_labels(clf: Any, dataset: Bunch, data: str) -> None:
    """Raise if the data have another number of labels; warn if names differ."""
    n_labels = dataset.Y_test.shape[1]
    if n_labels != clf.n_labels_:
        raise InputError(
            f"{data} has {n_labels} labels, but the model {clf.n_labels_}. Pass the data set that "
            f"the model was trained on, or one with the same labels in the same order."
        )
    names = clf.label_names_
    if dataset.label_texts is None or not isinstance(names[0], str):
        return
    pairs = enumerate(zip(names, dataset.label_texts, strict=True))
    differing = [(i, name, text) for i, (name, text) in pairs if name != text]
    if differing:
        i, name, text = differing[0]
        warnings.warn(
            f"{len(differing)} of the {n_labels} labels have another name in {data} than in the "
            f"model, such as label {i}: {text!r}, {name!r}. They are compared by position.",
            stacklevel=1,
        )


def _as_json(metrics: dict[str, float]) -> str:
    return dumps(metrics) + "\n"


def table(metrics: dict[str, float], ks: list[int]) -> str:
    """One row per metric, one column per cut, in percent."""
    lines = [f"{'%':<6}" + "".join(f"{f'@{k}':>8}" for k in ks)]
    for kind in _KINDS:
        values = "".join(f"{100 * metrics[f'{kind}@{k}']:8.2f}" for k in ks)
        lines.append(f"{kind:<6}{values}")
    return "\n".join(lines) + "\n"
