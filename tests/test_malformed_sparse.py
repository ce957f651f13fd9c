"""Every public function that takes a matrix refuses one whose arrays are damaged, by its name."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import scipy.sparse as sp
from damages import DAMAGES, SHAPE, SOUND, damaged
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import KFold

import skxc.metrics
import skxc.model_selection
from skxc import DualEncoderXC, ReneeClassifier, UniDEC
from skxc.encoders import BagOfWordsEncoder
from skxc.metrics import (
    ErrorAnalysisDisplay,
    LabelFrequencyDisplay,
    RankingMetricsDisplay,
    ReliabilityDisplay,
    XMCScorer,
    mrr_at_k,
    ndcg_at_k,
    precision_at_k,
    propensities,
    psndcg_at_k,
    psp_at_k,
    ranking_metrics,
    recall_at_k,
)
from skxc.model_selection import (
    MultilabelStratifiedKFold,
    MultilabelStratifiedShuffleSplit,
    cross_val_predict_top_k,
    cross_val_score,
    cross_validate,
    learning_curve,
    train_test_split,
    tune_threshold,
    validation_curve,
)

matplotlib.use("Agg")

TEXTS = ["a red cat", "a blue dog", "the red dog", "one bird"]
Y = sp.csr_array(SOUND)
NO_PAIR = sp.csr_array(SHAPE)
LABEL_TEXTS = ["cat", "dog", "bird", "red", "blue"]
ONES = np.ones(5)


def make(kind):
    texts = {} if kind is ReneeClassifier else {"label_texts": LABEL_TEXTS}
    return kind(encoder=BagOfWordsEncoder(dim=4, min_df=1), epochs=1, random_state=0, **texts)


KINDS = (ReneeClassifier, DualEncoderXC, UniDEC)
FITTED = {kind: make(kind).fit(TEXTS, Y) for kind in KINDS}
CLF = FITTED[ReneeClassifier]
DENSE = make(ReneeClassifier).fit(TEXTS, SOUND)
SCORER = XMCScorer("P@1")
CV = {"cv": KFold(2)}


class Sparse(DummyClassifier):
    """A classifier of another library whose probabilities are a matrix that it was given."""

    def __init__(self, proba=None):
        self.proba = proba

    def fit(self, X, y):
        return self

    def predict_proba(self, X):
        return self.proba


def of_estimator(kind):
    clf, fitted = make(kind), FITTED[kind]
    return {
        "fit, y": lambda m: clf.fit(TEXTS, m),
        "fit, exclude": lambda m: clf.fit(TEXTS, Y, exclude=m),
        "first partial_fit, y": lambda m: make(kind).partial_fit(TEXTS, m),
        "first partial_fit, exclude": lambda m: make(kind).partial_fit(TEXTS, Y, exclude=m),
        "partial_fit, y": lambda m: fitted.partial_fit(TEXTS, m),
        "partial_fit, exclude": lambda m: fitted.partial_fit(TEXTS, Y, exclude=m),
        "memory_estimate, y": lambda m: clf.memory_estimate(TEXTS, m),
        "memory_estimate, exclude": lambda m: clf.memory_estimate(TEXTS, Y, exclude=m),
        **{
            f"{name}, exclude": lambda m, name=name: getattr(fitted, name)(TEXTS, exclude=m)
            for name in ("predict", "predict_proba", "predict_labels", "predict_top_k",
                         "predict_top_k_proba")
        },
        "score, y": lambda m: fitted.score(TEXTS, m),
        "score, exclude": lambda m: fitted.score(TEXTS, Y, exclude=m),
    }  # fmt: skip


def of_metrics(function, *more):
    return {
        "Y_true": lambda m: function(m, SOUND, *more),
        "Y_score": lambda m: function(Y, m, *more),
        "exclude": lambda m: function(Y, SOUND, *more, exclude=m),
    }


def of_display(display, *more, **keywords):
    return {
        **of_metrics(lambda *a, **k: display.from_predictions(*a, **k), *more),
        "from_estimator, y": lambda m: display.from_estimator(CLF, TEXTS, m, **keywords),
        "from_estimator, exclude": lambda m: display.from_estimator(
            CLF, TEXTS, Y, exclude=m, **keywords
        ),
        "from_estimator, predict_proba": lambda m: display.from_estimator(
            Sparse(m), TEXTS, Y, **keywords
        ),
    }


def of_validation(function, **more):
    clf = make(ReneeClassifier)
    return {
        "X": lambda m: function(clf, m, Y, **CV, **more),
        "y": lambda m: function(clf, TEXTS, m, **CV, **more),
        "params": lambda m: function(clf, TEXTS, Y, params={"exclude": m}, **CV, **more),
    }


GROUPS = {
    **{kind.__name__: of_estimator(kind) for kind in KINDS},
    "dense": {
        "predict": lambda m: DENSE.predict(TEXTS, exclude=m),
        "predict_proba": lambda m: DENSE.predict_proba(TEXTS, exclude=m),
    },
    **{f.__name__: of_metrics(f) for f in
       (ranking_metrics, precision_at_k, recall_at_k, ndcg_at_k, mrr_at_k)},
    **{f.__name__: of_metrics(f, ONES) for f in (psp_at_k, psndcg_at_k)},
    "propensities": {"Y": propensities},
    "XMCScorer": {
        "y": lambda m: SCORER(CLF, TEXTS, m),
        "exclude": lambda m: SCORER(CLF, TEXTS, Y, exclude=m),
        "predict_proba": lambda m: SCORER(Sparse(m), TEXTS, Y),
    },
    "ErrorAnalysisDisplay": of_display(ErrorAnalysisDisplay),
    "LabelFrequencyDisplay": of_display(LabelFrequencyDisplay, ONES, label_counts=ONES),
    "RankingMetricsDisplay": of_display(RankingMetricsDisplay),
    "ReliabilityDisplay": of_display(ReliabilityDisplay),
    "cross_validate": of_validation(cross_validate),
    "cross_val_score": of_validation(cross_val_score),
    "learning_curve": of_validation(learning_curve, train_sizes=[2]),
    "validation_curve": of_validation(validation_curve, param_name="epochs", param_range=[1]),
    "cross_val_predict_top_k": {
        **of_validation(cross_val_predict_top_k),
        "exclude": lambda m: cross_val_predict_top_k(
            make(ReneeClassifier), TEXTS, Y, exclude=m, **CV
        ),
    },
    "MultilabelStratifiedKFold": {
        "X": lambda m: next(MultilabelStratifiedKFold(2).split(m, Y)),
        "y": lambda m: next(MultilabelStratifiedKFold(2).split(TEXTS, m)),
    },
    "MultilabelStratifiedShuffleSplit": {
        "X": lambda m: next(MultilabelStratifiedShuffleSplit(2, test_size=2).split(m, Y)),
        "y": lambda m: next(MultilabelStratifiedShuffleSplit(2, test_size=2).split(TEXTS, m)),
    },
    "train_test_split": {
        "arrays": lambda m: train_test_split(TEXTS, m),
        "arrays, stratified": lambda m: train_test_split(m, stratify=Y, test_size=2),
        "stratify": lambda m: train_test_split(TEXTS, stratify=m),
    },
    "tune_threshold": {
        "Y": lambda m: tune_threshold(CLF, TEXTS, m),
        "exclude": lambda m: tune_threshold(CLF, TEXTS, Y, exclude=m),
        "predict_proba": lambda m: tune_threshold(Sparse(m), TEXTS, Y),
    },
}  # fmt: skip
DOORS = {
    f"{group}, {name}": door for group, doors in GROUPS.items() for name, door in doors.items()
}


@pytest.mark.parametrize("door", DOORS)
def test_a_damaged_matrix_is_refused_by_name(door):
    for name in DAMAGES:
        with pytest.raises(ValueError, match=r"[\w\]] is a damaged \w+ matrix: ") as caught:
            DOORS[door](damaged(name))
        assert "Pass one as scipy.sparse makes it" in str(caught.value), name


@pytest.mark.parametrize("module", [skxc.metrics, skxc.model_selection])
def test_every_public_function_is_tried(module):
    without_matrix = {"PROPENSITY_CONSTANTS", "propensities_from_counts", "TrainingHistoryDisplay"}
    assert set(module.__all__) - without_matrix <= set(GROUPS)
