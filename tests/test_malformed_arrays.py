"""Masked entries, sums that overflow, and labels of another type than the fitted ones."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import clone

from skxc import ReneeClassifier
from skxc._validation import frame_to_csr
from skxc.encoders import BagOfWordsEncoder
from skxc.metrics import (
    LabelFrequencyDisplay,
    XMCScorer,
    precision_at_k,
    propensities,
    propensities_from_counts,
    ranking_metrics,
)
from skxc.metrics._checks import check_matrix
from skxc.metrics._top_k import top_k_scores
from skxc.model_selection import MultilabelStratifiedShuffleSplit, cross_val_predict_top_k
from skxc.model_selection._rows import sound_rows

TEXTS = ["a red cat", "a blue dog", "the red dog", "one bird"]
Y = np.eye(4)
CLF = ReneeClassifier(encoder=BagOfWordsEncoder(dim=4, min_df=1), epochs=1, random_state=0)
FITTED = ReneeClassifier(**CLF.get_params(deep=False)).fit(TEXTS, Y)


def masked(values):
    array = np.ma.array(values)
    array[0] = np.ma.masked
    return array


MASKED = {
    "X": lambda: CLF.fit(masked(np.array(TEXTS, object)), Y),
    "y": lambda: CLF.fit(TEXTS, masked(Y)),
    "y, a list of rows": lambda: CLF.fit(TEXTS, list(masked(Y))),
    "y, 1-d": lambda: CLF.fit(TEXTS, masked([0, 1, 0, 1])),
    "sample_weight": lambda: CLF.fit(TEXTS, Y, sample_weight=masked(np.ones(4))),
    "Y_true": lambda: ranking_metrics(masked(Y), Y),
    "Y_score": lambda: ranking_metrics(Y, masked(Y)),
    "exclude": lambda: ranking_metrics(Y, Y, exclude=masked(Y)),
    "propensities": lambda: ranking_metrics(Y, Y, propensities=masked(np.ones(4))),
    "sample_weight, metrics": lambda: ranking_metrics(Y, Y, sample_weight=masked(np.ones(4))),
    "Y": lambda: propensities(masked(Y)),
    "label_counts": lambda: propensities_from_counts(masked([1.0, 2.0]), 3),
    "label_counts, display": lambda: LabelFrequencyDisplay.from_predictions(
        Y, Y, label_counts=masked([5, 5, 5, 5]), k=1
    ),
    "threshold": lambda: clone(CLF).set_params(threshold=masked([0.1] * 4)).fit(TEXTS, Y),
    "classes": lambda: clone(CLF).partial_fit(TEXTS, Y, classes=masked([1, 2, 3, 4])),
}


@pytest.mark.parametrize("case", MASKED)
def test_masked_entries_are_not_read(case):
    name = case.partition(",")[0]
    with pytest.raises(ValueError, match=re.escape(f"{name} holds masked entries")):
        MASKED[case]()


def test_a_masked_array_without_masked_entries_is_read():
    whole = np.ma.array(Y, mask=False)
    assert ranking_metrics(whole, whole, (1,)) == ranking_metrics(Y, Y, (1,))


@pytest.mark.parametrize("weights", [[1j] * 4, [10**400] * 4, np.ones(4, "M8[s]"), ["a"] * 4])
def test_weights_that_are_no_numbers_are_refused(weights):
    with pytest.raises(ValueError, match=r"(?s)sample_weight is .*\. Pass one number per text"):
        CLF.fit(TEXTS, Y, sample_weight=weights)
    with pytest.raises(ValueError, match=r"(?s)sample_weight is .*\. Pass one weight per row"):
        ranking_metrics(Y, Y, sample_weight=weights)


def test_a_number_that_no_float_holds_is_refused_as_y():
    with pytest.raises(TypeError, match="Y has dtype object"):
        CLF.fit(TEXTS, np.array([[10**400, 0]] * 4, dtype=object))


def test_the_largest_integer_in_a_data_frame_is_not_read_as_0():
    frame = pd.DataFrame({"a": np.array([0, 2**64 - 1], dtype=np.uint64), "b": [1, 0]})
    np.testing.assert_array_equal(frame_to_csr(frame, "Y").toarray(), [[0, 1], [2.0**64, 0]])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([["a"], np.array([b"b"])], "Y[1] holds the label"),
        ([np.array([1j])], "Y[0] holds the label"),
        ([[1j], [2j]], "Y[0] holds the label"),
        (np.zeros(4, [("a", int)]), "y holds the label (0,) of type tuple"),
        ([iter([1])], "y holds the label <list_iterator"),
        ([[0, [1]]], "Y[0] holds the label [1] of type list"),
    ],
)
def test_labels_that_are_no_names_are_refused_by_row(y, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        CLF.fit(TEXTS[: len(y)], y)


@pytest.mark.parametrize("dtype", [">f8", "f2", ">f4"])
def test_scores_of_dtypes_that_scipy_does_not_know_are_read(dtype):
    assert check_matrix(Y.astype(dtype), "Y").dtype in (np.float32, np.float64)
    assert ranking_metrics(Y, Y.astype(dtype), (1,)) == ranking_metrics(Y, Y, (1,))


def test_a_matrix_of_three_dimensions_is_refused():
    with pytest.raises(ValueError, match=re.escape("y has shape (4, 2, 2)")):
        next(MultilabelStratifiedShuffleSplit(2).split(TEXTS, sp.coo_array((4, 2, 2))))


def test_nan_in_a_mask_is_refused():
    mask = sp.csr_array(np.where(Y > 0, np.nan, 0))
    with pytest.raises(ValueError, match="exclude holds nan"):
        CLF.fit(TEXTS, Y, exclude=mask)


@pytest.mark.parametrize(
    ("fitted", "other"), [([0, 1, 0, 1], list("abab")), (list("abab"), [0, 1, 0, 1])]
)
def test_labels_of_another_type_than_the_fitted_ones_do_not_score_0(fitted, other):
    clf = ReneeClassifier(**CLF.get_params(deep=False)).fit(TEXTS, fitted)
    for score in (clf.score, lambda X, y: XMCScorer("P@1")(clf, X, y)):
        with pytest.raises(ValueError, match="but the model was fitted on labels such as"):
            score(TEXTS, other)
    assert XMCScorer("P@1")(clf, TEXTS, fitted) == clf.score(TEXTS, fitted)


def twice(container, dtype, value):
    """Each pair of `Y` stored twice, `value` each time."""
    rows = np.repeat(np.arange(4), 2)
    coo = sp.coo_array((np.full(8, value).astype(dtype), (rows, rows)), shape=(4, 4))
    if container is sp.coo_array:
        return coo
    indptr = np.arange(0, 10, 2)
    return container((coo.data, rows, indptr), shape=(4, 4))


CONTAINERS = [sp.coo_array, sp.csr_array, sp.csc_array]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(("dtype", "value"), [("u1", 128), ("i1", -128), ("?", True), ("i1", 64)])
def test_pairs_stored_twice_stay_excluded_where_rows_are_taken(container, dtype, value):
    rows = sound_rows(twice(container, dtype, value), "exclude").tocsr()[[2, 0]]
    assert (rows.nnz, rows.indices.tolist()) == (4, [2, 2, 0, 0])
    assert (rows.data == np.array(value, dtype)).all()


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(("dtype", "value", "total"), [("u1", 128, 256), ("?", True, 2)])
def test_scores_stored_twice_add_up_without_overflow(container, dtype, value, total):
    labels, scores = top_k_scores(twice(container, dtype, value), 1)
    assert labels.ravel().tolist() == [0, 1, 2, 3]
    assert scores.ravel().tolist() == [total] * 4


def test_pairs_of_y_stored_twice_are_one_pair_to_splits_and_cross_validation():
    Y_twice = twice(sp.coo_array, "i8", 1)
    cv = MultilabelStratifiedShuffleSplit(2, test_size=2, random_state=0)
    for ours, plain in zip(cv.split(TEXTS, Y_twice), cv.split(TEXTS, Y), strict=True):
        np.testing.assert_array_equal(ours, plain)
    ours, plain = (cross_val_predict_top_k(CLF, TEXTS, y, cv=2) for y in (Y_twice, sp.csr_array(Y)))
    np.testing.assert_array_equal(ours.toarray(), plain.toarray())


def test_numbers_in_strings_are_no_numbers_whatever_their_container():
    for container in (np.array, pd.Series, lambda v: np.array(v, object), list):
        with pytest.raises(ValueError, match=r"(?s)sample_weight is .+ Pass one number per text"):
            CLF.fit(TEXTS, Y, sample_weight=container(["1", "2", "1", "1"]))
        with pytest.raises(ValueError, match=r"(?s)propensities is .+ Pass one propensity"):
            ranking_metrics(Y, Y, propensities=container(["1", "1", "1", "1"]))
    with pytest.raises(TypeError, match="Y has dtype object"):
        CLF.fit(TEXTS, Y.astype(int).astype(str).astype(object))


@pytest.mark.parametrize("largest", [1e308, 1, 5e-324])
def test_metrics_know_only_the_ratios_of_weights(largest):
    Y_score = np.eye(4)[[0, 1, 1, 0]] * 0.5
    weights = largest * np.ones(4)
    found = ranking_metrics(Y, Y_score, (1,), sample_weight=weights)
    assert found == ranking_metrics(Y, Y_score, (1,))


def test_a_propensity_whose_inverse_cannot_be_added_is_refused():
    with pytest.raises(ValueError, match=r"holds 1e-308, whose inverse .+ at least 1e-100"):
        ranking_metrics(Y, Y, propensities=[1e-308, 1, 1, 1])
    assert ranking_metrics(Y, Y, (1,), propensities=[1e-99, 1, 1, 1])["PSP@1"] == 1


def test_large_ids_in_a_data_frame_are_not_taken_for_relevances():
    ids = pd.DataFrame([[2**60, 5, 0, 0], [2**60 + 1, 7, 0, 0], [0] * 4, [0] * 4])
    for wrong in (ids, ids % 100):
        with pytest.raises(ValueError, match="a label id"):
            ranking_metrics(wrong, Y)


def test_score_weighs_as_accuracy_does():
    fitted = ReneeClassifier(**CLF.get_params(deep=False)).fit(TEXTS, [0, 1, 0, 1])
    weights = np.array([1.0, 3.0, 7.0, 5.0])
    expected = np.average(fitted.predict(TEXTS) == np.array([1, 1, 0, 0]), weights=weights)
    found = fitted.score(TEXTS, [1, 1, 0, 0], sample_weight=weights)
    assert abs(found - expected) < 1e-15


@pytest.mark.parametrize("dtype", [np.float16, ">f8", ">i4"])
def test_diagonals_of_any_dtype_are_read(dtype):
    dia = sp.dia_array((np.ones((1, 4), dtype), [0]), shape=(4, 4))
    np.testing.assert_array_equal(check_matrix(dia, "Y").toarray(), np.eye(4))


def test_a_dictionary_of_one_dimension_is_split():
    row = sp.dok_array(np.array([1.0, 0, 1, 1]))
    np.testing.assert_array_equal(sound_rows(row, "X").toarray(), [1, 0, 1, 1])


@pytest.mark.parametrize("format", ["csr", "csc", "coo", "bsr", "dia", "lil"])
def test_a_length_that_no_int64_holds_is_damage(format):
    wrong = sp.eye_array(4, format=format)
    wrong._shape = (4, 2**70)
    with pytest.raises(ValueError, match="Y is a damaged"):
        check_matrix(wrong, "Y")


def test_a_relevance_that_float32_rounds_to_nothing_is_refused():
    for tiny in (Y * 1e-50, sp.csr_array(Y * 1e-50)):
        with pytest.raises(ValueError, match="Y holds a relevance that float32 rounds to 0"):
            CLF.fit(TEXTS, tiny)


def test_complex_classes_are_refused_by_name():
    with pytest.raises(TypeError, match=r"y holds the label .+ of type complex"):
        CLF.fit(TEXTS, np.array([1 + 1j, 2, 1, 2]))


def test_an_iterator_of_classes_is_refused():
    with pytest.raises(TypeError, match=r"classes is a generator\. Pass a list or an array"):
        clone(CLF).partial_fit(TEXTS, Y, classes=(c for c in "abcd"))


def test_a_span_of_time_is_no_cut():
    with pytest.raises(ValueError, match="k is"):
        precision_at_k(Y, Y, k=np.timedelta64(3))
