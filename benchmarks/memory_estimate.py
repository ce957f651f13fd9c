"""`memory_estimate` against the peak that `fit` then reaches.

    python benchmarks/memory_estimate.py [--quick] [--encoder FOLDER]

Every line is measured in processes of its own: one asks for the estimate, another fits and reads
how far the resident set rose above what it was with the data loaded and torch warm. With --encoder,
the folder of a pretrained encoder is measured, too. Linux only: peaks are read from /proc.
"""

from __future__ import annotations

import argparse
import gc
from typing import Any

import numpy as np
from _measuring import in_a_process, peak_bytes, resident_bytes
from sklearn.base import clone

from skxc import DualEncoderXC, ReneeClassifier, UniDEC
from skxc.datasets import load_library_subjects, make_extreme_classification
from skxc.encoders import TransformerEncoder

ESTIMATORS = {"renee": ReneeClassifier, "dual": DualEncoderXC, "unidec": UniDEC}
# texts, labels, settings; Renee scores every label in every step, and here only some texts
_NO_AUGMENT: dict[str, Any] = {"augment": False}
_PAIRED: list[tuple[int, int, dict[str, Any]]] = [
    (10_000, 100_000, {}),
    (10_000, 400_000, {}),
    (100_000, 2_000, {}),
    (10_000, 100_000, {"early_stopping": True}),
]
SIZES = {
    "renee": [
        (1_000, 100_000, _NO_AUGMENT),
        (1_000, 400_000, _NO_AUGMENT),
        (100_000, 500, {}),
        (1_000, 100_000, {**_NO_AUGMENT, "early_stopping": True}),
    ],
    "dual": _PAIRED,
    "unidec": _PAIRED,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sets only")
    parser.add_argument("--encoder", help="folder of a pretrained encoder")
    parser.add_argument("--only", choices=ESTIMATORS, help="one estimator")
    arguments = parser.parse_args()
    cases = [
        (name, n_texts, n_labels, settings)
        for name in ([arguments.only] if arguments.only else ESTIMATORS)
        for n_texts, n_labels, settings in SIZES[name][: 1 if arguments.quick else None]
    ]
    if arguments.encoder:
        encoder = TransformerEncoder(arguments.encoder, max_length=64)
        cases += [(name, 1_000, 1_500, {"encoder": encoder}) for name in ESTIMATORS]
    print(f"{'estimator':10}{'texts':>8}{'labels':>9}  {'settings':24}{'estimate':>9}{'peak':>8}"
          f"{'ratio':>7}   MiB by part")  # fmt: skip
    for name, n_texts, n_labels, settings in cases:
        parts = in_a_process(estimate, name, n_texts, n_labels, settings)
        peak = in_a_process(measured_peak, name, n_texts, n_labels, settings)
        needed = sum(parts.values())
        listed = ", ".join(f"{part} {n / 2**20:.0f}" for part, n in parts.items())
        shown = ", ".join(
            f"{k}={v}" if k != "encoder" else "pretrained" for k, v in settings.items()
        )
        print(f"{name:10}{n_texts:8}{n_labels:9}  {shown:24}{needed / 2**20:9.0f}"
              f"{peak / 2**20:8.0f}{needed / peak:7.2f}   {listed}", flush=True)  # fmt: skip


def problem(name: str, n_texts: int, n_labels: int, settings: dict[str, Any]) -> tuple[Any, Any]:
    """An unfitted estimator and its data."""
    if "encoder" in settings:  # made-up words would be cut into many pieces
        data = load_library_subjects()
        data.texts, data.Y = data.texts[:n_texts], data.Y[:n_texts]
    else:
        data = make_extreme_classification(
            n_texts, n_labels, n_background_words=30_000, random_state=0
        )
    clf = ESTIMATORS[name](label_texts=data.label_texts, epochs=1, random_state=0, **settings)
    return clf, data


def estimate(*case: Any) -> dict[str, int]:
    """What `memory_estimate` says."""
    clf, data = problem(*case)
    parts: dict[str, int] = clf.memory_estimate(data.texts, data.Y)["cpu"]
    return parts


def measured_peak(*case: Any) -> int:
    """Bytes by which `fit` raises the resident set."""
    clf, data = problem(*case)
    warm = clone(clf).set_params(label_texts=["a red apple", "a pear"])
    warm.fit(["red apples", "pears"] * 20, np.tile(np.eye(2), (20, 1)))
    gc.collect()
    before = resident_bytes()
    clf.fit(data.texts, data.Y)
    return peak_bytes() - before


if __name__ == "__main__":
    main()
