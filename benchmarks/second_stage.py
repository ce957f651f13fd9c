"""What the second stage is worth: by its weight, and by the number of training texts.

    OMP_NUM_THREADS=1 python benchmarks/second_stage.py [FOLDER ...] [--texts 300 900]

On a tenth of the training rows, held out: test rows take no part in choices. A FOLDER is any that
`skxc.datasets.load_xc_folder` reads; the packaged set comes first. Weights are times the scale that
scores have in training, as `rerank_weight="auto"` tries them. With ``--texts``, each figure is the
mean over two samples of so many training texts, without the second stage and with it.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from _measuring import print_row
from against_peers import held_out, load
from sklearn.utils import Bunch

import skxc
from skxc.metrics import propensities, ranking_metrics

ESTIMATORS = ("UniDEC", "DualEncoderXC", "ReneeClassifier")
WEIGHTS = (0, 0.5, 1, 2, 3, 4, 6, 10)
MEASURES = ("P@1", "P@3", "P@5", "PSP@5")


def fitted(name: str, data: Bunch, rows: np.ndarray, **parameters: Any) -> Any:
    texts = [data.texts[i] for i in rows]
    exclude = None if data.exclude is None else data.exclude[rows]
    model = getattr(skxc, name)(label_texts=data.label_texts, random_state=0, **parameters)
    return model.fit(texts, data.Y[rows], exclude=exclude)


def figures(model: Any, data: Bunch) -> list[float]:
    found = model.predict_proba(data.test_texts, exclude=data.test_exclude)
    measured = ranking_metrics(
        data.Y_test, found, propensities=propensities(data.Y), exclude=data.test_exclude
    )
    return [100 * measured[name] for name in MEASURES]


def by_weight(data: Bunch) -> Iterator[dict[str, Any]]:
    for name in ESTIMATORS:
        model = fitted(name, data, np.arange(len(data.texts)), rerank_weight=1)
        scale = getattr(model, "temperature_", getattr(model, "_temperature", 1.0))
        for weight in WEIGHTS:
            model.rerank_weight_ = weight * scale
            model._ranker = None  # it has the weight before
            yield {"estimator": name, "weight": weight} | cells(figures(model, data))


def by_texts(data: Bunch, numbers: Sequence[int]) -> Iterator[dict[str, Any]]:
    for name, n, weight in itertools.product(ESTIMATORS, numbers, (0, "auto")):
        samples = []
        for seed in range(2):
            rows = np.random.default_rng(seed).permutation(len(data.texts))[:n]
            samples.append(figures(fitted(name, data, rows, rerank_weight=weight), data))
        known = {"estimator": name, "texts": n, "rerank_weight": weight}
        yield known | cells(np.mean(samples, 0))


def cells(values: Iterable[float]) -> dict[str, str]:
    return {name: f"{value:.2f}" for name, value in zip(MEASURES, values, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", metavar="FOLDER")
    parser.add_argument("--texts", nargs="+", type=int, metavar="N", help="so many training texts")
    args = parser.parse_args()
    is_first = True
    for set_name, data in map(load, [None, *args.folders]):
        part = held_out(data)
        for row in by_texts(part, args.texts) if args.texts else by_weight(part):
            print_row({"set": set_name} | row, is_first=is_first)
            is_first = False


if __name__ == "__main__":
    main()
