"""An estimator at its default setting on real sets: accuracy, seconds, memory.

    OMP_NUM_THREADS=1 python benchmarks/real_sets.py [--estimator ReneeClassifier] [FOLDER ...]

A FOLDER is in any layout that `skxc.datasets.load_xc_folder` reads; the packaged library subjects
come first. Each set runs in a process of its own and gives one row of a table. Pairs that the set
excludes leave before the top-k cut; propensities are of the training labels as given; nothing is
chosen on the test rows. Memory is the process's peak less what it held once the data were loaded.
"""

from __future__ import annotations

import argparse
import ast
import json
import multiprocessing
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import skxc
from skxc.datasets import load_library_subjects, load_xc_folder
from skxc.metrics import propensities, ranking_metrics

MEASURES = ("P@1", "P@3", "P@5", "nDCG@5", "PSP@1", "PSP@5")


def run(
    estimator: str, folder: str | None, parameters: dict[str, Any], no_exclude: bool
) -> dict[str, Any]:
    """Fit and evaluate on one set."""
    data = load_library_subjects() if folder is None else load_xc_folder(folder)
    make = getattr(skxc, estimator)  # imports torch: not a part of what fitting takes
    loaded = psutil.Process().memory_info().rss
    began, cpu_began = time.perf_counter(), time.process_time()
    clf = make(label_texts=data.label_texts, random_state=0, **parameters)
    clf.fit(data.texts, data.Y, exclude=None if no_exclude else data.exclude)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    began = time.perf_counter()
    proba = clf.predict_proba(data.test_texts, exclude=data.test_exclude)
    predict = time.perf_counter() - began
    metrics = ranking_metrics(
        data.Y_test, proba, propensities=propensities(data.Y), exclude=data.test_exclude
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "set": "library subjects (packaged)" if folder is None else Path(folder).name,
        "labels": clf.n_labels_,
        **{m: round(100 * metrics[m], 2) for m in MEASURES},
        "unseen R@100": _unseen_recall(data, proba),
        "fit CPU s": round(cpu, 1),
        "fit s": round(wall, 1),
        "texts/s": round(len(data.test_texts) / predict),
        "MiB": round((peak - loaded) / 2**20),
        "padding": round(max(h.get("padding", 0.0) for h in clf.history_), 3),
    }


def _unseen_recall(data: Any, proba: Any) -> float | str:
    """Share of the test pairs of labels without a training row that are among the best 100."""
    is_unseen = np.asarray(data.Y.sum(0)).ravel() == 0
    true = data.Y_test > 0
    if data.test_exclude is not None:
        true = true - true.multiply(data.test_exclude)
    true, found = true[:, is_unseen].astype(float), (proba[:, is_unseen] > 0).astype(float)
    return round(100 * true.multiply(found).sum() / true.sum(), 2) if true.sum() else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--estimator", default="ReneeClassifier")
    parser.add_argument("--no-exclude", action="store_true", help="train on excluded pairs, too")
    parser.add_argument("--no-packaged", action="store_true", help="leave out the packaged set")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="parameters")
    parser.add_argument("--json", action="store_true", help="one JSON line a set, no table")
    args = parser.parse_args()
    pairs = (pair.partition("=") for pair in args.set)
    parameters = {name: _value(text) for name, _, text in pairs}
    folders = args.folders if args.no_packaged else [None, *args.folders]
    for i, folder in enumerate(folders):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            row = pool.apply(run, (args.estimator, folder, parameters, args.no_exclude))
        if args.json:
            print(json.dumps(row), flush=True)
            continue
        if i == 0:
            print("| " + " | ".join(row) + " |\n|" + "---|" * len(row))
        print("| " + " | ".join(map(str, row.values())) + " |", flush=True)


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


if __name__ == "__main__":
    main()
