"""Labels' identity: what lists mean, and that no label becomes another."""

from __future__ import annotations

import re
import uuid
from collections import deque

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from sklearn.exceptions import DataConversionWarning
from sklearn.preprocessing import MultiLabelBinarizer

import skxc
from skxc import ReneeClassifier, UniDEC
from skxc._validation import check_target
from skxc.metrics import XMCScorer
from skxc.model_selection import tune_threshold

TEXTS = ["plum cake", "quince jam", "smoked eel", "eel with quince"] * 10
LARGE = [5, 2**63 + 1, 13687853399390180967]


def fitted(y, **parameters):
    return ReneeClassifier(random_state=0, epochs=2, **parameters).fit(TEXTS, y)


# ------------------------------------------------------------------------------- what a list means
IDS = [[0, 1], [1], [0], [0, 1]] * 10
SWAPPED = [[0, 1], [1, 0]]  # both labels of both texts, or an indicator
NAMED = [[["a", "b"][i] for i in row] for row in IDS]


def test_a_model_of_lists_reads_lists_whatever_they_hold():
    of_ids, of_names = fitted(IDS), fitted(NAMED)
    assert of_ids.score(TEXTS[:2], SWAPPED) == of_names.score(TEXTS[:2], [["a", "b"]] * 2) == 1.0
    for scorer in (XMCScorer("R@2"), XMCScorer("P@2")):
        assert scorer(of_ids, TEXTS[:2], SWAPPED) == 1.0
    assert tune_threshold(of_ids, TEXTS[:2], SWAPPED) <= of_ids.predict_proba(TEXTS[:2]).min()


def test_partial_fit_reads_every_batch_as_the_first():
    model = ReneeClassifier(random_state=0).partial_fit(TEXTS, IDS)
    assert model.partial_fit(TEXTS[:2], SWAPPED).label_counts_.tolist() == [32, 32]
    more = [[0, 1], [1, 2], [3], [2, 0]] * 10
    model = ReneeClassifier(random_state=0).partial_fit(TEXTS, more)
    assert model.partial_fit(TEXTS[:2], SWAPPED).label_counts_.tolist() == [22, 22, 20, 10]


def test_a_batch_in_another_container_changes_no_prediction_s_container():
    model = ReneeClassifier(random_state=0).partial_fit(TEXTS, IDS)
    model.partial_fit(TEXTS[:2], [0, 1])
    assert sp.issparse(model.predict(TEXTS[:2]))


def test_a_loaded_model_reads_lists_as_it_was_fitted(tmp_path):
    fitted(IDS).save(tmp_path / "model")
    model = skxc.load(tmp_path / "model")
    assert model.score(TEXTS[:2], SWAPPED) == 1.0


def test_a_model_of_a_matrix_reads_rows_of_its_width_as_the_matrix():
    model = fitted(MultiLabelBinarizer(sparse_output=True).fit_transform(IDS))
    assert check_target(SWAPPED, 2, model.classes_, "sparse").Y.toarray().tolist() == [
        [0, 1],
        [1, 0],
    ]
    one = fitted(sp.csr_array(np.ones((40, 1))))
    assert check_target([[0], [1]], 2, one.classes_, "sparse").Y.toarray().tolist() == [[0], [1]]


def test_a_model_of_a_matrix_reads_other_lists_as_ids():
    classes = np.arange(4)
    for y in ([[0, 1], [1, 0]], [[0, 1], [3]], [[1], [0]]):
        target = check_target(y, 2, classes, "sparse")
        assert [sorted(row) for row in y] == [
            row.indices.tolist() for row in (target.Y[[0]], target.Y[[1]])
        ]


def test_lists_of_numbers_for_a_matrix_of_two_labels_are_refused_unless_they_are_its_rows():
    message = "rows of that matrix, or ids of labels? Pass np.asarray(y) for rows"
    for y in ([[0, 1], [1]], [[0], [1]]):
        with pytest.raises(ValueError, match=re.escape(message)):
            check_target(y, 2, np.arange(2), "dense")


@pytest.mark.parametrize("y", [[[0, 1]] * 40, SWAPPED * 20, [(1, 0)] * 40, [np.array([0, 1])] * 40])
def test_a_first_fit_on_lists_of_two_meanings_asks(y):
    with pytest.raises(ValueError, match=re.escape("Pass np.asarray(y) for an indicator")):
        fitted(y)


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        ([[1, 0, 0], [0, 1, 1]], [[1, 0, 0], [0, 1, 1]]),  # ids would name a label twice
        ([[0, 1], [1, 1]], [[0, 1], [1, 1]]),
        ([[False, True], [True, False]], [[0, 1], [1, 0]]),
        ([[0.0, 1.0], [1.0, 0.0]], [[0, 1], [1, 0]]),
        ([np.array([True, False]), np.array([False, True])], [[1, 0], [0, 1]]),
        ([{0, 1}, {1, 0}], [[1, 1], [1, 1]]),
        ([[0], [1]], [[1, 0], [0, 1]]),
    ],
)
def test_lists_of_one_meaning_are_read(y, expected):
    assert check_target(y, 2).Y.toarray().tolist() == expected


def test_an_answer_to_the_question_is_read():
    assert fitted(np.asarray(SWAPPED * 20)).label_counts_.tolist() == [20, 20]
    binary = MultiLabelBinarizer(sparse_output=True).fit_transform(SWAPPED * 20)
    assert fitted(binary).label_counts_.tolist() == [40, 40]


# --------------------------------------------------------------------------------------- identity
@pytest.mark.parametrize(
    "make",
    [
        lambda ids: [[i] for i in ids],
        lambda ids: [{i} for i in ids],
        lambda ids: [np.array([i], np.uint64) for i in ids],
        list,
        lambda ids: np.array(ids, np.uint64),
        lambda ids: pd.Series(ids, dtype=object),
        lambda ids: pd.Series(ids, dtype="uint64"),
        lambda ids: pl.Series(ids, dtype=pl.UInt64),
    ],
)
def test_ids_beyond_63_bits_stay_what_they_are(make):
    model = ReneeClassifier(random_state=0, epochs=1).fit(TEXTS[:3], make(LARGE))
    assert model.classes_.tolist() == LARGE
    assert model.score(TEXTS[:3], make(LARGE)) <= 1
    again = check_target(make(LARGE[:2]), 2, model.classes_, model._target_kind)
    assert again.Y.toarray().tolist() == [[1, 0, 0], [0, 1, 0]]


def test_ids_beyond_53_bits_beside_a_float_stay_what_they_are():
    for y in ([[2**53 + 1], [2.0]], [2**53 + 1, 2.0]):
        assert check_target(y, 2).classes.tolist() == [2, 2**53 + 1]


def test_ids_are_looked_up_exactly_across_types():
    classes = np.array([2**53, 2**53 + 2])
    with pytest.raises(ValueError, match=f"the label {2**53 + 1}, which is not among"):
        check_target(np.array([2**53 + 1], np.uint64), 1, classes)
    assert check_target(np.array([2**53 + 2], np.uint64), 1, classes).Y.indices.tolist() == [1]


@pytest.mark.parametrize("y", [[[-1], [2**63]], [-1, 2**63], [[2**64]], [[10**400]]])
def test_ids_that_no_type_holds_are_named(y):
    with pytest.raises(ValueError, match=r"which no type of 64 bits holds\. Pass"):
        check_target(y, len(y))


def test_added_labels_with_large_ids_merge_with_none(tmp_path):
    model = UniDEC(label_texts=["plum", "eel"], epochs=1, random_state=0)
    model.fit(TEXTS[:4], [[7], [7], [8], [8]])
    model.add_labels(["quince", "eel quince"], classes=[2**63 + 1, 2**63 + 2])
    assert model.classes_.tolist() == [7, 8, 2**63 + 1, 2**63 + 2]
    model.save(tmp_path / "model")
    assert skxc.load(tmp_path / "model").classes_.tolist() == model.classes_.tolist()


@pytest.mark.parametrize("y", [["a", "a\0", "b"], [["a"], ["a\0"], ["b"]]])
def test_names_that_differ_in_a_zero_at_the_end_are_two(y):
    assert check_target(y, 3).classes.tolist() == ["a", "a\0", "b"]


@pytest.mark.parametrize("y", [[1, "1"], [[1], ["1"]], np.array([1, "1"], object)])
def test_a_number_and_its_digits_are_not_one_label(y):
    with pytest.raises(TypeError, match=r"cannot be sorted .*Pass labels of one type"):
        check_target(y, 2)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (("yso", 1), "Y[1] holds the label ('yso', 1) of type tuple. Pass labels as str or int"),
        (["a"], "Y[1] holds the label ['a'] of type list. Pass labels as str or int"),
        ({"id": 1}, "Y[1] holds the label {'id': 1} of type dict. Pass labels as str or int"),
        (frozenset("a"), "of type frozenset. Pass labels as str or int"),
        (b"a", "Y[1] holds the label b'a' of type bytes. Decode them first"),
    ],
)
def test_labels_that_are_no_names_are_refused(label, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        check_target([["x"], [label]], 2)


def test_tuples_as_one_label_a_text_or_as_columns_are_refused():
    series = pd.Series([("yso", 1), ("yso", 2)], dtype=object)
    with pytest.raises(TypeError, match="Y's labels cannot be sorted"):
        check_target(series, 2)  # lists of a name and a number
    frame = pd.DataFrame([[1, 0]], columns=pd.MultiIndex.from_tuples([("yso", 1), ("yso", 2)]))
    message = "Y's columns hold the label ('yso', 1) of type tuple. Pass labels as str or int"
    with pytest.raises(TypeError, match=re.escape(message)):
        check_target(frame, 1)


def test_bytes_as_one_label_a_text_are_refused():
    with pytest.raises(TypeError, match=r"y holds the label b.a. of type bytes\. Decode"):
        check_target(np.array([b"a", b"b"]), 2)


def test_truth_values_in_lists_are_refused():
    with pytest.raises(TypeError, match="lists hold True or False"):
        check_target([[True], [True, False]], 2)


def test_columns_of_one_name_are_refused():
    frame = pd.DataFrame(np.eye(3, dtype=int), columns=["fruit", "fruit", "fish"])
    with pytest.raises(ValueError, match="Y's columns hold 'fruit' more than once"):
        check_target(frame, 3)


@pytest.mark.parametrize("y", [np.eye(3, dtype=int), ["a", "b", "a"], [["a"], ["b"], []]])
def test_classes_of_one_name_are_refused(y):
    message = "classes hold 'a' more than once"
    with pytest.raises(ValueError, match=message):
        ReneeClassifier().partial_fit(TEXTS[:3], y, classes=["a", "b", "a"])


def test_classes_may_be_a_set():
    model = ReneeClassifier(random_state=0).partial_fit(
        TEXTS[:2], ["b", "a"], classes={"c", "a", "b"}
    )
    assert model.classes_.tolist() == ["a", "b", "c"]
    assert model.partial_fit(TEXTS[:2], ["c", "a"], classes={"c", "a", "b"}).n_labels_ == 3


def test_numpy_s_str_become_python_s():
    model = ReneeClassifier(random_state=0, epochs=1).fit(TEXTS[:2], [[np.str_("b")], ["a"]])
    assert {type(name) for name in model.classes_} == {str}


def test_other_names_that_can_be_sorted_are_kept():
    names = sorted([uuid.UUID(int=2), uuid.UUID(int=1)])
    assert check_target([[names[1]], [names[0]]], 2).classes.tolist() == names


# ----------------------------------------------------------------------- several labels in one str
@pytest.mark.parametrize(
    ("y", "line"),
    [
        (["fruit;baking", "fish", "fruit"], "y = [row.split(';') for row in y]"),
        (["fruit|baking", "fish|eel", "fruit"], "y = [row.split('|') for row in y]"),
        (["fruit,baking", "fruit", "baking", "fish, fruit", "fish"], "row.split(',')"),
        ([["fruit;baking"], ["fish"], ["fruit"]], "y = [row.split(';') for row in y]"),
        (["['fruit', 'baking']", "['fish']"], "y = [ast.literal_eval(row) for row in y]"),
        (pd.Series(["a;b", "b", "a"]), "y = [row.split(';') for row in y]"),
    ],
)
def test_labels_joined_in_one_str_are_warned_of_with_the_line_that_splits_them(y, line):
    with pytest.warns(UserWarning, match=re.escape(line)) as caught:
        check_target(y, len(y))
    assert len(caught) == 1


@pytest.mark.parametrize(
    "y",
    [
        ["Arts, Crafts and Sewing", "Books", "Smith, John", "Smith, Jane"],
        [["AT&T"], ["a/b"], ["C++"]],
        ["[1]", "one", "two"],
    ],
)
def test_names_with_commas_are_names(y):
    check_target(y, len(y))  # no warning


@pytest.mark.parametrize(
    "make",
    [
        iter,
        lambda y: (row for row in y),
        lambda y: map(str, y),
        lambda y: dict.fromkeys(y).values(),
    ],
)
def test_labels_that_can_be_read_once_only_are_refused_with_the_remedy(make):
    with pytest.raises(TypeError, match=re.escape("not a list. Pass list(y).")):
        check_target(make(["a", "b"]), 2)


# --------------------------------------------------------------------------- more of the same kinds
@pytest.mark.parametrize("columns", [[0, 1, 2], [2, 0, 1], [10, 30, 20], ["b", "c", "a"]])
def test_columns_are_matched_by_name_also_where_names_are_numbers(columns):
    frame = pd.DataFrame(np.eye(3, dtype=int), columns=columns)
    for fitted_to in (frame, frame[frame.columns[::-1]]):
        target = check_target(fitted_to, 3)
        for given in (frame, frame[frame.columns[[1, 0, 2]]]):
            again = check_target(given, 3, target.classes, "dense")
            np.testing.assert_array_equal(again.Y.toarray(), target.Y.toarray())


def test_classes_name_the_columns_of_lists_of_rows_in_their_order():
    rows = [[1, 0, 0], [0, 1, 1]]
    model = ReneeClassifier(random_state=0).partial_fit(TEXTS[:2], rows, classes=["z", "y", "x"])
    assert dict(zip(model.classes_, model.label_counts_, strict=True)) == {"z": 1, "y": 1, "x": 1}
    assert model.classes_.tolist() == ["z", "y", "x"]
    with pytest.raises(ValueError, match="another order"):
        model.partial_fit(TEXTS[:2], np.array(rows), classes=["x", "y", "z"])


def test_classes_given_again_change_nothing_in_what_lists_mean():
    model = ReneeClassifier(random_state=0).partial_fit(TEXTS, IDS, classes=[0, 1])
    for order in ([0, 1], [1, 0]):
        model.partial_fit(TEXTS[:2], SWAPPED, classes=order)
    assert model.label_counts_.tolist() == [34, 34]


@pytest.mark.parametrize(
    "make",
    [lambda row: pd.Series(row), lambda row: pd.Index(row), deque, lambda row: pl.Series(row)],
)
def test_rows_of_any_collection_are_label_lists(make):
    model = fitted(IDS)
    assert model.score(TEXTS[:2], [make(row) for row in SWAPPED]) == 1.0
    assert check_target([make([3]), make([5, 3])], 2).classes.tolist() == [3, 5]
    with pytest.raises(ValueError, match="the ids of labels"):
        fitted([make([0, 1])] * 40)


def test_a_column_of_label_lists_is_read_as_label_lists():
    with pytest.warns(DataConversionWarning):
        target = check_target(pd.DataFrame({"l": [["b"], ["a", "b"]]}), 2)
    assert target.Y.toarray().tolist() == [[0, 1], [1, 1]]


@pytest.mark.parametrize("unit", ["D", "us"])
def test_dates_keep_their_unit(unit):
    y = np.array(["2020-01-01", "2020-01-02"], f"M8[{unit}]")
    assert check_target(y, 2).classes.dtype == y.dtype


@pytest.mark.parametrize(
    ("second", "message"),
    [("NaT", "y[1] is NaT. Pass a class"), ("2020-01-01T00:00:00.000000001", "finer than a micro")],
)
def test_dates_that_python_has_no_type_for_are_named(second, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_target(np.array(["2020-01-01", second], "M8[ns]"), 2)


def test_dates_of_nanoseconds_stay_dates():
    y = np.array(["2020-01-01", "2020-01-02"] * 20, "M8[ns]")
    model = fitted(y)
    assert model.score(TEXTS, y) == model.score(TEXTS, pd.Series(y).tolist()) > 0.5
