"""
A pretrained encoder
====================

Any Hugging Face encoder can replace the embedded one. ``encoder`` is then a model id, a local
folder, or a :class:`~skxc.encoders.TransformerEncoder` with parameters of its own.

This page needs weights. So it runs only if ``SKXC_PRETRAINED`` names a folder with weights (or a
model id, which is then downloaded)::

    SKXC_PRETRAINED=path/to/all-MiniLM-L6-v2 python examples/plot_pretrained_encoder.py
"""

# %%
# A small problem
# ---------------
# 100 titles and the 100 most frequent headings. With so few texts, a pretrained encoder helps most.

import os

import matplotlib.pyplot as plt
import numpy as np

from skxc import DualEncoderXC
from skxc.datasets import load_library_subjects
from skxc.encoders import TransformerEncoder
from skxc.metrics import ranking_metrics

# sphinx_gallery_thumbnail_path = "_static/pretrained_encoder.png"

data = load_library_subjects()
labels = np.sort(np.argsort(-np.diff(data.Y.tocsc().indptr), kind="stable")[:100])
names = [data.label_texts[label] for label in labels]


def with_labels(texts, Y, n_texts):
    """The first texts that have one of the labels."""
    Y = Y[:, labels]
    rows = np.flatnonzero(np.diff(Y.indptr))[:n_texts]
    return [texts[row] for row in rows], Y[rows]


texts, Y = with_labels(data.texts, data.Y, 100)
test_texts, Y_test = with_labels(data.test_texts, data.Y_test, 200)

# %%
# The encoder as an object
# ------------------------
# ``max_length`` is in tokens; titles are short. The defaults (such as the learning rate) adapt to
# a pretrained encoder. Training is one epoch of five steps, to save time.

model = os.environ.get("SKXC_PRETRAINED", "sentence-transformers/all-MiniLM-L6-v2")
pretrained = TransformerEncoder(model, max_length=32)
fitted = {
    "embedded": DualEncoderXC(label_texts=names, random_state=0),
    "pretrained": DualEncoderXC(
        pretrained, label_texts=names, epochs=1, batch_size=20, random_state=0
    ),
}
for clf in fitted.values():
    clf.fit(texts, Y)

# %%
# The effect of pretrained weights
# --------------------------------
# The result with all-MiniLM-L6-v2 (22 million parameters):
#
# .. image:: /_static/pretrained_encoder.png
#    :alt: recall at k with the embedded and with the pretrained encoder

ks = (1, 3, 5, 10)
fig, ax = plt.subplots(layout="constrained")
for name, clf in fitted.items():
    metrics = ranking_metrics(Y_test, clf.predict_proba(test_texts), ks=ks)
    recalls = [metrics[f"R@{k}"] for k in ks]
    print(f"{name:10}", *(f"R@{k} {metrics[f'R@{k}']:.2f}" for k in ks))
    ax.plot(ks, recalls, "o-", label=f"{name} encoder")
ax.set(xlabel="k, headings offered a title", ylabel="recall at k", xticks=ks, ylim=(0, 1))
ax.set_title("100 training titles, 100 headings")
ax.legend()
plt.show()

# %%
# New labels
# ----------
# A pretrained encoder already knows which texts and names are similar. This also helps labels that
# are added by their texts.

clf = fitted["pretrained"].add_labels(["the history of chocolate"])
print(clf.predict_labels(["Cocoa in eighteenth-century kitchens"], k=2))
