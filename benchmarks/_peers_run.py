"""One method on one set, measured in a process of its own: `python _peers_run.py JOB_FOLDER`.

`measure` is the other side: it writes the job, starts the process and reads what it left. The
process gets training rows and the texts to score, never the labels of those texts.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import scipy.sparse as sp
from _measuring import peak_bytes, resident_bytes
from _peers import Resources, Rows
from _peers_methods import METHODS

_LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch", "skxc", "omikuji", "napkinxc", "libpecos")
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
)
_TEXTS = ("texts", "label_texts", "test_texts")
_MATRICES = ("Y", "exclude")


class Job(NamedTuple):
    """What a process is told."""

    method: str
    parameters: Mapping[str, Any]
    seed: int
    threads: int
    k: int  # labels to score a text


class Run(NamedTuple):
    """What a process left, or why it left nothing."""

    scores: sp.csr_matrix | None  # of the test texts
    decided: sp.csr_matrix | None  # what `predict` answers for them
    measured: Mapping[str, Any]
    failure: str | None


def write_rows(folder: Path, data: Mapping[str, Any]) -> None:
    """What processes may see of a set: not the labels of the test texts."""
    for name in _TEXTS:
        (folder / f"{name}.json").write_text(json.dumps(data[name]), encoding="utf-8")
    for name in _MATRICES:
        if data[name] is not None:
            sp.save_npz(folder / f"{name}.npz", sp.csr_matrix(data[name]), compressed=False)


def measure(rows_folder: Path, job: Job, python: str, timeout_s: float) -> Run:
    """Run a job in a process of its own, its threads pinned."""
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(job.threads))}
    with TemporaryDirectory() as name:
        folder = Path(name)
        told = {**job._asdict(), "rows": str(rows_folder)}
        (folder / "job.json").write_text(json.dumps(told), encoding="utf-8")
        # a file, not a pipe: omikuji draws a progress bar that Python cannot silence
        with open(folder / "said.txt", "wb") as said:
            process = subprocess.Popen(
                [python, __file__, name], env=environment, stdout=said, stderr=said
            )
            try:
                status = process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                return Run(None, None, {}, f"not done after {timeout_s:g} s")
        if status:
            return Run(
                None, None, {}, _last_line(folder / "said.txt") or f"ended with status {status}"
            )
        measured = json.loads((folder / "measured.json").read_text(encoding="utf-8"))
        path = folder / "decided.npz"
        decided = sp.load_npz(path) if path.exists() else None
        return Run(sp.load_npz(folder / "scores.npz"), decided, measured, None)


def _last_line(path: Path) -> str:
    """The last thing that a process said."""
    lines = path.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").split("\n")
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


class Clock:
    """Wall and CPU seconds since it was made; CPU seconds of all threads and ended children."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), self._cpu()

    @staticmethod
    def _cpu() -> float:
        who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, who))

    def read(self, name: str) -> dict[str, float]:
        wall, cpu = time.perf_counter() - self.wall, self._cpu() - self.cpu
        return {f"{name}_s": round(wall, 6), f"{name}_cpu_s": round(cpu, 6)}


def read_rows(folder: Path) -> tuple[Rows, list[str]]:
    """What `write_rows` wrote: rows to learn from, texts to score."""
    texts = {n: json.loads((folder / f"{n}.json").read_text(encoding="utf-8")) for n in _TEXTS}
    paths = {n: folder / f"{n}.npz" for n in _MATRICES}
    matrices = {n: sp.csr_matrix(sp.load_npz(p)) if p.exists() else None for n, p in paths.items()}
    rows = Rows(texts["texts"], matrices["Y"], matrices["exclude"], texts["label_texts"])
    return rows, texts["test_texts"]


def versions() -> dict[str, str]:
    """Versions of what is installed here."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def main(folder: Path) -> None:
    told = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    rows, test_texts = read_rows(Path(told.pop("rows")))
    job = Job(**told)
    method = METHODS[job.method].make(Resources(folder, job.threads, job.seed), **job.parameters)
    held = resident_bytes()
    clock = Clock()
    method.fit(rows)
    measured: dict[str, Any] = clock.read("fit")
    clock = Clock()
    scores = method.predict(test_texts, job.k)
    measured |= clock.read("predict")
    measured["peak_mib"] = round((peak_bytes() - held) / 2**20, 1)
    model = folder / "saved"
    model.mkdir()
    method.save(model)
    size = sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
    measured |= {"disk_mib": round(size / 2**20, 2), "versions": versions()}
    sp.save_npz(folder / "scores.npz", sp.csr_matrix(scores), compressed=False)
    decided = method.decide(test_texts)
    if decided is not None:
        sp.save_npz(folder / "decided.npz", decided, compressed=False)
    (folder / "measured.json").write_text(json.dumps(measured), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
