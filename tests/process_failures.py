"""What several processes make of a fit that fails in one of them, one after the other.

    torchrun --nproc-per-node 2 tests/process_failures.py OUT [CASE ...]

Each process writes to OUT what its fits came to, and in how many seconds.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import GridSearchCV, cross_val_score

import skxc
from skxc import DualEncoderXC, ReneeClassifier, UniDEC
from skxc._methods._renee import ReneeMethod
from skxc.datasets import make_extreme_classification
from skxc.encoders import BagOfWordsEncoder

RANK = int(os.environ.get("RANK", "0"))
OUT = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
DATA = make_extreme_classification(100, 11, random_state=0)
TEXTS, Y, LABEL_TEXTS = list(DATA.texts), DATA.Y, list(DATA.label_texts)


BAG = BagOfWordsEncoder(dim=8, min_df=1)


def renee(**parameters: Any) -> ReneeClassifier:
    settings = {"encoder": BAG, "epochs": 3, "batch_size": 20}
    return ReneeClassifier(**settings | {"random_state": 0, "rerank_weight": 0} | parameters)


def of_the_second(value: Any, others: Any) -> Any:
    return value if RANK == 1 else others


def bad_text() -> Any:
    return renee().fit(of_the_second([*TEXTS[:3], None, *TEXTS[4:]], TEXTS), Y)


def failing_step(error: BaseException) -> Any:
    """The fifth step of the second process raises."""
    step, calls = ReneeMethod.__call__, []

    def failing(self: Any, *args: Any, **options: Any) -> Any:
        calls.append(1)
        if RANK == 1 and len(calls) == 5:
            raise error
        return step(self, *args, **options)

    ReneeMethod.__call__ = failing
    try:
        return renee().fit(TEXTS, Y)
    finally:
        ReneeMethod.__call__ = step


def in_a_thread() -> Any:
    errors: list[BaseException] = []

    def fit() -> None:
        try:
            renee().fit(TEXTS, Y)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=fit)
    thread.start()
    thread.join()
    raise errors[0]


def in_workers() -> Any:
    return cross_val_score(
        renee(), TEXTS, Y.toarray(), cv=2, n_jobs=2, error_score="raise", scoring="f1_micro"
    )


def one_after_the_other() -> Any:
    search = GridSearchCV(renee(), {"epochs": [1, 2]}, cv=2).fit(TEXTS, Y)
    return search.cv_results_["mean_test_score"].tolist()


def told_once() -> Any:
    """Warnings and the log come from the first process alone."""
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logger = logging.getLogger("skxc")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        DualEncoderXC(
            encoder=BAG, epochs=2, rerank_weight=0, random_state=0,
            label_texts=["!", *LABEL_TEXTS[1:]],
        ).fit(TEXTS, Y)  # fmt: skip
    logger.removeHandler(handler)
    return [len([r for r in records if r.startswith("epoch")]), len(caught)]


REFUSED = "This fit is in a callback of another fit, for which other processes wait."


class Watcher:
    """Looks at the model of every epoch, and ends the fit after the second."""

    def __init__(self) -> None:
        self.scores: list[float | str] = []

    def setup(self, estimator: Any, context: Any) -> None: ...
    def teardown(self, estimator: Any, context: Any) -> None: ...
    def on_fit_task_begin(self, estimator: Any, context: Any) -> None: ...

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, X: Any = None, y: Any = None, metadata: Any = None,
        fitted_estimator: Any = None,
    ) -> bool:  # fmt: skip
        if context.task_name != "epoch":
            return False
        if hasattr(fitted_estimator, "add_labels"):
            fitted_estimator.add_labels(["one more"])  # the others take no part in that
            y = np.c_[y.toarray(), np.zeros(len(X))]
        self.scores.append(fitted_estimator.score(X, y))
        try:
            renee().fit(X, Y)
        except RuntimeError as error:
            self.scores[-1] = str(error)[: len(REFUSED)]
        return len(self.scores) == 2


def with_callback() -> Any:
    clf = UniDEC(encoder=BAG, epochs=3, label_texts=LABEL_TEXTS, random_state=0)
    watcher = Watcher()
    if RANK == 0:
        clf.set_callbacks(watcher)
    clf.fit(TEXTS, Y)
    return [clf.n_iter_, watcher.scores]


def model_of(clf: Any) -> list[float]:
    return [float(np.float64(clf.label_embeddings_).sum()), clf.score(TEXTS, Y)]


def saved() -> Any:
    folder = OUT / "model"
    clf = renee().fit(TEXTS, Y)
    clf.save(folder)  # by all processes: one model stands in the end
    return skxc.load(folder).score(TEXTS, Y) == clf.score(TEXTS, Y)


CASES = {
    "bad text": bad_text,
    "other texts": lambda: renee().fit(of_the_second(TEXTS[::-1], TEXTS), Y),
    "other parameter": lambda: renee(epochs=of_the_second(5, 3)).fit(TEXTS, Y),
    "bad parameter": lambda: renee(epochs=of_the_second(-5, 3)).fit(TEXTS, Y),
    "missing file": lambda: renee().fit(of_the_second(OUT / "none.txt", TEXTS), Y),
    "step": lambda: failing_step(RuntimeError("the second process broke")),
    "memory": lambda: failing_step(MemoryError("no more of it")),
    "Ctrl-C": lambda: failing_step(KeyboardInterrupt()),
    "thread": in_a_thread,
    "workers": in_workers,
    "search": one_after_the_other,
    "told once": told_once,
    "callback": with_callback,
    "no seed": lambda: model_of(renee(random_state=None).fit(TEXTS, Y)),
    "saved": saved,
    "fit": lambda: model_of(renee().fit(TEXTS, Y)),
}


def main() -> None:
    torch.set_num_threads(1)
    chosen = sys.argv[2:]
    for case, run in CASES.items():
        if chosen and case not in chosen:
            continue
        began = time.perf_counter()
        try:
            found = {"value": run()}
        except BaseException as error:
            found = {"error": type(error).__name__, "words": str(error)}
        found["seconds"] = time.perf_counter() - began
        with (OUT / f"found.{RANK}.jsonl").open("a") as file:
            file.write(json.dumps({"case": case} | found, default=str) + "\n")


if __name__ == "__main__":
    main()
