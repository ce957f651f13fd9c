"""What the three papers find, on real text with a pretrained encoder: does it hold here?

    OMP_NUM_THREADS=1 python benchmarks/papers.py FOLDER ... [--encoder minilm] [--seeds 3]
        [--texts 2048] [--test-texts 2000] [--labels 700] [--workers 2] [--work DIRECTORY]
    python benchmarks/papers.py FOLDER ... --report

Every (variant, seed) is a fit in a process of its own, on so many random training texts (of the
seed: all variants of a seed have the same ones) and so many random test texts (always the same).
Learning rates are chosen first, once an estimator, on training texts of the first FOLDER that the
fits of the first seed are not trained on; nothing is chosen on the test texts. Pairs that the set
excludes leave before the top-k cut; propensities are of the training labels as given.

A run that broke off goes on: fits that are done are in `benchmarks/results/papers.jsonl`, and what
was broken off has its checkpoint below DIRECTORY. A line of the results holds the rank of every
true label of the test texts, from which all measures follow; `--report` makes the tables of them
anew. ENCODER is minilm (all-MiniLM-L6-v2, trained; see `_pretrained`) or bag, the embedded bag of
words.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple
from zlib import compress, crc32

import numpy as np
import scipy.sparse as sp
from _measuring import in_a_process, peak_bytes, resident_bytes
from _papers_report import MEASURES, SetResults, report
from _papers_variants import ALWAYS, RATES, SETTINGS, VARIANTS
from _pretrained import pretrained_folder
from _true_ranks import text_values, true_pairs, true_ranks
from against_peers import load, machine, most_frequent
from sklearn.utils import Bunch

from skxc.metrics import propensities

RESULTS = Path(__file__).parent / "results" / "papers.jsonl"
_WRITING = Lock()


class Job(NamedTuple):
    """A fit. What it is called by, in the results, is all but the folders."""

    folder: str
    work: str
    encoder: str
    variant: str
    seed: int
    n_texts: int
    n_test: int
    n_labels: int | None  # the most frequent; of the set's name where they are not all
    rates: dict[str, float]
    is_choice: bool  # on held-out rows

    @property
    def key(self) -> list[Any]:
        """What tells it from others."""
        own = self._asdict()
        for name in ("folder", "work", "n_labels"):
            del own[name]
        return [self.of_set, *own.values()]

    @property
    def of_set(self) -> str:
        """The set's name."""
        name = Path(self.folder).resolve().name
        return name if self.n_labels is None else f"{name}, {self.n_labels} labels"

    def parameters(self) -> dict[str, Any]:
        """Of the estimator, but where it begins."""
        variant = VARIANTS[self.variant]
        own = {**ALWAYS[variant.estimator], **SETTINGS[self.encoder], **self.rates}
        return {**own, **variant.parameters}

    def is_done(self) -> bool:
        """Whether the results have it, with these parameters."""
        row = done().get(json.dumps(self.key))
        return row is not None and row["parameters"] == self.parameters()

    def place(self, variant: str | None = None) -> Path:
        """A folder of its own."""
        of_set, encoder, own, *rest = map(str, self.key)
        name = "-".join([of_set, encoder, variant or own, *rest[:3]])
        return Path(self.work) / "".join(c if c.isalnum() else "_" for c in name)


def cut(job: Job) -> Bunch:
    """Random training texts of the seed, and test texts that are always the same.

    Where something is chosen, training texts that are not trained on stand for the test texts.
    """
    name, data = load(job.folder)
    if job.n_labels is not None:
        _, data = most_frequent(name, data, job.n_labels)
    order = np.random.default_rng(job.seed).permutation(len(data.texts))
    own, others = np.sort(order[: job.n_texts]), order[job.n_texts :][: job.n_test]
    of_training = (data.texts, data.Y, data.exclude)
    of_test, test = of_training, others
    if job.is_choice and not len(others):
        raise SystemExit("No training text is left to choose a learning rate on: lower --texts")
    if not job.is_choice:
        of_test = (data.test_texts, data.Y_test, data.test_exclude)
        test = np.sort(np.random.default_rng(0).permutation(len(data.test_texts))[: job.n_test])
    texts, Y, exclude = (_rows(part, own) for part in of_training)
    test_texts, Y_test, test_exclude = (_rows(part, test) for part in of_test)
    return Bunch(
        texts=texts, Y=Y, exclude=exclude, label_texts=data.label_texts, test_texts=test_texts,
        Y_test=true_pairs(Y_test, test_exclude), test_exclude=test_exclude,
    )  # fmt: skip


def all_but_sampled(Y: sp.csr_array, n: int, seed: int) -> sp.csr_array:
    """The pairs that training ignores where a text's loss has its labels and `n` random others."""
    keys = np.random.default_rng(seed).random(Y.shape)
    keys[Y.nonzero()] = 2
    is_in = keys <= np.partition(keys, n - 1, axis=1)[:, n - 1 : n]
    is_in[Y.nonzero()] = True
    return sp.csr_array(~is_in, dtype=np.float32)


def _rows(values: Any, rows: np.ndarray) -> Any:
    if values is None:
        return None
    return [values[i] for i in rows] if isinstance(values, list) else values[rows]


def measured(job: Job) -> dict[str, Any]:
    """Fit and rank."""
    import skxc
    from skxc.encoders import TransformerEncoder

    warnings.simplefilter("ignore", UserWarning)  # labels with one text, or none that is known
    data, variant = cut(job), VARIANTS[job.variant]
    if variant.n_sampled is not None:
        data.exclude = all_but_sampled(data.Y, variant.n_sampled, job.seed)
    parameters = job.parameters()
    if variant.start is not None:
        parameters["init_encoder"] = job.place(variant.start) / "model"
    elif job.encoder != "bag":
        model = pretrained_folder(job.encoder)
        parameters["encoder"] = TransformerEncoder(model, max_length=32)
    checkpoints = job.place() / f"checkpoint-{crc32(json.dumps(job.key).encode()):x}"
    is_resumed = checkpoints.is_dir() and any(checkpoints.iterdir())
    clf = getattr(skxc, variant.estimator)(
        label_texts=data.label_texts,
        random_state=job.seed,
        checkpoint_dir=checkpoints,
        **parameters,
    )
    loaded = resident_bytes()
    began = time.process_time()
    clf.fit(data.texts, data.Y, exclude=data.exclude)
    seconds, peak = time.process_time() - began, peak_bytes() - loaded
    began = time.process_time()
    ranks = true_ranks(clf, data)
    if any(job.variant == other.start for other in VARIANTS.values()) and not job.is_choice:
        clf.save(job.place() / "model")
    weights = 1 / propensities(data.Y)
    values = {m: text_values(ranks, data.Y_test, weights, m) for m in MEASURES}
    return {
        "key": job.key,
        **{measure: round(of_texts.mean(), 3) for measure, of_texts in values.items()},
        "parameters": job.parameters(),
        # of what was broken off, the rest alone is known
        "fit CPU s": None if is_resumed else round(seconds, 1),
        "predict CPU s": round(time.process_time() - began, 1),
        "MiB": None if is_resumed else round(peak / 2**20),
        "loss": [round(entry["loss"], 4) for entry in clf.history_],
        "ranks": b64encode(compress(ranks.tobytes(), 9)).decode(),
        "machine": machine(),
    }


def done() -> dict[str, dict[str, Any]]:
    """The fits that are done, by their keys."""
    if not RESULTS.is_file():
        return {}
    lines = map(json.loads, RESULTS.read_text().splitlines())
    return {json.dumps(line["key"]): line for line in lines}


def run(jobs: list[Job], workers: int) -> None:
    """So many at a time; a line of the results each."""

    def one(job: Job) -> None:
        row = in_a_process(measured, job)
        with _WRITING:
            rows = done() | {json.dumps(job.key): row}
            written = RESULTS.with_suffix(".new")
            written.write_text("".join(json.dumps(line) + "\n" for line in rows.values()))
            written.replace(RESULTS)  # at once: a kill loses no line
        print(f"{job.key}: {row['fit CPU s']} s", flush=True)

    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(one, jobs):
            pass


def chosen_rates(
    make: Callable[..., Job], encoder: str, workers: int
) -> dict[str, dict[str, float]]:
    """By estimator, what ranks held-out rows best: P@1 + P@5 of the variant that stands for it."""
    jobs = {
        name: [make(name, 0, rates, is_choice=True) for rates in grid]
        for name, grid in RATES[encoder].items()
        if len(grid) > 1
    }
    run([job for grid in jobs.values() for job in grid if not job.is_done()], workers)
    chosen = {VARIANTS[name].estimator: grid[0] for name, grid in RATES[encoder].items()}
    for name, grid in jobs.items():
        found = [done()[json.dumps(job.key)] for job in grid]
        best = int(np.argmax([m["P@1"] + m["P@5"] for m in found]))
        print(name, [(m["P@1"], m["P@5"]) for m in found], grid[best].rates, flush=True)
        chosen[VARIANTS[name].estimator] = grid[best].rates
    return chosen


def run_all(args: argparse.Namespace) -> None:
    """All sets, seeds and variants."""
    n_labels = {folder: load(folder)[1].Y.shape[1] for folder in args.folders}

    def make(
        folder: str, variant: str, seed: int, rates: dict[str, float], *, is_choice: bool = False
    ) -> Job:
        is_cut = args.labels is not None and args.labels < n_labels[folder]
        sizes = args.texts, args.test_texts, args.labels if is_cut else None
        return Job(folder, args.work, args.encoder, variant, seed, *sizes, rates, is_choice)

    rates = chosen_rates(partial(make, args.folders[0]), args.encoder, args.workers)
    for folder in args.folders:
        for seed in range(args.seeds):
            jobs = {n: make(folder, n, seed, rates[VARIANTS[n].estimator]) for n in VARIANTS}
            wanted = [name for name in args.only if not jobs[name].is_done()]
            later = [name for name in wanted if VARIANTS[name].start]
            # what they begin from, where it was made elsewhere or never
            starts = {VARIANTS[name].start or "" for name in later}
            missing = {name for name in starts if not (jobs[name].place() / "model").is_dir()}
            first = [name for name in VARIANTS if name in missing.union(wanted).difference(later)]
            run([jobs[name] for name in first], args.workers)
            run([jobs[name] for name in later], args.workers)


def write_report(folders: list[str]) -> None:
    """The tables of all that is in the results; `folders`: where all of their sets are."""
    rows = list(done().values())
    sets: dict[str, SetResults] = {}
    for name, encoder, n_texts, n_test in dict.fromkeys(
        (row["key"][0], row["key"][1], *row["key"][4:6]) for row in rows
    ):
        folder = next((f for f in folders if Path(f).resolve().name == name.split(",")[0]), None)
        if folder is None:
            print(f"No tables: they need the test labels of {name}. Pass its folder, too.")
            return
        own = [r for r in rows if r["key"][:2] + r["key"][4:6] == [name, encoder, n_texts, n_test]]
        own = [r for r in own if not r["key"][-1]]
        n_labels = int(name.split(", ")[1].split()[0]) if "," in name else None
        weights, data = {}, Bunch()
        for seed in sorted({row["key"][3] for row in own}):
            job = Job(folder, "", encoder, "", seed, n_texts, n_test, n_labels, {}, False)
            data = cut(job)
            weights[seed] = 1 / propensities(data.Y)
        heading = f"{name}, {encoder}: {n_texts:,} training texts, {n_test:,} test texts"
        sets[heading] = SetResults(own, data.Y_test, weights)
    machines = sorted({row["machine"] for row in rows})
    RESULTS.with_suffix(".md").write_text(report(sets, machines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", metavar="FOLDER")
    parser.add_argument("--encoder", choices=RATES, default="minilm")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=[*VARIANTS], metavar="NAME")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=2048)
    parser.add_argument("--test-texts", type=int, default=2000)
    parser.add_argument("--labels", type=int, help="of a set with more, the most frequent")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--work", default=str(Path(tempfile.gettempdir()) / "skxc-papers"))
    parser.add_argument("--report", action="store_true", help="make the tables alone")
    args = parser.parse_args()
    if not args.report:
        run_all(args)
    write_report(args.folders)


if __name__ == "__main__":
    main()
