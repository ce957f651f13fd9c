"""Assign subject headings to library records, on the packaged data set.

    python examples/library_subjects.py

Trains UniDEC with the embedded encoder (no download, no GPU). Prints the ranking metrics on the
test records, predicted and true headings of five of them, seconds and peak memory.
"""

import resource
import sys
import time

from skxc import UniDEC
from skxc.datasets import load_library_subjects
from skxc.metrics import propensities, ranking_metrics


def main() -> None:
    data = load_library_subjects()
    print(
        f"{len(data.texts)} training and {len(data.test_texts)} test records, "
        f"{len(data.label_texts)} subjects"
    )

    began, cpu_began = time.perf_counter(), time.process_time()
    clf = UniDEC(label_texts=data.label_texts, random_state=0, verbose=1)
    clf.fit(data.texts, data.Y)
    print(
        f"fit: {time.perf_counter() - began:.1f} s ({time.process_time() - cpu_began:.1f} CPU s), "
        f"{clf.n_iter_} epochs, last loss {clf.history_[-1]['loss']:.2f}"
    )

    began = time.perf_counter()
    proba = clf.predict_proba(data.test_texts)
    print(f"predict: {time.perf_counter() - began:.2f} s\n")
    metrics = ranking_metrics(data.Y_test, proba, propensities=propensities(data.Y))
    for name in ("P", "nDCG", "PSP"):
        values = "  ".join(f"@{k} {100 * metrics[f'{name}@{k}']:5.2f}" for k in (1, 3, 5))
        print(f"{name:>5} {values}")

    shown = range(0, len(data.test_texts), len(data.test_texts) // 5)[:5]
    predicted = clf.predict_labels([data.test_texts[i] for i in shown], k=5)
    for row, names in zip(shown, predicted, strict=True):
        true = [data.label_texts[label] for label in data.Y_test[[row]].indices]
        print(f"\n{data.test_texts[row]}")
        print(f"    true:      {', '.join(true)}")
        print(f"    predicted: {', '.join(f'*{n}*' if n in true else n for n in names)}")

    # ru_maxrss is in bytes on macOS, in KiB elsewhere
    unit = 2**20 if sys.platform == "darwin" else 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    print(f"\npeak memory: {peak:.0f} MiB (torch itself takes about 350)")


if __name__ == "__main__":
    main()
