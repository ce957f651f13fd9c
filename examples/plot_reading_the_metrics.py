"""
Reading the metrics
===================

One number does not say whether a ranking of thousands of labels is good. Five plots, and what each
of them shows and does not show: metrics over k, their propensity-scored forms, accuracy from head
to tail, the training history, and the reliability of probabilities.
"""

# %%
# Two classifiers to compare
# --------------------------
# Both predict subject headings of titles of publications. :class:`~skxc.UniDEC` also reads the
# names of the headings. ``early_stopping`` holds out a tenth of the training titles, for the
# training history below.

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
# P@k is the share of right labels among the k best. It counts k places even if a text has fewer
# labels. So it *must* fall with k, and its maximum is less than 1. The truth itself, ranked as if
# it were a prediction, shows the maximum: more than half of these titles have only two headings.
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
# R@k is the share of a text's labels that are among the k best. It rises with k, and shows how many
# labels are needed to find most. In nDCG@k a hit at a lower place counts less, and the sum is
# divided by that of the best ranking of *this* text: the truth has 1 at every k. At k = 1 it is
# P@1. If P@k and nDCG@k disagree on two models, the one with the better nDCG has its hits at higher
# places.

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
# People who label texts do not check thousands of labels, and they miss rare labels most. The
# *propensity* of a label models the probability that it was written down if it applies. PSP@k
# divides each hit by it, so a hit of a rare label counts more, and divides the sum by that of the
# best ranking. So it can rise with k, and cannot be compared with P@k. Compare two models by both:
# a model that is good only for frequent labels is worse in PSP@k.
#
# Propensities are computed from the counts of the *training* labels, which fitted estimators have.
# Their two constants differ between families of data sets, see
# :data:`~skxc.metrics.PROPENSITY_CONSTANTS`. Only numbers with equal constants can be compared.

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
# For which labels is a model good? Labels are sorted by the number of their training texts and
# divided into bins with about equal shares of the training pairs: a few frequent labels on the
# left, many rare ones on the right. Left plot: the contribution of each bin to P@5; the bars sum to
# it. Right plot: the share of the bin's true pairs that is among the five best; it does not depend
# on the bin's size.
#
# Here UniDEC is better in every bin, and most in the tail: a name says something about a heading
# with few training texts.

from skxc.metrics import LabelFrequencyDisplay

frequency_figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
for ax, metric in zip(axes, ("P", "recall"), strict=True):
    for clf in classifiers:
        LabelFrequencyDisplay.from_estimator(
            clf, data.test_texts, data.Y_test, metric=metric, k=5, ax=ax
        )
plt.show()

# %%
# The training history
# --------------------
# ``history_`` has the mean loss of each epoch and, with ``early_stopping``, P@1 on the held-out
# texts; the model of the best epoch is kept. If the loss falls but the score does not rise, the
# model overfits. If the score still rises, use more ``epochs``. The losses of two estimators are
# not the same quantity: compare their scores only.

from skxc.metrics import TrainingHistoryDisplay

history_figure, ax = plt.subplots(layout="constrained")
for clf in classifiers:
    TrainingHistoryDisplay.from_estimator(clf, ax=ax)
plt.show()

# %%
# Reliability
# -----------
# If three in ten of the pairs with probability 0.3 are right, the points are on the diagonal. Below
# the diagonal, probabilities are too high. Ranking metrics do not depend on this, but a
# ``threshold`` does. The lower plot shows the number of pairs of each point: most of the ``top_k``
# labels of each title are improbable, and the points on the right have few pairs.

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
