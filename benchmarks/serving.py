"""Requests a second of `skxc serve`, and whether answers stay right while models are replaced.

    OMP_NUM_THREADS=1 python benchmarks/serving.py [--seconds 10] [--connections 1 8 32]

Two models are trained on the packaged data set. A server in a process of its own, with one thread
for the model, answers requests of one text each from a client in another process, which keeps its
connections; then 20 replacements between the two models, under load, every answer compared with
what the model that it names says. The floor: the same predictions in one process, without a server.

It writes `benchmarks/results/serving.md`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil

import skxc
from skxc._persistence import read_config
from skxc.datasets import load_library_subjects

RESULTS = Path(__file__).parent / "results" / "serving.md"
K, TEXTS_AT_ONCE = 5, 128
Expected = Mapping[str, Sequence[Mapping[str, Any]]]  # by digest: the answer to each text


# ------------------------------------------------------------------------------------- the server
@contextmanager
def served(model: Path) -> Iterator[tuple[int, psutil.Process]]:
    """The port and the process of `skxc serve`."""
    command = [sys.executable, "-m", "skxc", "serve", str(model), "--port", "0"]
    with subprocess.Popen(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        told = process.stdout.readline()
        found = re.search(r":(\d+) \(", told)
        if found is None:
            raise RuntimeError(f"the server did not start: {told!r}")
        try:
            yield int(found[1]), psutil.Process(process.pid)
        finally:
            process.terminate()


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


# ------------------------------------------------------------------------------------- the client
async def asked(
    port: int, n_connections: int, texts: Sequence[str], is_over: Callable[[], bool]
) -> list[tuple[float, int, bytes]]:
    """Seconds, the text's number and the body of each answer; every connection asks on and on."""
    answers, numbers = list[tuple[float, int, bytes]](), iter(range(10**9))
    bodies = [json.dumps({"text": text, "k": K}).encode() for text in texts]

    async def ask_on() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while not is_over():
            i = next(numbers) % len(bodies)
            head = (
                f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(bodies[i])}\r\n\r\n"
            )
            began = time.perf_counter()
            writer.write(head.encode() + bodies[i])
            told = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = re.search(r"content-length: (\d+)", told)
            if length is None or not told.startswith("http/1.1 200 "):
                raise RuntimeError(told)
            body = await reader.readexactly(int(length[1]))
            answers.append((time.perf_counter() - began, i, body))
        writer.close()

    await asyncio.gather(*(ask_on() for _ in range(n_connections)))
    return answers


def loaded(port: int, n_connections: int, texts: Sequence[str], seconds: float) -> list[Any]:
    """The answers of so many seconds."""
    end = time.monotonic() + seconds
    return asyncio.run(asked(port, n_connections, texts, lambda: time.monotonic() > end))


def loaded_until(port: int, n_connections: int, texts: Sequence[str], flag: str) -> list[Any]:
    """The answers until a file is there."""
    return asyncio.run(asked(port, n_connections, texts, Path(flag).exists))


# ------------------------------------------------------------------------------------- measurements
def floor(model: Path, texts: Sequence[str], n: int, seconds: float) -> dict[str, float]:
    """Predictions in this process, `n` texts a call."""
    clf, times, end = skxc.load(model), list[float](), time.monotonic() + seconds
    clf.predict_top_k_proba(texts[:n], K)
    before = time.process_time()
    while time.monotonic() < end:
        start = len(times) * n % (len(texts) - n)
        began = time.perf_counter()
        clf.predict_top_k_proba(texts[start : start + n], K)
        times.append(time.perf_counter() - began)
    used = (time.process_time() - before) / (n * len(times))
    return row(times, n * len(times) / sum(times)) | {"CPU ms": 1e3 * used}


def row(seconds: Sequence[float], per_second: float) -> dict[str, float]:
    ms = 1e3 * np.array(seconds)
    return {"texts/s": per_second, "median ms": np.median(ms), "p95 ms": np.percentile(ms, 95)}


def levels(
    model: Path, texts: Sequence[str], args: argparse.Namespace, pool: ProcessPoolExecutor
) -> dict[str, dict[str, float]]:
    rows = {}
    with served(model) as (port, process):
        pool.submit(loaded, port, 8, texts, 2).result()
        for n in args.connections:
            before = cpu_seconds(process)
            answers = pool.submit(loaded, port, n, texts, args.seconds).result()
            found = row([answer[0] for answer in answers], len(answers) / args.seconds)
            used = (cpu_seconds(process) - before) / len(answers)
            rows[f"served, {n} connection{'s' * (n > 1)}"] = found | {"CPU ms": 1e3 * used}
    return rows


def replaced(
    model: Path, models: Sequence[Any], texts: Sequence[str], n: int, pool: ProcessPoolExecutor
) -> dict[str, int]:
    """Answers during `n` replacements, and how many are wrong or lost."""
    expected: dict[str, list[Any]] = {}
    for clf in models[::-1]:  # so that the first stands there
        clf.save(model)
        labels, proba = clf.predict_top_k_proba(texts, K)
        expected[digest(model)] = [*zip(clf.label_names_[labels].tolist(), proba, strict=True)]
    flag = model.with_name("over")
    with served(model) as (port, _):
        answers = pool.submit(loaded_until, port, 8, texts, str(flag))
        for i in range(n):
            models[(i + 1) % len(models)].save(model)
            time.sleep(2)  # it looks once a second
        flag.touch()
        found = [(number, json.loads(body)) for _, number, body in answers.result()]
    named = [answer["model"] for _, answer in found]
    # of all connections, in the order in which they came
    changes = sum(a != b for a, b in pairwise(named))
    wrong = sum(not is_right(expected[answer["model"]][i], answer) for i, answer in found)
    return {"answers": len(found), "changes": changes, "wrong": wrong, "models": len({*named})}


def digest(model: Path) -> str:
    return str(read_config(model)["sha256"])


def is_right(expected: tuple[list[str], Any], answer: Mapping[str, Any]) -> bool:
    labels, proba = expected
    (result,) = answer["results"]
    # a batch's size rounds the last bits, which may swap two labels of the same probability
    return set(result["labels"]) == set(labels) and np.allclose(result["proba"], proba, rtol=1e-4)


# ------------------------------------------------------------------------------------- the page
def markdown(
    rows: Mapping[str, Mapping[str, float]], replacing: Mapping[str, int], load: float
) -> str:
    from against_peers import machine

    columns = ("texts/s", "median ms", "p95 ms", "CPU ms")
    lines = [
        "# Serving\n",
        "Made by `benchmarks/serving.py`; not written by hand.\n",
        f"- Machine: {machine()}",
        f"- UniDEC on the packaged set (1,500 labels), the {K} best labels; the test texts",
        "- One thread for the model; server and client are processes of their own on this machine",
        "- A request has one text; each connection asks again as soon as it has its answer",
        f"- When it began, the machine's load average was {load:.1f}; beyond 0.5, other processes "
        f"took a part of its cores",
        '- "CPU ms": of the server, or of the one process, a text\n',
        "| | " + " | ".join(columns) + " |",
        "|---|" + "---:|" * len(columns),
    ]
    for name, values in rows.items():
        cells = (
            f"{values[c]:,.{0 if c == 'texts/s' else 2}f}" if c in values else "-" for c in columns
        )
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"While two models replaced each other under load of 8 connections, the answers changed "
        f"from one model to the other {replacing['changes']} times. Of {replacing['answers']:,} "
        f"answers, {replacing['wrong']} were not those of the model that they named, and none was "
        f"lost.\n",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--replacements", type=int, default=20)
    args, load = parser.parse_args(), os.getloadavg()[0]
    data = load_library_subjects()
    texts = [*data.test_texts]
    with (
        TemporaryDirectory() as folder,
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool,
    ):
        model = Path(folder, "model")
        models = [
            skxc.UniDEC(random_state=seed, label_texts=data.label_texts).fit(data.texts, data.Y)
            for seed in (0, 1)
        ]
        models[0].save(model)
        rows = {
            "in one process, 1 text a call": floor(model, texts, 1, args.seconds / 2),
            f"in one process, {TEXTS_AT_ONCE} texts a call": floor(
                model, texts, TEXTS_AT_ONCE, args.seconds / 2
            ),
        }
        rows |= levels(model, texts, args, pool)
        replacing = replaced(model, models, texts, args.replacements, pool)
    page = markdown(rows, replacing, load)
    print(page)
    RESULTS.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
