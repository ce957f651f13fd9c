"""Seconds and memory of loading a large model: `skxc.load` against joblib, mapped and not.

    python benchmarks/load_time.py [--labels 1000000] [--dim 256] [--words 200000] [--rounds 3]

A ReneeClassifier of that size with random numbers, its labels known by column numbers ("ids"), and
a DualEncoderXC whose labels have texts ("texts": also `label_texts`, stored once). Every load is a
process of its own, which has imported all before; its seconds are the best of the rounds, its
memory what the process has grown by, without mapped files, which all processes share (Linux;
elsewhere with them). "first answer" is the prediction of one text right after. The files lie in the
page cache, as they do after a machine's first load. Expected: a mapped load costs what is no array,
the labels' texts and the encoder's words, and one pass over the arrays' numbers, none of which may
be nan: a fifth of a second per GB.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import psutil
from _measuring import in_a_process

import skxc
from skxc.encoders import BagOfWordsEncoder

WAYS: dict[str, Callable[[str], Any]] = {
    "skxc.load": lambda path: skxc.load(f"{path}/folder"),
    "skxc.load, mmap=False": lambda path: skxc.load(f"{path}/folder", mmap=False),
    "joblib.load": lambda path: joblib.load(f"{path}/joblib"),
    "joblib.load, mmap_mode='r'": lambda path: joblib.load(f"{path}/joblib", mmap_mode="r"),
}


def make_model(n_labels: int, dim: int, n_words: int, has_texts: bool) -> Any:
    """A model of that size; nothing but its numbers is random."""
    rng = np.random.default_rng(0)
    words = [f"word{i}" for i in range(n_words)]
    cls = skxc.DualEncoderXC if has_texts else skxc.ReneeClassifier
    model = cls(BagOfWordsEncoder(dim=dim, min_df=1), label_texts=["word0", "word1"], epochs=1)
    with warnings.catch_warnings(action="ignore"):
        model.fit([" ".join(words), "word1"], [[0], [1]])
    width = model.label_embeddings_.shape[1]
    model.label_embeddings_ = rng.standard_normal((n_labels, width), dtype=np.float32)
    model.n_labels_ = n_labels
    model.classes_ = model.label_names_ = np.arange(n_labels)
    model.label_counts_ = np.ones(n_labels, np.int64)
    model.is_seen_ = np.ones(n_labels, bool)
    model.label_texts = None
    if has_texts:
        texts = [f"the text of label number {i}" for i in range(n_labels)]
        model.label_texts_ = np.array(texts, dtype=object)
        model.label_names_ = model.label_texts_.copy()
        model.label_texts = model.label_texts_.copy()
    model._ranker = None
    return model


def own_bytes() -> int:
    """What the process holds, without mapped files where the system tells."""
    memory = psutil.Process().memory_info()
    return int(memory.rss - getattr(memory, "shared", 0))


def timed(way: str, path: str) -> tuple[float, float, float]:
    """Seconds of loading, MiB that it took, and seconds to the first answer."""
    load = WAYS[way]
    skxc.load  # noqa: B018  # torch and all, imported before the clock starts
    before, began = own_bytes(), time.perf_counter()
    loaded = load(path)
    seconds, mib = time.perf_counter() - began, (own_bytes() - before) / 2**20
    loaded.predict_top_k(["word1 word2"], 5)
    return seconds, mib, time.perf_counter() - began - seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    for name, default in (("labels", 10**6), ("dim", 256), ("words", 200_000), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    for has_texts in (False, True):
        model = make_model(args.labels, args.dim, args.words, has_texts)
        with tempfile.TemporaryDirectory() as path:
            for name, write in (
                ("save", lambda p, m=model: m.save(f"{p}/folder")),
                ("joblib.dump", lambda p, m=model: joblib.dump(m, f"{p}/joblib")),
            ):
                began = time.perf_counter()
                write(path)
                print(f"{'texts' if has_texts else 'ids':6} {name:28}"
                      f"{time.perf_counter() - began:7.2f} s")  # fmt: skip
            size = sum(p.stat().st_size for p in Path(path, "folder").rglob("*")) / 2**20
            print(f"{'':6} {'size':28}{size:7.0f} MiB")
            for way in WAYS:
                rounds = [in_a_process(timed, way, path) for _ in range(args.rounds)]
                seconds, mib, first = min(rounds)
                print(f"{'':6} {way:28}{seconds:7.2f} s {mib:7.0f} MiB, first answer {first:.2f} s")


if __name__ == "__main__":
    main()
