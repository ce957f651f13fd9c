"""
A first classifier
==================

Subject headings for library records: 9,683 training titles, 1,500 headings, about three headings
per title. :class:`~skxc.UniDEC` reads the titles and the headings' names and learns to rank all
headings for a new title.
"""

# %%
# The data
# --------
# Titles are plain strings. A sparse matrix says which title has which heading: it has one column
# per heading. Every heading has a name.

import matplotlib.pyplot as plt

from skxc import UniDEC
from skxc.datasets import load_library_subjects
from skxc.metrics import ranking_metrics

data = load_library_subjects()
print(f"{len(data.texts)} training titles, {len(data.test_texts)} test titles")
for row in (1, 500):
    print(data.texts[row])
    print("   ", ", ".join(data.label_texts[label] for label in data.Y[[row]].indices))
print(repr(data.Y))

# %%
# Fit
# ---
# The default encoder is a bag of words. It is trained on a CPU and needs no pretrained weights.
# ``label_texts`` are in the order of the columns.

clf = UniDEC(label_texts=data.label_texts, random_state=0)
clf.fit(data.texts, data.Y)

# %%
# Predict
# -------
# Names, best first. A star marks the headings that a librarian chose.

rows = [15, 16, 17]
predicted = clf.predict_labels([data.test_texts[row] for row in rows], k=5)
for row, names in zip(rows, predicted, strict=True):
    true = [data.label_texts[label] for label in data.Y_test[[row]].indices]
    print(data.test_texts[row])
    print("   ", ", ".join(f"*{name}" if name in true else name for name in names))

# %%
# For a program, ``predict_proba`` gives a sparse matrix of the ``top_k`` best labels of each text.
# ``predict`` gives those whose probability is at least ``threshold``; "auto", the default, is the
# one of highest micro-F1 on texts that ``fit`` held out. Both parameters act without a refit.

proba = clf.predict_proba(data.test_texts)
print(f"{proba.shape}, {proba.nnz // proba.shape[0]} probabilities a title")
print(f"threshold_: {clf.threshold_:.2f}")
for threshold in ("auto", 0.5):
    chosen = clf.set_params(threshold=threshold).predict(data.test_texts)
    print(f"threshold {threshold}: {chosen.sum() / chosen.shape[0]:.1f} headings a title")

# %%
# How good is it?
# ---------------
# Precision at k is the share of the k best headings that are right, recall at k the share of the
# right ones that are among them.

ks = range(1, 21)
metrics = ranking_metrics(data.Y_test, proba, ks=ks)

fig, ax = plt.subplots(layout="constrained")
ax.plot(ks, [metrics[f"P@{k}"] for k in ks], "o-", label="precision at k")
ax.plot(ks, [metrics[f"R@{k}"] for k in ks], "s-", label="recall at k")
ax.set(xlabel="k, headings offered a title", ylim=(0, 1), xticks=[1, 5, 10, 15, 20])
ax.set_title("Headings of titles that training never saw")
ax.legend()
plt.show()

# %%
# The librarians did not write down all headings that fit. So some of the predictions that count as
# wrong here are right.
