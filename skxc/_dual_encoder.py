"""The dual encoder of DEXML: labels are texts, embedded by the encoder that embeds the texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, NamedTuple

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
from torch import Tensor

from skxc._data._batches import Batch, TrainingRows
from skxc._data._pools import draw_negatives, draw_positives, fill_pool, pairs_in_pool
from skxc._data._tokens import TokenStore
from skxc._distributed import all_reduce_
from skxc._functional._grad_cache import LabelChunk, two_pass_step
from skxc._functional._losses import DecoupledSoftmax, PoolLoss, Softmax, SoftTopK
from skxc._functional._pairs import Pairs, Positives
from skxc._functional._pool_step import dense_pool_step
from skxc._functional._unit_rows import unit_rows
from skxc._mixins import CalibratedMixin, LabelTextsMixin, TrainingSetup, warn_of_empty
from skxc._mixins._memory import Memory
from skxc._mixins._predict import SearchTable
from skxc._training._loop import Step
from skxc._training._two_towers import TwoTowerStep
from skxc._validation import check_choice, check_integer, check_real
from skxc.encoders._base import EncoderModule

# labels that a text's hard negatives are drawn from
_SHORTLIST = 100
# scores held at once (float32: 32 MiB); a step over more labels goes through them twice, in chunks
_SCORES_AT_ONCE = 1 << 23


class PoolBatch(NamedTuple):
    """A batch's labels: ids where nothing else is said."""

    pool: NDArray[np.int64]  # ascending: the labels in the loss
    positives: Positives[NDArray[Any]]
    ignored: Pairs[NDArray[Any]] | None  # neither positive nor negative


class LabelPools:
    """Which labels a step looks at."""

    def __init__(
        self,
        rows: TrainingRows,
        candidates: NDArray[np.int64],  # ascending: the labels that a text speaks of
        search: Callable[[SearchTable, TrainingRows, int], NDArray[np.int64]],
        rng: np.random.Generator,
        *,
        negatives: str,
        pool_size: int,
        positives_per_text: int | None,
        negatives_per_text: int,
        mining_interval: int,
    ) -> None:
        self.rows, self.candidates, self.search, self.rng = rows, candidates, search, rng
        self.pool_size = len(candidates) if negatives == "all" else pool_size
        self.positives_per_text = positives_per_text
        self.negatives_per_text, self.mining_interval = negatives_per_text, mining_interval
        self.is_mined = negatives == "mined" and self.pool_size < len(candidates)
        self.shortlists: NDArray[np.int32] | None = None  # (n_rows, n): the hardest negatives

    def is_mining_due(self, epoch: int) -> bool:
        """Every `mining_interval` epochs, and not before the encoder has learnt for so long."""
        return self.is_mined and epoch > 0 and epoch % self.mining_interval == 0

    def mine(self, table: SearchTable) -> None:
        """The best labels of every training text that are not its positives."""
        k = min(_SHORTLIST, len(table.rows))
        self.shortlists = self.search(table, self.rows, k).astype(np.int32)

    def of(self, batch: Batch) -> PoolBatch:
        """Positives, drawn where `positives_per_text` asks for it, and the pool around them."""
        positives, ignored = batch.positives, batch.ignored
        if self.positives_per_text is not None:
            drawn = draw_positives(positives, self.positives_per_text, self.rng)
            ignored = _joined(_pairs(positives, ~drawn), ignored)
            # the draw went by relevance: the weights need not
            ones = np.ones(drawn.sum(), np.float32)
            positives = Positives(*_pairs(positives, drawn), ones)
        wanted = positives.labels
        if self.shortlists is not None:
            hard = draw_negatives(self.shortlists[batch.index], self.negatives_per_text, self.rng)
            wanted = np.concatenate([wanted, hard])
        pool = fill_pool(np.unique(wanted), self.candidates, self.pool_size, self.rng)
        return PoolBatch(pool, positives, ignored)


class DualEncoderStep(TwoTowerStep):
    """Embed texts and labels, take the loss's gradient in closed form, send it back to both."""

    def __init__(
        self,
        module: EncoderModule,
        label_tokens: TokenStore,
        pools: LabelPools,
        loss: PoolLoss,
        *,
        temperature: float,
        is_normalized: bool,
        dropout: float,
        encode_batch_size: int | None,
        dtype: torch.dtype,  # bfloat16: the encoder runs under autocast
    ) -> None:
        super().__init__(module, label_tokens, encode_batch_size=encode_batch_size, dtype=dtype)
        self.pools, self.loss = pools, loss
        self.temperature, self.is_normalized, self.dropout = temperature, is_normalized, dropout

    def begin_epoch(self, epoch: int) -> None:
        """Mine hard negatives where they are due."""
        if self.pools.is_mining_due(epoch):
            table = SearchTable.of(self.label_embeddings())
            self.module.eval()
            self.pools.mine(table)
            self.module.train()

    def __call__(self, batch: Batch, rate: float, *, with_loss: bool) -> Tensor | None:
        """One step: the mean loss a text where `with_loss`."""
        labels = self.pools.of(batch)
        if not len(labels.positives.values):  # no text of the batch has a label to learn
            return torch.zeros(()) if with_loss else None
        is_one_block = len(labels.pool) * len(batch) <= _SCORES_AT_ONCE
        step = self._step_on_block if is_one_block else self._step_on_chunks
        loss = step(batch, labels)
        return loss if with_loss else None

    def _step_on_block(self, batch: Batch, labels: PoolBatch) -> Tensor:
        """All scores at once; texts and labels in one encoding."""
        n_texts = len(batch)
        encoding = self._encoding(
            TokenStore.concatenate([batch.tokens, self.label_tokens.take(labels.pool)])
        )
        texts, label_embeddings = encoding.embeddings.split([n_texts, len(labels.pool)])
        mask = F.dropout(torch.ones_like(texts), self.dropout)
        kept, places = pairs_in_pool(labels.positives, labels.pool)
        gradient, label_gradient, loss, _ = dense_pool_step(
            texts * mask,
            label_embeddings,
            Positives(*self._tensors(places, *(a[kept] for a in labels.positives[1:]))),
            self.loss,
            temperature=self.temperature,
            ignored=self._ignored_places(labels),
            sample_weight=self._sample_weight(batch),
        )
        encoding.backward(torch.cat([all_reduce_(gradient) * mask, label_gradient]))
        return loss

    def _step_on_chunks(self, batch: Batch, labels: PoolBatch) -> Tensor:
        """Two passes over chunks of labels: memory does not grow with their number."""
        encoding = self._encoding(batch.tokens)
        mask = F.dropout(torch.ones_like(encoding.embeddings), self.dropout)
        for parameter in self.parameters():
            if getattr(parameter, "is_row_sparse", False):
                # chunks add up in place: sparse gradients would be joined, one after the other
                parameter.grad = torch.zeros_like(parameter)
        lengths, n_at_once = self.label_tokens.lengths[labels.pool], _SCORES_AT_ONCE // len(batch)
        ids = [labels.pool[rows] for rows in self._slices(lengths, max(n_at_once, 1))]
        chunks = [LabelChunk(chunk, torch.from_numpy(chunk)) for chunk in ids]
        ignored = labels.ignored
        gradient, loss = two_pass_step(
            lambda chunk: self._embed(self.label_tokens.take(chunk)),
            chunks,
            encoding.embeddings * mask,
            Positives(*self._tensors(*labels.positives)),
            self.loss,
            temperature=self.temperature,
            ignored=None if ignored is None else Pairs(*self._tensors(*ignored)),
            sample_weight=self._sample_weight(batch),
        )
        encoding.backward(all_reduce_(gradient) * mask)
        return loss

    def _embed(self, tokens: TokenStore) -> Tensor:
        embeddings = super()._embed(tokens)
        return unit_rows(embeddings) if self.is_normalized else embeddings

    def _ignored_places(self, labels: PoolBatch) -> Pairs[Tensor] | None:
        """The ignored pairs, by their labels' places in the pool."""
        if labels.ignored is None:
            return None
        kept, places = pairs_in_pool(labels.ignored, labels.pool)
        return Pairs(*self._tensors(places, labels.ignored.rows[kept]))

    def label_embeddings(self) -> Tensor:
        """Every label's text, embedded: (n_labels, dim)."""
        return self._embed_all(self.label_tokens)


def _pairs(pairs: Positives[NDArray[Any]], kept: NDArray[np.bool_]) -> Pairs[NDArray[Any]]:
    return Pairs(pairs.labels[kept], pairs.rows[kept])


def _joined(pairs: Pairs[NDArray[Any]], others: Pairs[NDArray[Any]] | None) -> Pairs[NDArray[Any]]:
    if others is None:
        return pairs
    return Pairs(*(np.concatenate(arrays) for arrays in zip(pairs, others, strict=True)))


class DualEncoderXC(
    LabelTextsMixin,
    CalibratedMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    ClassifierMixin,
    BaseEstimator,
):
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
    encoder : str or encoder object, default="bag"
        "bag": the embedded bag-of-words encoder. Any other string: a Hugging Face model id or a
        local folder. Or an object of :mod:`skxc.encoders`: then, and only then, a grid search
        reaches its parameters, as ``encoder__dim``.
    label_texts : array-like of shape (n_labels,), str, default=None
        One text per label, in the order of y's columns (of `classes_` where y is 1-d or lists).
        Needed by `fit`.
    loss : {"decoupled-softmax", "softmax", "soft-top-k"}, default="decoupled-softmax"
        "softmax": positives compete, too. "soft-top-k": every text's probabilities sum to `k`, for
        precision at that place.
    k : float, default=5
        Of the soft top-k loss; below the number of labels in a pool.
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
        From n_labels on, "in-batch" and "mined" are "all". None: 2048 (pretrained: 256).
    positives_per_text : int, default=None
        Labels drawn from each text's own, by relevance, in every step; the others then take no
        part. None: all, which estimates the same loss with less noise. The paper's code draws 1.
    negatives_per_text : int, default=3
        Hard negatives a text and step, where they are mined.
    mining_interval : int, default=2
        Epochs between searches for hard negatives; the first so many have none, and so has
        `partial_fit`.
    encode_batch_size : int, default=None
        Texts of the greatest length that are embedded at once, and more of shorter ones: memory,
        not the loss (that is `batch_size`). None: all (pretrained: 64).
    epochs : int, default=None
        Passes over the training texts. None: 8 with the embedded encoder, 5 with a pretrained one.
    batch_size : int, default=None
        Texts a step. None: 512 (pretrained: 64), less where an epoch would have fewer than 50
        steps.
    learning_rate : float, default=None
        AdamW's, or row-wise Adagrad's for the bag. None: 0.05 (pretrained: 5e-5).
    weight_decay : float, default=0.01
        Of the encoder under AdamW.
    warmup_fraction : float, default=0.05
        Share of the steps over which the learning rates rise; then they fall along a cosine.
    max_grad_norm : float, default=None
        Clip the encoder's gradient to this norm; None: no clipping.
    dropout : float, default=None
        On the text's embedding, in [0, 1). None: 0.2 (pretrained: 0).
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
        bfloat16: the encoder runs under autocast; its weights and the loss stay float32. "auto":
        bfloat16 on CUDA, float32 elsewhere.
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
        Labels: column numbers, a DataFrame's columns, or the sorted labels of lists and 1-d y; then
        those of `add_labels`.
    n_labels_ : int
        Number of labels.
    label_counts_ : ndarray of shape (n_labels,), int64
        Training texts of each label, as given: what propensities are computed from.
    label_texts_ : ndarray of shape (n_labels,), object
        Their texts.
    label_embeddings_ : ndarray of shape (n_labels, dim), float32
        Their texts' embeddings; 0 where the encoder knows no word of one.
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

    _memory_savers: ClassVar[tuple[str, ...]] = ("encode_batch_size", "batch_size", "pool_size")
    _defaults: ClassVar[Mapping[str, Any]] = {
        "epochs": 8,
        "batch_size": 512,
        "learning_rate": 0.05,
        "dropout": 0.2,
        "temperature": 0.09,
        "pool_size": 2048,
        "encode_batch_size": None,
    }
    _pretrained_defaults: ClassVar[Mapping[str, Any]] = {
        "epochs": 5,
        "batch_size": 64,
        "learning_rate": 5e-5,
        "dropout": 0.0,
        "temperature": 0.05,
        "pool_size": 256,
        "encode_batch_size": 64,
    }

    def __init__(
        self,
        encoder: Any = "bag",
        *,
        label_texts: Any = None,
        loss: str = "decoupled-softmax",
        k: float = 5,
        alpha: float = 1.0,
        temperature: float | None = None,
        normalize: bool = True,
        negatives: str = "in-batch",
        pool_size: int | None = None,
        positives_per_text: int | None = None,
        negatives_per_text: int = 3,
        mining_interval: int = 2,
        encode_batch_size: int | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        weight_decay: float = 0.01,
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
        self.loss = loss
        self.k = k
        self.alpha = alpha
        self.temperature = temperature
        self.normalize = normalize
        self.negatives = negatives
        self.pool_size = pool_size
        self.positives_per_text = positives_per_text
        self.negatives_per_text = negatives_per_text
        self.mining_interval = mining_interval
        self.encode_batch_size = encode_batch_size
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
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
        check_choice("loss", self.loss, ("decoupled-softmax", "softmax", "soft-top-k"))
        check_choice("negatives", self.negatives, ("in-batch", "mined", "all"))
        check_choice("normalize", self.normalize, (True, False))
        check_real("k", self.k, ends="(]")
        check_real("alpha", self.alpha, ends="(]")
        if self.temperature is not None:
            check_real("temperature", self.temperature, ends="(]")
        if self.pool_size is not None:
            check_integer("pool_size", self.pool_size, 0)
        for name in ("positives_per_text", "encode_batch_size"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), 1)
        check_integer("negatives_per_text", self.negatives_per_text, 1)
        check_integer("mining_interval", self.mining_interval, 1)

    def _make_step(self, setup: TrainingSetup) -> tuple[Step, TrainingRows]:
        tokens, settings = setup.label_tokens, setup.settings
        assert tokens is not None  # _check_label_texts
        assert setup.label_texts is not None
        is_known = tokens.lengths > 0
        if setup.fitted is None:
            warn_of_empty(is_known, setup.label_texts)
        rows = _with_labels(setup.rows, is_known)
        self._is_normalized = self.normalize
        is_scaled = self.normalize or self.temperature is not None
        self._temperature = settings["temperature"] if is_scaled else 1.0
        pools = LabelPools(
            rows,
            np.flatnonzero(is_known),
            partial(self._shortlists, setup.module),
            np.random.default_rng(setup.generator.initial_seed()),
            negatives=self.negatives,
            pool_size=settings["pool_size"],
            positives_per_text=self.positives_per_text,
            negatives_per_text=self.negatives_per_text,
            mining_interval=self.mining_interval,
        )
        step = DualEncoderStep(
            setup.module,
            tokens,
            pools,
            self._loss(len(tokens)),
            temperature=self._temperature,
            is_normalized=self._is_normalized,
            dropout=settings["dropout"],
            encode_batch_size=settings["encode_batch_size"],
            dtype=setup.dtype,
        )
        return step, rows

    def _own_memory(self, setup: TrainingSetup, settings: Mapping[str, Any]) -> Memory:
        n_labels, batch_size = setup.rows.Y.shape[1], settings["batch_size"]
        pool_size = n_labels if self.negatives == "all" else min(settings["pool_size"], n_labels)
        table = 4 * n_labels * settings["dim"]
        n_scores = min(batch_size * pool_size, _SCORES_AT_ONCE)
        activations = 4 * 4 * n_scores
        activations += self._embedding_bytes(setup, settings, batch_size, pool_size)
        device = {"activations": activations, "published": self._search_bytes(n_labels)}
        if setup.device.type != "cpu":
            device["published"] += table
        return Memory(device, {"published": table})

    def _loss(self, n_labels: int) -> PoolLoss:
        if self.loss != "soft-top-k":
            return Softmax() if self.loss == "softmax" else DecoupledSoftmax()
        if self.k >= n_labels:
            raise ValueError(
                f"k={self.k} of {n_labels} labels: all would be in the soft top k, and nothing "
                f"would be learnt. Pass a smaller k."
            )
        return SoftTopK(self.k, self.alpha)

    def _final_table(self, step: DualEncoderStep) -> NDArray[np.float32]:
        table: NDArray[np.float32] = step.label_embeddings().cpu().numpy()
        return table

    def _text_embeddings(self, embeddings: Tensor) -> Tensor:
        embeddings = embeddings.float()
        return unit_rows(embeddings) if self._is_normalized else embeddings

    def _score_scale(self) -> float:
        return 1 / self._temperature


def _with_labels(rows: TrainingRows, is_known: NDArray[np.bool_]) -> TrainingRows:
    """The rows, without the pairs of labels that are not known."""
    Y = rows.Y
    kept = is_known[Y.indices]
    if not kept.all():
        counts = np.concatenate([[0], np.cumsum(kept)])[Y.indptr]
        Y = sp.csr_array((Y.data[kept], Y.indices[kept], counts), shape=Y.shape)
    return TrainingRows(rows.tokens, Y, rows.sample_weight, rows.exclude)
