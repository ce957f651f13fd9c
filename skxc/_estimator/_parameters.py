"""The parameters that all estimators share, and what None stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from skxc._methods._method import Method
from skxc._training._setup import Settings
from skxc._validation import (
    check_choice,
    check_integer,
    check_real,
    check_seed,
    check_threshold,
    is_auto,
)
from skxc.encoders._base import Encoder

_LEAST_STEPS_AN_EPOCH = 50
SEARCHES = ("exact", "approximate")


@dataclass(eq=False, repr=False, kw_only=True)
class CommonParameters:
    """Parameters of every estimator: one name, one default, one meaning.

    Parameters
    ----------
    encoder : str or encoder object, default="bag"
        "bag": the embedded bag-of-words encoder. Any other string: a Hugging Face model id or a
        local folder. Or an object of :mod:`skxc.encoders`: then, and only then, a grid search
        reaches its parameters, as ``encoder__dim``.
    encode_batch_size : int, default=None
        Texts of the greatest length that are embedded at once, and more of shorter ones: memory,
        not the loss (that is `batch_size`). Of a step's texts and label texts beyond that, all are
        embedded a second time for their gradient. None: all of them; of a transformer 64 on a CPU,
        and as many as take a quarter of a GPU's memory.
    warmup_fraction : float, default=0.05
        Share of the steps over which the learning rates rise; then they fall along a cosine.
    paper : dict, default=None
        Details of a paper's code that serve its recipes, each by its name. "schedule": "cosine" or
        "linear", how the learning rates fall. "adam_epsilon": 1e-8 or another of AdamW's.
    max_grad_norm : float, default=None
        Clip the encoder's gradient to this norm; None: no clipping.
    top_k : int, default=100
        Labels a text that sparse predictions hold. May be changed after `fit`.
    threshold : float, array-like of shape (n_labels,) or "auto", default="auto"
        Least probability of a label in `predict`; an array gives each label its own. "auto":
        `threshold_`. May be changed after `fit`; :func:`skxc.model_selection.tune_threshold` finds
        the best for other measures, and for each label.
    rerank_weight : float or "auto", default="auto"
        Weight of the second stage: of a text's 100 best labels, each one's score grows by so much
        times the margin of a linear classifier of the text's exact words (TF-IDF; a transformer's
        sub-words), trained on the texts that the label is mistaken for. "auto": the weight that
        ranks held-out texts best (nDCG@5), which may be 0; 3 over the scale of scores in training
        where fewer than 50 are held out. 0: no second stage.
    search : {"exact", "approximate"}, default="exact"
        How predictions of `top_k` labels find these, on a CPU. "approximate": a graph over the
        labels (of the package usearch: ``pip install "skxc[approximate]"``) proposes candidates,
        which are scored exactly; a few of the best labels may be missed, of `ReneeClassifier` a
        quarter: do not use it there. It is built when first needed, and saved with the model. The
        search stays exact where that is as fast: on fewer than 128,000 labels (for more than 32
        labels a text, 4,000 times as many), on a GPU, and wherever all scores are given. May be
        changed after `fit`.
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
    random_state : int, RandomState instance or None, default=None
        Seeds everything; same data and seed: the same model on a CPU, and up to rounding on a GPU,
        where attention's gradients are added up in no fixed order. Whatever other threads draw
        meanwhile: only a transformer's own dropout draws from torch's generator of the process,
        which fits seed and put back, and which no other thread should use then.
    warm_start : bool, default=False
        `fit` goes on from the fitted weights and vocabulary, with the same labels.
    checkpoint_dir : str or path-like, default=None
        Folder for the checkpoint of `fit`, a file that holds the whole state of the training. A fit
        that was killed goes on from it when `fit` is called again with the same data and parameters
        (any process, same kind of device): on a CPU, with as many threads, the model is the very
        one that an undisturbed fit gives. Ctrl-C, SIGTERM and SIGHUP write a last one first, if the
        batch ends within 10 seconds. A checkpoint is for the same skxc to go on from; to keep a
        model, `save` it. One fit a folder: in a grid search leave it None. None: no checkpoint.
        `partial_fit` writes none.
    checkpoint_interval : float or "epoch", default="epoch"
        Seconds between two checkpoints, at the least. "epoch": one after every epoch and, within
        long ones, after every 10 minutes; after short ones only so often that writing takes a
        twentieth of the time. One is always written after the last epoch.
    keep_checkpoint : bool, default=False
        Keep the checkpoint after a fit that ended well: the same fit is then over at once.
    verbose : int, default=0
        1: a progress bar, in terminals and notebooks. Epochs and the estimate of memory are logged
        under "skxc" at level INFO whatever it is.

    Attributes
    ----------
    n_labels_ : int
        Number of labels.
    label_counts_ : ndarray of shape (n_labels,), int64
        Training texts of each label, as given: what propensities are computed from.
    is_seen_ : ndarray of shape (n_labels,), bool
        Labels that training has seen: a text that was trained on has them (or, of
        `ReneeClassifier`, their own text trained their row). Texts held out do not count. The
        others are unseen labels: their texts alone can rank them.
    label_names_ : ndarray of shape (n_labels,)
        What `predict_labels` answers: `classes_`, or `label_texts` where y's columns had no names.
    encoder_ : encoder object
        The fitted encoder.
    history_ : list of dict
        Per epoch: mean loss a text (on sampled steps), seconds, share of padding (padded encoders),
        validation score (early stopping) and, of `UniDEC`, "without_positive": the share of texts
        none of whose labels was picked.
    n_iter_ : int
        Epochs run.
    threshold_ : float
        The threshold of highest micro-F1 on the texts that `fit` holds out, or, where these are
        fewer than 50, on training texts; for y that is not 1-d.
    n_samples_seen_ : int
        Training texts given; over all calls of `partial_fit`.
    rerank_weight_ : float
        Weight of the second stage; 0: none.
    reranker_ : dict of str to ndarray
        Its linear classifiers, one row a label in CSR's form: "offsets" of shape (n_labels + 1,),
        "words" and "weights" of shape (n_weights,), "n_words", "intercepts" of shape (n_labels,),
        and "idf" of a transformer's sub-words. Empty where there is none.
    """

    encoder: Any = field(default="bag", kw_only=False)
    label_texts: Any = "auto"
    epochs: int | None = None
    batch_size: int | None = None
    encode_batch_size: int | None = None
    learning_rate: float | None = None
    weight_decay: float = 0.01
    warmup_fraction: float = 0.05
    max_grad_norm: float | None = None
    paper: dict[str, bool | int | float | str | None] | None = None
    dropout: float | None = None
    top_k: int = 100
    threshold: Any = "auto"  # or a float, or one for each label
    rerank_weight: Any = "auto"  # or a float
    search: str = "exact"
    early_stopping: bool = False
    validation_fraction: float = 0.1
    n_iter_no_change: int = 5
    sparse_output: Any = "auto"
    device: Any = "auto"
    precision: str = "auto"
    random_state: Any = None
    warm_start: bool = False
    checkpoint_dir: Any = None  # str or path-like
    checkpoint_interval: Any = "epoch"  # or seconds
    keep_checkpoint: bool = False
    verbose: int = 0

    _method: ClassVar[type[Method[Any]]]  # the algorithm
    _least_epochs: ClassVar[int] = 1
    # What None stands for: "always", but for an encoder with one of the other abilities, which are
    # attributes of it, the values listed there.
    _defaults: ClassVar[Mapping[str, Mapping[str, Any]]]

    def check_parameters(self) -> None:
        """Raise where a parameter is out of what is accepted; `fit` calls it first.

        Raises
        ------
        ValueError, TypeError
            If a parameter is out of range, or of a wrong type.
        """
        least = {"epochs": self._least_epochs, "batch_size": 1, "encode_batch_size": 1}
        for name, low in least.items():
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), low)
        check_integer("top_k", self.top_k, 1)
        check_integer("n_iter_no_change", self.n_iter_no_change, 1)
        for name in ("learning_rate", "max_grad_norm"):
            if getattr(self, name) is not None:
                check_real(name, getattr(self, name), ends="(]")
        check_real("weight_decay", self.weight_decay)
        check_threshold(self.threshold)
        if not is_auto(self.rerank_weight):
            check_real("rerank_weight", self.rerank_weight)
        check_real("warmup_fraction", self.warmup_fraction, high=1)
        if self.dropout is not None:
            check_real("dropout", self.dropout, high=1, ends="[)")
        check_real("validation_fraction", self.validation_fraction, high=1, ends="()")
        check_choice("sparse_output", self.sparse_output, ("auto", True, False))
        check_choice("precision", self.precision, ("auto", "float32", "bfloat16"))
        check_choice("search", self.search, SEARCHES)
        for name in ("early_stopping", "warm_start"):
            check_choice(name, getattr(self, name), (True, False))
        check_seed("random_state", self.random_state)
        if not isinstance(self.verbose, bool | np.bool_):
            check_integer("verbose", self.verbose, 0)
        self._method.Settings.details.of(self.paper)
        self._check_checkpoint_parameters()
        self._check_own_parameters()

    @property
    def _has_log_odds(self) -> bool:
        """Whether the loss makes scores log-odds; others are to be calibrated."""
        return False

    def _check_checkpoint_parameters(self) -> None:
        """Check those of checkpoints."""

    def _check_own_parameters(self) -> None:
        """Check the parameters that no other estimator has."""

    def _default_values(self, encoder: Encoder) -> dict[str, Any]:
        """What parameters that are None stand for with this encoder."""
        values: dict[str, Any] = {}
        for ability, defaults in self._defaults.items():
            if ability == "always" or getattr(encoder, ability):
                values |= defaults
        return values

    def _settings(
        self, encoder: Encoder, dim: int, Y: sp.csr_array, *, is_partial: bool
    ) -> Settings:
        """The parameters of the method, with a value for this encoder and these texts."""
        defaults = self._default_values(encoder)
        if not is_partial:  # a small set needs steps more than it needs large batches
            enough_steps = max(Y.shape[0] // _LEAST_STEPS_AN_EPOCH, 8)
            defaults["batch_size"] = min(defaults["batch_size"], enough_steps)
        epochs = defaults["epochs"]
        if isinstance(epochs, range):  # a text's labels share its gradient: one each
            labels_per_text = Y.nnz / max(Y.shape[0], 1)
            defaults["epochs"] = int(np.clip(labels_per_text, epochs[0], epochs[-1]))
        values: dict[str, Any] = {"dim": dim}
        for name in (f.name for f in fields(self._method.Settings) if f.name != "dim"):
            value = getattr(self, name)
            value = defaults.get(name) if value is None else value
            if isinstance(value, bool | np.bool_):
                value = bool(value)
            elif isinstance(value, Real):  # NumPy's, and a Fraction
                value = int(value) if isinstance(value, Integral) else float(value)
            values[name] = value
        values["paper"] = self._method.Settings.details.of(self.paper)
        return self._method.Settings(**values)
