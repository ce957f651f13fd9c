"""The three estimators and the peers that install beside us, on the same rows in one run.

    python benchmarks/against_peers.py [FOLDER ...] [--repeats 3] [--pecos-python PATH/bin/python]

A FOLDER is in any layout that `skxc.datasets.load_xc_folder` reads; the packaged library subjects
come first. ``--most-frequent 20 50`` cuts each to so many labels. Needs
`pip install "skxc[bench]"`; a peer that is not installed is left out in words.

Every (set, method, repeat) runs in a process of its own with the same number of threads, the
methods taking turns. The process sees the training rows and the test texts, never the test labels.
Fitting begins with raw texts, so TF-IDF is a part of the peers' fit. All methods are asked for the
same number of labels a text; excluded pairs leave before the top-k cut; propensities are of the
training labels as given. One setting a method for all sets: `_peers_methods.py` has it, and
`--choose` is how it was found, on held-out training rows.

Each run adds a line to `benchmarks/results/against_peers.jsonl`; what is there is not run again, so
a run that broke off goes on. After a change of code or of a library, `--again` measures anew.
`--render` makes the table and the plot from the lines alone.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import scipy.sparse as sp
from _peers_methods import METHODS, Entry, entry_names
from _peers_report import GOALS, markdown, plot
from _peers_run import Job, Run, measure, write_rows
from sklearn.utils import Bunch

from skxc.datasets import load_library_subjects, load_xc_folder
from skxc.metrics import propensities, ranking_metrics

PACKAGED = "library subjects (packaged)"
RESULTS = Path(__file__).parent / "results"
_MEASURES = ("P@1", "P@3", "P@5", "nDCG@5", "PSP@1", "PSP@5")
_LABELS_A_TEXT = 10  # asked of every method, and more where pairs are excluded


def load(folder: str | None) -> tuple[str, Bunch]:
    """A set's name and data; None is the packaged set."""
    if folder is None:
        return PACKAGED, load_library_subjects()
    return Path(folder).resolve().name, load_xc_folder(folder)


def most_frequent(name: str, data: Bunch, n: int) -> tuple[str, Bunch]:
    """A set's `n` most frequent training labels, and the rows that have one of them."""
    counts = np.bincount(data.Y.tocsr().indices, minlength=data.Y.shape[1])
    labels = np.sort(np.argsort(-counts, kind="stable")[:n])
    parts: dict[str, Any] = {"label_texts": None, "exclude": None, "test_exclude": None}
    if data.label_texts is not None:
        parts["label_texts"] = [data.label_texts[i] for i in labels]
    for texts, y, exclude in (
        ("texts", "Y", "exclude"),
        ("test_texts", "Y_test", "test_exclude"),
    ):
        cut = data[y].tocsc()[:, labels].tocsr()
        rows = np.flatnonzero(np.diff(cut.indptr))
        parts |= {texts: [data[texts][i] for i in rows], y: cut[rows]}
        if data[exclude] is not None:
            parts[exclude] = data[exclude].tocsc()[:, labels].tocsr()[rows]
    return f"{name}, {n} labels", Bunch(**parts)


def held_out(data: Bunch) -> Bunch:
    """A tenth of the training rows in the place of the test rows, which it does not look at."""
    order = np.random.default_rng(0).permutation(len(data.texts))
    test, kept = np.split(order, [len(order) // 10])
    exclude = dict.fromkeys(("exclude", "test_exclude"))
    if data.exclude is not None:
        exclude = {"exclude": data.exclude[kept], "test_exclude": data.exclude[test]}
    return Bunch(
        texts=[data.texts[i] for i in kept],
        Y=data.Y[kept],
        test_texts=[data.texts[i] for i in test],
        Y_test=data.Y[test],
        label_texts=data.label_texts,
        **exclude,
    )


def reason_to_skip(entry: Entry, data: Bunch, pecos_python: str | None) -> str | None:
    """Why a method cannot run here on this set, in words; None where it can."""
    n_labels = data.Y.shape[1]
    if entry.max_labels is not None and n_labels > entry.max_labels:
        return f"trains a classifier a label: run up to {entry.max_labels:,} labels only"
    if entry.needs_label_texts and data.label_texts is None:
        return "needs label texts, which the set does not have"
    if entry.make.module == "pecos" and pecos_python is None:
        return "lives in an environment of its own: pass --pecos-python PATH/bin/python"
    if entry.make.module != "pecos" and importlib.util.find_spec(entry.make.module) is None:
        return f"is not installed: pip install {entry.make.package}"
    return None


def accuracies(data: Bunch, run: Run) -> dict[str, float]:
    """The measures in per cent; excluded pairs leave before the cut."""
    found = ranking_metrics(
        data.Y_test,
        run.scores,
        propensities=propensities(data.Y),
        exclude=data.test_exclude,
    )
    decisions = {} if run.decided is None else f1_scores(data, run.decided)
    return {name: round(100 * found[name], 3) for name in _MEASURES} | decisions


def f1_scores(data: Bunch, decided: sp.csr_matrix) -> dict[str, float]:
    """F1 of all pairs, and the mean F1 of the labels that a test text has, in per cent."""
    true, said = (sp.csr_array(matrix) > 0 for matrix in (data.Y_test, decided))
    if data.test_exclude is not None:
        true, said = (m > m.multiply(sp.csr_array(data.test_exclude) > 0) for m in (true, said))
    n_hits, n_true, n_said = (m.sum(0) for m in (true.multiply(said), true, said))
    is_there = n_true > 0
    of_labels = 2 * n_hits[is_there] / (n_true + n_said)[is_there]
    micro = 2 * n_hits.sum() / (n_true.sum() + n_said.sum())
    return {"micro-F1": round(100 * micro, 3), "macro-F1": round(100 * of_labels.mean(), 3)}


def labels_asked(data: Bunch) -> int:
    """Labels to ask for a text, so that enough are left when the excluded ones go."""
    most = 0 if data.test_exclude is None else int(np.asarray(data.test_exclude.sum(1)).max())
    return _LABELS_A_TEXT + most


def machine() -> str:
    """The class of this machine."""
    model = platform.processor() or platform.machine()
    cpu_info = Path("/proc/cpuinfo")  # Linux
    if cpu_info.exists():
        lines = cpu_info.read_text(encoding="utf-8").splitlines()
        named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        model = next(named, model)
    memory = psutil.virtual_memory().total / 2**30
    return f"{model}, {os.cpu_count()} logical cores, {memory:.0f} GiB, {platform.system()}"


class Benchmark:
    """The runs, and the file of what they gave."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.path = Path(args.results) / "against_peers.jsonl"
        self.machine = machine()

    def rows(self) -> list[dict[str, Any]]:
        """All lines of the file."""
        if not self.path.exists():
            return []
        with open(self.path, encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def run(self) -> None:
        """Every set, every repeat, every method: the methods take turns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        done = [] if self.args.again else [self._key(row) for row in self.rows() if _is_ok(row)]
        for name, data in self._sets():
            with TemporaryDirectory() as rows_folder:
                write_rows(Path(rows_folder), data)
                for repeat in range(self.args.repeats):
                    for method in entry_names(self.args.methods):
                        row = self._row(name, data, method, repeat)
                        if self._key(row) not in done:
                            self._add(row | self._outcome(row, data, Path(rows_folder)))

    def _folders(self) -> list[str | None]:
        """The sets; None is the packaged one."""
        return self.args.folders if self.args.no_packaged else [None, *self.args.folders]

    def _sets(self) -> Iterator[tuple[str, Bunch]]:
        """Names and data, all of a set's labels or its most frequent ones."""
        for name, data in map(load, self._folders()):
            if not self.args.most_frequent:
                yield name, data
            for n in self.args.most_frequent:
                yield most_frequent(name, data, n)

    def _row(self, name: str, data: Bunch, method: str, repeat: int) -> dict[str, Any]:
        """What is known before the run."""
        entry = METHODS[method]
        return {
            "set": name,
            "labels": data.Y.shape[1],
            "train_rows": len(data.texts),
            "test_rows": len(data.test_texts),
            "method": method,
            "short": entry.short,
            "is_ours": entry.is_ours,
            "parameters": dict(entry.parameters),
            "repeat": repeat,
            "threads": self.args.threads,
            "machine": self.machine,
            "date": datetime.now(UTC).date().isoformat(),
        }

    @staticmethod
    def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
        """What makes two runs the same."""
        names = ("set", "method", "repeat", "threads", "machine", "train_rows", "test_rows")
        return (*(row[name] for name in names), json.dumps(row["parameters"], sort_keys=True))

    def _outcome(self, row: Mapping[str, Any], data: Bunch, rows: Path) -> dict[str, Any]:
        """What the run gave, or why there was none; one that fails does not stop the others."""
        entry = METHODS[row["method"]]
        reason = reason_to_skip(entry, data, self.args.pecos_python)
        if reason is not None:
            return {"status": "skipped", "reason": reason}
        job = Job(
            row["method"], row["parameters"], row["repeat"], row["threads"], labels_asked(data)
        )
        run = measure(rows, job, self._python(entry), self.args.timeout)
        if run.failure is not None:
            return {"status": "failed", "reason": run.failure}
        rows_per_s = round(len(data.test_texts) / run.measured["predict_s"], 1)
        return {
            "status": "ok",
            **accuracies(data, run),
            **run.measured,
            "rows_per_s": rows_per_s,
        }

    def _python(self, entry: Entry) -> str:
        return self.args.pecos_python if entry.make.module == "pecos" else sys.executable

    def _add(self, row: Mapping[str, Any]) -> None:
        """Keep a row at once: a run that breaks off loses none."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        said = f"{row['set']}, {row['method']}, repeat {row['repeat']}: "
        if _is_ok(row):
            said += f"P@1 {row['P@1']:.2f}, fit {row['fit_cpu_s']:.1f} CPU s"
        else:
            said += f"{row['status']}, {row['reason']}"
        print(said, flush=True)

    def render(self) -> None:
        """The table and the plot."""
        rows = self.rows()
        if not any(_is_ok(row) for row in rows):
            raise SystemExit(
                f"{self.path} holds no result: run without --render; its lines say why."
            )
        self.path.with_suffix(".md").write_text(markdown(rows), encoding="utf-8")
        plot(rows, self.path.with_suffix(".png"))

    def choose(self) -> None:
        """Every setting of each peer's grid on held-out training rows: the best of each."""
        data = {name: held_out(given) for name, given in map(load, self._folders())}
        for method in entry_names(self.args.methods):
            entry = METHODS[method]
            runnable = {
                name: given
                for name, given in data.items()
                if reason_to_skip(entry, given, self.args.pecos_python) is None
            }
            if entry.grid and runnable:
                print(f"\n{method} on held-out training rows of {', '.join(runnable)}\n")
                self._choose(method, runnable)

    def _choose(self, method: str, data: Mapping[str, Bunch]) -> None:
        """Print the settings of one method, the mean of the goals over sets beside each."""
        print(f"| setting | {' | '.join(data)} | mean | CPU s |\n|---|" + "---:|" * (len(data) + 2))
        with TemporaryDirectory() as top:
            folders = {name: Path(top) / str(i) for i, name in enumerate(data)}
            for name, folder in folders.items():
                folder.mkdir()
                write_rows(folder, data[name])
            means = {}
            for setting in _settings(METHODS[method].grid):
                scores, seconds = [], 0.0
                for name, folder in folders.items():
                    score, cpu_s = self._held_out_score(method, setting, data[name], folder)
                    scores.append(score)
                    seconds += cpu_s
                means[json.dumps(setting)] = float(np.mean(scores))
                cells = " | ".join(f"{score:.2f}" for score in [*scores, np.mean(scores)])
                print(f"| {json.dumps(setting)} | {cells} | {seconds:.0f} |", flush=True)
        print(f"\nbest: {max(means, key=lambda setting: np.nan_to_num(means[setting]))}")

    def _held_out_score(
        self, method: str, setting: Mapping[str, Any], data: Bunch, rows: Path
    ) -> tuple[float, float]:
        """Mean of the four goals, and CPU seconds to fit; nan where the run failed."""
        entry = METHODS[method]
        job = Job(method, {**entry.parameters, **setting}, 0, self.args.threads, labels_asked(data))
        run = measure(rows, job, self._python(entry), self.args.timeout)
        if run.failure is not None:
            print(f"{method}, {setting}: {run.failure}", file=sys.stderr)
            return float("nan"), float("nan")
        found = accuracies(data, run)
        return float(np.mean([found[goal] for goal in GOALS])), run.measured["fit_cpu_s"]


def _settings(grid: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """All combinations of a grid's values."""
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _is_ok(row: Mapping[str, Any]) -> bool:
    return row["status"] == "ok"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", metavar="FOLDER")
    parser.add_argument("--no-packaged", action="store_true", help="leave out the packaged set")
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="these only; default: all")
    parser.add_argument(
        "--most-frequent", nargs="+", type=int, default=[], metavar="N",
        help="cut the sets to their N most frequent labels",
    )  # fmt: skip
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of every method alike")
    parser.add_argument("--timeout", type=float, default=7200, metavar="SECONDS", help="of a run")
    parser.add_argument("--pecos-python", help="the Python of an environment with libpecos")
    parser.add_argument("--results", default=RESULTS, help="folder of what is written")
    parser.add_argument("--again", action="store_true", help="measure what is there anew")
    parser.add_argument("--render", action="store_true", help="write table and plot, run nothing")
    parser.add_argument("--choose", action="store_true", help="compare the peers' settings")
    args = parser.parse_args(arguments)
    if args.pecos_python is not None and not Path(args.pecos_python).is_file():
        parser.error(f"--pecos-python {args.pecos_python} is no file: pass PATH/bin/python")
    for folder in args.folders:
        if not Path(folder).is_dir():
            parser.error(f"{folder} is no folder: pass folders that load_xc_folder reads")
    entry_names(args.methods)  # an unknown name ends the run here, not after hours
    benchmark = Benchmark(args)
    if args.choose:
        benchmark.choose()
        return
    if not args.render:
        benchmark.run()
    benchmark.render()


if __name__ == "__main__":
    main()
