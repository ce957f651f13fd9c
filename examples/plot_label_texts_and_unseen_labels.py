"""
Label texts and unseen labels
=============================

:class:`~skxc.DualEncoderXC` and :class:`~skxc.UniDEC` embed label names and texts in one space. So
a new label can be ranked by its name alone. Here every tenth heading is removed from the training
data and added after training.
"""

# %%
# Remove every tenth label
# ------------------------
# The training matrix keeps the columns of the seen labels, and 6,000 titles, to save time. Titles
# that lose all their headings are left out.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from skxc import DualEncoderXC, UniDEC
from skxc.datasets import load_library_subjects

data = load_library_subjects()
names = np.array(data.label_texts)
is_unseen = np.arange(len(names)) % 10 == 0
seen, unseen = names[~is_unseen], names[is_unseen]

Y = data.Y[:6000, ~is_unseen]
rows = np.flatnonzero(np.diff(Y.indptr))
texts, Y = [data.texts[row] for row in rows], Y[rows]
print(f"{len(seen)} labels to train on, {len(unseen)} to add: {', '.join(unseen[5:8])}, ...")

# %%
# Train, then add
# ---------------
# ``add_labels`` embeds the new names and appends them, without training. ``is_seen_`` is False for
# them. Some new names have no word that the embedded encoder knows. A warning says so, and these
# labels rank last.

warnings.filterwarnings("ignore", message=".*label texts hold no word")

fitted = {}
for Estimator in (DualEncoderXC, UniDEC):
    clf = Estimator(label_texts=seen, random_state=0).fit(texts, Y)
    fitted[Estimator.__name__] = clf.add_labels(unseen)
n_unknown = (clf.label_embeddings_[len(seen) :] == 0).all(axis=1).sum()
print(f"{clf.n_labels_} labels; {n_unknown} of the new names hold no known word")

# %%
# Near names
# ----------
# ``transform_labels`` embeds names, ``transform`` embeds texts. The embeddings have length 1, so
# inner products are cosines. Some new headings, and the nearest headings of the training data:

dual = fitted["DualEncoderXC"]
old, new = dual.transform_labels(seen), dual.transform_labels(unseen)
for label in range(5, 50, 9):
    nearest = np.argsort(-(old @ new[label]))[:3]
    print(f"{unseen[label]}: {', '.join(seen[nearest])}")

# %%
# How many of the right new labels are found?
# -------------------------------------------
# All pairs of a test title and a new heading are counted. The plot shows the share of pairs whose
# heading is among the title's k best of *all* 1,500 headings. Two baselines are added: the cosine
# of the TF-IDF vectors of title and name (it finds the words that both have), and chance.

order = np.argsort(is_unseen, kind="stable")  # new columns last, as in the estimators
true_rows, true_labels = data.Y_test[:, order].nonzero()
is_new = true_labels >= len(seen)
true_rows, true_labels = true_rows[is_new], true_labels[is_new]


def found(top, ks):
    """Share of the pairs whose label is among the k best of its text."""
    places = top[true_rows] == true_labels[:, None]  # at most one hit a row
    return [places[:, :k].any(axis=1).mean() for k in ks]


ks = (1, 3, 5, 10, 20, 50, 100)
curves = {}
for name, clf in fitted.items():
    labels, _ = clf.predict_top_k(data.test_texts, k=max(ks))
    curves[name] = found(labels, ks)

words = TfidfVectorizer(sublinear_tf=True).fit(texts + seen.tolist())
all_names = words.transform(np.r_[seen, unseen])
similarity = (words.transform(data.test_texts) @ all_names.T).toarray()
curves["TF-IDF cosine"] = found(np.argsort(-similarity, kind="stable")[:, : max(ks)], ks)
curves["chance"] = [k / len(names) for k in ks]

fig, ax = plt.subplots(layout="constrained")
for (name, curve), style in zip(curves.items(), ["o-", "s-", "^--", ":"], strict=True):
    ax.plot(ks, curve, style, label=name)
ax.set(xlabel="k, headings offered a title", ylabel="share of the pairs", ylim=(0, 1))
ax.set_xscale("log", base=10)
ax.set_xticks(ks, labels=ks)
ax.set_title(f"Pairs found of {len(unseen)} headings added after training")
ax.legend()
plt.show()
