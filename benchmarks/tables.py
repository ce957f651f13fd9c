"""Reading a million rows of CSV: seconds and peak memory of load_table, beside pandas.

python benchmarks/tables.py                  # a million rows
python benchmarks/tables.py --rows 20000     # a quick run

Both give texts and a label matrix, in a process of their own: load_table by itself; pandas by
read_csv, whose cells are then cut, and scikit-learn's MultiLabelBinarizer. `read_csv` alone gives
no matrix. No row is held out. Memory is what the process's peak has grown by.

Expected before the first run of a million rows: load_table 8 CPU s, 1.5 times pandas with the
binarizer and 4 times read_csv alone, in two thirds of the memory. Measured (AMD EPYC, 2026-11-28,
other work beside): 8.6 s, 1.3 and 17 times, in 0.4 of the memory.
"""

from __future__ import annotations

import argparse
import csv
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

N_LABELS, N_WORDS = 20_000, 50_000


def write(path: Path, n_rows: int) -> None:
    """Titles of 8 words on average, bodies of 20, 3 labels on average; commas in the bodies."""
    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(N_WORDS)], dtype=object)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "title", "body", "labels"])
        for i in range(n_rows):
            title, body = (
                words[rng.integers(N_WORDS, size=8)],
                words[rng.integers(N_WORDS, size=20)],
            )
            labels = (N_LABELS * rng.random(1 + rng.poisson(2)) ** 3).astype(int)
            names = "; ".join(f"label {label}" for label in labels)
            writer.writerow([i, " ".join(title), f"{body[0]}, {' '.join(body[1:])}", names])


def by_load_table(path: Path) -> int:
    from skxc.datasets import load_table

    data = load_table(path, text=["title", "body"], labels="labels", separator=";", test_size=0)
    return int(data.Y.nnz)


def by_pandas(path: Path) -> int:
    import pandas as pd
    from sklearn.preprocessing import MultiLabelBinarizer

    frame = pd.read_csv(path, usecols=["title", "body", "labels"])
    texts = (frame["title"] + " " + frame["body"]).tolist()
    labels = [[name.strip() for name in cell.split(";")] for cell in frame["labels"]]
    assert len(texts) == len(labels)
    return int(MultiLabelBinarizer(sparse_output=True).fit_transform(labels).nnz)


def by_read_csv(path: Path) -> int:
    import pandas as pd

    return len(pd.read_csv(path, usecols=["title", "body", "labels"]))


def by_file_column(path: Path) -> int:
    from skxc.datasets import FileColumn

    return sum(1 for _ in FileColumn(path, ["title", "body"]))


WAYS: dict[str, Callable[[Path], int]] = {
    "load_table": by_load_table,
    "pandas + MultiLabelBinarizer": by_pandas,
    "pandas.read_csv alone": by_read_csv,
    "FileColumn, texts alone": by_file_column,
}


def measure(name: str, path: Path) -> None:
    """Print the processor's seconds and the growth of the peak, after a tiny run for imports."""
    tiny = path.with_name("tiny.csv")
    with path.open(encoding="utf-8") as file:
        tiny.write_text("".join(line for _, line in zip(range(20), file, strict=False)))
    WAYS[name](tiny)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, wall = time.process_time(), time.perf_counter()
    WAYS[name](path)
    seconds, waited = time.process_time() - start, time.perf_counter() - wall
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"| {name} | {seconds:.1f} | {waited:.1f} | {grown / 1024:,.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--path", type=Path)
    args = parser.parse_args()
    if args.way:
        measure(args.way, args.path)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.csv")
        write(path, args.rows)
        print(f"{args.rows:,} rows, {path.stat().st_size / 1e6:,.0f} MB\n")
        print("| read by | CPU s | s | peak MiB |\n|---|---:|---:|---:|", flush=True)
        for way in WAYS:
            subprocess.run(
                [sys.executable, __file__, "--way", way, "--path", str(path)], check=True
            )


if __name__ == "__main__":
    main()
