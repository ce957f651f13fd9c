"""
Grid search
===========

The estimators are scikit-learn estimators: :class:`~sklearn.model_selection.GridSearchCV` takes raw
texts and a sparse label matrix, and reaches the encoder's parameters through ``encoder__``.
"""

# %%
# Search
# ------
# A part of the packaged data, to save time. A search reaches the parameters of an encoder if the
# encoder is an object, not the string ``"bag"``. The score is the share of texts whose best label
# is right (P@1).

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV, KFold

from skxc import ReneeClassifier
from skxc.datasets import load_library_subjects
from skxc.encoders import BagOfWordsEncoder

data = load_library_subjects()
texts, Y = data.texts[:2000], data.Y[:2000]

encoder = BagOfWordsEncoder(dim=64)
search = GridSearchCV(
    ReneeClassifier(encoder, label_texts=data.label_texts, epochs=4, random_state=0),
    {
        "classifier_learning_rate": [0.002, 0.005, 0.02],
        "encoder__ngram_range": [(1, 1), (1, 2)],
    },
    cv=KFold(2, shuffle=True, random_state=0),
)
search.fit(texts, Y)
print(search.best_params_, f"P@1 {search.best_score_:.3f}")

# %%
# All settings
# ------------

rates, ranges = search.param_grid.values()
# the last parameter varies fastest
scores = np.reshape(search.cv_results_["mean_test_score"], (len(rates), len(ranges)))

fig, ax = plt.subplots(figsize=(5, 4.5), layout="constrained")
image = ax.imshow(scores)
ax.set_xticks(range(len(ranges)), labels=["words", "words and pairs"])
ax.set_yticks(range(len(rates)), labels=rates)
ax.set(xlabel="encoder__ngram_range", ylabel="classifier_learning_rate")
ax.set_title("P@1, mean of two folds")
middle = (scores.min() + scores.max()) / 2
for (row, column), score in np.ndenumerate(scores):
    color = "white" if score < middle else "black"
    ax.text(column, row, f"{score:.3f}", ha="center", va="center", color=color)
fig.colorbar(image)
plt.show()

# %%
# The best setting is refitted on all the texts, and the search predicts with it.

print(f"test titles: P@1 {search.score(data.test_texts, data.Y_test):.3f}")
print(search.best_estimator_.predict_labels(data.test_texts[:1], k=3))

# %%
# ``threshold`` and ``top_k`` act at prediction time: set them on a fitted estimator, without a
# search.
