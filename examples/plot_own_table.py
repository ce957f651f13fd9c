"""
A table of your own
===================

From a CSV file to metrics and predictions: :func:`~skxc.datasets.load_table` reads columns of
texts and labels, and holds out a part of the rows.
"""

# %%
# A table
# -------
# To have one, the packaged titles are written as a file with a column of titles and a column of
# subjects, between semicolons. Yours may be CSV, TSV, JSON lines, Parquet or a DataFrame.

import csv
import tempfile
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from skxc import UniDEC
from skxc.datasets import load_library_subjects, load_table
from skxc.metrics import ranking_metrics

folder = tempfile.TemporaryDirectory()
path = Path(folder.name, "records.csv")

library = load_library_subjects()
names = np.array(library.label_texts, dtype=object)
with path.open("w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file)
    writer.writerow(["record", "title", "subjects"])
    for number, (title, row) in enumerate(zip(library.texts, library.Y, strict=True)):
        writer.writerow([number, title, "; ".join(names[row.indices])])

print("".join(path.open(encoding="utf-8").readlines()[:4]))

# %%
# Read it
# -------
# A tenth of the rows is held out at random. ``label_names`` are the labels as the table has them.

data = load_table(path, text="title", labels="subjects", separator=";")
folder.cleanup()  # all is in memory
print(data.DESCR.removeprefix(f"{path}: "))
print(data.texts[0], data.label_names[data.Y[[0]].indices].tolist())

# %%
# Train and predict
# -----------------
# Names that say something are the labels' texts, too, and UniDEC reads these.

clf = UniDEC(label_texts=data.label_texts, random_state=0).fit(data.texts, data.Y)
for title, found in zip(
    data.test_texts[:3], clf.predict_labels(data.test_texts[:3], k=3), strict=True
):
    print(title, found)

# %%
# How good is it, and for which labels?
# -------------------------------------
# The held-out rows tell. A label that few training rows have is found less often.

proba = clf.predict_proba(data.test_texts)
metrics = ranking_metrics(data.Y_test, proba, ks=(1, 3, 5))
print({name: round(100 * value, 1) for name, value in metrics.items() if name[:2] == "P@"})

top, _ = clf.predict_top_k(data.test_texts, k=5)
n_trained = np.asarray(data.Y.sum(axis=0)).ravel()
is_found = np.array([label in top[row] for row, label in zip(*data.Y_test.nonzero(), strict=True)])
n_rows = n_trained[data.Y_test.nonzero()[1]]
edges = [1, 5, 9, 17, 50]
shares = [is_found[(n_rows >= a) & (n_rows < b)].mean() for a, b in pairwise(edges)]

fig, ax = plt.subplots(layout="constrained")
ax.bar([f"{a} to {b - 1}" for a, b in pairwise(edges)], shares)
ax.set(xlabel="training rows of a label", ylabel="share found among the best 5", ylim=(0, 1))
ax.set_title("Labels of the held-out rows")
plt.show()

# %%
# On the command line, all of it is
# ``skxc fit records.csv --text title --labels subjects --separator ";" --out model``, and
# ``skxc predict model new.csv --text title --out labels.csv`` labels new texts.
