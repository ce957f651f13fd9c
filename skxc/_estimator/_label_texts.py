"""Labels that are known by their texts: embedding them, and adding new ones."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from skxc._methods._attributes import Check, one_a_label
from skxc._methods._two_towers import TwoTowerMethod, warn_of_unknown_words
from skxc._search._building import building
from skxc._search._reranker_training import with_new_labels
from skxc._validation import (
    Target,
    as_classes,
    callers_stack_level,
    check_label_texts,
    check_texts,
    exact_array,
    is_nameless,
    names_of,
)

from ._fitted import FittedModel


class LabelTextsMixin(FittedModel):
    """`transform_labels` and `add_labels`, of estimators that embed the labels' texts."""

    _has_rows: ClassVar[bool] = False  # labels are more than their texts
    _attributes: ClassVar[Mapping[str, Check]] = {"label_texts_": one_a_label("O", {str})}

    _method: ClassVar[type[TwoTowerMethod[Any]]]
    label_texts_: NDArray[Any]

    def transform_labels(self, label_texts: Any) -> NDArray[np.float32]:
        """Embeddings of label texts.

        Parameters
        ----------
        label_texts : array-like of shape (n_texts,), str
            Texts of labels, known or not.

        Returns
        -------
        ndarray of shape (n_texts, width of `label_embeddings_`), float32
            What `add_labels` would append to `label_embeddings_`; 0 where no word is known.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        check_is_fitted(self)
        texts = check_texts(label_texts, "label_texts")
        tokens = self.encoder_.tokenize_labels(texts)
        with self._predicting() as ranker:
            rows = self._method.label_rows(vars(self), ranker.embed_labels(tokens))
        rows[tokens.lengths == 0] = 0
        return rows

    def add_labels(self, label_texts: Any, classes: Any = None) -> Self:
        """Add labels by their texts, without training: from now on they are predicted, too.

        Parameters
        ----------
        label_texts : array-like of shape (n_new,), str
            One text per new label.
        classes : array-like of shape (n_new,), default=None
            Their names, for `classes_`. None: the next column numbers where the labels have no
            names, else their texts.

        Returns
        -------
        object
            The estimator itself; `classes_`, `n_labels_` and all that is one entry a label have
            grown.

        Raises
        ------
        ValueError
            If a name is taken, or there are not as many names as texts.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        check_is_fitted(self)
        texts = check_texts(label_texts, "label_texts")
        # what `predict_labels` answers so far: the labels' texts, or their names
        has_texts = not np.array_equal(self.label_names_, self.classes_)
        names = self._new_classes(texts, classes)
        rows, tokens = self.transform_labels(texts), self.encoder_.tokenize_labels(texts)
        warn_of_unknown_words(tokens.lengths > 0, texts)
        labels = texts if has_texts else names
        grown = {
            "label_embeddings_": np.concatenate([self.label_embeddings_, rows]),
            "classes_": _joined(self.classes_, names),
            "label_counts_": np.concatenate([self.label_counts_, np.zeros(len(rows), np.int64)]),
            "label_texts_": np.concatenate([self.label_texts_, np.array(texts, dtype=object)]),
            "label_names_": np.concatenate([self.label_names_, np.asarray(labels, object)]),
            "n_labels_": self.n_labels_ + len(rows),
            "_optimizer_state": self._optimizer_state | {"step": {}},  # one entry a label
            "reranker_": with_new_labels(self.reranker_, tokens),
            "_ranker": None,  # of the labels before
            **self._method.grown(vars(self), tokens),
        }
        with building(self):  # no thread is putting a model of the old arrays in its place
            self.__dict__.update(grown)  # at once
        return self

    def _new_classes(self, texts: list[str], classes: Any) -> NDArray[Any]:
        known = self.classes_
        if classes is None:
            if is_nameless(known):
                return np.arange(len(known), len(known) + len(texts))
            classes = texts
        names = exact_array(classes)
        if known.dtype == object:
            names = names.astype(object)
        if names.shape != (len(texts),):
            raise ValueError(
                f"classes has shape {names.shape}, but there are {len(texts)} label texts. Pass "
                f"one name per text."
            )
        differs = isinstance(known.tolist()[0], str) != isinstance(names.tolist()[0], str)
        if differs or (known.dtype.kind in "iu" and names.dtype.kind not in "iu"):
            raise ValueError(
                f"The labels are named {known.tolist()[0]!r}, ..., and the new ones "
                f"{names.tolist()[0]!r}, ... Pass names of the same type as classes=."
            )
        taken = [name for name, n in Counter(known.tolist() + names.tolist()).items() if n > 1]
        if taken:
            raise ValueError(
                f"The label {taken[0]!r} is there already, or named twice. Pass new names as "
                f"classes=."
            )
        return names

    def _check_label_texts(self, target: Target, *, is_resumed: bool) -> list[str]:
        given, classes = self.label_texts, target.labels
        if is_resumed and len(classes) == len(self.label_texts_):
            known = self.label_texts_.tolist()  # with those of `add_labels`
            if isinstance(given, Mapping):
                given = dict(zip(names_of(classes), known, strict=True)) | dict(given)
            elif given is None or isinstance(given, str) or len(known) > len(given):
                return known
        texts = check_label_texts(given, classes)
        if texts is None:
            raise self._lack_of_texts(classes)
        if not is_resumed and not self._has_rows:
            _warn_of_duplicates(texts)
        return texts

    def _lack_of_texts(self, classes: NDArray[Any] | range) -> ValueError:
        name, label = type(self).__name__, names_of(classes)[0]
        kind = "names" if isinstance(label, str) else "numbers"
        why = f"y's labels are {kind} such as {label!r}, which are no words"
        if self.label_texts is None:
            why = "label_texts is None"
        return ValueError(
            f"{name} needs label_texts: it scores labels by their texts, and {why}. Pass one text "
            f"per column of Y, in the columns' order, such as {name}(label_texts=names), or a dict "
            f"of each label's text; without texts, use ReneeClassifier."
        )


def _joined(known: NDArray[Any], names: NDArray[Any]) -> NDArray[Any]:
    """Names after those that are known; NumPy would make floats of ids of two integer types."""
    if known.dtype.kind in "iu" and known.dtype != names.dtype:
        return as_classes(known.tolist() + names.tolist())
    return np.concatenate([known, names])


def _warn_of_duplicates(texts: list[str]) -> None:
    n_duplicates = len(texts) - len(set(texts))
    if n_duplicates:
        text, _ = Counter(texts).most_common(1)[0]
        warnings.warn(
            f"label_texts holds {n_duplicates} duplicates, such as {text!r}: labels with one text "
            f"have one score. Tell them apart in their texts if their order matters.",
            UserWarning,
            stacklevel=callers_stack_level(),
        )
