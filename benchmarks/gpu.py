"""The training steps on one GPU, against floors measured in the same run.

    python benchmarks/gpu.py [--only classifier renee ...] [--out FOLDER [--add]]
    python benchmarks/gpu.py --small      # tiny sizes, on a CPU too: proves that the script runs

Floors come from a large copy (bytes a second) and a large product (operations a second), in
bfloat16 and, where float32 is multiplied, in float32.

classifier: one fused one-vs-all step, 768 columns in bfloat16, from 131 thousand labels to 2.8
million. It has to read and write the weights once and to take three products: the larger of 4 bytes
and 6 x batch operations a weight. Beside it the same step in plain torch, chunk by chunk, and
autograd's, which needs all scores and a gradient of the weights' size. With momentum, the velocity
is read and written, too: 8 bytes a weight.
renee: the whole step, a BERT-base with random weights and 2.8 million labels; what it holds at
most, and how often it waits for the GPU.
unidec: UniDEC's whole step, a DistilBERT-like encoder, a pool of 2,048 of 0.5 million labels; the
floor is the encoder's products. The labels' rows and moments are on the GPU, as they are where they
take at most a quarter of it, and then on the host. "At once" is `encode_batch_size`.
dual: one step of the dual encoder over all labels, a DistilBERT-like encoder; the floor is one
pass over the labels without and one with their gradient.
scoring: the 100 best of 1.3 million labels for 100 thousand texts; the floor is the product.
host: what a batch takes on the host (tokens, positives, padding), against the encoder's products.

The results of a GPU are written to ``gpu.md`` and ``gpu.json`` in benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from _gpu_timing import (
    DEVICE,
    HAS_GPU,
    HEADER,
    Machine,
    Row,
    as_markdown,
    attempt,
    show_where_it_stops,
    waits,
)
from torch import Tensor

if not HAS_GPU:
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported

import transformers
from packaging.version import Version
from transformers import BertConfig, BertModel

import skxc._functional._fused_linear as fused_linear
from skxc._data._batches import TrainingRows
from skxc._data._tokens import TokenStore
from skxc._functional._fused_linear import SGD, one_vs_all_step_
from skxc._functional._pairs import Positives
from skxc._functional._top_k import top_k_inner_products
from skxc._kernels import fused_step_for
from skxc._methods import _unidec_start
from skxc._methods._dual_encoder import DualEncoderMethod
from skxc._methods._renee import ReneeMethod
from skxc._methods._unidec import UniDECMethod
from skxc._search._ranker import search_sizes
from skxc._training._loop import Schedule, _Loop
from skxc._training._optim import make_optimizers
from skxc._training._setup import TrainingSetup
from skxc.encoders._pooled import PooledTransformer, _pad

DTYPE = torch.bfloat16 if HAS_GPU else torch.float32  # Triton's interpreter has only the latter
RESULTS = Path(__file__).parent / "results"
LABELS_A_TEXT = 5
TRITON = "Triton" if HAS_GPU else "Triton's interpreter"


@dataclass(frozen=True)
class Sizes:
    """What is measured."""

    labels: tuple[int, ...] = (131_073, 501_070, 1_305_265, 2_812_281)
    dim: int = 768
    batches: tuple[int, ...] = (32, 256, 1024)
    chunks: tuple[int, ...] = (65_536, 262_144)
    layers: tuple[int, int] = (12, 6)  # of BERT-base and of DistilBERT
    renee_batch: int = 128
    renee_length: int = 128
    dual_labels: tuple[int, ...] = (131_073, 501_070, 1_305_265)
    dual_batch: int = 256
    dual_length: int = 16
    unidec_batch: int = 256
    unidec_pool: int = 2048
    unidec_at_once: tuple[int, ...] = (64, 4096)
    queries: int = 100_000
    host: tuple[tuple[int, int], ...] = ((64, 128), (512, 32))  # texts, tokens of each
    copy_bytes: int = 1 << 31
    product: int = 8192
    repeats: int = 10

    @property
    def heads(self) -> int:
        return max(self.dim // 64, 1)


SMALL = Sizes(
    labels=(300, 517), dim=40, batches=(4, 20), chunks=(128, 256), layers=(2, 1), renee_batch=4,
    renee_length=8, dual_labels=(50,), dual_batch=4, dual_length=3, unidec_batch=4, unidec_pool=40,
    unidec_at_once=(8, 64), queries=64, host=((4, 8), (16, 4)),
    copy_bytes=1 << 20, product=64, repeats=2,
)  # fmt: skip


def draw_positives(n_labels: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels, ascending, and rows."""
    draw = np.random.default_rng(0).integers(0, n_labels, batch * LABELS_A_TEXT)
    pairs = np.unique(draw * batch + np.arange(batch).repeat(LABELS_A_TEXT))
    return pairs // batch, pairs % batch


def classifier(sizes: Sizes, machine: Machine) -> Iterator[Row]:
    """The fused one-vs-all step."""
    for n_labels in sizes.labels:
        weights = torch.empty(n_labels, sizes.dim, dtype=DTYPE, device=DEVICE).normal_(0, 0.02)
        for batch in sizes.batches:
            embeddings = torch.randn(batch, sizes.dim, device=DEVICE).to(DTYPE)
            labels, rows = map(torch.from_numpy, draw_positives(n_labels, batch))
            values = torch.ones(len(labels), device=DEVICE)
            positives = Positives(labels, rows.to(DEVICE), values)
            n = n_labels * sizes.dim
            floor_ms = machine.floor_ms(4 * n, 6 * batch * n)
            for name in (TRITON, "torch"):
                for chunk in sizes.chunks if name == TRITON else sizes.chunks[-1:]:
                    row = Row("classifier", f"{name}, chunks of {chunk:,}", n_labels, batch)
                    row.floor_ms = floor_ms
                    yield step_row(row, name, weights, embeddings, positives, chunk, sizes.repeats)
            row = Row("classifier", "autograd", n_labels, batch, floor_ms=floor_ms)
            run = lambda e=embeddings, p=positives, w=weights: autograd_step(w, e, p)  # noqa: E731
            yield attempt(row, run, sizes.repeats)
            velocity = torch.zeros_like(weights)
            for name in (TRITON, "torch"):
                row = Row("classifier", f"momentum, {name}", n_labels, batch)
                row.floor_ms = machine.floor_ms(8 * n, 6 * batch * n)
                yield step_row(
                    row, name, weights, embeddings, positives, sizes.chunks[-1], sizes.repeats,
                    velocity,
                )  # fmt: skip
                if "torch" in row.case:  # where the kernels do not serve, that was all
                    break
            del velocity


def step_row(
    row: Row,
    name: str,  # of who is to do it
    weights: Tensor,
    embeddings: Tensor,
    positives: Positives[Tensor],
    chunk_size: int,
    repeats: int,
    velocity: Tensor | None = None,
) -> Row:
    """A row's step, by the kernels or by plain torch; named by who did it in the end."""
    fused_step = triton_step(weights, embeddings) if name == TRITON else None
    if name == TRITON and fused_step is None:
        row.note = "not available"
        return row
    served = []

    def counted(*args: Any, **keywords: Any) -> Any:
        assert fused_step is not None
        served.append(row)
        return fused_step(*args, **keywords)

    step = None if fused_step is None else counted
    sgd = SGD(1e-3, 1e-4) if velocity is None else SGD(1e-3, 1e-4, 0.9)
    with patch.object(fused_linear, "fused_step_for", lambda *_, **__: step):
        attempt(
            row,
            lambda: one_vs_all_step_(
                weights, embeddings, positives, sgd, chunk_size=chunk_size, velocity=velocity
            ),
            repeats,
        )
    if name == TRITON and not served:
        row.case = row.case.replace(name, "torch")
    return row


def triton_step(weights: Tensor, embeddings: Tensor) -> Callable[..., object] | None:
    """On a GPU what the library takes by itself; else the same kernels in Triton's interpreter."""
    if HAS_GPU or find_spec("triton") is None:
        return fused_step_for(weights, embeddings)
    import triton

    if Version(triton.__version__) < Version("3.7"):  # older ones fail
        return None
    from skxc._kernels._triton import fused_step_

    return fused_step_


def autograd_step(weights: Tensor, embeddings: Tensor, positives: Positives) -> None:
    weights = weights.detach().requires_grad_()
    embeddings = embeddings.detach().requires_grad_()
    scores = embeddings @ weights.T
    targets = torch.zeros_like(scores)
    targets[positives.rows, positives.labels.to(DEVICE)] = 1
    F.binary_cross_entropy_with_logits(scores, targets, reduction="sum").backward()
    torch.optim.SGD([weights], 1e-3, weight_decay=1e-4).step()


def make_module(sizes: Sizes, n_layers: int, length: int) -> PooledTransformer:
    config = BertConfig(
        hidden_size=sizes.dim,
        num_hidden_layers=n_layers,
        num_attention_heads=sizes.heads,
        intermediate_size=4 * sizes.dim,
        max_position_embeddings=max(length, 16),
    )
    transformer = BertModel(config, add_pooling_layer=False)
    return PooledTransformer(transformer, pooling="mean", pad_token_id=0).to(DEVICE)


def layer_weights(module: PooledTransformer) -> int:
    """Weights that a token is multiplied with."""
    return sum(p.numel() for p in module.transformer.encoder.parameters())


def make_tokens(n_texts: int, length: int) -> TokenStore:
    """Of lengths from half of `length` to all of it: batches have padding."""
    rng = np.random.default_rng(1)
    lengths = rng.integers(max(length // 2, 1), length + 1, n_texts)
    lengths[0] = length
    ids = rng.integers(1, 30_000, lengths.sum()).astype(np.uint16)
    return TokenStore(ids, np.concatenate([[0], lengths.cumsum()]))


def make_rows(n_texts: int, n_labels: int, length: int) -> TrainingRows:
    labels, rows = draw_positives(n_labels, n_texts)
    Y = sp.csr_array((np.ones(len(rows), np.float32), (rows, labels)), (n_texts, n_labels))
    return TrainingRows(make_tokens(n_texts, length), Y)


def begin(
    method: Any,
    module: PooledTransformer,
    rows: TrainingRows,
    label_tokens: TokenStore | None = None,
    **settings: Any,
) -> Any:
    """A method before its first step."""
    common = {
        "epochs": 1, "batch_size": len(rows), "learning_rate": 1e-5, "weight_decay": 0.01,
        "warmup_fraction": 0.0, "max_grad_norm": None, "early_stopping": False, "dim": module.dim,
        "encode_batch_size": None,
    }  # fmt: skip
    encoder: Any = SimpleNamespace()
    setup = TrainingSetup(
        settings=method.Settings(**common | settings), module=module, rows=rows, held_out=None,
        encoder=encoder, label_texts=None if label_tokens is None else [""] * len(label_tokens),
        label_tokens=label_tokens,
        device=DEVICE, dtype=DTYPE, generator=torch.Generator(DEVICE).manual_seed(0), fitted=None,
        is_partial=False,
    )  # fmt: skip
    return method.begin(setup)


def renee(sizes: Sizes, machine: Machine) -> Iterator[Row]:
    """Renee's whole step at the largest number of labels."""
    n_labels, batch, length = sizes.labels[-1], sizes.renee_batch, sizes.renee_length
    module = make_module(sizes, sizes.layers[0], length).train()
    rows = make_rows(4 * batch, n_labels, length)
    step = begin(
        ReneeMethod, module, rows, dropout=0.5, classifier_learning_rate=1e-3,
        classifier_weight_decay=1e-4, momentum=0.0, classifier_init="random", augment=False,
        fit_intercept=True, loss="one-vs-all",
        label_chunk_size=sizes.chunks[1],
    )  # fmt: skip
    step.weights.normal_(0, 0.02)  # most labels are unseen here: their rows would be 0
    loop = _Loop(step, make_optimizers(module, 1e-5, 0.01), Schedule(250, batch))
    selected = np.arange(batch)

    def run() -> None:
        loop.run_step(rows.batch(selected), with_loss=False)

    n = n_labels * (sizes.dim + 1)
    products = 6 * (layer_weights(module) * int(rows.tokens.lengths[:batch].sum()) + batch * n)
    row = Row("renee", f"{length} tokens", n_labels, batch)
    row.floor_ms = machine.floor_ms(4 * n, products)
    attempt(row, run, sizes.repeats)
    if row.ms is not None:
        if HAS_GPU:
            row.peak_gib = torch.cuda.max_memory_allocated() / 2**30
            row.note = "all that is held; "
        row.note += waits(run)
    yield row


def unidec(sizes: Sizes, machine: Machine) -> Iterator[Row]:
    """UniDEC's whole step: texts and picked labels through one encoder."""
    all_at_once = sizes.unidec_at_once[-1:]
    for place, room, at_once in (("GPU", 1 << 60, sizes.unidec_at_once), ("host", 0, all_at_once)):
        with patch.object(_unidec_start, "device_share", lambda _, room=room: room):
            yield from unidec_rows(sizes, machine, place, at_once)


def unidec_rows(
    sizes: Sizes, machine: Machine, place: str, encode_batch_sizes: tuple[int, ...]
) -> Iterator[Row]:
    """The labels' rows in one place."""
    n_labels, batch = sizes.labels[1], sizes.unidec_batch
    module = make_module(sizes, sizes.layers[1], 64).train()
    rows = make_rows(4 * batch, n_labels, 2 * sizes.dual_length)
    label_tokens = make_tokens(n_labels, sizes.dual_length)
    step = begin(
        UniDECMethod, module, rows, label_tokens, loss="decoupled-softmax", temperature=1 / 18,
        negatives="random", pool_size=sizes.unidec_pool, negatives_per_text=6, mining_interval=2,
        classifier_loss=None, dual_weight=0.5, both_directions=True,
        learn_temperature=False, projection_dim=module.dim, batches="random",
        positives_per_text=3, dual_score_weight=0.5, dropout=0.1, classifier_learning_rate=1e-3,
        lexical_learning_rate=0.0,
    )  # fmt: skip
    loop = _Loop(step, make_optimizers(module, 1e-5, 0.01), Schedule(250, batch))
    selected, pools = np.arange(batch), list[int]()

    def run() -> None:
        loop.run_step(rows.batch(selected), with_loss=False)

    for at_once in encode_batch_sizes:
        step.settings = replace(step.settings, encode_batch_size=at_once)
        row = Row("unidec", f"{at_once:,} at once, rows on the {place}", n_labels, batch)
        with patch.object(step, "_pick", noted(step._pick, pools)):
            attempt(row, run, sizes.repeats)
        pool = statistics.mean(pools or [0])
        n_tokens = rows.tokens.lengths[:batch].sum() + pool * label_tokens.lengths.mean()
        row.floor_ms = machine.floor_ms(0, 6 * layer_weights(module) * int(n_tokens))
        if row.ms is not None:
            row.note = f"pool of {pool:,.0f}; {waits(run)}"
        yield row


def noted(pick: Callable[[Any], Any], sizes: list[int]) -> Callable[[Any], Any]:
    """UniDEC's choice of a pool, whose size is noted."""

    def run(batch: Any) -> Any:
        picked = pick(batch)
        sizes.append(len(picked.pool))
        return picked

    return run


def dual(sizes: Sizes, machine: Machine) -> Iterator[Row]:
    """The dual encoder's step over all labels."""
    for n_labels in sizes.dual_labels:
        module = make_module(sizes, sizes.layers[1], 64).train()
        rows = make_rows(sizes.dual_batch, n_labels, 2 * sizes.dual_length)
        label_tokens = make_tokens(n_labels, sizes.dual_length)
        step = begin(
            DualEncoderMethod, module, rows, label_tokens, loss="decoupled-softmax",
            temperature=0.05, negatives="all", pool_size=0, negatives_per_text=1,
            mining_interval=1, encode_batch_size=2048, k=5, alpha=1.0, normalize=True,
            positives_per_text=None, dropout=0.2,
        )  # fmt: skip
        optimizers = make_optimizers(module, 1e-5, 0.01)
        loop = _Loop(step, optimizers, Schedule(250, sizes.dual_batch))
        batch = rows.batch(np.arange(sizes.dual_batch))
        row = Row("dual", "all labels", n_labels, sizes.dual_batch)
        row.floor_ms = machine.floor_ms(0, 8 * layer_weights(module) * len(label_tokens.ids))
        run = lambda loop=loop, batch=batch: loop.run_step(batch, with_loss=False)  # noqa: E731
        # the whole table takes seconds: once is enough
        yield attempt(row, run, 1, warm_up=int(n_labels == sizes.dual_labels[0]))


def scoring(sizes: Sizes, machine: Machine) -> Iterator[Row]:
    """Exact search by the sizes of `Ranker.top_k`, which knows float32 alone."""
    n_labels = sizes.labels[min(2, len(sizes.labels) - 1)]
    at_once = search_sizes(DEVICE)
    chunk = min(max(at_once.scores // at_once.texts, 100), n_labels)
    for dtype in (torch.float32, torch.bfloat16):
        table = torch.randn(n_labels, sizes.dim, device=DEVICE).to(dtype)
        queries = torch.randn(sizes.queries, sizes.dim, device=DEVICE).to(dtype)

        def run(queries: Tensor = queries, table: Tensor = table) -> None:
            for part in queries.split(at_once.texts):
                top_k_inner_products(part, table, min(100, n_labels), chunk_size=chunk)

        run(queries[: at_once.texts])  # warm-up
        case = f"top 100, {dtype}".replace("torch.", "")
        row = Row("scoring", case, n_labels, sizes.queries)
        row.floor_ms = machine.floor_ms(0, 2 * table.numel() * sizes.queries, dtype)
        row.note = f"{at_once.texts:,} texts and {chunk:,} labels at a time"
        yield attempt(row, run, 1, warm_up=0)


def host(sizes: Sizes, machine: Machine) -> Iterator[Row]:
    """What the host does for a batch before the GPU can begin."""
    for batch, length in sizes.host:
        rows = make_rows(50 * batch, sizes.labels[0], length)
        rng = np.random.default_rng(2)
        times = []
        for _ in range(10 * sizes.repeats):
            selected = rng.integers(0, len(rows), batch)
            began = time.perf_counter()
            tokens = rows.batch(selected).tokens
            padded = [torch.from_numpy(array) for array in _pad(tokens, 0)]
            if HAS_GPU:
                padded = [t.pin_memory().to(DEVICE, non_blocking=True) for t in padded]
            times.append(1e3 * (time.perf_counter() - began))
        row = Row("host", f"{length} tokens", sizes.labels[0], batch, statistics.median(times))
        n_weights = 12 * sizes.dim**2 * sizes.layers[0]
        row.floor_ms = machine.floor_ms(0, 6 * n_weights * int(batch * length * 0.75))
        row.note = "floor: the encoder's products; below 1 x the GPU need not wait"
        yield row


PARTS = {f.__name__: f for f in (classifier, renee, unidec, scoring, host, dual)}


def about(machine: Machine) -> str:
    name = torch.cuda.get_device_name() if HAS_GPU else platform.processor() or "CPU"
    versions = [f"{m.__name__} {m.__version__}" for m in (torch, transformers)]
    if find_spec("triton"):
        import triton

        versions.append(f"triton {triton.__version__}")
    return (
        f"{name}; {', '.join(versions)}; {date.today()}; copy {machine.bytes_a_second / 1e12:.3g} "
        f"TB/s, bfloat16 product {machine.operations_a_second / 1e12:.4g} TFLOP/s, "
        f"float32 product {machine.float32_a_second / 1e12:.4g} TFLOP/s"
    )


def main() -> None:
    show_where_it_stops()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see the script run")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, help=f"folder for gpu.md and gpu.json [{RESULTS}]")
    parser.add_argument("--add", action="store_true", help="to the rows that are there already")
    args = parser.parse_args()
    if not HAS_GPU and not args.small:
        parser.error("this machine has no GPU. Pass --small to see the script run without one.")
    sizes, machine, rows = SMALL if args.small else Sizes(), Machine(), list[Row]()
    machine.measure(sizes.copy_bytes, sizes.product, sizes.repeats)
    title = about(machine)
    print(title + "\n\n" + " | ".join(HEADER))
    out = args.out or (RESULTS if HAS_GPU and not args.small else None)
    if args.add and out is not None and (out / "gpu.json").is_file():
        title, *earlier = json.loads((out / "gpu.json").read_text())
        rows += [Row(**row) for row in earlier]
    has_failed = False
    for part in args.only:
        for row in PARTS[part](sizes, machine):
            rows.append(row)
            has_failed |= row.has_failed
            print(" | ".join(row.cells()), flush=True)
            if out is not None:  # at once: what breaks off loses nothing
                write(out, title, rows)
        if HAS_GPU:
            torch.cuda.empty_cache()
    sys.exit(has_failed)


def write(out: Path, title: str, rows: list[Row]) -> None:
    """The table and its figures; a file is there as it was, or whole."""
    out.mkdir(parents=True, exist_ok=True)
    figures = json.dumps([title, *map(asdict, rows)], indent=1)
    for name, text in (("gpu.md", as_markdown(title, rows)), ("gpu.json", figures)):
        (out / "new").write_text(text)
        (out / "new").replace(out / name)


if __name__ == "__main__":
    main()
