"""What each departure of ReneeClassifier from the paper is worth, on the packaged set.

    OMP_NUM_THREADS=1 python benchmarks/renee_choices.py [FOLDER]

Every row changes one thing and is trained at the default setting otherwise. The figures are on a
tenth of the training rows, held out: test rows take no part in choices.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch.nn.functional as F

import skxc._renee as renee
from skxc import ReneeClassifier
from skxc.datasets import load_library_subjects, load_xc_folder
from skxc.metrics import propensities, ranking_metrics

DEFAULT_RATE = ReneeClassifier._defaults["classifier_learning_rate"]


@contextmanager
def patched(**names: Callable[..., Any]) -> Iterator[None]:
    before = {name: getattr(renee, name) for name in names}
    for name, value in names.items():
        setattr(renee, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(renee, name, value)


def zero_log_odds(rows: Any, fitted: Any = None) -> np.ndarray:
    return np.zeros(rows.Y.shape[1], np.float32)


def no_intercept(embeddings: Any) -> Any:
    return F.pad(embeddings, (0, 1), value=0.0)


VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "as it is": ({}, {}),
    "no intercept (the paper)": ({}, {"_log_odds": zero_log_odds, "_with_intercept": no_intercept}),
    "intercept begun at 0": ({}, {"_log_odds": zero_log_odds}),
    "momentum 0.9, a tenth of the rate (the paper)": (
        {"momentum": 0.9, "classifier_learning_rate": DEFAULT_RATE / 10},
        {},
    ),
    "momentum 0.9, the same rate": ({"momentum": 0.9}, {}),
    "no label-text augmentation": ({"augment": False}, {}),
    "rows begun at the label texts": ({"classifier_init": "label_texts"}, {}),
    "bfloat16 weights": ({"precision": "bfloat16"}, {}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    data = load_library_subjects() if args.folder is None else load_xc_folder(args.folder)
    order = np.random.default_rng(0).permutation(len(data.texts))
    held_out, kept = np.split(order, [len(order) // 10])
    texts, held_out_texts = ([data.texts[i] for i in rows] for rows in (kept, held_out))
    print(f"means over {args.seeds} seeds, {len(held_out)} held-out rows\n")
    print("| variant | P@1 | P@3 | P@5 | PSP@5 | CPU s |\n|---|---|---|---|---|---|")
    for name, (parameters, patches) in VARIANTS.items():
        began = time.process_time()
        rows = []
        for seed in range(args.seeds):
            with patched(**patches):
                clf = ReneeClassifier(
                    label_texts=data.label_texts, random_state=seed, **parameters
                ).fit(texts, data.Y[kept])
                proba = clf.predict_proba(held_out_texts)
            metrics = ranking_metrics(
                data.Y[held_out], proba, propensities=propensities(data.Y[kept])
            )
            rows.append([100 * metrics[m] for m in ("P@1", "P@3", "P@5", "PSP@5")])
        seconds = (time.process_time() - began) / args.seeds
        means = " | ".join(f"{value:.2f}" for value in np.mean(rows, axis=0))
        print(f"| {name} | {means} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
