"""UniDEC: a dual encoder and a classifier trained together, on picked labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from skxc._docstrings import completed_by
from skxc._estimator import CommonParameters, LabelTextsMixin, XCEstimator
from skxc._methods._unidec import UniDECMethod
from skxc._validation import check_choice, check_integer, check_real, is_auto


@completed_by(CommonParameters.__doc__)
@dataclass(eq=False, repr=False, kw_only=True)
class UniDEC(LabelTextsMixin, XCEstimator):
    r"""Two views of a label, its text and a row of its own, trained together on picked labels.

    UniDEC [1]_: a dual encoder (the cosine of text and label text, as :class:`DualEncoderXC`) and a
    classifier (the cosine of text and a free row per label) share an encoder. Every step picks a
    few thousand labels (PSL): the batch's own, and hard or random others. Both losses are over
    these, so a step costs the same however many labels there are, and both views learn from the
    whole of a text's labels. The score is the weighted mean of the two cosines, its weight chosen
    on texts that training does not see; unseen labels are ranked by their text alone.

    Beside the embeddings, in which exact words blur, labels have weights for the words themselves
    (`lexical_learning_rate`): those of their training texts are learnt in the same step, by the
    same gradient, and a label's own text counts by its TF-IDF weights.

    The one to begin with, where labels have texts: names tell what a label is, rows what names do
    not.

    The probability of a label is a sigmoid of its score (Platt's), fitted on the 100 best labels of
    texts that training does not see: a twentieth of them, at most 500.

    Parameters
    ----------
    label_texts : array-like of shape (n_labels,), dict, "auto" or None, default="auto"
        One text per label, in the order of y's columns (of `classes_` where y is 1-d or lists), or
        a dict or Series of each label's text by its name. "auto": the labels' names, where y has
        names (label lists, 1-d classes, a DataFrame's columns) and they are words,
        no addresses. Needed by `fit`.
    epochs : int, default=None
        Passes over the training texts. None: with the embedded encoder as many as a text has
        labels, in the mean, from 4 to 8; 5 with a pretrained one.
    batch_size : int, default=None
        Texts a step. None: 512 (pretrained: 64, frozen: 256), less where an epoch would have fewer
        than 50 steps.
    learning_rate : float, default=None
        Of the encoder: AdamW, or row-wise Adagrad for a bag. None: 0.05 (pretrained: 5e-5, frozen:
        1e-3).
    weight_decay : float, default=0.01
        Of the encoder under AdamW, and of the classifier.
    paper : dict, default=None
        Details of the paper's code that serve its recipes, each by its name; what stands first is
        the default. "schedule": "cosine" or "linear", how the learning rates fall. "adam_epsilon":
        1e-8; theirs is 1e-6. "head_dropout": 0; theirs is 0.1, on what the projections make of
        texts and label texts (on the embeddings, where there are none), before it is scaled to
        length 1. "row_dropout": 0; theirs is 0.1, on the picked rows. "head_learning_rate": None,
        `classifier_learning_rate`; theirs is twice the encoder's. "head_weight_decay": 0; theirs
        is 0.05 (both of the projections: of no effect where there are none). "shortlist_size": 100,
        labels that a text's hard negatives are drawn from, where they are mined; theirs are the
        first `negatives_per_text` times `mining_interval`. "random_labels": True; theirs has none
        in the pool.
        "one_vs_all_weight": 0; 1 adds the mean binary cross-entropy to the classifier's loss.
    dropout : float, default=None
        On the text's embedding, in [0, 1). None: 0.3 (pretrained: 0.1).
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        bfloat16: the encoder runs under autocast; its weights and the loss stay float32. "auto":
        bfloat16 on CUDA, float32 elsewhere.
    loss : {"decoupled-softmax", "softmax", "balanced-softmax"}, default="decoupled-softmax"
        Of both views. "decoupled-softmax": a text's labels do not compete with each other.
        "softmax": they do (SupCon). "balanced-softmax": they do, but weigh as one label together
        (balanced SupCon).
    classifier_loss : {None, "one-vs-all"}, default=None
        "one-vs-all": binary cross-entropy over the pool for the classifier, its rows then not
        scaled to length 1: scores of unseen labels do not compare to the others'.
        None: as `loss`.
    dual_weight : float, default=0.5
        Weight of the label texts' loss, in [0, 1]; the classifier's is the rest.
    both_directions : bool, default=True
        The loss is the mean of two: of the texts over the pool's labels, and of the labels over the
        batch's texts.
    temperature : float, default=None
        What cosines are divided by in the loss. None: 0.09 (pretrained encoders: 1 / 18).
    learn_temperature : bool, default=False
        Train it, beginning at `temperature`.
    projection_dim : int, "auto" or None, default="auto"
        Each view sees the encoder through a linear layer of its own, so many numbers wide; tanh
        follows on the label texts' side. None: none, and a label is one vector of the encoder's
        width. "auto": None with the embedded encoder, the encoder's width with a pretrained one.
    negatives : {"random", "mined"}, default="random"
        "mined": draw hard negatives for every text from the 100 best wrong labels of an exact
        search; random labels follow.
    batches : {"random", "clustered"}, default="random"
        "clustered": texts that are alike share a batch, and so are each other's hard negatives.
    pool_size : int, default=None
        Labels picked a step, at most. None: 2048 (pretrained: 256, frozen: 1024).
    positives_per_text : int, default=3
        Labels of each text that are asked for first; the others come in as far as there is room.
    negatives_per_text : int, default=6
        Hard negatives that each text asks for, where they are mined.
    mining_interval : int, default=2
        Epochs between searches for hard negatives, and between clusterings; the first so many have
        neither, and so has `partial_fit`.
    dual_score_weight : float or "auto", default="auto"
        Weight of the label texts' cosine in the score, in [0, 1]. "auto": the one that ranks
        held-out texts best (nDCG@5); 0.35 where fewer than 50 are held out.
    classifier_learning_rate : float, default=None
        Of the classifier's rows, the projections and the temperature: Adam, on the rows that were
        picked. None: 0.01 (pretrained: 0.001, frozen: 0.003).
    lexical_learning_rate : float, default=None
        Of the words' weights: plain SGD on the loss of one text. A label has a weight for every
        word of its own text and of its training texts (of a label with more than 10, of two at
        least); they add to the classifier's score by the text's TF-IDF weights. 0: no such
        weights. None: 5 with the embedded encoder, 0 with a pretrained one, whose tokens are no
        words.

    Attributes
    ----------
    classes_ : ndarray of shape (n_labels,)
        Labels: column numbers, a DataFrame's columns, or the sorted labels of lists and 1-d y; then
        those of `add_labels`.
    label_texts_ : ndarray of shape (n_labels,), object
        Their texts.
    label_embeddings_ : ndarray of shape (n_labels, dim) or (n_labels, 2 dim), float32
        Both views of every label, weighted: their sum where both see the encoder's own space, else
        side by side.
    classifier_weights_ : ndarray of shape (n_labels, dim), float32
        The classifier's rows, for training to go on from.
    head_weights_ : dict of str to ndarray
        The projections; empty where there are none.
    dual_score_weight_ : float
        Weight of the label texts' cosine in the score.
    word_score_weights_ : ndarray of shape (2,)
        Weights of what the words have learnt, in units of the classifier's cosine, and of the
        TF-IDF cosine of text and label text; chosen as `dual_score_weight_` is.
    vector_score_weight_ : float
        With a :class:`~skxc.encoders.JoinedEncoder`, the weight of all that its vectors say, beside
        what its bag of words says; chosen likewise. 1 with any other, and with projections
        (`projection_dim`), which mix the two.
    vector_dual_score_weight_ : float
        Likewise, the weight of the label texts' cosine within what the vectors say.
    lexical_weights_ : dict of str to ndarray
        The words' weights, one row a label in CSR's form: "offsets" of shape (n_labels + 1,),
        "words", and two values at each place, "learnt" and "of_label_texts", of shape (n_pairs,)
        each, and "n_words"; empty where there are none.
    temperature_ : float
        What cosines were divided by.

    Notes
    -----
    The paper's code does not run as it was published, and its hyper-parameters are not known for
    every set. What had to be decided, each choice measured in ``benchmarks/choices.py``
    where it says so:

    - The pool is filled in the paper's order: drawn positives, mined negatives, the other
      positives, each kind by how many texts ask for a label. Random labels come last
      (measured).
    - Positives are drawn without replacement; with it, as in the code, a text asks twice for one.
    - The classifier is trained by cosines, too. The code trains products and ranks by cosines.
    - Projections are initialised to the identity (narrower or wider ones: orthogonal), not at
      random, so that a pretrained encoder's neighbours are neighbours from the first step
      (measured).
    - Batches of clusters have one size; the code's vary by a factor of two (measured).
    - Mining ranks by the mean of both views; the code by the label texts alone.
    - Rows that were not picked keep Adam's moments; only weight decay, applied late but exactly,
      reaches them. The code updates all rows in every step.
    - With the embedded encoder both views share one space, and prediction searches one vector a
      label, and its words: a second, sparse inner product.
    - Random labels in the pool are half as many as the batch's own (64 at least), not as many as
      fit: on a CPU a step costs what its pool does.
    - The words' weights are not in the paper; XR-Transformer [2]_ ranks by TF-IDF features beside
      an embedding, too. ``docs/guide/lexical.md`` tells what they are worth.
    - Model selection is on held-out training texts; the code's is on the test set.

    Labels that share one text still differ by their rows. Labels with neither a known word nor a
    training text rank last.

    References
    ----------
    .. [1] Kharbanda et al., "UniDEC: Unified Dual Encoder and Classifier Training for Extreme
           Multi-Label Classification", WWW 2025.
    .. [2] Zhang et al., "Fast Multi-Resolution Transformer Fine-tuning for Extreme Multi-label Text
           Classification", NeurIPS 2021.

    Examples
    --------
    >>> from skxc import UniDEC
    >>> texts = ["apples and pears", "pears", "red apples", "a fast car", "cars and trucks"] * 4
    >>> topics = [["fruit"], ["fruit"], ["fruit", "red"], ["vehicle"], ["vehicle"]] * 4
    >>> names = ["fruit", "red", "vehicle"]  # in the order of classes_
    >>> clf = UniDEC(label_texts=names, epochs=20, random_state=0).fit(texts, topics)
    >>> clf.predict_labels(["two pears", "my car"], k=1)
    [['fruit'], ['vehicle']]
    """

    loss: str = "decoupled-softmax"
    classifier_loss: str | None = None
    dual_weight: float = 0.5
    both_directions: bool = True
    temperature: float | None = None
    learn_temperature: bool = False
    projection_dim: Any = "auto"
    negatives: str = "random"
    batches: str = "random"
    pool_size: int | None = None
    positives_per_text: int = 3
    negatives_per_text: int = 6
    mining_interval: int = 2
    dual_score_weight: Any = "auto"
    classifier_learning_rate: float | None = None
    lexical_learning_rate: float | None = None

    _method = UniDECMethod
    _has_rows = True
    _defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "always": {
            "epochs": range(4, 9),
            "batch_size": 512,
            "learning_rate": 0.05,
            "classifier_learning_rate": 0.01,
            "dropout": 0.3,
            "temperature": 0.09,
            "pool_size": 2048,
            "lexical_learning_rate": 0.0,
        },
        "is_pretrained": {
            "epochs": 5,
            "batch_size": 64,
            "learning_rate": 5e-5,
            "classifier_learning_rate": 1e-3,
            "dropout": 0.1,
            "temperature": 1 / 18,
            "pool_size": 256,
        },
        "is_frozen": {
            "batch_size": 256,
            "learning_rate": 1e-3,
            "classifier_learning_rate": 3e-3,
            "pool_size": 1024,
        },
        "has_words": {"lexical_learning_rate": 5.0},
    }

    def _check_own_parameters(self) -> None:
        check_choice("loss", self.loss, ("decoupled-softmax", "softmax", "balanced-softmax"))
        check_choice("classifier_loss", self.classifier_loss, (None, "one-vs-all"))
        check_choice("negatives", self.negatives, ("random", "mined"))
        check_choice("batches", self.batches, ("random", "clustered"))
        check_real("dual_weight", self.dual_weight, high=1)
        if not is_auto(self.dual_score_weight):
            check_real("dual_score_weight", self.dual_score_weight, high=1)
        for name in ("temperature", "classifier_learning_rate"):
            if getattr(self, name) is not None:
                check_real(name, getattr(self, name), ends="(]")
        if self.lexical_learning_rate is not None:
            check_real("lexical_learning_rate", self.lexical_learning_rate)
        for name in ("both_directions", "learn_temperature"):
            check_choice(name, getattr(self, name), (True, False))
        if self.pool_size is not None:
            check_integer("pool_size", self.pool_size, 1)
        if self.projection_dim is not None and not is_auto(self.projection_dim):
            check_integer("projection_dim", self.projection_dim, 1)
        for name in ("positives_per_text", "negatives_per_text", "mining_interval"):
            check_integer(name, getattr(self, name), 1)
