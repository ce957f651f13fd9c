"""Time and memory of a fit in one process and in several, one thread each.

    python benchmarks/many_processes.py [--labels 100000] [--processes 1,2] [--epochs 2]
    python benchmarks/many_processes.py --on-paper

20,000 synthetic texts (`make_extreme_classification`) of 30 words, each with 3 labels at random,
whose texts are 2 words; the embedded encoder at 256 dimensions (or `--encoder` of a folder), no
second stage. torchrun starts the processes, and they talk over gloo; without a core each, "seconds"
mean little. "seconds": of an epoch's steps, the shortest. "fit": of the whole fit. "rows MiB":
label rows and their moments that a process holds in training. "peak MiB": the highest resident
memory of a process that belongs to no file (Linux: RssAnon), beyond what it held before the fit;
"labels MiB": the part of it that grows with the labels, by a fit of 1,000 of them. Expected: with
two processes half of the rows; less of the rest is shared out (label texts, tokens and y are not,
and some scores are held at once however many there are); and an epoch takes more than half of the
seconds, since batches are gathered and the encoder's gradients summed.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from _measuring import OwnMemory, print_row

ESTIMATORS = {
    "ReneeClassifier": {"augment": False},
    "DualEncoderXC": {"negatives": "mined", "mining_interval": 1},
    "UniDEC": {"lexical_learning_rate": 0},
}
FEW_LABELS = 1000


def fit(options: argparse.Namespace) -> dict[str, float]:
    """One fit, in a process by itself or in one of several."""
    import skxc
    from skxc._estimator import _fit
    from skxc.datasets import make_extreme_classification
    from skxc.encoders import BagOfWordsEncoder, TransformerEncoder

    warnings.simplefilter("ignore", UserWarning)
    logging.disable()

    def make(n_texts: int, n_labels: int) -> tuple[Any, list[str], Any]:
        texts = make_extreme_classification(n_texts, 1000, words_per_text=30, random_state=0).texts
        rng = np.random.default_rng(0)
        words = np.unique(" ".join(texts).split())
        label_texts = [" ".join(pair) for pair in rng.choice(words, (n_labels, 2))]
        labels = rng.integers(n_labels, size=(n_texts, 3))
        pairs = (np.ones(3 * n_texts, np.float32), labels.ravel(), np.arange(0, 3 * n_texts + 1, 3))
        Y = sp.csr_array(pairs, (n_texts, n_labels))
        Y.sum_duplicates()
        Y.data[:] = 1
        encoder = BagOfWordsEncoder(dim=256)
        if options.encoder:
            encoder = TransformerEncoder(model=options.encoder, max_length=32)
        clf = getattr(skxc, options.estimator)(
            encoder, label_texts=label_texts, epochs=options.epochs, batch_size=256,
            rerank_weight=0, random_state=0, **ESTIMATORS[options.estimator],
        )  # fmt: skip
        return clf, texts, Y

    clf, texts, Y = make(300, 50)  # what is compiled and imported once is no part of it
    clf.fit(texts, Y)
    clf, texts, Y = make(options.texts, options.labels)
    rows, train = [], _fit.train

    def watched(step: Any, *arguments: Any) -> Any:
        rows.append(sum(step.state()[name].nbytes for name in step.sharded & {*step.state()}))
        return train(step, *arguments)

    _fit.train = watched
    with OwnMemory() as memory:
        start = time.perf_counter()
        clf.fit(texts, Y)
        seconds = time.perf_counter() - start
    return {
        "seconds": min(entry["seconds"] for entry in clf.history_),
        "fit": seconds,
        "rows": rows[-1] / 2**20,
        "peak": (memory.peak - memory.before) / 2**20,
    }


def launched(n_processes: int, *arguments: Any) -> list[dict[str, float]]:
    """What each of the processes measures."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--into", folder, *map(str, arguments)]
        if n_processes > 1:
            torchrun = ["-m", "torch.distributed.run", "--standalone"]
            command[1:1] = [*torchrun, "--nproc-per-node", str(n_processes)]
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        return [json.loads(path.read_text()) for path in sorted(Path(folder).glob("*.json"))]


def print_paper() -> None:
    """Bytes that a GPU of eight receives in a step, from the shapes; nothing is measured here."""
    n, dim, n_labels, parameters = 8, 768, 1_305_265, 66_362_880  # DistilBERT's
    part = (n - 1) / n

    def rows(n_rows: int, width: int) -> float:
        """Gathered, or reduced and scattered."""
        return part * n_rows * width * 4

    of_encoder = 2 * part * parameters * 4
    steps = {
        "ReneeClassifier, batch 1024": (2 * rows(1024, dim), 0.0, 2 * 2 * n_labels * dim),
        "DualEncoderXC, batch 3000, all labels": (2 * rows(3000, dim), 0.0, 0),
        "UniDEC, batch 1024, pool 4096, projection 384": (
            rows(1024 + 4096, dim), rows(4096, 384), 3 * 4 * n_labels * 384,
        ),
    }  # fmt: skip
    for i, (step, (of_embeddings, of_labels, table)) in enumerate(steps.items()):
        total = of_embeddings + of_labels + of_encoder
        row = {
            "step": step,
            "embeddings, MB": f"{of_embeddings / 1e6:.1f}",
            "label rows, MB": f"{of_labels / 1e6:.1f}",
            "encoder's gradient, MB": f"{of_encoder / 1e6:.0f}",
            "ms at 450 GB/s (NVLink 4)": f"{1e3 * total / 450e9:.1f}",
            "ms at 63 GB/s (PCIe 5 x16)": f"{1e3 * total / 63e9:.1f}",
            "table and optimiser a GPU, GiB": f"{table / n / 2**30:.2f}",
        }
        print_row(row, is_first=i == 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--labels", type=int, default=100_000)
    parser.add_argument("--processes", default="1,2")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--encoder", help="the folder of a transformer")
    parser.add_argument("--on-paper", action="store_true", help=print_paper.__doc__)
    parser.add_argument("--into")
    parser.add_argument("--estimator")
    options = parser.parse_args()
    if options.on_paper:
        print_paper()
        return
    if options.into:  # one of the processes
        found = fit(options)
        Path(options.into, f"{os.environ.get('RANK', '0')}.json").write_text(json.dumps(found))
        return
    is_first = True
    for estimator in ESTIMATORS:
        for n in map(int, options.processes.split(",")):
            rest = ["--estimator", estimator]
            for name in ("epochs", "texts", "encoder"):
                if (value := getattr(options, name)) is not None:
                    rest += [f"--{name}", value]
            of_few = launched(n, *rest, "--labels", FEW_LABELS)
            of_all = launched(n, *rest, "--labels", options.labels)
            peak, peak_of_few = (max(one["peak"] for one in each) for each in (of_all, of_few))
            first = of_all[0]
            row = {
                "estimator": estimator,
                "processes": n,
                "seconds": f"{first['seconds']:.1f}",
                "fit": f"{first['fit']:.1f}",
                "rows MiB": f"{first['rows']:.0f}",
                "peak MiB": f"{peak:.0f}",
                "labels MiB": f"{peak - peak_of_few:.0f}",
            }
            print_row(row, is_first=is_first)
            is_first = False


if __name__ == "__main__":
    main()
