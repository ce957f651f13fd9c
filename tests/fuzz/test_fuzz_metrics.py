"""Random truth, scores, masks and weights, against metrics computed pair by pair in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inputs import matrices, reduced, weights_of
from tries import fuzzed, tried

from skxc.metrics import propensities, ranking_metrics
from skxc.metrics._top_k import top_k_scores

pytestmark = pytest.mark.filterwarnings("ignore")

TRUTH = st.sampled_from([0.0, 1.0])
ANY_TRUTH = st.sampled_from([0.0, 0.0, 0.5, 1.0, 1.0, 3.0, -1.0, math.nan])
SCORES = st.sampled_from([0.0, 0.25, 0.5, 0.5, 1.0, 2.0, -3.0, 128.0, 1e300, -math.inf, math.inf])
BAD_SCORES = st.one_of(SCORES, st.just(math.nan))
SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 5))


def is_set_of_pairs(entries):
    return entries is not None and all(value >= 0 for *_, value in entries)


def naive_metrics(truth, scores, excluded, ks, propensity, weights):
    """Row by row; `scores` are NaN where nothing is predicted."""
    n_samples, n_labels = truth.shape
    names = ("P", "R", "nDCG", "MRR", "PSP", "best")
    rows = {name: np.zeros((len(ks), n_samples)) for name in names}
    for i in range(n_samples):
        true = [j for j in range(n_labels) if truth[i, j] and not excluded[i, j]]
        ranked = [j for j in range(n_labels) if scores[i, j] > -math.inf and not excluded[i, j]]
        ranked.sort(key=lambda j: (-scores[i, j], j))
        rarest = sorted(true, key=lambda j: propensity[j])
        for n, k in enumerate(ks):
            hits = [j in true for j in ranked[:k]]
            ideal = sum(1 / math.log2(place + 2) for place in range(min(k, len(true))))
            gain = sum(hit / math.log2(place + 2) for place, hit in enumerate(hits))
            rows["P"][n, i] = sum(hits) / k
            rows["R"][n, i] = sum(hits) / max(len(true), 1)
            rows["nDCG"][n, i] = gain / ideal if true else 0.0
            rows["MRR"][n, i] = 1 / (1 + hits.index(True)) if any(hits) else 0.0
            rows["PSP"][n, i] = sum(1 / propensity[j] for j in ranked[:k] if j in true)
            rows["best"][n, i] = sum(1 / propensity[j] for j in rarest[:k])
    mean = {name: values @ weights / sum(weights) for name, values in rows.items()}
    mean["PSP"] = np.divide(mean["PSP"], mean["best"], out=0 * mean["PSP"], where=mean["best"] > 0)
    return {f"{name}@{k}": mean[name][n] for name in names[:-1]
            for n, k in enumerate(ks)}  # fmt: skip


def summed(entries, shape):
    """Scores as a dense array, NaN where there is none."""
    stored = reduced([(r, c, 1.0) for r, c, _ in entries], shape, len)
    with np.errstate(invalid="ignore"):
        return np.where(stored > 0, reduced(entries, shape, sum), np.nan)


@fuzzed(200)
@given(st.data())
def test_metrics_are_those_of_the_naive_computation(data):
    shape, ks = data.draw(SHAPES), data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=3))
    truth, true_entries = data.draw(
        matrices(shape, data.draw(st.sampled_from([TRUTH, TRUTH, ANY_TRUTH])))
    )
    scores, score_entries = data.draw(
        matrices(shape, data.draw(st.sampled_from([SCORES, SCORES, BAD_SCORES])))
    )
    exclude, excluded_entries = data.draw(
        st.one_of(st.just((None, [])), matrices(shape, st.sampled_from([0.0, 0.0, 1.0, 128.0])))
    )
    weights, plain = data.draw(weights_of(shape[0]))
    propensity = data.draw(
        st.lists(st.sampled_from([0.25, 0.5, 1.0]), min_size=shape[1], max_size=shape[1])
    )
    with tried("metrics"):
        found = ranking_metrics(truth, scores, ks, propensity, exclude, weights)
        assert is_set_of_pairs(true_entries), "bad truth was read"
        assert exclude is None or is_set_of_pairs(excluded_entries), "a bad mask was read"
        assert score_entries is not None, "bad scores were read"
        assert plain is not None, "bad weights were read"
        is_true = reduced(true_entries, shape, lambda v: max(v) > 0) > 0
        is_excluded = reduced(excluded_entries or [], shape, lambda v: max(v) > 0) > 0
        dense = summed(score_entries, shape)
        expected = naive_metrics(is_true, dense, is_excluded, sorted(set(ks)), propensity, plain)
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name
        assert 0 <= found[f"PSnDCG@{ks[0]}"] <= 1 + 1e-9


@fuzzed(60)
@given(st.data())
def test_propensities_are_those_of_the_counts(data):
    shape = data.draw(SHAPES)
    Y, entries = data.draw(matrices(shape, ANY_TRUTH))
    with tried("metrics"):
        found = propensities(Y)
        if entries is None and np.shape(Y) != shape:
            return  # a matrix without columns is one
        assert is_set_of_pairs(entries)
        counts = reduced(entries, shape, lambda v: max(v) > 0).sum(0)
        C = max(math.log(shape[0]) - 1, 0) * 2.5**0.55
        np.testing.assert_allclose(found, 1 / (1 + C * (counts + 1.5) ** -0.55))


@fuzzed(60)
@given(st.data())
def test_the_best_labels_are_those_of_a_sort(data):
    shape, k = data.draw(SHAPES), data.draw(st.integers(1, 7))
    scores, entries = data.draw(matrices(shape, BAD_SCORES))
    with tried("metrics"):
        labels, values = top_k_scores(scores, k)
        if entries is None:
            assert np.shape(scores) != shape, "bad scores were read"
            return
        dense = summed(entries, shape)
        for i, row in enumerate(dense):
            ranked = [j for j in np.argsort(-row, kind="stable") if row[j] > -math.inf][:k]
            assert labels[i][labels[i] >= 0].tolist() == ranked
            np.testing.assert_allclose(values[i, : len(ranked)], row[ranked], rtol=1e-3)
