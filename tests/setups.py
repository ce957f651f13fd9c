"""What a method begins with, made by hand for tests of its steps."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from skxc._functional._losses import LOSSES
from skxc._methods._dual_encoder import DualEncoderSettings
from skxc._methods._renee_start import ReneeSettings
from skxc._methods._unidec_start import UniDECSettings
from skxc._training._setup import TrainingSetup

_COMMON = {
    "epochs": 1, "batch_size": 16, "learning_rate": 0.1, "weight_decay": 0.0,
    "warmup_fraction": 0.0, "max_grad_norm": None, "dropout": 0.0, "early_stopping": False,
    "encode_batch_size": None,
}  # fmt: skip
_TOWERS = {
    "loss": "decoupled-softmax", "temperature": 0.2, "pool_size": 1000, "negatives_per_text": 1,
    "mining_interval": 1,
}  # fmt: skip
_OWN = {
    ReneeSettings: {
        "classifier_learning_rate": 0.1, "classifier_weight_decay": 0.0, "momentum": 0.0,
        "classifier_init": "random", "augment": False, "label_chunk_size": "auto",
        "fit_intercept": True, "loss": "one-vs-all",
    },
    DualEncoderSettings: _TOWERS | {
        "k": 2, "alpha": 1.0, "normalize": True, "positives_per_text": None,
        "negatives": "in-batch",
    },
    UniDECSettings: _TOWERS | {
        "classifier_loss": None, "dual_weight": 0.3, "both_directions": False,
        "learn_temperature": True, "projection_dim": None, "batches": "random",
        "negatives": "random", "positives_per_text": 1, "dual_score_weight": "auto",
        "classifier_learning_rate": 0.01, "lexical_learning_rate": 0.0,
    },
}  # fmt: skip


def make_setup(cls, module, rows, *, label_tokens=None, encoder=None, fitted=None, **settings):
    """A setup of settings of this class: those given, else the defaults of the tests."""
    encoder = encoder or SimpleNamespace(has_words=False, is_pretrained=False)
    settings["paper"] = cls.details.of(settings.pop("paper", None))
    return TrainingSetup(
        settings=cls(**_COMMON | _OWN[cls] | {"dim": getattr(module, "dim", 0)} | settings),
        module=module,
        rows=rows,
        held_out=None,
        encoder=encoder,
        label_texts=None if label_tokens is None else [""] * len(label_tokens),
        label_tokens=label_tokens,
        device=torch.device("cpu"),
        dtype=torch.float32,
        generator=torch.Generator().manual_seed(0),
        fitted=fitted,
        is_partial=False,
    )


def loss_settings(loss):
    """The settings that name a loss, given as itself or by its name."""
    if isinstance(loss, str):
        return {"loss": loss}
    name = next(name for name, cls in LOSSES.items() if type(loss) is cls)
    return {"loss": name, **vars(loss)}
