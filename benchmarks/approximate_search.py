"""The approximate search against the exact one: recall, texts a second, building, bytes.

    OMP_NUM_THREADS=1 python benchmarks/approximate_search.py [synthetic] [FOLDER:ESTIMATOR ...]

Each TABLE of labels is a fitted estimator's with the embeddings of the set's test texts, or
synthetic: 1,000,000 unit vectors in 256 dimensions, members of 20,000 clusters of 500 topics, whose
numbers fall off as those of fitted tables do; its texts are members with noise. The second stage,
where there is one, takes part in neither search, and texts are embedded before. Each width (labels
that a walk through the graph keeps) and the exact search take turns batch by batch, 256 texts each;
medians. Recall is the share of the exact search's best k labels. Rows go to
`benchmarks/results/approximate_search.jsonl`; the table and the picture are made of all rows there.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import skxc
from skxc._data._tokens import TokenStore
from skxc._search import _approximate
from skxc._search._approximate import LabelIndex
from skxc._search._ranker import LabelTable, Ranker
from skxc.datasets import load_xc_folder

RESULTS = Path(__file__).parent / "results" / "approximate_search.jsonl"
BATCH, N_TEXTS, KS = 256, 1024, (5, 100)
WIDTHS = {5: (16, 32, 64, 128, 256, 512), 100: (100, 200, 400, 800, 1600)}


def synthetic(n: int, dim: int = 256) -> tuple[Ranker, NDArray[np.float32], TokenStore]:
    """Unit vectors of clusters, and noisy members of them."""
    rng = np.random.default_rng(0)
    scale = np.arange(1, dim + 1, dtype=np.float32) ** -0.35
    scale /= np.linalg.norm(scale)

    def draw(m: int) -> NDArray[np.float32]:
        return rng.standard_normal((m, dim), dtype=np.float32) * scale

    def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    n_clusters = n // 50
    clusters = draw(n // 2000)[rng.integers(n // 2000, size=n_clusters)] + draw(n_clusters)
    rows = unit(draw(n) + clusters[rng.integers(n_clusters, size=n)])
    texts = unit(rows[rng.integers(n, size=N_TEXTS)] + np.float32(0.6) * draw(N_TEXTS))
    table = LabelTable.of(torch.from_numpy(rows))
    ranker = Ranker(torch.nn.Linear(1, 1), lambda x: x, lambda: table, torch.float32)
    tokens = TokenStore(np.zeros(N_TEXTS, np.uint16), np.arange(N_TEXTS + 1))
    return ranker, texts, tokens


def fitted(folder: str, estimator: str) -> tuple[Ranker, NDArray[np.float32], TokenStore]:
    """The table of an estimator and the embeddings of test texts."""
    data = load_xc_folder(folder)
    clf = getattr(skxc, estimator)(label_texts=data.label_texts, random_state=0, device="cpu")
    clf.fit(data.texts, data.Y, exclude=data.exclude)
    tokens = clf.encoder_.tokenize(data.test_texts[:N_TEXTS])
    ranker = clf._get_ranker()
    return ranker, ranker.embed(tokens), tokens


def measured(name: str, ranker: Ranker, texts: NDArray[np.float32], tokens: TokenStore) -> Any:
    """A row for each k and width."""
    began = time.perf_counter()
    index = LabelIndex.built(ranker.table)
    build_s = time.perf_counter() - began
    n_bytes = sum(array.nbytes for array in index.arrays().values())
    batches = [np.arange(s, min(s + BATCH, len(texts))) for s in range(0, len(texts), BATCH)]
    for k in KS:
        searches = {None: ranker.exact_top_k} | {width: index.search(ranker) for width in WIDTHS[k]}
        seconds: dict[int | None, list[float]] = {width: [] for width in searches}
        recalls: dict[int | None, list[float]] = {width: [] for width in searches}
        exact = np.empty((0, k), np.int64)
        for rows in (batches[0], *batches):  # the first one warms up
            embeddings, part = torch.from_numpy(texts[rows]), tokens.take(rows)
            for width, search in searches.items():
                _approximate._WIDTH, _approximate._WIDTH_A_LABEL = width or 0, 0
                began = time.perf_counter()
                found, _ = search(embeddings, part, k, None)
                seconds[width].append((time.perf_counter() - began) / len(rows))
                exact = found if width is None else exact
                recalls[width].append(recall(found, exact))
        exact_s = float(np.median(seconds[None][1:]))
        for width in WIDTHS[k]:
            s = float(np.median(seconds[width][1:]))
            yield {
                "table": name, "labels": len(ranker.table.rows), "in_graph": len(index.graph),
                "has_words": ranker.table.words is not None, "k": k, "width": width,
                "recall": round(float(np.mean(recalls[width][1:])), 4),
                "texts_a_second": round(1 / s), "exact_texts_a_second": round(1 / exact_s),
                "ratio": round(exact_s / s, 2), "build_s": round(build_s, 1),
                "index_mib": round(n_bytes / 2**20, 1), "threads": torch.get_num_threads(),
                "processor": platform.processor() or platform.machine(),
            }  # fmt: skip


def recall(found: NDArray[np.int64], wanted: NDArray[np.int64]) -> float:
    return float(np.mean([np.isin(w, f).mean() for f, w in zip(found, wanted, strict=True)]))


def report(rows: list[dict[str, Any]]) -> None:
    """The table and the picture of all rows."""
    lines = [
        "# Approximate search", "",
        "Made by `benchmarks/approximate_search.py`; not written by hand. One thread, batches of "
        "256 texts; `x`: times as fast as the exact search of the same run.", "",
        "| table | labels | k | width | recall | texts a second | exact | x | build s | MiB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    for r in rows:
        lines.append(
            f"| {r['table']} | {r['labels']:,} | {r['k']} | {r['width']} | {r['recall']:.3f} | "
            f"{r['texts_a_second']:,} | {r['exact_texts_a_second']:,} | {r['ratio']:.1f} | "
            f"{r['build_s']:.0f} | {r['index_mib']:.0f} |"
        )
    RESULTS.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    draw(rows)


def draw(rows: list[dict[str, Any]]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, k in zip(figure.subplots(1, 2), KS, strict=True):
        for name in dict.fromkeys(row["table"] for row in rows):
            curve = [row for row in rows if row["table"] == name and row["k"] == k]
            label = f"{name}, {curve[0]['labels']:,} labels"
            axes.plot([r["ratio"] for r in curve], [r["recall"] for r in curve], "o-", label=label)
        axes.axhline(0.99, color="grey", linewidth=0.8)
        axes.axvline(10 if k == 5 else 1, color="grey", linewidth=0.8, linestyle=":")
        axes.set(xscale="log", xlabel="times as fast as the exact search", ylim=(0.6, 1.01))
        axes.set(ylabel=f"share of the exact best {k} labels")
    axes.legend(fontsize=7)
    figure.savefig(RESULTS.with_suffix(".png"), dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", metavar="TABLE")
    parser.add_argument("--labels", type=int, default=1_000_000, help="of the synthetic table")
    args = parser.parse_args()
    RESULTS.parent.mkdir(exist_ok=True)
    for table in args.tables:
        folder, _, estimator = table.rpartition(":")
        made = synthetic(args.labels) if table == "synthetic" else fitted(folder, estimator)
        name = f"{Path(folder).name} {estimator}" if folder else "synthetic"
        with RESULTS.open("a", encoding="utf-8") as file:
            for row in measured(name, *made):
                print(json.dumps(row), flush=True)
                file.write(json.dumps(row) + "\n")
    report([json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()])


if __name__ == "__main__":
    main()
