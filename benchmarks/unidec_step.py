"""Where a UniDEC step's time goes, on the embedded encoder.

    OMP_NUM_THREADS=1 python benchmarks/unidec_step.py [--batch-size 512] [--pool-size 2048]

One pool of labels, both views. "Products" are the six matrix products alone (scores, and the
gradients of both sides, of two views): the floor of an exact step. "Elementwise" is what else is
done to the (batch, pool) scores. "Encoder" is the bag's forward and backward, "rows" Adam on the
picked rows, "rest" picking labels, normalising and dropout. Medians of 20 steps, milliseconds.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

import skxc._functional._grad_cache as grad_cache
import skxc._unidec as unidec
from skxc import UniDEC
from skxc._training._two_towers import TwoTowerStep
from skxc.datasets import make_extreme_classification
from skxc.encoders import BagOfWordsEncoder


class Clock:
    """Milliseconds spent in named functions, step by step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **keywords: Any) -> Any:
            began = time.perf_counter()
            result = function(*args, **keywords)
            if self.steps:
                self.steps[-1][name] += 1e3 * (time.perf_counter() - began)
            return result

        return run

    def step(self, function: Callable[..., Any], floor: Callable[[], None]) -> Callable[..., Any]:
        """A step, and in turn with it the floor: both meet the same company on a busy machine."""
        timed, timed_floor = self.timed("step", function), self.timed("products", floor)

        def run(*args: Any, **keywords: Any) -> Any:
            self.steps.append(defaultdict(float))
            result = timed(*args, **keywords)
            timed_floor()
            return result

        return run


def products(batch_size: int, pool_size: int, dim: int) -> Callable[[], None]:
    """The six products of a step."""
    texts, labels = torch.randn(batch_size, dim), torch.randn(pool_size, dim)

    def run() -> None:
        for _ in range(2):
            scores = texts @ labels.T
            scores @ labels
            scores.T @ texts

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--pool-size", type=int, default=2048)
    parser.add_argument("--labels", type=int, default=100_000)
    args = parser.parse_args()
    data = make_extreme_classification(24 * args.batch_size, args.labels, random_state=0)
    clf = UniDEC(
        label_texts=data.label_texts, epochs=1, batch_size=args.batch_size,
        pool_size=args.pool_size, dual_score_weight=0.5, random_state=0,
    )  # fmt: skip
    clock, step = Clock(), unidec.UniDECStep
    floor = products(args.batch_size, args.pool_size, BagOfWordsEncoder().dim)
    with (
        patch.object(step, "__call__", clock.step(step.__call__, floor)),
        patch.object(step, "_softmax_step", clock.timed("losses", step._softmax_step)),
        patch.object(step, "_update", clock.timed("rows", step._update)),
        patch.object(TwoTowerStep, "_encoding", clock.timed("encoder", TwoTowerStep._encoding)),
        patch.object(grad_cache, "_backward", clock.timed("encoder", grad_cache._backward)),
    ):
        clf.fit(data.texts, data.Y)
    steps = clock.steps[2:22]
    names = ("step", "products", "losses", "encoder", "rows")
    median = {name: float(np.median([s[name] for s in steps])) for name in names}
    rest = median["step"] - median["losses"] - median["encoder"] - median["rows"]
    shown = {
        "step": median["step"],
        "products": median["products"],
        "elementwise": median["losses"] - median["products"],
        "encoder": median["encoder"],
        "rows": median["rows"],
        "rest": rest,
    }
    print("| " + " | ".join([*shown, "step / products", "elementwise share"]) + " |")
    print("|" + "---|" * (len(shown) + 2))
    ratios = [
        f"{shown['step'] / shown['products']:.2f}",
        f"{100 * shown['elementwise'] / shown['step']:.0f} %",
    ]
    print("| " + " | ".join([f"{value:.1f}" for value in shown.values()] + ratios) + " |")


if __name__ == "__main__":
    main()
