"""Milliseconds of a prediction of 1 and of 16 texts: ours, omikuji's and PECOS's, on one thread.

    python benchmarks/latency.py FOLDER ... [--repeats 1] [--pecos-python PATH/bin/python]

A FOLDER is in any layout that `skxc.datasets.load_xc_folder` reads. Every (set, method, repeat) is
a process of its own with one thread, the methods taking turns: it fits, warms up, and is asked for
the 100 best labels of test texts, a few hundred times. TF-IDF is a part of the peers' time, as the
words are of ours. Ours are also saved and loaded with ``mmap=True`` in a fresh process: seconds of
the import, of loading, and to the first answer.

Each run adds a line to `benchmarks/results/latency.jsonl`, and `latency.md` is made of all lines:
``--render`` does that alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from _peers import Resources
from _peers_methods import METHODS
from _peers_run import THREAD_VARIABLES, read_rows, versions

METHOD_NAMES = ("UniDEC", "DualEncoderXC", "omikuji Bonsai", "PECOS XR-Linear")
RESULTS = Path(__file__).parent / "results" / "latency.jsonl"
_LABELS_A_TEXT = 100
_CALLS = {1: 300, 16: 100}  # by texts a call
_WARM_UP = 20
_COLUMNS = (
    *((f"{name}, {n} texts" if n > 1 else f"{name}, 1 text", f"{name}_{n}")
      for n in _CALLS for name in ("median ms", "p95 ms")),
    ("import s", "import_s"), ("load s", "load_s"), ("first answer s", "first_s"),
)  # fmt: skip


# ---------------------------------------------------------------------- the processes that measure
def measured(folder: Path) -> dict[str, Any]:
    """What one process finds: fit, predict, and for ours load again."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    rows, texts = read_rows(Path(job["rows"]))
    entry = METHODS[job["method"]]
    method = entry.make(Resources(folder, 1, job["repeat"]), **entry.parameters)
    method.fit(rows)
    found = {}
    for n, n_calls in _CALLS.items():
        ms = []
        for call in range(_WARM_UP + n_calls):
            some = [texts[(call * n + i) % len(texts)] for i in range(n)]
            began = time.perf_counter()
            method.predict(some, _LABELS_A_TEXT)
            ms.append(1e3 * (time.perf_counter() - began))
        found[f"median ms_{n}"] = round(float(np.median(ms[_WARM_UP:])), 3)
        found[f"p95 ms_{n}"] = round(float(np.percentile(ms[_WARM_UP:], 95)), 3)
    if entry.is_ours:
        method.save(folder)
        command = [sys.executable, __file__, "--load", str(folder / "model"), texts[0]]
        found |= json.loads(subprocess.check_output(command))
    return found | {"versions": versions()}


def loaded(folder: str, text: str) -> dict[str, float]:
    """Seconds of a fresh process until it answers."""
    times = [time.perf_counter()]
    import skxc

    (skxc.load, skxc.UniDEC)  # noqa: B018  # imported when first asked for: torch and all
    times.append(time.perf_counter())
    model = skxc.load(folder, mmap=True)
    times.append(time.perf_counter())
    model.predict_top_k([text])
    times.append(time.perf_counter())
    names = ("import_s", "load_s", "first_s")
    return dict(zip(names, np.diff(times).round(3).tolist(), strict=True))


# ------------------------------------------------------------------------------------- the main one
def run(args: argparse.Namespace) -> None:
    from _peers_run import write_rows
    from against_peers import load, machine, reason_to_skip

    for folder in args.folders:
        name, data = load(folder)
        with TemporaryDirectory() as rows:
            write_rows(Path(rows), data)
            for repeat in range(args.repeats):
                for method in METHOD_NAMES:
                    row = {"set": name, "labels": data.Y.shape[1], "method": method}
                    row |= {"repeat": repeat, "machine": machine()}
                    reason = reason_to_skip(METHODS[method], data, args.pecos_python)
                    if reason is not None:
                        print(f"{name}, {method}: {reason}", flush=True)
                        continue
                    is_pecos = METHODS[method].make.module == "pecos"
                    python = args.pecos_python if is_pecos else sys.executable
                    row |= in_its_process(python, {"rows": rows, **row})
                    with open(RESULTS, "a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")
                    print(name, method, row["median ms_1"], row["median ms_16"], flush=True)


def in_its_process(python: str, job: Mapping[str, Any]) -> dict[str, Any]:
    """What `measured` finds there, on one thread."""
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1")}
    with TemporaryDirectory() as name:
        Path(name, "job.json").write_text(json.dumps(job), encoding="utf-8")
        # what libraries print goes elsewhere: omikuji draws a progress bar
        subprocess.run(
            [python, __file__, "--measure", name],
            env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        found: dict[str, Any] = json.loads(Path(name, "found.json").read_text(encoding="utf-8"))
        return found


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The page: medians over the repeats."""
    lines = [
        "# Latency\n",
        "Made by `benchmarks/latency.py` from `latency.jsonl`; not written by hand.\n",
        f"- Machine: {'; '.join(sorted({row['machine'] for row in rows}))}",
        "- One thread; every method in a process of its own, taking turns; the 100 best labels of "
        "a text; TF-IDF included; a few hundred calls after a warm-up",
        '- "first answer" is the first `predict_top_k` of one text right after '
        "`skxc.load(folder, mmap=True)`: it builds the tables that all later calls use\n",
    ]
    for name in dict.fromkeys(row["set"] for row in rows):
        of_set = [row for row in rows if row["set"] == name]
        lines += [f"## {name}: {of_set[0]['labels']:,} labels\n"]
        lines += ["| method | " + " | ".join(heading for heading, _ in _COLUMNS) + " |"]
        lines += ["|---|" + "---:|" * len(_COLUMNS)]
        for method in dict.fromkeys(row["method"] for row in of_set):
            runs = [row for row in of_set if row["method"] == method]
            cells = [
                f"{median(row[key] for row in runs):.2f}" if key in runs[0] else "-"
                for _, key in _COLUMNS
            ]
            lines.append(f"| {method} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", metavar="FOLDER")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--pecos-python", help="the Python of an environment with libpecos")
    parser.add_argument("--render", action="store_true", help="write the table, run nothing")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--load", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.load:
        print(json.dumps(loaded(*args.load)))
    elif args.measure:
        found = measured(Path(args.measure))
        Path(args.measure, "found.json").write_text(json.dumps(found), encoding="utf-8")
    else:
        if not args.render:
            run(args)
        lines = RESULTS.read_text(encoding="utf-8").splitlines()
        RESULTS.with_suffix(".md").write_text(markdown(list(map(json.loads, lines))), "utf-8")


if __name__ == "__main__":
    main()
