"""Metrics against per-row Python loops, known values, and everything a caller may get wrong."""

from __future__ import annotations

import math
import re
from collections import deque

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from containers import INDEX_DTYPES, with_index_dtypes
from sklearn.preprocessing import MultiLabelBinarizer

from skxc import metrics
from skxc.metrics import (
    PROPENSITY_CONSTANTS,
    mrr_at_k,
    ndcg_at_k,
    precision_at_k,
    propensities,
    propensities_from_counts,
    psndcg_at_k,
    psp_at_k,
    ranking_metrics,
    recall_at_k,
)
from skxc.metrics import _top_k as top_k_module

KS = (1, 2, 5, 9)


# ------------------------------------------------------------------ the slow, independent version
def predictions_of_row(scores, i, excluded):
    """Label ids of row `i`, best first, of CSR, duplicates summed, or dense scores."""
    score_of = {}
    if sp.issparse(scores):
        for at in range(scores.indptr[i], scores.indptr[i + 1]):
            label = int(scores.indices[at])
            score_of[label] = score_of.get(label, 0) + scores.data[at]
    else:
        score_of = dict(enumerate(scores[i]))
    kept = [l for l, s in score_of.items() if s != -math.inf and l not in excluded]  # noqa: E741
    return sorted(kept, key=lambda label: (-score_of[label], label))


def brute_force(truth, scores, k, p=None, exclude=None, weight=None):
    """All metrics at `k`, a row at a time; `truth` and `exclude` dense."""
    n, n_labels = truth.shape
    weight = [1.0] * n if weight is None else weight
    inverse = [1.0] * n_labels if p is None else [1 / x for x in p]
    sums = dict.fromkeys(("P", "R", "nDCG", "MRR", "PSP", "bestPSP", "PSnDCG", "bestPSnDCG"), 0.0)
    for i in range(n):
        excluded = set() if exclude is None else {j for j in range(n_labels) if exclude[i, j] > 0}
        true = {j for j in range(n_labels) if truth[i, j] > 0} - excluded
        if not true:
            continue
        top = predictions_of_row(scores, i, excluded)[:k]
        ideal_dcg = sum(1 / math.log2(r + 2) for r in range(min(k, len(true))))
        best = sorted((inverse[j] for j in true), reverse=True)[:k]
        w = weight[i]
        sums["P"] += w * len(true.intersection(top)) / k
        sums["R"] += w * len(true.intersection(top)) / len(true)
        found_at = [r for r, j in enumerate(top, 1) if j in true]
        sums["MRR"] += w / found_at[0] if found_at else 0.0
        sums["PSP"] += w * sum(inverse[j] for j in top if j in true)
        sums["bestPSP"] += w * sum(best)
        for r, j in enumerate(top):
            if j in true:
                sums["nDCG"] += w / math.log2(r + 2) / ideal_dcg
                sums["PSnDCG"] += w * inverse[j] / math.log2(r + 2) / ideal_dcg
        for r, value in enumerate(best):
            sums["bestPSnDCG"] += w * value / math.log2(r + 2) / ideal_dcg
    result = {f"{name}@{k}": sums[name] / sum(weight) for name in ("P", "nDCG", "R", "MRR")}
    if p is not None:
        for name in ("PSP", "PSnDCG"):
            best = sums["best" + name]
            result[f"{name}@{k}"] = sums[name] / best if best else 0.0
    return result


def brute_force_all(truth, scores, ks, **kwargs):
    result = {}
    for k in ks:
        result |= brute_force(truth, scores, k, **kwargs)
    return result


# ------------------------------------------------------------------ random cases
def random_truth(rng, n, n_labels):
    truth = (rng.random((n, n_labels)) < rng.choice([0.1, 0.4])).astype(float)
    truth *= rng.choice([0.25, 1.0], size=truth.shape)  # relevances count as positive
    truth[rng.random(n) < 0.2] = 0  # rows without labels
    return truth


def random_ragged_scores(rng, n, n_labels):
    """CSR with ties, explicit zeros, negative scores, duplicates, unsorted and empty rows."""
    lengths = rng.integers(0, n_labels + 3, size=n) * (rng.random(n) < 0.8)
    indices = rng.integers(0, n_labels, size=lengths.sum())
    data = rng.integers(-2, 4, size=lengths.sum()) / 2.0
    data[rng.random(len(data)) < 0.05] = -np.inf
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    return sp.csr_array((data, indices, indptr), shape=(n, n_labels))


SHAPES = [(1, 1), (7, 1), (1, 6), (13, 5), (23, 17)]


@pytest.fixture(params=range(6))
def rng(request):
    return np.random.default_rng(request.param)


@pytest.fixture(params=[1, 16, 1 << 22], ids=lambda cells: f"block{cells}")
def block_cells(request, monkeypatch):
    """Blocks of one row, of a few rows, and one block for all."""
    monkeypatch.setattr(top_k_module, "_BLOCK_CELLS", request.param)


@pytest.mark.parametrize("is_weighted", [False, True], ids=["plain", "weights+exclude"])
@pytest.mark.parametrize("form", ["ragged", "dense"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.usefixtures("block_cells")
def test_metrics_equal_a_loop_over_rows(rng, shape, form, is_weighted):
    truth = random_truth(rng, *shape)
    if form == "ragged":
        scores = random_ragged_scores(rng, *shape)
    else:
        scores = rng.integers(-3, 4, size=shape) / 2.0
        scores[rng.random(shape) < 0.1] = -np.inf
    kwargs = {}
    if is_weighted:
        kwargs = {
            "exclude": (rng.random(shape) < 0.2).astype(float),
            "weight": rng.integers(0, 3, size=shape[0]) + (np.arange(shape[0]) == 0),
        }
    p = rng.uniform(0.05, 1.0, size=shape[1])
    expected = brute_force_all(truth, scores, KS, p=p, **kwargs)
    kwargs["sample_weight"] = kwargs.pop("weight", None)
    if is_weighted:
        kwargs["exclude"] = sp.csr_array(kwargs["exclude"])
    result = ranking_metrics(sp.csr_array(truth), scores, KS, propensities=p, **kwargs)
    assert result == pytest.approx(expected, rel=1e-12, abs=1e-15)
    assert all(isinstance(value, float) for value in result.values())


def test_fractions_lie_between_0_and_1(rng):
    truth = random_truth(rng, 40, 11)
    scores = random_ragged_scores(rng, 40, 11)
    p = rng.uniform(0.01, 1.0, size=11)
    for value in ranking_metrics(truth, scores, KS, propensities=p).values():
        assert 0 <= value <= 1 + 1e-12


def test_each_single_function_is_its_entry_of_ranking_metrics(rng):
    truth, scores = random_truth(rng, 20, 9), random_ragged_scores(rng, 20, 9)
    p = rng.uniform(0.1, 1.0, size=9)
    options = {"exclude": rng.random((20, 9)) < 0.2, "sample_weight": rng.random(20)}
    every = ranking_metrics(truth, scores, (3,), propensities=p, **options)
    assert {
        "P@3": precision_at_k(truth, scores, k=3, **options),
        "R@3": recall_at_k(truth, scores, k=3, **options),
        "nDCG@3": ndcg_at_k(truth, scores, k=3, **options),
        "MRR@3": mrr_at_k(truth, scores, k=3, **options),
        "PSP@3": psp_at_k(truth, scores, p, k=3, **options),
        "PSnDCG@3": psndcg_at_k(truth, scores, p, k=3, **options),
    } == every


def test_one_call_for_many_ks_equals_many_calls(rng):
    truth, scores = random_truth(rng, 20, 9), random_ragged_scores(rng, 20, 9)
    together = ranking_metrics(truth, scores, KS)
    apart = {}
    for k in KS:
        apart |= ranking_metrics(truth, scores, [k])
    assert together == pytest.approx(apart, rel=1e-12)


# ------------------------------------------------------------------ invariances
@pytest.mark.parametrize("format", ["csr", "csc", "coo", "lil", "dok", "bsr"])
@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csr_array])
def test_containers_do_not_matter(format, kind, rng):
    truth = random_truth(rng, 15, 8)
    scores = (rng.random((15, 8)) + 0.1) * (rng.random((15, 8)) < 0.6)
    exclude = rng.random((15, 8)) < 0.2
    expected = ranking_metrics(sp.csr_array(truth), sp.csr_array(scores), exclude=exclude)
    converted = [kind(m).asformat(format) for m in (truth, scores, exclude.astype(np.int8))]
    assert ranking_metrics(converted[0], converted[1], exclude=converted[2]) == expected


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int64, np.float32, np.float64])
def test_dtypes_do_not_matter(dtype, rng):
    truth = random_truth(rng, 15, 8) > 0
    scores = rng.integers(0, 2, size=(15, 8))
    expected = ranking_metrics(truth, scores.astype(float))
    assert ranking_metrics(truth.astype(dtype), scores.astype(dtype)) == expected
    stored = sp.csr_array(np.ones((15, 8)))  # keeps the zeros as entries
    stored.data = scores.astype(dtype).ravel()
    assert ranking_metrics(sp.csr_array(truth.astype(dtype)), stored) == expected


def test_int64_indices_do_not_matter(rng):
    truth, scores = sp.csr_array(random_truth(rng, 15, 8)), random_ragged_scores(rng, 15, 8)
    expected = ranking_metrics(truth, scores)
    for m in (truth, scores):
        m.indices, m.indptr = m.indices.astype(np.int64), m.indptr.astype(np.int64)
    assert ranking_metrics(truth, scores) == expected


@pytest.mark.parametrize("dtypes", INDEX_DTYPES, ids=str)
@pytest.mark.parametrize("format", ["csr", "csc", "bsr", "coo"])
def test_dtypes_of_index_arrays_do_not_matter(format, dtypes, rng):
    truth, scores, exclude = (rng.random((15, 8)) * (rng.random((15, 8)) < 0.4) for _ in range(3))
    expected = ranking_metrics(truth, sp.csr_array(scores), exclude=exclude)
    given = [with_index_dtypes(m, format, *dtypes) for m in (truth, scores, exclude)]
    assert ranking_metrics(given[0], given[1], exclude=given[2]) == expected
    np.testing.assert_array_equal(propensities(given[0]), propensities(truth))


FRAMES = {
    "int": pd.DataFrame,
    "nullable": lambda m: pd.DataFrame(m, dtype="Int64"),
    "sparse": lambda m: pd.DataFrame.sparse.from_spmatrix(sp.csr_matrix(m)),
    "sparse, 1 left out": lambda m: pd.DataFrame(m).astype(pd.SparseDtype(int, 1)),
    "mixed": lambda m: pd.DataFrame(m).astype({0: pd.SparseDtype(int, 0), 1: bool, 2: "boolean"}),
    "polars": pl.from_numpy,
}


@pytest.mark.parametrize("kind", FRAMES)
def test_a_data_frame_of_truth_or_of_a_mask_equals_its_array(kind, rng):
    truth, exclude = (1 * (rng.random((15, 8)) < 0.4) for _ in range(2))
    scores = rng.random((15, 8))
    expected = ranking_metrics(truth, scores, exclude=exclude)
    make = FRAMES[kind]
    assert ranking_metrics(make(truth), scores, exclude=make(exclude)) == expected
    np.testing.assert_array_equal(propensities(make(truth)), propensities(truth))


@pytest.mark.parametrize("kind", FRAMES)
def test_a_sparse_data_frame_of_scores_predicts_what_it_stores_and_others_every_label(kind, rng):
    truth, scores = rng.random((15, 8)) < 0.4, 1 * (rng.random((15, 8)) < 0.3)
    expected = ranking_metrics(truth, sp.csr_array(scores) if kind == "sparse" else scores)
    assert ranking_metrics(truth, FRAMES[kind](scores)) == expected


def test_dense_scores_equal_the_same_scores_all_stored(rng):
    truth, scores = random_truth(rng, 15, 8), rng.integers(-3, 3, size=(15, 8)).astype(np.float32)
    stored = sp.csr_array(np.ones((15, 8), dtype=np.float32))
    stored.data = scores.ravel().copy()
    assert ranking_metrics(truth, stored, KS) == ranking_metrics(truth, scores, KS)
    assert ranking_metrics(truth, np.asfortranarray(scores), KS) == ranking_metrics(
        truth, scores.tolist(), KS
    )


def test_duplicate_truth_counts_once_and_explicit_zeros_not_at_all():
    Y_true = sp.csr_array(([1, 1, 0], [2, 2, 0], [0, 3]), shape=(1, 3))
    scores = np.array([[3.0, 1.0, 2.0]])
    assert recall_at_k(Y_true, scores, k=2) == 1.0
    assert precision_at_k(Y_true, scores, k=1) == 0.0


@pytest.mark.parametrize("dtype", [bool, np.int8, np.float32])
def test_duplicate_scores_add_up_without_overflow(dtype):
    data = np.array([100, 100, 101], dtype=dtype)  # 200 overflows int8
    Y_score = sp.csr_array((data, [1, 1, 0], [0, 3]), shape=(1, 2))
    assert precision_at_k([[0, 1]], Y_score, k=1) == 1.0


def test_duplicate_scores_of_a_coo_array_add_up_without_overflow():
    data = np.array([100, 100, 101], dtype=np.int8)
    Y_score = sp.coo_array((data, ([0, 0, 0], [1, 1, 0])), shape=(1, 2))
    assert precision_at_k([[0, 1]], Y_score, k=1) == 1.0


def test_any_increasing_map_of_the_scores_leaves_the_metrics(rng):
    truth, scores = random_truth(rng, 20, 9), rng.normal(size=(20, 9))
    assert ranking_metrics(truth, np.exp(scores)) == ranking_metrics(truth, scores)


def test_whole_weights_equal_repeated_rows(rng):
    truth, scores = random_truth(rng, 12, 7), rng.normal(size=(12, 7))
    p, weight = rng.uniform(0.1, 1, size=7), rng.integers(0, 4, size=12) + (np.arange(12) == 0)
    repeated = ranking_metrics(
        np.repeat(truth, weight, axis=0), np.repeat(scores, weight, axis=0), propensities=p
    )
    weighted = ranking_metrics(truth, scores, propensities=p, sample_weight=weight)
    assert weighted == pytest.approx(repeated, rel=1e-12)


def test_the_truth_as_scores_is_perfect_except_for_precision(rng):
    truth = random_truth(rng, 20, 9)
    truth[:, 0] = 1.0
    p = rng.uniform(0.1, 1, size=9)
    result = ranking_metrics(truth, sp.csr_array((truth > 0) / p), (1, 9), propensities=p)
    names = ("P@1", "nDCG@1", "MRR@1", "PSP@1", "PSnDCG@1")
    names += ("R@9", "nDCG@9", "PSP@9", "PSnDCG@9")
    for name in names:
        assert result[name] == pytest.approx(1.0, abs=1e-12)
    assert result["P@9"] == pytest.approx((truth > 0).mean())


def test_equal_propensities_turn_psp_at_1_into_precision_among_labelled_rows(rng):
    truth, scores = random_truth(rng, 20, 9), rng.normal(size=(20, 9))
    has_label = truth.any(axis=1)
    assert psp_at_k(truth, scores, np.full(9, 0.3), k=1) == pytest.approx(
        precision_at_k(truth[has_label], scores[has_label], k=1)
    )


# ------------------------------------------------------------------ known values
def test_hand_made_case():
    Y_true = sp.csr_array([[1, 1, 0, 0], [0, 0, 1, 0]])
    Y_score = sp.csr_array([[0.9, 0.3, 0.6, 0.0], [0.0, 0.8, 0.7, 0.1]])
    # row 0 ranks 0, 2, 1: hits at 1 and 3; row 1 ranks 1, 2, 3: a hit at 2
    third, second = 1 / math.log2(4), 1 / math.log2(3)
    inverse = [1.0, 2.0, 2.0, 2.0]
    assert ranking_metrics(Y_true, Y_score, (1, 3), [1 / x for x in inverse]) == pytest.approx(
        {
            "P@1": 1 / 2,
            "P@3": (2 / 3 + 1 / 3) / 2,
            "nDCG@1": 1 / 2,
            "nDCG@3": ((1 + third) / (1 + second) + second) / 2,
            "R@1": (1 / 2 + 0) / 2,
            "R@3": 1.0,
            "MRR@1": (1 + 0) / 2,
            "MRR@3": (1 + 1 / 2) / 2,
            "PSP@1": (1 + 0) / (2 + 2),
            "PSP@3": (1 + 2 + 2) / (2 + 1 + 2),
            "PSnDCG@1": (1 + 0) / (2 + 2),
            "PSnDCG@3": ((1 + 2 * third) / (1 + second) + 2 * second)
            / ((2 + second) / (1 + second) + 2),
        },
        rel=1e-14,
    )


def test_ties_go_to_the_lower_label_even_across_the_cut():
    scores = np.array([[0.5, 0.7, 0.5, 0.5, 0.5]])
    for label, is_found in enumerate([True, True, False, False, False]):
        truth = np.eye(5)[[label]]
        assert recall_at_k(truth, scores, k=2) == is_found
        assert recall_at_k(truth, sp.csr_array(scores), k=2) == is_found


def test_a_missing_entry_is_no_prediction_but_a_stored_zero_is():
    truth = np.array([[0, 1]])
    missing = sp.csr_array(([-1.0], [0], [0, 1]), shape=(1, 2))
    stored = sp.csr_array(([-1.0, 0.0], [0, 1], [0, 2]), shape=(1, 2))
    assert recall_at_k(truth, missing, k=2) == 0.0
    assert precision_at_k(truth, stored, k=1) == 1.0


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_minus_infinity_is_no_prediction(form):
    scores = form(np.array([[1.0, -np.inf]]))
    assert recall_at_k([[0, 1]], scores, k=2) == 0.0


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_excluded_pairs_leave_before_the_cut(form):
    truth, scores = form(np.array([[1, 0, 1, 0]])), form(np.array([[0.9, 0.8, 0.7, 0.6]]))
    exclude = form(np.array([[1, 1, 0, 0]]))
    result = ranking_metrics(truth, scores, (1, 2), exclude=exclude)
    assert result.pop("P@2") == 0.5
    assert len(result) == 7
    assert set(result.values()) == {1.0}


def test_the_first_true_label_within_the_cut_counts_by_its_rank():
    scores = np.array([[0.1, 0.4, 0.3, 0.4]])  # ranks 1, 3, 2, 0
    for truth, ranks in {(1, 0, 0, 1): (0.5, 0.5), (1, 0, 1, 0): (0.0, 1 / 3)}.items():
        values = mrr_at_k([truth], scores, k=2), mrr_at_k([truth], scores, k=3)
        assert values == pytest.approx(ranks, rel=1e-15)
    exclude = np.array([[0, 1, 0, 0]])
    assert mrr_at_k([[1, 0, 1, 0]], scores, k=2, exclude=exclude) == 0.5
    rows = [[1, 0, 0, 1], [0, 0, 0, 0]], np.vstack([scores, scores])
    assert mrr_at_k(*rows, k=2) == 0.25
    assert mrr_at_k(*rows, k=2, sample_weight=[3, 1]) == 0.375


def test_explicit_zeros_of_exclude_exclude_nothing():
    exclude = sp.csr_array(([0.0], [0], [0, 1]), shape=(1, 2))
    assert precision_at_k([[1, 0]], [[1.0, 0.5]], k=1, exclude=exclude) == 1.0


def test_rows_without_labels_stay_in_the_denominators():
    truth, scores = np.array([[1, 0], [0, 0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    result = ranking_metrics(truth, scores, (1,), propensities=[0.5, 0.5])
    assert result == {
        **dict.fromkeys(("P@1", "nDCG@1", "R@1", "MRR@1"), 0.5),
        **{"PSP@1": 1.0, "PSnDCG@1": 1.0},
    }


@pytest.mark.parametrize("n_labels", [0, 3])
def test_nothing_true_and_nothing_predicted_is_0(n_labels):
    empty = sp.csr_array((4, n_labels))
    p = np.full(n_labels, 0.5)
    for scores in (empty, np.zeros((4, n_labels))):
        result = ranking_metrics(empty, scores, (1, 5), propensities=p)
        assert set(result.values()) == {0.0}


def test_k_beyond_the_labels_still_divides_precision_by_k():
    assert precision_at_k([[1, 1]], [[0.2, 0.1]], k=8) == 2 / 8


def test_one_long_row_among_short_ones_needs_no_wide_padding(monkeypatch):
    widths = []
    best_columns = top_k_module._best_columns

    def spy(scores, k):
        widths.append(scores.size)
        return best_columns(scores, k)

    monkeypatch.setattr(top_k_module, "_best_columns", spy)
    monkeypatch.setattr(top_k_module, "_BLOCK_CELLS", 1000)
    lengths = np.ones(500, dtype=int)
    lengths[250] = 900
    indices = np.concatenate([np.arange(n) for n in lengths])
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    scores = sp.csr_array((np.ones(len(indices)), indices, indptr), shape=(500, 1000))
    truth = sp.csr_array((np.ones(500), np.zeros(500, int), np.arange(501)), shape=(500, 1000))
    assert precision_at_k(truth, scores, k=1) == 1.0
    assert max(widths) <= 1000


# ------------------------------------------------------------------ inputs stay as they are
def duplicated_unsorted():
    return sp.csr_array(
        ([0.5, 0.5, 0.25, 0.0], [2, 0, 2, 1], [0, 3, 4]), shape=(2, 3)
    )  # sum_duplicates() would edit this


def buffers(matrix):
    return [matrix.data, matrix.indices, matrix.indptr]


def test_inputs_are_not_edited():
    inputs = [duplicated_unsorted() for _ in range(3)]
    before = [[b.copy() for b in buffers(m)] for m in inputs]
    dense = np.array([[0.1, 0.5, 0.2], [0.3, 0.2, 0.1]])
    dense_before = dense.copy()
    truth, scores, exclude = inputs
    ranking_metrics(truth, scores, exclude=exclude)
    ranking_metrics(truth, dense, exclude=exclude)
    propensities(truth)
    np.testing.assert_array_equal(dense, dense_before)
    for matrix, kept in zip(inputs, before, strict=True):
        for now, then in zip(buffers(matrix), kept, strict=True):
            np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("kind", [sp.csr_array, sp.csr_matrix])
def test_read_only_memory_maps_are_accepted(kind, tmp_path):
    truth, scores = duplicated_unsorted(), duplicated_unsorted()
    exclude = np.array([[1, 0, 0], [0, 0, 1]])
    given = (kind(truth), kind(scores), exclude, np.ones((2, 3)), np.full(3, 0.5), np.ones(2))
    joblib.dump(given, tmp_path / "inputs.joblib")
    mapped = joblib.load(tmp_path / "inputs.joblib", mmap_mode="r")
    assert not mapped[1].data.flags.writeable
    truth_map, scores_map, exclude_map, dense_map, p_map, weight_map = mapped
    options = {"propensities": p_map, "exclude": exclude_map, "sample_weight": weight_map}
    expected = {"propensities": given[4], "exclude": exclude, "sample_weight": given[5]}
    for got, wanted in ((scores_map, scores), (dense_map, given[3])):
        assert ranking_metrics(truth_map, got, **options) == ranking_metrics(
            truth, wanted, **expected
        )
    np.testing.assert_array_equal(propensities(truth_map), propensities(truth))


# ------------------------------------------------------------------ propensities
@pytest.mark.parametrize(("A", "B"), PROPENSITY_CONSTANTS.values(), ids=PROPENSITY_CONSTANTS.keys())
def test_propensities_follow_the_formula(A, B, rng):
    truth = random_truth(rng, 30, 6)
    C = (math.log(30) - 1) * (B + 1) ** A
    expected = [1 / (1 + C * math.exp(-A * math.log(n + B))) for n in (truth > 0).sum(axis=0)]
    for Y in (truth, sp.csr_array(truth), sp.csc_matrix(truth)):
        np.testing.assert_allclose(propensities(Y, A, B), expected, rtol=1e-13)
    counts = (truth > 0).sum(axis=0)
    np.testing.assert_array_equal(propensities_from_counts(counts, 30, A, B), propensities(Y, A, B))


def test_published_constants():
    assert dict(PROPENSITY_CONSTANTS) == {
        "amazon": (0.6, 2.6),
        "wikipedia": (0.5, 0.4),
        "default": (0.55, 1.5),
    }


def test_rare_labels_have_lower_propensity():
    p = propensities_from_counts([0, 1, 10, 1000], 1000)
    assert (np.diff(p) > 0).all()
    assert p.dtype == np.float64


@pytest.mark.parametrize("n_samples", [1, 2, 3, 4])
@pytest.mark.parametrize(("A", "B"), PROPENSITY_CONSTANTS.values())
def test_propensities_of_a_tiny_training_set_are_probabilities(n_samples, A, B):
    p = propensities_from_counts(np.arange(n_samples + 1), n_samples, A, B)
    assert ((p > 0) & (p <= 1)).all()
    if n_samples < math.e:
        assert (p == 1).all()


def test_duplicates_count_one_row():
    Y = sp.csr_array(([1, 1, 1], [0, 0, 1], [0, 2, 3, 3, 3]), shape=(4, 2))
    p = propensities(Y)
    assert p[0] == p[1]


def test_propensities_without_labels_are_empty():
    assert propensities(sp.csr_array((3, 0))).shape == (0,)


# ------------------------------------------------------------------ errors
TRUTH, SCORES = np.eye(3), np.eye(3)
SHAPE_HINT = "Pass the same rows and label columns in both."
K_HINT = "Pass a positive integer, such as 5."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"Y_score": np.ones((3, 2))},
            "Y_score has shape (3, 2), but Y_true has shape (3, 3). " + SHAPE_HINT,
        ),
        (
            {"Y_score": sp.csr_matrix((2, 3))},
            "Y_score has shape (2, 3), but Y_true has shape (3, 3). " + SHAPE_HINT,
        ),
        (
            {"exclude": np.ones((3, 4))},
            "exclude has shape (3, 4), but Y_true has shape (3, 3). " + SHAPE_HINT,
        ),
        (
            {"Y_true": np.ones(3)},
            "Y_true has shape (3,) and dtype float64. Pass a sparse matrix or an array of real "
            "numbers of shape (n_samples, n_labels).",
        ),
        (
            {"Y_score": np.array([["a", "b"]])},
            "Y_score has shape (1, 2) and dtype <U1. Pass a sparse matrix or an array of real "
            "numbers of shape (n_samples, n_labels).",
        ),
        ({"Y_true": np.ones((0, 3))}, "Y_true has shape (0, 3). Pass at least one row."),
        (
            {"Y_true": np.array([[1.0, np.nan, 0.0]] * 3)},
            "Y_true holds nan. Pass 0 for no, and 1 (or another positive number) for yes.",
        ),
        (
            {"Y_true": sp.csr_array(-np.eye(3))},
            "Y_true holds -1.0. Pass 0 for no, and 1 (or another positive number) for yes.",
        ),
        (
            {"exclude": -np.eye(3)},
            "exclude holds -1.0. Pass 0 for no, and 1 (or another positive number) for yes.",
        ),
        (
            {"Y_score": np.array([[0.0] * 3, [0.0, np.nan, 0.0], [0.0] * 3])},
            "Y_score holds nan in row 1. Pass numbers; -inf, or an entry left out of a sparse "
            "matrix, for a label that is not predicted.",
        ),
        (
            {"Y_score": sp.csr_array(([1.0, 2.0, np.nan], [0, 1, 1], [0, 2, 2, 3]), shape=(3, 3))},
            "Y_score holds nan in row 2. Pass numbers",
        ),
        ({"ks": (1, 0)}, "k is 0. " + K_HINT),
        ({"ks": (2.0,)}, "k is 2.0. " + K_HINT),
        ({"ks": (True,)}, "k is True. " + K_HINT),
        ({"ks": ()}, "ks is empty. Pass positive integers, such as (1, 3, 5)."),
        (
            {"propensities": np.ones(2)},
            "propensities has shape (2,), but Y_true has 3 columns. Pass one propensity per "
            "label, shape (3,).",
        ),
        (
            {"propensities": [0.5, 1.75, 0.5]},
            "propensities holds 1.75. Pass numbers in (0, 1]; if yours are inverse propensities, "
            "pass 1 / them.",
        ),
        ({"propensities": [0.5, 0.0, 0.5]}, "propensities holds 0. Pass numbers in (0, 1]"),
        ({"propensities": [0.5, np.nan, 0.5]}, "propensities holds nan. Pass numbers in (0, 1]"),
        (
            {"sample_weight": np.ones((3, 1))},
            "sample_weight has shape (3, 1), but Y_true has 3 rows. Pass one weight per row, "
            "shape (3,).",
        ),
        (
            {"sample_weight": [1, -1, 1]},
            "sample_weight holds -1. Pass finite weights of at least 0.",
        ),
        (
            {"sample_weight": [1, np.inf, 1]},
            "sample_weight holds inf. Pass finite weights of at least 0.",
        ),
        (
            {"sample_weight": [0, 0, 0]},
            "sample_weight sums to 0. Give at least one row a positive weight.",
        ),
    ],
)
def test_wrong_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ranking_metrics(**({"Y_true": TRUTH, "Y_score": SCORES} | change))


def damaged():
    matrix = sp.csr_array(TRUTH)
    matrix.indices[1] = 7
    return matrix


@pytest.mark.parametrize("name", ["Y_true", "Y_score", "exclude"])
def test_a_matrix_whose_indices_point_outside_is_refused_by_name(name):
    given = {"Y_true": TRUTH, "Y_score": SCORES} | {name: damaged()}
    with pytest.raises(ValueError, match=f"{name} is a damaged csr matrix: indices must be < 3"):
        ranking_metrics(**given)


def test_a_missing_value_in_a_data_frame_is_named_by_column_and_row():
    frame = pd.DataFrame({"a": [1, 0, 1], "b": [0, None, 1], "c": 0}, dtype="Int64")
    for name in ("Y_true", "Y_score"):
        given = {"Y_true": TRUTH, "Y_score": SCORES} | {name: frame}
        with pytest.raises(ValueError, match=f"{name} holds nan in column 'b', row 1."):
            ranking_metrics(**given)


# ------------------------------------------------------------------ label ids in place of a matrix
BINARIZE = "MultiLabelBinarizer(classes=range(n_labels), sparse_output=True).fit_transform(lists)"
FEW_SCORES = np.array([[0.9, 0.3, 0.6], [0.1, 0.8, 0.7]])
LABEL_IDS = {
    "lists": [[0, 2], [1, 2]],
    "lists as wide as the matrix": [[1, 2, 0], [0, 2, 1]],
    "lists of several lengths": [[0, 2], [1]],
    "tuples": ((0, 2), (1, 2)),
    "sets": [{0, 2}, {1}],
    "arrays in a list": [np.array([0, 2]), np.array([1, 2])],
    "arrays of several lengths": [np.array([0, 2]), np.array([1])],
    "names": [["a", "b"], ["c", "b"]],
    "pairs with a score": [[(0, 0.9), (2, 0.4)], [(1, 0.8), (2, 0.3)]],
    "in a Series": pd.Series([[0, 2], [1, 2]]),
    "in a polars Series": pl.Series([[0, 2], [1, 2]]),
    "in an object array": pd.Series([[0, 2], [1]]).to_numpy(),
}


@pytest.mark.parametrize("form", LABEL_IDS)
def test_lists_of_label_ids_are_refused_with_the_way_to_a_matrix(form):
    ids = LABEL_IDS[form]
    for name in ("Y_true", "Y_score", "exclude"):
        given = {"Y_true": FEW_SCORES > 0.5, "Y_score": FEW_SCORES} | {name: ids}
        with pytest.raises(ValueError, match=f"^{name} .*" + re.escape(BINARIZE)):
            ranking_metrics(**given)
    with pytest.raises(ValueError, match="^Y .*" + re.escape(BINARIZE)):
        propensities(ids)


@pytest.mark.parametrize("make", [
    list, tuple, deque, lambda rows: list(map(np.array, rows)), lambda rows: list(map(tuple, rows)),
])  # fmt: skip
def test_integers_in_lists_are_refused_as_scores_whatever_they_are(make):
    ids = make([[0, 1], [1, 0]])
    message = r"Y_score is .*: a matrix, or lists of label ids\? Pass a matrix as np\.asarray"
    for truth in (ids, np.eye(2), sp.csr_array(np.eye(2))):
        with pytest.raises(ValueError, match=message):
            precision_at_k(truth, ids, k=1)
    with pytest.raises(ValueError, match=r"Y_true is .* Pass a matrix as np\.asarray"):
        precision_at_k(ids, np.asarray([[0, 1], [1, 0]]), k=1)
    with pytest.raises(ValueError, match=r"Y is .* Pass a matrix as np\.asarray"):
        propensities(ids)


@pytest.mark.parametrize("make", [np.array, pd.DataFrame, pl.from_numpy])
def test_integers_above_1_in_an_array_are_not_taken_for_labels(make):
    ids = make(np.array([[1, 2, 3], [3, 4, 7]]))
    with pytest.raises(ValueError, match=r"Y_true holds 7: a label id\? .* of counts or grades"):
        precision_at_k(ids, FEW_SCORES)
    with pytest.raises(ValueError, match=r"exclude holds 7: a label id\?"):
        precision_at_k(FEW_SCORES > 0.5, FEW_SCORES, exclude=ids)
    with pytest.raises(ValueError, match=r"Y holds 7: a label id\?"):
        propensities(ids)


def test_counts_in_a_sparse_truth_and_grades_in_a_float_one_count_as_labels():
    truth = np.array([[0, 1, 0], [0, 2, 0]])
    for given in (sp.csr_array(truth), truth.astype(float)):
        assert precision_at_k(given, FEW_SCORES, k=1) == 0.5


def test_lists_of_0_and_1_beside_scores_and_lists_of_floats_are_matrices():
    truth = [[0, 1, 0], [0, 1, 1]]
    for scores in (FEW_SCORES, FEW_SCORES.tolist(), sp.csr_array(FEW_SCORES)):
        assert precision_at_k(truth, scores, k=1) == 0.5
    assert precision_at_k(truth, FEW_SCORES, k=1, exclude=[[0, 0, 0], [0, 1, 0]]) == 0.5
    assert precision_at_k([[0, 0.5, 0], [False, True, True]], FEW_SCORES, k=1) == 0.5
    assert precision_at_k(np.array(truth), (FEW_SCORES * 10).astype(int), k=1) == 0.5


def test_lists_of_label_ids_make_matrices_that_give_napkinxcs_number():
    true_ids, best_ids = [[1, 2, 3], [3, 4, 7]], [[1, 2, 4], [7, 6, 3]]
    Y_true = MultiLabelBinarizer(classes=range(8), sparse_output=True).fit_transform(true_ids)
    Y_score = sp.csr_array(([3, 2, 1] * 2, np.ravel(best_ids), [0, 3, 6]), shape=Y_true.shape)
    assert precision_at_k(Y_true, Y_score, k=3) == pytest.approx(2 / 3)


@pytest.mark.parametrize("k", [0, -1, 1.5, "5", None, True])
def test_single_functions_refuse_a_wrong_k(k):
    with pytest.raises(ValueError, match=re.escape(f"k is {k!r}. {K_HINT}")):
        precision_at_k(TRUTH, SCORES, k=k)


def test_a_numpy_integer_is_a_k():
    assert precision_at_k(TRUTH, SCORES, k=np.int64(1)) == 1.0


def test_a_single_int_is_accepted_as_ks():
    assert ranking_metrics(TRUTH, SCORES, 2) == ranking_metrics(TRUTH, SCORES, (2,))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ([[1, 2]], 3),
            "label_counts has shape (1, 2). Pass one count per label, 1-d.",
        ),
        (
            ([0, 4], 3),
            "label_counts holds 4, but n_samples is 3. Pass counts between 0 and n_samples, both "
            "of the same training matrix.",
        ),
        (
            ([[0, 2], [1]], 3),
            "label_counts is [[0, 2], [1]]. Pass a list or 1-d array of one count per label.",
        ),
        (([0, -1], 3), "label_counts holds -1, but n_samples is 3."),
        (([0], 0), "n_samples is 0. Pass the number of training rows, at least 1."),
        (
            ([0], 3, -0.1, 1.5),
            "A is -0.1 and B is 1.5. Pass a finite A of at least 0 and a finite B greater than 0; "
            "PROPENSITY_CONSTANTS holds the published pairs.",
        ),
        (([0], 3, 0.5, 0), "A is 0.5 and B is 0. "),
    ],
)
def test_wrong_counts_and_constants_are_named(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        propensities_from_counts(*arguments)


def test_propensities_refuse_what_is_not_a_label_matrix():
    with pytest.raises(ValueError, match=re.escape("Y holds -1. Pass 0 for no, and 1")):
        propensities(np.array([[1, -1]]))


def test_all_names_are_public_and_documented():
    for name in set(metrics.__all__) - {"PROPENSITY_CONSTANTS"}:
        assert getattr(metrics, name).__doc__
