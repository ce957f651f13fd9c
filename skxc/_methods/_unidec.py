"""UniDEC: a dual encoder and a classifier trained together, on picked labels (WWW 2025)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skxc import _distributed as processes
from skxc._data._batches import Batch
from skxc._data._tokens import TokenStore
from skxc._functional._backward import backward
from skxc._functional._dropout import dropout_mask
from skxc._functional._losses import Softmax, make_loss
from skxc._functional._pool_step import (
    PoolGradients,
    one_vs_all_pool_step,
    softmax_pool_step,
    with_mean_one_vs_all,
)
from skxc._kernels import to_device
from skxc._search._explaining import Part
from skxc._search._ranker import LabelTable, Ranker, as_read_only_tensor
from skxc._training._loop import check_finite
from skxc._training._memory import Memory
from skxc._training._optim import adam_with_state
from skxc._training._row_adam import RowAdam
from skxc._training._setup import TrainingSetup
from skxc._training._state import joined_rows, split_rows
from skxc.encoders._base import EncoderModule

from ._attributes import Check, a_number, a_positive_number, an_array
from ._clusters import balanced_clusters
from ._heads import Heads, heads_attribute, text_head
from ._lexical_weights import LexicalWeights, as_csr, with_new_labels, words_attribute
from ._method import Ended, seen_labels
from ._pools import draw_negatives, draw_positives, fill_pool, pairs_in_pool, pick_some_labels
from ._two_towers import TwoTowerMethod, warn_of_unknown_words
from ._unidec_memory import labels_memory
from ._unidec_parts import unidec_parts
from ._unidec_score import ScoreParts, ScoreWeights, joined_words
from ._unidec_start import (
    UniDECSettings,
    check_decay,
    fitted_weights,
    initial_classifier,
    initial_heads,
    initial_log_scale,
    initial_weights,
    initial_words,
)
from ._unidec_views import OutputGradients, PickedLabels, PoolShare, View, WordScores

# what cosines of a joined encoder's vectors are divided by, in units of the bag's temperature: as
# the defaults of pretrained encoders are to the bag's
_VECTORS_TEMPERATURE = 0.6
_VECTORS_DROPOUT = 1 / 3  # likewise
# random labels in a pool: so many to each of the batch's own, and at the least
_RANDOM_PER_LABEL = 0.5
_LEAST_RANDOM = 64


class UniDECMethod(TwoTowerMethod[UniDECSettings]):
    """One pool of labels, two losses over it: of the label texts, and of the classifier's rows."""

    Settings = UniDECSettings
    attributes: ClassVar[Mapping[str, Check]] = {
        "head_weights_": heads_attribute,
        "label_embeddings_": an_array(np.float32, "n_labels", "width"),
        "classifier_weights_": an_array(np.float32, "n_labels", "dim"),
        "lexical_weights_": words_attribute,
        "temperature_": a_positive_number,
        "dual_score_weight_": a_number(0, 1),
        "word_score_weights_": an_array(np.float64, 2),
        "vector_score_weight_": a_number(0, 8),
        "vector_dual_score_weight_": a_number(0, 1),
    }
    _of_rows = frozenset({"first_moment", "second_moment", "n_updates", "row_log_decay"})
    sharded = _of_rows | {"classifier", "words"}

    def __init__(
        self,
        setup: TrainingSetup[UniDECSettings],
        *,
        heads: Heads,
        classifier: Tensor,  # (n_own_labels, dim), updated in place; on the GPU or on the host
        words: LexicalWeights | None,  # the classifier's lexical half
        log_scale: nn.Parameter,  # of 1 / temperature
        is_seen: NDArray[np.bool_],  # (n_labels,) some training text has or had the label
        weights: ScoreWeights,  # in validation and mining
    ) -> None:
        super().__init__(setup)
        settings = self.settings
        self.heads, self.classifier, self.words = heads, classifier, words
        self.log_scale, self.is_seen, self.weights = log_scale, is_seen, weights
        rate, paper = settings.classifier_learning_rate, settings.paper
        self.optimizer = RowAdam(
            [classifier], rate, eps=paper.adam_epsilon, weight_decay=settings.weight_decay
        )
        of_heads = {"params": [*heads.parameters()], "lr": paper.head_learning_rate or rate}
        self.head_optimizer = adam_with_state(
            [
                of_heads | {"weight_decay": paper.head_weight_decay},
                {"params": [log_scale], "lr": rate},
            ],
            paper.adam_epsilon,
        )
        self.dual_step: Callable[..., PoolGradients] = partial(
            softmax_pool_step,
            loss=cast(Softmax, make_loss(settings.loss, settings)),
            both_directions=settings.both_directions,
        )
        self.is_one_vs_all = settings.classifier_loss == "one-vs-all"
        self.classifier_step = one_vs_all_pool_step if self.is_one_vs_all else self.dual_step
        if paper.one_vs_all_weight:
            self.classifier_step = with_mean_one_vs_all(
                self.classifier_step, paper.one_vs_all_weight
            )
        self.temperature: float | Tensor = 1 / float(log_scale.detach().exp())
        self.candidates = np.arange(len(is_seen))
        self.clusters: list[NDArray[np.int64]] | None = None
        self.n_texts = self.n_dropped = 0

    # --------------------------------------------------------------------------------------- step
    def __call__(self, batch: Batch, rate: float, *, with_loss: bool) -> Tensor | None:
        """One step of both heads over one pool: the mean loss a text where `with_loss`."""
        picked = self._pick(batch)
        tokens = picked.batch.tokens
        self.n_texts += len(batch)
        self.n_dropped += len(batch) - len(tokens)
        self.is_idle = not len(tokens)
        if self.is_idle:
            return torch.zeros(()) if with_loss else None
        places = PoolShare.of(picked.pool, len(self.is_seen))
        ids = torch.from_numpy(picked.pool[places.own] - self.own.start)
        ids = to_device(ids, self.classifier.device)
        self.optimizer.apply_pending_decay_(self.classifier, ids)
        rows = to_device(self.classifier[ids], self.device)
        rows = processes.all_gather_rows(rows, places.sizes).requires_grad_()
        encoding = self._encoding(
            TokenStore.concatenate([tokens, self.label_tokens.take(picked.pool)])
        )
        embeddings = encoding.embeddings.requires_grad_()
        words = self._word_scores(tokens, places, picked.pool)
        parts = embeddings.split([len(tokens), len(picked.pool)])
        w, known = self.settings.dual_weight, OutputGradients([], [])
        loss = embeddings.new_zeros(())
        for dual, classifier in self._views(parts[0], parts[1], rows, words):
            loss += w * self._loss(dual, self.dual_step, picked, w, known)
            loss += (1 - w) * self._loss(classifier, self.classifier_step, picked, 1 - w, known)
        backward(*known)
        assert embeddings.grad is not None
        encoding.backward(embeddings.grad)
        # with dual_weight=1 the rows have no gradient
        by_rows = torch.zeros_like(rows) if rows.grad is None else rows.grad
        self._update(ids, by_rows[places.own], rate)
        if self.words is not None and words is not None:  # a text each, not their mean
            self.words.step_(rate * (1 - w) * len(tokens))
        return loss if with_loss else None

    def _pick(self, batch: Batch) -> PickedLabels:
        """The pool (PSL), and by the full ground truth what is whose positive in it."""
        settings, positives, hard = self.settings, batch.positives, np.empty(0, np.int64)
        drawn = draw_positives(positives, settings.positives_per_text, self.rng)
        if self.shortlists is not None:
            shortlists = self.shortlists[batch.index]
            hard = draw_negatives(shortlists, settings.negatives_per_text, self.rng)
        pool = pick_some_labels(positives, drawn, hard, settings.pool_size)
        if settings.paper.random_labels:
            n_random = max(math.ceil(_RANDOM_PER_LABEL * len(pool)), _LEAST_RANDOM)
            n_filled = min(len(pool) + n_random, settings.pool_size)
            pool = fill_pool(pool, self.candidates, n_filled, self.rng)
        kept, _ = pairs_in_pool(positives, pool)
        texts = np.unique(positives.rows[kept])
        if len(texts) < len(batch):
            batch = self.rows.batch(batch.index[texts])
        return PickedLabels(
            batch,
            pool,
            self._positives_in(batch.positives, pool),
            self._ignored_in(batch.ignored, pool),
            self._sample_weight(batch),
        )

    def _views(
        self, raw_texts: Tensor, raw_labels: Tensor, rows: Tensor, words: WordScores | None
    ) -> Iterator[tuple[View, View]]:
        """What the label-text head sees, and what the classifier's sees, in each view.

        Each view has losses of its own: the better one does not keep the other from learning.
        """
        paper, heads = self.settings.paper, self.heads
        drop = partial(self._dropped, rate=paper.head_dropout)
        texts = heads.label_text_space(raw_texts, drop)
        mask = self._dropout_mask(texts)
        texts = of_classifier = texts * mask
        if not heads.is_shared:
            of_classifier = heads.classifier_space(raw_texts, drop) * mask
        labels = heads.label_text_space(raw_labels, drop)
        rows = self._dropped(rows, rate=paper.row_dropout)
        rows = rows if self.is_one_vs_all else heads.units(rows)
        parts = (p.split(heads.views, 1) for p in (texts, labels, of_classifier, rows))
        for i, (of_texts, of_labels, seen, of_rows) in enumerate(zip(*parts, strict=True)):
            scale = _VECTORS_TEMPERATURE if i else 1.0
            yield View(of_texts, of_labels, scale), View(seen, of_rows, scale, None if i else words)

    def _dropped(self, vectors: Tensor, rate: float) -> Tensor:
        return vectors * dropout_mask(vectors, rate, self.generator) if rate else vectors

    def _dropout_mask(self, texts: Tensor) -> Tensor:
        """Of a joined encoder less for the vectors: fewer of their numbers say the same."""
        parts, rates = texts.split(self.heads.views, 1), (1.0, _VECTORS_DROPOUT)
        masks = [
            dropout_mask(part, self.settings.dropout * rate, self.generator)
            for part, rate in zip(parts, rates, strict=False)
        ]
        return torch.cat(masks, 1)

    def _word_scores(
        self, tokens: TokenStore, places: PoolShare, pool: NDArray[np.int64]
    ) -> WordScores | None:
        if self.words is None or self.settings.dual_weight == 1:
            return None
        texts = tokens.as_csr(self.words.of_label_texts.shape[1])
        own = self.words.scores(texts, pool[places.own] - self.own.start).to(self.device)
        of_pool = processes.all_gather_rows(own.detach(), places.sizes)
        return WordScores(of_pool, own, places.own)

    def _loss(
        self,
        view: View,
        step: Callable[..., PoolGradients],
        picked: PickedLabels,
        weight: float,
        known: OutputGradients,  # the weighted loss's gradients are added
    ) -> Tensor:
        """One view's loss over the pool."""
        if weight == 0:
            return view.texts.new_zeros(())
        by = step(
            view.texts,
            view.labels,
            picked.positives,
            temperature=self.temperature * view.temperature_scale,
            ignored=picked.ignored,
            sample_weight=picked.sample_weight,
            added=None if view.words is None else view.words.of_pool,
        )
        known.add(view.texts, weight * by.texts)
        known.add(view.labels, weight * by.labels)
        if view.words is not None:  # unweighted: the learning rate of the words is weighted
            known.add(view.words.of_own, by.scores[view.words.own])
        if self.log_scale.requires_grad:  # scores are linear in the scale
            by_scale = weight * (by.texts * view.texts.detach()).sum()
            known.add(self.log_scale, by_scale.to(self.log_scale))
        return by.loss

    def _update(self, ids: Tensor, gradient: Tensor, rate: float) -> None:
        """Step what the loop does not: the picked rows, the heads and the temperature."""
        self.optimizer.param_groups[0]["lr"] = self.settings.classifier_learning_rate * rate
        self.optimizer.step_rows_(self.classifier, ids, gradient, is_ascending=True)
        if self.head_optimizer is not None:
            for group in self.head_optimizer.param_groups:
                group["lr"] = group["full_lr"] * rate
            self.head_optimizer.step()
            self.head_optimizer.zero_grad()
            if self.log_scale.requires_grad:  # a tensor: a GPU is not waited for
                self.temperature = 1 / self.log_scale.detach().exp()

    # -------------------------------------------------------------------------------------- epoch
    def begin_epoch(self, epoch: int) -> None:
        """Mine hard negatives and cluster the texts, in the epochs where that is due."""
        settings = self.settings
        self.n_texts = self.n_dropped = 0
        if epoch == 0 or epoch % settings.mining_interval:
            return
        if settings.negatives == "mined" and settings.pool_size < len(self.candidates):
            self._mine()
        if settings.batches == "clustered":
            self.clusters = []  # made by `batches`, which knows their size
            self.module.eval()
            self._embedded = torch.from_numpy(self.ranker().embed(self.rows.tokens))
            self.module.train()

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

    # -------------------------------------------------------------------------------------- state
    def state(self) -> dict[str, Tensor]:
        """Encoder, heads, classifier and temperature."""
        heads = {f"heads.{k}": v for k, v in self.heads.state_dict().items()}
        own = {"classifier": self.classifier, "log_scale": self.log_scale.data}
        if self.words is not None:
            own["words"] = self.words.learnt
        return super().state() | heads | own | self.optimizer_state()

    def optimizer_state(self) -> dict[str, Tensor]:
        """Adam's, of the classifier's rows and of the heads."""
        states = [] if self.head_optimizer is None else self.head_optimizer.state.values()
        of_heads = {f"head{i}.{k}": v for i, state in enumerate(states) for k, v in state.items()}
        return of_heads | dict(self.optimizer.state[self.classifier])

    def sampling_state(self) -> dict[str, Any]:
        """Likewise, the clusters, and what the epoch has counted so far."""
        return super().sampling_state() | {
            "clusters": self.clusters and joined_rows(self.clusters),
            "counts": [self.n_texts, self.n_dropped],
            "temperature": self.temperature,
        }

    def restore_sampling(self, state: Mapping[str, Any]) -> None:
        """Set them."""
        super().restore_sampling(state)
        self.clusters = state["clusters"] and split_rows(state["clusters"])
        self.n_texts, self.n_dropped = state["counts"]
        temperature = state["temperature"]  # a number until the first step of a learnt one
        is_learnt = isinstance(temperature, np.ndarray)
        self.temperature = torch.tensor(temperature).to(self.device) if is_learnt else temperature

    # ---------------------------------------------------------------------------------- the model
    @torch.no_grad()
    def _score_parts(self, device: torch.device) -> ScoreParts:
        """What scores are made of, as it is now."""
        self.optimizer.flush()
        rows, temperature = self.classifier.to(device), float((-self.log_scale.detach()).exp())
        if self.words is not None:
            learnt = self.words.learnt.numpy()
            with np.errstate(over="ignore"):
                for values in (learnt, learnt * np.float32(temperature)):
                    check_finite(values)
        return ScoreParts(
            self.heads.label_text_space(self._embed_labels()).to(device),
            rows if self.is_one_vs_all else self.heads.units(rows),
            torch.from_numpy(self.is_seen[self.own]).to(device),
            self.heads.is_shared,
            self.words,
            temperature,
            self.heads.views[0] if len(self.heads.views) > 1 else None,
        )

    def ranker(self) -> Ranker:
        """Both views of every label, weighted, and its words."""

        def table() -> LabelTable:
            parts = self._score_parts(self.device)
            rows = parts.rows(self.weights.dual, self.weights.vectors_dual)
            return LabelTable.of(rows, parts.word_table(self.weights))

        return self._ranker_of(table, self.weights)

    def _ranker_of(self, table: Callable[[], LabelTable], weights: ScoreWeights) -> Ranker:
        head = text_head(self.heads, weights.vectors)
        return Ranker(self.module, head, table, self.dtype).of_shares(len(self.is_seen))

    def end(self, setup: TrainingSetup[UniDECSettings]) -> Ended:
        """Likewise, weighted by what ranks held-out texts best."""
        parts, weights = self._score_parts(torch.device("cpu")), self.weights
        heads, classifier = self.heads.arrays(), self.classifier.cpu().numpy()
        halves = (parts.label_texts.numpy(), parts.classifier.numpy())
        for array in (*halves, classifier, *heads.values()):
            check_finite(array)
        if setup.tuning_rows is not None:
            is_dual_fixed = self.settings.dual_score_weight != "auto"
            plain = replace(self.ranker(), head=self.heads)
            weights = parts.tuned_weights(
                weights, plain.embed, setup.tuning_rows, is_dual_fixed=is_dual_fixed
            )
        rows = parts.rows(weights.dual, weights.vectors_dual)
        arrays = self._common_arrays(setup) | {
            "label_embeddings_": processes.whole(rows.numpy()),
            "classifier_weights_": processes.whole(classifier),
            "head_weights_": heads,
            "lexical_weights_": {} if self.words is None else self.words.arrays(),
            "temperature_": parts.temperature,
            "dual_score_weight_": weights.dual,
            "word_score_weights_": np.array([weights.lexical, weights.label_words]),
            "vector_score_weight_": weights.vectors,
            "vector_dual_score_weight_": weights.vectors_dual,
        }
        device, words = self.device, parts.word_table(weights)

        def table() -> LabelTable:
            return LabelTable.of(rows.to(device), words)

        return Ended(self._ranker_of(table, weights), arrays, 1 / parts.temperature)

    @classmethod
    def label_rows(
        cls, fitted: Mapping[str, Any], embeddings: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """An unseen label is its text alone."""
        if fitted["head_weights_"]:
            embeddings[:, embeddings.shape[1] // 2 :] = 0
        return embeddings

    @classmethod
    def grown(cls, fitted: Mapping[str, Any], tokens: TokenStore) -> dict[str, Any]:
        """Rows of 0, and the words of the texts."""
        rows = fitted["classifier_weights_"]
        new = np.zeros((len(tokens), rows.shape[1]), np.float32)
        return super().grown(fitted, tokens) | {
            "classifier_weights_": np.concatenate([rows, new]),
            "lexical_weights_": with_new_labels(fitted["lexical_weights_"], tokens),
        }

    @classmethod
    def restored(
        cls, fitted: Mapping[str, Any], module: EncoderModule, dtype: torch.dtype
    ) -> Ranker:
        """From the fitted table, heads and words."""
        device = next(module.parameters()).device
        heads = Heads.of_arrays(fitted["head_weights_"], module.views).to(device)
        rows, lexical = as_read_only_tensor(fitted["label_embeddings_"]), fitted["lexical_weights_"]

        def table() -> LabelTable:
            words = None
            if lexical:
                pattern = as_csr(lexical, "of_label_texts")
                weights = fitted_weights(fitted)
                words = joined_words(pattern, lexical["learnt"], weights, fitted["temperature_"])
            return LabelTable.of(rows.to(device), words)

        head = text_head(heads, fitted["vector_score_weight_"])
        return Ranker(module, head, table, dtype)

    @classmethod
    def score_parts(
        cls, fitted: Mapping[str, Any], ranker: Ranker, labels: NDArray[np.int64]
    ) -> dict[str, Part]:
        """The label's text, its row, and its words."""
        return unidec_parts(fitted, ranker, labels)

    # ------------------------------------------------------------------------- before the training
    @classmethod
    def begin(cls, setup: TrainingSetup[UniDECSettings]) -> Self:
        """Random rows and weights of 0, or the fitted ones."""
        is_seen, tokens = seen_labels(setup.rows, setup.fitted), setup.label_tokens
        assert tokens is not None
        if setup.fitted is None:
            warn_of_unknown_words((tokens.lengths > 0) | is_seen, setup.label_texts or [])
        check_decay(setup.settings)
        heads = initial_heads(setup)
        log_scale = torch.tensor(initial_log_scale(setup), device=setup.device)
        return cls(
            setup,
            heads=heads,
            log_scale=nn.Parameter(log_scale, requires_grad=setup.settings.learn_temperature),
            classifier=initial_classifier(setup, heads.dim),
            words=initial_words(setup),
            is_seen=is_seen,
            weights=initial_weights(setup),
        )

    @classmethod
    def memory(cls, setup: TrainingSetup[UniDECSettings], settings: UniDECSettings) -> Memory:
        """The rows and Adam's moments, a step over the pool, the clusters, and the table."""
        of_labels = labels_memory(setup, settings, partial(cls._search_bytes, setup, settings))
        pool_size = min(settings.pool_size, setup.n_labels)
        step = cls._encoder_bytes(setup, settings, settings.batch_size, pool_size)
        mined = cls._mining_bytes(setup, settings)
        return of_labels + Memory({"activations": step}, {"epoch": mined})
