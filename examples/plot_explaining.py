"""
Why did it say that?
====================

A model gives a label that nobody expected. Which words of the text gave it? Which labels does it
take for which, and on which texts is it worst? This page asks a model of library records, and finds
mistakes of the model, and some of the people who labelled the records.
"""

# %%
# A classifier to ask
# -------------------
# It predicts subject headings of titles of publications.

from skxc import UniDEC
from skxc.datasets import load_library_subjects

data = load_library_subjects()
clf = UniDEC(label_texts=data.label_texts, random_state=0).fit(data.texts, data.Y)

# %%
# The words of two texts
# ----------------------
# ``explain`` shows the best labels of each text, with their probabilities. Click on a label to open
# it: its words are coloured by their effects on the label's score, blue for more and orange for
# less. With the embedded encoder, the score *is* a sum over words, and the effects are its terms.
# The table below the text says where the score comes from: from the label's own text, from what
# its training texts taught, or from the second stage. ``training_texts`` adds the most similar
# titles that the model was trained on.

titles = ["How children learn to read", "The life of elves"]
explanations = clf.explain(titles, k=3, training_texts=data.texts)
explanations

# %%
# The first answer is good for a good reason. The second one is not about elves: "life" alone makes
# it, for all of its labels.
#
# In a script, ``print`` shows the same with bars; here one label, asked for by its name.

print(clf.explain(titles[1:], labels=["life"]))

# %%
# Labels that are taken for each other
# ------------------------------------
# One text is an anecdote. :class:`~skxc.metrics.ErrorAnalysisDisplay` looks at all test texts. It
# cuts the ranking of a text at the number of its true labels; then as many wrong labels are given
# as true ones are missed. The first table has the pairs that are most frequent, the second one the
# texts with the worst rankings.

from skxc.metrics import ErrorAnalysisDisplay

errors = ErrorAnalysisDisplay.from_estimator(clf, data.test_texts, data.Y_test)
errors

# %%
# Its plot shows the pairs. Many are of two headings that are close, such as "beverages" and
# "alcoholic beverages", or "peatlands" and "bogs": a searcher would forgive these, and P@k does
# not. And no pair is frequent: the first has 3 of more than 5,000 errors. There is no confusion
# that, once mended, would make this model much better.

import matplotlib.pyplot as plt

errors.plot()
plt.show()

# %%
# What the worst texts have in common
# -----------------------------------
# The texts of the second table have true labels that are not even among the hundred best, and a
# wrong one that the model is sure of. ``explain`` says why: of all words that raise the wrong
# label's score, how much does the strongest one do?

print("proba  wrong label               its strongest word, and that word's share of the rises")
for text in errors.worst_texts:
    wrong, proba, _ = text.best_labels[0]
    [explanation] = clf.explain([text.text], labels=[wrong])
    words = explanation.labels[0].words
    strongest = max(words, key=lambda word: word.effect)
    share = strongest.effect / sum(word.effect for word in words if word.effect > 0)
    print(f"{proba:5.2f}  {wrong:25.25} {strongest.word:12} {share:4.0%}  {text.text[:40]}")

# %%
# In nearly all of them it is one word that gives the label, and the book is about something else:
# the art of the airbrush is not about air. A model that reads words in their context may do better
# here (:doc:`/guide/encoders`).
#
# Some are not the model's mistakes. Hawking radiation is what black holes emit: the model cannot
# know that its heading in this data is "blacks". And "short stories" is right for a book of short
# stories. Look at such records before you change a parameter: what is wrong in the data cannot be
# learnt, and counts against the model in the test.
#
# What these numbers mean, and what they cannot say: :doc:`/guide/explaining`.
