"""Renee: encoder and one-vs-all classifier, end to end over the full label space (MLSys 2023)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from skxc import _distributed as processes
from skxc._data._batches import Batch, TrainingRows
from skxc._data._shares import column_share, text_share
from skxc._data._tokens import TokenStore
from skxc._functional._dropout import dropout_mask
from skxc._functional._fused_linear import SGD, one_vs_all_step_
from skxc._functional._pairs import Pairs, Positives
from skxc._functional._top_k import UNSEEN_SCORE
from skxc._kernels import RowNoise, has_fused_step, to_device, to_host
from skxc._search._head import LinearHead
from skxc._search._ranker import LabelTable, Ranker, as_read_only_tensor, search_bytes
from skxc._training._loop import check_finite
from skxc._training._memory import Memory
from skxc._training._setup import Settings, TrainingSetup
from skxc.encoders._base import EncoderModule, trained_state

from ._attributes import Check, Sizes, an_array
from ._method import Ended, Method, encoder_bytes

# The classifier's last input is this constant: a label's intercept is the last entry of its row,
# and prediction stays one inner product.
_INTERCEPT_INPUT = 3.0
# Of unseen labels: their scores are below all others, and have no gradient.
_UNSEEN_INTERCEPT = UNSEEN_SCORE / _INTERCEPT_INPUT
# Texts that the mean of all labels counts for in a label's first intercept.
_PRIOR_TEXTS = 100
# Bytes that a chunk of label_chunk_size="auto" takes: a CPU's cache; enough for a GPU to be busy.
_CHUNK_BYTES = {"cpu": 1 << 22, "cuda": 1 << 28}
# labels of a chunk at the most: more were no faster (benchmarks/gpu.py, H200)
_LARGEST_CHUNK = 1 << 18


@dataclass(frozen=True, kw_only=True)
class ReneeSettings(Settings):
    """See the parameters of `ReneeClassifier`."""

    classifier_learning_rate: float
    classifier_weight_decay: float
    momentum: float
    classifier_init: str
    augment: bool
    label_chunk_size: Any  # int or "auto"


def _rows_with_intercept(name: str, value: Any, sizes: Sizes) -> None:
    if "encoder_dim" in sizes:
        sizes["width"] = sizes["encoder_dim"] + 1
    an_array(np.float32, "n_labels", "width")(name, value, sizes)


class ReneeMethod(Method[ReneeSettings]):
    """Encode, step the classifier chunk by chunk, go back to the encoder (section 4.1)."""

    Settings = ReneeSettings
    has_log_odds = True
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
        self.chunk_size = _chunk_size(setup, setup.settings)

    def __call__(self, batch: Batch, rate: float, *, with_loss: bool) -> Tensor | None:
        """One step: the mean loss a text where `with_loss`."""
        settings, device = self.settings, self.weights.device
        encoding = self._encoding(batch.tokens)
        outputs, mask = encoding.embeddings, None
        if settings.dropout:
            mask = dropout_mask(outputs, settings.dropout, self.generator)
            outputs = outputs * mask
        embeddings = with_intercept(outputs)
        # a CPU stores bfloat16 but multiplies float32: its bfloat16 products are slow and coarse
        dtype = self.weights.dtype if device.type == "cuda" else embeddings.dtype
        labels, rows, values = map(torch.from_numpy, batch.positives)
        ignored, weights = batch.ignored, batch.sample_weight
        gradient, loss = one_vs_all_step_(
            self.weights,
            embeddings.to(dtype),
            Positives(labels, to_device(rows, device), to_device(values, device)),
            SGD(
                settings.classifier_learning_rate * rate,
                settings.classifier_weight_decay,
                settings.momentum,
            ),
            chunk_size=self.chunk_size,
            velocity=self.velocity,
            batch_size=min(settings.batch_size, len(self.rows)),
            sample_weight=None if weights is None else to_device(torch.from_numpy(weights), device),
            ignored=None if ignored is None else Pairs(*map(torch.from_numpy, ignored)),
            with_loss=with_loss,
            generator=self.generator,
            first_label=self.own.start,
        )
        by_outputs = (gradient / len(batch))[:, :-1].to(outputs.dtype)
        encoding.backward_sum(by_outputs if mask is None else by_outputs * mask)
        return None if loss is None else processes.all_reduce_(loss) / len(batch)

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
        _mark_unseen_(rows, self.is_seen[self.own])
        table = rows.numpy()
        check_finite(table)
        arrays = {"label_embeddings_": processes.whole(table), "is_seen_": self.is_seen}
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
        if settings.augment and not is_continued and setup.label_tokens is not None:
            rows = _with_label_texts(rows, setup.label_tokens)
        is_seen = _seen_labels(setup, rows)
        weights = _initial_weights(setup, rows, is_seen)
        velocity = _empty_table(setup, setup.dtype).zero_() if settings.momentum else None
        return cls(setup, _with_own_labels(rows, setup.own_labels), weights, velocity, is_seen)

    @classmethod
    def memory(cls, setup: TrainingSetup[ReneeSettings], settings: ReneeSettings) -> Memory:
        """The table, its momentum, and a chunk of scores."""
        n_labels = processes.n_share(setup.n_labels)
        n_weights = math.prod(_table_shape(n_labels, settings.dim))
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


def with_intercept(embeddings: Tensor) -> Tensor:  # (n, dim + 1)
    """The constant that a label's intercept is multiplied with, last."""
    return F.pad(embeddings, (0, 1), value=_INTERCEPT_INPUT)


def _ranker(
    module: EncoderModule, rows: Tensor, is_seen: NDArray[np.bool_], dtype: torch.dtype
) -> Ranker:
    device = next(module.parameters()).device

    def table() -> LabelTable:
        unseen = torch.from_numpy(np.flatnonzero(~is_seen)).to(device)
        return LabelTable(rows.to(device), unseen if len(unseen) else None)

    return Ranker(module, LinearHead(constant=_INTERCEPT_INPUT), table, dtype)


def _table_shape(n_labels: int, dim: int) -> tuple[int, int]:
    """Of the classifier as it lies in memory: rows begin 8 numbers apart, or a multiple of it.

    The intercept makes the rows' length odd; a product that updates odd rows in place is half as
    fast.
    """
    return n_labels, -(-(dim + 1) // 8) * 8


def _empty_table(setup: TrainingSetup[Any], dtype: torch.dtype) -> Tensor:  # (n_own, dim + 1)
    dim, own = setup.module.dim, setup.own_labels
    shape = _table_shape(own.stop - own.start, dim)
    return torch.empty(shape, dtype=dtype, device=setup.device)[:, : dim + 1]


def _chunk_size(setup: TrainingSetup[ReneeSettings], settings: ReneeSettings) -> int:
    n_labels = processes.n_share(setup.n_labels)
    if settings.label_chunk_size != "auto":
        return min(int(settings.label_chunk_size), n_labels)
    budget = _CHUNK_BYTES.get(setup.device.type, _CHUNK_BYTES["cuda"])
    n_fit = max(budget // _bytes_a_label(setup, settings), 1)
    return min(n_fit, _LARGEST_CHUNK, n_labels)


def _bytes_a_label(setup: TrainingSetup[ReneeSettings], settings: ReneeSettings) -> int:
    """What one label of a chunk takes: its scores and, where it has them, temporary rows."""
    if has_fused_step(setup.device, setup.dtype):
        return 2 * max(settings.batch_size, 16)  # errors in bfloat16
    is_narrow = setup.dtype == torch.bfloat16
    n_rows = 4 if is_narrow else 1 if settings.momentum else 0
    # a GPU's bfloat16 products and errors lie beside their scores in float32
    score_bytes = 8 if is_narrow and setup.device.type == "cuda" else 4
    return int(score_bytes * settings.batch_size + 4 * n_rows * (settings.dim + 1))


def _seen_labels(
    setup: TrainingSetup[ReneeSettings], rows: TrainingRows
) -> NDArray[np.bool_]:  # (n_labels,)
    """The labels whose rows a text, or their own text, trains or has trained."""
    is_seen: NDArray[np.bool_] = np.bincount(rows.Y.indices, minlength=setup.n_labels) > 0
    if setup.settings.classifier_init == "label_texts" and setup.label_tokens is not None:
        is_seen |= setup.label_tokens.lengths > 0
    if setup.fitted is not None:
        is_seen |= setup.fitted["is_seen_"]
    return is_seen


def _initial_weights(
    setup: TrainingSetup[ReneeSettings], rows: TrainingRows, is_seen: NDArray[np.bool_]
) -> Tensor:
    """The classifier's rows before training, (n_own_labels, dim + 1)."""
    weights, fitted, own = _empty_table(setup, setup.dtype), setup.fitted, setup.own_labels
    is_new = is_seen = is_seen[own]
    if fitted is None:
        _initialize_rows_(weights, setup)
    else:
        weights.copy_(as_read_only_tensor(fitted["label_embeddings_"][own]))
        is_new = is_seen & ~fitted["is_seen_"][own]
        _random_rows_(weights, setup, torch.from_numpy(is_new))
    log_odds = initial_log_odds(rows, fitted)[own][is_new] / _INTERCEPT_INPUT
    weights[torch.from_numpy(is_new), -1] = torch.from_numpy(log_odds).to(weights)
    _mark_unseen_(weights, is_seen)
    return weights


def _mark_unseen_(weights: Tensor, is_seen: NDArray[np.bool_]) -> None:
    """Set the rows that score below every other: their gradient is 0, no text learns from them."""
    is_unseen = torch.from_numpy(~is_seen).to(weights.device)
    weights.masked_fill_(is_unseen[:, None], 0)
    weights[:, -1].masked_fill_(is_unseen, _UNSEEN_INTERCEPT)


def _initialize_rows_(weights: Tensor, setup: TrainingSetup[ReneeSettings]) -> None:
    if setup.settings.classifier_init == "random":
        _random_rows_(weights, setup)
        return
    assert setup.label_tokens is not None  # the estimator checked it
    no_table = LabelTable(weights, None)
    ranker = Ranker(setup.module.eval(), nn.Identity(), lambda: no_table, setup.dtype)
    own_tokens = text_share(setup.label_tokens, setup.own_labels)
    if len(own_tokens):  # fewer labels than processes
        embeddings = torch.from_numpy(ranker.embed(own_tokens))
        weights[:, :-1] = F.normalize(embeddings, dim=1).to(weights)
    setup.module.train()


def _random_rows_(
    weights: Tensor, setup: TrainingSetup[ReneeSettings], is_new: Tensor | None = None
) -> None:
    noise = RowNoise(setup.generator.initial_seed(), setup.own_labels.start)
    noise.normal_(weights, 0.02, is_new)


def _with_own_labels(rows: TrainingRows, own: slice) -> TrainingRows:
    """The rows with this process's labels alone, counted from its first."""
    exclude = None if rows.exclude is None else column_share(rows.exclude, own)
    return replace(rows, Y=column_share(rows.Y, own), exclude=exclude)


def initial_log_odds(
    rows: TrainingRows, fitted: Mapping[str, Any] | None = None
) -> NDArray[np.float32]:
    """Log-odds of each label among all texts so far, drawn to the labels' mean where they are few.

    The mean counts as much as `_PRIOR_TEXTS` texts: in the first small batch of a stream, one text
    in a hundred is no evidence for one in a hundred.
    """
    weights = np.ones(len(rows), np.float32) if rows.sample_weight is None else rows.sample_weight
    positive, n_texts = rows.Y.T @ weights, float(weights.sum())
    if fitted is not None:
        positive = positive + fitted["label_counts_"]
        n_texts += fitted["n_samples_seen_"]
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
        rows.tokens.followed_by(label_tokens.view(labels)),
        sp.vstack([rows.Y, identity], format="csr"),
        None if weights is None else np.concatenate([weights, np.ones(len(labels), np.float32)]),
        None if exclude is None else sp.vstack([exclude, no_pair], format="csr"),
    )
