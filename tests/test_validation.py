"""What users pass in: every accepted container is read alike, every bad one is named."""

from __future__ import annotations

import re
import tracemalloc
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from containers import (
    INDEX_DTYPES,
    LABEL_LISTS,
    MATRICES,
    TEXT_CONTAINERS,
    explicit_zeros,
    with_index_dtypes,
)
from sklearn.exceptions import DataConversionWarning

from skxc._validation import (
    callers_stack_level,
    check_choice,
    check_exclude,
    check_integer,
    check_label_texts,
    check_real,
    check_sample_weight,
    check_seed,
    check_target,
    check_texts,
    frame_to_array,
    frame_to_csr,
    resolve_device,
    sound_sparse,
)

NAN = float("nan")


# ------------------------------------------------------------------------------------- parameters
@pytest.mark.parametrize("value", ["auto", True, False, np.str_("auto"), np.True_])
def test_an_accepted_choice_passes_also_as_a_numpy_scalar_from_a_grid(value):
    check_choice("sparse_output", value, ("auto", True, False))


@pytest.mark.parametrize("value", ["Auto", 1, 0, None, 1.0, [], np.int64(1)])
def test_an_unknown_choice_is_named_with_all_accepted_ones(value):
    message = f"sparse_output={value!r} is unknown. Pass one of 'auto', True, False."
    with pytest.raises(ValueError, match=re.escape(message)):
        check_choice("sparse_output", value, ("auto", True, False))


def test_an_integer_of_at_least_the_bound_passes():
    check_integer("top_k", 1, 1)
    check_integer("top_k", np.int32(7), 1)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (0, ValueError, "top_k=0 is too small. Pass an integer of at least 1."),
        (-3, ValueError, "top_k=-3 is too small. Pass an integer of at least 1."),
        (1.0, TypeError, "top_k must be an integer of at least 1, got 1.0."),
        (True, TypeError, "top_k must be an integer of at least 1, got True."),
        ("5", TypeError, "top_k must be an integer of at least 1, got '5'."),
        (None, TypeError, "top_k must be an integer of at least 1, got None."),
    ],
)
def test_a_bad_integer_is_named(value, error, message):
    with pytest.raises(error, match=re.escape(message)):
        check_integer("top_k", value, 1)


@pytest.mark.parametrize(("value", "ends"), [(0, "[]"), (1, "[]"), (0.5, "()"), (1, "(]")])
def test_a_number_inside_the_interval_passes(value, ends):
    check_real("threshold", value, high=1, ends=ends)
    check_real("threshold", np.float32(value), high=1, ends=ends)


@pytest.mark.parametrize(
    ("value", "ends", "error", "message"),
    [
        (0, "(]", ValueError, "rate=0 is out of range. Pass a number in (0, 1]."),
        (1, "[)", ValueError, "rate=1 is out of range. Pass a number in [0, 1)."),
        (-0.1, "[]", ValueError, "rate=-0.1 is out of range. Pass a number in [0, 1]."),
        (NAN, "[]", ValueError, "rate=nan is out of range. Pass a number in [0, 1]."),
        ("1", "[]", TypeError, "rate must be a number in [0, 1], got '1'."),
        (True, "[]", TypeError, "rate must be a number in [0, 1], got True."),
        (None, "[]", TypeError, "rate must be a number in [0, 1], got None."),
    ],
)
def test_a_bad_number_is_named_with_its_interval(value, ends, error, message):
    with pytest.raises(error, match=re.escape(message)):
        check_real("rate", value, high=1, ends=ends)


def test_an_unbounded_number_must_still_be_finite():
    message = "rate=inf is out of range. Pass a number in [0, inf)."
    with pytest.raises(ValueError, match=re.escape(message)):
        check_real("rate", float("inf"))


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), "auto"])
def test_a_device_that_is_there_is_resolved(device):
    assert isinstance(resolve_device(device), torch.device)


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta", 3.5, None])
def test_a_device_that_is_not_there_is_named(device):
    with pytest.raises(
        ValueError, match=re.escape(f"device={device!r} is not available here (")
    ) as caught:
        resolve_device(device)
    assert "Pass 'auto', 'cpu' or a device that this torch build sees" in str(caught.value)


# ------------------------------------------------------------------------------------------ texts
TEXTS = ["a small history", "", "of   Ünïcode\n字"]


@pytest.mark.parametrize("container", TEXT_CONTAINERS)
def test_texts_are_read_alike_from_every_container(container):
    texts = check_texts(TEXT_CONTAINERS[container](TEXTS))
    assert texts == TEXTS
    assert all(isinstance(text, str) for text in texts)


def test_the_list_of_texts_is_a_copy():
    texts = ["a", "b"]
    assert check_texts(texts) is not texts


MISSING = "Fill missing texts, such as with '', or drop the rows."
BAD_TEXTS = {
    "bare string": (
        "apple pie",
        ValueError,
        "X is a single str, 'apple pie'. Pass a list of texts; for one text: [X].",
    ),
    "bare bytes": (b"apple", ValueError, "X is a single bytes, b'apple'. Pass a list of texts"),
    "None": (None, TypeError, "X is None. Pass a list, tuple, 1-d array or Series of str"),
    "number": (3, TypeError, "X is 3. Pass a list, tuple, 1-d array or Series of str"),
    "dict": ({"a": 1}, TypeError, "X is a dict. Pass a list, tuple, 1-d array or Series of str."),
    "set": ({"a"}, TypeError, "X is a set. Pass a list, tuple, 1-d array or Series of str."),
    "sparse": (sp.eye_array(2), TypeError, "Pass a list, tuple, 1-d array or Series of str."),
    "generator": ((t for t in "ab"), TypeError, "X is a generator, read once only. Pass list(X)."),
    "2-d array": (
        np.array([["a", "b"], ["c", "d"]]),
        ValueError,
        "X has shape (2, 2). Pass texts as a 1-d sequence of str, or one column. To join columns "
        "of text: [' '.join(row) for row in X]",
    ),
    "two-column DataFrame": (
        pd.DataFrame({"title": ["a"], "body": ["b"]}),
        ValueError,
        "X has shape (1, 2). Pass texts as a 1-d sequence of str, or one column. To join columns "
        "of text: X['title'] + ' ' + X['body']",
    ),
    "3-d array": (np.full((1, 1, 1), "a"), ValueError, "X has shape (1, 1, 1)."),
    "empty list": ([], ValueError, "X holds 0 texts. Pass at least one."),
    "empty array": (np.empty(0), ValueError, "X holds 0 texts. Pass at least one."),
    "empty Series": (pd.Series([], dtype="str"), ValueError, "X holds 0 texts."),
    "None inside": (
        ["a", None],
        ValueError,
        f"X[1] is None of type NoneType, not a str. {MISSING}",
    ),
    "NaN inside": (["a", "b", NAN], ValueError, f"X[2] is nan of type float, not a str. {MISSING}"),
    "NaN in a Series": (
        pd.Series(["a", NAN], dtype=object),
        ValueError,
        f"X[1] is nan of type float, not a str. {MISSING}",
    ),
    "NA in a string Series": (
        pd.Series([None, "a"], dtype="string"),
        ValueError,
        f"X[0] is <NA> of type NAType, not a str. {MISSING}",
    ),
    "NaN in a category Series": (
        pd.Series(["a", None], dtype="category"),
        ValueError,
        f"X[1] is nan of type float, not a str. {MISSING}",
    ),
    "null in a polars Series": (
        pl.Series(["a", None]),
        ValueError,
        f"X[1] is None of type NoneType, not a str. {MISSING}",
    ),
    "bytes inside": (
        ["a", b"pie"],
        TypeError,
        "X[1] is b'pie' of type bytes, not a str. Decode the bytes first",
    ),
    "numbers": (np.array([1.5, 2.0]), TypeError, "X[0] is 1.5 of type float, not a str. Pass one"),
    "column of numbers": (np.zeros((2, 1)), TypeError, "X[0] is 0.0 of type float, not a str."),
    "lists of tokens": (
        [["apple", "pie"]],
        TypeError,
        "X[0] is ['apple', 'pie'] of type list, not a str. Pass one str a row: [' '.join(row) "
        "for row in X]",
    ),
    "rows with fields": (
        [{"title": "a", "year": 3, "body": "b"}],
        TypeError,
        "Pass one str a row: [' '.join([row['title'], row['body']]) for row in X]",
    ),
    "values of a dict": ({"a": "b"}.values(), TypeError, "X is a dict_values. Pass list(X)."),
}


@pytest.mark.parametrize("case", BAD_TEXTS)
def test_bad_texts_are_named(case):
    X, error, message = BAD_TEXTS[case]
    with pytest.raises(error, match=re.escape(message)):
        check_texts(X)


def test_a_long_bad_value_is_cut_short_in_the_message():
    with pytest.raises(TypeError, match=re.escape("...")) as caught:
        check_texts([["word"] * 10_000])
    assert len(str(caught.value)) < 200


def test_label_texts_are_one_text_per_label():
    assert check_label_texts(np.array(["a", "b"]), np.arange(2)) == ["a", "b"]
    assert check_label_texts(None, np.arange(2)) is None


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (np.array(["fruit", "1990s"], object), ["fruit", "1990s"]),
        (np.array(["fruit", "jam", "1990"]), ["fruit", "jam", "1990"]),
        (np.array(["果物", "魚"]), ["果物", "魚"]),
        (np.array(["1", "2", "x"]), None),
        (np.array(["http://x.org/apple", "urn:x:1", "URN:x:2"]), None),
        (np.array(["http://x.org/a", "urns", "jam"]), ["http://x.org/a", "urns", "jam"]),
        (np.arange(3), None),
        (np.array([7, 2**63 + 1], np.uint64), None),
        (np.array([0.5, 1.5]), None),
        (np.array([True, False]), None),
    ],
)
def test_names_of_labels_are_their_texts_where_they_are_words(classes, expected):
    assert check_label_texts("auto", classes) == expected


@pytest.mark.parametrize(
    ("label_texts", "classes"),
    [
        ({"b": "B!", "a": "A!", "c": "C!"}, np.array(["a", "b"])),
        ({1: "B!", 0: "A!"}, np.arange(2)),
    ],
)
def test_a_dict_gives_each_label_its_text(label_texts, classes):
    assert check_label_texts(label_texts, classes) == ["A!", "B!"]


@pytest.mark.parametrize(
    ("label_texts", "error", "message"),
    [
        (
            ["a"] * 9,
            ValueError,
            "label_texts has 9 entries, but Y has 10 labels. Pass one text per column of Y, in "
            "the columns' order, or a dict of each label's text.",
        ),
        ("a" * 10, ValueError, "label_texts is a single str, 'aaaaaaaaaa'."),
        (["a"] * 9 + [None], ValueError, "label_texts[9] is None of type NoneType, not a str."),
        (range(10), TypeError, "label_texts[0] is 0 of type int, not a str."),
        ([], ValueError, "label_texts holds 0 texts."),
        (10, TypeError, "label_texts is 10."),
        ({0: "a", 1: "b"}, ValueError, "label_texts has no text for 8 of 10 labels, such as 2."),
        (dict.fromkeys(range(10), 3), TypeError, "label_texts[0] is 3 of type int, not a str."),
    ],
)  # fmt: skip
def test_bad_label_texts_are_named(label_texts, error, message):
    with pytest.raises(error, match=re.escape(message)):
        check_label_texts(label_texts, np.arange(10))


# ----------------------------------------------------------------------------------------- labels
INDICATOR = np.array([[0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0]])


@pytest.mark.parametrize("container", MATRICES)
def test_labels_are_read_alike_from_every_matrix(container):
    target = check_target(MATRICES[container](INDICATOR), 5)
    assert isinstance(target.Y, sp.csr_array)
    assert target.Y.dtype == np.float32
    assert target.Y.has_canonical_format
    np.testing.assert_array_equal(target.Y.toarray(), INDICATOR)
    assert target.Y.nnz == INDICATOR.sum()
    np.testing.assert_array_equal(target.classes, np.arange(4))


@pytest.mark.parametrize("container", MATRICES)
def test_predictions_mirror_a_sparse_matrix_as_sparse_and_all_others_as_dense(container):
    Y = MATRICES[container](INDICATOR)
    assert check_target(Y, 5).kind == ("sparse" if sp.issparse(Y) else "dense")


@pytest.mark.parametrize(
    ("dtype", "predicted"),
    [(bool, bool), (np.int8, np.int8), (np.uint8, np.uint8), (np.int64, np.int64),
     (np.float32, np.int64), (np.float64, np.int64)],
)  # fmt: skip
def test_predictions_have_the_dtype_of_integer_labels_and_int64_for_floats(dtype, predicted):
    assert check_target(sp.csr_array(INDICATOR.astype(dtype)), 5).dtype == predicted
    assert check_target(INDICATOR.astype(dtype), 5).dtype == predicted


@pytest.mark.parametrize("container", ["csr_array of float32", "csr_matrix of float32"])
def test_the_callers_matrix_shares_no_memory_with_ours(container):
    Y = MATRICES[container](INDICATOR)
    ours = check_target(Y, 5).Y
    for name in ("data", "indices", "indptr"):
        assert not np.shares_memory(getattr(Y, name), getattr(ours, name))


@pytest.mark.parametrize("container", ["explicit zeros", "duplicates in a csr_array"])
def test_a_read_only_matrix_is_accepted_and_left_as_it_is(container):
    Y = MATRICES[container](INDICATOR)
    n_stored = Y.nnz
    for array in (Y.data, Y.indices, Y.indptr):
        array.setflags(write=False)
    np.testing.assert_array_equal(check_target(Y, 5).Y.toarray(), INDICATOR)
    assert Y.nnz == n_stored


def test_relevances_are_kept_and_the_largest_of_duplicates_counts():
    Y = sp.coo_array(([0.25, 0.5, 1.0, 0.75], ([0, 0, 1, 1], [2, 2, 0, 1])), shape=(2, 3))
    expected = [[0, 0, 0.5], [1, 0.75, 0]]
    np.testing.assert_array_equal(check_target(Y, 2).Y.toarray(), np.float32(expected))


def test_a_data_frames_columns_name_the_labels():
    frame = pd.DataFrame(INDICATOR[:, :2], columns=["pear", "apple"])
    assert check_target(frame, 5).classes.tolist() == ["pear", "apple"]
    assert check_target(pl.from_pandas(frame), 5).classes.tolist() == ["pear", "apple"]


def test_a_data_frames_columns_are_put_into_the_models_order_by_name():
    frame = pd.DataFrame(INDICATOR[:, [2, 0, 1]], columns=["plum", "pear", "apple"])
    target = check_target(frame, 5, np.array(["pear", "apple", "plum"]))
    np.testing.assert_array_equal(target.Y.toarray(), INDICATOR[:, :3])


def test_a_data_frame_with_a_column_that_the_model_does_not_know_is_refused():
    frame = pd.DataFrame(INDICATOR[:, :2], columns=["pear", "plum"])
    with pytest.raises(ValueError, match=re.escape("Y holds the label 'plum', which is not among")):
        check_target(frame, 5, np.array(["pear", "apple"]))


@pytest.mark.parametrize("nameless", [0, 1])
def test_columns_are_matched_by_place_where_one_side_has_no_names(nameless):
    names = [np.array(["b", "a"]), np.array(["b", "a"])]
    names[nameless] = np.arange(2)
    target = check_target(pd.DataFrame(INDICATOR[:, :2], columns=names[0]), 5, names[1])
    np.testing.assert_array_equal(target.Y.toarray(), INDICATOR[:, :2])


@pytest.mark.parametrize("container", LABEL_LISTS)
def test_label_lists_are_read_alike_from_every_container(container):
    named = [["b", "d"], [], ["a", "b"], ["d"], ["b"]]
    target = check_target(LABEL_LISTS[container](named), 5)
    assert target.classes.tolist() == ["a", "b", "d"]
    np.testing.assert_array_equal(target.Y.toarray(), INDICATOR[:, [0, 1, 3]])
    assert target.Y.has_canonical_format
    assert target.kind == "lists"


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        ([[3], [7, 3], []], [3, 7]),  # ids
        ([[5, 9], [9, 7]], [5, 7, 9]),  # a rectangle, but not of 0 and 1
        ([["x", "y"], ["y", "z"]], ["x", "y", "z"]),
        ([[1], [0], [1]], [0, 1]),  # one id a text
        ([[], ["x"]], ["x"]),
        ([{1}, {0, 1}], [0, 1]),
    ],
)
def test_label_lists_name_the_labels_in_sorted_order(y, classes):
    target = check_target(y, len(y))
    assert target.classes.tolist() == classes
    named = [sorted(target.classes[row].tolist()) for row in np.split(
        target.Y.indices, target.Y.indptr[1:-1])]  # fmt: skip
    assert named == [sorted(row) for row in y]


def test_known_classes_fix_the_columns_of_label_lists_in_their_own_order():
    target = check_target([["a"], [], ["c", "a"]], 3, np.array(["c", "b", "a"]))
    np.testing.assert_array_equal(target.Y.toarray(), [[0, 0, 1], [0, 0, 0], [1, 0, 1]])


@pytest.mark.parametrize(
    ("y", "classes", "unknown"),
    [
        ([["fruits"]], ["fruit"], "'fruits'"),  # longer than any known: no cutting to fit
        ([["a"], ["z"]], ["a", "b"], "'z'"),
        ([[3]], [1, 2], "3"),
        ([[1]], ["a", "b"], "1"),
        (["a", "z"], ["a", "b"], "'z'"),
        ([1, 2], ["a", "b"], "1"),
        (["a", "b"], [1, 2], "'a'"),
    ],
)
def test_a_label_that_the_model_does_not_know_is_named(y, classes, unknown):
    message = f"Y holds the label {unknown}, which is not among the model's {len(classes)} classes."
    with pytest.raises(ValueError, match=re.escape(message)):
        check_target(y, len(y), np.array(classes))


@pytest.mark.parametrize(
    ("y", "classes", "dtype"),
    [
        ([3, 1, 3, 2], [1, 2, 3], np.int64),
        (["b", "a", "b", "b"], ["a", "b"], "<U1"),
        (np.array(["b", "a", "b", "b"], dtype=object), ["a", "b"], object),
        (pd.Series(["b", "a", "b", "b"], dtype="category"), ["a", "b"], object),
        (pl.Series(["b", "a", "b", "b"]), ["a", "b"], "<U1"),
        ([True, False, True, True], [False, True], bool),
        (np.array([0.0, 1.0, 1.0, 2.0]), [0, 1, 2], np.float64),
        (["one"] * 4, ["one"], "<U3"),
    ],
)
def test_one_label_a_text_gives_sorted_classes_and_one_entry_a_row(y, classes, dtype):
    target = check_target(y, 4)
    assert (target.kind, target.dtype) == ("classes", np.dtype(dtype))
    assert target.classes.tolist() == classes
    assert target.classes[target.Y.indices].tolist() == list(y)
    assert target.Y.has_canonical_format


@pytest.mark.parametrize("make", [np.array, pd.DataFrame])
def test_a_column_of_classes_is_read_as_1_d_with_one_warning(make):
    with pytest.warns(DataConversionWarning, match=re.escape("y of shape (3, 1)")) as caught:
        target = check_target(make([["b"], ["a"], ["b"]]), 3)
    assert len(caught) == 1
    assert target.kind == "classes"


@pytest.mark.parametrize("n_labels", [1, 2])
def test_one_and_two_columns_of_a_sparse_matrix_stay_multi_label(n_labels):
    target = check_target(sp.csr_matrix(INDICATOR[:, :n_labels]), 5)
    assert (target.kind, target.classes.tolist()) == ("sparse", list(range(n_labels)))


WANTED = "Pass 1 for a label that applies, a relevance in (0, 1], or nothing."
WANTED_MATRIX = "Pass a (n_samples, n_labels) sparse or 0/1 matrix, a list of label lists, or"
BAD_TARGETS = {
    "None": (None, ValueError, "the target y is None. Pass a (n_samples, n_labels) sparse"),
    "too short": (INDICATOR[:4], ValueError, "Y has 4 rows, but X has 5 texts. Pass one row per"),
    "too long": (
        sp.csr_array((6, 3)),
        ValueError,
        "Y has 6 rows, but X has 5 texts. Pass one row per text.",
    ),
    "too few lists": ([["a"]], ValueError, "Y has 1 rows, but X has 5 texts."),
    "too few classes": (["a", "b"], ValueError, "Y has 2 rows, but X has 5 texts."),
    "empty": ([], ValueError, "Y has 0 rows, but X has 5 texts."),
    "negative": (INDICATOR - 1, ValueError, f"Y holds -1. {WANTED}"),
    "negative sparse": (sp.csr_array(-INDICATOR), ValueError, f"Y holds -1. {WANTED}"),
    "counts": (sp.csr_array(INDICATOR * 3), ValueError, f"Y holds 3. {WANTED}"),
    "above 1": (INDICATOR * 1.5, ValueError, f"Y holds 1.5. {WANTED}"),
    "NaN": (np.full((5, 2), NAN), ValueError, "Input y contains NaN. Pass finite values."),
    "NaN sparse": (sp.csr_array([[NAN, 1]] * 5), ValueError, "Input y contains NaN."),
    "NaN in 0/1 lists": ([[1, NAN]] * 5, ValueError, "Y[0] holds nan."),
    "infinity": (np.full((5, 2), np.inf), ValueError, "Input y contains infinity."),
    "no columns": (
        sp.csr_array((5, 0)),
        ValueError,
        "Y has shape (5, 0). Pass a matrix of (n_samples, n_labels) with at least one label.",
    ),
    "no columns, dense": (np.zeros((5, 0)), ValueError, "Y has shape (5, 0). Pass a matrix of"),
    "no columns, DataFrame": (pd.DataFrame(index=range(5)), ValueError, "Y has shape (5, 0)."),
    "3-d": (np.zeros((5, 2, 2)), ValueError, "Y has shape (5, 2, 2). Pass a matrix of"),
    "0-d": (np.array(1), ValueError, "Y has shape (). Pass a matrix of"),
    "1-d sparse": (sp.coo_array([1, 0, 1, 0, 1]), ValueError, "Y has shape (5,). Pass a matrix"),
    "complex": (INDICATOR * 1j, TypeError, "Y has dtype complex128. Pass 0 and 1, or relevances"),
    "2-d str": (np.full((5, 2), "a"), TypeError, "Y has dtype <U1. Pass 0 and 1, or relevances"),
    "2-d object": (np.full((5, 2), "a", object), TypeError, "Y has dtype object. Pass 0 and 1"),
    "NA in a DataFrame": (
        pd.DataFrame({"a": [1, None, 0, 0, 0], "b": 1}, dtype="Int64"),
        ValueError,
        "Y holds nan in column 'a', row 1. Pass a number everywhere, 0 for none.",
    ),
    "NA in a nullable bool DataFrame": (
        pd.DataFrame({"a": 1, "b": [True, False, None, True, True]}).astype({"b": "boolean"}),
        ValueError,
        "Y holds <NA> in column 'b', row 2.",
    ),
    "NaN stored in a sparse DataFrame": (
        pd.DataFrame({"a": 1, "b": [0, 0, 1, NAN, 0]}).astype(pd.SparseDtype(float, 0)),
        ValueError,
        "Y holds nan in column 'b', row 3.",
    ),
    "NaN left out of a sparse DataFrame": (
        pd.DataFrame({"a": [1, NAN, NAN, NAN, 1], "b": 1}).astype(pd.SparseDtype(float, NAN)),
        ValueError,
        "Y holds nan in column 'a', row 1.",
    ),
    "null in a polars DataFrame": (
        pl.DataFrame({"a": [True, True, False, True, None], "b": [1] * 5}),
        ValueError,
        "Y holds None in column 'a', row 4.",
    ),
    "str in a DataFrame": (
        pd.DataFrame({"a": 1, "b": ["1", "0", "0", "1", "0"]}),
        TypeError,
        "Y has dtype object in column 'b'. Pass 0 and 1, or relevances",
    ),
    "something else with columns": (
        SimpleNamespace(columns=["a", "b"], shape=(5, 2)),
        TypeError,
        "Y is a SimpleNamespace. Pass a DataFrame of pandas or polars",
    ),
    "bare string": ("abcde", TypeError, f"Y is 'abcde' of type str. {WANTED_MATRIX}"),
    "number": (5, TypeError, f"Y is 5 of type int. {WANTED_MATRIX}"),
    "dict": ({"a": 1}, TypeError, f"Y is {{'a': 1}} of type dict. {WANTED_MATRIX}"),
    "set": ({"a"}, TypeError, f"Y is {{'a'}} of type set. {WANTED_MATRIX}"),
    "continuous": (np.arange(5) / 7, ValueError, "Unknown label type: continuous."),
    "NaN class": ([0.0, 1.0, NAN, 1.0, 0.0], ValueError, "Input y contains NaN."),
    "None class": (
        np.array(["a", None, "b", "a", "b"], dtype=object),
        ValueError,
        "y[1] is None. Pass a class for every text.",
    ),
    "missing class in a Series": (
        pd.Series(["a", "b", NAN, "a", "b"], dtype=object),
        ValueError,
        "y[2] is nan. Pass a class for every text.",
    ),
    "missing class in a category Series": (
        pd.Series([None, "b", "a", "a", "b"], dtype="category"),
        ValueError,
        "y[0] is nan. Pass a class for every text.",
    ),
    "None instead of a list": (
        [["a"], None, [], [], []],
        TypeError,
        "Y[1] is None of type NoneType, but other rows are lists of labels. Pass a list of labels "
        "for every text; [] for none.",
    ),
    "str instead of a list": (
        [["a"], "bc", [], [], []],
        TypeError,
        "Y[1] is 'bc' of type str, but other rows are lists of labels.",
    ),
    "generator instead of a list": (
        [["a"], iter("bc"), [], [], []],
        TypeError,
        "but other rows are lists of labels.",
    ),
    "None inside a list": (
        [["a"], [], ["b", None], [], []],
        ValueError,
        "Y[2] holds None. Pass names or ids of labels; [] for none.",
    ),
    "only None inside lists": ([[None]] * 5, ValueError, "Y[0] holds None. Pass names or ids"),
    "NaN inside a list": (
        [[1], [2, NAN], [], [], []],
        ValueError,
        "Y[1] holds nan. Pass names or ids of labels; [] for none.",
    ),
    "NaN inside an array among lists": (
        [[1], np.array([2, NAN]), [], [], []],
        ValueError,
        "Y[1] holds nan. Pass names or ids of labels; [] for none.",
    ),
    "relevances in lists": (
        [[0, 0.5], [1, 0], [1, 1], [0, 0], [0, 1]],
        ValueError,
        "Y[0] holds 0.5. Pass names or ids of labels; for relevances, an array or sparse matrix.",
    ),
    "names and ids": (
        [["a"], [1], [], [], []],
        TypeError,
        "Y's labels cannot be sorted ('<' not supported between instances of",
    ),
    "no label at all": (
        [[], [], [], [], []],
        ValueError,
        "Y names 0 labels: every list is empty. Pass at least one label.",
    ),
}


@pytest.mark.parametrize("case", BAD_TARGETS)
def test_bad_labels_are_named(case):
    y, error, message = BAD_TARGETS[case]
    with pytest.raises(error, match=re.escape(message)):
        check_target(y, 5)


def test_another_number_of_columns_than_the_model_has_is_refused():
    message = (
        "Y has 4 columns, but the model knows 3 labels. Pass Y with the columns of the Y given to "
        "fit."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        check_target(sp.csr_array(INDICATOR), 5, np.arange(3))


# ------------------------------------------------------------------------------- weights and masks
@pytest.mark.parametrize(
    "weights",
    [[1, 0, 2.5], (1, 0, 2.5), np.array([1, 0, 2.5]), pd.Series([1, 0, 2.5], index=[4, 2, 0])],
)
def test_weights_are_read_alike_from_every_container(weights):
    checked = check_sample_weight(weights, 3)
    np.testing.assert_allclose(checked, np.array([1, 0, 2.5]) / (3.5 / 3), rtol=1e-6)


def test_one_number_weighs_every_text_alike():
    assert check_sample_weight(2, 3).tolist() == [1, 1, 1]
    assert check_sample_weight(None, 3) is None


BAD_SIGN = "sample_weight holds negative, NaN or infinite weights. Pass >= 0."


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 2], "sample_weight has 2 entries, but X has 3 texts. Pass one weight per text."),
        ([1, -1, 1], BAD_SIGN),
        ([1, NAN, 1], BAD_SIGN),
        ([1, np.inf, 1], BAD_SIGN),
        (-1, BAD_SIGN),
        (NAN, BAD_SIGN),
        ([0, 0, 0], "All sample_weight are zero: nothing to fit. Pass a positive weight."),
        (0, "All sample_weight are zero: nothing to fit. Pass a positive weight."),
        (np.ones((3, 1)), "Sample weights must be 1D array or scalar: one weight per text."),
        (
            ["heavy", "light", "light"],
            "sample_weight is ['heavy', 'light', 'light']. Pass one number per text.",
        ),
        ("heavy", "sample_weight is 'heavy'. Pass one number per text."),
    ],
)
def test_bad_weights_are_named(weights, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_sample_weight(weights, 3)


@pytest.mark.parametrize("make", [sp.csr_matrix, sp.csc_array, sp.coo_array])
@pytest.mark.parametrize("dtype", [bool, np.int8, np.float64])
def test_a_mask_holds_its_non_zeros_whatever_its_container(make, dtype):
    mask = check_exclude(make(INDICATOR.astype(dtype)), (5, 4))
    assert sorted(zip(*mask.nonzero(), strict=True)) == sorted(
        zip(*INDICATOR.nonzero(), strict=True)
    )


def test_a_mask_is_copied_and_its_explicit_zeros_exclude_nothing():
    given = explicit_zeros(INDICATOR)
    given.data.setflags(write=False)
    mask = check_exclude(given, (5, 4))
    assert mask.nnz == INDICATOR.sum()
    assert given.nnz == INDICATOR.size
    assert check_exclude(None, (5, 4)) is None


@pytest.mark.parametrize(
    ("exclude", "error", "message"),
    [
        (
            INDICATOR,
            TypeError,
            "exclude is a ndarray. Pass a SciPy sparse (n_samples, n_labels) matrix that holds 1 "
            "where a label must not be given.",
        ),
        (
            sp.csr_array((4, 4)),
            ValueError,
            "exclude has shape (4, 4), but there are 5 texts and 4 labels. Pass a mask of shape "
            "(5, 4).",
        ),
        (SimpleNamespace(shape=(5, 4)), TypeError, "exclude is a SimpleNamespace."),
    ],
)
def test_a_bad_mask_is_named(exclude, error, message):
    with pytest.raises(error, match=re.escape(message)):
        check_exclude(exclude, (5, 4))


# --------------------------------------------------------------------- sparse matrices and frames
def buffers(matrix):
    return [matrix.data, *(matrix.coords if matrix.format == "coo" else
                           (matrix.indices, matrix.indptr))]  # fmt: skip


@pytest.mark.parametrize("dtypes", INDEX_DTYPES, ids=str)
@pytest.mark.parametrize("format", ["csr", "csc", "bsr", "coo"])
def test_scipy_computes_with_a_sound_matrix_whatever_its_index_dtypes_were(format, dtypes):
    given = with_index_dtypes(INDICATOR, format, *dtypes)
    before = [(array, array.copy()) for array in buffers(given)]
    for array, _ in before:
        array.setflags(write=False)
    sound = sound_sparse(given, "Y")
    assert (type(sound), sound.format) == (type(given), format)
    for convert in ("tocsr", "tocsc", "tocoo"):
        np.testing.assert_array_equal(getattr(sound, convert)().toarray(), INDICATOR)
    np.testing.assert_array_equal(sound.tocsr()[[2, 0]].toarray(), INDICATOR[[2, 0]])
    for now, (array, copied) in zip(buffers(given), before, strict=True):
        assert now is array
        np.testing.assert_array_equal(now, copied)


@pytest.mark.parametrize("dtypes", [(np.int32, np.int32), (np.int64, np.int32),
                                    (np.int32, np.int64), (np.int64, np.int64)])  # fmt: skip
def test_the_long_arrays_of_a_matrix_are_shared(dtypes):
    given = with_index_dtypes(np.ones((5, 4)), "csr", *dtypes)
    sound = sound_sparse(given, "Y")
    assert np.shares_memory(sound.data, given.data)
    assert np.shares_memory(sound.indices, given.indices)
    assert sound.indptr.dtype == sound.indices.dtype


def test_indices_beyond_int32_are_not_cut():
    wide = sp.coo_array(([1.0, 1.0], ([0, 1], [2**40, 5])), shape=(2, 2**41))
    wide.coords = (wide.row.astype(np.int32), wide.col)
    assert sound_sparse(wide, "Y").tocsr().indices.tolist() == [2**40, 5]


def damaged(format, change):
    matrix = sp.csr_matrix(INDICATOR).asformat(format)
    change(matrix)
    return matrix


def _set(name, place, value):
    def change(matrix):
        getattr(matrix, name)[place] = value

    return change


def _replace(name, make):
    return lambda matrix: setattr(matrix, name, make(getattr(matrix, name)))


def _no_entries_but_an_indptr_that_falls(matrix):
    matrix.indptr = np.array([0, 7, 0, 0, 0, 0])


DAMAGED = {
    "csr index": ("csr", _set("indices", 1, 4)),
    "csr index below 0": ("csr", _set("indices", 1, -1)),
    "csr indptr": ("csr", _set("indptr", 2, 99)),
    "csr indptr without entries": ("csr", _no_entries_but_an_indptr_that_falls),
    "csr values": ("csr", _replace("data", lambda data: data[:-1])),
    "csr float indices": ("csr", _replace("indices", lambda indices: indices / 1)),
    "csc index": ("csc", _set("indices", 1, 5)),
    "bsr index": ("bsr", _set("indices", 1, 4)),
    "coo row": ("coo", _set("row", 0, 5)),
    "coo column": ("coo", _set("col", 0, -2)),
    "coo values": ("coo", _replace("data", lambda data: data[:-1])),
    "lil column": ("lil", _set("rows", 0, [9, 10])),
    "lil columns": ("lil", _set("rows", 0, [1, 2, 3])),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_matrix_whose_indices_point_outside_is_refused_by_name(case):
    format, change = DAMAGED[case]
    message = "{} is a damaged " + format + " matrix: .* Pass one as scipy.sparse makes it"
    with pytest.raises(ValueError, match=message.format("Y")):
        check_target(damaged(format, change), 5)
    with pytest.raises(ValueError, match=message.format("exclude")):
        check_exclude(damaged(format, change), (5, 4))


@pytest.mark.parametrize("format", ["csr", "csc", "bsr", "coo"])
def test_a_mask_may_have_indices_of_two_dtypes(format):
    mask = check_exclude(with_index_dtypes(INDICATOR, format, np.int64, np.int32), (5, 4))
    np.testing.assert_array_equal(mask.toarray(), INDICATOR == 1)


def test_a_pair_stored_twice_in_a_mask_of_small_integers_stays_excluded():
    values = np.array([128, 128], dtype=np.uint8)  # their sum would be 0
    mask = check_exclude(sp.coo_array((values, ([0, 0], [1, 1])), shape=(2, 3)), (2, 3))
    assert mask.toarray().tolist() == [[False, True, False], [False] * 3]


def test_a_mask_of_another_dtype_is_refused():
    mask = sp.csr_array(INDICATOR * 1j)
    with pytest.raises(
        TypeError, match=re.escape("exclude has dtype complex128. Pass 1 (or True)")
    ):
        check_exclude(mask, (5, 4))


@pytest.mark.parametrize("make", [
    pl.from_numpy,
    lambda Y: pl.from_numpy(Y == 1),
    lambda Y: pl.from_numpy(Y).with_columns(pl.col("column_0").cast(pl.Boolean),
                                            pl.col("column_1").cast(pl.Float32)),
])  # fmt: skip
def test_a_polars_data_frame_is_read_like_its_array(make):
    target = check_target(make(INDICATOR), 5)
    np.testing.assert_array_equal(target.Y.toarray(), INDICATOR)
    assert target.classes.tolist() == [f"column_{column}" for column in range(4)]


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int64])
@pytest.mark.parametrize("is_sparse", [False, True])
def test_predictions_have_the_dtype_of_a_data_frames_columns(is_sparse, dtype):
    frame = pd.DataFrame(INDICATOR.astype(dtype))
    frame = frame.astype(pd.SparseDtype(dtype, dtype(0))) if is_sparse else frame
    assert check_target(frame, 5).dtype == dtype


def test_a_sparse_data_frame_takes_memory_for_its_entries_alone():
    Y = sp.csr_matrix((np.ones(500, np.int8), (np.arange(500), np.arange(500))), shape=(500, 5000))
    frame = pd.DataFrame.sparse.from_spmatrix(Y)
    tracemalloc.start()
    ours = check_target(frame, 500).Y
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (ours != Y).nnz == 0
    assert peak < 500 * 5000


def test_columns_of_one_name_are_read_by_place():
    frame = pd.DataFrame(INDICATOR, columns=["a", "b", "a", "a"])
    for given in (frame, frame.astype(pd.SparseDtype(int, 0)), frame.astype("Int64")):
        np.testing.assert_array_equal(frame_to_csr(given, "Y").toarray(), INDICATOR)
        np.testing.assert_array_equal(frame_to_array(given, "Y"), INDICATOR)


def test_a_sparse_data_frames_columns_are_put_into_the_models_order_by_name():
    frame = pd.DataFrame(INDICATOR[:, [2, 0, 1]], columns=["plum", "pear", "apple"])
    frame = frame.astype(pd.SparseDtype(int, 0))
    target = check_target(frame, 5, np.array(["pear", "apple", "plum"]))
    np.testing.assert_array_equal(target.Y.toarray(), INDICATOR[:, :3])


@pytest.mark.parametrize(
    "weights",
    [
        [1e38, 2e38, 0],
        [1e300, 2e300, 0],
        [1e-40, 2e-40, 0],
        [1e-310, 2e-310, 0],
        [10**300, 2 * 10**300, 0],
    ],
)
def test_only_the_ratios_of_weights_count(weights):
    found = check_sample_weight(weights, 3)
    np.testing.assert_allclose(found, [1, 2, 0], rtol=1e-6)


def test_a_weight_that_is_nothing_beside_another_is_0():
    found = check_sample_weight([1e300, 1, 1e-300], 3)
    np.testing.assert_allclose(found, [3, 0, 0], atol=1e-200)


@pytest.mark.parametrize("weights", [[10**400, 1, 1], [1e308 * 10, 1, 1], [-1e-320, 1, 1]])
def test_weights_that_are_no_numbers_are_refused(weights):
    with pytest.raises(ValueError, match="sample_weight"):
        check_sample_weight(weights, 3)


@pytest.mark.parametrize(
    "value",
    [1e300, np.float64(1e300), np.longdouble(1e300), 10**400, Fraction(10**400), 10**5000],
    ids=lambda value: type(value).__name__,
)
def test_numbers_that_float32_cannot_hold_are_refused(value):
    with pytest.raises(ValueError, match=r"weight_decay=.+ is more than float32 can compute with"):
        check_real("weight_decay", value)


@pytest.mark.parametrize("value", [1e-300, 5e-324, Fraction(1, 10**400)])
def test_numbers_that_float32_takes_for_0_are_refused_where_0_is(value):
    with pytest.raises(ValueError, match=r"temperature=.+ is so close to 0 that float32 cannot"):
        check_real("temperature", value, ends="(]")
    check_real("weight_decay", value)


def test_a_span_of_time_is_no_number():
    with pytest.raises(TypeError, match="epochs must be an integer of at least 1, got"):
        check_integer("epochs", np.timedelta64(5, "s"), 1)
    with pytest.raises(TypeError, match=r"weight_decay must be a number in \[0, inf\), got"):
        check_real("weight_decay", np.timedelta64(5, "s"))


@pytest.mark.parametrize("value", [2**63, 10**30, 10**5000], ids=["2**63", "10**30", "10**5000"])
def test_counts_beyond_64_bits_are_refused(value):
    with pytest.raises(ValueError, match=r"top_k=.+ is too large\. Pass at most"):
        check_integer("top_k", value, 1)
    check_integer("top_k", 2**63 - 1, 1)


@pytest.mark.parametrize("seed", [-1, 2**32, 10**30, 1.0, "1", np.random.default_rng(0)])
def test_what_seeds_no_randomstate_is_refused(seed):
    with pytest.raises(ValueError, match=r"random_state=.+ Pass an integer from 0 to 2\*\*32 - 1"):
        check_seed("random_state", seed)


@pytest.mark.parametrize("seed", [0, 2**32 - 1, np.int64(3), True, None, np.random.RandomState(0)])
def test_seeds(seed):
    check_seed("random_state", seed)


def test_a_warning_may_point_at_code_that_exec_runs_without_a_name():
    names = {"callers_stack_level": callers_stack_level}
    exec("level = callers_stack_level()", names)
    assert names["level"] == 1
