"""Renee: encoder and one-vs-all classifier trained end to end over the full label space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from skxc._docstrings import completed_by
from skxc._estimator import CommonParameters, InitEncoderMixin, XCEstimator
from skxc._methods._renee import ReneeMethod
from skxc._validation import Target, check_choice, check_integer, check_real, is_auto

_LOSSES = ("one-vs-all", "softmax", "decoupled-softmax", "soft-top-k")


@completed_by(CommonParameters.__doc__)
@dataclass(eq=False, repr=False, kw_only=True)
class ReneeClassifier(InitEncoderMixin, XCEstimator):
    r"""Text encoder and one-vs-all classifier trained end to end, over the full label space.

    Renee [1]_: an encoder embeds the text, dropout follows, and one linear row a label gives its
    score; binary cross-entropy over *all* labels, no negative sampling. The classifier's gradient
    is written down by hand and applied chunk of labels by chunk (as in [2]_), so that neither the
    (batch, n_labels) scores nor a gradient of the classifier's size is ever held.

    A second stage ranks a text's best labels anew by their exact words (`rerank_weight`). The
    probability of a label is then a sigmoid of its score (Platt's), fitted on the 100 best labels
    of texts that training does not see: a twentieth of them, at most 500. Without a second stage no
    text is held out, and the probability is the sigmoid of the score itself, what the loss trains
    it to be: the chance that the label applies, whatever the others do. (With another `loss`, it is
    fitted in any case.)

    Parameters
    ----------
    label_texts : array-like of shape (n_labels,), dict, "auto" or None, default="auto"
        One text per label, in the order of y's columns (of `classes_` where y is 1-d or lists), or
        a dict or Series of each label's text by its name. "auto": the labels' names, where y has
        names (label lists, 1-d classes, a DataFrame's columns) and they are words,
        no addresses. None: none.
    epochs : int, default=None
        Passes over the training texts. None: 6 with a bag, 5 with a pretrained encoder, 10 with
        a frozen one.
    batch_size : int, default=None
        Texts a step. None: 256 (pretrained: 64), less where an epoch would have fewer than 50
        steps.
    learning_rate : float, default=None
        Of the encoder: AdamW, or row-wise Adagrad for a bag. None: 0.05 (pretrained: 5e-5, frozen:
        3e-4).
    weight_decay : float, default=0.01
        Of the encoder under AdamW.
    paper : dict, default=None
        Details of the paper's code that serve its recipes, each by its name. "schedule": "cosine"
        or "linear", how the learning rates fall: the code's, and the paper's. "adam_epsilon": 1e-8
        or another of AdamW's; theirs is 1e-6.
    dropout : float, default=None
        On the text's embedding, in [0, 1). None: 0.6 (pretrained: 0.5).
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of the classifier's weights. bfloat16 takes half the memory, with unbiased stochastic
        rounding of every update; the encoder then runs under autocast. "auto": bfloat16 on CUDA,
        float32 elsewhere.
    init_encoder : DualEncoderXC, ReneeClassifier, UniDEC, str or path-like, default=None
        A fitted estimator, or the folder of a saved one, whose encoder training begins from, with
        its weights and vocabulary: the paper begins from an encoder that has learnt from the label
        texts (NGAME's), such as :class:`DualEncoderXC` trains. Leave `encoder` at its default. The
        estimator stays as it is, and clones share it; in a search over several, wrap each in
        scikit-learn's ``FrozenEstimator``, or pass folders. A fit that goes on (`warm_start`,
        `partial_fit`) goes on from its own. A saved model does not keep it: there, `encoder` is
        that estimator's, and `init_encoder` None. None: training begins from `encoder`.
    loss : {"one-vs-all", "softmax", "decoupled-softmax", "soft-top-k"}, default="one-vs-all"
        "one-vs-all": binary cross-entropy. The others are those of :class:`DualEncoderXC`, here
        over all labels: "softmax": labels compete, a text's own, too; "decoupled-softmax": a text's
        own only with the others; "soft-top-k": probabilities sum to k, with k=5 and alpha=1, its
        defaults there. They score every label twice a step, the last one up to 17 times. A stream
        of `partial_fit` keeps its first loss.
    classifier_learning_rate : float, default=None
        Of the classifier: SGD on the summed loss. None: 0.005 (pretrained: 0.01).
    classifier_weight_decay : float, default=1e-4
        Of the classifier.
    momentum : float, default=0.0
        Of the classifier's SGD, in [0, 1). The paper has 0.9; it takes as much memory as the
        weights, and a learning rate ten times as large does the same without [2]_.
    classifier_init : {"random", "label_texts"}, default="random"
        Rows drawn from N(0, 0.02), or the label texts' embeddings at unit length.
    fit_intercept : bool, default=True
        Give every label an intercept, initialised to its log-odds. False: none, as in the paper;
        scores begin near 0.
    augment : bool, default=True
        Train on each label's text as a document whose one label is itself, where `label_texts`
        are given (section 4.4 of [1]_). It also gives labels without a training text a row.
    label_chunk_size : int or "auto", default="auto"
        Labels scored at a time; it changes speed and memory, not the result.

    Attributes
    ----------
    classes_ : ndarray of shape (n_labels,)
        Labels: column numbers, a DataFrame's columns, or the sorted labels of lists and 1-d y.
    label_embeddings_ : ndarray of shape (n_labels, dim + 1), float32
        The classifier's rows, intercept last (0 without); `transform` ends in the constant that
        meets it.

    Notes
    -----
    Departures from the paper and its code; ``benchmarks/choices.py`` measures the first two:

    - Every label has an intercept, initialised to its log-odds in the training set. Without it
      (``fit_intercept=False``) all scores begin near 0, and the first epochs go into pushing
      n_labels - k of them down.
    - No momentum by default, see above.
    - Model selection is on held-out training texts; the paper's code selects on the test set.

    Unseen labels rank last.

    References
    ----------
    .. [1] Jain et al., "Renee: End-to-end training of extreme classification models", MLSys 2023.
    .. [2] "ELMO: Efficiency via low-precision and peak memory optimization in large output
           spaces", ICML 2025.

    Examples
    --------
    >>> from skxc import ReneeClassifier
    >>> texts = ["apples and pears", "pears", "red apples", "a fast car", "cars and trucks"] * 4
    >>> topics = [["fruit"], ["fruit"], ["fruit", "red"], ["vehicle"], ["vehicle"]] * 4
    >>> clf = ReneeClassifier(epochs=20, random_state=0).fit(texts, topics)
    >>> clf.predict_labels(["two pears", "my car"], k=1)
    [['fruit'], ['vehicle']]
    >>> clf.predict(["red apples"]).toarray()
    array([[1, 1, 0]])
    """

    init_encoder: Any = None  # an estimator, or the folder of a saved one
    loss: str = "one-vs-all"
    classifier_learning_rate: float | None = None
    classifier_weight_decay: float = 1e-4
    momentum: float = 0.0
    classifier_init: str = "random"
    fit_intercept: bool = True
    augment: bool = True
    label_chunk_size: Any = "auto"

    _method = ReneeMethod
    _defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "always": {
            "epochs": 6,
            "batch_size": 256,
            "learning_rate": 0.05,
            "classifier_learning_rate": 0.005,
            "dropout": 0.6,
        },
        "is_pretrained": {
            "epochs": 5,
            "batch_size": 64,
            "learning_rate": 5e-5,
            "classifier_learning_rate": 0.01,
            "dropout": 0.5,
        },
        "is_frozen": {"epochs": 10, "learning_rate": 3e-4},
    }

    @property
    def _has_log_odds(self) -> bool:
        return self.loss == "one-vs-all"

    def _check_own_parameters(self) -> None:
        check_choice("loss", self.loss, _LOSSES)
        self._check_init_encoder()
        if self.classifier_learning_rate is not None:
            check_real("classifier_learning_rate", self.classifier_learning_rate, ends="(]")
        check_real("classifier_weight_decay", self.classifier_weight_decay)
        check_real("momentum", self.momentum, high=1, ends="[)")
        for name in ("augment", "fit_intercept"):
            check_choice(name, getattr(self, name), (True, False))
        check_choice("classifier_init", self.classifier_init, ("random", "label_texts"))
        if not is_auto(self.label_chunk_size):
            check_integer("label_chunk_size", self.label_chunk_size, 1)

    def _check_label_texts(self, target: Target, *, is_resumed: bool) -> list[str] | None:
        texts = super()._check_label_texts(target, is_resumed=is_resumed)
        if self.classifier_init == "label_texts" and texts is None:
            raise ValueError(
                "classifier_init='label_texts' needs label_texts. Pass one text per label, or "
                "classifier_init='random'."
            )
        return texts
