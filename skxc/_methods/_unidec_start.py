"""What UniDEC begins with: random weights, or those of a fitted model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from skxc import _distributed as processes
from skxc._kernels import RowNoise
from skxc._search._ranker import as_read_only_tensor
from skxc._training._memory import device_share
from skxc._training._paper import Paper
from skxc._training._setup import TrainingSetup
from skxc._validation import check_choice, check_real

from ._heads import Heads
from ._lexical_weights import LexicalWeights, as_csr
from ._two_towers import TwoTowerPaper, TwoTowerSettings
from ._unidec_score import ScoreWeights


@dataclass(frozen=True, kw_only=True)
class UniDECPaper(TwoTowerPaper):
    """See the parameter `paper` of `UniDEC`."""

    head_dropout: float = 0.0
    row_dropout: float = 0.0
    head_learning_rate: float | None = None  # the classifier's
    head_weight_decay: float = 0.0
    random_labels: bool = True
    one_vs_all_weight: float = 0.0

    def check(self) -> None:
        """Raise where a value is out of what is accepted."""
        super().check()
        for name in ("head_dropout", "row_dropout"):
            check_real(f"paper['{name}']", getattr(self, name), high=1, ends="[)")
        for name in ("head_weight_decay", "one_vs_all_weight"):
            check_real(f"paper['{name}']", getattr(self, name))
        if self.head_learning_rate is not None:
            check_real("paper['head_learning_rate']", self.head_learning_rate, ends="(]")
        check_choice("paper['random_labels']", self.random_labels, (True, False))


@dataclass(frozen=True, kw_only=True)
class UniDECSettings(TwoTowerSettings):
    """See the parameters of `UniDEC`."""

    details: ClassVar[type[Paper]] = UniDECPaper
    paper: UniDECPaper = field(default_factory=UniDECPaper)
    classifier_loss: str | None
    dual_weight: float
    both_directions: bool
    learn_temperature: bool
    projection_dim: Any  # int, None or "auto"
    batches: str
    positives_per_text: int
    dual_score_weight: Any  # float or "auto"
    classifier_learning_rate: float
    lexical_learning_rate: float


def check_decay(settings: UniDECSettings) -> None:
    paper = settings.paper
    rate = paper.head_learning_rate or settings.classifier_learning_rate
    if rate * paper.head_weight_decay >= 1:
        raise ValueError(
            f"A learning rate of {rate} times paper['head_weight_decay']={paper.head_weight_decay} "
            f"is 1 or more: a step would decay the projections to nothing. Lower one of them."
        )
    if settings.classifier_learning_rate * settings.weight_decay >= 1:
        raise ValueError(
            f"classifier_learning_rate={settings.classifier_learning_rate} times "
            f"weight_decay={settings.weight_decay} is 1 or more: a step would decay the "
            f"classifier's rows to nothing. Lower one of them."
        )


def projection_dim(setup: TrainingSetup[UniDECSettings]) -> int | None:
    dim: int | str | None = setup.settings.projection_dim
    if isinstance(dim, str):
        return setup.module.dim if setup.encoder.is_pretrained else None
    return dim


def initial_heads(setup: TrainingSetup[UniDECSettings]) -> Heads:
    heads = Heads(setup.module.dim, projection_dim(setup), setup.module.views)
    if setup.fitted is None:
        heads.initialize_(setup.host_generator)
        return heads.to(setup.device)
    fitted = Heads.of_arrays(setup.fitted["head_weights_"], setup.module.views)
    shapes = {name: tuple(tensor.shape) for name, tensor in fitted.state_dict().items()}
    if shapes != {name: tuple(tensor.shape) for name, tensor in heads.state_dict().items()}:
        raise ValueError(
            f"projection_dim={setup.settings.projection_dim!r} differs from that of the fitted "
            f"projections, {shapes}, that training would go on from. Set it back, or fit anew "
            f"with warm_start=False."
        )
    heads.load_state_dict(fitted.state_dict())
    return heads.to(setup.device)


def initial_classifier(setup: TrainingSetup[UniDECSettings], dim: int) -> Tensor:
    """Random rows, or the fitted ones; rows of 0 are those that `add_labels` added."""
    own = setup.own_labels
    noise = RowNoise(setup.generator.initial_seed(), own.start)
    rows = noise.normal_(torch.empty(own.stop - own.start, dim), dim**-0.5)
    if setup.fitted is not None:
        fitted = as_read_only_tensor(setup.fitted["classifier_weights_"][own])
        rows = torch.where(fitted.any(1, keepdim=True), fitted, rows)
    n_bytes = processes.n_share(setup.n_labels) * dim * rows.itemsize
    is_on_host = processes.any_of(classifier_device(setup, n_bytes).type == "cpu")
    return rows.to("cpu" if is_on_host else setup.device)


def classifier_device(setup: TrainingSetup[UniDECSettings], n_bytes: int) -> torch.device:
    """Where the rows and their two moments lie: on the GPU, where that leaves room for the rest."""
    is_small = setup.device.type == "cpu" or 3 * n_bytes <= device_share(setup.device)
    return setup.device if is_small else torch.device("cpu")


def initial_log_scale(setup: TrainingSetup[UniDECSettings]) -> float:
    if setup.fitted is not None and setup.settings.learn_temperature:
        return -math.log(setup.fitted["temperature_"])
    return -math.log(setup.settings.temperature)


def initial_words(setup: TrainingSetup[UniDECSettings]) -> LexicalWeights | None:
    """Weights of 0, or the fitted ones."""
    rate = setup.settings.lexical_learning_rate
    if not rate:
        return None
    if not setup.encoder.has_words:
        raise ValueError(
            f"lexical_learning_rate={rate}, but {setup.encoder!r} has no words to weigh. "
            f"Pass lexical_learning_rate=0, or encoder='bag'."
        )
    fitted = {} if setup.fitted is None else setup.fitted["lexical_weights_"]
    earlier = as_csr(fitted, "learnt")[setup.own_labels] if fitted else None
    return LexicalWeights.of_training(setup.word_pairs, rate, earlier)


def initial_weights(setup: TrainingSetup[UniDECSettings]) -> ScoreWeights:
    """The weights of the score's parts, until held-out texts are looked at."""
    settings = setup.settings
    if setup.fitted is not None:
        weights = fitted_weights(setup.fitted)
    else:
        # a view that is not trained has no say
        dual = float(settings.dual_weight) if settings.dual_weight in (0, 1) else 0.35
        vectors = 1.5 if len(setup.module.views) > 1 else 1.0
        weights = ScoreWeights(dual, 1 - dual, 0.2, vectors, dual)
    if settings.dual_score_weight != "auto":
        fixed = float(settings.dual_score_weight)
        weights = weights._replace(dual=fixed, vectors_dual=fixed)
    return weights


def fitted_weights(fitted: Mapping[str, Any]) -> ScoreWeights:
    lexical, label_words = fitted["word_score_weights_"].tolist()
    vectors, of_texts = fitted["vector_score_weight_"], fitted["vector_dual_score_weight_"]
    return ScoreWeights(fitted["dual_score_weight_"], lexical, label_words, vectors, of_texts)
