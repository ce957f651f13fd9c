"""
Choosing among the three estimators
===================================

All three on the same data, with their default settings: how good are the rankings, for which
labels, and how long does training take?
"""

# %%
# Fit the three
# -------------
# On half of the training titles, to save time. With all of them, all figures are higher.

from itertools import pairwise
from time import process_time

import matplotlib.pyplot as plt
import numpy as np

from skxc import DualEncoderXC, ReneeClassifier, UniDEC
from skxc.datasets import load_library_subjects
from skxc.metrics import propensities, ranking_metrics

data = load_library_subjects()
texts, Y = data.texts[:5000], data.Y[:5000]
fitted, seconds = {}, {}
for Estimator in (ReneeClassifier, DualEncoderXC, UniDEC):
    began = process_time()
    clf = Estimator(label_texts=data.label_texts, random_state=0).fit(texts, Y)
    seconds[Estimator.__name__] = process_time() - began
    fitted[Estimator.__name__] = clf

# %%
# One table
# ---------
# P@k is the share of right labels among the k best. In PSP@k, rare labels have a higher weight: it
# measures the tail.

p = propensities(Y)
print(f"{'':16} {'P@1':>6} {'P@5':>6} {'PSP@5':>6} {'CPU s':>6}")
for name, clf in fitted.items():
    m = ranking_metrics(data.Y_test, clf.predict_proba(data.test_texts), propensities=p)
    shown = "".join(f" {100 * m[metric]:6.1f}" for metric in ("P@1", "P@5", "PSP@5"))
    print(f"{name:16}{shown} {seconds[name]:6.1f}")

# %%
# Head and tail
# -------------
# Recall among the five best, by the number of training texts of a label. The rarer the labels, the
# larger the distance of :class:`~skxc.ReneeClassifier` to the others: it learns a row of weights
# for each label from these texts.

edges = np.array([1, 5, 8, 11, 15, 29])  # training texts a label, 1 to 28
bin_of_label = np.digitize(fitted["UniDEC"].label_counts_, edges) - 1
n_pairs = np.bincount(bin_of_label, weights=np.asarray(data.Y_test.sum(axis=0)).ravel())


def recall_by_bin(clf, k=5):
    """Share of each bin's true pairs that are among the k best labels of their texts."""
    labels, _ = clf.predict_top_k(data.test_texts, k)
    is_hit = data.Y_test[np.arange(len(labels))[:, None], labels].toarray() > 0
    return np.bincount(bin_of_label[labels[is_hit]], minlength=len(n_pairs)) / n_pairs


fig, (left, right) = plt.subplots(1, 2, figsize=(9, 4), width_ratios=(3, 1), layout="constrained")
places = np.arange(len(n_pairs))
for i, (name, clf) in enumerate(fitted.items()):
    left.bar(places + 0.27 * (i - 1), recall_by_bin(clf), 0.25, label=name)
    right.bar(name, seconds[name])
left.set_xticks(places, labels=[f"{low} to {high - 1}" for low, high in pairwise(edges)])
left.set(xlabel="training texts of the label", ylabel="recall at 5", ylim=(0, 0.55))
left.legend(ncols=3, loc="upper center")
right.set(ylabel="CPU seconds to fit")
right.tick_params(axis="x", rotation=30)
plt.show()

# %%
# Which one to use
# ----------------
# - Labels with texts: try :class:`~skxc.UniDEC` first.
# - Many labels without a training text, or new ones every day: :class:`~skxc.DualEncoderXC`. It has
#   no weights per label.
# - Labels without texts: :class:`~skxc.ReneeClassifier`. The cost of its step grows with the number
#   of labels, that of the other two does not.
#
# One data set is not enough to decide. The method pages have six, and say where each is worse
# (:doc:`/guide/renee`, :doc:`/guide/dual_encoder`, :doc:`/guide/unidec`).
