"""
Reading the metrics
===================

One number does not say whether a ranking of thousands of labels is good. Five plots, and what each
of them can tell and cannot: metrics over k, their propensity-scored forms, accuracy from head to
tail, the training's history, and the reliability of probabilities.
"""

# %%
# Two classifiers to compare
# --------------------------
# Both learn to give subject headings to titles of publications; :class:`~skxc.UniDEC` also reads
# the headings' names. ``early_stopping`` holds out a tenth of the training titles, for the history
# further down.

from skxc import ReneeClassifier, UniDEC
from skxc.datasets import load_library_subjects

data = load_library_subjects()
classifiers = [
    UniDEC(label_texts=data.label_texts, early_stopping=True, random_state=0),
    ReneeClassifier(early_stopping=True, random_state=0),
]
for clf in classifiers:
    clf.fit(data.texts, data.Y)

# %%
# Precision at k
# --------------
# P@k is the share of right labels among the k best. It counts k places even where a text has fewer
# labels, so it *must* fall with k, and its ceiling is not 1. The truth itself, ranked as if it
# were a prediction, shows the ceiling: more than half of these titles have but two headings.
#
# ``ax`` puts several displays into one plot.

import matplotlib.pyplot as plt

from skxc.metrics import RankingMetricsDisplay

ks = range(1, 11)
fig, ax = plt.subplots(layout="constrained")
RankingMetricsDisplay.from_predictions(
    data.Y_test, data.Y_test, ks=ks, name="the truth", color="gray", ax=ax
)
for clf in classifiers:
    RankingMetricsDisplay.from_estimator(clf, data.test_texts, data.Y_test, ks=ks, ax=ax)
ax.set_title("P@k has a ceiling that falls")
plt.show()

# %%
# nDCG and recall at k
# --------------------
# R@k is the share of a text's labels that are among the k best: it rises with k, and tells how many
# must be shown to find most. nDCG@k gives a hit less the further down it stands, and divides by
# what the best ranking of *this* text would get: the truth has 1 at every k. At k = 1 it is P@1.
# Where P@k and nDCG@k disagree on two models, the one with the better nDCG puts its hits higher.

fig, ax = plt.subplots(layout="constrained")
for clf in classifiers:
    RankingMetricsDisplay.from_estimator(
        clf,
        data.test_texts,
        data.Y_test,
        metrics=("nDCG", "R"),
        ks=ks,
        ax=ax,
    )
plt.show()

# %%
# Propensity-scored precision
# ---------------------------
# Nobody who labels texts goes through thousands of labels, and rare ones are overlooked most. The
# *propensity* of a label models how likely it was written down where it applies; PSP@k divides each
# hit by it, so that a rare label's hit counts more, and the sum by what the best ranking would get.
# Because of that last step it may rise with k, and is not to be compared with P@k: the question is
# whether two models keep their order and their distance. A model that lives on frequent labels
# loses in PSP@k.
#
# Propensities come from the counts of the *training* labels, which fitted estimators know. Their
# two constants differ between families of data sets, see
# :data:`~skxc.metrics.PROPENSITY_CONSTANTS`: only equal constants give numbers that compare.

metrics_figure, ax = plt.subplots(layout="constrained")
for clf in classifiers:
    RankingMetricsDisplay.from_estimator(
        clf,
        data.test_texts,
        data.Y_test,
        metrics=("P", "PSP"),
        ks=ks,
        ax=ax,
    )
plt.show()

# %%
# From head to tail
# -----------------
# Which labels does a model live on? Labels are put in order of their training texts and cut into
# bins with about equal shares of the training pairs: a few frequent labels on the left, many rare
# ones on the right. Left plot: what each bin contributes to P@5; the bars sum to it. Right plot:
# which share of the bin's true pairs is among the five best; it does not depend on the bin's size.
#
# Here UniDEC is ahead in every bin, and most in the tail: a name says something about a heading
# that has been seen a few times only.

from skxc.metrics import LabelFrequencyDisplay

frequency_figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
for ax, metric in zip(axes, ("P", "recall"), strict=True):
    for clf in classifiers:
        LabelFrequencyDisplay.from_estimator(
            clf, data.test_texts, data.Y_test, metric=metric, k=5, ax=ax
        )
plt.show()

# %%
# The history of a training
# -------------------------
# ``history_`` holds the mean loss of each epoch and, with ``early_stopping``, P@1 on the texts held
# out; the model of the best epoch is kept. A loss that still falls while the score stands still is
# memorising; a score that still rises asks for more ``epochs``. Two estimators' losses are not the
# same quantity: compare their scores alone.

from skxc.metrics import TrainingHistoryDisplay

history_figure, ax = plt.subplots(layout="constrained")
for clf in classifiers:
    TrainingHistoryDisplay.from_estimator(clf, ax=ax)
plt.show()

# %%
# Reliability
# -----------
# If of all the pairs that are predicted with probability 0.3 three in ten are right, the points
# stand on the diagonal; below it, the model promises too much. Ranking metrics do not see this; a
# ``threshold`` on probabilities does. Below stands how many pairs each point rests on: most of the
# ``top_k`` labels of each title are improbable, and the points on the right rest on few.

from skxc.metrics import ReliabilityDisplay

reliability_figure, ax = plt.subplots(layout="constrained")
for clf in classifiers:
    ReliabilityDisplay.from_estimator(clf, data.test_texts, data.Y_test, ax=ax)
plt.show()

# %%
# As a script, with a folder as its argument, this page writes four of the plots there.

import sys
from pathlib import Path

for folder in sys.argv[1:2]:
    for name, figure in (
        ("ranking_metrics", metrics_figure),
        ("label_frequency", frequency_figure),
        ("training_history", history_figure),
        ("reliability", reliability_figure),
    ):
        figure.savefig(Path(folder) / f"{name}.png", dpi=80, facecolor="white")
