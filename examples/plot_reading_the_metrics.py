"""
Reading the metrics
===================

One number does not say whether a ranking of thousands of labels is good. This page explains five
plots: metrics over k, propensity-scored metrics, accuracy from head to tail, the history of a
training, and the reliability of probabilities.
"""

# %%
# Two classifiers to compare
# --------------------------
# Both learn to give subject headings to titles of publications. :class:`~skxc.UniDEC` also reads
# the names of the headings. ``early_stopping`` holds out a tenth of the training titles. The
# section on history uses it.

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
# P@k is the share of right labels among the k best. It divides by k even if a text has fewer
# labels. So it *must* fall with k, and its maximum is not 1. The gray line shows the maximum: the
# true labels, ranked like a prediction. More than half of these titles have only two headings.
#
# ``ax`` puts several displays into one plot.

import matplotlib.pyplot as plt

from skxc.metrics import RankingMetricsDisplay

ks = range(1, 11)
fig, ax = plt.subplots(layout="constrained")
RankingMetricsDisplay.from_predictions(
    data.Y_test, data.Y_test, ks=ks, name="true labels", color="gray", ax=ax
)
for clf in classifiers:
    RankingMetricsDisplay.from_estimator(clf, data.test_texts, data.Y_test, ks=ks, ax=ax)
ax.set_title("The maximum of P@k falls with k")
plt.show()

# %%
# nDCG and recall at k
# --------------------
# R@k is the share of a text's labels that are among the k best. It rises with k, and tells how many
# labels must be shown to find most of the right ones. In nDCG@k, a hit has less weight at a lower
# place. The sum is divided by that of the best ranking of *this* text: the true labels have 1 at
# every k. At k = 1, nDCG is P@1. If two models have the same P@k, the one with the better nDCG@k
# has its hits at higher places.

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
# People who label texts do not read through thousands of labels. They often miss rare ones. The
# *propensity* of a label models how likely people write it down if it applies. PSP@k divides each
# hit by it, so a hit of a rare label counts more. The sum is divided by that of the best ranking.
# So PSP@k can rise with k. Do not compare it with P@k. Compare two models: do they have the same
# order and distance as in P@k? A model that is good only at frequent labels is worse in PSP@k.
#
# Propensities are computed from the counts of the *training* labels, which fitted estimators know.
# Their two constants differ between families of data sets, see
# :data:`~skxc.metrics.PROPENSITY_CONSTANTS`. Compare only figures with equal constants.

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
# For which labels is a model good? Labels are sorted by their number of training texts, and divided
# into bins with about equal shares of the training pairs: a few frequent labels on the left, many
# rare ones on the right. Left plot: the part of P@5 that comes from each bin; the bars sum to P@5.
# Right plot: the share of the bin's true pairs that are among the five best; it does not depend on
# the size of the bin.
#
# Here UniDEC is better in every bin, and most in the tail: if a heading has few training texts, its
# name helps.

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
# ``history_`` has the mean loss of each epoch and, with ``early_stopping``, P@1 on the held-out
# texts. The model of the best epoch is kept. If the loss still falls but the score does not rise,
# the model only memorises. If the score still rises, use more ``epochs``. The losses of two
# estimators are different quantities: compare only their scores.

from skxc.metrics import TrainingHistoryDisplay

history_figure, ax = plt.subplots(layout="constrained")
for clf in classifiers:
    TrainingHistoryDisplay.from_estimator(clf, ax=ax)
plt.show()

# %%
# Reliability
# -----------
# If three in ten of the pairs with a predicted probability of 0.3 are right, the point is on the
# diagonal. Below the diagonal, probabilities are too high. This does not change ranking metrics,
# but it matters for a ``threshold``. The lower plot shows the number of pairs of each point: most
# of the ``top_k`` labels of each title are improbable, so the points on the right have few pairs.

from skxc.metrics import ReliabilityDisplay

reliability_figure, ax = plt.subplots(layout="constrained")
for clf in classifiers:
    ReliabilityDisplay.from_estimator(clf, data.test_texts, data.Y_test, ax=ax)
plt.show()

# %%
# As a script with a folder as its argument, this page writes four of the plots to the folder.

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
