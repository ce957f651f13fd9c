"""Exact search for the best labels, against its matrix product alone.

    OMP_NUM_THREADS=1 python benchmarks/prediction.py [--labels 100000] [--texts 1024]

Batches of 256 texts. Product: the scores of the same texts and chunks of labels in float32, and
nothing else. Search: what an estimator does with them, in eight bits where the processor multiplies
these, and in float32. With words, all have the words' scores, too (so many a label, Zipf-like like
the texts' words). They take turns, batch by batch; medians.
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
from skxc._kernels._int8 import has_int8_products
from skxc._search._ranker import LabelTable, Ranker, search_sizes

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", type=int, default=100_000)
    parser.add_argument("--texts", type=int, default=2048)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--words-per-label", type=int, default=30)
    args = parser.parse_args()
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    rows = torch.randn(args.labels, args.dim, generator=generator)
    rows = torch.nn.functional.normalize(rows, dim=1)
    words = zipf_words(rng, args.labels, args.words_per_label, 50_000)
    buffer = torch.empty(CHUNK, QUERY_BATCH)
    searches = ["float32"] + ["eight bits"] * has_int8_products()
    print("| words | k | search | product ms | search ms | search / product |")
    print("|---|---|---|---|---|---|")
    for has_words in (False, True):
        table = LabelTable.of(rows, words if has_words else None)
        ranker = Ranker(torch.nn.Linear(1, 1), lambda x: x, lambda: table, torch.float32)  # noqa: B023
        for k in (5, 100):
            runs: dict[str, list[float]] = {name: [] for name in ("product", *searches)}
            for _ in range(args.texts // QUERY_BATCH + 1):
                queries = torch.randn(QUERY_BATCH, args.dim, generator=generator)
                tokens = token_store(zipf_words(rng, QUERY_BATCH, WORDS_PER_TEXT, 50_000))
                given = queries, tokens, k, None
                runs["product"].append(seconds_of(lambda: product(*given[:2], table, buffer)))  # noqa: B023
                runs["float32"].append(seconds_of(lambda: ranker._top_k_in_float32(*given)))  # noqa: B023
                if "eight bits" in runs:
                    runs["eight bits"].append(seconds_of(lambda: ranker.exact_top_k(*given)))  # noqa: B023
            ms = {name: 1e3 * float(np.median(seconds[1:])) for name, seconds in runs.items()}
            for name in searches:
                print(
                    f"| {'yes' if has_words else 'no'} | {k} | {name} | {ms['product']:.0f} | "
                    f"{ms[name]:.0f} | {ms[name] / ms['product']:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
