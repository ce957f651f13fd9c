"""What `predict` answers at the threshold that `fit` chose, and at one half: the packaged set.

    OMP_NUM_THREADS=1 python benchmarks/thresholds.py

Micro-F1, and the share of test texts that get no label, in percent.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import f1_score

import skxc
from skxc.datasets import load_library_subjects


def main() -> None:
    data = load_library_subjects()
    print("| | threshold | micro-F1 | texts without a label |\n|---|---:|---:|---:|")
    for name in ("UniDEC", "DualEncoderXC", "ReneeClassifier"):
        clf = getattr(skxc, name)(label_texts=data.label_texts, random_state=0)
        clf.fit(data.texts, data.Y)
        for threshold in ("auto", 0.5):
            predicted = clf.set_params(threshold=threshold).predict(data.test_texts)
            f1 = 100 * f1_score(data.Y_test > 0, predicted, average="micro")
            none = 100 * float((np.diff(predicted.indptr) == 0).mean())
            shown = f"{clf.threshold_:.3f} (auto)" if threshold == "auto" else threshold
            print(f"| {name} | {shown} | {f1:.1f} | {none:.1f} |", flush=True)


if __name__ == "__main__":
    main()
