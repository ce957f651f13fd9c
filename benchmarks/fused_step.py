"""Time and memory of the fused one-vs-all step, against its three matrix products alone.

    OMP_NUM_THREADS=2 python benchmarks/fused_step.py [--labels 10000 100000 1000000]

Floor: scores, gradient of the texts and gradient of the weights, as three products over the same
chunks, nothing else. A training step cannot do less. Memory: what the process peaks at, less what
it held before the weights were made, over the weights' own size. Every case runs in a process of
its own. The autograd row is plain ``binary_cross_entropy_with_logits`` and ``torch.optim.SGD``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from _measuring import in_a_process, peak_bytes, resident_bytes

from skxc._functional._fused_linear import SGD, one_vs_all_step_
from skxc._functional._pairs import Positives

LABELS_PER_TEXT = 5


def make_batch(n_labels: int, dim: int, batch: int) -> tuple[torch.Tensor, Positives[torch.Tensor]]:
    labels = torch.randint(n_labels, (batch * LABELS_PER_TEXT,))
    rows = torch.arange(batch).repeat_interleave(LABELS_PER_TEXT)
    pairs = torch.unique(labels * batch + rows)  # sorted by label, each once
    positives = Positives(pairs // batch, pairs % batch, torch.ones(len(pairs)))
    return torch.randn(batch, dim), positives


def products_alone(weights: torch.Tensor, embeddings: torch.Tensor, chunk_size: int) -> None:
    scores = embeddings.new_empty((chunk_size, len(embeddings)))
    gradient = torch.zeros_like(embeddings)
    weight_gradient = embeddings.new_empty((chunk_size, embeddings.shape[1]))
    for start in range(0, len(weights), chunk_size):
        chunk = weights[start : start + chunk_size]
        error = torch.mm(chunk, embeddings.T, out=scores[: len(chunk)])
        gradient.addmm_(error.T, chunk)
        torch.mm(error, embeddings, out=weight_gradient[: len(chunk)])


def autograd_step(
    weights: torch.Tensor, embeddings: torch.Tensor, positives: Positives[torch.Tensor]
) -> None:
    weights.requires_grad_()
    embeddings = embeddings.clone().requires_grad_()
    targets = torch.zeros(len(embeddings), len(weights))
    targets[positives.rows, positives.labels] = positives.values
    scores = embeddings @ weights.T
    F.binary_cross_entropy_with_logits(scores, targets, reduction="sum").backward()
    torch.optim.SGD([weights], 1e-3).step()
    weights.grad = None


def median_seconds(run: Callable[[], None], repeats: int) -> float:
    run()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return sorted(seconds)[len(seconds) // 2]


def measure(
    case: str, n_labels: int, dim: int, batch: int, chunk_size: int, repeats: int
) -> tuple[float, float]:
    """Median seconds a step, and extra peak memory over the weights' own size."""
    torch.manual_seed(0)
    embeddings, positives = make_batch(n_labels, dim, batch)
    torch.mm(embeddings, embeddings.T)  # the product library's own buffers
    before = resident_bytes()
    dtype = torch.bfloat16 if case == "fused bfloat16" else torch.float32
    # rows as the estimator lays them out: 8 numbers apart or a multiple of it
    weights = torch.empty(n_labels, -(-dim // 8) * 8, dtype=dtype)[:, :dim].normal_(0, 0.02)
    if case == "products":
        seconds = median_seconds(lambda: products_alone(weights, embeddings, chunk_size), repeats)
    elif case == "autograd":
        seconds = median_seconds(lambda: autograd_step(weights, embeddings, positives), repeats)
    else:
        sgd = SGD(1e-3, 1e-4)

        def step() -> None:
            one_vs_all_step_(weights, embeddings, positives, sgd, chunk_size=chunk_size)

        seconds = median_seconds(step, repeats)
    return seconds, (peak_bytes() - before) / weights.nbytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--chunk", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    print(f"dim {args.dim}, batch {args.batch}, chunks of {args.chunk}, torch {torch.__version__},")
    print(f"{torch.get_num_threads()} threads; medians of {args.repeats} steps\n")
    print(f"{'labels':>9}  {'case':<15} {'ms':>9} {'/ products':>11} {'peak / weights':>15}")
    for n_labels in args.labels:
        floor = None
        for case in ("products", "fused", "fused bfloat16", "autograd"):
            job = (case, n_labels, args.dim, args.batch, args.chunk, args.repeats)
            seconds, memory = in_a_process(measure, *job)
            floor = floor or seconds
            print(
                f"{n_labels:>9}  {case:<15} {1000 * seconds:>9.1f} {seconds / floor:>11.2f} "
                f"{memory:>15.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
