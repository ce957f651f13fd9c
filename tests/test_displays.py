"""The plots show the numbers that the metrics give."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC

from skxc import DualEncoderXC, ReneeClassifier
from skxc.encoders import BagOfWordsEncoder
from skxc.metrics import (
    LabelFrequencyDisplay,
    RankingMetricsDisplay,
    ReliabilityDisplay,
    TrainingHistoryDisplay,
    propensities_from_counts,
    ranking_metrics,
)
from skxc.metrics._displays._label_frequency import frequency_bins
from skxc.metrics._estimators import final_estimator, predict_top_k
from skxc.metrics._top_k import top_k_matrix

pytest.importorskip("matplotlib", reason="plots need matplotlib: pip install 'skxc[plot]'")
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

WORDS = ["ash", "birch", "cedar", "elm", "fir", "hazel", "larch", "maple", "oak", "pine", "yew"]
KS = (1, 2, 3, 5)


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def make_texts(n_samples=80, seed=0):
    """Texts that hold the names of their labels and noise; label l is the rarer the higher l."""
    rng = np.random.default_rng(seed)
    Y = rng.random((n_samples, len(WORDS))) < np.linspace(0.5, 0.03, len(WORDS))
    Y[0] = False
    seen = Y ^ (rng.random(Y.shape) < 0.05)
    texts = [" ".join(["tree", *np.array(WORDS)[row]]) for row in seen]
    return texts, sp.csr_matrix(Y.astype(np.float32))


def tiny(cls=ReneeClassifier, **parameters):
    return cls(encoder=BagOfWordsEncoder(dim=8), epochs=3, random_state=0, **parameters)


@pytest.fixture(scope="module")
def fitted():
    texts, Y = make_texts()
    return tiny(top_k=6).fit(texts, Y)


@pytest.fixture(scope="module")
def test_set():
    return make_texts(40, seed=1)


def random_predictions(seed, n_samples=25, n_labels=9):
    rng = np.random.default_rng(seed)
    Y_true = sp.csr_array((rng.random((n_samples, n_labels)) < 0.25).astype(float))
    Y_score = rng.random((n_samples, n_labels)).astype(np.float32)
    exclude = sp.csr_array((rng.random((n_samples, n_labels)) < 0.2).astype(float))
    counts = rng.integers(0, 6, n_labels)
    return Y_true, Y_score, exclude, counts, rng.random(n_samples)


# ---------------------------------------------------------------------------- estimators, unwrapped
def lower(texts):
    return [text.lower() for text in texts]


def test_final_estimator_is_found_in_pipelines_searches_and_frozen_ones(fitted):
    texts, Y = make_texts(40)
    pipeline = make_pipeline(FunctionTransformer(lower), tiny())
    search = GridSearchCV(pipeline, {}, cv=KFold(2)).fit(texts, Y)
    assert final_estimator(search) is search.best_estimator_[-1]
    assert final_estimator(FrozenEstimator(make_pipeline(FrozenEstimator(fitted)))) is fitted
    assert final_estimator(fitted) is fitted


def test_top_k_through_a_pipeline_is_the_classifiers_own(fitted, test_set):
    texts, Y = test_set
    pipeline = make_pipeline(FunctionTransformer(lower), fitted)
    for exclude in (None, Y):
        found = predict_top_k(pipeline, [text.upper() for text in texts], 4, exclude)
        for ours, expected in zip(found, fitted.predict_top_k(texts, 4, exclude), strict=True):
            np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("make", [LogisticRegression, LinearSVC])
def test_top_k_of_other_libraries_estimators_is_the_sorted_dense_result(make, test_set):
    texts, Y = make_texts()
    bags = make_pipeline(TfidfVectorizer(), OneVsRestClassifier(make())).fit(texts, Y.astype(int))
    method = bags.predict_proba if hasattr(bags, "predict_proba") else bags.decision_function
    scores = np.where(test_set[1].toarray() > 0, -np.inf, method(test_set[0]))
    labels, found = predict_top_k(bags, test_set[0], 20, exclude=test_set[1])
    expected = np.argsort(-scores, axis=1, kind="stable")
    sorted_scores = np.take_along_axis(scores, expected, 1)
    np.testing.assert_array_equal(labels, np.where(sorted_scores > -np.inf, expected, -1))
    np.testing.assert_array_equal(found, sorted_scores)


def test_sparse_scores_of_other_libraries_keep_what_is_stored_only():
    class Stored:
        def predict_proba(self, X):
            return sp.csr_matrix([[0.0, 0.3, 0.0, 0.7], [0.0, 0.0, 0.0, 0.0]])

    labels, scores = predict_top_k(Stored(), ["a", "b"], 3)
    np.testing.assert_array_equal(labels, [[3, 1, -1], [-1, -1, -1]])
    np.testing.assert_array_equal(scores, [[0.7, 0.3, -np.inf], [-np.inf] * 3])
    matrix = top_k_matrix(labels, scores, 4)
    np.testing.assert_array_equal(matrix.toarray(), [[0, 0.3, 0, 0.7], [0, 0, 0, 0]])


def test_estimators_without_one_matrix_of_scores_are_refused_in_words():
    texts, Y = make_texts()
    bags = TfidfVectorizer()
    model = make_pipeline(bags, MultiOutputClassifier(LogisticRegression()))
    model.fit(texts, Y.toarray().astype(int))
    with pytest.raises(ValueError, match=r"MultiOutputClassifier.predict_proba gives a list"):
        RankingMetricsDisplay.from_estimator(model, texts, Y)
    with pytest.raises(TypeError, match="TfidfVectorizer has no predict_proba or decision"):
        RankingMetricsDisplay.from_estimator(bags, texts, Y)
    with pytest.raises(TypeError, match=r"TfidfVectorizer has no predict_proba\. Pass a fitted"):
        ReliabilityDisplay.from_estimator(bags, texts, Y)


# ----------------------------------------------------------------------------------- metrics over k
@pytest.mark.parametrize("seed", range(3))
def test_lines_show_what_ranking_metrics_gives(seed):
    Y_true, Y_score, exclude, _, weights = random_predictions(seed)
    p = np.linspace(0.1, 1, Y_true.shape[1])
    metrics = ("P", "R", "nDCG", "MRR", "PSP", "PSnDCG")
    display = RankingMetricsDisplay.from_predictions(
        Y_true, Y_score, metrics=metrics, ks=KS, propensities=p,
        exclude=exclude, sample_weight=weights, name="it",
    )  # fmt: skip
    expected = ranking_metrics(Y_true, Y_score, KS, p, exclude, weights)
    assert list(display.lines_) == list(metrics)
    for metric, line in display.lines_.items():
        assert line.axes is display.ax_
        assert line.get_label() == f"it: {metric}@k"
        np.testing.assert_array_equal(line.get_xdata(), KS)
        np.testing.assert_array_equal(line.get_ydata(), [expected[f"{metric}@{k}"] for k in KS])


@pytest.mark.parametrize("container", [sp.csr_matrix, sp.coo_array, lambda Y: Y.toarray()])
def test_estimators_line_is_that_of_its_probabilities(container, test_set):
    texts, Y = make_texts()
    model = tiny(top_k=5).fit(texts, container(Y))
    display = RankingMetricsDisplay.from_estimator(
        model, test_set[0], container(test_set[1]), metrics=["P", "PSP"], ks=KS
    )
    p = propensities_from_counts(model.label_counts_, len(texts))
    expected = ranking_metrics(test_set[1], model.predict_proba(test_set[0]), KS, p)
    for metric in ("P", "PSP"):
        values = [expected[f"{metric}@{k}"] for k in KS]
        np.testing.assert_allclose(display.lines_[metric].get_ydata(), values)
    assert display.lines_["P"].get_label() == "ReneeClassifier: P@k"


def test_rankings_go_beyond_the_parameter_top_k(fitted, test_set):
    texts, Y = test_set
    all_labels = Y.shape[1]
    display = RankingMetricsDisplay.from_estimator(fitted, texts, Y, metrics="R", ks=[all_labels])
    has_label = np.diff(Y.indptr) > 0
    assert fitted.top_k < all_labels
    np.testing.assert_allclose(display.lines_["R"].get_ydata(), [has_label.mean()])


def test_excluded_pairs_leave_before_the_cut(fitted, test_set):
    texts, Y = test_set
    best = fitted.predict_top_k(texts, 1)
    exclude = top_k_matrix(best[0], np.ones_like(best[1]), Y.shape[1])
    display = RankingMetricsDisplay.from_estimator(fitted, texts, Y, ks=KS, exclude=exclude)
    proba = fitted.predict_proba(texts, exclude=exclude)
    expected = ranking_metrics(Y, proba, KS, exclude=exclude)
    values = [expected[f"P@{k}"] for k in KS]
    np.testing.assert_allclose(display.lines_["P"].get_ydata(), values)


def test_one_d_classes_are_ranked_by_the_models_classes():
    texts = ["oak tree", "fir tree", "elm tree"] * 10
    y = np.array(["oak", "fir", "elm"] * 10)
    model = tiny().fit(texts, y)
    display = RankingMetricsDisplay.from_estimator(model, texts, y, ks=(1,))
    np.testing.assert_allclose(display.lines_["P"].get_ydata(), [model.score(texts, y)])
    reliability = ReliabilityDisplay.from_estimator(model, texts, y)
    assert np.sum(reliability.n_pairs) == len(texts) * 3
    bars = LabelFrequencyDisplay.from_estimator(model, texts, y, k=1).bars_
    np.testing.assert_allclose(sum(bar.get_height() for bar in bars), model.score(texts, y))


def test_estimators_on_one_axes_have_their_own_colours_and_markers():
    Y_true, Y_score, *_ = random_predictions(0)
    ax = None
    for name in "abc":
        display = RankingMetricsDisplay.from_predictions(
            Y_true, Y_score, metrics=("P", "R"), name=name, ax=ax
        )
        ax = display.ax_
    lines = ax.get_lines()
    assert len({line.get_color() for line in lines}) == 3
    assert len({line.get_marker() for line in lines}) == 3
    assert len({line.get_linestyle() for line in lines}) == 2
    assert len(ax.get_legend().get_texts()) == 6


def test_legend_stands_above_all_data():
    Y_true, *_ = random_predictions(0)
    fig, ax = plt.subplots(figsize=(3.5, 3), layout="constrained")
    for name in ("one estimator", "another estimator", "a third estimator"):
        RankingMetricsDisplay.from_predictions(Y_true, Y_true, metrics="R", name=name, ax=ax)
    fig.draw_without_rendering()
    bottom = ax.get_legend().get_window_extent().y0
    highest = max(ax.transData.transform(line.get_xydata())[:, 1].max() for line in ax.lines)
    assert bottom > highest
    assert ax.get_legend().get_window_extent().width <= ax.bbox.width


def test_keywords_reach_the_lines_also_by_alias():
    Y_true, Y_score, *_ = random_predictions(0)
    display = RankingMetricsDisplay.from_predictions(Y_true, Y_score, c="black", lw=3)
    assert display.lines_["P"].get_color() == "black"
    assert display.lines_["P"].get_linewidth() == 3
    again = display.plot(name="renamed", color="red")
    assert again.lines_["P"].get_label() == "renamed: P@k"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metrics": "P@5"}, r"metrics='P@5' is not known. Pass one or more of 'P', 'PSP'"),
        ({"metrics": ()}, r"metrics=\(\) is not known"),
        ({"metrics": "PSP"}, r"PSP needs propensities, which are None"),
        ({"ks": (0, 1)}, r"k is 0. Pass a positive integer"),
        ({"ks": ()}, r"ks is empty"),
    ],
)
def test_wrong_arguments_of_metrics_over_k_are_named(arguments, message):
    Y_true, Y_score, *_ = random_predictions(0)
    with pytest.raises(ValueError, match=message):
        RankingMetricsDisplay.from_predictions(Y_true, Y_score, **arguments)


def test_psp_of_an_estimator_without_counts_asks_for_propensities(test_set):
    texts, Y = make_texts()
    bags = make_pipeline(TfidfVectorizer(), OneVsRestClassifier(LogisticRegression()))
    bags.fit(texts, Y.astype(int))
    with pytest.raises(ValueError, match=r"does not tell how often .* Pass propensities"):
        RankingMetricsDisplay.from_estimator(bags, *test_set, metrics="PSP")
    with pytest.raises(ValueError, match=r"does not tell how often .* Pass label_counts"):
        LabelFrequencyDisplay.from_estimator(bags, *test_set)
    p = np.full(Y.shape[1], 0.5)
    display = RankingMetricsDisplay.from_estimator(
        bags, *test_set, metrics="PSP", ks=(3,), propensities=p
    )
    expected = ranking_metrics(test_set[1], bags.predict_proba(test_set[0]), (3,), p)["PSP@3"]
    np.testing.assert_allclose(display.lines_["PSP"].get_ydata(), [expected])


# ---------------------------------------------------------------------------------- label frequency
def heights(display):
    return np.array([bar.get_height() for bar in display.bars_])


@pytest.mark.parametrize("metric", ["P", "PSP"])
@pytest.mark.parametrize("seed", range(3))
def test_bars_sum_to_the_metric(metric, seed):
    Y_true, Y_score, exclude, counts, weights = random_predictions(seed)
    p = np.linspace(0.1, 1, Y_true.shape[1])
    display = LabelFrequencyDisplay.from_predictions(
        Y_true, Y_score, counts, metric=metric, k=3, n_bins=3, propensities=p,
        exclude=exclude, sample_weight=weights,
    )  # fmt: skip
    expected = ranking_metrics(Y_true, Y_score, (3,), p, exclude, weights)[f"{metric}@3"]
    np.testing.assert_allclose(heights(display).sum(), expected)


@pytest.mark.parametrize("seed", range(3))
def test_each_bar_is_the_precision_at_the_bins_labels(seed):
    """The ranking stays and only the bin's labels count as true: what the bin contributes."""
    Y_true, Y_score, exclude, counts, weights = random_predictions(seed)
    display = LabelFrequencyDisplay.from_predictions(
        Y_true, Y_score, counts, k=3, n_bins=3, exclude=exclude, sample_weight=weights
    )
    for (low, high), height in zip(display.frequencies, heights(display), strict=True):
        only_bin = Y_true.toarray() * ((counts >= low) & (counts <= high))
        expected = ranking_metrics(only_bin, Y_score, (3,), None, exclude, weights)["P@3"]
        np.testing.assert_allclose(height, expected)


def test_bars_of_psp_share_it_as_the_hits_share_the_inverse_propensities():
    Y_true, Y_score, _, counts, _ = random_predictions(6)
    p = np.linspace(0.1, 1, Y_true.shape[1])
    display = LabelFrequencyDisplay.from_predictions(
        Y_true, Y_score, counts, metric="PSP", k=3, n_bins=3, propensities=p
    )
    is_top = Y_score >= np.sort(Y_score, axis=1)[:, [-3]]
    gains = ((Y_true.toarray() > 0) & is_top) / p
    of_bins = [
        gains[:, (counts >= low) & (counts <= high)].sum() for low, high in display.frequencies
    ]
    shares = np.array(of_bins) / gains.sum()
    np.testing.assert_allclose(heights(display) / heights(display).sum(), shares)


def test_recall_bar_is_the_share_of_the_bins_true_pairs_found():
    Y_true, Y_score, exclude, counts, weights = random_predictions(4)
    display = LabelFrequencyDisplay.from_predictions(
        Y_true, Y_score, counts, metric="recall", k=3, n_bins=3,
        exclude=exclude, sample_weight=weights,
    )  # fmt: skip
    is_open = exclude.toarray() == 0
    truth = (Y_true.toarray() > 0) & is_open
    scores = np.where(is_open, Y_score, -np.inf)
    is_top = scores >= np.sort(scores, axis=1)[:, [-3]]
    for (low, high), height in zip(display.frequencies, heights(display), strict=True):
        of_bin = truth * weights[:, None] * ((counts >= low) & (counts <= high))
        np.testing.assert_allclose(height, of_bin[is_top].sum() / of_bin.sum())


def test_bin_without_a_true_pair_has_no_recall_bar():
    display = LabelFrequencyDisplay.from_predictions(
        [[1, 0]], [[0.9, 0.1]], [9, 1], metric="recall", k=1, n_bins=2
    )
    np.testing.assert_array_equal(heights(display), [1.0, np.nan])


@pytest.mark.parametrize("seed", range(5))
def test_bins_part_no_frequency_and_go_from_head_to_tail(seed):
    counts = np.random.default_rng(seed).zipf(1.6, 300).clip(max=200) - 1
    bins, frequencies = frequency_bins(counts, 300, 5)
    for b, (low, high) in enumerate(frequencies):
        np.testing.assert_array_equal(bins == b, (counts >= low) & (counts <= high))
    assert (np.diff(frequencies[:, 0]) < 0).all()
    np.testing.assert_array_equal(frequencies[-1], [0, 0])  # never seen: a bin of their own


def test_bins_hold_equal_shares_where_frequencies_are_many():
    counts = np.arange(1, 2001)
    bins, _ = frequency_bins(counts, 2000, 5)
    shares = np.bincount(bins, weights=counts) / counts.sum()
    np.testing.assert_allclose(shares, 0.2, atol=1e-3)


@pytest.mark.parametrize("counts", [[0, 0], [3, 3], [7]])
def test_few_frequencies_give_few_bins(counts):
    _, frequencies = frequency_bins(counts, len(counts), 5)
    np.testing.assert_array_equal(frequencies, [[counts[0], counts[0]]])


def test_bars_of_estimators_stand_side_by_side(fitted, test_set):
    other = tiny(DualEncoderXC, label_texts=WORDS).fit(*make_texts())
    first = LabelFrequencyDisplay.from_estimator(fitted, *test_set, n_bins=3)
    second = LabelFrequencyDisplay.from_estimator(other, *test_set, n_bins=3, ax=first.ax_)
    lefts, rights = (np.array([b.get_x() for b in d.bars_]) for d in (first, second))
    widths = np.array([b.get_width() for b in first.bars_])
    np.testing.assert_allclose(lefts + widths, rights)
    np.testing.assert_allclose((lefts + rights + widths) / 2, np.arange(len(lefts)))
    assert first.bars_[0].get_facecolor() != second.bars_[0].get_facecolor()
    assert [text.get_text() for text in first.ax_.get_legend().get_texts()] == [
        "ReneeClassifier",
        "DualEncoderXC",
    ]


def test_ticks_name_the_frequencies_and_how_many_labels_have_them():
    display = LabelFrequencyDisplay([0.1, 0.2], [[7, 9], [3, 3]], [2, 40]).plot()
    ticks = [tick.get_text() for tick in display.ax_.get_xticklabels()]
    assert ticks == ["7–9\n(2)", "3\n(40)"]


def test_bars_of_other_bins_or_metrics_are_not_put_side_by_side():
    first = LabelFrequencyDisplay([0.1, 0.2], [[7, 9], [3, 3]], [2, 40]).plot()
    for other in (
        LabelFrequencyDisplay([0.1, 0.2], [[7, 8], [3, 3]], [2, 40]),
        LabelFrequencyDisplay([0.1, 0.2], [[7, 9], [3, 3]], [2, 40], k=3),
    ):
        with pytest.raises(ValueError, match=r"ax shows 'Contribution to P@5' over the bins 7–9"):
            other.plot(ax=first.ax_)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metric": "R"}, "metric='R' is unknown. Pass one of 'P', 'PSP', 'recall'"),
        ({"metric": "PSP"}, "PSP needs propensities"),
        ({"label_counts": [1, 2]}, r"label_counts has shape \(2,\), but Y_true has 9 columns"),
        ({"label_counts": np.full(9, 0.5)}, "label_counts holds negative numbers or fractions"),
        ({"n_bins": 0}, "n_bins=0 is too small"),
        ({"k": 0}, "k is 0"),
    ],
)
def test_wrong_arguments_of_label_frequency_are_named(arguments, message):
    Y_true, Y_score, _, counts, _ = random_predictions(0)
    with pytest.raises(ValueError, match=message):
        LabelFrequencyDisplay.from_predictions(
            Y_true, Y_score, **{"label_counts": counts, **arguments}
        )


# ------------------------------------------------------------------------------------------ history
def test_history_lines_are_the_estimators_history():
    texts, Y = make_texts()
    model = tiny(early_stopping=True).fit(texts, Y)
    display = TrainingHistoryDisplay.from_estimator(make_pipeline(model))
    for line, key in ((display.line_, "loss"), (display.validation_line_, "validation_score")):
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, model.n_iter_ + 1))
        np.testing.assert_array_equal(line.get_ydata(), [epoch[key] for epoch in model.history_])
    assert display.line_.axes is display.ax_
    assert display.validation_line_.axes is display.validation_ax_


def test_history_without_validation_has_one_scale(fitted):
    display = TrainingHistoryDisplay.from_estimator(fitted)
    assert display.validation_ax_ is display.validation_line_ is None
    assert display.figure_.axes == [display.ax_]


def test_histories_share_both_scales():
    with_score = TrainingHistoryDisplay([{"loss": 2.0, "validation_score": 0.1}], name="a").plot()
    without = TrainingHistoryDisplay([{"loss": 5.0}, {"loss": 3.0}], name="b")
    without.plot(ax=with_score.ax_)
    mixed = TrainingHistoryDisplay([{"loss": 1.0}, {"loss": 1.0, "validation_score": 0.3}])
    mixed.plot(ax=with_score.ax_, name="c")
    assert mixed.validation_ax_ is with_score.validation_ax_
    np.testing.assert_array_equal(mixed.validation_line_.get_ydata(), [np.nan, 0.3])
    assert with_score.ax_.get_ylim()[1] > 5
    legend = with_score.validation_ax_.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "c"]


def test_axes_that_share_x_do_not_share_the_second_scale():
    history = [{"loss": 2.0, "validation_score": 0.1}]
    _, (left, right) = plt.subplots(1, 2, sharex=True)
    first, second = (TrainingHistoryDisplay(history).plot(ax=ax) for ax in (left, right))
    assert first.validation_ax_ is not second.validation_ax_


def test_estimator_without_history_is_named():
    with pytest.raises(ValueError, match="LogisticRegression has no history_"):
        TrainingHistoryDisplay.from_estimator(LogisticRegression())
    search = GridSearchCV(make_pipeline(tiny()), {})
    with pytest.raises(ValueError, match=r"GridSearchCV has no history_.*needs refit"):
        TrainingHistoryDisplay.from_estimator(search)


# -------------------------------------------------------------------------------------- reliability
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array, sp.coo_matrix])
def test_reliability_is_the_naive_loop_over_pairs(container):
    Y_true, proba, exclude, *_ = random_predictions(5)
    proba = np.where(proba < 0.3, 0, proba)
    proba[:, 0] = 0.5  # on the edge of two bins
    display = ReliabilityDisplay.from_predictions(
        Y_true, container(proba), n_bins=4, exclude=exclude
    )
    is_used = exclude.toarray() == 0
    if container is not np.asarray:
        is_used &= proba > 0
    pairs = [[], [], [], []]
    for row, label in np.argwhere(is_used):
        bin_ = max(int(np.ceil(proba[row, label] * 4)) - 1, 0)
        pairs[bin_].append((proba[row, label], Y_true[row, label]))
    pairs = [p for p in pairs if p]
    means = np.array([np.mean(p, axis=0) for p in pairs])
    np.testing.assert_allclose(display.line_.get_xdata(), means[:, 0], rtol=1e-6)
    np.testing.assert_allclose(display.line_.get_ydata(), means[:, 1])
    np.testing.assert_array_equal(display.count_line_.get_ydata(), [len(p) for p in pairs])
    np.testing.assert_array_equal(display.count_line_.get_xdata(), display.line_.get_xdata())


def test_reliability_counts_the_stored_pairs_of_an_estimator(fitted, test_set):
    texts, Y = test_set
    display = ReliabilityDisplay.from_estimator(make_pipeline(fitted), texts, Y, n_bins=5)
    proba = fitted.predict_proba(texts)
    assert np.sum(display.n_pairs) == proba.nnz == len(texts) * fitted.top_k
    np.testing.assert_allclose(np.dot(display.n_pairs, display.prob_pred), proba.sum(), rtol=1e-5)
    hits = proba.astype(bool).multiply(Y).sum()
    np.testing.assert_allclose(np.dot(display.n_pairs, display.prob_true), hits)


def test_reliability_with_exclusions_looks_at_the_labels_that_move_up(fitted, test_set):
    texts, Y = test_set
    display = ReliabilityDisplay.from_estimator(fitted, texts, Y, exclude=Y)
    n_given = np.minimum(fitted.top_k, Y.shape[1] - np.diff(Y.indptr))
    assert np.sum(display.n_pairs) == n_given.sum()
    np.testing.assert_array_equal(display.prob_true, 0)


def test_reliability_of_another_librarys_estimator_drops_excluded_pairs(test_set):
    texts, Y = make_texts()
    bags = make_pipeline(TfidfVectorizer(), OneVsRestClassifier(LogisticRegression()))
    bags.fit(texts, Y.astype(int))
    display = ReliabilityDisplay.from_estimator(bags, *test_set, exclude=test_set[1])
    assert np.sum(display.n_pairs) == np.prod(test_set[1].shape) - test_set[1].nnz


@pytest.mark.parametrize("layout", [None, "constrained", "tight"])
def test_counts_stand_below_within_the_place_of_the_axes(layout):
    fig, axes = plt.subplots(1, 2, layout=layout)
    display = ReliabilityDisplay([0.1, 0.4], [0.1, 0.5], [90, 9], name="a").plot(ax=axes[1])
    second = ReliabilityDisplay([0.2, 0.3], [0.1, 0.5], [9, 9], name="b").plot(ax=axes[1])
    fig.draw_without_rendering()
    assert second.count_ax_ is display.count_ax_
    upper, lower = display.ax_.get_position(), display.count_ax_.get_position()
    assert lower.y1 < upper.y0
    assert lower.x0 == pytest.approx(upper.x0)
    assert display.count_ax_.get_tightbbox().y0 >= 0
    assert upper.y1 <= axes[0].get_position().y1 + 0.02


def test_axes_outside_a_grid_make_room_for_the_counts_too():
    ax = plt.figure().add_axes((0.1, 0.2, 0.8, 0.7))
    display = ReliabilityDisplay([0.1], [0.1], [90]).plot(ax=ax)
    assert display.count_ax_.get_position().y0 == pytest.approx(0.2)
    assert display.ax_.get_position().y1 == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("Y_proba", "message"),
    [
        ([[0.5, 1.2]], "Y_proba holds 1.2. Pass probabilities"),
        ([[0.5, np.nan]], "Y_proba holds nan. Pass probabilities"),
        (sp.csr_array((1, 2)), "Y_proba holds no prediction"),
        ([[0.5, 0.5, 0.5]], r"Y_proba has shape \(1, 3\)"),
    ],
)
def test_what_is_no_probability_is_named(Y_proba, message):
    with pytest.raises(ValueError, match=message):
        ReliabilityDisplay.from_predictions([[1, 0]], Y_proba)


# ------------------------------------------------------------------------------------------ imports
def test_without_matplotlib_the_error_says_how_to_install_it():
    code = """
import sys
from itertools import pairwise
sys.modules["matplotlib"] = None
from skxc.metrics import TrainingHistoryDisplay, RankingMetricsDisplay
for draw in (
    lambda: TrainingHistoryDisplay([{"loss": 1.0}]).plot(),
    lambda: RankingMetricsDisplay.from_estimator(None, None, None),
):
    try:
        draw()
    except ImportError as error:
        assert 'Display needs matplotlib. Install it with: pip install "skxc[plot]"' in str(error)
    else:
        raise AssertionError("no error")
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.parametrize(("n_samples", "n_labels"), [(1, 1), (3, 1), (1, 4), (2, 30)])
def test_tiny_problems_are_drawn(n_samples, n_labels):
    rng = np.random.default_rng(0)
    Y_true = sp.csr_array((n_samples, n_labels))
    Y_score = rng.random((n_samples, n_labels))
    p = np.full(n_labels, 0.5)
    everything = ("P", "R", "nDCG", "MRR", "PSP", "PSnDCG")
    display = RankingMetricsDisplay.from_predictions(
        Y_true, Y_score, metrics=everything, propensities=p
    )
    for line in display.lines_.values():
        np.testing.assert_array_equal(line.get_ydata(), 0)
    counts = np.arange(n_labels)
    for metric in ("P", "PSP"):
        bars = LabelFrequencyDisplay.from_predictions(
            Y_true, Y_score, counts, metric=metric, propensities=p
        )
        np.testing.assert_array_equal(heights(bars), 0)
    recall = LabelFrequencyDisplay.from_predictions(Y_true, Y_score, counts, metric="recall")
    assert np.isnan(heights(recall)).all()
    reliability = ReliabilityDisplay.from_predictions(Y_true, Y_score)
    np.testing.assert_array_equal(reliability.prob_true, 0)
    for drawn in (display, bars, recall, reliability):
        drawn.figure_.draw_without_rendering()


def test_names_of_bins_do_not_overlap():
    frequencies = np.array([[10**5 + 1, 10**6], [10**4 + 1, 10**5], [1001, 10**4], [10, 1000]])
    fig, ax = plt.subplots(figsize=(3.5, 3), layout="constrained")
    for name in "ab":
        bars = LabelFrequencyDisplay([0.1] * 4, frequencies, [9] * 4, name=name)
        bars.plot(ax=ax)  # the second finds the same bins, also on more lines
    fig.draw_without_rendering()
    extents = [tick.get_window_extent() for tick in ax.get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in pairwise(extents))


@pytest.mark.parametrize("n_pairs", [[5], [10], [20, 30], [1, 100_000]])
def test_pairs_have_a_scale_with_two_ticks_at_least(n_pairs):
    places = np.linspace(0.1, 0.9, len(n_pairs))
    counts = ReliabilityDisplay(places, places, n_pairs).plot().count_ax_
    low, high = counts.get_ylim()
    assert low < min(n_pairs)
    assert high > max(n_pairs)
    assert np.log10([low, high]) % 1 == pytest.approx([0, 0])
