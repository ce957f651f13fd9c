"""Seconds and memory of an epoch against the number of labels, for the three estimators.

    OMP_NUM_THREADS=1 python benchmarks/growth.py [--most 1000000] [--plot FILE.png]

Synthetic texts (`make_extreme_classification`), always as many, one epoch with the embedded
encoder at 64 dimensions; ReneeClassifier over all labels, the others over pools of at most 2,048.
Each fit is a process of its own; an epoch's seconds are `history_`'s, memory is the peak while
fitting less what the loaded data took. Expected: seconds flat for UniDEC and DualEncoderXC, linear
for ReneeClassifier; memory linear with the tables that each keeps (classifier rows; Adam's moments;
label embeddings and texts), whatever the loss does.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from typing import Any

from _measuring import in_a_process, peak_bytes, print_row, resident_bytes

import skxc
from skxc.datasets import make_extreme_classification
from skxc.encoders import BagOfWordsEncoder

ESTIMATORS = ("ReneeClassifier", "DualEncoderXC", "UniDEC")
N_TEXTS, DIM = 20_000, 64


def run(estimator: str, n_labels: int) -> dict[str, Any]:
    """One epoch on one size."""
    warnings.simplefilter("ignore", UserWarning)
    logging.disable()
    data = make_extreme_classification(N_TEXTS, n_labels, random_state=0)
    parameters: dict[str, Any] = {"dual_score_weight": 0.5} if estimator == "UniDEC" else {}
    if estimator == "ReneeClassifier":
        parameters["augment"] = False  # or there would be more texts where there are more labels
    clf = getattr(skxc, estimator)(
        BagOfWordsEncoder(dim=DIM), label_texts=data.label_texts, epochs=1, batch_size=256,
        random_state=0, **parameters,
    )  # fmt: skip
    before = resident_bytes()
    began = time.perf_counter()
    clf.fit(data.texts, data.Y)
    wall = time.perf_counter() - began
    return {
        "estimator": estimator,
        "labels": n_labels,
        "epoch s": round(clf.history_[0]["seconds"], 1),
        "fit s": round(wall, 1),
        "peak MiB": round((peak_bytes() - before) / 2**20),
        "label table MiB": round(clf.label_embeddings_.nbytes / 2**20),
    }


def plot(rows: list[dict[str, Any]], path: str) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, (key, title) in zip(
        axes, (("epoch s", "seconds an epoch"), ("peak MiB", "peak memory, MiB")), strict=True
    ):
        for estimator in ESTIMATORS:
            mine = [row for row in rows if row["estimator"] == estimator]
            axis.plot([r["labels"] for r in mine], [r[key] for r in mine], "o-", label=estimator)
        axis.set(xscale="log", yscale="log", xlabel="labels", title=title)
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=1_000_000)
    parser.add_argument("--plot")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for n_labels in (n for n in (1_000, 10_000, 100_000, 1_000_000) if n <= args.most):
        for estimator in ESTIMATORS:
            rows.append(in_a_process(run, estimator, n_labels))
            print_row(rows[-1], is_first=len(rows) == 1)
    if args.plot:
        plot(rows, args.plot)


if __name__ == "__main__":
    main()
