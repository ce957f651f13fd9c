"""UniDEC: a dual encoder and a classifier trained together, on picked labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
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
from torch import Tensor, nn
from torch.nn.utils import skip_init
from torch.optim import Optimizer

from skxc._data._batches import Batch, TrainingRows
from skxc._data._clusters import balanced_clusters
from skxc._data._pools import draw_negatives, draw_positives, fill_pool, pairs_in_pool
from skxc._data._psl import pick_some_labels
from skxc._data._tokens import TokenStore
from skxc._functional._backward import backward
from skxc._functional._losses import BalancedSoftmax, DecoupledSoftmax, Softmax
from skxc._functional._pairs import Pairs, Positives
from skxc._functional._pool_step import one_vs_all_pool_step, softmax_pool_step
from skxc._functional._top_k import UNSEEN_SCORE, has_values
from skxc._functional._unit_rows import unit_rows
from skxc._mixins import (
    CalibratedMixin,
    LabelTextsMixin,
    TrainingSetup,
    as_read_only_tensor,
    warn_of_empty,
)
from skxc._mixins._fit import History
from skxc._mixins._memory import Memory
from skxc._mixins._predict import SearchTable
from skxc._mixins._score_weights import best_weights, candidates_of
from skxc._training._lexicon import Lexicon, with_values
from skxc._training._loop import Step
from skxc._training._row_adam import RowAdam
from skxc._training._two_towers import TwoTowerStep
from skxc._validation import check_choice, check_integer, check_real
from skxc.encoders._base import EncoderModule
from skxc.metrics import ranking_metrics

_LOSSES: Mapping[str, Softmax] = {
    "decoupled-softmax": DecoupledSoftmax(),
    "softmax": Softmax(),
    "balanced-softmax": BalancedSoftmax(),
}
# labels that a text's hard negatives are drawn from
_SHORTLIST = 100
# what is tried for each weight of the score's parts
_SCORE_WEIGHTS = {
    "dual": (0.0, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0),
    "lexical": (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0),
    "label_words": (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0),
}
# words that weigh less are left out of prediction
_LEAST_WEIGHT = 1e-4
# random labels in a pool: so many to each of the batch's own, and at the least
_RANDOM_PER_LABEL = 0.5
_LEAST_RANDOM = 64
# labels of each ranking that takes part in choosing the weights; scores held at once (32 MiB)
_CANDIDATES_A_VIEW = 50
_SCORES_AT_ONCE = 1 << 23
_LEAST_TEXTS_AT_ONCE = 16
# of nDCG@5, for a weight to change
_LEAST_GAIN = 1e-3


class Heads(nn.Module):
    """From the encoder's embedding to the two spaces that scores are cosines in.

    Without `dim` both are the encoder's own, and one: then the two scores of a label are the cosine
    with one vector, and prediction needs no wider table than either.
    """

    def __init__(self, encoder_dim: int, dim: int | None) -> None:
        super().__init__()
        self.is_shared = dim is None
        self.dim = encoder_dim if dim is None else dim
        self.width = self.dim if dim is None else 2 * self.dim  # of prediction's rows
        if dim is not None:  # as yet without values: `begin_`, or a state that is loaded
            self.of_label_texts = skip_init(nn.Linear, encoder_dim, dim)
            self.of_classifier = skip_init(nn.Linear, encoder_dim, dim)

    def begin_(self) -> None:
        """As the identity, or orthogonal: what the encoder has learnt is not to be scrambled."""
        for linear in () if self.is_shared else (self.of_label_texts, self.of_classifier):
            is_square = linear.weight.shape[0] == linear.weight.shape[1]
            (nn.init.eye_ if is_square else nn.init.orthogonal_)(linear.weight)
            nn.init.zeros_(linear.bias)

    def label_text_space(self, embeddings: Tensor) -> Tensor:
        """Unit vectors of texts and label texts, (n, dim); 0 where no word is known."""
        if self.is_shared:
            return unit_rows(embeddings)
        return _unit_rows(torch.tanh(self.of_label_texts(embeddings)), embeddings)

    def classifier_space(self, embeddings: Tensor) -> Tensor:
        """Unit vectors of texts, (n, dim); 0 where no word is known."""
        if self.is_shared:
            return unit_rows(embeddings)
        return _unit_rows(self.of_classifier(embeddings), embeddings)

    def text_rows(self, embeddings: Tensor) -> Tensor:
        """What prediction multiplies with `joined_halves`, (n, dim) or (n, 2 dim)."""
        if self.is_shared:
            return self.label_text_space(embeddings)
        halves = [self.label_text_space(embeddings), self.classifier_space(embeddings)]
        return torch.cat(halves, 1)


def _unit_rows(vectors: Tensor, embeddings: Tensor) -> Tensor:
    """Rows of length 1; 0, and without a gradient, where the encoder knew no word."""
    return unit_rows(vectors) * embeddings.any(1, keepdim=True)


def joined_halves(
    label_texts: Tensor,  # (n_labels, dim) unit vectors, 0 where no word is known
    classifier: Tensor,  # (n_labels, dim) rows as they are scored
    is_taught: Tensor,  # (n_labels,) bool: a text has taught the classifier's row
    weight: float,  # of the label texts, in [0, 1]
    *,
    is_shared: bool,
) -> Tensor:  # (n_labels, dim) where the space is shared, else (n_labels, 2 dim)
    """Both halves of every label, so that one inner product is the weighted mean of two.

    A label that no text has taught is its text alone, one without a known word its row alone, both
    at full weight: the scales then compare.
    """
    has_text = has_values(label_texts)
    of_text = torch.where(is_taught & has_text, weight, has_text.to(label_texts.dtype))
    of_row = torch.where(is_taught, torch.where(has_text, 1 - weight, 1.0), 0.0)
    dual = label_texts * of_text[:, None]
    if is_shared:
        return dual.addcmul_(classifier, of_row[:, None])
    return torch.cat([dual, classifier * of_row[:, None]], 1)


class ScoreWeights(NamedTuple):
    """How the parts of a label's score are weighed."""

    dual: float  # the cosine with its text, in [0, 1]; the cosine with its row has the rest
    lexical: float  # what its words have learnt, times the temperature
    label_words: float  # the TF-IDF cosine with its text


def joined_words(
    of_label_texts: sp.csr_array,  # (n_labels, n_words)
    learnt: NDArray[np.float32],  # (n_pairs,) at the same places
    weights: ScoreWeights,
    temperature: float,
) -> sp.csr_array:  # (n_labels, n_words), weights of 0 left out
    """Both kinds of weights of words, so that one sparse product is their weighted sum."""
    values = of_label_texts.data * np.float32(weights.label_words)
    values += learnt * np.float32(weights.lexical * temperature)
    table = with_values(of_label_texts, values)
    kept = np.abs(values) > _LEAST_WEIGHT
    if not kept.all():
        offsets = np.concatenate([[0], np.cumsum(kept)])[table.indptr]
        table = sp.csr_array((values[kept], table.indices[kept], offsets), table.shape)
    return table


class Sampling(NamedTuple):
    """How a batch and its pool are put together; see the parameters of the same names."""

    batches: str
    negatives: str
    pool_size: int
    positives_per_text: int
    negatives_per_text: int
    mining_interval: int


class PickedLabels(NamedTuple):
    """A batch's pool (PSL): both heads' losses are over it."""

    texts: NDArray[np.int64]  # places in the batch of the texts that have a label in the pool
    pool: NDArray[np.int64]  # ascending label ids
    positives: Positives[Tensor]  # `labels`: places in the pool; all that y knows of
    ignored: Pairs[Tensor] | None  # likewise


class UniDECStep(TwoTowerStep):
    """One pool of labels, two losses over it: of the label texts, and of the classifier's rows."""

    def __init__(
        self,
        module: EncoderModule,
        label_tokens: TokenStore,
        heads: Heads,
        classifier: Tensor,  # (n_labels, dim), updated in place; may live in the host's memory
        rows: TrainingRows,
        search: Callable[[SearchTable, TrainingRows, int], NDArray[np.int64]],
        rng: np.random.Generator,
        *,
        sampling: Sampling,
        loss: Softmax,
        is_one_vs_all: bool,  # binary cross-entropy for the classifier
        both_directions: bool,
        dual_weight: float,
        log_scale: nn.Parameter,  # of 1 / temperature
        dropout: float,
        lexicon: Lexicon | None,  # the words' part of the classifier
        is_taught: Tensor,  # (n_labels,) bool, on the CPU: some text has or had the label
        weights: ScoreWeights,  # in validation and mining
        classifier_learning_rate: float,
        weight_decay: float,
        encode_batch_size: int | None,
        dtype: torch.dtype,
    ) -> None:
        super().__init__(module, label_tokens, encode_batch_size=encode_batch_size, dtype=dtype)
        self.heads, self.classifier, self.rows, self.search = heads, classifier, rows, search
        self.rng, self.sampling, self.is_one_vs_all = rng, sampling, is_one_vs_all
        self.pool_step = partial(softmax_pool_step, loss=loss, both_directions=both_directions)
        self.dual_weight, self.log_scale, self.dropout = dual_weight, log_scale, dropout
        self.learning_rate = classifier_learning_rate
        self.optimizer = RowAdam([classifier], classifier_learning_rate, weight_decay=weight_decay)
        self.head_optimizer = _ready_adam([*heads.parameters(), log_scale], self.learning_rate)
        self.candidates, self.is_taught = np.arange(len(classifier)), is_taught
        self.lexicon, self.weights = lexicon, weights
        self.shortlists: NDArray[np.int32] | None = None
        self.clusters: list[NDArray[np.int64]] | None = None
        self.n_texts = self.n_dropped = 0

    def begin_epoch(self, epoch: int) -> None:
        """Mine hard negatives and cluster the texts, in the epochs where that is due."""
        self.n_texts = self.n_dropped = 0
        if epoch == 0 or epoch % self.sampling.mining_interval:
            return
        is_mined = self.sampling.negatives == "mined"
        if is_mined and self.sampling.pool_size < len(self.candidates):
            table = SearchTable.of(self.label_embeddings(), self.label_words())
            self.module.eval()
            k = min(_SHORTLIST, len(self.classifier))
            self.shortlists = self.search(table, self.rows, k).astype(np.int32)
            self.module.train()
        if self.sampling.batches == "clustered":
            self.clusters = []  # made by `batches`, which knows their size
            with torch.no_grad():
                self._embedded = self.heads.text_rows(self._embed_all(self.rows.tokens))

    def batches(self, batch_size: int, rng: np.random.Generator) -> list[NDArray[np.int64]] | None:
        """Texts that are alike, in batches; clusters in another order every epoch.

        Clusters of half a batch and more, one after the other, cut where a batch is full: so
        batches have one size and epochs one number of them, where UniDEC has a cluster a batch.
        """
        if self.clusters is None:
            return None
        if not self.clusters:
            n_per_cluster = max(batch_size // 2, 1)
            self.clusters = balanced_clusters(self._embedded, n_per_cluster, rng)
            del self._embedded
        order = np.concatenate([self.clusters[i] for i in rng.permutation(len(self.clusters))])
        batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        return [batches[i] for i in rng.permutation(len(batches))]

    def report(self) -> dict[str, float]:
        """Share of the texts of which no label was in the pool: they take no part in a step."""
        return {"without_positive": self.n_dropped / max(self.n_texts, 1)}

    def __call__(self, batch: Batch, rate: float, *, with_loss: bool) -> Tensor | None:
        """One step of both heads over one pool: the mean loss a text where `with_loss`."""
        picked = self._pick(batch)
        self.n_texts += len(batch)
        self.n_dropped += len(batch) - len(picked.texts)
        if not len(picked.texts):
            return torch.zeros(()) if with_loss else None
        ids = torch.from_numpy(picked.pool)
        self.optimizer.apply_pending_decay_(self.classifier, ids)
        rows = self.classifier[ids.to(self.classifier.device)].to(self.device).requires_grad_()
        encoding = self._encoding(
            TokenStore.concatenate(
                [batch.tokens.take(picked.texts), self.label_tokens.take(picked.pool)]
            )
        )
        embeddings = encoding.embeddings.requires_grad_()
        words = self._word_scores(batch, picked)
        loss = self._backward(batch, picked, embeddings, rows, words)
        assert embeddings.grad is not None
        assert rows.grad is not None
        encoding.backward(embeddings.grad)
        self._update(ids, rows.grad, rate)
        if self.lexicon is not None and words is not None:  # a text each, not their mean
            self.lexicon.step_(rate * (1 - self.dual_weight) * len(picked.texts))
        return loss if with_loss else None

    def _word_scores(self, batch: Batch, picked: PickedLabels) -> Tensor | None:
        if self.lexicon is None or self.dual_weight == 1:
            return None
        texts = batch.tokens.take(picked.texts).as_csr(self.lexicon.of_label_texts.shape[1])
        return self.lexicon.scores(texts, picked.pool).to(self.device)

    def _backward(
        self,
        batch: Batch,
        picked: PickedLabels,
        embeddings: Tensor,
        rows: Tensor,
        words: Tensor | None,  # (pool, batch) what they add to the classifier's scores
    ) -> Tensor:
        """Both heads' losses, and their gradients by all leaves of the graph."""
        raw_texts, raw_labels = embeddings.split([len(picked.texts), len(picked.pool)])
        texts = self.heads.label_text_space(raw_texts)
        mask = F.dropout(torch.ones_like(texts), self.dropout)
        texts_of_both = [texts * mask]
        if not self.heads.is_shared:
            texts_of_both.append(self.heads.classifier_space(raw_texts) * mask)
        labels = self.heads.label_text_space(raw_labels)
        classifier = rows if self.is_one_vs_all else unit_rows(rows)
        scale = float(self.log_scale.detach().exp())
        weights = self._sample_weight(batch)
        options: dict[str, Any] = {
            "temperature": 1 / scale,
            "ignored": picked.ignored,
            "sample_weight": None if weights is None else weights[picked.texts],
        }
        outputs, gradients, losses = [], [], []
        for of_texts, of_labels, added, weight, step in (
            (texts_of_both[0], labels, None, self.dual_weight, self.pool_step),
            (
                texts_of_both[-1], classifier, words, 1 - self.dual_weight,
                one_vs_all_pool_step if self.is_one_vs_all else self.pool_step,
            ),
        ):  # fmt: skip
            if weight == 0:
                continue
            fixed = None if added is None else added.detach()
            by_texts, by_labels, loss, by_scores = step(
                of_texts, of_labels, picked.positives, added=fixed, **options
            )
            outputs += [of_texts, of_labels]
            gradients += [weight * by_texts, weight * by_labels]
            losses.append(weight * loss)
            if added is not None:  # unweighted: the lexicon's rate is
                outputs.append(added)
                gradients.append(by_scores)
            if self.log_scale.requires_grad:  # scores are linear in the scale
                outputs.append(self.log_scale)
                by_scale = weight * (by_texts * of_texts.detach()).sum()
                gradients.append(by_scale.to(self.log_scale))
        backward(outputs, gradients)
        if rows.grad is None:  # dual_weight=1
            rows.grad = torch.zeros_like(rows)
        return torch.stack(losses).sum()

    def _pick(self, batch: Batch) -> PickedLabels:
        """The pool (PSL), and by the full ground truth what is whose positive in it."""
        sampling, hard = self.sampling, np.empty(0, np.int64)
        drawn = draw_positives(batch.positives, sampling.positives_per_text, self.rng)
        if self.shortlists is not None:
            hard = draw_negatives(
                self.shortlists[batch.index], sampling.negatives_per_text, self.rng
            )
        pool = pick_some_labels(batch.positives, drawn, hard, sampling.pool_size)
        n_random = max(math.ceil(_RANDOM_PER_LABEL * len(pool)), _LEAST_RANDOM)
        n_filled = min(len(pool) + n_random, sampling.pool_size)
        pool = fill_pool(pool, self.candidates, n_filled, self.rng)
        kept, places = pairs_in_pool(batch.positives, pool)
        texts, rows = np.unique(batch.positives.rows[kept], return_inverse=True)
        positives = Positives(*self._tensors(places, rows.ravel(), batch.positives.values[kept]))
        return PickedLabels(texts, pool, positives, self._ignored(batch, texts, pool))

    def _ignored(
        self, batch: Batch, texts: NDArray[np.int64], pool: NDArray[np.int64]
    ) -> Pairs[Tensor] | None:
        """The batch's ignored pairs, by their places among the picked texts and labels."""
        if batch.ignored is None:
            return None
        kept, places = pairs_in_pool(batch.ignored, pool)
        rows = batch.ignored.rows[kept]
        is_in = np.isin(rows, texts)
        return Pairs(*self._tensors(places[is_in], np.searchsorted(texts, rows[is_in])))

    def _update(self, ids: Tensor, gradient: Tensor, rate: float) -> None:
        """Step what the loop does not: the picked rows, the heads and the temperature."""
        self.optimizer.param_groups[0]["lr"] = self.learning_rate * rate
        self.optimizer.step_rows_(self.classifier, ids, gradient)
        if self.head_optimizer is not None:
            for group in self.head_optimizer.param_groups:
                group["lr"] = self.learning_rate * rate
            self.head_optimizer.step()
            self.head_optimizer.zero_grad()

    def state(self) -> dict[str, Tensor]:
        """Encoder, heads, classifier and temperature."""
        heads = {f"heads.{k}": v for k, v in self.heads.state_dict().items()}
        own = {"classifier": self.classifier, "log_scale": self.log_scale.data}
        if self.lexicon is not None:
            own["lexicon"] = self.lexicon.learnt
        return super().state() | heads | own | self.optimizer_state()

    def optimizer_state(self) -> dict[str, Tensor]:
        """Adam's, of the classifier's rows and of the heads."""
        states = [] if self.head_optimizer is None else self.head_optimizer.state.values()
        of_heads = {f"head{i}.{k}": v for i, state in enumerate(states) for k, v in state.items()}
        return of_heads | dict(self.optimizer.state[self.classifier])

    @torch.no_grad()
    def label_embeddings(self) -> Tensor:
        """The table that prediction searches while training goes on."""
        rows = self.classifier_rows()
        if not self.is_one_vs_all:
            rows = unit_rows(rows)
        vectors, is_taught = self.label_text_vectors(), self.is_taught.to(self.device)
        return joined_halves(
            vectors, rows, is_taught, self.weights.dual, is_shared=self.heads.is_shared
        )

    def label_words(self) -> sp.csr_array | None:
        """Likewise, the words' weights."""
        if self.lexicon is None:
            return None
        temperature = float((-self.log_scale.detach()).exp())
        return joined_words(
            self.lexicon.of_label_texts, self.lexicon.learnt.numpy(), self.weights, temperature
        )

    @torch.no_grad()
    def label_text_vectors(self) -> Tensor:
        """Unit vectors of the labels' texts, (n_labels, dim); 0 where no word is known."""
        return self.heads.label_text_space(self._embed_all(self.label_tokens))

    def classifier_rows(self) -> Tensor:
        """The classifier as it is, (n_labels, dim), on the encoder's device."""
        self.optimizer.flush()
        return self.classifier.to(self.device)


def _ready_adam(parameters: list[nn.Parameter], learning_rate: float) -> Optimizer | None:
    """Adam on those that are trained, its state there before the first step."""
    trained = [p for p in parameters if p.requires_grad]
    if not trained:
        return None
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    optimizer = torch.optim.AdamW(trained, learning_rate, weight_decay=0.0)
    optimizer.step()  # by a gradient of 0: nothing moves
    optimizer.zero_grad()
    for state in optimizer.state.values():
        state["step"].zero_()
    return optimizer


class UniDEC(
    LabelTextsMixin,
    CalibratedMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    ClassifierMixin,
    BaseEstimator,
):
    r"""Two views of a label, its text and a row of its own, trained together on picked labels.

    UniDEC [1]_: a dual encoder (the cosine of text and label text, as :class:`DualEncoderXC`) and a
    classifier (the cosine of text and a free row per label) share an encoder. Every step picks a
    few thousand labels (PSL): the batch's own, and hard or random others. Both losses are over
    these, so a step costs the same however many labels there are, and both views learn from the
    whole of a text's labels. The score is the weighted mean of the two cosines, its weight chosen
    on texts that training does not see; labels that no text has taught are ranked by their text
    alone.

    Beside the embeddings, in which exact words blur, labels have weights for the words themselves
    (`lexical_learning_rate`): those of their training texts are learnt in the same step, by the
    same gradient, and a label's own text counts by its TF-IDF weights.

    The one to begin with, where labels have texts: names tell what a label is, rows what names do
    not.

    The probability of a label is a sigmoid of its score (Platt's), fitted on the 100 best labels of
    texts that training does not see: a twentieth of them, at most 500.

    Parameters
    ----------
    encoder : str or encoder object, default="bag"
        "bag": the embedded bag-of-words encoder. Any other string: a Hugging Face model id or a
        local folder. Or an object of :mod:`skxc.encoders`: then, and only then, a grid search
        reaches its parameters, as ``encoder__dim``.
    label_texts : array-like of shape (n_labels,), str, default=None
        One text per label, in the order of y's columns (of `classes_` where y is 1-d or lists).
        Needed by `fit`.
    loss : {"decoupled-softmax", "softmax", "balanced-softmax"}, default="decoupled-softmax"
        Of both views. "decoupled-softmax": a text's labels do not compete with each other.
        "softmax": they do (SupCon). "balanced-softmax": they do, but weigh as one label together
        (balanced SupCon).
    classifier_loss : {None, "one-vs-all"}, default=None
        "one-vs-all": binary cross-entropy over the pool for the classifier, its rows then not
        scaled to length 1: scores of labels that no text has taught do not compare to the others'.
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
        Labels picked a step, at most. None: 2048 (pretrained: 256).
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
    encode_batch_size : int, default=None
        Texts of the greatest length that are embedded at once, and more of shorter ones: memory,
        not the loss (that is `batch_size`). None: all (pretrained: 64).
    epochs : int, default=None
        Passes over the training texts. None: with the embedded encoder as many as a text has
        labels, in the mean, from 4 to 8; 5 with a pretrained one.
    batch_size : int, default=None
        Texts a step. None: 512 (pretrained: 64), less where an epoch would have fewer than 50
        steps.
    learning_rate : float, default=None
        Of the encoder: AdamW, or row-wise Adagrad for the bag. None: 0.05 (pretrained: 5e-5).
    weight_decay : float, default=0.01
        Of the encoder under AdamW, and of the classifier.
    classifier_learning_rate : float, default=None
        Of the classifier's rows, the projections and the temperature: Adam, on the rows that were
        picked. None: 0.01 (pretrained: 0.001).
    lexical_learning_rate : float, default=None
        Of the words' weights: plain SGD on the loss of one text. A label has a weight for every
        word of its own text and of its training texts (of a label with more than 10, of two at
        least); they add to the classifier's score by the text's TF-IDF weights. 0: no such
        weights. None: 5 with the embedded encoder, 0 with a pretrained one, whose tokens are no
        words.
    warmup_fraction : float, default=0.05
        Share of the steps over which the learning rates rise; then they fall along a cosine.
    max_grad_norm : float, default=None
        Clip the encoder's gradient to this norm; None: no clipping.
    dropout : float, default=None
        On the text's embedding, in [0, 1). None: 0.3 (pretrained: 0.1).
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
    lexicon_ : dict of str to ndarray
        The words' weights, one row a label in CSR's form: "offsets" of shape (n_labels + 1,),
        "words", and two values at each place, "learnt" and "of_label_texts", of shape (n_pairs,)
        each, and "n_words"; empty where there are none.
    temperature_ : float
        What cosines were divided by.
    encoder_ : encoder object
        The fitted encoder.
    history_ : list of dict
        Per epoch: mean loss a text (on sampled steps), seconds, share of padding (padded encoders),
        "without_positive", the share of texts none of whose labels was picked, and validation score
        (early stopping).
    n_iter_ : int
        Epochs run.
    n_samples_seen_ : int
        Training texts given; over all calls of `partial_fit`.

    Notes
    -----
    The paper's code does not run as it was published, and its hyper-parameters are not known for
    every set. What had to be decided, each choice measured in ``benchmarks/unidec_choices.py``
    where it says so:

    - The pool is filled in the paper's order: drawn positives, mined negatives, the other
      positives, each kind by how many texts ask for a label. Random labels come last
      (measured).
    - Positives are drawn without replacement; with it, as in the code, a text asks twice for one.
    - The classifier is trained by cosines, too. The code trains products and ranks by cosines.
    - Projections begin as the identity (narrower or wider ones: orthogonal), not at random, so that
      a pretrained encoder's neighbours are neighbours from the first step (measured).
    - Batches of clusters have one size; the code's vary by a factor of two (measured).
    - Mining ranks by the mean of both views; the code by the label texts alone.
    - Rows that were not picked keep Adam's moments; only weight decay, applied late but exactly,
      reaches them. The code updates all rows in every step.
    - With the embedded encoder both views share one space, and prediction searches one vector a
      label, and its words: a second, sparse inner product.
    - Random labels in the pool are half as many as the batch's own (64 at least), not as many as
      fit: on a CPU a step costs what its pool does.
    - The words' weights are not in the paper; XR-Transformer [2]_ ranks by TF-IDF features beside
      an embedding, too. ``docs/lexical.md`` tells what they are worth.
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

    _has_rows: ClassVar[bool] = True
    _memory_savers: ClassVar[tuple[str, ...]] = ("encode_batch_size", "batch_size", "pool_size")
    _defaults: ClassVar[Mapping[str, Any]] = {
        "epochs": range(4, 9),
        "batch_size": 512,
        "learning_rate": 0.05,
        "classifier_learning_rate": 0.01,
        "dropout": 0.3,
        "temperature": 0.09,
        "pool_size": 2048,
        "lexical_learning_rate": 5.0,
        "encode_batch_size": None,
    }
    _pretrained_defaults: ClassVar[Mapping[str, Any]] = {
        "epochs": 5,
        "batch_size": 64,
        "learning_rate": 5e-5,
        "classifier_learning_rate": 1e-3,
        "dropout": 0.1,
        "temperature": 1 / 18,
        "pool_size": 256,
        "lexical_learning_rate": 0.0,
        "encode_batch_size": 64,
    }

    def __init__(
        self,
        encoder: Any = "bag",
        *,
        label_texts: Any = None,
        loss: str = "decoupled-softmax",
        classifier_loss: str | None = None,
        dual_weight: float = 0.5,
        both_directions: bool = True,
        temperature: float | None = None,
        learn_temperature: bool = False,
        projection_dim: Any = "auto",
        negatives: str = "random",
        batches: str = "random",
        pool_size: int | None = None,
        positives_per_text: int = 3,
        negatives_per_text: int = 6,
        mining_interval: int = 2,
        dual_score_weight: Any = "auto",
        encode_batch_size: int | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        weight_decay: float = 0.01,
        classifier_learning_rate: float | None = None,
        lexical_learning_rate: float | None = None,
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
        self.classifier_loss = classifier_loss
        self.dual_weight = dual_weight
        self.both_directions = both_directions
        self.temperature = temperature
        self.learn_temperature = learn_temperature
        self.projection_dim = projection_dim
        self.negatives = negatives
        self.batches = batches
        self.pool_size = pool_size
        self.positives_per_text = positives_per_text
        self.negatives_per_text = negatives_per_text
        self.mining_interval = mining_interval
        self.dual_score_weight = dual_score_weight
        self.encode_batch_size = encode_batch_size
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.classifier_learning_rate = classifier_learning_rate
        self.lexical_learning_rate = lexical_learning_rate
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
        check_choice("loss", self.loss, tuple(_LOSSES))
        check_choice("classifier_loss", self.classifier_loss, (None, "one-vs-all"))
        check_choice("negatives", self.negatives, ("random", "mined"))
        check_choice("batches", self.batches, ("random", "clustered"))
        check_real("dual_weight", self.dual_weight, high=1)
        if self.dual_score_weight != "auto":
            check_real("dual_score_weight", self.dual_score_weight, high=1)
        for name in ("temperature", "classifier_learning_rate"):
            if getattr(self, name) is not None:
                check_real(name, getattr(self, name), ends="(]")
        if self.lexical_learning_rate is not None:
            check_real("lexical_learning_rate", self.lexical_learning_rate)
        for name in ("both_directions", "learn_temperature"):
            check_choice(name, getattr(self, name), (True, False))
        for name in ("pool_size", "encode_batch_size"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), 1)
        if self.projection_dim not in ("auto", None):
            check_integer("projection_dim", self.projection_dim, 1)
        for name in ("positives_per_text", "negatives_per_text", "mining_interval"):
            check_integer(name, getattr(self, name), 1)

    def _make_step(self, setup: TrainingSetup) -> tuple[Step, TrainingRows]:
        tokens, settings = setup.label_tokens, setup.settings
        assert tokens is not None  # _check_label_texts
        assert setup.label_texts is not None
        if setup.fitted is None:
            is_known = (tokens.lengths > 0) | self._taught(setup).numpy()
            warn_of_empty(is_known, setup.label_texts)
        heads = self._initial_heads(setup)
        if settings["classifier_learning_rate"] * self.weight_decay >= 1:
            raise ValueError(
                f"classifier_learning_rate={settings['classifier_learning_rate']} times "
                f"weight_decay={self.weight_decay} is 1 or more: a step would decay the "
                f"classifier's rows to nothing. Lower one of them."
            )
        self._runtime = {"heads": heads}
        log_scale = nn.Parameter(
            torch.tensor(self._initial_log_scale(setup), device=setup.device),
            requires_grad=self.learn_temperature,
        )
        step = UniDECStep(
            setup.module,
            tokens,
            heads,
            self._initial_classifier(setup, heads),
            setup.rows,
            partial(self._shortlists, setup.module),
            np.random.default_rng(setup.generator.initial_seed()),
            sampling=Sampling(
                self.batches,
                self.negatives,
                settings["pool_size"],
                self.positives_per_text,
                self.negatives_per_text,
                self.mining_interval,
            ),
            loss=_LOSSES[self.loss],
            is_one_vs_all=self.classifier_loss == "one-vs-all",
            both_directions=self.both_directions,
            dual_weight=self.dual_weight,
            log_scale=log_scale,
            dropout=settings["dropout"],
            lexicon=self._initial_lexicon(setup),
            is_taught=self._taught(setup),
            weights=self._first_weights(setup),
            classifier_learning_rate=settings["classifier_learning_rate"],
            weight_decay=self.weight_decay,
            encode_batch_size=settings["encode_batch_size"],
            dtype=setup.dtype,
        )
        return step, setup.rows

    def _own_memory(self, setup: TrainingSetup, settings: Mapping[str, Any]) -> Memory:
        """The rows and Adam's moments are the host's; all else is where the encoder is."""
        n_labels, dim = setup.rows.Y.shape[1], self._projection_dim(setup)
        rows = 4 * n_labels * (settings["dim"] if dim is None else dim)
        table = rows if dim is None else 2 * rows
        batch_size, pool_size = settings["batch_size"], min(settings["pool_size"], n_labels)
        activations = 4 * 4 * batch_size * pool_size
        activations += self._embedding_bytes(setup, settings, batch_size, pool_size)
        device = {"activations": activations, "published": self._search_bytes(n_labels)}
        if setup.device.type != "cpu":
            device["published"] += 2 * rows + table
        host = {
            "weights": rows,
            "optimizer": 2 * rows,
            "copies": 3 * rows * settings["early_stopping"],
            "published": 2 * rows + table,  # the two halves, and both joined
        }
        if setup.tuning_rows is not None:  # either half joined alone, and all scores of some texts
            n_texts = min(len(setup.tuning_rows), self._tuned_at_once(n_labels))
            host["published"] += 2 * table + 2 * 16 * n_texts * n_labels
        if settings["lexical_learning_rate"] and getattr(setup.encoder, "n_words", 0):
            n_pairs = setup.word_pairs.nnz
            host["weights"] += 12 * n_pairs  # a word, what it has learnt, and what its text says
            host["copies"] += 4 * n_pairs * settings["early_stopping"]
            host["published"] += 16 * n_pairs  # the words again, and both kinds of weights joined
        return Memory(device, host)

    def _projection_dim(self, setup: TrainingSetup) -> int | None:
        if self.projection_dim != "auto":
            return self.projection_dim
        return setup.module.dim if setup.encoder.is_pretrained else None

    def _initial_heads(self, setup: TrainingSetup) -> Heads:
        heads = Heads(setup.module.dim, self._projection_dim(setup))
        if setup.fitted is None:
            heads.begin_()
        else:
            weights = _tensors(setup.fitted.head_weights_)
            if _shapes(weights) != _shapes(heads.state_dict()):
                raise ValueError(
                    f"projection_dim={self.projection_dim!r} differs from that of the fitted "
                    f"projections, {_shapes(weights)}, that training would go on from. Set it "
                    f"back, or fit anew with warm_start=False."
                )
            heads.load_state_dict(weights)
        return heads.to(setup.device)

    def _first_weights(self, setup: TrainingSetup) -> ScoreWeights:
        """The weights of the score's parts, until `_tune` has looked at held-out texts."""
        if setup.fitted is not None:
            weights = ScoreWeights(
                setup.fitted.dual_score_weight_, *setup.fitted.word_score_weights_.tolist()
            )
        else:
            # a view that is not trained is not to be asked
            dual = float(self.dual_weight) if self.dual_weight in (0, 1) else 0.35
            weights = ScoreWeights(dual, 1 - dual, 0.2)
        if self.dual_score_weight != "auto":
            weights = weights._replace(dual=float(self.dual_score_weight))
        return weights

    def _initial_lexicon(self, setup: TrainingSetup) -> Lexicon | None:
        """Weights of 0, or the fitted ones."""
        rate = setup.settings["lexical_learning_rate"]
        if not rate:
            return None
        if not getattr(setup.encoder, "n_words", 0):
            raise ValueError(
                f"lexical_learning_rate={rate}, but {setup.encoder!r} has no words to weigh. "
                f"Pass lexical_learning_rate=0, or encoder='bag'."
            )
        earlier = None if setup.fitted is None else _as_csr(setup.fitted.lexicon_, "learnt")
        return Lexicon.of_training(setup.word_pairs, rate, earlier)

    def _taught(self, setup: TrainingSetup) -> Tensor:  # (n_labels,) bool
        counts = np.bincount(setup.rows.Y.indices, minlength=setup.rows.Y.shape[1])
        is_taught = counts > 0
        return torch.from_numpy(
            is_taught if setup.fitted is None else is_taught | setup.fitted._is_taught
        )

    def _initial_log_scale(self, setup: TrainingSetup) -> float:
        if setup.fitted is not None and self.learn_temperature:
            return -math.log(setup.fitted.temperature_)
        return -math.log(setup.settings["temperature"])

    def _initial_classifier(self, setup: TrainingSetup, heads: Heads) -> Tensor:
        """Random rows, or the fitted ones; rows of 0 are those that `add_labels` added."""
        rows = torch.randn(setup.rows.Y.shape[1], heads.dim) / heads.dim**0.5
        if setup.fitted is not None:
            fitted = as_read_only_tensor(setup.fitted.classifier_weights_)
            rows = torch.where(fitted.any(1, keepdim=True), fitted, rows)
        return rows

    def _publish(self, setup: TrainingSetup, step: Step, history: History) -> None:
        assert isinstance(step, UniDECStep)
        self._is_taught = step.is_taught.numpy()
        self.dual_score_weight_ = step.weights.dual
        self.word_score_weights_ = np.array(step.weights[1:])
        self.lexicon_ = _lexicon_arrays(step.lexicon)
        self.head_weights_ = {k: v.cpu().numpy() for k, v in step.heads.state_dict().items()}
        self.classifier_weights_ = step.classifier_rows().cpu().numpy()
        self.temperature_ = float((-step.log_scale.detach()).exp())
        super()._publish(setup, step, history)

    def _final_table(self, step: UniDECStep) -> NDArray[np.float32]:
        rows = step.classifier_rows().cpu()
        if not step.is_one_vs_all:
            rows = unit_rows(rows)
        self._halves = step.label_text_vectors().cpu(), rows
        return self._joined(self.dual_score_weight_)

    def _joined(self, weight: float) -> NDArray[np.float32]:
        """`label_embeddings_`, with this weight of the label-text half."""
        is_taught, is_shared = torch.from_numpy(self._is_taught), not self.head_weights_
        table: NDArray[np.float32] = joined_halves(
            *self._halves, is_taught, weight, is_shared=is_shared
        ).numpy()
        return table

    def _tune(self, setup: TrainingSetup) -> None:
        if setup.tuning_rows is not None:
            self._tune_score_weights(setup.tuning_rows)
        del self._halves
        super()._tune(setup)

    def _tune_score_weights(self, rows: TrainingRows) -> None:
        """The weights of the score's parts that rank held-out texts best, by nDCG@5."""
        start = ScoreWeights(self.dual_score_weight_, *self.word_score_weights_.tolist())
        grids = dict(_SCORE_WEIGHTS)
        if self.dual_score_weight != "auto":
            del grids["dual"]
        if not self.lexicon_:
            del grids["lexical"], grids["label_words"]
        if not grids:
            return
        views = [self._part_weights(weights) for weights in _views(start)]
        found = candidates_of(self._score_parts(rows), views, _CANDIDATES_A_VIEW)

        def ndcg(weights: Mapping[str, float]) -> float:
            parts = self._part_weights(ScoreWeights(**weights))
            with np.errstate(invalid="ignore"):  # 0 times -inf: excluded
                scores = np.tensordot(parts, found.parts, 1)
            return self._ndcg(found.labels, scores, rows)

        weights = ScoreWeights(**best_weights(start._asdict(), grids, ndcg, least_gain=_LEAST_GAIN))
        self.dual_score_weight_, self.word_score_weights_ = weights.dual, np.array(weights[1:])
        self.label_embeddings_ = self._joined(weights.dual)
        self._runtime.pop("table", None)

    def _part_weights(self, weights: ScoreWeights) -> NDArray[np.float32]:
        """Of what `_score_parts` gives."""
        dual, lexical, label_words = weights
        of_words = (lexical * self.temperature_, label_words) if self.lexicon_ else ()
        return np.array([dual, 1 - dual, *of_words], np.float32)

    def _score_parts(self, rows: TrainingRows) -> Iterator[NDArray[np.float32]]:
        """All parts of all labels' scores, (n_parts, n_rows, n_labels), some texts at a time.

        A part that a label lacks is the other half's, as in `joined_halves`.
        """
        module, _ = self._torch_model()
        tables = [torch.from_numpy(self._joined(weight)) for weight in (1.0, 0.0)]
        words = [_as_csr(self.lexicon_, kind) for kind in ("learnt", "of_label_texts")]
        is_last = ~has_values(tables[0]).numpy()
        n_at_once = self._tuned_at_once(self.n_labels_)
        for start in range(0, len(rows), n_at_once):
            places = np.arange(start, min(start + n_at_once, len(rows)))
            part = rows.take(places)
            embeddings = torch.from_numpy(self._embed(module, part.tokens))
            block = [embeddings @ table.T for table in tables]
            for weights in words if self.lexicon_ else ():
                added = SearchTable(tables[0], None, weights).word_scores(part.tokens)
                assert added is not None
                block.append(added(0, self.n_labels_))
            scores = torch.stack(block).numpy()
            scores[:, :, is_last] = UNSEEN_SCORE
            if part.exclude is not None:
                scores[:, *part.exclude.nonzero()] = -np.inf
            yield scores

    @staticmethod
    def _tuned_at_once(n_labels: int) -> int:
        """Texts whose parts are held at once: all tables are read for them, so never just a few."""
        return max(_SCORES_AT_ONCE // (4 * n_labels), _LEAST_TEXTS_AT_ONCE)

    def _ndcg(
        self, labels: NDArray[np.int64], scores: NDArray[np.float32], rows: TrainingRows
    ) -> float:
        scores = np.where(labels < 0, -np.inf, scores)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :5]
        labels = np.where(
            np.isfinite(np.take_along_axis(scores, best, 1)),
            np.take_along_axis(labels, best, 1),
            -1,
        )
        ranks = np.broadcast_to(np.arange(best.shape[1], 0, -1, dtype=np.float32), best.shape)
        weights = rows.sample_weight
        if weights is not None and not weights.any():
            weights = None
        metrics = ranking_metrics(
            rows.Y,
            self._as_csr(labels, ranks, np.float32),
            exclude=rows.exclude,
            sample_weight=weights,
        )
        return metrics["nDCG@5"]

    def _label_words(self) -> sp.csr_array | None:
        if not self.lexicon_:
            return None
        weights = ScoreWeights(self.dual_score_weight_, *self.word_score_weights_.tolist())
        pattern = _as_csr(self.lexicon_, "of_label_texts")
        return joined_words(pattern, self.lexicon_["learnt"], weights, self.temperature_)

    def _heads(self, device: torch.device) -> Heads:
        """The heads, built when first needed."""
        if "heads" not in self._runtime:
            state = _tensors(self.head_weights_)
            shape = state["of_classifier.weight"].shape if state else (None, 0)
            heads = Heads(shape[1], shape[0])
            heads.load_state_dict(state)
            self._runtime["heads"] = heads
        return self._runtime["heads"].to(device)

    def _text_embeddings(self, embeddings: Tensor) -> Tensor:
        return self._heads(embeddings.device).text_rows(embeddings.float())

    def _label_rows(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """A label that no text has taught: its text alone."""
        if self.head_weights_:
            embeddings[:, embeddings.shape[1] // 2 :] = 0
        return embeddings

    def _grown(self, texts: list[str]) -> dict[str, Any]:
        n_new = len(texts)
        shape = (n_new, self.classifier_weights_.shape[1])
        return {
            "classifier_weights_": np.concatenate(
                [self.classifier_weights_, np.zeros(shape, np.float32)]
            ),
            "_is_taught": np.concatenate([self._is_taught, np.zeros(n_new, bool)]),
            "lexicon_": self._grown_lexicon(texts),
        }

    def _grown_lexicon(self, texts: list[str]) -> dict[str, NDArray[Any]]:
        """Labels of which nothing is learnt but what their texts say."""
        if not self.lexicon_:
            return {}
        tokens, old = self.encoder_.tokenize(texts), self.lexicon_
        return old | {
            "offsets": np.concatenate([old["offsets"], old["offsets"][-1] + tokens.offsets[1:]]),
            "words": np.concatenate([old["words"], tokens.ids.astype(old["words"].dtype)]),
            "learnt": np.concatenate([old["learnt"], np.zeros(len(tokens.ids), np.float32)]),
            "of_label_texts": np.concatenate([old["of_label_texts"], tokens.weights]),
        }

    def _score_scale(self) -> float:
        return 1 / self.temperature_


def _views(weights: ScoreWeights) -> list[ScoreWeights]:
    """Weights that rank labels differently: whatever is best ranks high what one of them does."""
    return [
        weights,
        ScoreWeights(1, 0, 0),
        ScoreWeights(0, 1, 0),
        ScoreWeights(1, 0, 1),
        ScoreWeights(1, 3, 2),
    ]


def _lexicon_arrays(lexicon: Lexicon | None) -> dict[str, NDArray[Any]]:
    """As CSR, with two values at each place; nothing where there is no lexicon."""
    if lexicon is None:
        return {}
    table = lexicon.of_label_texts
    return {
        "offsets": table.indptr.astype(np.int64),
        "words": table.indices.astype(np.int32),
        "of_label_texts": table.data,
        "learnt": lexicon.learnt.numpy(),
        "n_words": np.array(table.shape[1]),
    }


def _as_csr(lexicon: Mapping[str, NDArray[Any]], kind: str) -> sp.csr_array | None:
    """The lexicon with one kind of its values, (n_labels, n_words)."""
    if not lexicon:
        return None
    shape = (len(lexicon["offsets"]) - 1, int(lexicon["n_words"]))
    return sp.csr_array((lexicon[kind], lexicon["words"], lexicon["offsets"]), shape)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _tensors(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    return {name: torch.tensor(array) for name, array in arrays.items()}
