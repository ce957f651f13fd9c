"""One estimator on one GPU, from texts to metrics, on real sets.

    python benchmarks/gpu_estimators.py FOLDER [--encoder MODEL] [--estimators UniDEC ...]
        [--epochs N] [--rows N] [--labels N] [--set NAME=VALUE ...] [--out FILE]

FOLDER is in any layout that `skxc.datasets.load_xc_folder` reads, or "packaged": the records in the
wheel. MODEL is a folder of pretrained weights, or "bag". One JSON line an estimator, appended
to FILE as it comes: accuracy on the test rows (pairs that the set excludes are left out), seconds
of each stage, texts a second in prediction, the peak of the GPU's memory during `fit` beside
`memory_estimate`, without what lay there before (cuBLAS has a workspace for each thread). Then a
second line, of a few more steps, with a profiler and without: the share of their time in which the
GPU was busy, how often the host waited for it where no loss is read, how many kernels it started,
and the dearest of them.

Each stage says when it begins and ends: a run that is stopped shows where it was. On a machine
without a GPU the same command gives the figures to compare with.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from _gpu_timing import HAS_GPU, begin_peak, show_where_it_stops
from _measuring import named_values
from torch.profiler import ProfilerActivity, profile

import skxc
from skxc._training._loop import _Loop
from skxc.datasets import load_library_subjects, load_xc_folder
from skxc.encoders import TransformerEncoder
from skxc.metrics import propensities, ranking_metrics

_WARM_UP, _TIMED, _PROFILED = 3, 10, 4  # steps
_WAITS = ("cudaStreamSynchronize", "cudaEventSynchronize")


class Stages:
    """Seconds of the stages, each told when it begins and ends."""

    def __init__(self, name: str, seconds: dict[str, float]) -> None:
        self.name, self.seconds = name, dict(seconds)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        print(f"{self.name}: {name} ...", flush=True)
        began = time.perf_counter()
        yield
        _wait()
        self.seconds[f"{name} s"] = round(time.perf_counter() - began, 2)
        print(f"{self.name}: {name} took {self.seconds[f'{name} s']} s", flush=True)


class Steps:
    """What the loop of a `fit` does: tells how far it is, and notes the size of its batches."""

    def __init__(self) -> None:
        self.n_done, self.batch_size = 0, 0

    @contextmanager
    def told(self) -> Iterator[None]:
        run_step, began = _Loop.run_step, time.perf_counter()

        def counted(loop: _Loop, *args: Any, **keywords: Any) -> Any:
            result = run_step(loop, *args, **keywords)
            self.n_done, self.batch_size = self.n_done + 1, loop.schedule.batch_size
            if self.n_done in (1, 10, 100) or self.n_done % 500 == 0:
                print(f"step {self.n_done} after {time.perf_counter() - began:.1f} s", flush=True)
            return result

        with patch.object(_Loop, "run_step", counted):
            yield


def make(name: str, data: Any, arguments: argparse.Namespace) -> Any:
    """The estimator, not fitted."""
    encoder: Any = "bag"
    if arguments.encoder != "bag":
        encoder = TransformerEncoder(arguments.encoder, max_length=64)
    return getattr(skxc, name)(
        encoder,
        label_texts=data.label_texts,
        random_state=0,
        epochs=arguments.epochs,
        **named_values(arguments.set),
    )


def run(
    name: str, data: Any, arguments: argparse.Namespace, seconds: dict[str, float]
) -> Iterator[dict[str, Any]]:
    """Fit, evaluate and profile one estimator."""
    stages, steps, clf = Stages(name, seconds), Steps(), make(name, data, arguments)
    with stages.stage("estimate"):
        estimate = clf.memory_estimate(data.texts, data.Y, exclude=data.exclude)
    on_device = next((estimate[place] for place in estimate if place != "cpu"), estimate["cpu"])
    before = begin_peak()
    with stages.stage("fit"), steps.told():
        clf.fit(data.texts, data.Y, exclude=data.exclude)
    peak = torch.cuda.max_memory_allocated() - before if HAS_GPU else None
    with stages.stage("first predict"):
        clf.predict_top_k(data.test_texts[:100])
    with stages.stage("predict"):
        proba = clf.predict_proba(data.test_texts, exclude=data.test_exclude)
    metrics = ranking_metrics(
        data.Y_test, proba, propensities=propensities(data.Y), exclude=data.test_exclude
    )
    key = {
        "estimator": name, "set": Path(arguments.folder).name,
        "encoder": Path(arguments.encoder).name, "texts": len(data.texts),
        "test texts": len(data.test_texts), "labels": clf.n_labels_, "epochs": clf.n_iter_,
        "set to": " ".join(arguments.set),
    }  # fmt: skip
    yield key | {
        "card": torch.cuda.get_device_name() if HAS_GPU else "CPU",
        **{m: round(100 * metrics[m], 2) for m in ("P@1", "P@3", "P@5", "PSP@5")},
        **stages.seconds,
        "steps": steps.n_done, "batch": steps.batch_size,
        "epoch s": [round(h["seconds"], 1) for h in clf.history_],
        "texts/s": round(len(data.test_texts) / max(stages.seconds["predict s"], 0.01)),
        "peak MiB": None if peak is None else round(peak / 2**20),
        "estimate MiB": round(sum(on_device.values()) / 2**20),
    }  # fmt: skip
    with stages.stage("profile"):
        line = profiled(clf, data, steps.batch_size)
    yield key | line


class _Enough(Exception):  # noqa: N818
    """Ends a `fit` that has told what it was run for."""


class Watch:
    """Times some steps of a `fit` as they are, and then some under a profiler."""

    def __init__(self) -> None:
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * HAS_GPU
        self.record, self.n_done, self.step_ms = profile(activities=activities), 0, 0.0

    def after_step(self) -> None:
        """Called between two steps."""
        self.n_done += 1
        if self.n_done == _WARM_UP:
            _wait()
            self.began = time.perf_counter()
        elif self.n_done == _WARM_UP + _TIMED:
            _wait()
            self.step_ms = 1e3 * (time.perf_counter() - self.began) / _TIMED
            self.record.start()
        elif self.n_done == _WARM_UP + _TIMED + _PROFILED:
            _wait()
            self.record.stop()
            raise _Enough


def profiled(clf: Any, data: Any, batch_size: int) -> dict[str, Any]:
    """What the GPU does in a step, in batches of the size that `fit` took.

    A profiler slows the host, but not the kernels: their time is divided by that of a step without
    it. Reading a profile takes a second for some 10,000 operations: hence few steps.
    """
    watch, run_step = Watch(), _Loop.run_step

    def watched(loop: _Loop, *args: Any, **keywords: Any) -> Any:
        result = run_step(loop, *args, **keywords)
        watch.after_step()
        return result

    n = min((_WARM_UP + _TIMED + _PROFILED + 1) * batch_size, len(data.texts))
    clf.set_params(epochs=20, warm_start=True, batch_size=batch_size)  # enough steps of few texts
    with patch.object(_Loop, "run_step", watched), suppress(_Enough):
        clf.fit(data.texts[:n], data.Y[:n])
    events = watch.record.key_averages()
    of_gpu = [  # without spans, which are no kernels
        e
        for e in events
        if e.device_type.name == "CUDA" and not getattr(e, "is_user_annotation", False)
    ]
    dearest = sorted(of_gpu, key=lambda e: -e.self_device_time_total)[:10]
    on_host = sorted(events, key=lambda e: -e.self_cpu_time_total)[:10]
    busy_ms = sum(e.self_device_time_total for e in of_gpu) / 1e3 / _PROFILED
    calls = {e.key: e.count for e in events}
    n_operations = sum(n for key, n in calls.items() if key.startswith("aten::"))
    return {
        "step ms": round(watch.step_ms, 2),
        "GPU busy": round(busy_ms / watch.step_ms, 3) if HAS_GPU else None,
        "kernels a step": round(sum(e.count for e in of_gpu) / _PROFILED),
        "operations a step": round(n_operations / _PROFILED),
        "waits a step": {key: calls.get(key, 0) / _PROFILED for key in _WAITS},
        "kernels ms": {
            e.key[:60]: round(e.self_device_time_total / 1e3 / _PROFILED, 3) for e in dearest
        },
        "host ms": {e.key[:40]: round(e.self_cpu_time_total / 1e3 / _PROFILED, 3) for e in on_host},
    }


def _wait() -> None:
    if HAS_GPU:
        torch.cuda.synchronize()


def read(arguments: argparse.Namespace) -> Any:
    """The data, cut to `--rows` and to the `--labels` that most of them have."""
    is_packaged = arguments.folder == "packaged"
    data = load_library_subjects() if is_packaged else load_xc_folder(arguments.folder)
    if arguments.rows:
        for name in ("texts", "Y", "exclude", "test_texts", "Y_test", "test_exclude"):
            data[name] = None if data[name] is None else data[name][: arguments.rows]
    if arguments.labels:
        counts = np.asarray(data.Y.sum(0)).ravel()
        kept = np.sort(np.argsort(-counts, kind="stable")[: arguments.labels])
        for name in ("Y", "exclude", "Y_test", "test_exclude"):
            data[name] = None if data[name] is None else data[name][:, kept]
        data.label_texts = [data.label_texts[j] for j in kept]
    return data


def main() -> None:
    show_where_it_stops()
    logging.basicConfig(format="%(message)s", level="INFO", stream=sys.stdout)  # every epoch
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--encoder", default="bag", metavar="MODEL")
    parser.add_argument(
        "--estimators", nargs="+", default=["UniDEC", "DualEncoderXC", "ReneeClassifier"]
    )
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--rows", type=int, help="train and test on so many texts at most")
    parser.add_argument("--labels", type=int, help="keep so many labels at most")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="parameters")
    parser.add_argument("--out", type=Path, help="file to append JSON lines to")
    arguments = parser.parse_args()
    stages, has_failed = Stages(Path(arguments.folder).name, {}), False
    with stages.stage("read"):
        data = read(arguments)
    for name in arguments.estimators:
        try:
            for row in run(name, data, arguments, stages.seconds):
                print(json.dumps(row), flush=True)
                if arguments.out:
                    with arguments.out.open("a") as file:
                        file.write(json.dumps(row) + "\n")
        except Exception:  # the other estimators go on
            traceback.print_exc()
            has_failed = True
    sys.exit(has_failed)


if __name__ == "__main__":
    main()
