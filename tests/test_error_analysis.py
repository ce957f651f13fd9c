"""The labels most confused and the texts ranked worst are those of a count by hand."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import confusion_matrix
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC

from skxc import ReneeClassifier, UniDEC
from skxc.datasets import FileColumn
from skxc.encoders import BagOfWordsEncoder
from skxc.metrics import ErrorAnalysisDisplay, _errors, ndcg_at_k

ALL = {"n_confusions": 10_000, "n_texts": 10_000}
TEXTS = ["apple pie", "pear salad", "grilled trout", "trout with pears", "apple salad"] * 8
LABELS = [["baking", "fruit"], ["fruit", "salads"], ["fish"], ["fish", "fruit"], ["salads"]] * 8


def random_predictions(seed, n_samples=30, n_labels=9, n_stored=9):
    """Truth, scores of `n_stored` labels a row, pairs to exclude, weights."""
    rng = np.random.default_rng(seed)
    Y_true = sp.csr_array((rng.random((n_samples, n_labels)) < 0.3).astype(float))
    scores = rng.random((n_samples, n_labels))
    kept = np.argsort(rng.random(scores.shape), axis=1) < n_stored
    exclude = sp.csr_array((rng.random((n_samples, n_labels)) < 0.15).astype(float))
    return Y_true, sp.csr_array(scores * kept), exclude, rng.integers(0, 3, n_samples) * 1.0


def naive_errors(Y_true, Y_score, exclude, weights, depth=100):
    """Errors of each (missed, given) pair; None: nothing was given."""
    errors = Counter()
    for true, scores, out, weight in zip(
        Y_true.toarray(), Y_score.toarray(), exclude.toarray(), weights, strict=True
    ):
        true_labels = [j for j in range(len(true)) if true[j] > 0 and not out[j]]
        ranking = [j for j in np.argsort(-scores, kind="stable") if scores[j] > 0 and not out[j]]
        places = (ranking + [None] * len(true_labels))[: min(len(true_labels), depth)]
        missed = [label for label in true_labels if label not in places]
        given = [label for label in places if label not in true_labels]
        for label in missed:
            for instead in given:
                errors[label, instead] += weight / len(missed)
    return {pair: n for pair, n in errors.items() if n > 0}


def errors_of(display):
    return {(c.label, c.instead): c.n_errors for c in display.confusions}


@pytest.fixture(scope="module")
def fitted():
    return ReneeClassifier(BagOfWordsEncoder(dim=4), epochs=1, random_state=0).fit(TEXTS, LABELS)


# ---------------------------------------------------------------------------------- confused labels
@pytest.mark.parametrize("container", [sp.csr_array, sp.coo_matrix])
@pytest.mark.parametrize("n_stored", [9, 3, 0])
@pytest.mark.parametrize("seed", range(3))
def test_errors_are_those_of_a_count_by_hand(seed, n_stored, container):
    Y_true, Y_score, exclude, weights = random_predictions(seed, n_stored=n_stored)
    display = ErrorAnalysisDisplay.from_predictions(
        container(Y_true), container(Y_score), exclude=exclude, sample_weight=weights, **ALL
    )
    expected = naive_errors(Y_true, Y_score, exclude, weights)
    assert errors_of(display) == pytest.approx(expected)
    assert display.n_errors == pytest.approx(sum(expected.values()))
    counts = [confusion.n_errors for confusion in display.confusions]
    assert counts == sorted(counts, reverse=True)


def test_dense_scores_give_what_sparse_ones_do():
    Y_true, Y_score, exclude, weights = random_predictions(3)
    more = {"exclude": exclude, "sample_weight": weights, **ALL}
    sparse, dense = (
        ErrorAnalysisDisplay.from_predictions(Y_true, scores, **more)
        for scores in (Y_score, Y_score.toarray())
    )
    assert sparse.confusions == dense.confusions
    assert sparse.worst_texts == dense.worst_texts


@pytest.mark.parametrize("scale", [1e-10, 1e-3, 1e10])
def test_weights_of_any_size_give_the_same_pairs(scale):
    Y_true, Y_score, exclude, weights = random_predictions(4)
    plain, scaled = (
        ErrorAnalysisDisplay.from_predictions(
            Y_true, Y_score, exclude=exclude, sample_weight=w, **ALL
        )
        for w in (weights, weights * scale)
    )
    assert errors_of(scaled) == pytest.approx({p: n * scale for p, n in errors_of(plain).items()})
    assert [c[:2] for c in scaled.confusions] == [c[:2] for c in plain.confusions]


@pytest.mark.parametrize(
    ("weight", "errors", "true"),
    [(1, "3", "3"), (0.5, "1.50", "1.50"), (0.001, "0.003", "0.003"), (1e-10, "3e-10", "3e-10")],
)
def test_small_numbers_of_errors_are_shown_with_their_digits(weight, errors, true):
    display = ErrorAnalysisDisplay.from_predictions(
        np.eye(3), np.roll(np.eye(3), 1, axis=1), sample_weight=[weight] * 3
    )
    assert str(display).startswith(f"{errors} errors among {true} true labels")


def test_two_wrong_labels_share_two_missed_ones_evenly():
    display = ErrorAnalysisDisplay.from_predictions(
        [[1, 1, 0, 0, 1]], [[0.2, 0.3, 0.9, 0.8, 0.7]], label_names=list("abcde")
    )
    assert errors_of(display) == {(m, g): 0.5 for m in "ab" for g in "cd"}
    assert display.n_errors == 2
    assert display.n_true == 3


def test_every_true_label_that_a_full_ranking_does_not_find_is_one_error():
    Y_true, Y_score, *_ = random_predictions(1)
    display = ErrorAnalysisDisplay.from_predictions(Y_true, Y_score, **ALL)
    n_found = 0
    for true, scores in zip(Y_true.toarray(), Y_score.toarray(), strict=True):
        n_found += true[np.argsort(-scores)[: int(true.sum())]].sum()
    assert display.n_true == Y_true.sum()
    assert display.n_errors == pytest.approx(Y_true.sum() - n_found)
    by_label = {c.label: (c.n_found, c.n_true) for c in display.confusions}
    assert sum(found for found, _ in by_label.values()) == n_found
    assert {label: n for label, (_, n) in by_label.items()} == dict(
        enumerate(Y_true.sum(axis=0).tolist())
    )


def test_errors_counted_in_blocks_are_the_same(monkeypatch):
    Y_true, Y_score, exclude, weights = random_predictions(2)
    asked = {"exclude": exclude, "sample_weight": weights, "n_confusions": 7}
    whole = ErrorAnalysisDisplay.from_predictions(Y_true, Y_score, **asked)
    monkeypatch.setattr(_errors, "_BLOCK_PRODUCTS", 1)
    in_blocks = ErrorAnalysisDisplay.from_predictions(Y_true, Y_score, **asked)
    assert whole.confusions == in_blocks.confusions
    assert len(whole.confusions) == 7


def test_rankings_are_cut_at_their_hundredth_place():
    """Of 130 true labels, 100 places are looked at."""
    rng = np.random.default_rng(0)
    Y_true, Y_score = np.zeros((2, 150)), rng.random((2, 150))
    Y_true[0, :130] = Y_true[1, 0] = 1
    nothing, ones = sp.csr_array(Y_true.shape), np.ones(2)
    display = ErrorAnalysisDisplay.from_predictions(Y_true, Y_score, **ALL)
    expected = naive_errors(sp.csr_array(Y_true), sp.csr_array(Y_score), nothing, ones)
    assert errors_of(display) == pytest.approx(expected)
    assert "and 120 more" in str(display)
    assert "and 120 more" in display.to_html()


def test_classes_give_the_confusion_matrix():
    y = ["baking", "salads", "fish", "fish", "salads"] * 8
    clf = ReneeClassifier(BagOfWordsEncoder(dim=4), epochs=1, random_state=0).fit(TEXTS, y)
    shifted = np.roll(y, 1)
    display = ErrorAnalysisDisplay.from_estimator(clf, TEXTS, shifted, **ALL)
    names = clf.classes_.tolist()
    matrix = confusion_matrix(shifted, clf.predict(TEXTS), labels=names)
    expected = {
        (names[i], names[j]): matrix[i, j] for i, j in np.argwhere(matrix).tolist() if i != j
    }
    assert errors_of(display) == expected
    for confusion in display.confusions:
        row = matrix[names.index(confusion.label)]
        assert confusion.n_true == row.sum()
        assert confusion.n_found == row[names.index(confusion.label)]


def test_a_million_labels_are_never_a_dense_row():
    rng = np.random.default_rng(0)
    shape = (500, 1_000_000)
    Y_true = sp.random_array(shape, density=4e-6, format="csr", rng=rng)
    Y_score = sp.random_array(shape, density=1e-4, format="csr", rng=rng)  # dense: 4 GB
    display = ErrorAnalysisDisplay.from_predictions(Y_true, Y_score)
    assert display.n_true == Y_true.nnz
    assert len(display.confusions) == 20


# -------------------------------------------------------------------------------------- worst texts
@pytest.mark.parametrize("n_stored", [9, 3])
def test_worst_texts_have_the_least_ndcg_and_then_the_surest_wrong_label(n_stored):
    Y_true, Y_score, exclude, _ = random_predictions(4, n_stored=n_stored)
    weights = np.arange(30) % 5  # every fifth is left out
    display = ErrorAnalysisDisplay.from_predictions(
        Y_true, Y_score, exclude=exclude, sample_weight=weights, **ALL
    )
    keys = {}
    for row in np.flatnonzero(weights):
        mask = exclude[[row]]
        true, scores = (np.where(mask.toarray(), 0, m[[row]].toarray()) for m in (Y_true, Y_score))
        ndcg = ndcg_at_k(true, sp.csr_array(scores), k=9)
        if true.any() and ndcg < 1 - 1e-9:
            keys[row] = (round(ndcg, 9), -np.where(true > 0, -1, scores).max())
    assert [text.row for text in display.worst_texts] == sorted(keys, key=keys.__getitem__)
    for text in display.worst_texts:
        assert text.ndcg == pytest.approx(keys[text.row][0])


def test_a_worst_text_has_its_true_labels_places_and_its_best_labels_scores():
    Y_true = sp.csr_array([[1, 0, 1, 0, 1]])
    Y_score = sp.csr_array([[0.2, 0.9, 0.5, 0.7, 0.0]])
    [text] = ErrorAnalysisDisplay.from_predictions(
        Y_true, Y_score, k=3, texts=["a text"], label_names=list("abcde")
    ).worst_texts
    assert text.text == "a text"
    assert text.true_labels == [("c", 3), ("a", 4), ("e", None)]
    assert text.best_labels == [("b", 0.9, False), ("d", 0.7, False), ("c", 0.5, True)]


# --------------------------------------------------------------------------------------- estimators
def test_an_estimators_errors_are_those_of_its_probabilities(fitted):
    labels = LABELS[1:] + LABELS[:1]
    display = ErrorAnalysisDisplay.from_estimator(fitted, TEXTS, labels, **ALL)
    Y = np.array([[name in row for name in fitted.classes_] for row in labels], float)
    expected = ErrorAnalysisDisplay.from_predictions(
        Y, fitted.predict_proba(TEXTS), texts=TEXTS, label_names=fitted.classes_, **ALL
    )
    assert display.confusions == expected.confusions
    assert display.worst_texts == expected.worst_texts
    assert display.name == "ReneeClassifier"
    assert display.worst_texts[0].text == TEXTS[display.worst_texts[0].row]


def test_labels_of_a_matrix_have_the_names_of_their_texts():
    names = ["baking", "fruit", "fish", "salads"]
    Y = sp.csr_array(np.array([[name in row for name in names] for row in LABELS], float))
    clf = UniDEC(BagOfWordsEncoder(dim=4), label_texts=names, epochs=1, random_state=0)
    clf.fit(TEXTS, Y)
    display = ErrorAnalysisDisplay.from_estimator(clf, TEXTS, Y[::-1])
    assert {confusion.label for confusion in display.confusions} <= set(names)
    display = ErrorAnalysisDisplay.from_estimator(clf, TEXTS, Y[::-1], label_names=[*"abcd"])
    assert {confusion.label for confusion in display.confusions} <= set("abcd")


def test_excluded_pairs_leave_an_estimators_rankings_before_the_cut(fitted):
    labels, _ = fitted.predict_top_k(TEXTS, 1)
    exclude = sp.csr_array((np.ones(len(TEXTS)), (np.arange(len(TEXTS)), labels[:, 0])), (40, 4))
    display = ErrorAnalysisDisplay.from_estimator(fitted, TEXTS, LABELS, exclude=exclude, **ALL)
    for text in display.worst_texts:
        best = fitted.classes_[labels[text.row, 0]]
        assert best not in [name for name, *_ in text.true_labels + text.best_labels]


def lower(texts):
    return pd.Series(texts).str.lower()


@pytest.mark.parametrize(
    "make_texts", [list, np.array, pd.Series, pl.Series, iter], ids=lambda f: f.__name__
)
def test_texts_of_any_container_are_shown(make_texts, fitted, tmp_path):
    if make_texts is iter:  # texts that cannot be indexed
        (tmp_path / "texts.txt").write_text("\n".join(TEXTS) + "\n")
        X = FileColumn(tmp_path / "texts.txt")
    else:
        X = make_texts(TEXTS)
    display = ErrorAnalysisDisplay.from_estimator(fitted, X, LABELS[::-1])
    assert all(text.text == TEXTS[text.row] for text in display.worst_texts)


def test_of_a_pipelines_data_frame_all_columns_are_shown():
    frame = pd.DataFrame({"title": TEXTS, "year": 1999}, index=np.arange(40) + 7)
    joined = FunctionTransformer(lambda X: X["title"] + " in " + X["year"].astype(str))
    model = make_pipeline(joined, ReneeClassifier(BagOfWordsEncoder(dim=4), epochs=1))
    model.fit(frame, LABELS)
    display = ErrorAnalysisDisplay.from_estimator(model, frame, LABELS[::-1])
    assert display.worst_texts[0].text == f"{TEXTS[display.worst_texts[0].row]} 1999"


def test_another_librarys_margins_are_ranked_too():
    names = ["baking", "fish", "fruit", "salads"]
    Y = np.array([[name in row for name in names] for row in LABELS], int)
    model = make_pipeline(TfidfVectorizer(), OneVsRestClassifier(LinearSVC())).fit(TEXTS, Y)
    display = ErrorAnalysisDisplay.from_estimator(model, TEXTS, Y[::-1], **ALL)
    expected = ErrorAnalysisDisplay.from_predictions(
        Y[::-1], model.decision_function(TEXTS), texts=TEXTS, **ALL
    )
    assert display.confusions == expected.confusions
    assert display.worst_texts == expected.worst_texts
    assert display.name == "OneVsRestClassifier"


def test_a_sparse_matrix_of_features_has_no_texts_to_show():
    names = ["baking", "fish", "fruit", "salads"]
    Y = np.array([[name in row for name in names] for row in LABELS], int)
    X = TfidfVectorizer().fit_transform(TEXTS)
    model = OneVsRestClassifier(LinearSVC()).fit(X, Y)
    display = ErrorAnalysisDisplay.from_estimator(model, X, Y[::-1])
    assert {text.text for text in display.worst_texts} == {None}


# ------------------------------------------------------------------------------------------- shown
def hostile():
    names = ["<b>up</b>", "$a_b$ \x1b[31m", "c & d"]
    return ErrorAnalysisDisplay.from_predictions(
        [[1, 0, 0], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.1, 0.2, 0.7]], label_names=names,
        texts=["<script>alert(1)</script>\x1b", "!" + "long " * 200], name="<i>me</i>",
    )  # fmt: skip


def test_html_escapes_names_and_texts_and_loads_nothing():
    for html in (hostile()._repr_html_(), hostile().to_html()):
        assert "<b>" not in html
        assert "<script>" not in html
        assert "<i>" not in html
        assert "&lt;b&gt;up&lt;/b&gt;" in html
        assert "&lt;script&gt;alert(1)" in html
        assert "c &amp; d" in html
        assert "http" not in html
        assert "!long long" in html
        assert "long " * 100 not in html
    assert hostile().to_html().startswith("<!DOCTYPE html>")


def test_printed_lines_hold_no_control_characters():
    lines = str(hostile())
    assert "\x1b" not in lines
    assert "<b>up</b> → $a_b$  [31m" in lines
    assert "long " * 100 not in lines
    assert repr(hostile()) == "<ErrorAnalysisDisplay of 2 errors; print() shows them, plot() draws>"


@pytest.mark.parametrize(
    ("Y_true", "Y_score"),
    [
        ([[1, 0], [0, 1]], [[0.9, 0.1], [0.1, 0.9]]),
        ([[0, 0], [0, 0]], [[0.9, 0.1], [0.1, 0.9]]),
        ([[1]], [[0.3]]),
        (sp.csr_array((2, 30)), sp.csr_array((2, 30))),
    ],
)
def test_without_errors_there_is_nothing_but_a_sentence(Y_true, Y_score):
    display = ErrorAnalysisDisplay.from_predictions(Y_true, Y_score)
    assert display.confusions == display.worst_texts == []
    assert display.n_errors == 0
    assert str(display).startswith("0 errors among ")
    assert "<table" not in display.to_html()


def test_a_text_without_predictions_gets_no_label_in_place_of_its_own():
    display = ErrorAnalysisDisplay.from_predictions(sp.csr_array([[0, 1]]), sp.csr_array((1, 2)))
    assert errors_of(display) == {(1, None): 1.0}
    assert "1 → (no label)" in str(display)
    assert display.worst_texts[0].best_labels == []
    assert "(no label)" in display.to_html()


def test_tables_need_no_matplotlib_and_plots_say_how_to_install_it():
    code = """
import sys
sys.modules["matplotlib"] = None
from skxc.metrics import ErrorAnalysisDisplay
display = ErrorAnalysisDisplay.from_predictions([[1, 0]], [[0.1, 0.9]])
print(display, display.to_html())
assert "torch" not in sys.modules
try:
    display.plot()
except ImportError as error:
    assert 'ErrorAnalysisDisplay needs matplotlib. Install it with: pip install' in str(error)
else:
    raise AssertionError("no error")
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_confusions": 0}, "n_confusions=0 is too small"),
        ({"n_texts": 0}, "n_texts=0 is too small"),
        ({"k": 0}, "k=0 is too small"),
        ({"label_names": ["a"]}, r"label_names has shape \(1,\), but there are 9 labels"),
        ({"label_names": "abcdefghi"}, r"label_names has shape \(\), but there are 9 labels"),
        ({"texts": ["a"]}, "texts has 1 entries, but Y_true has 30 rows. Pass one text"),
        ({"Y_score": np.ones((30, 2))}, r"Y_score has shape \(30, 2\), but Y_true"),
        ({"sample_weight": [1.0]}, r"sample_weight has shape \(1,\)"),
        ({"exclude": np.ones((30, 2))}, r"exclude has shape \(30, 2\)"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    Y_true, Y_score, *_ = random_predictions(0)
    with pytest.raises(ValueError, match=message):
        ErrorAnalysisDisplay.from_predictions(**{"Y_true": Y_true, "Y_score": Y_score} | arguments)


# ------------------------------------------------------------------------------------------- drawn
@pytest.fixture
def plt():
    pytest.importorskip("matplotlib", reason="plots need matplotlib: pip install 'skxc[plot]'")
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


def test_bars_are_the_errors_the_most_frequent_pair_on_top(plt):
    Y_true, Y_score, *_ = random_predictions(0)
    display = ErrorAnalysisDisplay.from_predictions(Y_true, Y_score, n_confusions=6, name="it")
    assert display.plot(color="black") is display
    widths = [bar.get_width() for bar in display.bars_]
    assert widths == [confusion.n_errors for confusion in display.confusions]
    assert display.bars_[0].get_facecolor() == (0, 0, 0, 1)
    display.figure_.draw_without_rendering()
    heights = [bar.get_window_extent().y0 for bar in display.bars_]
    assert heights == sorted(heights, reverse=True)
    first = display.confusions[0]
    assert display.ax_.get_yticklabels()[0].get_text() == f"{first.label} → {first.instead}"
    assert display.ax_.get_title() == "it"
    assert display.plot(name="other").ax_.get_title() == "other"


def test_names_in_plots_are_cut_and_are_no_formulas(plt):
    names = ["a very long name of a label, which has no end", "$x_1", "c$"]
    display = ErrorAnalysisDisplay.from_predictions(
        [[1, 0, 0], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.1, 0.2, 0.7]], label_names=names
    ).plot()
    display.figure_.draw_without_rendering()
    shown = [tick.get_text() for tick in display.ax_.get_yticklabels()]
    assert shown == ["a very long name of a label, wh… → \\$x_1", "\\$x_1 → c\\$"]


def test_axes_that_show_something_are_refused(plt):
    display = ErrorAnalysisDisplay.from_predictions([[1, 0]], [[0.1, 0.9]]).plot()
    with pytest.raises(ValueError, match="ax shows something already"):
        display.plot(ax=display.ax_)
    empty = ErrorAnalysisDisplay.from_predictions([[1, 0]], [[0.9, 0.1]]).plot()
    empty.figure_.draw_without_rendering()
    _, ax = plt.subplots()
    assert empty.plot(ax=ax).ax_ is ax
