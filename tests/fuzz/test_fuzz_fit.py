"""Random labels, masks, weights and texts: a fit is that of the same data as clean CSR."""

from __future__ import annotations

import functools
import math

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from inputs import matrices, reduced, weights_of
from tries import fuzzed, tried

from skxc import DualEncoderXC, ReneeClassifier, UniDEC
from skxc.encoders import BagOfWordsEncoder

pytestmark = pytest.mark.filterwarnings("ignore")

TEXTS = ["a red cat", "a blue dog", "the red dog", "one bird", ""]
LABEL_TEXTS = ["cat", "dog", "bird", "red"]
RELEVANCES = st.sampled_from([0.0, 0.0, 0.5, 1.0, 1.0])
ANY = st.sampled_from([0.0, 0.0, 0.5, 1.0, 1.0, 2.0, -1.0, 1e-60, 1e300, math.nan, math.inf])
MASK = st.sampled_from([0.0, 0.0, 0.0, 1.0, 128.0, -1.0])
ANY_MASK = st.one_of(*4 * [MASK], st.just(math.nan))


def make(kind, n_labels):
    texts = (
        {"label_texts": None}
        if kind is ReneeClassifier
        else {"label_texts": LABEL_TEXTS[:n_labels]}
    )
    encoder = BagOfWordsEncoder(dim=4, min_df=1)
    return kind(encoder=encoder, epochs=1, random_state=0, sparse_output=False, **texts)


@functools.lru_cache
def clean_fit(kind, shape, cells, mask_cells, weights):
    """Probabilities of a fit on clean CSR."""
    Y, mask = (np.frombuffer(part, np.float32).reshape(shape) for part in (cells, mask_cells))
    clf = make(kind, shape[1])
    clf.fit(TEXTS[: shape[0]], sp.csr_array(Y), weights, sp.csr_array(mask != 0))
    return clf.predict_proba(TEXTS)


@fuzzed(60)
@given(st.data())
def test_a_fit_is_that_of_the_clean_matrix(data):
    shape = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 4)))
    kind = data.draw(st.sampled_from([ReneeClassifier, ReneeClassifier, DualEncoderXC, UniDEC]))
    Y, entries = data.draw(
        matrices(shape, data.draw(st.sampled_from([RELEVANCES, RELEVANCES, ANY])))
    )
    exclude, excluded = data.draw(
        st.one_of(*2 * [st.just((None, []))], matrices(shape, MASK), matrices(shape, ANY_MASK))
    )
    weights, plain = data.draw(weights_of(shape[0]))
    with tried("fit"):
        clf = make(kind, shape[1]).fit(TEXTS[: shape[0]], Y, weights, exclude)
        if clf._target_kind in ("classes", "lists"):
            is_column = np.shape(Y)[1:] in ((), (1,))  # of names
            assert is_column or not hasattr(Y, "shape"), "a matrix was read as names"
            proba = clf.predict_proba(TEXTS)
            assert np.isfinite(proba).all()
            return
        assert entries is not None, "nonsense was read"
        assert exclude is None or excluded is not None, "a nonsense mask was read"
        assert plain is not None, "nonsense weights were read"
        assert all(0 <= value <= 1 for *_, value in entries)
        relevances = reduced(entries, shape, max).astype(np.float32)
        mask = reduced(excluded or [], shape, any).astype(np.float32)
        proba = clf.predict_proba(TEXTS)
        assert proba.shape == (len(TEXTS), shape[1])
        assert ((proba > 0) & (proba < 1)).all()
        given = None if weights is None else tuple(plain)
        expected = clean_fit(kind, shape, relevances.tobytes(), mask.tobytes(), given)
        np.testing.assert_array_equal(proba, expected)


LABELS = st.one_of(st.integers(0, 3), st.sampled_from(["x", "y", "z;"]))
NO_LABELS = st.sampled_from([None, math.nan, 1.5, True, b"x", [1], 10**30, np.datetime64("NaT")])


@fuzzed(60)
@given(st.data())
def test_lists_of_labels_are_fitted_as_their_matrix(data):
    n = data.draw(st.integers(1, 5))
    labels = data.draw(st.sampled_from([st.integers(0, 3), st.sampled_from("xyz"), LABELS,
                                        st.one_of(LABELS, LABELS, NO_LABELS)]))  # fmt: skip
    lists = data.draw(st.lists(st.lists(labels, max_size=3), min_size=n, max_size=n))
    row = data.draw(st.sampled_from([list, list, tuple, pd.Series, iter]))
    whole = data.draw(st.sampled_from([list, tuple, pd.Series, lambda rows: pl.Series(rows), iter]))
    with tried("fit", pl.exceptions.PolarsError):
        try:
            y = whole([row(labels) for labels in lists])
        except (TypeError, ValueError, pl.exceptions.PolarsError):
            return  # that container holds no such labels
        clf = make(ReneeClassifier, 4).fit(TEXTS[:n], y)
        lists = [list(row) for row in y]  # polars makes one type of them
        if clf._target_kind != "lists":  # 0 and 1 alone, in rows of one length
            assert set().union(*lists) <= {0, 1} or len(set(map(len, lists))) == 1
            return
        classes = sorted({label for labels in lists for label in labels})
        assert clf.classes_.tolist() == classes
        Y = np.array([[name in labels for name in classes] for labels in lists], np.float32)
        expected = make(ReneeClassifier, 4).fit(TEXTS[:n], sp.csr_array(Y))
        np.testing.assert_array_equal(clf.predict_proba(TEXTS), expected.predict_proba(TEXTS))
        assert clf.score(TEXTS[:n], lists) == expected.score(TEXTS[:n], sp.csr_array(Y))


# ---------------------------------------------------------------------------------------- predict
TRUTH = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]])
CONTAINERS = [list, tuple, pd.Series, pl.Series, pd.Index, lambda X: np.array(X, object), np.array,
              lambda X: np.array(X, object)[:, None], lambda X: pd.DataFrame({"text": X}),
              lambda X: np.ma.array(np.array(X, object), mask=False)]  # fmt: skip
BAD_X = [iter, set, lambda X: " ".join(X), lambda X: [[t] for t in X], lambda X: [*X, None],
         lambda X: [*X, 3], lambda X: [t.encode() for t in X], lambda X: np.array([X, X]).T,
         lambda X: np.ma.array(np.array(X, object), mask=True), lambda X: sp.csr_array((3, 3)),
         lambda X: pd.Series([*X, None]), lambda X: [], lambda X: None, lambda X: 3,
         lambda X: dict.fromkeys(X), lambda X: [*X, math.nan],
         lambda X: np.zeros((len(X), 0))]  # fmt: skip


@functools.lru_cache
def fitted(kind):
    return make(kind, 4).fit(TEXTS, sp.csr_array(TRUTH))


@fuzzed(100)
@given(st.data())
def test_predictions_are_those_of_a_list_and_leave_out_what_is_excluded(data):
    clf = fitted(data.draw(st.sampled_from([ReneeClassifier, DualEncoderXC, UniDEC])))
    texts = data.draw(st.lists(st.one_of(st.sampled_from(TEXTS), st.text(max_size=9)), min_size=1,
                               max_size=4))  # fmt: skip
    is_bad = data.draw(st.integers(0, 9)) == 0
    wrap = data.draw(st.sampled_from(BAD_X if is_bad else CONTAINERS))
    shape, k = (
        (len(texts), 4),
        data.draw(st.sampled_from([*4 * [1, 2, 4, 9, None], 0, -1, 1.5, "2"])),
    )
    exclude, excluded = data.draw(st.one_of(st.just((None, [])), matrices(shape, ANY_MASK)))
    with tried("predict"):
        labels, scores = clf.predict_top_k(wrap(texts), k, exclude)
        proba = clf.predict_proba(wrap(texts), exclude)
        assert not is_bad, "nonsense was read"
        if wrap is np.array:
            texts = [text.rstrip("\0") for text in texts]
        assert exclude is None or excluded is not None, "a nonsense mask was read"
        is_excluded = reduced(excluded or [], shape, any) > 0
        every = clf.decision_function(texts)
        every[is_excluded] = -np.inf
        for i, row in enumerate(every):
            best = [j for j in np.argsort(-row, kind="stable") if row[j] > -np.inf]
            best = best[: clf.top_k if k is None else k]
            assert len(set(labels[i][labels[i] >= 0])) == len(best)
            np.testing.assert_allclose(scores[i][labels[i] >= 0], row[best], rtol=1e-4, atol=1e-5)
        assert not is_excluded[np.nonzero(labels >= 0)[0], labels[labels >= 0]].any()
        assert ((proba > 0) & (proba < 1)).all()
        np.testing.assert_allclose(
            proba[~is_excluded], clf.predict_proba(texts)[~is_excluded], rtol=1e-5
        )
