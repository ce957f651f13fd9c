"""The dual encoder of DEXML: labels are texts, embedded by the encoder that embeds the texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from skxc._docstrings import completed_by
from skxc._estimator import CommonParameters, LabelTextsMixin, XCEstimator
from skxc._methods._dual_encoder import DualEncoderMethod
from skxc._validation import check_choice, check_integer, check_real, check_texts, short
from skxc.encoders._base import Encoder


@completed_by(CommonParameters.__doc__)
@dataclass(eq=False, repr=False, kw_only=True)
class DualEncoderXC(LabelTextsMixin, XCEstimator):
    r"""Texts and label texts in one space, by one encoder: the nearest labels are predicted.

    DEXML [1]_: a label is nothing but its text, embedded by the encoder that embeds the texts, and
    scored by the cosine of the two. So labels that no training text has are ranked like the others,
    `add_labels` brings in new ones without training, and the model does not grow with their
    number. Where labels have no texts, or texts that say little, use :class:`ReneeClassifier`.

    The loss is a decoupled softmax: a text's labels compete with all others, never with each other.
    Its gradient is written down in closed form; with ``negatives="all"``, over chunks of labels
    that are embedded twice instead of stored [2]_, so that a step's memory does not depend on their
    number.

    The probability of a label is a sigmoid of its score (Platt's), fitted on the 100 best labels of
    texts that training does not see: a twentieth of them, at most 500. The softmax is no such
    probability: it is shared out among all labels, a text's own among them, and the one of training
    only ranged over a pool.

    Parameters
    ----------
    label_texts : array-like of shape (n_labels,), dict, "auto" or None, default="auto"
        One text per label, in the order of y's columns (of `classes_` where y is 1-d or lists), or
        a dict or Series of each label's text by its name. "auto": the labels' names, where y has
        names (label lists, 1-d classes, a DataFrame's columns) and they are words,
        no addresses. Needed by `fit`.
    epochs : int, default=None
        Passes over the training texts. None: 8 with a bag, 5 with a pretrained encoder.
        0: labels are ranked as the encoder embeds them (zero-shot; a frozen one's vectors less the
        mean of the texts); the texts serve the second stage and the probabilities alone, and y may
        be None, where no text's labels are known.
    batch_size : int, default=None
        Texts a step. None: 512 (pretrained: 64, frozen: 256), less where an epoch would have fewer
        than 50 steps.
    learning_rate : float, default=None
        AdamW's, or row-wise Adagrad's for a bag. None: 0.05 (pretrained: 5e-5, frozen: 3e-3).
    weight_decay : float, default=0.01
        Of the encoder under AdamW.
    paper : dict, default=None
        Details of the paper's code that serve its recipes, each by its name. "schedule": "cosine"
        or "linear", how the learning rates fall; theirs is linear. "adam_epsilon": 1e-8 or another
        of AdamW's. "shortlist_size": 100, labels that a text's hard negatives are drawn from.
    dropout : float, default=None
        On the text's embedding, in [0, 1). None: 0.2 (pretrained: 0).
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        bfloat16: the encoder runs under autocast; its weights and the loss stay float32. "auto":
        bfloat16 on CUDA, float32 elsewhere.
    loss : {"decoupled-softmax", "softmax", "soft-top-k", "one-vs-all"}, default="decoupled-softmax"
        "softmax": positives compete, too. "soft-top-k": every text's probabilities sum to `k`, for
        precision at that place. "one-vs-all": binary cross-entropy, the mean over texts and labels;
        it is there for comparison, for it does not train a dual encoder. Texts without a label are
        in none of them.
    k : float or "n_positives", default=5
        Of the soft top-k loss; below the number of labels in a pool. "n_positives": of each text
        the number of its labels, or the sum of their relevances, rounded up.
    alpha : float, default=1.0
        Sharpness of the soft top-k loss. The paper has 2.
    temperature : float, default=None
        What scores are divided by in the loss. None: 0.09 (pretrained encoders: 0.05), and 1 where
        ``normalize=False``.
    normalize : bool, default=True
        Scale embeddings to length 1; scores are then cosines.
    negatives : {"in-batch", "mined", "all"}, default="in-batch"
        The labels that a text's own compete with. "in-batch": those of the batch's texts, and
        random ones up to `pool_size`. "mined": also hard ones, the best of an exact search over all
        labels. "all": all, in every step, as in the paper.
    pool_size : int, default=None
        Labels in a step's loss, at least; the batch's own labels may be more. 0: no random ones.
        From n_labels on, "in-batch" and "mined" are "all". None: 2048 (pretrained: 256,
        frozen: 1024).
    positives_per_text : int, default=None
        Labels drawn from each text's own, by relevance, in every step. The others are negatives of
        the softmax and of one-vs-all, as far as they are in the pool, and take no part in the other
        losses. None: all, which has less noise; of the soft top-k it is another loss even on
        average, and so of one-vs-all unless the pool holds all labels, for one drawn stands for as
        many as its text has. The paper's code draws 1 (soft top-k: `k`).
    negatives_per_text : int, default=3
        Hard negatives a text and step, where they are mined.
    mining_interval : int, default=2
        Epochs between searches for hard negatives; the first so many have none, and so has
        `partial_fit`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_labels,)
        Labels: column numbers, a DataFrame's columns, or the sorted labels of lists and 1-d y; then
        those of `add_labels`.
    label_texts_ : ndarray of shape (n_labels,), object
        Their texts.
    label_embeddings_ : ndarray of shape (n_labels, dim), float32
        Their texts' embeddings; 0 where the encoder knows no word of one.

    Notes
    -----
    Departures from the paper and its code:

    - A text's loss takes in all its labels, not one drawn at random.
    - The default pool is a sample. `negatives="all"` is the paper's, at a cost that grows with the
      number of labels.
    - Texts are dropped out (embedded encoder), labels are not.
    - Model selection is on held-out training texts; the paper's code selects on the test set.

    Labels that share one text share one score. Labels whose text holds no known word rank last.

    References
    ----------
    .. [1] Gupta et al., "Dual-Encoders for Extreme Multi-label Classification", ICLR 2024.
    .. [2] Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup",
           RepL4NLP 2021.

    Examples
    --------
    >>> from skxc import DualEncoderXC
    >>> texts = ["apples and pears", "pears", "red apples", "a fast car", "cars and trucks"] * 4
    >>> topics = [["fruit"], ["fruit"], ["fruit", "red"], ["vehicle"], ["vehicle"]] * 4
    >>> names = ["fruit", "red", "vehicle"]  # in the order of classes_
    >>> clf = DualEncoderXC(label_texts=names, epochs=20, random_state=0).fit(texts, topics)
    >>> clf.predict_labels(["two pears", "my car"], k=1)
    [['fruit'], ['vehicle']]
    >>> clf.add_labels(["trucks"]).predict_labels(["trucks"], k=1)
    [['trucks']]
    """

    loss: str = "decoupled-softmax"
    k: float | str = 5
    alpha: float = 1.0
    temperature: float | None = None
    normalize: bool = True
    negatives: str = "in-batch"
    pool_size: int | None = None
    positives_per_text: int | None = None
    negatives_per_text: int = 3
    mining_interval: int = 2

    _method = DualEncoderMethod
    _least_epochs = 0
    _defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "always": {
            "epochs": 8,
            "batch_size": 512,
            "learning_rate": 0.05,
            "dropout": 0.2,
            "temperature": 0.09,
            "pool_size": 2048,
        },
        "is_pretrained": {
            "epochs": 5,
            "batch_size": 64,
            "learning_rate": 5e-5,
            "dropout": 0.0,
            "temperature": 0.05,
            "pool_size": 256,
        },
        "is_frozen": {"batch_size": 256, "learning_rate": 3e-3, "pool_size": 1024},
    }

    def _given_labels(self, y: Any, n_texts: int) -> Any:
        """None is no label for any text, where nothing is to be learnt from them."""
        if y is not None or self.epochs != 0 or isinstance(self.label_texts, str | Mapping | None):
            return y
        n_labels = len(check_texts(self.label_texts, "label_texts"))
        return sp.csr_array((n_texts, n_labels), dtype=np.float32)

    def _default_values(self, encoder: Encoder) -> dict[str, Any]:
        values = super()._default_values(encoder)
        return values if self.normalize else values | {"temperature": 1.0}

    def _check_own_parameters(self) -> None:
        losses = ("decoupled-softmax", "softmax", "soft-top-k", "one-vs-all")
        check_choice("loss", self.loss, losses)
        check_choice("negatives", self.negatives, ("in-batch", "mined", "all"))
        check_choice("normalize", self.normalize, (True, False))
        if not isinstance(self.k, str):
            check_real("k", self.k, ends="(]")
        elif self.k != "n_positives":
            raise ValueError(
                f"k={short(self.k)} is unknown. Pass a number in (0, inf) or 'n_positives'."
            )
        check_real("alpha", self.alpha, ends="(]")
        if self.temperature is not None:
            check_real("temperature", self.temperature, ends="(]")
        if self.pool_size is not None:
            check_integer("pool_size", self.pool_size, 0)
        if self.positives_per_text is not None:
            check_integer("positives_per_text", self.positives_per_text, 1)
        check_integer("negatives_per_text", self.negatives_per_text, 1)
        check_integer("mining_interval", self.mining_interval, 1)
