"""A sparse matrix of 10^9 columns and few entries takes no memory a column, whatever is asked."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import scipy.sparse as sp

from skxc._validation import check_classes, check_target
from skxc.metrics import propensities, ranking_metrics

N_LABELS = 10**9
SETUP = """
import json, resource, sys
import numpy as np, scipy.sparse as sp, torch
import skxc, skxc.metrics as metrics, skxc.model_selection as selection
from skxc.encoders import BagOfWordsEncoder
from sklearn.base import BaseEstimator, ClassifierMixin

texts = ["red apple", "green apple", "green tree", "old tree"]
pairs = [0, 1, 2, 3], [7, 10**9 - 1, 7, 5]
Y = sp.coo_array((np.ones(4), pairs), shape=(4, 10**9))
encoder = BagOfWordsEncoder(dim=4, min_df=1)
clf = skxc.ReneeClassifier(encoder=encoder, epochs=1, random_state=0)
small = clf.fit(texts, np.eye(4))

class Other(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        return self
    def predict_proba(self, X):
        return Y.tocsr() * 0.5

other = Other()
torch.zeros(1)
used = next(int(line.split()[1]) for line in open("/proc/self/status") if "VmSize" in line)
limit = 1024 * used + 2**30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
results = {}
for code in json.load(sys.stdin):
    try:
        results[code] = str(eval(code))
    except ValueError as error:
        results[code] = f"ValueError: {error}"
    except MemoryError as error:
        results[code] = f"MemoryError: {error}"
json.dump(results, sys.stdout)
"""
TEXTS = "label_texts=['a', 'b'], encoder=encoder"
REFUSED = {
    "clf.fit(texts, Y)": "Training needs about",
    "clf.partial_fit(texts, Y)": "Y has 1000000000 columns, but the model knows 4 labels",
    "skxc.ReneeClassifier(encoder=encoder).partial_fit(texts, Y)": "Training needs about",
    "clf.fit(texts, Y, exclude=Y)": "Training needs about",
    "clf.score(texts, Y)": "Y has 1000000000 columns, but the model knows 4 labels",
    "clf.predict(texts, exclude=Y)": "exclude has shape (4, 1000000000)",
    "skxc.ReneeClassifier(label_texts=['a']).fit(texts, Y)": "label_texts has 1 entries",
    "skxc.ReneeClassifier(label_texts={7: 'a'}).fit(texts[:1], Y.tocsr()[:1, :10**6])":
        "label_texts has no text for 999999 of 1000000 labels, such as 0",
    f"skxc.DualEncoderXC({TEXTS}).fit(texts, Y)": "label_texts has 2 entries",
    f"skxc.UniDEC({TEXTS}).fit(texts, Y)": "label_texts has 2 entries",
    "skxc.DualEncoderXC(encoder=encoder).fit(texts, Y)": "DualEncoderXC needs label_texts",
    "skxc.UniDEC(encoder=encoder).fit(texts, Y)": "UniDEC needs label_texts",
    "selection.cross_val_score(clf, texts, Y, cv=2, error_score='raise')": "Training needs about",
    "selection.cross_val_predict_top_k(clf, texts, Y, cv=2)": "Training needs about",
    "selection.tune_threshold(clf, texts, Y)": "Y has 1000000000 columns, but the model knows 4",
    "metrics.ranking_metrics(Y, sp.csr_array((4, 9)))": "Y_score has shape (4, 9)",
}  # fmt: skip
COMPUTED = {
    "metrics.ranking_metrics(Y, Y, (1,))": "{'P@1': 1.0, 'nDCG@1': 1.0, 'R@1': 1.0, 'MRR@1': 1.0}",
    "metrics.precision_at_k(Y, Y, k=1, exclude=Y)": "0.0",
    "metrics.XMCScorer('P@1')(other, texts, Y)": "1.0",
    "selection.tune_threshold(other, texts, Y)": "0.5",
    "metrics.ReliabilityDisplay.from_predictions(Y, Y).n_pairs": "[4]",
    "[len(test) for _, test in selection.MultilabelStratifiedKFold(2).split(texts, Y)]": "[2, 2]",
    "[len(part) for part in selection.train_test_split(texts, stratify=Y, test_size=2)]": "[2, 2]",
    "sum(sum(parts.values()) for parts in clf.memory_estimate(texts, Y).values()) > 2**34": "True",
}


@pytest.fixture(scope="module")
def results():
    """Of every call, in a process that can take one GiB more than it has after its imports."""
    codes = json.dumps([*REFUSED, *COMPUTED])
    done = subprocess.run(
        [sys.executable, "-c", SETUP], input=codes, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has no limit of the address space")
@pytest.mark.parametrize("code", REFUSED)
def test_what_needs_memory_a_label_is_refused_before_any_is_taken(code, results):
    assert results[code].startswith("ValueError: ")
    assert REFUSED[code] in results[code]


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has no limit of the address space")
@pytest.mark.parametrize("code", COMPUTED)
def test_what_needs_memory_a_pair_alone_is_computed(code, results):
    assert results[code] == COMPUTED[code]


@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.setattr("skxc._validation._free_memory.free_host_bytes", lambda: 2**30)


def test_an_array_of_all_propensities_is_refused_where_it_does_not_fit(little_memory):
    Y = sp.csr_array(([1.0], ([0], [N_LABELS - 1])), shape=(3, N_LABELS))
    with pytest.raises(
        ValueError, match=r"An array of 1000000000 propensities needs 37.3 GiB, but"
    ):
        propensities(Y)


def test_a_list_of_classes_is_refused_where_it_does_not_fit(little_memory):
    with pytest.raises(ValueError, match=r"A list of 1000000000 classes needs 93.1 GiB, but"):
        check_classes(range(N_LABELS), ["a"])


def test_pairs_that_no_integer_numbers_are_refused():
    wide = sp.csr_array(([1.0], ([3], [2**61])), shape=(4, 2**62))
    with pytest.raises(ValueError, match="more pairs than int64 can number"):
        ranking_metrics(wide, wide)


def test_columns_of_a_matrix_have_numbers_that_take_no_memory():
    target = check_target(sp.csr_array(([1.0], ([0], [3])), shape=(1, 5)), 1)
    assert target.labels == range(5)
    assert target.classes.tolist() == [0, 1, 2, 3, 4]
