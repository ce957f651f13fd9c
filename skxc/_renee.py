"""Renee: encoder and one-vs-all classifier trained end to end over the full label space."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from torch import Tensor, nn

from skxc._data._batches import Batch, TrainingRows
from skxc._data._tokens import TokenStore
from skxc._distributed import all_gather_rows, all_reduce_
from skxc._functional._backward import backward
from skxc._functional._fused_linear import SGD, one_vs_all_step_
from skxc._functional._pairs import Pairs, Positives
from skxc._kernels import to_device
from skxc._mixins import FitMixin, TopKPredictMixin, TrainingSetup, as_read_only_tensor
from skxc._mixins._memory import Memory
from skxc._training._loop import Step
from skxc._validation import check_choice, check_integer, check_real
from skxc.encoders._base import autocast

# The classifier's last input is this constant: a label's intercept is the last entry of its row,
# and prediction stays one inner product.
_INTERCEPT_INPUT = 3.0
# Texts that the mean of all labels counts for in a label's first intercept.
_PRIOR_TEXTS = 100
# The score of a label that neither a text nor a label text has taught anything.
_UNTAUGHT_SCORE = -1e4
# Bytes that a chunk of label_chunk_size="auto" takes: a CPU's cache; enough for a GPU to be busy.
_CHUNK_BYTES = {"cpu": 1 << 22, "cuda": 1 << 28}


class ReneeStep(Step):
    """Encode, step the classifier chunk by chunk, send the text gradient back (section 4.1)."""

    def __init__(
        self,
        module: nn.Module,
        weights: Tensor,  # (n_labels, dim + 1)
        velocity: Tensor | None,
        sgd: SGD,
        *,
        dropout: float,
        chunk_size: int,
        generator: torch.Generator,
        is_untaught: Tensor,  # (n_labels,) bool: rows that no text speaks of
    ) -> None:
        self.module, self.weights, self.sgd = module, weights, sgd
        self.velocity, self.is_untaught = velocity, is_untaught
        self.dropout, self.chunk_size, self.generator = dropout, chunk_size, generator

    def parameters(self) -> Iterable[nn.Parameter]:
        """The encoder's; the classifier's weights are updated inside the step."""
        return self.module.parameters()

    def __call__(self, batch: Batch, rate: float, *, with_loss: bool) -> Tensor | None:
        """One step: the mean loss a text where `with_loss`."""
        device = self.weights.device
        with autocast(device, self.weights.dtype):
            embeddings = self.module(batch.tokens)
        embeddings = _with_intercept(F.dropout(embeddings, self.dropout))
        # a CPU stores bfloat16 but multiplies float32: its bfloat16 products are slow and coarse
        dtype = self.weights.dtype if device.type == "cuda" else embeddings.dtype
        labels, *others = batch.positives
        positives = Positives(torch.from_numpy(labels), *(_to(a, device) for a in others))
        ignored, weights = batch.ignored, batch.sample_weight
        gradient, loss = one_vs_all_step_(
            self.weights,
            embeddings.detach().to(dtype),
            positives,
            SGD(self.sgd.learning_rate * rate, self.sgd.weight_decay, self.sgd.momentum),
            chunk_size=self.chunk_size,
            velocity=self.velocity,
            sample_weight=None if weights is None else _to(weights, device),
            ignored=None if ignored is None else Pairs(*map(torch.from_numpy, ignored)),
            with_loss=with_loss,
            generator=self.generator,
        )
        backward([embeddings], [all_reduce_(gradient) / len(batch)])  # the sum over label shards
        return None if loss is None else loss / len(batch)

    def state(self) -> dict[str, Tensor]:
        """The classifier and the encoder."""
        module = {f"module.{k}": v for k, v in self.module.state_dict().items()}
        return module | {"weights": self.weights} | self.optimizer_state()

    def optimizer_state(self) -> dict[str, Tensor]:
        """The momentum."""
        return {} if self.velocity is None else {"velocity": self.velocity}

    def label_embeddings(self) -> Tensor:
        """The table that prediction searches, (n_labels, dim + 1)."""
        return all_gather_rows(self.weights)


class ReneeClassifier(
    TopKPredictMixin,
    FitMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    ClassifierMixin,
    BaseEstimator,
):
    r"""Text encoder and one-vs-all classifier trained end to end, over the full label space.

    Renee [1]_: an encoder embeds the text, dropout follows, and one linear row a label gives its
    score; binary cross-entropy over *all* labels, no negative sampling. The classifier's gradient
    is written down by hand and applied chunk of labels by chunk (as in [2]_), so that neither the
    (batch, n_labels) scores nor a gradient of the classifier's size is ever held.

    The probability of a label is the sigmoid of its score, what the loss trains it to be: the
    chance that the label applies, whatever the others do. It needs no calibration to be
    comparable between labels; `threshold` can be lowered to trade precision for recall.

    Parameters
    ----------
    encoder : str or encoder object, default="bag"
        "bag": the embedded bag-of-words encoder. Any other string: a Hugging Face model id or a
        local folder. Or an object of :mod:`skxc.encoders`: then, and only then, a grid search
        reaches its parameters, as ``encoder__dim``.
    label_texts : array-like of shape (n_labels,), str, default=None
        One text per label, in the order of y's columns (of `classes_` where y is 1-d or lists).
    epochs : int, default=None
        Passes over the training texts. None: 6 with the embedded encoder, 5 with a pretrained one.
    batch_size : int, default=None
        Texts a step. None: 256 (pretrained: 64), less where an epoch would have fewer than 50
        steps.
    learning_rate : float, default=None
        Of the encoder: AdamW, or row-wise Adagrad for the bag. None: 0.05 (pretrained: 5e-5).
    weight_decay : float, default=0.01
        Of the encoder under AdamW.
    classifier_learning_rate : float, default=None
        Of the classifier: SGD on the summed loss. None: 0.005 (pretrained: 0.01).
    classifier_weight_decay : float, default=1e-4
        Of the classifier.
    momentum : float, default=0.0
        Of the classifier's SGD, in [0, 1). The paper has 0.9; it adds 4 bytes a weight, and a
        learning rate ten times as large does the same without [2]_.
    classifier_init : {"random", "label_texts"}, default="random"
        Rows drawn from N(0, 0.02), or the label texts' embeddings at unit length.
    augment : bool, default=True
        Train on each label's text as a document whose one label is itself, where `label_texts`
        are given (section 4.4 of [1]_). It also gives labels without a training text a row.
    label_chunk_size : int or "auto", default="auto"
        Labels scored at a time; it changes speed and memory, not the result.
    warmup_fraction : float, default=0.05
        Share of the steps over which the learning rates rise; then they fall along a cosine.
    max_grad_norm : float, default=None
        Clip the encoder's gradient to this norm; None: no clipping.
    dropout : float, default=None
        On the text's embedding, in [0, 1). None: 0.6 (pretrained: 0.5).
    top_k : int, default=100
        Labels a text that sparse predictions hold. May be changed after `fit`.
    threshold : float or array-like of shape (n_labels,), default=0.5
        Least probability of a label in `predict`; an array gives each label its own. May be changed
        after `fit`; :func:`skxc.model_selection.tune_threshold` finds good ones.
    early_stopping : bool, default=False
        Hold out `validation_fraction` of the training texts, stop when their P@1 has not improved
        for `n_iter_no_change` epochs, and keep the best epoch.
    validation_fraction : float, default=0.1
        Share of the training texts held out.
    n_iter_no_change : int, default=5
        Epochs without improvement before stopping.
    sparse_output : bool or "auto", default="auto"
        "auto": predictions come in y's container. May be changed after `fit`.
    device : str or torch.device, default="auto"
        "auto": CUDA where there is one, else the CPU.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of the classifier's weights. bfloat16 takes half the memory, with unbiased stochastic
        rounding of every update; the encoder then runs under autocast. "auto": bfloat16 on CUDA,
        float32 elsewhere.
    random_state : int, RandomState instance or None, default=None
        Seeds everything; same data, seed and kind of device: the same model.
    warm_start : bool, default=False
        `fit` goes on from the fitted weights and vocabulary, with the same labels.
    verbose : int, default=0
        1: a progress bar, in terminals and notebooks. Epochs and the estimate of memory are logged
        under "skxc" at level INFO whatever it is.

    Attributes
    ----------
    classes_ : ndarray of shape (n_labels,)
        Labels: column numbers, a DataFrame's columns, or the sorted labels of lists and 1-d y.
    n_labels_ : int
        Number of labels.
    label_counts_ : ndarray of shape (n_labels,), int64
        Training texts of each label, as given: what propensities are computed from.
    label_embeddings_ : ndarray of shape (n_labels, dim + 1), float32
        The classifier's rows, intercept last; `transform` ends in the constant that meets it.
    encoder_ : encoder object
        The fitted encoder.
    history_ : list of dict
        Per epoch: mean loss a text (on sampled steps), seconds, share of padding (padded encoders)
        and validation score (early stopping).
    n_iter_ : int
        Epochs run.
    n_samples_seen_ : int
        Training texts given; over all calls of `partial_fit`.

    Notes
    -----
    Departures from the paper and its code; ``benchmarks/renee_choices.py`` measures the first two:

    - Every label has an intercept, begun at its log-odds in the training set. Without it all
      scores begin at 0, and the first epochs go into pushing n_labels - k of them down.
    - No momentum by default, see above.
    - Model selection is on held-out training texts; the paper's code selects on the test set.

    Labels that no training text and no label text speaks of rank last.

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

    _defaults: ClassVar[Mapping[str, Any]] = {
        "epochs": 6,
        "batch_size": 256,
        "learning_rate": 0.05,
        "classifier_learning_rate": 0.005,
        "dropout": 0.6,
    }
    _pretrained_defaults: ClassVar[Mapping[str, Any]] = {
        "epochs": 5,
        "batch_size": 64,
        "learning_rate": 5e-5,
        "classifier_learning_rate": 0.01,
        "dropout": 0.5,
    }

    def __init__(
        self,
        encoder: Any = "bag",
        *,
        label_texts: Any = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        weight_decay: float = 0.01,
        classifier_learning_rate: float | None = None,
        classifier_weight_decay: float = 1e-4,
        momentum: float = 0.0,
        classifier_init: str = "random",
        augment: bool = True,
        label_chunk_size: Any = "auto",
        warmup_fraction: float = 0.05,
        max_grad_norm: float | None = None,
        dropout: float | None = None,
        top_k: int = 100,
        threshold: Any = 0.5,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        sparse_output: Any = "auto",
        device: Any = "auto",
        precision: str = "auto",
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
    ) -> None:
        self.encoder = encoder
        self.label_texts = label_texts
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.classifier_learning_rate = classifier_learning_rate
        self.classifier_weight_decay = classifier_weight_decay
        self.momentum = momentum
        self.classifier_init = classifier_init
        self.augment = augment
        self.label_chunk_size = label_chunk_size
        self.warmup_fraction = warmup_fraction
        self.max_grad_norm = max_grad_norm
        self.dropout = dropout
        self.top_k = top_k
        self.threshold = threshold
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.sparse_output = sparse_output
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose

    def _check_own_parameters(self) -> None:
        if self.classifier_learning_rate is not None:
            check_real("classifier_learning_rate", self.classifier_learning_rate, ends="(]")
        check_real("classifier_weight_decay", self.classifier_weight_decay)
        check_real("momentum", self.momentum, high=1, ends="[)")
        check_choice("augment", self.augment, (True, False))
        check_choice("classifier_init", self.classifier_init, ("random", "label_texts"))
        if self.classifier_init == "label_texts" and self.label_texts is None:
            raise ValueError(
                "classifier_init='label_texts' needs label_texts. Pass one text per label, or "
                "classifier_init='random'."
            )
        if self.label_chunk_size != "auto":
            check_integer("label_chunk_size", self.label_chunk_size, 1)

    def _make_step(self, setup: TrainingSetup) -> tuple[Step, TrainingRows]:
        """Renee's step, and the training rows with every label's text as a document of its own."""
        settings, rows = setup.settings, setup.rows
        # a stream of partial fits learns the label texts once
        is_continued = setup.is_partial and setup.fitted is not None
        if self.augment and not is_continued and setup.label_tokens is not None:
            rows = _with_label_texts(rows, setup.label_tokens)
        is_untaught = self._untaught(setup, rows)
        sgd = SGD(
            settings["classifier_learning_rate"],
            settings["classifier_weight_decay"],
            self.momentum,
        )
        step = ReneeStep(
            setup.module,
            self._initial_weights(setup, rows, is_untaught),
            _empty_table(setup, torch.float32).zero_() if self.momentum else None,
            sgd,
            dropout=settings["dropout"],
            chunk_size=self._chunk_size(setup, settings),
            generator=setup.generator,
            is_untaught=torch.from_numpy(is_untaught).to(setup.device),
        )
        return step, rows

    def _chunk_size(self, setup: TrainingSetup, settings: Mapping[str, Any]) -> int:
        n_labels = setup.rows.Y.shape[1]
        if self.label_chunk_size != "auto":
            return min(int(self.label_chunk_size), n_labels)
        budget = _CHUNK_BYTES.get(setup.device.type, _CHUNK_BYTES["cuda"])
        return min(max(budget // self._bytes_a_label(setup, settings), 1), n_labels)

    def _bytes_a_label(self, setup: TrainingSetup, settings: Mapping[str, Any]) -> int:
        """What one label of a chunk takes: its scores and, where it has them, temporary rows.

        In plain torch: whether Triton's kernels serve, which take less, is known only later.
        """
        is_narrow = setup.dtype == torch.bfloat16
        n_rows = 4 if is_narrow else 1 if self.momentum else 0
        # a GPU's bfloat16 products and errors lie beside their scores in float32
        score_bytes = 8 if is_narrow and setup.device.type == "cuda" else 4
        return int(score_bytes * settings["batch_size"] + 4 * n_rows * (settings["dim"] + 1))

    def _own_memory(self, setup: TrainingSetup, settings: Mapping[str, Any]) -> Memory:
        n_weights = math.prod(_table_shape(setup.rows.Y.shape[1], settings["dim"]))
        itemsize, batch_size = setup.dtype.itemsize, settings["batch_size"]
        velocity = 4 * n_weights if self.momentum else 0
        chunk = self._chunk_size(setup, settings) * self._bytes_a_label(setup, settings)
        lengths = setup.rows.tokens.lengths
        if self.augment and setup.label_tokens is not None:
            lengths = np.concatenate([lengths, setup.label_tokens.lengths])
        encoder = setup.module.activation_bytes(lengths, batch_size, settings["dim"], setup.dtype)
        device = {
            "weights": itemsize * n_weights,
            "optimizer": velocity,
            "copies": (itemsize * n_weights + velocity) * settings["early_stopping"],
            "activations": chunk + encoder,
        }
        # `label_embeddings_` is the table itself where that is float32 and the host's
        is_shared = itemsize == 4 and setup.device.type == "cpu"
        return Memory(device, {"published": 0 if is_shared else 4 * n_weights})

    def _initial_weights(
        self, setup: TrainingSetup, rows: TrainingRows, is_untaught: NDArray[np.bool_]
    ) -> Tensor:
        """The classifier's rows before training, (n_labels, dim + 1)."""
        weights = _empty_table(setup, setup.dtype)
        fitted = None if setup.fitted is None else setup.fitted.label_embeddings_
        if fitted is None:
            self._begin_rows_(weights, setup)
            is_new = ~is_untaught
        else:
            weights.copy_(as_read_only_tensor(fitted))
            is_new = ~is_untaught & ~_is_taught(fitted)
            new_rows = torch.from_numpy(is_new)
            weights[new_rows] = weights[new_rows].normal_(0, 0.02, generator=setup.generator)
        log_odds = torch.from_numpy(_log_odds(rows, setup.fitted)[is_new] / _INTERCEPT_INPUT)
        weights[torch.from_numpy(is_new), -1] = log_odds.to(weights)
        _mark_untaught_(weights, torch.from_numpy(is_untaught))
        return weights

    def _begin_rows_(self, weights: Tensor, setup: TrainingSetup) -> None:
        if self.classifier_init == "random":
            weights.normal_(0, 0.02, generator=setup.generator)
            return
        assert setup.label_tokens is not None  # _check_own_parameters
        embeddings = self._embed(setup.module.eval(), setup.label_tokens)
        setup.module.train()
        weights[:, :-1] = F.normalize(torch.from_numpy(embeddings[:, :-1]), dim=1).to(weights)

    def _untaught(self, setup: TrainingSetup, rows: TrainingRows) -> NDArray[np.bool_]:
        """The labels that no text has taught anything, now or in an earlier fit."""
        is_untaught = np.bincount(rows.Y.indices, minlength=rows.Y.shape[1]) == 0
        if self.classifier_init == "label_texts" and setup.label_tokens is not None:
            is_untaught &= setup.label_tokens.lengths == 0
        if setup.fitted is not None:
            is_untaught &= ~_is_taught(setup.fitted.label_embeddings_)
        return is_untaught

    def _final_table(self, step: ReneeStep) -> NDArray[np.float32]:
        table = step.label_embeddings().cpu().float()
        # as they were set before training, whatever weight decay made of them since
        _mark_untaught_(table, step.is_untaught.cpu())
        result: NDArray[np.float32] = table.numpy()
        return result

    def _text_embeddings(self, embeddings: Tensor) -> Tensor:
        return _with_intercept(embeddings.float())


def _table_shape(n_labels: int, dim: int) -> tuple[int, int]:
    """Of the classifier as it lies in memory: rows begin 8 numbers apart, or a multiple of it.

    The intercept makes the rows' length odd; a product that updates odd rows in place is half as
    fast.
    """
    return n_labels, -(-(dim + 1) // 8) * 8


def _empty_table(setup: TrainingSetup, dtype: torch.dtype) -> Tensor:  # (n_labels, dim + 1)
    dim = setup.module.dim
    shape = _table_shape(setup.rows.Y.shape[1], dim)
    return torch.empty(shape, dtype=dtype, device=setup.device)[:, : dim + 1]


def _mark_untaught_(table: Tensor, is_untaught: Tensor) -> None:
    """Rows that score below every other: their gradient is 0, and no text learns from them."""
    table.masked_fill_(is_untaught.to(table.device)[:, None], 0)
    table[:, -1].masked_fill_(is_untaught.to(table.device), _UNTAUGHT_SCORE / _INTERCEPT_INPUT)


def _is_taught(table: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The rows of a fitted table that `_mark_untaught_` did not mark."""
    taught: NDArray[np.bool_] = table[:, -1] > 0.99 * _UNTAUGHT_SCORE / _INTERCEPT_INPUT
    return taught


def _with_intercept(embeddings: Tensor) -> Tensor:
    return F.pad(embeddings, (0, 1), value=_INTERCEPT_INPUT)


def _to(array: NDArray[Any], device: torch.device) -> Tensor:
    return to_device(torch.from_numpy(array), device)


def _log_odds(rows: TrainingRows, fitted: Any | None = None) -> NDArray[np.float32]:
    """Log-odds of each label among all texts so far, drawn to the labels' mean where they are few.

    The mean counts as much as `_PRIOR_TEXTS` texts: in the first small batch of a stream, one text
    in a hundred is no evidence for one in a hundred.
    """
    weights = np.ones(len(rows), np.float32) if rows.sample_weight is None else rows.sample_weight
    positive, n_texts = rows.Y.T @ weights, float(weights.sum())
    if fitted is not None:
        positive, n_texts = positive + fitted.label_counts_, n_texts + fitted.n_samples_seen_
    share = (positive + _PRIOR_TEXTS * positive.mean() / n_texts) / (n_texts + _PRIOR_TEXTS)
    share = share.clip(0.1 / (n_texts + 1), 1 - 0.1 / (n_texts + 1))
    return np.log(share / (1 - share)).astype(np.float32)


def _with_label_texts(rows: TrainingRows, label_tokens: TokenStore) -> TrainingRows:
    """Every label's text, where it has a token, as one more document whose one label is itself."""
    labels = np.flatnonzero(label_tokens.lengths)
    identity = sp.eye_array(len(label_tokens), dtype=np.float32, format="csr")[labels]
    weights, exclude = rows.sample_weight, rows.exclude
    no_pair = sp.csr_array(identity.shape, dtype=np.float32)
    return TrainingRows(
        TokenStore.concatenate([rows.tokens, label_tokens.take(labels)]),
        sp.vstack([rows.Y, identity], format="csr"),
        None if weights is None else np.concatenate([weights, np.ones(len(labels), np.float32)]),
        None if exclude is None else sp.vstack([exclude, no_pair], format="csr"),
    )
