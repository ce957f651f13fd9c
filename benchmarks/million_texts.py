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
from unittest.mock import patch

import numpy as np
import torch
from _measuring import Clock, peak_bytes, print_row, resident_bytes

from skxc import UniDEC
from skxc._estimator import _fit
from skxc.datasets import make_extreme_classification
from skxc.encoders import BagOfWordsEncoder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=1_000_000)
    parser.add_argument("--labels", type=int, default=25_000)
    args = parser.parse_args()
    clock, before = Clock(), resident_bytes()
    data = clock.timed("make the texts", make_extreme_classification)(
        args.texts, args.labels, labels_per_text=3, words_per_text=9, random_state=0
    )
    clf = UniDEC(label_texts=data.label_texts, epochs=1, random_state=0)
    encoder = BagOfWordsEncoder
    with (
        patch.object(encoder, "fit", clock.timed("vectorise", encoder.fit)),
        patch.object(encoder, "tokenize", clock.timed("vectorise", encoder.tokenize)),
        patch.object(_fit, "train", clock.timed("train", _fit.train)),
    ):
        clock.timed("fit", clf.fit)(data.texts, data.Y)
    labels, _ = clock.timed("predict", clf.predict_top_k)(data.texts, k=5)
    seconds, peak = clock.seconds, peak_bytes() - before
    print(
        f"{args.texts:,} texts, {args.labels:,} labels, {torch.get_num_threads()} threads; "
        f"peak {peak / 2**30:.1f} GiB; P@1 on the training texts "
        f"{data.Y[np.arange(args.texts), labels[:, 0]].mean():.3f}\n"
    )
    rows = {
        "make the texts (not counted)": seconds["make the texts"],
        "vectorise": seconds["vectorise"],
        "train": seconds["train"],
        "rest of fit": seconds["fit"] - seconds["vectorise"] - seconds["train"],
        "predict": seconds["predict"],
        "total": seconds["fit"] + seconds["predict"],
    }
    for i, (name, (wall, cpu)) in enumerate(rows.items()):
        print_row({"part": name, "wall s": f"{wall:.0f}", "CPU s": f"{cpu:.0f}"}, is_first=i == 0)


if __name__ == "__main__":
    main()
