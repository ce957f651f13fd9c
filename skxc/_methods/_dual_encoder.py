"""DEXML: labels are texts, embedded by the encoder that embeds the texts (ICLR 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skxc import _distributed as processes
from skxc._data._batches import Batch, TrainingRows
from skxc._data._tokens import TokenStore
from skxc._functional._dropout import dropout_mask
from skxc._functional._grad_cache import LabelChunk, two_pass_step
from skxc._functional._losses import check_top_k, make_loss
from skxc._functional._pairs import Pairs, Positives
from skxc._functional._pool_step import dense_pool_step
from skxc._functional._unit_rows import unit_rows
from skxc._search._explaining import Part
from skxc._search._head import LinearHead
from skxc._search._ranker import LabelTable, Ranker, as_read_only_tensor
from skxc._training._loop import check_finite
from skxc._training._memory import Memory
from skxc._training._setup import TrainingSetup
from skxc.encoders._base import EncoderModule

from ._attributes import Check, a_positive_number, an_array, one_of
from ._method import LABEL_TEXT, Ended
from ._pools import draw_negatives, draw_positives, fill_pool
from ._two_towers import TwoTowerMethod, TwoTowerSettings, warn_of_unknown_words

# scores held at once (float32: 32 MiB); a step over more labels goes through them twice, in chunks
_SCORES_AT_ONCE = 1 << 23


@dataclass(frozen=True, kw_only=True)
class DualEncoderSettings(TwoTowerSettings):
    """See the parameters of `DualEncoderXC`."""

    k: float | str
    alpha: float
    normalize: bool
    positives_per_text: int | None


class PoolBatch(NamedTuple):
    """A batch's labels, by their ids."""

    pool: NDArray[np.int64]  # ascending: the labels in the loss
    positives: Positives[NDArray[Any]]
    ignored: Pairs[NDArray[Any]] | None  # neither positive nor negative


class DualEncoderMethod(TwoTowerMethod[DualEncoderSettings]):
    """Embed texts and labels; the loss's gradient is known in closed form and goes back to both."""

    Settings = DualEncoderSettings
    attributes: ClassVar[Mapping[str, Check]] = {
        "label_embeddings_": an_array(np.float32, "n_labels", "width"),
        "_is_normalized": one_of(True, False),
        "_temperature": a_positive_number,
    }

    @classmethod
    def begin(cls, setup: TrainingSetup[DualEncoderSettings]) -> Self:
        """The encoder as it is."""
        method = cls(setup)
        if setup.fitted is None:
            warn_of_unknown_words(method.is_known, setup.label_texts or [])
        return method

    def __init__(self, setup: TrainingSetup[DualEncoderSettings]) -> None:
        super().__init__(setup)
        settings = self.settings
        self.is_known = self.label_tokens.lengths > 0  # others cannot be told from one another
        self.rows = _with_labels(setup.rows, self.is_known)
        self.candidates = np.flatnonzero(self.is_known)
        is_all = settings.negatives == "all"
        self.pool_size = len(self.candidates) if is_all else settings.pool_size
        self.is_mined = settings.negatives == "mined" and self.pool_size < len(self.candidates)
        self.loss = make_loss(settings.loss, settings)
        check_top_k(self.loss, len(self.label_tokens), "Pass a smaller k.")

    def begin_epoch(self, epoch: int) -> None:
        """Mine hard negatives where that is due; never before the encoder has learnt."""
        if self.is_mined and epoch > 0 and epoch % self.settings.mining_interval == 0:
            self._mine()

    def __call__(self, batch: Batch, rate: float, *, with_loss: bool) -> Tensor | None:
        """One step: the mean loss a text where `with_loss`."""
        labels = self._pick(batch)
        self.is_idle = not len(labels.positives.labels)  # no text of the batch has a label to learn
        if self.is_idle:
            return torch.zeros(()) if with_loss else None
        n_labels = len(labels.pool)
        is_one_block = n_labels * len(batch) <= _SCORES_AT_ONCE or n_labels < processes.size()
        step = self._step_on_block if is_one_block else self._step_on_chunks
        loss = step(batch, labels)
        return loss if with_loss else None

    def _pick(self, batch: Batch) -> PoolBatch:
        """Positives, drawn where `positives_per_text` asks for it, and the pool around them."""
        positives, ignored, settings = batch.positives, batch.ignored, self.settings
        if settings.positives_per_text is not None:
            drawn = draw_positives(positives, settings.positives_per_text, self.rng)
            if not self.loss.undrawn_compete:
                ignored = _joined(Pairs(positives.labels[~drawn], positives.rows[~drawn]), ignored)
            positives = _standing_for_all(positives, drawn, len(batch))
        wanted = positives.labels
        if self.shortlists is not None:
            shortlists = self.shortlists[batch.index]
            hard = draw_negatives(shortlists, settings.negatives_per_text, self.rng)
            wanted = np.concatenate([wanted, hard])
        pool = fill_pool(np.unique(wanted), self.candidates, self.pool_size, self.rng)
        return PoolBatch(pool, positives, ignored)

    def _step_on_block(self, batch: Batch, labels: PoolBatch) -> Tensor:
        """All scores at once; texts and labels in one encoding."""
        encoding = self._encoding(
            TokenStore.concatenate([batch.tokens, self.label_tokens.take(labels.pool)])
        )
        texts, label_embeddings = encoding.embeddings.split([len(batch), len(labels.pool)])
        mask = dropout_mask(texts, self.settings.dropout, self.generator)
        by_texts, by_labels, loss, _ = dense_pool_step(
            texts * mask,
            label_embeddings,
            self._positives_in(labels.positives, labels.pool),
            self.loss,
            temperature=self.settings.temperature,
            ignored=self._ignored_in(labels.ignored, labels.pool),
            sample_weight=self._sample_weight(batch),
        )
        encoding.backward(torch.cat([by_texts * mask, by_labels]))
        return loss

    def _step_on_chunks(self, batch: Batch, labels: PoolBatch) -> Tensor:
        """Two passes over chunks of labels: memory does not grow with their number.

        Each process goes through its share of them.
        """
        encoding = self._encoding(batch.tokens)
        mask = dropout_mask(encoding.embeddings, self.settings.dropout, self.generator)
        for parameter in self.parameters():
            if getattr(parameter, "is_row_sparse", False):
                # chunks add up in place: sparse gradients would be joined, one after the other
                parameter.grad = torch.zeros_like(parameter)
        pool = labels.pool[processes.share(len(labels.pool))]
        lengths, n_at_once = self.label_tokens.lengths[pool], _SCORES_AT_ONCE // len(batch)
        ids = [pool[rows] for rows in self._slices(lengths, max(n_at_once, 1))]
        ignored = labels.ignored
        by_texts, loss = two_pass_step(
            lambda chunk: self._embed(self.label_tokens.take(chunk)),
            [LabelChunk(chunk, torch.from_numpy(chunk)) for chunk in ids],
            encoding.embeddings * mask,
            Positives(*map(torch.from_numpy, labels.positives)),
            self.loss,
            temperature=self.settings.temperature,
            ignored=None if ignored is None else Pairs(*map(torch.from_numpy, ignored)),
            sample_weight=self._sample_weight(batch),
            reduce_=processes.all_reduce_,
        )
        encoding.backward_sum(by_texts * mask)
        return loss

    def _embed(self, tokens: TokenStore) -> Tensor:
        embeddings = super()._embed(tokens)
        return unit_rows(embeddings) if self.settings.normalize else embeddings

    def ranker(self) -> Ranker:
        """Every label's text, embedded."""
        return Ranker(
            self.module,
            _head(self.module, self.settings.normalize),
            lambda: LabelTable.of(self._embed_labels()),
            self.dtype,
        ).of_shares(len(self.label_tokens))

    def end(self, setup: TrainingSetup[DualEncoderSettings]) -> Ended:
        """Likewise, for good."""
        table = LabelTable.of(self._embed_labels())
        rows = table.rows.cpu().numpy()
        check_finite(rows)
        ranker = Ranker(
            self.module, _head(self.module, self.settings.normalize), lambda: table, self.dtype
        )
        ranker = ranker.of_shares(len(self.label_tokens))
        arrays = self._common_arrays(setup) | {
            "label_embeddings_": processes.whole(rows),
            "_is_normalized": self.settings.normalize,
            "_temperature": self.settings.temperature,
        }
        return Ended(ranker, arrays, 1 / self.settings.temperature)

    @classmethod
    def restored(
        cls, fitted: Mapping[str, Any], module: EncoderModule, dtype: torch.dtype
    ) -> Ranker:
        """From the fitted table."""
        device = next(module.parameters()).device
        rows = as_read_only_tensor(fitted["label_embeddings_"])
        head = _head(module, fitted["_is_normalized"])
        return Ranker(module, head, lambda: LabelTable.of(rows.to(device)), dtype)

    @classmethod
    def score_parts(
        cls, fitted: Mapping[str, Any], ranker: Ranker, labels: NDArray[np.int64]
    ) -> dict[str, Part]:
        """A label is its text."""
        return {LABEL_TEXT: Part(ranker.table.rows[torch.from_numpy(labels)])}

    @classmethod
    def memory(
        cls, setup: TrainingSetup[DualEncoderSettings], settings: DualEncoderSettings
    ) -> Memory:
        """Scores and embeddings of a step; the table at the end."""
        n_labels, batch_size = setup.n_labels, settings.batch_size
        is_all = settings.negatives == "all"
        pool_size = n_labels if is_all else min(settings.pool_size, n_labels)
        table = 4 * processes.n_share(n_labels) * settings.dim
        activations = 4 * 4 * min(batch_size * pool_size, _SCORES_AT_ONCE)
        activations += cls._encoder_bytes(setup, settings, batch_size, pool_size)
        published = cls._search_bytes(setup, settings, settings.dim)
        device = {"activations": activations, "published": published}
        if setup.device.type != "cpu":
            device["published"] += table
        return Memory(device, {"published": table, "epoch": cls._mining_bytes(setup, settings)})


def _head(module: EncoderModule, is_normalized: bool) -> LinearHead:
    return LinearHead((module.dim,) if is_normalized else ())


def _standing_for_all(
    positives: Positives[NDArray[Any]], drawn: NDArray[np.bool_], batch_size: int
) -> Positives[NDArray[Any]]:
    """Those drawn, with equal shares of their text's relevances: the draw went by them."""
    rows = positives.rows[drawn]
    relevances = np.bincount(positives.rows, positives.values, batch_size)
    shares = relevances[rows] / np.bincount(rows)[rows]
    return Positives(positives.labels[drawn], rows, shares.astype(np.float32))


def _joined(pairs: Pairs[NDArray[Any]], others: Pairs[NDArray[Any]] | None) -> Pairs[NDArray[Any]]:
    if others is None:
        return pairs
    return Pairs(*(np.concatenate(arrays) for arrays in zip(pairs, others, strict=True)))


def _with_labels(rows: TrainingRows, is_known: NDArray[np.bool_]) -> TrainingRows:
    """The rows, without the pairs of labels that are not known."""
    Y = rows.Y
    kept = is_known[Y.indices]
    if not kept.all():
        counts = np.concatenate([[0], np.cumsum(kept)])[Y.indptr]
        Y = type(Y)((Y.data[kept], Y.indices[kept], counts), shape=Y.shape)
    return TrainingRows(rows.tokens, Y, rows.sample_weight, rows.exclude)
