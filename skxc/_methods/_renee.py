"""Renee: encoder and one-vs-all classifier, end to end over the full label space (MLSys 2023)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skxc import _distributed as processes
from skxc._data._batches import Batch, TrainingRows
from skxc._data._shares import column_share
from skxc._functional._dropout import dropout_mask
from skxc._functional._fused_linear import SGD, one_vs_all_step_
from skxc._functional._losses import LOSSES, PoolLoss, check_top_k
from skxc._functional._pairs import Pairs, Positives
from skxc._functional._two_pass_linear import two_pass_linear_step_
from skxc._kernels import has_fused_step, to_device, to_host
from skxc._search._head import LinearHead
from skxc._search._ranker import LabelTable, Ranker, as_read_only_tensor, search_bytes
from skxc._training._loop import check_finite
from skxc._training._memory import Memory
from skxc._training._setup import TrainingSetup
from skxc.encoders._base import EncoderModule, trained_state

from ._attributes import Check, Sizes, an_array
from ._method import Ended, Method, encoder_bytes
from ._renee_start import (
    INTERCEPT_INPUT,
    ReneeSettings,
    check_same_loss,
    empty_table,
    initial_weights,
    labels_with_a_row,
    mark_unseen_,
    table_shape,
    with_intercept,
    with_label_texts,
)

# Bytes that a chunk of label_chunk_size="auto" takes: a CPU's cache; enough for a GPU to be busy.
_CHUNK_BYTES = {"cpu": 1 << 22, "cuda": 1 << 28}
# labels of a chunk at the most: more were no faster (benchmarks/gpu.py, H200)
_LARGEST_CHUNK = 1 << 18


def _rows_with_intercept(name: str, value: Any, sizes: Sizes) -> None:
    if "encoder_dim" in sizes:
        sizes["width"] = sizes["encoder_dim"] + 1
    an_array(np.float32, "n_labels", "width")(name, value, sizes)


class ReneeMethod(Method[ReneeSettings]):
    """Encode, step the classifier chunk by chunk, go back to the encoder (section 4.1)."""

    Settings = ReneeSettings
    sharded = frozenset({"weights", "velocity"})
    attributes: ClassVar[Mapping[str, Check]] = {"label_embeddings_": _rows_with_intercept}

    def __init__(
        self,
        setup: TrainingSetup[ReneeSettings],
        rows: TrainingRows,
        weights: Tensor,  # (n_own_labels, dim + 1), updated in place
        velocity: Tensor | None,  # likewise, with momentum; of their dtype and strides
        is_seen: NDArray[np.bool_],  # (n_labels,) a text, or the label's own, trains the row
    ) -> None:
        super().__init__(setup)
        self.rows, self.weights, self.velocity, self.is_seen = rows, weights, velocity, is_seen
        self.own = setup.own_labels
        # the column stays as it begins: 0, and below all others where a label is unseen
        self.intercepts = None if setup.settings.fit_intercept else weights[:, -1].clone()
        self.chunk_size = _chunk_size(setup, setup.settings)
        self.pool_loss = _pool_loss(self.settings.loss, setup.n_labels)
        self.is_absent = torch.from_numpy(~is_seen[self.own]).to(weights.device)

    def __call__(self, batch: Batch, rate: float, *, with_loss: bool) -> Tensor | None:
        """One step: the mean loss a text where `with_loss`."""
        settings, encoding = self.settings, self._encoding(batch.tokens)
        outputs, mask = encoding.embeddings, None
        if settings.dropout:
            mask = dropout_mask(outputs, settings.dropout, self.generator)
            outputs = outputs * mask
        gradient, loss = self._step_rows(with_intercept(outputs), batch, rate, with_loss=with_loss)
        if self.intercepts is not None:
            self.weights[:, -1] = self.intercepts
            if self.velocity is not None:
                self.velocity[:, -1] = 0
        by_outputs = (gradient / len(batch))[:, :-1].to(outputs.dtype)
        encoding.backward_sum(by_outputs if mask is None else by_outputs * mask)
        return None if loss is None else loss / len(batch)

    def _step_rows(
        self, embeddings: Tensor, batch: Batch, rate: float, *, with_loss: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The own labels' part of the texts' gradient, and the loss summed over the texts."""
        settings, device = self.settings, self.weights.device
        # a CPU stores bfloat16 but multiplies float32: its bfloat16 products are slow and coarse
        dtype = self.weights.dtype if device.type == "cuda" else embeddings.dtype
        labels, rows, values = map(torch.from_numpy, batch.positives)
        ignored, weights = batch.ignored, batch.sample_weight
        positives = Positives(labels, to_device(rows, device), to_device(values, device))
        sgd = SGD(
            settings.classifier_learning_rate * rate,
            settings.classifier_weight_decay,
            settings.momentum,
        )
        of_batch = self.weights, embeddings.to(dtype), positives
        options: dict[str, Any] = {
            "chunk_size": self.chunk_size,
            "velocity": self.velocity,
            "sample_weight": None
            if weights is None
            else to_device(torch.from_numpy(weights), device),
            "ignored": None if ignored is None else Pairs(*map(torch.from_numpy, ignored)),
            "generator": self.generator,
            "first_label": self.own.start,
        }
        if self.pool_loss is None:
            n_most = min(settings.batch_size, len(self.rows))
            gradient, loss = one_vs_all_step_(
                *of_batch, sgd, **options, batch_size=n_most, with_loss=with_loss
            )
            return gradient, None if loss is None else processes.all_reduce_(loss)
        gradient, loss = two_pass_linear_step_(
            *of_batch, self.pool_loss, sgd, **options, is_absent=self.is_absent,
            reduce_=processes.all_reduce_,
        )  # fmt: skip
        return gradient, loss if with_loss else None

    def state(self) -> dict[str, Tensor]:
        """The classifier and the encoder."""
        module = {f"module.{k}": v for k, v in trained_state(self.module).items()}
        return module | {"weights": self.weights} | self.optimizer_state()

    def optimizer_state(self) -> dict[str, Tensor]:
        """The momentum."""
        return {} if self.velocity is None else {"velocity": self.velocity}

    def ranker(self) -> Ranker:
        """The classifier's rows."""
        return self._ranker_of(self.weights, self.weights.dtype)

    def _ranker_of(self, rows: Tensor, dtype: torch.dtype) -> Ranker:
        ranker = _ranker(self.module, rows, self.is_seen[self.own], dtype)
        return ranker.of_shares(len(self.is_seen))

    def end(self, setup: TrainingSetup[ReneeSettings]) -> Ended:
        """The rows in float32, on the host."""
        rows = to_host(self.weights).float()
        # in place, since a CPU's float32 rows are shared: to their value before weight decay
        mark_unseen_(rows, self.is_seen[self.own])
        table = rows.numpy()
        check_finite(table)
        arrays = {
            "label_embeddings_": processes.whole(table),
            "is_seen_": self.is_seen,
            "_loss": self.settings.loss,
        }
        return Ended(self._ranker_of(rows, setup.dtype), arrays)

    @classmethod
    def restored(
        cls, fitted: Mapping[str, Any], module: EncoderModule, dtype: torch.dtype
    ) -> Ranker:
        """From the fitted rows."""
        rows = as_read_only_tensor(fitted["label_embeddings_"])
        return _ranker(module, rows, fitted["is_seen_"], dtype)

    @classmethod
    def begin(cls, setup: TrainingSetup[ReneeSettings]) -> Self:
        """Rows at random, at the label texts' embeddings, or fitted; intercepts at the log-odds.

        Every label's text is a document of its own among the training rows (section 4.4).
        """
        settings, rows = setup.settings, setup.rows
        # a stream of partial fits learns the label texts once
        is_continued = setup.is_partial and setup.fitted is not None
        if is_continued:
            check_same_loss(setup)
        if settings.augment and not is_continued and setup.label_tokens is not None:
            rows = with_label_texts(rows, setup.label_tokens)
        is_seen = labels_with_a_row(setup, rows)
        weights = initial_weights(setup, rows, is_seen)
        velocity = empty_table(setup, setup.dtype).zero_() if settings.momentum else None
        return cls(setup, _with_own_labels(rows, setup.own_labels), weights, velocity, is_seen)

    @classmethod
    def memory(cls, setup: TrainingSetup[ReneeSettings], settings: ReneeSettings) -> Memory:
        """The table, its momentum, and a chunk of scores."""
        n_labels = processes.n_share(setup.n_labels)
        n_weights = math.prod(table_shape(n_labels, settings.dim))
        itemsize = setup.dtype.itemsize
        velocity = itemsize * n_weights if settings.momentum else 0
        chunk = _chunk_size(setup, settings) * _bytes_a_label(setup, settings)
        lengths = setup.rows.tokens.lengths
        if settings.augment and setup.label_tokens is not None:
            lengths = np.concatenate([lengths, setup.label_tokens.lengths])
        encoder = encoder_bytes(setup, settings, [(lengths, settings.batch_size)])
        device = {
            "weights": itemsize * n_weights,
            "optimizer": velocity,
            "copies": (itemsize * n_weights + velocity) * settings.early_stopping,
            "activations": chunk + encoder,
        }
        n_validated = len(setup.held_out or ()) * settings.early_stopping
        device["epoch"], device["published"] = (
            search_bytes(n_texts, n_labels, settings.dim + 1, setup.device, is_copied=itemsize < 4)
            for n_texts in (n_validated, setup.n_searched)
        )
        # `label_embeddings_` is the table itself where that is float32 and the host's
        is_shared = itemsize == 4 and setup.device.type == "cpu"
        return Memory(device, {"published": 0 if is_shared else 4 * n_weights})


def _ranker(
    module: EncoderModule, rows: Tensor, is_seen: NDArray[np.bool_], dtype: torch.dtype
) -> Ranker:
    device = next(module.parameters()).device

    def table() -> LabelTable:
        unseen = torch.from_numpy(np.flatnonzero(~is_seen)).to(device)
        return LabelTable(rows.to(device), unseen if len(unseen) else None)

    return Ranker(module, LinearHead(constant=INTERCEPT_INPUT), table, dtype)


def _pool_loss(name: str, n_labels: int) -> PoolLoss | None:
    """The loss that normalises a text's scores, if it is one."""
    if name == "one-vs-all":
        return None
    loss = LOSSES[name]()
    check_top_k(loss, n_labels, "Pass another loss.")
    return loss


def _chunk_size(setup: TrainingSetup[ReneeSettings], settings: ReneeSettings) -> int:
    n_labels = processes.n_share(setup.n_labels)
    if settings.label_chunk_size != "auto":
        return min(int(settings.label_chunk_size), n_labels)
    budget = _CHUNK_BYTES.get(setup.device.type, _CHUNK_BYTES["cuda"])
    n_fit = max(budget // _bytes_a_label(setup, settings), 1)
    return min(n_fit, _LARGEST_CHUNK, n_labels)


def _bytes_a_label(setup: TrainingSetup[ReneeSettings], settings: ReneeSettings) -> int:
    """What one label of a chunk takes: its scores and, where it has them, temporary rows."""
    is_one_vs_all = settings.loss == "one-vs-all"
    if is_one_vs_all and has_fused_step(setup.device, setup.dtype):
        return 2 * max(settings.batch_size, 16)  # errors in bfloat16
    is_narrow = setup.dtype == torch.bfloat16
    n_rows = 4 if is_narrow else 1 if settings.momentum else 0
    # a GPU's bfloat16 products and errors lie beside their scores in float32
    score_bytes = 8 if is_narrow and setup.device.type == "cuda" else 4
    if not is_one_vs_all:  # with what the statistics are computed from
        score_bytes = 16 if LOSSES[settings.loss].is_iterative else 8
    return int(score_bytes * settings.batch_size + 4 * n_rows * (settings.dim + 1))


def _with_own_labels(rows: TrainingRows, own: slice) -> TrainingRows:
    """The rows with this process's labels alone, counted from its first."""
    exclude = None if rows.exclude is None else column_share(rows.exclude, own)
    return replace(rows, Y=column_share(rows.Y, own), exclude=exclude)
