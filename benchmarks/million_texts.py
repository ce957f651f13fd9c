"""A million short texts, from strings to predictions: vectorised, trained on, and predicted.

    OMP_NUM_THREADS=2 python benchmarks/million_texts.py [--texts 1000000] [--labels 25000]

Synthetic texts (`make_extreme_classification`) of 9 words and 3 labels; UniDEC with its defaults
but for one epoch; the 5 best labels of every text. "Vectorise" is the vocabulary and the token ids,
inside `fit`; "train" the epoch; "rest of fit" checks, the pairs of words and labels, the weights of
the score's parts and the calibration. "Predict" vectorises once more. Memory is the peak of the
process, less what it held before the texts were made (Linux).
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil
import skxc._mixins._fit as fit_module
import torch

from skxc import UniDEC
from skxc.datasets import make_extreme_classification
from skxc.encoders import BagOfWordsEncoder


class Clock:
    """Wall and CPU seconds of named parts."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **keywords: Any) -> Any:
            began = time.perf_counter(), time.process_time()
            result = function(*args, **keywords)
            self.seconds[name][0] += time.perf_counter() - began[0]
            self.seconds[name][1] += time.process_time() - began[1]
            return result

        return run


def memory(name: str) -> int:
    """Bytes, by their name in /proc."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=1_000_000)
    parser.add_argument("--labels", type=int, default=25_000)
    args = parser.parse_args()
    clock, before = Clock(), psutil.Process().memory_info().rss
    data = clock.timed("make the texts", make_extreme_classification)(
        args.texts, args.labels, labels_per_text=3, words_per_text=9, random_state=0
    )
    clf = UniDEC(label_texts=data.label_texts, epochs=1, random_state=0)
    encoder = BagOfWordsEncoder
    with (
        patch.object(encoder, "fit", clock.timed("vectorise", encoder.fit)),
        patch.object(encoder, "tokenize", clock.timed("vectorise", encoder.tokenize)),
        patch.object(fit_module, "train", clock.timed("train", fit_module.train)),
    ):
        clock.timed("fit", clf.fit)(data.texts, data.Y)
    labels, _ = clock.timed("predict", clf.predict_top_k)(data.texts, k=5)
    seconds, peak = clock.seconds, memory("VmHWM") - before
    inside = seconds["vectorise"], seconds["train"]
    rest = [whole - sum(parts) for whole, *parts in zip(seconds["fit"], *inside, strict=True)]
    total = [sum(pair) for pair in zip(seconds["fit"], seconds["predict"], strict=True)]
    print(
        f"{args.texts:,} texts, {args.labels:,} labels, {torch.get_num_threads()} threads; "
        f"peak {peak / 2**30:.1f} GiB; P@1 on the training texts "
        f"{data.Y[np.arange(args.texts), labels[:, 0]].mean():.3f}\n\n"
        "| part | wall s | CPU s |\n|---|---|---|"
    )
    rows = {
        "make the texts (not counted)": seconds["make the texts"],
        "vectorise": seconds["vectorise"],
        "train": seconds["train"],
        "rest of fit": rest,
        "predict": seconds["predict"],
        "total": total,
    }
    for name, (wall, cpu) in rows.items():
        print(f"| {name} | {wall:.0f} | {cpu:.0f} |")


if __name__ == "__main__":
    main()
