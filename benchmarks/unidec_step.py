"""Where a UniDEC step's time goes, on the embedded encoder, with and without the words' weights.

    OMP_NUM_THREADS=1 python benchmarks/unidec_step.py [--batch-size 512] [--pool-size 2048]

"Products" are the six matrix products alone (scores, and the gradients of both sides, of two
views), of as many texts and labels as that very step picked: the floor of an exact step.
"Elementwise" is what else is done to the (texts, pool) scores. "Encoder" is the bag's forward and
backward, "rows" Adam on the picked rows, "words" the words' scores and step, "picking" the pool's
choice, "rest" normalising, dropout and the words' gradient. Medians of 20 steps, milliseconds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from _measuring import Clock, print_row
from sklearn.utils import Bunch

from skxc import UniDEC
from skxc._functional import _grad_cache
from skxc._methods import _unidec
from skxc._methods._lexical_weights import LexicalWeights
from skxc._methods._two_towers import TwoTowerMethod
from skxc._methods._unidec import UniDECMethod
from skxc.datasets import make_extreme_classification

PARTS = {
    "picking": [(UniDECMethod, "_pick")],
    "losses": [(_unidec, "softmax_pool_step")],
    "encoder": [(TwoTowerMethod, "_encoding"), (_grad_cache, "backward")],
    "rows": [(UniDECMethod, "_update")],
    "words": [(UniDECMethod, "_word_scores"), (LexicalWeights, "step_")],
}


class StepClock(Clock):
    """Milliseconds of the parts, and the sizes, of every step."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[dict[str, float]] = []

    def sized(self, pool_step: Callable[..., Any]) -> Callable[..., Any]:
        """Notes how many texts and labels the step has picked."""

        def run(texts: Any, labels: Any, *args: Any, **keywords: Any) -> Any:
            self.sizes = (len(texts), len(labels))
            return pool_step(texts, labels, *args, **keywords)

        return run

    def step(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A step, and in turn with it the floor: a busy machine slows both alike."""
        timed, timed_floor = self.timed("step", function), self.timed("products", products)

        def run(method: UniDECMethod, *args: Any, **keywords: Any) -> Any:
            self.seconds.clear()
            result = timed(method, *args, **keywords)
            timed_floor(*(torch.randn(n, method.heads.dim) for n in self.sizes))
            wall = {name: 1e3 * self.seconds[name][0] for name in ("step", "products", *PARTS)}
            self.steps.append(wall | {"pool": self.sizes[1]})
            return result

        return run


def products(texts: torch.Tensor, labels: torch.Tensor) -> None:
    """The six products of a step."""
    for _ in range(2):
        scores = labels @ texts.T
        scores.T @ labels
        scores @ texts


def measure(data: Bunch, **parameters: Any) -> dict[str, float]:
    """Median milliseconds of each part of a step."""
    clf = UniDEC(
        label_texts=data.label_texts, epochs=1, dual_score_weight=0.5, random_state=0, **parameters
    )
    clock = StepClock()
    with ExitStack() as stack:
        for name, functions in PARTS.items():
            for owner, function in functions:
                timed = clock.timed(name, getattr(owner, function))
                if name == "losses":
                    timed = clock.sized(timed)
                stack.enter_context(patch.object(owner, function, timed))
        stack.enter_context(
            patch.object(UniDECMethod, "__call__", clock.step(UniDECMethod.__call__))
        )
        clf.fit(data.texts, data.Y)
    steps = clock.steps[2:22]
    return {name: float(np.median([step[name] for step in steps])) for name in steps[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--pool-size", type=int, default=2048)
    parser.add_argument("--labels", type=int, default=100_000)
    args = parser.parse_args()
    data = make_extreme_classification(60 * args.batch_size, args.labels, random_state=0)
    for i, rate in enumerate((None, 0.0)):
        median = measure(
            data,
            batch_size=args.batch_size, pool_size=args.pool_size, lexical_learning_rate=rate,
        )  # fmt: skip
        shown = {
            "words' weights": "no" if rate == 0 else "yes",
            "pool": f"{median['pool']:.0f}",
            "step": f"{median['step']:.1f}",
            "products": f"{median['products']:.1f}",
            "elementwise": f"{median['losses'] - median['products']:.1f}",
            **{name: f"{median[name]:.1f}" for name in PARTS if name != "losses"},
            "rest": f"{median['step'] - sum(median[name] for name in PARTS):.1f}",
            "step / products": f"{median['step'] / median['products']:.2f}",
        }
        print_row(shown, is_first=i == 0)


if __name__ == "__main__":
    main()
