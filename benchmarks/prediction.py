"""Exact search for the best labels, against its matrix product alone.

    OMP_NUM_THREADS=1 python benchmarks/prediction.py [--labels 100000] [--texts 1024] [--profile]

Batches of 256 texts, float32. Product: the scores of the same texts and chunks of labels, and
nothing else. Search: what an estimator does with them, by `LabelTable` and `top_k_inner_products`.
With words, both have the sparse product with a matrix of words' weights, too (so many a label,
Zipf-like like the texts' words). The two take turns, batch by batch; medians.
``--profile`` tells which of torch's operations take the time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from skxc._data._tokens import TokenStore
from skxc._functional._top_k import top_k_inner_products
from skxc._search._ranker import LabelTable, search_sizes

SIZES = search_sizes(torch.device("cpu"))
QUERY_BATCH, CHUNK = SIZES.texts, SIZES.scores // SIZES.texts
WORDS_PER_TEXT = 9


def product(queries: Tensor, tokens: TokenStore, table: LabelTable, buffer: Tensor) -> None:
    added = table.word_scores(tokens)
    for start in range(0, len(table.rows), CHUNK):
        chunk = table.rows[start : start + CHUNK]
        if added is None:
            torch.mm(chunk, queries.T, out=buffer[: len(chunk)])
        else:
            added(start, start + len(chunk)).T.addmm_(chunk, queries.T)


def search(queries: Tensor, tokens: TokenStore, table: LabelTable, k: int) -> None:
    top_k_inner_products(
        queries, table.rows, k,
        chunk_size=CHUNK, unseen=table.unseen, added=table.word_scores(tokens),
    )  # fmt: skip


def zipf_words(rng: np.random.Generator, n_rows: int, per_row: int, n_words: int) -> sp.csr_array:
    """Rows of unit length over `n_words` words; frequent ones are in many."""
    words = np.minimum(n_words ** rng.random(n_rows * per_row), n_words - 1).astype(np.int64)
    rows = np.repeat(np.arange(n_rows), per_row)
    matrix = sp.csr_array((np.ones(len(rows), np.float32), (rows, words)), (n_rows, n_words))
    matrix.sum_duplicates()
    matrix.data[:] = per_row**-0.5
    return matrix


def token_store(matrix: sp.csr_array) -> TokenStore:
    offsets, ids = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
    return TokenStore(offsets=offsets, ids=ids, weights=matrix.data)


def seconds_of(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def profiled(run: Callable[[], None]) -> None:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        run()
    print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=12))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", type=int, default=100_000)
    parser.add_argument("--texts", type=int, default=2048)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--words-per-label", type=int, default=30)
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    rows = torch.randn(args.labels, args.dim, generator=generator)
    rows = torch.nn.functional.normalize(rows, dim=1)
    words = zipf_words(rng, args.labels, args.words_per_label, 50_000)
    buffer = torch.empty(CHUNK, QUERY_BATCH)
    print("| words | k | product ms | search ms | search / product |\n|---|---|---|---|---|")
    for name, of_labels in (("no", None), ("yes", words)):
        table = LabelTable.of(rows, of_labels)
        for k in (5, 100):
            products, searches = [], []
            for _ in range(args.texts // QUERY_BATCH):
                queries = torch.randn(QUERY_BATCH, args.dim, generator=generator)
                tokens = token_store(zipf_words(rng, QUERY_BATCH, WORDS_PER_TEXT, 50_000))
                products.append(seconds_of(lambda: product(queries, tokens, table, buffer)))  # noqa: B023
                searches.append(seconds_of(lambda: search(queries, tokens, table, k)))  # noqa: B023
            ms = [1e3 * float(np.median(seconds)) for seconds in (products, searches)]
            print(f"| {name} | {k} | {ms[0]:.0f} | {ms[1]:.0f} | {ms[1] / ms[0]:.2f} |", flush=True)
            if args.profile:
                profiled(lambda: search(queries, tokens, table, k))  # noqa: B023


if __name__ == "__main__":
    main()
