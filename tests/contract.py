"""What the tests of the common contract share: the estimators, the data, fitted models."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone

from skxc import DualEncoderXC, ReneeClassifier, UniDEC
from skxc.datasets import load_library_subjects
from skxc.encoders import BagOfWordsEncoder

N_TEXTS, N_LABELS = 90, 6
TINY = {
    "encoder": BagOfWordsEncoder(dim=16, min_df=1),
    "epochs": 3,
    "batch_size": 16,
    "random_state": 0,
}


@dataclass(frozen=True)
class Case:
    """One estimator under test, and whether it must be told the labels' texts."""

    prototype: Any
    needs_label_texts: bool = False


CASES = [
    Case(ReneeClassifier(**TINY)),
    Case(DualEncoderXC(**TINY), needs_label_texts=True),
    Case(UniDEC(**TINY), needs_label_texts=True),
]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: type(case.prototype).__name__)
def make(request, data):
    """`make(**parameters)`: a tiny unfitted estimator for the first `n_labels` labels."""

    def make(n_labels=N_LABELS, **parameters):
        texts = data.label_texts[:n_labels] if request.param.needs_label_texts else None
        return clone(request.param.prototype).set_params(**{"label_texts": texts, **parameters})

    return make


@dataclass(frozen=True)
class Data:
    """Texts, labels in three forms, and the labels' texts."""

    texts: list[str]
    Y: sp.csr_matrix
    label_texts: list[str]

    @property
    def lists(self) -> list[list[str]]:
        """The label texts of each row."""
        return [[self.label_texts[j] for j in row] for row in np.split(
            self.Y.indices, self.Y.indptr[1:-1])]  # fmt: skip

    @property
    def classes(self) -> np.ndarray:
        """One label a text: its first."""
        return np.array([row[0] for row in self.lists])


@pytest.fixture(scope="module")
def data():
    """The first titles that have one of the six most frequent subjects."""
    library = load_library_subjects()
    counts = np.asarray(library.Y.sum(0)).ravel()
    labels = np.sort(np.argsort(-counts, kind="stable")[:N_LABELS])
    Y = library.Y[:, labels]
    rows = np.flatnonzero(np.diff(Y.indptr))[:N_TEXTS]
    texts, label_texts = [library.texts[i] for i in rows], [library.label_texts[j] for j in labels]
    return Data(texts, Y[rows].astype(np.int64), label_texts)


@pytest.fixture(scope="module")
def trained(make, data):
    return make().fit(data.texts, data.Y)


@pytest.fixture(scope="module")
def trained_dense(make, data):
    return make().fit(data.texts, data.Y.toarray())


@pytest.fixture
def fitted(trained):
    """Fitted on sparse Y; a test may change it."""
    return copy.deepcopy(trained)


@pytest.fixture
def fitted_dense(trained_dense):
    """Fitted on dense Y; a test may change it."""
    return copy.deepcopy(trained_dense)


def assert_equal_models(a, b):
    np.testing.assert_array_equal(a.label_embeddings_, b.label_embeddings_)
    assert a.encoder_.weights_.keys() == b.encoder_.weights_.keys()
    for name, weights in a.encoder_.weights_.items():
        np.testing.assert_array_equal(weights, b.encoder_.weights_[name])
    np.testing.assert_array_equal(a.classes_, b.classes_)


def state_of(estimator):
    """All that was learnt, to compare with later."""
    return copy.deepcopy({k: v for k, v in vars(estimator).items() if k != "_ranker"})


def assert_unchanged(estimator, state):
    assert pickle.dumps(state) == pickle.dumps(state_of(estimator))
