"""Short fits whose course is kept: the loss of every epoch, and what the model then finds.

    python tests/golden/curves.py

writes curves.json beside this file anew, which tests/test_golden.py compares with. Do so where a
change is meant to change what is learnt, and say so in the commit.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import clone

from skxc import DualEncoderXC, ReneeClassifier, UniDEC
from skxc.datasets import load_library_subjects
from skxc.encoders import BagOfWordsEncoder, TransformerEncoder
from skxc.metrics import ranking_metrics
from skxc.metrics._top_k import top_k_matrix

KEPT = Path(__file__).parent / "curves.json"
N_TEXTS, N_TEST_TEXTS = 400, 200  # so few that nothing is chosen on held-out ones: no choice flips


def slice_of_library_subjects() -> dict[str, Any]:
    """The first texts, and the labels that two of them have."""
    data = load_library_subjects()
    Y = data.Y[:N_TEXTS]
    labels = np.flatnonzero(np.bincount(Y.indices, minlength=Y.shape[1]) >= 2)
    return {
        "texts": list(data.texts[:N_TEXTS]),
        "Y": Y[:, labels],
        "test_texts": list(data.test_texts[:N_TEST_TEXTS]),
        "Y_test": data.Y_test[:N_TEST_TEXTS][:, labels],
        "label_texts": [data.label_texts[label] for label in labels],
    }


def tiny_transformer(texts: list[str], folder: Path) -> TransformerEncoder:
    """A BERT of one layer: weights by NumPy, which no version of transformers draws otherwise."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    counts = Counter(word for text in texts for word in text.lower().split())
    words = ["[PAD]", "[UNK]", *sorted(sorted(counts), key=counts.__getitem__, reverse=True)[:1000]]
    vocabulary = {word: i for i, word in enumerate(words)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]"
    )
    # without dropout, whose draws differ between processors
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=16, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    model, random = BertModel(config), np.random.RandomState(0)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            if "LayerNorm" not in name:
                scale = 1.0 if "word_embeddings" in name else 0.1  # the text's words tell most
                weight.copy_(torch.from_numpy(random.standard_normal(weight.shape) * scale))
    with contextlib.redirect_stderr(io.StringIO()):  # a progress bar
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return TransformerEncoder(str(folder), max_length=16)


def runs(transformer: TransformerEncoder) -> dict[str, Any]:
    """The estimators: with a bag at their defaults, with a transformer closer to the papers.

    None mines or clusters: where two labels or texts are nearly as close, rounding decides, and a
    loss then moves by up to 4 %.
    """
    bag, small = BagOfWordsEncoder(), {"epochs": 4, "batch_size": 16, "learning_rate": 1e-3}
    return {
        "renee-bag": ReneeClassifier(bag),
        "renee-transformer": ReneeClassifier(
            transformer, classifier_learning_rate=0.003, momentum=0.9, **small
        ),
        "renee-bag-softmax": ReneeClassifier(
            bag, loss="decoupled-softmax", fit_intercept=False, epochs=4
        ),
        "dual-encoder-bag": DualEncoderXC(bag),
        "dual-encoder-transformer": DualEncoderXC(
            transformer, loss="soft-top-k", alpha=2.0, pool_size=128, dropout=0.1, **small
        ),
        "unidec-bag": UniDEC(bag),
        "unidec-transformer": UniDEC(
            transformer, loss="softmax", pool_size=128, classifier_learning_rate=0.01, **small
        ),
    }


@contextlib.contextmanager
def same_draws_everywhere() -> Iterator[None]:
    """Bernoulli numbers from uniform ones: torch draws its own by MKL on some processors only."""

    def bernoulli_(self: torch.Tensor, p: float, *, generator: torch.Generator) -> torch.Tensor:
        return self.copy_(torch.rand(self.shape, generator=generator) < p)

    torch.Tensor.bernoulli_ = bernoulli_  # type: ignore[assignment]
    try:
        yield
    finally:
        del torch.Tensor.bernoulli_  # the inherited one is there again


def curve(estimator: Any, data: dict[str, Any], **faults: Any) -> dict[str, Any]:
    """Fit, with other parameters where faults are given, and tell the course of it."""
    same = {"device": "cpu", "precision": "float32", "random_state": 0}
    estimator = clone(estimator).set_params(label_texts=data["label_texts"], **same, **faults)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with same_draws_everywhere():
            estimator.fit(data["texts"], data["Y"])
        labels, scores = estimator.predict_top_k(data["test_texts"], k=5)
    finally:
        torch.set_num_threads(n_threads)
    Y_score = top_k_matrix(labels, scores, data["Y_test"].shape[1])
    metrics = ranking_metrics(data["Y_test"], Y_score, (1, 5))
    return {
        "loss": [epoch["loss"] for epoch in estimator.history_],
        "P@1": metrics["P@1"],
        "P@5": metrics["P@5"],
        # of the five best: moves where no rank does
        "score": float(np.mean(scores)),
    }


def curves(folder: Path) -> dict[str, Callable[..., dict[str, Any]]]:
    """What gives each run's curve."""
    data = slice_of_library_subjects()
    transformer = tiny_transformer(data["texts"] + data["label_texts"], folder)
    return {name: partial(curve, run, data) for name, run in runs(transformer).items()}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        made = {name: make() for name, make in curves(Path(folder)).items()}
    KEPT.write_text(json.dumps(made, indent=1) + "\n")
    print(f"{KEPT}: {KEPT.stat().st_size:,} bytes")
