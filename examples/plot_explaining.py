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
# Its plot shows the pairs. Most are of a heading and a broader or narrower one, such as "beverages"
# and "alcoholic beverages": a searcher would forgive many of these, and P@k forgives none. No pair
# is frequent. There is not one confusion that, once mended, would make this model much better.

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
# In nearly all of them it is one word that gives the label, and the title does not mean what this
# word means: newspapers and their money, the art of the airbrush. A model that reads words in
# their context may do better here (:doc:`/guide/encoders`).
#
# Some are not the model's mistakes. Hawking's radiation is about black holes: no wonder that the
# model does not find the heading "blacks". Such records are worth a look before any parameter is:
# a model cannot learn what is wrong in the data, and must not be blamed for it in the test.
# What these numbers mean, and what they cannot say: :doc:`/guide/explaining`.
