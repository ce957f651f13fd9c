"""ReneeClassifier at its default setting on real sets: accuracy, seconds, memory.

    OMP_NUM_THREADS=1 python benchmarks/real_sets.py [FOLDER ...]

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

import psutil

from skxc import ReneeClassifier
from skxc.datasets import load_library_subjects, load_xc_folder
from skxc.metrics import propensities, ranking_metrics

MEASURES = ("P@1", "P@3", "P@5", "nDCG@5", "PSP@1", "PSP@5")


def run(folder: str | None, parameters: dict[str, Any]) -> dict[str, Any]:
    """Fit and evaluate on one set."""
    data = load_library_subjects() if folder is None else load_xc_folder(folder)
    loaded = psutil.Process().memory_info().rss
    began, cpu_began = time.perf_counter(), time.process_time()
    clf = ReneeClassifier(label_texts=data.label_texts, random_state=0, **parameters)
    clf.fit(data.texts, data.Y)
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
        "fit CPU s": round(cpu, 1),
        "fit s": round(wall, 1),
        "texts/s": round(len(data.test_texts) / predict),
        "MiB": round((peak - loaded) / 2**20),
        "padding": round(max(h.get("padding", 0.0) for h in clf.history_), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="parameters")
    parser.add_argument("--json", action="store_true", help="one JSON line a set, no table")
    args = parser.parse_args()
    pairs = (pair.partition("=") for pair in args.set)
    parameters = {name: _value(text) for name, _, text in pairs}
    for i, folder in enumerate([None, *args.folders]):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            row = pool.apply(run, (folder, parameters))
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
