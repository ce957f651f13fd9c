"""What DualEncoderXC's losses, negatives and other choices are worth, on the packaged set.

    OMP_NUM_THREADS=1 python benchmarks/dual_encoder_choices.py [FOLDER]

Every row changes one thing and is trained at the default setting otherwise. The figures are on a
tenth of the training rows, held out: test rows take no part in choices. "One-vs-all" is binary
cross-entropy over the pool, of which the paper says that it does not train a dual encoder.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from _held_out import Variant, main
from torch import Tensor

import skxc._dual_encoder as dual_encoder
from skxc import DualEncoderXC
from skxc._functional._fused_linear import Positives
from skxc._functional._pool_step import PoolGradients
from skxc.encoders import BagOfWordsEncoder


def one_vs_all_step(
    text_embeddings: Tensor,
    label_embeddings: Tensor,
    positives: Positives,
    loss: Any,
    *,
    temperature: float,
    ignored: Any = None,
    sample_weight: Tensor | None = None,
) -> PoolGradients:
    """Mean binary cross-entropy over batch and pool, in place of `dense_pool_step`."""
    texts, labels = (e.detach().requires_grad_() for e in (text_embeddings, label_embeddings))
    scores = labels @ texts.T / temperature
    targets = torch.zeros_like(scores)
    targets[positives.labels, positives.rows] = 1
    mean = F.binary_cross_entropy_with_logits(scores, targets)
    by_texts, by_labels, by_scores = torch.autograd.grad(mean, (texts, labels, scores))
    return PoolGradients(by_texts, by_labels, mean.detach(), by_scores)


def one_vs_all() -> Any:
    return patch.object(dual_encoder, "dense_pool_step", one_vs_all_step)


VARIANTS = {
    "as it is: decoupled softmax, in-batch": Variant(),
    "softmax": Variant({"loss": "softmax"}),
    "soft top-5": Variant({"loss": "soft-top-k"}),
    "soft top-1": Variant({"loss": "soft-top-k", "k": 1}),
    "soft top-5, alpha 2 (the paper)": Variant({"loss": "soft-top-k", "alpha": 2.0}),
    "soft top-100": Variant({"loss": "soft-top-k", "k": 100}),
    "one-vs-all": Variant({}, one_vs_all),
    "one positive a text (the paper's code)": Variant({"positives_per_text": 1}),
    "in-batch without random labels": Variant({"pool_size": 0}),
    "mined": Variant({"negatives": "mined"}),
    "all (the paper)": Variant({"negatives": "all"}),
    "temperature 0.05 (the paper)": Variant({"temperature": 0.05}),
    "no dropout": Variant({"dropout": 0.0}),
    "dropout 0.5": Variant({"dropout": 0.5}),
    "128 dimensions": Variant({"encoder": BagOfWordsEncoder(dim=128)}),
    "512 dimensions": Variant({"encoder": BagOfWordsEncoder(dim=512)}),
    "16 epochs": Variant({"epochs": 16}),
}

if __name__ == "__main__":
    main(DualEncoderXC, VARIANTS, __doc__.splitlines()[0])
