"""Variants of an estimator on held-out training rows: test rows take no part in choices."""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np

from skxc.datasets import load_library_subjects, load_xc_folder
from skxc.metrics import propensities, ranking_metrics, recall_at_k


class Variant(NamedTuple):
    """What differs from the default setting."""

    parameters: Mapping[str, Any] = {}
    patch: Callable[[], AbstractContextManager[Any]] = nullcontext


def main(estimator: Any, variants: Mapping[str, Variant], description: str) -> None:
    """Train every variant on nine tenths of the training rows and show it on the rest."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("folder", nargs="?", help="None: the packaged set")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="names of variants")
    args = parser.parse_args()
    data = load_library_subjects() if args.folder is None else load_xc_folder(args.folder)
    order = np.random.default_rng(0).permutation(len(data.texts))
    held_out, kept = np.split(order, [len(order) // 10])
    print(f"means over {args.seeds} seeds, {len(held_out)} held-out rows\n")
    print("| variant | P@1 | P@3 | P@5 | PSP@5 | R@100 | CPU s |\n|---|---|---|---|---|---|---|")
    warnings.simplefilter("ignore", UserWarning)  # labels with one text, or none that is known
    for name, variant in variants.items():
        if args.only and name not in args.only:
            continue
        began = time.process_time()
        rows = [_measures(estimator, variant, data, kept, held_out, s) for s in range(args.seeds)]
        seconds = (time.process_time() - began) / args.seeds
        means = " | ".join(f"{value:.2f}" for value in np.mean(rows, axis=0))
        print(f"| {name} | {means} | {seconds:.0f} |", flush=True)


def _measures(
    estimator: Any, variant: Variant, data: Any, kept: Any, held_out: Any, seed: int
) -> list[float]:
    texts, held_out_texts = ([data.texts[i] for i in rows] for rows in (kept, held_out))
    masks = [None if data.exclude is None else data.exclude[rows] for rows in (kept, held_out)]
    with variant.patch():
        clf = estimator(label_texts=data.label_texts, random_state=seed, **variant.parameters)
        clf.fit(texts, data.Y[kept], exclude=masks[0])
        proba = clf.predict_proba(held_out_texts, exclude=masks[1])
    metrics = ranking_metrics(
        data.Y[held_out], proba, propensities=propensities(data.Y[kept]), exclude=masks[1]
    )
    recall = recall_at_k(data.Y[held_out], proba, k=100, exclude=masks[1])
    return [*(100 * metrics[m] for m in ("P@1", "P@3", "P@5", "PSP@5")), 100 * recall]
