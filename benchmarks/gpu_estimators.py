"""The three estimators on one GPU, from texts to metrics, on real sets.

    python benchmarks/gpu_estimators.py FOLDER [--encoder MODEL] [--estimators UniDEC ...]
        [--epochs N] [--rows N] [--set NAME=VALUE ...] [--out FILE]

FOLDER is in any layout that `skxc.datasets.load_xc_folder` reads; MODEL is a folder of pretrained
weights (without it: the bag). One JSON line an estimator, appended to FILE as it comes: accuracy
on the test rows (pairs that the set excludes are left out), seconds of `fit`, texts a second in
prediction, the peak of the GPU's memory during `fit` beside `memory_estimate`. Then a second line,
of one more epoch on a few texts: the share of the steps' time in which the GPU was busy, how often
the host waited for it, and the dearest kernels. A profiler slows the host: the share is too low.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from _gpu_timing import HAS_GPU
from _measuring import named_values
from torch.profiler import ProfilerActivity, profile

import skxc
from skxc._training._loop import _Loop
from skxc.datasets import load_xc_folder
from skxc.encoders import TransformerEncoder
from skxc.metrics import propensities, ranking_metrics

_PROFILED_TEXTS = 600  # a profile of thousands of steps takes minutes to read


def run(name: str, data: Any, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Fit, evaluate and profile one estimator."""
    encoder: Any = "bag"
    if arguments.encoder:
        encoder = TransformerEncoder(arguments.encoder, max_length=64)
    clf = getattr(skxc, name)(
        encoder,
        label_texts=data.label_texts,
        random_state=0,
        epochs=arguments.epochs,
        **named_values(arguments.set),
    )
    estimate = clf.memory_estimate(data.texts, data.Y, exclude=data.exclude)
    estimated = sum(estimate.get("cuda", estimate["cpu"]).values())
    if HAS_GPU:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    clf.fit(data.texts, data.Y, exclude=data.exclude)
    fit_seconds = time.perf_counter() - began
    peak = torch.cuda.max_memory_allocated() if HAS_GPU else 0
    clf.predict_top_k(data.test_texts[:100])
    began = time.perf_counter()
    proba = clf.predict_proba(data.test_texts, exclude=data.test_exclude)
    predict_seconds = time.perf_counter() - began
    metrics = ranking_metrics(
        data.Y_test, proba, propensities=propensities(data.Y), exclude=data.test_exclude
    )
    row = {
        "estimator": name, "set": Path(arguments.folder).name,
        "encoder": Path(arguments.encoder or "bag").name,
        "texts": len(data.texts), "set to": " ".join(arguments.set),
        "card": torch.cuda.get_device_name() if HAS_GPU else "CPU", "epochs": clf.n_iter_,
        **{m: round(100 * metrics[m], 2) for m in ("P@1", "P@3", "P@5", "PSP@5")},
        "fit s": round(fit_seconds, 1), "epoch s": [round(h["seconds"], 1) for h in clf.history_],
        "texts/s": round(len(data.test_texts) / predict_seconds),
        "peak MiB": round(peak / 2**20), "estimate MiB": round(estimated / 2**20),
    }  # fmt: skip
    yield row
    yield {"estimator": name, "set": row["set"]} | profiled(clf, data)


def profiled(clf: Any, data: Any) -> dict[str, Any]:
    """What the GPU does during the steps of one more epoch, on some of the texts."""
    clf.set_params(epochs=1, warm_start=True)
    n = min(_PROFILED_TEXTS, len(data.texts))
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * HAS_GPU
    record, run_epoch, seconds = profile(activities=activities), _Loop.run_epoch, list[float]()

    def watched(loop: _Loop, *args: Any) -> dict[str, float]:  # not what `fit` does around it
        with record:
            began = time.perf_counter()
            entry = run_epoch(loop, *args)
            if HAS_GPU:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - began)
        return entry

    with patch.object(_Loop, "run_epoch", watched):
        clf.fit(data.texts[:n], data.Y[:n])
    wall, events = sum(seconds), record.key_averages()
    on_gpu = {
        e.key: e.self_device_time_total / 1e6
        for e in events
        if e.device_type.name == "CUDA" and not e.is_user_annotation  # a span, no kernel
    }
    calls = {e.key: e.count for e in events}
    waits = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "aten::_local_scalar_dense")
    on_host = sorted(events, key=lambda e: -e.self_cpu_time_total)[:10]
    dearest = sorted(on_gpu.items(), key=lambda item: -item[1])[:10]
    return {
        "profiled epoch s": round(wall, 2),
        "GPU busy": round(sum(on_gpu.values()) / wall, 3) if HAS_GPU else None,
        "waits": {key: calls.get(key, 0) for key in waits},
        "kernels s": {key[:60]: round(seconds, 3) for key, seconds in dearest},
        "host s": {e.key[:40]: round(e.self_cpu_time_total / 1e6, 3) for e in on_host},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--encoder")
    parser.add_argument(
        "--estimators", nargs="+", default=["UniDEC", "DualEncoderXC", "ReneeClassifier"]
    )
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--rows", type=int, help="train and test on so many texts at most")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="parameters")
    parser.add_argument("--out", type=Path, help="file to append JSON lines to")
    arguments = parser.parse_args()
    data = load_xc_folder(arguments.folder)
    if arguments.rows:
        n = arguments.rows
        data.texts, data.Y, data.test_texts = data.texts[:n], data.Y[:n], data.test_texts[:n]
        data.Y_test = data.Y_test[:n]
        data.exclude = None if data.exclude is None else data.exclude[:n]
        data.test_exclude = None if data.test_exclude is None else data.test_exclude[:n]
    for name in arguments.estimators:
        for row in run(name, data, arguments):
            print(json.dumps(row), flush=True)
            if arguments.out:
                with arguments.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
