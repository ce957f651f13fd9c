"""What a training of Renee starts from: the rows of the classifier, and the texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from skxc._data._batches import TrainingRows
from skxc._data._shares import text_share
from skxc._data._tokens import TokenStore
from skxc._functional._top_k import UNSEEN_SCORE
from skxc._kernels import RowNoise
from skxc._search._ranker import LabelTable, Ranker, as_read_only_tensor
from skxc._training._setup import Settings, TrainingSetup
from skxc._validation import short

# The classifier's last input is this constant: a label's intercept is the last entry of its row,
# and prediction stays one inner product.
INTERCEPT_INPUT = 3.0
# Of unseen labels: their scores are below all others, and have no gradient.
_UNSEEN_INTERCEPT = UNSEEN_SCORE / INTERCEPT_INPUT
# Texts that the mean of all labels counts for in a label's first intercept.
_PRIOR_TEXTS = 100


@dataclass(frozen=True, kw_only=True)
class ReneeSettings(Settings):
    """See the parameters of `ReneeClassifier`."""

    classifier_learning_rate: float
    classifier_weight_decay: float
    momentum: float
    classifier_init: str
    fit_intercept: bool
    loss: str
    augment: bool
    label_chunk_size: Any  # int or "auto"


def with_intercept(embeddings: Tensor) -> Tensor:  # (n, dim + 1)
    """The constant that a label's intercept is multiplied with, last."""
    return F.pad(embeddings, (0, 1), value=INTERCEPT_INPUT)


def table_shape(n_labels: int, dim: int) -> tuple[int, int]:
    """Of the classifier as it lies in memory: rows begin 8 numbers apart, or a multiple of it.

    The intercept makes the rows' length odd; a product that updates odd rows in place is half as
    fast.
    """
    return n_labels, -(-(dim + 1) // 8) * 8


def empty_table(setup: TrainingSetup[Any], dtype: torch.dtype) -> Tensor:  # (n_own, dim + 1)
    dim, own = setup.module.dim, setup.own_labels
    shape = table_shape(own.stop - own.start, dim)
    return torch.empty(shape, dtype=dtype, device=setup.device)[:, : dim + 1]


def labels_with_a_row(
    setup: TrainingSetup[ReneeSettings], rows: TrainingRows
) -> NDArray[np.bool_]:  # (n_labels,)
    """The labels whose rows a text, or their own text, trains or has trained."""
    is_seen: NDArray[np.bool_] = np.bincount(rows.Y.indices, minlength=setup.n_labels) > 0
    if setup.settings.classifier_init == "label_texts" and setup.label_tokens is not None:
        is_seen |= setup.label_tokens.lengths > 0
    if setup.fitted is not None:
        is_seen |= setup.fitted["is_seen_"]
    return is_seen


def check_same_loss(setup: TrainingSetup[ReneeSettings]) -> None:
    """Raise where a stream goes on by another loss: its probabilities stay as first fitted."""
    assert setup.fitted is not None
    loss, fitted = setup.settings.loss, setup.fitted.get("_loss", "one-vs-all")  # in older models
    if loss != fitted:
        raise ValueError(
            f"loss={loss!r} differs from the fitted one, {short(fitted)}, that training would go "
            f"on from. Set it back, or fit anew."
        )


def initial_weights(
    setup: TrainingSetup[ReneeSettings], rows: TrainingRows, is_seen: NDArray[np.bool_]
) -> Tensor:
    """The classifier's rows before training, (n_own_labels, dim + 1)."""
    weights, fitted, own = empty_table(setup, setup.dtype), setup.fitted, setup.own_labels
    is_new = is_seen = is_seen[own]
    if fitted is None:
        _initialize_rows_(weights, setup)
    else:
        weights.copy_(as_read_only_tensor(fitted["label_embeddings_"][own]))
        is_new = is_seen & ~fitted["is_seen_"][own]
        _random_rows_(weights, setup, torch.from_numpy(is_new))
    if setup.settings.fit_intercept:
        log_odds = initial_log_odds(rows, fitted)[own][is_new] / INTERCEPT_INPUT
        weights[torch.from_numpy(is_new), -1] = torch.from_numpy(log_odds).to(weights)
    else:
        weights[:, -1] = 0
    mark_unseen_(weights, is_seen)
    return weights


def mark_unseen_(weights: Tensor, is_seen: NDArray[np.bool_]) -> None:
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


def with_label_texts(rows: TrainingRows, label_tokens: TokenStore) -> TrainingRows:
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
